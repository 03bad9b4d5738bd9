"""What a server says instead of an answer, whatever the form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from askless.data.replies import said


class Problem(NamedTuple):
    """The body of an error, as servers write it.

    Parameters
    ----------
    words
        What it says to a person.
    code
        A word or a number for it; empty where there is none.
    param
        The field of the request that it is about.
    about
        All that it says, in lower case.
    """

    words: str = ""
    code: str = ""
    param: str = ""
    about: str = ""

    @classmethod
    def of(cls, body: Any, secrets: Sequence[str] = ()) -> Problem:
        """What a body says, whatever its form; `secrets` are cut out."""
        body = _innermost(body)
        if not isinstance(body, Mapping):
            words = said(body, secrets)
            return cls(words, about=words.casefold())
        words = said(next(filter(None, map(body.get, ("message", "detail", "msg"))), None), secrets)
        kind = said(body.get("type"))
        code, param = said(next(filter(None, map(body.get, ("code", "status"))), None)) or kind, said(body.get("param"))
        if isinstance(place := body.get("loc"), list) and place:
            param = said(place[-1])
            words = f"{param}: {words}"
        inner = body.get("innererror")
        inside = said(inner.get("code")) if isinstance(inner, Mapping) else ""
        return cls(words, code, param, " ".join([words, code, kind, inside]).casefold())


def _innermost(body: Any) -> Any:
    """What says most: the error in a body, the first of several."""
    while True:
        if isinstance(body, list) and body:
            body = body[0]
        elif isinstance(body, Mapping) and isinstance(body.get("error"), Mapping | str):
            body = body["error"]
        elif isinstance(body, Mapping) and isinstance(body.get("detail"), Mapping | list) and body["detail"]:
            body = body["detail"]
        else:
            return body


def stated(reply: Mapping[str, Any]) -> Any:
    """The error that a reply with status 200 is instead of an answer, None where it is none."""
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, Mapping):
        message = first.get("message")
        answered = isinstance(message, Mapping) and message.get("content")
        return None if answered else first.get("error") or None
    return reply.get("error") or (reply if reply.get("object") == "error" else reply.get("detail") or None)
