"""What a failed call means: try again, give up the item, or stop the run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

NO_CONNECTION = "no connection"
QUOTE = 12


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
    """

    then: Literal["retry", "give up", "stop"]
    why: str
    wait: float | None = None
    sent: bool = False


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
