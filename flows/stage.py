"""How a stage is run from the command line: arguments in, a line at the end or one clear error out."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from askless.errors import AsklessError
from flows.server import PASSING
from tasks.progress import duration

# Whose errors stand for what they met themselves.
WRAPPERS = ("mlflow", "sqlalchemy")
# No flow hangs for ever; one that is due every night has ended before the next.
HOUR, MOST_OF_A_DAY = 3600, 23 * 3600
FULL = (errno.ENOSPC, errno.EDQUOT)
FAILED = "Finished in state Failed"
# What goes well needs no line of its own; a link to a server that ends with the command is dead when it is read.
ROUTINE = ("Beginning ", "Finished in state Completed(")
LINK = "View at "
LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Routine is left out; an `AsklessError` explains itself, once, at the end, without traceback and echoes."""
    said = record.getMessage()
    if said.startswith(ROUTINE) or (said.startswith(LINK) and PASSING in os.environ):
        return False
    if record.exc_info and explained(record.exc_info[1]):
        return False
    if FAILED in said:
        record.msg, record.args = FAILED, ()
    return True


def _briefly(record: logging.LogRecord) -> bool:
    if record.exc_info and (why := explained(record.exc_info[1])):
        if not isinstance(record.exc_info[1], AsklessError):
            record.msg, record.args = f"{record.getMessage()}: {why}", ()
        record.exc_info = record.exc_text = None
    return True


def explained(error: BaseException | None) -> str:
    """What went wrong, in words, where the input, a disk, a database or a server is at fault; else nothing."""
    if isinstance(error, AsklessError):
        return str(error)
    while error is not None:
        said = next(iter(str(error).splitlines()), "").strip().rstrip(".")
        if isinstance(error, OSError) and error.errno in FULL or "database or disk is full" in said:
            return f"The disk is full ({said}). What was made is kept: free some space and run again."
        if "database is locked" in said:
            return (
                "A database is locked: another process has been writing to it for too long, or hangs. What was made is "
                "kept: end that process, and run again."
            )
        if isinstance(error, ConnectionError) or type(error).__module__.partition(".")[0] in ("requests", "urllib3"):
            return (
                f"A server does not answer ({said}). What was made is kept: see that those of MLFLOW_TRACKING_URI and "
                "PREFECT_API_URL run, and run again."
            )
        if isinstance(error, TimeoutError) and "exceeded timeout" in said:
            return f"It took longer than it may ({said}). What was made and paid for is kept: run again."
        wrapped = type(error).__module__.startswith(WRAPPERS)
        error = error.__cause__ or (error.__context__ if wrapped else None)
    return ""


def without_tracebacks() -> None:
    """For a flow that a worker runs: a `AsklessError` explains itself, its traceback is left out of the run's log."""
    for logger in LOGGERS:
        logging.getLogger(logger).addFilter(_briefly)


def run_stage(
    flow: Callable[..., Any], names: list[str], options: Mapping[str, str] | None = None, **flags: str
) -> None:
    """Parse the positional `names`, `--params`, `options` and `flags`, run the flow, say how long it took.

    Exits 1 with the message of an `AsklessError`.

    An option and a flag are given as name and what it does; one has a value, the other none.
    """
    parser = argparse.ArgumentParser(prog=f"python -m flows.{Path(sys.argv[0]).stem}", description=flow.__doc__)
    for name in names:
        parser.add_argument(name)
    parser.add_argument("--params", default="params.yaml", help="parameters file (default: params.yaml)")
    for name, what in (options or {}).items():
        parser.add_argument(f"--{name}", help=what)
    for name, what in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=what)
    arguments = vars(parser.parse_args())
    for logger in LOGGERS:
        logging.getLogger(logger).addFilter(_worth_a_line)
    start = time.monotonic()
    try:
        flow(**arguments)
        of = " ".join([flow.__name__, *(arguments[name] for name in names)])
        sys.stderr.write(f"{of}: done in {duration(time.monotonic() - start)}\n")
    except AsklessError as error:
        sys.stderr.write(f"\n{flow.__name__} failed: {error}\n")
        raise SystemExit(1) from None
    except Exception as error:
        # Not "failed", which is for what no other try would mend.
        gone = f"the Prefect server is gone ({error}). Start it and run again."
        why = gone if isinstance(error, httpx.TransportError) else explained(error)
        if not why:
            raise
        sys.stderr.write(f"\n{flow.__name__} stopped: {why}\n")
        raise SystemExit(1) from None
