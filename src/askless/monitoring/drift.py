"""Whether what is decided now looks like what a version was calibrated on: one look at a window of the decision log.

Each look takes the rows decided since the look before it, at least a window of them, so that no row is tested twice. A
day's chance of a false alarm is shared among the looks of a day, a look's among its tests (Bonferroni): by the union
bound it holds however the looks depend on one another through the calibration rows that all of them share. It is a
chance for rows that are independent draws; rows of one id count once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.arrays import Bools, Floats
from askless.stats import shift

SCORES, DEFERRED, ERRORS = "the scores", "the share deferred", "the share of errors"
AGREEMENT, PRICE = "the agreement of small expert and reference", "what expensive answers cost"
AUDITS = 400
PERMUTATIONS, ENOUGH = 10_000, 20
Count = tuple[int, int]


@dataclass(frozen=True)
class Measure:
    """A share or a median before and now, and whether they differ.

    Parameters
    ----------
    name
        What was compared.
    before, now
        At calibration and in the window; None where there is none.
    rows
        How many rows tell of either.
    p, why
        The p-value, None where it was not tested, and why it was not.
    """

    name: str
    before: float | None
    now: float | None
    rows: Count
    p: float | None = None
    why: str = ""


@dataclass(frozen=True)
class WindowCheck:
    """What one look at a window found.

    Parameters
    ----------
    version
        Whose rows were looked at.
    first, last
        When the first and the last of them was decided.
    rows, repeats
        Different ids, and rows that repeat one of them.
    level, looks
        The chance of a false alarm in this look, all tests together, and how many looks a day has: `level` x `looks` is
        that of a day.
    measures
        What was compared.
    cost_before, cost_now
        Spent on 1,000 items, in the cost's unit.
    audited, audit_cost
        How many of the rows were audited, and what that cost in all.
    """

    version: str
    first: datetime
    last: datetime
    rows: int
    repeats: int
    level: float
    looks: int
    measures: tuple[Measure, ...]
    cost_before: float
    cost_now: float
    audited: int
    audit_cost: float

    @property
    def tested(self) -> tuple[Measure, ...]:
        """What there were rows enough for."""
        return tuple(measure for measure in self.measures if measure.p is not None)

    @property
    def threshold(self) -> float:
        """The p-value at which a test raises the alarm."""
        return self.level / max(len(self.tested), 1)

    @property
    def moved(self) -> tuple[str, ...]:
        """What differs beyond chance: p-value at most `level` over the number of tests."""
        return tuple(measure.name for measure in self.tested if measure.p is not None and measure.p <= self.threshold)

    @property
    def alarm(self) -> bool:
        """Whether anything does."""
        return bool(self.moved)

    def words(self) -> str:
        """The finding in a sentence or two."""
        rows = f"{self.rows:,} rows of version {self.version}"
        if not self.tested:
            return f"Nothing could be tested on {rows}: fewer than {shift.FEWEST} rows on one of the sides."
        if not self.alarm:
            least = min(self.tested, key=lambda measure: measure.p or 0.0)
            return f"No drift seen in {rows}; the least p-value is that of {least.name}, {least.p:.2g}."
        changes = "; ".join(_change(measure) for measure in self.measures if measure.name in self.moved)
        return f"Drift: {rows} differ from those it was calibrated on. {changes}."

    def markdown(self, unit: str) -> str:
        """A page: the finding, everything compared, what was spent."""
        rows = "".join(
            f"| {m.name} | {_number(m.before)} ({m.rows[0]:,}) | {_number(m.now)} ({m.rows[1]:,}) | "
            f"{m.why if m.p is None else f'{m.p:.2g}'} | {'**moved**' if m.name in self.moved else ''} |\n"
            for m in self.measures
        )
        return (
            f"{self.words()}\n\n"
            f"Decided from {self.first:%Y-%m-%d %H:%M:%S} to {self.last:%Y-%m-%d %H:%M:%S} UTC.\n\n"
            "| compared | at calibration (rows) | now (rows) | p-value | |\n|---|---|---|---|---|\n"
            f"{rows}\n"
            f"A false alarm has a chance of at most {100 * self.level:.2g} % in a look and of "
            f"{100 * self.level * self.looks:.2g} % in a day of {self.looks} looks; a test raises it at "
            f"{self.threshold:.2g} or less. {self.repeats:,} rows that repeat a text are not counted.\n\n"
            f"Spent on 1,000 items: {self.cost_now:.4g} {unit}, at calibration {self.cost_before:.4g}. The audits of "
            f"{self.audited:,} of these rows cost {self.audit_cost:.4g} {unit} more.\n"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {**asdict(self), "first": self.first.isoformat(), "last": self.last.isoformat()}
        return {**plain, "moved": list(self.moved), "alarm": self.alarm, "words": self.words()}


def look(
    baseline: pa.Table,
    window: pa.Table,
    audits: pa.Table,
    *,
    level: float,
    looks: int = 1,
    timed: bool = False,
    random_state: int = 0,
) -> WindowCheck:
    """Hold a window of one version's log against its baseline.

    Parameters
    ----------
    baseline
        The rows that it was calibrated on, as the log has rows.
    window
        What it decided since, one row or more.
    audits
        Its audited rows, of this window and before, of which the last 400 count: a window holds too few.
    level
        The chance of a false alarm in a day, shared among its `looks`.
    looks
        At most so many in a day, 1 or more.
    timed
        Whether expensive answers are priced by the second: then their costs are not tested, for they tell of the
        machine.
    random_state
        Seed of the permutations.

    Returns
    -------
    WindowCheck
        Every test, and whether any of them is an alarm.
    """
    rows = distinct(window)
    audits = audits.slice(max(audits.num_rows - AUDITS, 0))
    measures = (
        _sample(SCORES, _floats(baseline, "score"), _floats(rows, "score"), random_state),
        _share(DEFERRED, _count(asked(baseline)), _count(asked(rows))),
        _share(ERRORS, _errors(baseline), _errors(rows), "greater"),
        _share(AGREEMENT, _agreed(baseline), _agreed(audits)),
        _price(baseline, rows, timed, random_state),
    )
    time = pc.min_max(window["time"]).as_py()
    audited = window.filter(window["audit"])
    return WindowCheck(
        version=window["version"][0].as_py(),
        first=time["min"],
        last=time["max"],
        rows=rows.num_rows,
        repeats=window.num_rows - rows.num_rows,
        level=level / looks,
        looks=looks,
        measures=measures,
        cost_before=1000 * float(_floats(baseline, "cost").mean()),
        cost_now=1000 * float(_floats(window, "cost").mean()),
        audited=audited.num_rows,
        audit_cost=float(_floats(audited, "audit_cost").sum()),
    )


def distinct(rows: pa.Table) -> pa.Table:
    """The first row of each id, in order."""
    _, first = np.unique(np.array(rows["id"].to_pylist(), object).astype(str), return_index=True)
    return rows.take(pa.array(np.sort(first)))


def asked(rows: pa.Table) -> Bools:
    """Which rows were put to an expensive expert, shape (rows,)."""
    return np.asarray(pc.list_value_length(rows["asked"]).to_numpy() > 0)


def _sample(name: str, before: Floats, now: Floats, random_state: int) -> Measure:
    """Two samples held against each other, what is not stated as the least of all; shown are medians of the rest."""
    old, new = (float(np.median(stated)) if len(stated := s[~np.isnan(s)]) else None for s in (before, now))
    measure = _untested(Measure(name, old, new, (len(before), len(now))))
    if measure.why or old is None:
        return measure if measure.why else replace(measure, why="none stated at calibration")
    samples = [shift.summary(np.where(np.isnan(s), -np.inf, s)) for s in (before, now)]
    return replace(measure, p=shift.two_sample(samples[0], samples[1], random_state, PERMUTATIONS, ENOUGH))


def _share(name: str, before: Count, now: Count, alternative: str = "two-sided") -> Measure:
    old, new = (k / n if n else None for k, n in (before, now))
    measure = _untested(Measure(name, old, new, (before[1], now[1])))
    return measure if measure.why else replace(measure, p=shift.fisher(before, now, alternative))


def _price(baseline: pa.Table, rows: pa.Table, timed: bool, random_state: int) -> Measure:
    before, now = (_floats(each.filter(pc.is_valid(each["paid"])), "paid") for each in (baseline, rows))
    measure = _sample(PRICE, before, now, random_state)
    return replace(measure, p=None, why="priced by the second") if timed and measure.p is not None else measure


def _untested(measure: Measure) -> Measure:
    """The same, with the reason where there are too few rows to test it."""
    few = [where for where, rows in zip(("at calibration", "now"), measure.rows, strict=True) if rows < shift.FEWEST]
    return replace(measure, why=f"fewer than {shift.FEWEST} rows {few[0]}") if few else measure


def _errors(rows: pa.Table) -> Count:
    """How many of the rows that an expensive expert was paid for went wrong."""
    put = rows.filter(pc.is_valid(rows["paid"]))
    return put.num_rows - put["error"].null_count, put.num_rows


def _agreed(rows: pa.Table) -> Count:
    """How many of the audited rows on which both experts answered agree."""
    agree = pc.drop_null(rows["agree"].combine_chunks())
    return int(pc.sum(agree).as_py() or 0), len(agree)


def _count(mask: Bools) -> Count:
    return int(mask.sum()), len(mask)


def _floats(rows: pa.Table, column: str) -> Floats:
    return np.array(rows[column].to_numpy(zero_copy_only=False), np.float64)


def _change(measure: Measure) -> str:
    name = measure.name[0].upper() + measure.name[1:]
    return f"{name}: {_number(measure.before)} then, {_number(measure.now)} now (p = {measure.p:.2g})"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
