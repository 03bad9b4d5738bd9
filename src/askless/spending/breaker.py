"""A circuit breaker: after repeated faults a server is left alone for a while, then tried by one call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

AFTER, PAUSE_S, LONGEST_S = 5, 15.0, 300.0


class Breaker:
    """Opens after faults in a row, for a pause that is twice as long each time until a call goes well.

    Open, it lets no call through; then one, on trial, and all others once that went well.

    Parameters
    ----------
    after
        Faults in a row that open it.
    pause, longest
        Seconds that it is open first, and at most at a time.
    clock
        Where the seconds are read.
    """

    def __init__(
        self,
        after: int = AFTER,
        pause: float = PAUSE_S,
        longest: float = LONGEST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.after = after
        self.pause = pause
        self.longest = longest
        self.last = ""
        self._clock = clock
        self._lock = threading.Lock()
        self._faults = 0
        self._opened = 0
        self._until = self._since = 0.0
        self._trial = False

    @property
    def open(self) -> bool:
        """Whether calls are being held back."""
        return self._opened > 0

    @property
    def outage(self) -> float:
        """Seconds since it opened first and no call went well."""
        with self._lock:
            return self._clock() - self._since if self._opened else 0.0

    def wait(self) -> float:
        """Seconds until a call may be tried; 0 lets this one through, the outcome of which must be reported here."""
        with self._lock:
            if not self._opened:
                return 0.0
            left = self._until - self._clock()
            if left > 0 or self._trial:
                return max(left, 0.1)
            self._trial = True
            return 0.0

    def well(self) -> None:
        """A call went well."""
        with self._lock:
            self._faults, self._opened, self._trial, self.last = 0, 0, False, ""

    def unused(self) -> None:
        """A call that was let through was not made after all."""
        with self._lock:
            self._trial = False

    def fault(self, why: str, *, final: bool = False) -> None:
        """A call failed; a `final` fault, which no other call would get over, opens at once."""
        with self._lock:
            self._faults, self.last = self._faults + 1, why
            held = self._opened and not self._trial
            if not held and (final or self._faults >= self.after or self._trial):
                seconds, now = min(self.pause * 2.0**self._opened, self.longest), self._clock()
                self._since = self._since if self._opened else now
                self._until, self._opened, self._trial = now + seconds, self._opened + 1, False
