"""Whether money may be spent: a person at the terminal is asked, unless it was said beforehand."""

from __future__ import annotations

import os
import sys

from askless.errors import BudgetError

YES = "ASKLESS_YES"


def require_consent(why: str, yes: bool, allow: str) -> None:
    """Ask a person at the terminal whether to go on.

    Parameters
    ----------
    why
        What would be spent, or why nobody knows it; a sentence or more.
    yes
        Whether somebody agreed already; so does ASKLESS_YES=1 in the environment.
    allow
        How else to agree, for the message: comes after "Allow it by".

    Raises
    ------
    BudgetError
        Where the answer is no, or standard input is no terminal.
    """
    if not (yes or os.environ.get(YES) == "1" or _agreed(why)):
        raise BudgetError(f"{why} Nothing was asked. Allow it by {allow}, or by {YES}=1 in the environment.")


def _agreed(why: str) -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{why} Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
