"""How far a command is that spends money, on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askless.spending.ledger import Ledger


class SpendBar:
    """A bar with the money spent, and whatever else is said beside it.

    Parameters
    ----------
    total
        How many there are to do, if that is known.
    unit
        What they are.
    ledger
        Where what is spent is written.
    """

    def __init__(self, total: int | None, unit: str, ledger: Ledger) -> None:
        from tqdm import tqdm

        self._ledger = ledger
        pause = 0.2 if sys.stderr.isatty() else 30.0
        self.bar = tqdm(total=total, unit=f" {unit}", dynamic_ncols=True, delay=0.5, mininterval=pause)

    def say(self, *parts: str, done: int | None = None) -> None:
        """Show these, and how many are `done`, if that is known."""
        limit = "" if self._ledger.limit is None else f" of ${self._ledger.limit:g}"
        self.bar.set_postfix_str(", ".join(filter(None, (f"${self._ledger.spent:.4f}{limit}", *parts))), refresh=False)
        self.bar.update(0 if done is None else done - self.bar.n)

    def waits(self, why: str) -> None:
        """Show why nothing goes on."""
        self.say(f"waiting: {why}")

    def close(self) -> None:
        """Leave the last line as it is."""
        self.bar.close()
