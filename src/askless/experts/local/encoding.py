"""Prompts and label words as tokens of one model, and texts that are too long cut to fit."""

from __future__ import annotations

from collections.abc import Sequence

from askless.errors import ExpertError
from askless.experts.local.checkpoint import Checkpoint
from askless.prompts import Prompt


def label_tokens(part: Checkpoint, prompt: Prompt, classes: Sequence[str]) -> list[list[int]]:
    """Tokens of each class's word as they follow the prompt.

    Raises `ExpertError` for a word that the tokenizer lacks or cannot tell from the beginning of another.
    """
    probe = part.render(prompt, "x")
    words = [prompt.words[name] for name in classes]
    before, *after = part.encode([probe, *(probe + word for word in words)])
    labels = []
    for word, ids in zip(words, after, strict=True):
        joined = ids[: len(before)] == before
        labels.append(ids[len(before) :] if joined else part.tokens(word))
    for i, label in enumerate(labels):
        alike = [words[j] for j, other in enumerate(labels) if j != i and other[: len(label)] == label]
        if not label or part.tokenizer.unk_token_id in label:
            raise _bad_word(part, words[i], "is not in its vocabulary")
        if alike:
            raise _bad_word(part, words[i], f"begins like {alike[0]!r} in its tokens")
    return labels


def encode(part: Checkpoint, prompt: Prompt, texts: Sequence[str], limit: int | None) -> list[tuple[list[int], bool]]:
    """Token ids of each text's prompt, and whether the text was cut to keep them within `limit`."""
    encoded = part.encode([part.render(prompt, text) for text in texts])
    return [
        (ids, False) if limit is None or len(ids) <= limit else (_cut(part, prompt, text, limit), True)
        for text, ids in zip(texts, encoded, strict=True)
    ]


def _cut(part: Checkpoint, prompt: Prompt, text: str, limit: int) -> list[int]:
    """The prompt with as much of the beginning of `text` as fits, found by doubling and bisection."""

    def ids_of(size: int) -> list[int]:
        return part.encode([part.render(prompt, text[:size])])[0]

    low, high, best = 0, limit, ids_of(0)
    if len(best) > limit:
        raise ExpertError(
            f"Model '{part.name}': the prompt's template alone is {len(best)} tokens. Allowed: {max(limit, 0)}. "
            "Shorten the template, lower max_new_tokens or raise max_input_tokens."
        )
    while high < len(text) and len(ids := ids_of(high)) <= limit:
        low, high, best = high, 2 * high, ids
    high = min(high, len(text))
    while high - low > 1:
        middle = (low + high) // 2
        ids = ids_of(middle)
        low, high, best = (middle, high, ids) if len(ids) <= limit else (low, middle, best)
    return best


def _bad_word(part: Checkpoint, word: str, got: str) -> ExpertError:
    return ExpertError(
        f"Model '{part.name}': the label word {word!r} {got}. Allowed: words that its tokenizer tells apart. "
        "Choose other words or set mode: text."
    )
