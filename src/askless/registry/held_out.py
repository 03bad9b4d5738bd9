"""What two bundles are compared on, a task's test items and recorded answers, and how each decides there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from askless import schema
from askless.arrays import Floats
from askless.bundles.bundle import Bundle
from askless.config import Params
from askless.costs import CostModel
from askless.errors import DataError
from askless.evaluation.replay import Replay, replay
from askless.experts import Setting
from askless.experts.recorded import RecordedExpert
from askless.panel import Answering, Panel
from askless.policies.base import Budget

WARM_UP = 32


@dataclass(frozen=True)
class HeldOut:
    """The test items of a task, the answers on record, the prices of today.

    Parameters
    ----------
    task
        Its name in params.yaml.
    settings
        The parameters, prices among them.
    items
        The test split, a table of examples.
    data
        The folder of the pipeline's data.
    """

    task: str
    settings: Params
    items: pa.Table
    data: Path

    @classmethod
    def of(cls, task: str, settings: Params, data: Path | str | None = None) -> HeldOut:
        """From the folder `data` of a pipeline that ran, by default that of params.yaml.

        Raises `DataError` where there are no test items.
        """
        data = Path(settings.base.data if data is None else data)
        path = data / "prepared" / task / "examples.parquet"
        items = schema.rows_in(schema.read(path, "examples", classes=settings.task(task).classes), "test")
        if not len(items):
            raise DataError(path, "no test items", "one or more", "Give the split `test` a share in params.yaml.")
        return cls(task, settings, items, data)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the task, none where it is summaries."""
        return self.settings.task(self.task).classes

    def answers(self, expert: str) -> RecordedExpert:
        """What an expert answered in this pipeline; raises `DataError` where nothing is on record."""
        folder = self.data / "predictions" / self.task
        path = folder / "generated" / f"{expert}.parquet"
        trained = sorted((folder / "trained" / expert).glob("seed-*.parquet"))
        if not path.exists() and not trained:
            remedy = f"Run: python -m flows.generate {self.task} {expert}."
            raise DataError(path, "no answers on record of an expert that is asked", "those to all test items", remedy)
        path = path if path.exists() else trained[0]
        return RecordedExpert(Setting(expert, self.task, self.classes), path=str(path))

    def measured(self, predictions: pa.Table) -> pa.Table:
        """Answers to the test items; of summaries their quality and their faults are put in."""
        if self.classes:
            return predictions
        from askless.evaluation.summary_quality import measured
        from askless.spending.judging import quality_of

        vectors, answers = (self.data / what / self.task for what in ("vectors", "answers"))
        return measured(self.items, predictions, quality_of(self.task, self.settings, vectors, answers))


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Parameters
    ----------
    name
        What it is called: an address of the registry, or a folder.
    bundle
        What decides.
    budget
        The share of items, from 0 to 1, at which it works; None: by its own rule.
    """

    name: str
    bundle: Bundle
    budget: float | None

    @classmethod
    def of(cls, name: str, folder: Path, share: float | None = None) -> Side:
        """The bundle in `folder` at this share, else at the one in its facts, else by its own rule.

        Raises `DataError` that names it for a bundle that cannot be read, or has another format.
        """
        try:
            bundle = Bundle.load(folder)
        except DataError as error:
            raise DataError(name, error.got, error.allowed, error.remedy) from error
        return cls(name, bundle, bundle.share() if share is None else share)

    def require(self, task: str, classes: tuple[str, ...]) -> None:
        """Raise `DataError` unless the bundle is of this task with these classes."""
        of, own = self.bundle.task or task, self.bundle.classes
        if of != task:
            raise DataError(self.name, f"a model of task '{of}'", f"of task '{task}'", "Give one of this task.")
        if own != classes:
            got, allowed = f"a model of the classes {list(own)}", f"{list(classes)}, those of the task"
            raise DataError(self.name, got, allowed, "Train it again, or correct the classes in params.yaml.")


@dataclass(frozen=True)
class StoppedClock(CostModel):
    """Prices by which a stopwatch makes no difference: deciding takes no time, a small expert the seconds given.

    Parameters
    ----------
    unit
        `usd`, `seconds` or `tokens`.
    prices
        Expert to its `Price`.
    seconds
        Small expert to the seconds of an answer.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)

    def price(self, answers: pa.Table, expert: str) -> Floats:
        """Cost of each answer of one expert, shape (rows,)."""
        if expert in self.seconds:
            at = answers.schema.get_field_index("seconds")
            same = pa.array(np.full(len(answers), self.seconds[expert], np.float32))
            answers = answers.set_column(at, answers.schema.field(at), same)
        return super().price(answers, expert)

    def compute(self, seconds: float) -> float:
        """Nothing."""
        return 0.0


def decide_both(sides: Sequence[Side], held_out: HeldOut) -> list[Replay]:
    """Each side's decisions, a single point; only the bundles' own small experts answer anew.

    Raises `DataError` for a bundle of another task or format, and where an expensive expert's answers are not on
    record.
    """
    for side in sides:
        side.require(held_out.task, held_out.classes)
    answers = [_small_answers(side.bundle, held_out) for side in sides]
    seconds = _seconds([side.bundle.small_options for side in sides], answers)
    return [_decided(*each, held_out) for each in zip(sides, answers, seconds, strict=True)]


def _small_answers(bundle: Bundle, held_out: HeldOut) -> pa.Table | None:
    """What the bundle's own small expert answers to the test items; None where it brings none."""
    if bundle.small is None:
        return None
    bundle.small.answer(held_out.items.slice(0, WARM_UP))
    return held_out.measured(bundle.small.answer(held_out.items))


def _seconds(smalls: Sequence[Mapping[str, Any] | None], answers: Sequence[pa.Table | None]) -> list[float]:
    """What an answer of each small expert takes: the mean of all where only the seed tells them apart."""
    took = [0.0 if table is None else float(np.mean(table["seconds"].to_numpy())) for table in answers]
    makes = [{k: v for k, v in (small or {}).items() if k != "random_state"} for small in smalls]
    return [float(np.mean(took))] * len(took) if all(make == makes[0] for make in makes) else took


def _decided(side: Side, answers: pa.Table | None, seconds: float, held_out: HeldOut) -> Replay:
    policy, costs = side.bundle.policy, held_out.settings.costs
    small, *expensive = policy.experts
    pool: dict[str, Answering] = {name: held_out.answers(name) for name in expensive}
    own = Setting(small, held_out.task, held_out.classes)
    pool = {small: held_out.answers(small) if answers is None else RecordedExpert(own, table=answers), **pool}
    clock = {} if answers is None else {small: seconds}
    panel = Panel(held_out.items, pool, StoppedClock(costs.unit, costs.prices, clock), held_out.classes)
    budget = None if side.budget is None or not policy.budgets else Budget(share=side.budget)
    return replay(side.name, {0: policy}, {0: panel}, [budget])
