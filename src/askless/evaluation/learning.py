"""What is read off learners that were replayed in orders of arrival: how they learn, what they spend, whom they ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t

from askless.arrays import Bools, Floats, Ints
from askless.evaluation import curves
from askless.evaluation.arrivals import EVERY_LABEL, Arrivals, Feedback, arrivals
from askless.evaluation.replay import Replay
from askless.panel import Panel
from askless.policies.bandit.bandit import OPENING
from askless.policies.bandit.learner import Learner
from askless.policies.operating_points import upper_hull

ORDERS, MOST = 10, 2_000
# Spans of items that a chart has, and how many items one has at least.
SPANS, FEWEST = 20, 20
# Budgets, as shares of the way from the cheapest expert's price to the costliest's.
SHARES = (0.1, 0.25, 0.5)
EQUAL = "All experts cost the same, and these decide by cost. Left out: %s."


@dataclass(frozen=True)
class Beginner:
    """A learner that is to be replayed.

    Parameters
    ----------
    policy
        Its name.
    begun
        Of how many labelled items it knows all experts' answers when the first item comes.
    begin
        A learner in that state, for the seed of an order.
    """

    policy: str
    begun: int
    begin: Callable[[int], Learner]


@dataclass(frozen=True)
class Beside:
    """What a learner is held against, on the same rows of the panel.

    Parameters
    ----------
    right, cost
        Of each expert's answers, (rows, experts).
    plan
        A policy that was fixed beforehand, over its budgets; None for none.
    gold
        Class index of each row, (rows,).
    """

    right: Bools
    cost: Floats
    plan: Replay | None
    gold: Ints

    @classmethod
    def of(cls, panel: Panel, experts: Sequence[str], plan: Replay | None = None) -> Beside:
        """Some experts of an open panel, each alone, and a plan."""
        twin = panel.copy()
        answers = [twin.ask(name) for name in experts]
        right = np.stack([answer.label == panel.gold for answer in answers], axis=1)
        return cls(right, np.stack([answer.cost for answer in answers], axis=1), plan, panel.gold)

    def at(self, rows: Ints, usd: float) -> dict[str, float]:
        """The quality on these rows of what costs `usd` an item there: known in hindsight, but for the plan's curve."""
        right, cost = self.right[rows].mean(axis=0), self.cost[rows].mean(axis=0)
        within = cost <= max(1.001 * usd, float(cost.min()))
        hull = upper_hull(cost, right)
        found = {"single": float(right[within].max()), "mix": float(np.interp(usd, cost[hull], right[hull]))}
        if self.plan is not None:
            spent = self.plan.cost[:, :, rows].mean(axis=(1, 2))
            reached = (self.plan.label[:, :, rows] == self.gold[rows]).mean(axis=(1, 2))
            found["plan"] = float(np.interp(usd, *curves.hull(spent, reached)))
        return found


def budgets(panel: Panel, experts: Sequence[str]) -> list[float]:
    """What an item may cost, between the mean prices of the cheapest and the costliest of some experts on a panel.

    None where all cost the same.
    """
    price = Beside.of(panel, experts).cost.mean(axis=0)
    low, high = float(price.min()), float(price.max())
    return [low + share * (high - low) for share in SHARES] if high > low else []


def ceilings(panel: Panel, experts: Sequence[str]) -> tuple[float, ...]:
    """The most that an answer of each expert cost on a panel."""
    twin = panel.copy()
    return tuple(float(twin.ask(name).cost.max(initial=0.0)) for name in experts)


def learnt(
    beginners: Sequence[Beginner],
    panel: Panel,
    usd: Sequence[float],
    beside: Beside,
    *,
    trained: Sequence[str] = (),
    orders: int = ORDERS,
    most: int = MOST,
    feedback: Feedback = EVERY_LABEL,
    confidence: float = 0.95,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Every beginner at every budget, as plain values for JSON and the report.

    `trained` are the experts that learnt from labelled items before, `most` the items of an order that are replayed.
    """
    found = []
    for beginner in beginners:
        at = []
        for place, amount in enumerate(usd, 1):
            say(f"{beginner.policy}: learning in {orders} orders of arrival (budget {place} of {len(usd)})")
            run = arrivals(beginner.begin, panel, amount, orders=orders, most=most, feedback=feedback)
            at.append(_figures(run, beside, confidence))
        kind = type(beginner.begin(0))
        about = {"policy": beginner.policy, "title": kind.title, "about": kind.about, "begun": beginner.begun}
        found.append({**about, "budgets": at})
    return {
        "items": min(len(panel), most),
        "orders": orders,
        "confidence": confidence,
        "block": feedback.block,
        "share": feedback.share,
        "late": feedback.late,
        "opening": OPENING,
        "trained": list(trained),
        "plan": None if beside.plan is None else beside.plan.policy,
        "learners": found,
    }


def _figures(run: Arrivals, beside: Beside, confidence: float) -> dict[str, Any]:
    """A learner at one budget, with intervals over the orders."""
    items = run.right.shape[1]
    parts = {
        "all": slice(0, items),
        "first_half": slice(0, max(1, items // 2)),
        "second_half": slice(items // 2, items),
    }
    found = {}
    for name, part in parts.items():
        right, cost = run.right[:, part].mean(axis=1), run.cost[:, part].mean(axis=1)
        against = [beside.at(rows, spent) for rows, spent in zip(run.rows[:, part], cost.tolist(), strict=True)]
        less = {other: right - np.array([each[other] for each in against]) for other in against[0]}
        found[name] = {
            "quality": interval(right, confidence),
            "cost_per_1k": interval(1000 * cost, confidence),
            "less": {other: interval(difference, confidence) for other, difference in less.items()},
        }
    so_far, number = np.cumsum(run.cost, axis=1), np.arange(1, items + 1)
    highest = (so_far / (run.usd * number))[:, OPENING - 1 :].max(initial=0.0)
    known = [beside.at(rows, run.usd) for rows in run.rows]
    return {
        "per_1000": 1000 * run.usd,
        **found,
        "highest": float(highest),
        "beside": {name: float(np.mean([each[name] for each in known])) for name in known[0]},
        "course": course(run.right, 1000 * run.cost, run.asked, run.experts, confidence),
    }


def course(
    right: Bools, cost: Floats, asked: Bools, experts: Sequence[str], confidence: float, told: Bools | None = None
) -> dict[str, Any]:
    """Figures of spans of items in their order, of `Arrivals` with costs of 1,000 items; `item` is each one's last.

    `quality` of the span, among the items `told` (orders, items) where not all labels are known, and `spent`, the mean
    cost up to its end, each as the mean over the orders, `low` and `high`: of the quality the interval, of what was
    spent the least and the most. `asked` is the share of the span's items about which each expert was asked.
    """
    items = right.shape[1]
    ends = np.linspace(0, items, min(SPANS, max(1, items // FEWEST)) + 1).astype(int)
    begins = ends[:-1]
    known = np.ones(right.shape, bool) if told is None else told
    hits, labels = (np.add.reduceat(of, begins, axis=1, dtype=np.float64) for of in (right & known, known))
    quality = np.divide(hits, labels, out=np.full(hits.shape, np.nan), where=labels > 0)
    spent = np.cumsum(cost, axis=1)[:, ends[1:] - 1] / ends[1:]
    shares = np.add.reduceat(asked, begins, axis=1, dtype=np.float64).mean(axis=0) / np.diff(ends)[:, None]
    half = _half(quality, confidence)
    return {
        "item": ends[1:].tolist(),
        "quality": _band(quality.mean(axis=0), quality.mean(axis=0) - half, quality.mean(axis=0) + half),
        "spent": _band(spent.mean(axis=0), spent.min(axis=0), spent.max(axis=0)),
        "asked": {name: shares[:, j].tolist() for j, name in enumerate(experts)},
    }


def interval(values: Floats, confidence: float) -> dict[str, Any]:
    """The mean over orders and its interval by Student's t, None for a single order: other items it says nothing of."""
    half = float(_half(values, confidence))
    mean = float(values.mean())
    return {"value": mean, "ci": [None, None] if np.isnan(half) else [mean - half, mean + half]}


def _half(values: Floats, confidence: float) -> Floats:
    """Half of the interval of the mean over the first axis, NaN for one value."""
    orders = len(values)
    if orders < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(t.ppf((1 + confidence) / 2, orders - 1) * values.std(axis=0, ddof=1) / np.sqrt(orders))


def _band(mean: Floats, low: Floats, high: Floats) -> dict[str, list[float | None]]:
    ends = {"mean": mean, "low": low, "high": high}
    return {name: [None if np.isnan(v) else float(v) for v in values] for name, values in ends.items()}
