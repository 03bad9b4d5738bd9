"""A stream of items labelled within a spend limit: decided and answered a chunk at a time, gone on with after a kill.

What a run knows is in the folder beside its output: `run.json` what it was begun with, `ledger.sqlite` every call,
`answers/` what expensive experts said, `parts/` the answered chunks. A chunk is answered when its part is there. Until
then the run decides it again, which costs nothing: what experts said is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.bundles.bundle import Bundle
from askless.bundles.terms import Terms
from askless.costs import CostModel
from askless.data.incoming import fault_of
from askless.data.prepare import clean, ids
from askless.data.stream import Chunk, ItemSource
from askless.errors import ConfigError, DataError
from askless.experts.checked_summaries import CheckedSummaries
from askless.files import write_text
from askless.labelling.outputs import OUTPUT, Parts
from askless.monitoring.decide_and_log import Audit, answer, loggable
from askless.monitoring.decision_log import DecisionLog, locked
from askless.panel import Answering, Panel
from askless.policies.base import Budget
from askless.spending.guard import DOUBT, FAULT, LIMIT, PAUSED, GuardedExpert, code_of
from askless.spending.ledger import Ledger

KEPT, DEFERRED, UNANSWERABLE = "kept", "deferred", "unanswerable"
REASONS = (KEPT, DEFERRED, LIMIT, PAUSED, FAULT, DOUBT, UNANSWERABLE)
PASSING = (LIMIT, PAUSED, FAULT)
FORMAT = 1


@dataclass(frozen=True)
class DeployedBundle:
    """What answers: the `address` of a version or a folder, its bundle, and the terms of its expensive experts."""

    address: str
    number: str
    bundle: Bundle
    terms: Terms

    def __post_init__(self) -> None:
        experts = self.bundle.experts
        if self.bundle.small is None or len(experts) < 2:
            got = f"experts {', '.join(experts)}{'' if self.bundle.small else ', the small one not with it'}"
            raise ConfigError(f"{self.address}: {got}. Allowed: a bundle with its small expert and an expensive one.")


@dataclass
class Labeller:
    """Decides and answers chunks: the small expert and, each behind the ledger, the expensive ones."""

    version: DeployedBundle
    budget: Budget | None
    expensive: Mapping[str, GuardedExpert]
    log: DecisionLog | None = None
    log_text: bool = False
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def rows(self, chunk: Chunk) -> pa.Table:
        """A row of `OUTPUT` for each of the chunk's; a text that comes again in it is decided and paid for once."""
        texts = [clean(text or "") for text in chunk.texts]
        longest = self.version.terms.longest
        odd = chunk.faults or [None] * len(chunk)
        faults = [fault or fault_of(text, longest) for fault, text in zip(odd, texts, strict=True)]
        names = ids(self.version.terms.task, texts)
        first = {name: at for at, name in reversed(list(enumerate(names))) if faults[at] is None}
        order = sorted(first.values())
        told = self._decided([names[at] for at in order], [texts[at] for at in order], chunk.number)
        place = {names[at]: row for row, at in enumerate(order)}
        rows = [None if fault else place[name] for name, fault in zip(names, faults, strict=True)]
        return self._output(chunk, rows, told, faults, set(order))

    def _decided(self, names: list[str], texts: list[str], part: int) -> pa.Table:
        bundle, terms = self.version.bundle, self.version.terms
        for expert in self.expensive.values():
            expert.part = part
        examples = schema.table("examples", {"id": names, "text": texts, "split": ["test"] * len(names)})
        pool: dict[str, Any] = {bundle.experts[0]: bundle.small, **self.expensive}
        answering: dict[str, Answering] = pool
        if not bundle.classes:
            answering = {name: CheckedSummaries(each) for name, each in pool.items()}
        panel = Panel(examples, answering, CostModel.of(terms.costs), bundle.classes, blind=True)
        audit = Audit(bundle.experts[-1], 0.0)
        version = self.version.number
        rows = answer(bundle.policy, panel, self.budget, audit, task=terms.task, version=version, time=self.time)
        if self.log is not None:
            self.log.append(loggable(rows, bundle.classes, self.log_text), f"{self.time:%H%M%S%f}{part:04d}")
        return rows

    def _output(
        self,
        chunk: Chunk,
        rows: list[int | None],
        told: pa.Table,
        faults: list[str | None],
        first: set[int],
    ) -> pa.Table:
        at = pa.array(rows, pa.int64())
        taken = {name: told[name].take(at) for name in ("answer", "expert", "score", "cost", "error")}
        who, errors = taken["expert"].to_pylist(), taken["error"].to_pylist()
        reasons = [
            UNANSWERABLE
            if fault
            else DEFERRED
            if by in self.expensive
            else _code(error, tuple(self.expensive))
            if error
            else KEPT
            for fault, by, error in zip(faults, who, errors, strict=True)
        ]
        own = [str(chunk.first + n) if name is None else name for n, name in enumerate(chunk.ids)]
        paying = pa.array(np.isin(np.arange(len(chunk)), sorted(first)))
        columns = {
            "id": pa.array(own, pa.string()),
            "text": pa.array(chunk.texts, pa.string()),
            **taken,
            "cost": pc.if_else(paying, pc.fill_null(taken["cost"], 0.0), 0.0),
            "reason": pa.array(reasons, pa.string()),
            "error": pa.array([f or e for f, e in zip(faults, errors, strict=True)], pa.string()),
        }
        return pa.table([columns[name] for name in OUTPUT.names], schema=OUTPUT)


@dataclass
class LabelProgress:
    """How far a run is: rows answered, how often for each reason, and of these how many before this process began."""

    rows: int = 0
    before: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Run:
    """One output and the folder of what its run knows. Use `opened`."""

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
        with locked(run.folder / ".lock", wait=False) as mine:
            if not mine:
                raise DataError(run.folder, "another process is at this run", "one at a time", "Wait until it ends.")
            run._check()
            yield run

    @property
    def done(self) -> bool:
        """Whether the output is there."""
        return self.out.exists()

    def label(
        self,
        source: ItemSource,
        rows: int,
        labeller: Callable[[], Labeller],
        told: Callable[[LabelProgress], None] = lambda progress: None,
        again: Collection[str] = (),
        stopped: Callable[[], bool] = lambda: False,
    ) -> LabelProgress:
        """Answer every chunk of `source` that has no part yet, in order; returns what came of all of them.

        Chunks in which a row has one of the reasons `again` are answered anew. `stopped` is asked after each chunk.
        Raises `DataError` for an input that ends before the parts do, or is another.
        """
        progress, made, last = LabelProgress(), None, -1
        for chunk in source.chunks(rows):
            reasons = self.parts.reasons(chunk, source.where)
            if reasons is None or any(reasons[why] for why in again):
                made = made or labeller()
                reasons = self.parts.write(chunk, made.rows(chunk))
            else:
                progress.before += len(chunk)
            progress.rows, last = progress.rows + len(chunk), chunk.number
            progress.reasons.update(reasons)
            told(progress)
            if stopped():
                return progress
        if not progress.rows:
            raise DataError(source.where, "no rows", "at least one", "Make or fetch it again.")
        if self.parts.numbers() != list(range(last + 1)):
            got = f"{progress.rows:,} rows, fewer than this run has answered"
            raise DataError(source.where, got, "the rows that this run began with", "Give the same input again.")
        return progress

    def finish(self, texts: bool, meta: Mapping[str, Any]) -> Path:
        """Put the parts together as the output, where it was not there or they are newer."""
        self.parts.merge(self.out, meta, texts)
        return self.out

    def ledger(self, limit: float | None) -> Ledger:
        """Every call of this run."""
        return Ledger(self.folder / "ledger.sqlite", limit)

    def _check(self) -> None:
        path = self.folder / "run.json"
        if not path.exists():
            write_text(path, json.dumps(self.facts, indent=1, sort_keys=True) + "\n")
            return
        try:
            begun = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            remedy = "Give another output, or remove the folder: its answers are asked again."
            raise DataError(path, f"unreadable ({error})", "the file as it was written", remedy) from error
        for name in sorted({*begun, *self.facts}):
            if begun.get(name) != self.facts.get(name):
                raise DataError(
                    path,
                    f"{name} was {begun.get(name)!r} when this run began, and is {self.facts.get(name)!r} now",
                    "the same input, model and options for one output",
                    "Give another output, or what the run began with.",
                )


def folder_of(out: Path) -> Path:
    """Where what a run knows is kept."""
    return out.with_name(f"{out.name}.run")


def begun_with(out: Path) -> dict[str, Any] | None:
    """The facts of the run of `out` so far, None where there is none."""
    try:
        return dict(json.loads((folder_of(out) / "run.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _code(error: str, names: tuple[str, ...]) -> str:
    """The word for an error of the log, which begins with the name of the expensive expert that erred."""
    name = next((name for name in names if error.startswith(f"{name}: ")), "")
    return code_of(error.removeprefix(f"{name}: "))
