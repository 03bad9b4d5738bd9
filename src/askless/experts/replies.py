"""What kept observations mean: a reply as a class, label log-probabilities as prediction columns."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from askless.arrays import Floats

EMPTY = "empty reply"
CUT = "cut off: it did not end within the tokens it may have"
GARBLED = "not valid Unicode"
OVERFLOW = "no finite probability: the model needs a larger dtype"
# No context is longer, and no log-probability of JSON lower.
MOST_TOKENS, NEVER = 10_000_000, -9999.0
_TRIM = string.whitespace + string.punctuation
_ALLOWED = "the reply must be one of {words} and nothing else"


def parse(reply: str, words: Mapping[str, str]) -> str | None:
    """The class that a reply names, or None where it names none.

    `words` maps class -> word. Where the words are 0 and 1 the rule is the published one (Team, OLHS): the
    whole reply read as an integer, 0 is 0, any other is 1; but what is no integer is no answer, not class 0.
    A reply that is a word but for case, blanks or punctuation around it names that word's class.

    >>> parse(" 1\\n", {"clean": "0", "offensive": "1"})
    'offensive'
    >>> parse("Yes.", {"clean": " no", "offensive": " yes"})
    'offensive'
    >>> parse("It is not.", {"clean": " no", "offensive": " yes"})
    """
    classes = {word.strip().casefold(): name for name, word in words.items()}
    if set(classes) == {"0", "1"}:
        try:
            return classes["0" if int(reply) == 0 else "1"]
        except ValueError:
            pass
    said = reply.strip().casefold()
    return classes.get(said, classes.get(said.strip(_TRIM)))


def replied(
    replies: Sequence[str | None], words: Mapping[str, str], ended: Sequence[bool] | None = None
) -> dict[str, list[Any]]:
    """Columns `label`, `text` and `error` of replies; without label words the reply itself is the answer.

    One that is empty, says the same over and over (`text.summary_faults`), is no valid Unicode or has not `ended`
    keeps its text and has an error.
    """
    texts = [None if reply is None else _valid(reply) for reply in replies]
    if not words:
        return {"text": texts, "error": _faults(replies, texts, [True] * len(texts) if ended is None else ended)}
    labels = [None if reply is None else parse(reply, words) for reply in replies]
    legal = _ALLOWED.format(words=[word.strip() for word in words.values()])
    errors = [
        None if label is not None else EMPTY if not (reply or "").strip() else f"unparsable reply: {legal}"
        for label, reply in zip(labels, replies, strict=True)
    ]
    return {"label": labels, "text": texts, "error": errors}


def written(rows: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> dict[str, list[Any]]:
    """Columns of replies that a model wrote here: rows with `text`, mean `logprob` and whether the reply `ended`."""
    columns = replied([row["text"] for row in rows], words, [row.get("ended", True) for row in rows])
    columns["logprob"] = finite(np.array([row["logprob"] for row in rows], np.float64))
    pairs = zip(columns["error"], columns["logprob"], strict=True)
    columns["error"] = [OVERFLOW if logprob is None else error for error, logprob in pairs]
    return columns


def _valid(reply: str) -> str:
    """The reply with halves of characters, which no file can hold, replaced by U+FFFD."""
    return reply.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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


def listed(top: Sequence[Sequence[Any]] | None, words: Sequence[str | None]) -> tuple[list[float] | None, float | None]:
    """`proba` over the classes and `mass` from a server's likeliest first tokens, (token, log-probability).

    A token counts for the one class whose word begins with it, whatever its case and blanks. Both are None where
    nothing is listed.

    >>> listed([[" Yes", -0.105], ["maybe", -3.0]], ["no", "yes"])[1]
    0.9003245225862656
    """
    if not top:
        return None, None
    seen: list[float | None] = [None] * len(words)
    for token, logprob in top:
        said = str(token).strip().casefold()
        meant = [i for i, word in enumerate(words) if said and word and word.strip().casefold().startswith(said)]
        if len(meant) == 1:
            seen[meant[0]] = (seen[meant[0]] or 0.0) + math.exp(logprob)
    return spread(seen, [math.exp(logprob) for _, logprob in top])


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


def observed(reply: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a server's reply, as its JSON has it: text, counts, the alternatives to its first visible token.

    A number that cannot be meant is None, so that what is kept can always be read; raises `ValueError` for a reply
    without a message.
    """
    choice = next(iter(_mappings(reply.get("choices"))), {})
    if not isinstance(choice.get("message"), Mapping):
        raise ValueError("it has no message")
    steps = _mappings(_mapping(choice.get("logprobs")).get("content"))
    first = next((step for step in steps if str(step.get("token") or "").strip()), None)
    likely = [_logprob(step.get("logprob")) for step in steps]
    usage = _mapping(reply.get("usage"))
    return {
        "text": _content(choice["message"].get("content")),
        "finish": None if choice.get("finish_reason") is None else str(choice["finish_reason"]),
        "top": _alternatives(first),
        "logprob": None if not likely or None in likely else sum(filter(None, likely)) / len(likely),
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
        "cost_usd": _billed(usage),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _content(content: Any) -> str | None:
    """The text of a message, which some servers send in parts."""
    if not isinstance(content, list):
        return None if content is None else str(content)
    texts = [part.get("text") for part in _mappings(content) if part.get("type") == "text"]
    return "".join(str(text) for text in texts if text is not None)


def _logprob(value: Any) -> float | None:
    """A log-probability, at most 0 and at least that of what never happens; None for what is none."""
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    return min(0.0, max(NEVER, float(value)))


def _alternatives(step: Mapping[str, Any] | None) -> list[list[Any]] | None:
    """Token and log-probability of each alternative to a step, None where one of them says neither."""
    top = step.get("top_logprobs") if step else None
    if step is None or (top is not None and not isinstance(top, list)):
        return None
    each = [[one.get("token"), _logprob(one.get("logprob"))] for one in _mappings(top)]
    return None if any(token is None or logprob is None for token, logprob in each) else each


def quantity(value: Any) -> float | None:
    """A number of tokens, seconds or dollars; None for one that cannot be: below 0, beyond all contexts, or none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return float(value)


def _count(value: Any) -> int | None:
    found = quantity(value)
    return None if found is None else int(found)


def _amount(value: Any) -> float | None:
    """Dollars, as a number or in digits; None for what is none, or less than 0."""
    try:
        dollars = float(value)
    except (TypeError, ValueError):
        return None
    return dollars if 0 <= dollars < math.inf else None


def _billed(usage: Mapping[str, Any]) -> float | None:
    """Dollars that a server says it billed: with a key of the user's own, what was paid upstream is not among them."""
    upstream = _amount(_mapping(usage.get("cost_details")).get("upstream_inference_cost"))
    billed = _amount(usage.get("cost"))
    return billed if upstream is None else max(upstream, billed or 0.0)
