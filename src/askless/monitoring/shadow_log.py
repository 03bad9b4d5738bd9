"""Two versions on the same live requests: the one that answered, and the one that decided in its shadow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.arrays import Bools, Floats
from askless.errors import DataError
from askless.evaluation.metrics import bootstrap_weights, interval, weighted_sums
from askless.monitoring.decision_log import DecisionLog

FEWEST = 20
Figure = dict[str, Any]
ROLES = ("champion", "challenger")


@dataclass(frozen=True)
class Live:
    """Two versions on live requests; figures are `{"value", "ci": [low, high]}`, differences challenger less champion.

    Parameters
    ----------
    champion, challenger
        Their numbers.
    items, since, until
        How many items both decided, and from when to when.
    confidence
        Of the intervals, which are paired over items.
    prices
        What an answer of each expensive expert costs.
    deferral_rate, deferral_difference, cost_per_1k, cost_difference
        By role, and the difference; the cost is what expensive answers would be at `prices`.
    same_expert
        The share of items for which both name the same expert.
    compared, same_answer
        How many items' answers are in the log for both, and the share of these that are equal; None where none are.
    """

    champion: str
    challenger: str
    items: int
    since: str
    until: str
    confidence: float
    prices: dict[str, float]
    deferral_rate: dict[str, Figure]
    deferral_difference: Figure
    cost_per_1k: dict[str, Figure]
    cost_difference: Figure
    same_expert: float | None
    compared: int
    same_answer: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; `Live(**them)` is the same again."""
        return asdict(self)


def beside(folder: Path) -> Path:
    """Where the shadow's decisions are logged, beside the log in `folder`."""
    return folder.with_name(f"{folder.name}-shadow")


def live(
    folder: Path, versions: tuple[str, str], prices: Mapping[str, float], *, confidence: float, draws: int
) -> Live:
    """Compare two versions, champion first, on the rows that the log in `folder` and the one beside it both have.

    Of an item that was decided often the last decision counts. Raises `DataError` where no item was decided by both.
    """
    logs = DecisionLog(folder).read(), DecisionLog(beside(folder)).read()
    first, second = (_last(log, version) for log, version in zip(logs, versions, strict=True))
    both = np.intersect1d(first["id"].to_numpy(zero_copy_only=False), second["id"].to_numpy(zero_copy_only=False))
    if not len(both):
        got = f"no item that versions {versions[0]} and {versions[1]} both decided"
        remedy = "Serve the one with --shadow naming the other, and wait for requests."
        raise DataError(folder, got, f"rows of both, here and in {beside(folder)}", remedy)
    sides = [side.take(pc.index_in(pa.array(both), side["id"].combine_chunks())) for side in (first, second)]
    return _PairedDecisions(versions, sides, prices, confidence, draws).live()


class _PairedDecisions:
    """The decisions of both about the same items, in the same order."""

    def __init__(
        self,
        versions: tuple[str, str],
        sides: list[pa.Table],
        prices: Mapping[str, float],
        confidence: float,
        draws: int,
    ) -> None:
        self.versions, self.sides, self.confidence = versions, sides, confidence
        self.meant = [_meant(side) for side in sides]
        asked = sorted({name for meant in self.meant for name in meant if name})
        lacking = [name for name in asked if name not in prices]
        if lacking:
            remedy = "Give prices of all of them: generate its answers, or leave it out."
            raise DataError("live requests", f"no price of '{lacking[0]}'", f"one of {sorted(prices)}", remedy)
        self.prices = {name: float(prices[name]) for name in asked}
        sent = [np.array([name != "" for name in meant], float) for meant in self.meant]
        cost = [1000 * np.array([self.prices.get(name, 0.0) for name in meant]) for meant in self.meant]
        columns = np.stack([*sent, *cost], axis=1)
        weights = bootstrap_weights(len(columns), draws, 0)
        drawn = weighted_sums(weights, columns) / len(columns)
        self.measured = np.concatenate([columns.mean(axis=0, keepdims=True), drawn]).T

    def live(self) -> Live:
        """All figures."""
        rate, cost = self.measured[:2], self.measured[2:]
        same = _same(*self.sides)
        times = pc.min_max(self.sides[0]["time"]).as_py()
        return Live(
            champion=self.versions[0],
            challenger=self.versions[1],
            items=len(self.meant[0]),
            since=f"{times['min']:%Y-%m-%d %H:%M}",
            until=f"{times['max']:%Y-%m-%d %H:%M}",
            confidence=self.confidence,
            prices=self.prices,
            deferral_rate={role: self._figure(rate[i]) for i, role in enumerate(ROLES)},
            deferral_difference=self._figure(rate[1] - rate[0]),
            cost_per_1k={role: self._figure(cost[i]) for i, role in enumerate(ROLES)},
            cost_difference=self._figure(cost[1] - cost[0]),
            same_expert=float(np.mean([one == other for one, other in zip(*self.meant, strict=True)])),
            compared=len(same),
            same_answer=float(same.mean()) if len(same) else None,
        )

    def _figure(self, measured: Floats) -> Figure:
        """The first is the value, the others are its draws; of few items no interval is given."""
        value = float(measured[0])
        if len(self.meant[0]) < FEWEST:
            return {"value": value, "ci": [None, None]}
        return interval(value, measured[1:], self.confidence).as_dict()


def _last(log: pa.Table, version: str) -> pa.Table:
    """The last row of each item that a version decided."""
    rows = log.filter(pc.equal(log["version"], version))
    names: list[str] = rows["id"].to_pylist()
    return rows.take(pa.array(sorted({name: at for at, name in enumerate(names)}.values()), pa.int64()))


def _meant(side: pa.Table) -> list[str]:
    """The expensive expert to whom each item was deferred, whoever answered then; empty where it was kept."""
    return [asked[-1] if asked else "" for asked in side["asked"].to_pylist()]


def _same(first: pa.Table, second: pa.Table) -> Bools:
    """Whether both give the same answer, of the items whose answers are in the log for both."""
    same: list[bool] = []
    for one, other in zip(_answers(first), _answers(second), strict=True):
        if one[0] == other[0] != "":
            same.append(True)
        elif one[1] is not None and other[1] is not None:
            same.append(one[1] == other[1])
    return np.array(same, bool)


def _answers(side: pa.Table) -> list[tuple[str, str | None]]:
    """The expensive expert that answers (empty: the small one, or one that failed), and the answer if it is there."""
    rows = zip(side["expert"].to_pylist(), side["asked"].to_pylist(), side["answer"].to_pylist(), strict=True)
    return [(expert if expert in asked else "", answer) for expert, asked, answer in rows]
