"""New files of a task, one after the other: one that fails does not keep the others, and fails the flow at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from prefect import State, get_run_logger

from askless.errors import AsklessError
from tasks.answering import Facts, Place, new_files


def each_file(place: Place, work: Callable[[Path], State[Facts]]) -> list[State[Facts]]:
    """What became of `work` on each new file; those of a kind that is not read are named in the log."""
    files, unknown = new_files(place)
    for path in unknown:
        get_run_logger().warning("%s is left alone: files ending in .csv, .jsonl or .parquet are read", path)
    return [work(path) for path in files]


def outcomes(states: Sequence[State[Facts]]) -> list[Facts]:
    """What is told of each file of which the work ended."""
    return [state.result() for state in states if state.is_completed()]


def raise_first(states: Sequence[State[Facts]]) -> None:
    """Raise what the first of the files failed with whose work failed; nothing where none did."""
    failed = [state for state in states if not state.is_completed()]
    if failed:
        first = failed[0].result(raise_on_failure=False)
        raise first if isinstance(first, AsklessError) else RuntimeError(f"{len(failed)} files failed: {first}")
