"""What a failed call means: try again, give up the item, or stop the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NO_CONNECTION = "no connection"
REPEATED = "the reply had come before, to another request"


@dataclass(frozen=True)
class Fault:
    """What a failed call means.

    Parameters
    ----------
    then
        `retry` the call, `give up` the item, or `stop` the run.
    why
        The reason, free of keys and texts.
    wait
        Seconds that the server asks to wait, None where it does not say.
    sent
        Whether the server may have answered, and billed, what never came.
    status
        Of HTTP, None where there was none.
    of_text
        Whether it is the item's text that is refused, so that other items may well be answered.
    """

    then: Literal["retry", "give up", "stop"]
    why: str
    wait: float | None = None
    sent: bool = False
    status: int | None = None
    of_text: bool = False


STOPPED = Fault("stop", "")


class Refused(Exception):
    """A call that was not made.

    Parameters
    ----------
    why
        The reason, free of keys and texts.
    then
        Whether the item is given up or nothing more is asked.
    """

    def __init__(self, why: str, then: Literal["give up", "stop"] = "give up") -> None:
        super().__init__(why)
        self.then: Literal["give up", "stop"] = then
