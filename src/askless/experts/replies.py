"""What kept observations mean: a reply as a class, label log-probabilities as prediction columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from askless.arrays import Floats
from askless.data.label_reader import reader_of
from askless.data.replies import valid

EMPTY = "empty reply"
CUT = "cut off: it did not end within the tokens it may have"
GARBLED = "not valid Unicode"
OVERFLOW = "no finite probability: the model needs a larger dtype"
_ALLOWED = "the reply must name one of {words}, and no other"
SHORT = "; the limit of tokens cut it off"


def parse(reply: str, words: Mapping[str, str]) -> str | None:
    """The class that a reply names (`data.label_reader`), or None where it names none; `words` maps class -> word.

    Where the words are 0 and 1 the rule is the published one (Team, OLHS): the whole reply read as an integer, 0 is 0,
    any other is 1; but what is no integer is no answer, not class 0.

    >>> parse(" 1\\n", {"clean": "0", "offensive": "1"})
    'offensive'
    >>> parse("The answer is yes.", {"clean": " no", "offensive": " yes"})
    'offensive'
    >>> parse("It is not.", {"clean": " no", "offensive": " yes"})
    """
    return reader_of(words).label(reply)


def replied(
    replies: Sequence[str | None], words: Mapping[str, str], ended: Sequence[bool] | None = None
) -> dict[str, list[Any]]:
    """Columns `label`, `text` and `error` of replies; without label words the reply itself is the answer.

    One that is empty, says the same over and over (`text.summary_faults`), is no valid Unicode or has not `ended`
    keeps its text and has an error.
    """
    ended = [True] * len(replies) if ended is None else ended
    texts = [None if reply is None else valid(reply) for reply in replies]
    if not words:
        return {"text": texts, "error": _faults(replies, texts, ended)}
    labels = [None if reply is None else parse(reply, words) for reply in replies]
    legal = _ALLOWED.format(words=[word.strip() for word in words.values()])
    errors = [
        None
        if label is not None
        else EMPTY
        if not (reply or "").strip()
        else f"unparsable reply: {legal}{'' if end else SHORT}"
        for label, reply, end in zip(labels, replies, ended, strict=True)
    ]
    return {"label": labels, "text": texts, "error": errors}


def written(rows: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> dict[str, list[Any]]:
    """Columns of replies that a model wrote here: rows with `text`, mean `logprob` and whether the reply `ended`."""
    columns = replied([row["text"] for row in rows], words, [row.get("ended", True) for row in rows])
    columns["logprob"] = finite(np.array([row["logprob"] for row in rows], np.float64))
    pairs = zip(columns["error"], columns["logprob"], strict=True)
    columns["error"] = [OVERFLOW if logprob is None else error for error, logprob in pairs]
    return columns


def _faults(replies: Sequence[str | None], texts: Sequence[str | None], ended: Sequence[bool]) -> list[str | None]:
    from askless.text.summary_faults import LOOP, faults

    said = [text or "" for text in texts]
    # Beside itself no text is too long or in another script.
    each = zip(replies, said, faults(said, said), ended, strict=True)
    return [
        EMPTY if not text.strip() else LOOP if fault == LOOP else GARBLED if text != reply else None if end else CUT
        for reply, text, fault, end in each
    ]


def scored(classes: Sequence[str], logprobs: Floats, min_mass: float = 0.0) -> dict[str, list[Any]]:
    """Columns of label scores, natural log-probabilities of shape (rows, classes).

    `proba` is normalised over the classes, `mass` is their total probability, `logprob` that of the answer
    before normalising. A row of less than `min_mass`, or of none at all, is null with its error.
    """
    proba, mass = normalised(logprobs)
    best = logprobs.argmax(axis=1)
    clear = (mass > 0) & (mass >= min_mass)
    floor = f", less than min_mass {min_mass:g}" if min_mass else ""
    return {
        "label": [classes[i] if ok else None for i, ok in zip(best, clear, strict=True)],
        "proba": [row if ok else None for row, ok in zip(proba.tolist(), clear, strict=True)],
        "logprob": finite(logprobs[np.arange(len(best)), best]),
        "mass": np.minimum(mass, 1.0).tolist(),
        "error": [
            None if ok else f"probability {m:.3g} on all label words{floor}" for m, ok in zip(mass, clear, strict=True)
        ],
    }


def normalised(logprobs: Floats) -> tuple[Floats, Floats]:
    """Probabilities that sum to 1 in each row, and the sum before; a row without any mass is uniform."""
    top = logprobs.max(axis=1, keepdims=True, initial=-np.inf)
    weight = np.exp(logprobs - np.where(np.isfinite(top), top, 0.0))
    total = weight.sum(axis=1, keepdims=True)
    uniform = np.full_like(weight, 1.0 / weight.shape[1])
    proba = np.divide(weight, total, out=uniform, where=total > 0)
    return proba, np.exp(logprobs).sum(axis=1)


def spread(seen: Sequence[float | None], every: Sequence[float]) -> tuple[list[float] | None, float | None]:
    """`proba` over the classes and `mass` from the probabilities that a short list gives to them, and to anything.

    A class that is not listed gets the most that the list leaves room for, the least listed probability or the rest,
    so that a short list makes no answer look surer than it is.
    """
    mass = sum(share or 0.0 for share in seen)
    if mass == 0:
        return None, 0.0
    bound = min(min(every), max(0.0, 1 - sum(every)))
    weights = [bound if share is None else share for share in seen]
    return [weight / sum(weights) for weight in weights], min(mass, 1.0)


def finite(values: Floats) -> list[float | None]:
    """The values as a list, None for what is not finite."""
    return [float(v) if np.isfinite(v) else None for v in values]
