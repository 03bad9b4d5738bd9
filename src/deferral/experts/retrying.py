"""When a request to a server may be made, and what a failed one means: retry, give up the item, or stop."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
NO_CONNECTION = "no connection"
T = TypeVar("T")
_PASSING = (408, 409, 425, 429)
# A gateway's: behind it the request may still be answered.
_LATE = (408, 504, 524)
_CUT = 200
# What the client's transport raises before a request has left.
_UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "LocalProtocolError")


@dataclass(frozen=True)
class Fault:
    """What a failed request means; `wait` is what the server asked for, in seconds.

    `sent`, the server may have answered, and billed, what never came.
    """

    then: Literal["retry", "give up", "stop"]
    why: str
    wait: float | None = None
    sent: bool = False

    def delay(self, attempt: int) -> float:
        """Seconds until the next try: the server's wish, else doubling from `FIRST_WAIT_S`, with jitter."""
        if self.wait is not None:
            return min(self.wait, LONGEST_RETRY_AFTER_S)
        return min(FIRST_WAIT_S * 2.0**attempt, LONGEST_WAIT_S) * random.uniform(0.75, 1.25)


STOPPED = Fault("stop", "")


class Refused(Exception):
    """A call was not made: `then` says whether the item is given up or nothing more is asked."""

    def __init__(self, why: str, then: Literal["give up", "stop"] = "give up") -> None:
        super().__init__(why)
        self.then: Literal["give up", "stop"] = then


def as_it_is(found: Fault) -> Fault:
    """The same fault."""
    return found


class Pace:
    """Spreads the requests of many threads over each minute, and holds them all when a server says so."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Wait for this request's turn, or until `stop` is set."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
        stop.wait(turn - now)

    def hold(self, seconds: float) -> None:
        """Let no request start in the next `seconds`."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def persist(
    call: Callable[[], T],
    pace: Pace,
    stop: threading.Event,
    tries: int,
    secrets: tuple[str, ...] = (),
    told: Callable[[Fault], Fault] = as_it_is,
) -> T | Fault:
    """The result of `call`, tried up to `tries` times, or the fault that no try got over.

    A server that cannot be reached at all is a reason to stop, not to give up item after item. Once `stop` is
    set by another thread nothing more is tried, and the fault is `STOPPED`. `told` hears of each fault and says what
    is made of it.
    """
    found = STOPPED
    for attempt in range(tries):
        pace.wait(stop)
        if stop.is_set():
            return STOPPED
        try:
            return call()
        except Refused as refused:
            return Fault(refused.then, str(refused))
        except Exception as error:
            found = told(fault(error, secrets))
        if found.then != "retry":
            return found
        if found.wait is not None:
            pace.hold(found.delay(attempt))
        elif attempt + 1 < tries:
            stop.wait(found.delay(attempt))
    return Fault("stop" if found.why == NO_CONNECTION else "give up", f"{found.why}, {tries} tries")


def fault(error: Exception, secrets: tuple[str, ...] = ()) -> Fault:
    """What an exception of the openai client, or a reply that could not be read, means.

    `secrets` (the key, the item's text) are cut out of what the server said.
    """
    import openai

    if isinstance(error, openai.APIConnectionError):
        why = "timed out" if isinstance(error, openai.APITimeoutError) else NO_CONNECTION
        return Fault("retry", why, sent=type(error.__cause__).__name__ not in _UNSENT)
    if not isinstance(error, openai.APIStatusError):
        return Fault("retry", f"unreadable reply ({type(error).__name__})", sent=True)
    status, code = error.status_code, str(error.code or error.type or "")
    if status in (401, 403):
        return Fault("stop", f"HTTP {status}: the key was refused")
    if status == 404:
        return Fault("stop", "HTTP 404: no such model or no such path")
    if status == 429 and code == "insufficient_quota":
        return Fault("stop", "HTTP 429: the account's quota is used up")
    if status in _PASSING or status >= 500:
        return Fault("retry", f"HTTP {status}", retry_after(error.response.headers), sent=status in _LATE)
    return Fault("give up", f"HTTP {status}: {_said(error, secrets)}")


def retry_after(headers: Any) -> float | None:
    """Seconds that a `Retry-After` (seconds or a date) asks to wait, None where there is none to be read.

    >>> retry_after({"retry-after": "1.5"})
    1.5
    """
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _said(error: Any, secrets: tuple[str, ...]) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    said = str(body.get("message") or error.code or error.type or "no reason given")
    for secret in filter(None, secrets):
        said = said.replace(secret, "...")
    return said[:_CUT]
