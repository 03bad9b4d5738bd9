"""What a server's reply says: its text or why there is none, what it took, how likely its answer was.

Whatever JSON it is: what cannot be meant is None, and only a reply without any message is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Any

from askless.data.label_reader import LabelReader, bare

Row = dict[str, Any]
Step = tuple[str, float | None, list[tuple[str, float | None]]]
# No context is longer, and no log-probability of JSON lower.
MOST_TOKENS, NEVER = 10_000_000, -9999.0
LONGEST_LOOK, LONGEST_REASON, QUOTE = 2000, 200, 12
LIMIT = "the limit of tokens (max_tokens) was used up before an answer"
_OF_TOKENIZERS = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n"})
_ENDS = {"max_tokens": "length", "end_turn": "stop", "stop_sequence": "stop", "refusal": "content_filter"}


def observed(reply: Mapping[str, Any], reader: LabelReader | None = None, secrets: Sequence[str] = ()) -> Row:
    """What is kept of a reply, as its JSON has it; raises `ValueError` for one without a message.

    Parameters
    ----------
    reply
        Of OpenAI's chat or completion API, or Anthropic's messages.
    reader
        Reads the class that it names; None where the reply itself is the answer.
    secrets
        What is cut out of the server's words.

    Returns
    -------
    dict
        `text`, `finish`, `reason` (why there is no text), `logprob`, the steps of the answer's `own` tokens, and what
        it took: `prompt_tokens` (of them `cached_tokens` and `cache_write_tokens`), `completion_tokens` (of them
        `reasoning_tokens`), `cost_usd`. What is seldom there is left out.
    """
    choice, message = _answered(reply)
    text, finish = _content(message, choice), _finish(choice)
    steps = list(_steps(choice.get("logprobs")))
    own = _own(text or "", steps, reader) if reader else steps
    row: Row = {
        "text": text,
        "finish": finish,
        "logprob": _logprob_of(own, mean=reader is None),
        **_used(_mapping(reply.get("usage"))),
    }
    if reader and own and not any(None in (logprob, *(each for _, each in top)) for _, logprob, top in own):
        row["own"] = [[token, logprob, [list(each) for each in top]] for token, logprob, top in own]
    if (reason := _reason(message, choice, text, finish, secrets)) is not None:
        row["reason"] = reason
    return row


def confidence(row: Mapping[str, Any], label: str, reader: LabelReader) -> tuple[list[float] | None, float | None]:
    """`proba` over the reader's classes, and their `mass`, from the answer's own tokens; None where nothing is listed.

    The answer is as likely as all its tokens together. Any other class is as likely as the alternatives by which its
    word begins, where the answer's tokens are its own so far; one that is not listed gets the most that the lists leave
    room for (`spread`). A `proba` under which another class is likelier than the answer is None.
    """
    steps = row.get("own")
    if steps is None:
        steps = _first_step(row, reader)
    if not any(top for _, _, top in steps):
        return None, None
    words = reader.bare
    shares: dict[str, float | None] = dict.fromkeys(words)
    room = dict.fromkeys(words, 0.0)
    so_far, path = "", 1.0
    for token, logprob, top in steps:
        others = _without(top, token)
        listed = [math.exp(each) for _, each in others] + ([] if logprob is None else [math.exp(logprob)])
        bound = path * min(min(listed), max(0.0, 1 - sum(listed)))
        begun = bare(so_far) if so_far else ""
        room |= {name: max(room[name], bound) for name, word in words.items() if word.startswith(begun)}
        for other, each in others:
            if (owner := reader.owner(so_far + plain(other))) is not None:
                shares[owner] = (shares[owner] or 0.0) + path * math.exp(each)
        so_far, path = so_far + plain(token), path * (0.0 if logprob is None else math.exp(logprob))
    if path:
        shares[label] = (shares[label] or 0.0) + path
    mass = sum(share or 0.0 for share in shares.values())
    if not mass:
        return None, 0.0
    weights = {name: room[name] if share is None else share for name, share in shares.items()}
    agrees = weights[label] >= max(weights.values())
    return [weight / sum(weights.values()) for weight in weights.values()] if agrees else None, min(mass, 1.0)


def plain(token: str) -> str:
    """A token as text, where a server spells it as its tokenizer does."""
    return token.translate(_OF_TOKENIZERS)


def said(words: Any, secrets: Sequence[str] = ()) -> str:
    """A server's words on one line, without secrets, shortened; empty for what is no text."""
    text = str(words)[:LONGEST_LOOK] if isinstance(words, str | int | float) else ""
    for secret in filter(None, secrets):
        text = unquoted(text, secret)
    return valid(" ".join(text.split()))[:LONGEST_REASON]


def unquoted(said: str, secret: str) -> str:
    """What a server said without what it quotes of a secret: all of it, or `QUOTE` characters and more in a row.

    >>> unquoted("Flagged: 'Alice lives at 5 Elm Street, and'", "Alice lives at 5 Elm Street, and more.")
    "Flagged: '...'"
    """
    said = said.replace(secret, "...")
    hidden = [False] * len(said)
    for at in range(len(said) - QUOTE + 1):
        if said[at : at + QUOTE] in secret:
            hidden[at : at + QUOTE] = [True] * QUOTE
    return "".join(
        "..." if hide else "".join(letters for letters, _ in run)
        for hide, run in groupby(zip(said, hidden, strict=True), key=lambda each: each[1])
    )


def valid(text: str) -> str:
    """The text with halves of characters, which no file can hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def quantity(value: Any) -> float | None:
    """A number of tokens, seconds or dollars; None for one that cannot be: below 0, beyond all contexts, or none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return float(value)


def _answered(reply: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The choice and the message of a reply."""
    choice: Mapping[str, Any] = next(iter(_mappings(reply.get("choices"))), {})
    if isinstance(choice.get("message"), Mapping):
        return choice, choice["message"]
    if isinstance(choice.get("text"), str):
        return choice, {"content": choice["text"]}
    if reply.get("type") == "message" and "content" in reply:
        return {"finish_reason": reply.get("stop_reason")}, reply
    raise ValueError("it has no message")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _content(message: Mapping[str, Any], choice: Mapping[str, Any]) -> str | None:
    """The text of a message, which some servers send in parts, some of which are thoughts."""
    content = message.get("content")
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, list):
        texts = [part if isinstance(part, str) else _text_of(part) for part in content]
        return "".join(filter(None, texts)) if any(text is not None for text in texts) else None
    if isinstance(content, bool):
        return str(content).lower()
    return str(content) if isinstance(content, str | int | float) else None


def _text_of(part: Any) -> str | None:
    spoken = isinstance(part, Mapping) and part.get("type", "text") in ("text", "output_text")
    text = part.get("text") if spoken else None
    return text if isinstance(text, str) else None


def _finish(choice: Mapping[str, Any]) -> str | None:
    finish = choice.get("finish_reason")
    return _ENDS.get(finish, said(finish)) if isinstance(finish, str) else None


def _reason(
    message: Mapping[str, Any], choice: Mapping[str, Any], text: str | None, finish: str | None, secrets: Sequence[str]
) -> str | None:
    """Why a reply has no text, None where it has one, or does not say."""
    if (text or "").strip():
        return None
    refusal = message.get("refusal") or next(
        (part.get("refusal") for part in _mappings(message.get("content")) if part.get("type") == "refusal"), None
    )
    if refusal:
        return f"refused by the model: {said(refusal, secrets)}"
    tools = [part for part in _mappings(message.get("content")) if part.get("type") == "tool_use"]
    if message.get("tool_calls") or message.get("function_call") or tools or finish in ("tool_calls", "tool_use"):
        return "the reply is a call of a tool"
    return LIMIT if finish == "length" else None


def _steps(logprobs: Any) -> Iterator[Step]:
    """The tokens of a reply with their log-probabilities and alternatives, in the API's new form or its old one."""
    logprobs = _mapping(logprobs)
    for step in _mappings(logprobs.get("content")):
        top = ((one.get("token"), one.get("logprob")) for one in _mappings(step.get("top_logprobs")))
        yield from _step(step.get("token"), step.get("logprob"), top)
    tokens, values, tops = (logprobs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if isinstance(tokens, list) and isinstance(values, list):
        listed = tops if isinstance(tops, list) else []
        for token, value, others in zip_longest(tokens, values[: len(tokens)], listed[: len(tokens)]):
            yield from _step(token, value, _mapping(others).items())


def _step(token: Any, logprob: Any, top: Iterable[tuple[Any, Any]]) -> Iterator[Step]:
    if isinstance(token, str):
        yield token, _logprob(logprob), [(other, _logprob(each)) for other, each in top if isinstance(other, str)]


def _own(text: str, steps: Sequence[Step], reader: LabelReader) -> list[Step]:
    """The tokens of a reply's answer: those of the word itself, not of the thought before it; none where unclear."""
    named = reader(text) if steps else None
    if named is None:
        return []
    written = "".join(plain(token) for token, _, _ in steps)
    at = written.rfind(text.strip())
    if at >= 0:
        offset = at - (len(text) - len(text.lstrip()))
        start, end = named.start + offset, named.end + offset
    else:
        again = reader(written)
        if again is None or again.label != named.label:
            return []
        start, end = again.start, again.end
    own, place = [], 0
    for step in steps:
        begins, place = place, place + len(step[0])
        if begins < end and place > start:
            own.append(step)
    return own


def _first_step(row: Mapping[str, Any], reader: LabelReader) -> list[Step]:
    """The alternatives to a reply's first token, as earlier versions kept them, where that is the answer's own."""
    text, top = row.get("text") or "", row.get("top")
    named = reader(text)
    if not top or named is None or any(each.isalnum() for each in text[: named.start]):
        return []
    return [("", None, [(str(token), float(logprob)) for token, logprob in top])]


def _without(top: Sequence[Sequence[Any]], token: str) -> list[tuple[str, float]]:
    """The alternatives to a token, which is most often among those that are listed."""
    first = next((at for at, (other, _) in enumerate(top) if other == token), None)
    return [(other, logprob) for at, (other, logprob) in enumerate(top) if at != first]


def _logprob_of(steps: Sequence[Step], *, mean: bool) -> float | None:
    """That of all these tokens together, or of one of them on average."""
    likely = [logprob for _, logprob, _ in steps if logprob is not None]
    if not steps or len(likely) < len(steps):
        return None
    return sum(likely) / len(likely) if mean else max(NEVER, sum(likely))


def _logprob(value: Any) -> float | None:
    """A log-probability, at most 0 and at least that of what never happens; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return float(min(0.0, max(NEVER, value)))


def _used(usage: Mapping[str, Any]) -> Row:
    """Tokens of each kind and billed dollars."""
    read, wrote = _count(usage.get("cache_read_input_tokens")), _count(usage.get("cache_creation_input_tokens"))
    prompt, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if prompt is None and (fresh := _count(usage.get("input_tokens"))) is not None:
        # Here those of the cache are counted beside the others.
        prompt = fresh + (read or 0) + (wrote or 0)
    details = [_mapping(usage.get(f"{kind}_tokens_details")) for kind in ("prompt", "completion")]
    seldom = {
        "cached_tokens": next(filter(None, (read, _count(details[0].get("cached_tokens")))), None),
        "cache_write_tokens": wrote or None,
        "reasoning_tokens": _count(details[1].get("reasoning_tokens")),
    }
    return {
        "prompt_tokens": prompt,
        "completion_tokens": _count(usage.get("output_tokens")) if written is None else written,
        "cost_usd": _billed(usage),
        **{name: count for name, count in seldom.items() if count is not None},
    }


def _count(value: Any) -> int | None:
    digits = isinstance(value, str) and len(value) < 9 and value.isascii() and value.isdigit()
    found = quantity(int(value) if digits else value)
    return None if found is None else int(found)


def _amount(value: Any) -> float | None:
    """Dollars, as a number or in digits; None for what is none, or less than 0."""
    try:
        dollars = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return dollars if 0 <= dollars < math.inf else None


def _billed(usage: Mapping[str, Any]) -> float | None:
    """Dollars that a server says it billed: with a key of the user's own, what was paid upstream is not among them."""
    upstream = _amount(_mapping(usage.get("cost_details")).get("upstream_inference_cost"))
    billed = _amount(usage.get("cost"))
    return billed if upstream is None else max(upstream, billed or 0.0)
