"""When a request to a server may be made, and made again."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from askless.experts.faults import NO_CONNECTION, STOPPED, Fault, Refused

if TYPE_CHECKING:
    from tenacity import RetryCallState

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
T = TypeVar("T")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Failed(Exception):
    """One try, and what its failure means.

    Parameters
    ----------
    found
        What it means.
    """

    def __init__(self, found: Fault) -> None:
        super().__init__(found.why)
        self.found = found


class Pace:
    """Spreads the requests of many threads, and their tokens, over each minute, and holds all when a server says so.

    Parameters
    ----------
    per_minute, tokens_per_minute
        Most requests and most tokens a minute, more than 0; None is no limit.
    """

    def __init__(self, per_minute: float | None, tokens_per_minute: float | None = None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._token_gap = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._next = 0.0
        self._next_token = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event, tokens: int = 0) -> None:
        """Wait for the turn of a request of about so many tokens, or until `stop` is set."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next, self._next_token)
            self._next = turn + self._gap
            self._next_token = turn + tokens * self._token_gap
        stop.wait(turn - now)

    def settle(self, reserved: int, used: int) -> None:
        """A request took `used` tokens where `reserved` were set aside: the next ones start the sooner or later."""
        with self._lock:
            self._next_token += (used - reserved) * self._token_gap

    def hold(self, seconds: float) -> None:
        """Let no request start in the next `seconds`."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def unchanged(found: Fault) -> Fault:
    """The same fault."""
    return found


def persist(
    call: Callable[[], T],
    pace: Pace,
    stop: threading.Event,
    tries: int,
    on_fault: Callable[[Fault], Fault] = unchanged,
    tokens: int = 0,
) -> T | Fault:
    """The result of `call`, which raises `Failed`, tried up to `tries` times, or the fault that no try got over.

    A server that cannot be reached at all is a reason to stop, not to give up item after item. Once `stop` is set by
    another thread nothing more is tried, and the fault is `STOPPED`. `on_fault` gets each fault and returns what is
    made of it. About so many `tokens` are set aside at each try, and let go where it fails.
    """
    from tenacity import Retrying, retry_if_exception, sleep_using_event, stop_after_attempt

    def attempt() -> T:
        pace.wait(stop, tokens)
        if stop.is_set():
            raise Failed(STOPPED)
        try:
            return call()
        except Refused as refused:
            pace.settle(tokens, 0)
            raise Failed(Fault(refused.then, str(refused))) from None
        except Failed as failed:
            pace.settle(tokens, 0)
            found = on_fault(failed.found)
        if found.then == "retry" and found.wait is not None:
            pace.hold(min(found.wait, LONGEST_RETRY_AFTER_S))
        raise Failed(found)

    retrying = Retrying(
        stop=stop_after_attempt(tries),
        wait=_delay,
        sleep=sleep_using_event(stop),
        retry=retry_if_exception(_passing),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except Failed as failed:
        found = failed.found
    if found.then != "retry":
        return found
    return replace(found, then="stop" if found.why == NO_CONNECTION else "give up", why=f"{found.why}, {tries} tries")


def _passing(error: BaseException) -> bool:
    return isinstance(error, Failed) and error.found.then == "retry"


def _delay(state: RetryCallState) -> float:
    """Seconds until the next try, doubling with jitter; none where the server said how long all have to wait."""
    from tenacity import wait_exponential, wait_random

    failed = state.outcome.exception() if state.outcome else None
    if isinstance(failed, Failed) and failed.found.wait is not None:
        return 0.0
    backoff = wait_exponential(FIRST_WAIT_S, LONGEST_WAIT_S) + wait_random(0, FIRST_WAIT_S / 2)
    return float(backoff(state))


def retry_after(headers: Any) -> float | None:
    """Seconds that a server asks to wait, 0 or more; None where it does not say.

    By `Retry-After-Ms`, `Retry-After` (seconds or a date), else until a used-up limit is reset.

    >>> retry_after({"retry-after": "1.5"})
    1.5
    >>> retry_after({"retry-after-ms": "20", "retry-after": "1"})
    0.02
    >>> retry_after({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m2.5s"})
    62.5
    """
    with suppress(TypeError, ValueError):
        return max(0.0, float(headers.get("retry-after-ms")) / 1000)
    value = headers.get("retry-after")
    if not value:
        return max(filter(None, (_reset(headers, what) for what in ("requests", "tokens"))), default=None)
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _reset(headers: Any, what: str) -> float | None:
    """Seconds until a limit that is used up is reset, None where it is not or does not say."""
    parts = _SPAN.findall(headers.get(f"x-ratelimit-reset-{what}", ""))
    if headers.get(f"x-ratelimit-remaining-{what}") != "0" or not parts:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
