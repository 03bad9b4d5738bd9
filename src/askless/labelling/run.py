"""A stream of items labelled a chunk at a time, gone on with after a kill.

What a run needs is in the folder beside its output: `run.json` what it was begun with, `ledger.sqlite` every call,
`answers/` those of expensive experts, `parts/` the answered chunks. A chunk is answered when its part is there. Until
then the run decides it again, which costs nothing: answers are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.data.stream import Chunk, ItemSource
from askless.data.tables import PIPE
from askless.errors import DataError
from askless.files import locked, read_json, write_text
from askless.labelling.answerer import KEPT, Answerer
from askless.labelling.outputs import Parts, output
from askless.monitoring.decide_and_log import loggable
from askless.monitoring.decision_log import DecisionLog
from askless.spending.ledger import Ledger
from askless.stats import shift
from askless.stats.known_words import KnownWords
from askless.stats.shift import Shift

FORMAT = 1
SCORES = "the model"


def answer_chunk(
    answerer: Answerer, chunk: Chunk, log: DecisionLog | None = None, key: str = "", texts: bool = True
) -> pa.Table:
    """A row of `OUTPUT` for each of the chunk's, its text too with `texts`; `log` has the decisions, once for a `key`.

    No log of this has texts.
    """
    answered = answerer.answer(chunk.texts, chunk.number, chunk.faults)
    if (learning := answerer.version.learning) is not None:
        learning.name(zip(chunk.ids, answered.rows["id"].to_pylist(), strict=True))
    if log is not None:
        log.append(loggable(answered.distinct, answerer.version.bundle.classes, texts=False, names=log.names), key)
    return output(chunk, answered.rows, texts)


@dataclass
class LabelProgress:
    """How far a run is.

    Parameters
    ----------
    rows
        Answered.
    before
        Of these, answered before this process began.
    reasons
        How many rows have each.
    """

    rows: int = 0
    before: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Run:
    """One output and the folder of its run. Use `opened`.

    Parameters
    ----------
    out
        The output; the run's folder stands beside it.
    facts
        What may not change while the run lasts: model, budget, rows of a chunk.
    """

    def __init__(self, out: Path, facts: Mapping[str, Any]) -> None:
        self.out = out
        self.folder = folder_of(out)
        self.facts = {"format": FORMAT, **facts}
        self.parts = Parts(self.folder / "parts")

    @classmethod
    @contextmanager
    def opened(cls, out: Path, facts: Mapping[str, Any]) -> Iterator[Run]:
        """The run of `out`, begun or gone on with; `facts` are what may not change in between.

        Raises `DataError` for an output that another run or another program made, and while another process is at it.
        """
        run = cls(out, facts)
        if out.exists() and not (run.folder / "run.json").exists():
            remedy = "Give another output, or move the file away."
            raise DataError(out, "a file that no run of label made", "a new output, or that of the same run", remedy)
        with locked(run.folder / ".lock", wait=0) as mine:
            if not mine:
                raise DataError(run.folder, "another process is at this run", "one at a time", "Wait until it ends.")
            run._check()
            yield run

    @property
    def done(self) -> bool:
        """Whether the output is there."""
        return self.out.exists()

    def due(self, source: ItemSource, rows: int, again: Collection[str] = ()) -> Iterator[Chunk]:
        """The chunks that `label` would answer; none of a pipe, which is read once."""
        for chunk in source.chunks(rows) if source.file.path != PIPE else ():
            if _is_due(self.parts.reasons(chunk, source.where), again):
                yield chunk

    def label(
        self,
        source: ItemSource,
        rows: int,
        answer: Callable[[Chunk], pa.Table],
        report: Callable[[LabelProgress], None] = lambda progress: None,
        again: Collection[str] = (),
        stopped: Callable[[], bool] = lambda: False,
    ) -> LabelProgress:
        """Answer every chunk that has no part yet, in order.

        Parameters
        ----------
        source
            The items.
        rows
            Rows of a chunk.
        answer
            Gives a row of `OUTPUT` for each row of a chunk.
        report
            Called with how far the run is after each chunk.
        again
            Chunks in which a row has one of these reasons are answered anew.
        stopped
            Whether to end; asked after each chunk.

        Returns
        -------
        LabelProgress
            The rows of all chunks, those that were answered before among them.

        Raises
        ------
        DataError
            For an input that ends before the parts do, or is another.
        """
        progress, last = LabelProgress(), -1
        for chunk in source.chunks(rows):
            reasons = self.parts.reasons(chunk, source.where)
            if reasons is None or _is_due(reasons, again):
                reasons = self.parts.write(chunk, answer(chunk))
            else:
                progress.before += len(chunk)
            progress.rows, last = progress.rows + len(chunk), chunk.number
            progress.reasons.update(reasons)
            report(progress)
            if stopped():
                return progress
        if not progress.rows:
            raise DataError(source.where, "no rows", "at least one", "Make or fetch it again.")
        if self.parts.numbers() != list(range(last + 1)):
            got = f"{progress.rows:,} rows, fewer than this run has answered"
            raise DataError(source.where, got, "the rows that this run began with", "Give the same input again.")
        return progress

    def finish(self, texts: bool, meta: Mapping[str, Any], raw: bool = False) -> Path:
        """Put the parts together as the output, where it was not there or they are newer; `raw` as of `Parts.merge`."""
        self.parts.merge(self.out, meta, texts, raw)
        return self.out

    def shift(self, before: pa.Table) -> Shift:
        """Whether the rows look like `before`, how the model decided those it was calibrated on (its baseline)."""
        rows = pa.concat_tables(self.parts.tables(["score", "expert", "reason"]))
        rows = rows.filter(pc.is_valid(rows["expert"]))
        kept = (int(pc.sum(pc.not_equal(rows["reason"], KEPT)).as_py() or 0), rows.num_rows)
        was = (int(pc.sum(pc.greater(pc.list_value_length(before["asked"]), 0)).as_py() or 0), before.num_rows)
        then, now = (shift.summary(each["score"].to_numpy()) for each in (before, rows))
        return shift.compare({SCORES: then}, {SCORES: now}, (was, kept))

    def new_words(self, known: KnownWords) -> Shift:
        """Whether more words of the texts are new than were among texts of before; untold where no text is kept."""
        texts = (known.unknown(part["text"].drop_null().to_pylist()) for part in self.parts.tables(["text"]))
        return known.held_against(np.concatenate([*texts]))

    def ledger(self, limit: float | None) -> Ledger:
        """Every call of this run; raises `DataError` where what was paid is no longer known."""
        path = self.folder / "ledger.sqlite"
        begun = bool(self.parts.numbers()) or any((self.folder / "answers").glob("*.sqlite"))
        return Ledger(path, limit, begun=begun)

    def _check(self) -> None:
        path = self.folder / "run.json"
        if not path.exists():
            write_text(path, json.dumps(self.facts, indent=1, sort_keys=True) + "\n")
            return
        try:
            begun = dict(read_json(path))
        except (OSError, TypeError, ValueError) as error:
            remedy = "Give another output, or remove the folder: its answers are asked again."
            raise DataError(path, f"unreadable ({error})", "the file as it was written", remedy) from error
        for name in sorted({*begun, *self.facts}):
            if begun.get(name) != self.facts.get(name):
                raise DataError(
                    path,
                    f"{name} was {begun.get(name, 'not given')!r} when this run began, "
                    f"and is {self.facts.get(name, 'not given')!r} now",
                    "the same input, model and options for one output",
                    "Give another output, or what the run began with.",
                )


def _is_due(reasons: Counter[str] | None, again: Collection[str]) -> bool:
    return reasons is None or any(reasons[why] for why in again)


def folder_of(out: Path) -> Path:
    """The folder of the run whose output is `out`."""
    return out.with_name(f"{out.name}.run")


def begun_with(out: Path) -> dict[str, Any] | None:
    """The facts of the run of `out` so far, None where there is none."""
    try:
        return dict(read_json(folder_of(out) / "run.json"))
    except (OSError, TypeError, ValueError):
        return None
