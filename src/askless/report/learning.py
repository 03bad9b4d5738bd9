"""How a policy learnt while it answered, as sentences, rows and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from askless.report import wording as words

Row = dict[str, Any]
LEFT, RIGHT, TOP, BOTTOM = 44.0, 632.0, 10.0, 206.0
# What a learner is held against, in words; the plan has its own name.
BESIDE = {"single": "the best single expert of its price", "mix": "the best mix of single experts"}


def label(learning: Mapping[str, Any], learner: Mapping[str, Any]) -> str:
    """A learner as people read it, with what it began with."""
    twins = {each["policy"] for each in learning["learners"] if each["title"] == learner["title"]}
    name = learner["title"] if len(twins) == 1 else f"{learner['title']} ({learner['policy']})"
    return f"{name}, begun with {_many(learner['begun'])}"


def _many(begun: int) -> str:
    return f"{begun:,} labelled items" if begun else "nothing"


def findings(learning: Mapping[str, Any]) -> dict[str, str]:
    """What to conclude of each learner, in a few sentences."""
    return {label(learning, learner): _finding(learning, learner) for learner in learning["learners"]}


def _finding(learning: Mapping[str, Any], learner: Mapping[str, Any]) -> str:
    budgets = learner["budgets"]
    against = {"single": BESIDE["single"]} | ({"plan": learning["plan"]} if learning["plan"] else {})
    less = {other: [b["second_half"]["less"][other] for b in budgets] for other in against}
    verdicts = [_verdict(less[other], name) for other, name in against.items()]
    gains = [b["second_half"]["quality"]["value"] - b["first_half"]["quality"]["value"] for b in budgets]
    return (
        f"In the second half of {learning['items']:,} items it is {'; '.join(verdicts)}. From the first half to the "
        f"second it gained {_points(gains)} points. {_spending(learning, budgets)}"
    )


def _verdict(less: Sequence[Mapping[str, Any]], name: str) -> str:
    """At how many budgets it is better than another, level with it or worse, by the intervals, with differences."""
    if less[0]["ci"][0] is None:
        return f"{_points([each['value'] for each in less])} points from {name}, in one order, which has no interval"
    sides: dict[str, list[float]] = {"better than": [], "level with": [], "worse than": []}
    for each in less:
        low, high = each["ci"]
        side = "level with" if low <= 0 <= high else "better than" if low > 0 else "worse than"
        sides[side].append(each["value"])
    parts = [(side, values) for side, values in sides.items() if values]
    (side, values), *rest = parts
    whole = f" of {len(less)} budget{'s' if len(less) > 1 else ''}"
    said = [f"{side} {name} at {len(values)}{whole} ({_points(values)})"]
    return ", ".join(said + [f"{side} it at {len(values)} ({_points(values)})" for side, values in rest])


def _points(values: Sequence[float]) -> str:
    return ", ".join(words.percent(value, signed=True) for value in values)


def _spending(learning: Mapping[str, Any], budgets: Sequence[Mapping[str, Any]]) -> str:
    highest, first = max(b["highest"] for b in budgets), f"the {learning['opening']}th item on"
    if highest <= 1 + 1e-9:
        return f"From {first} spending was within the budget after every item, in all orders."
    return f"From {first} spending was up to {words.percent(highest)} % of the budget after some item."


def told(learning: Mapping[str, Any]) -> str:
    """Which labels it was told, and when."""
    which = "the label of each item" if learning["share"] == 1 else f"labels of {words.percent(learning['share'])} %"
    late = f", {learning['late']:,} items later" if learning["late"] else ""
    return f"{which} after its block of {learning['block']}{late}"


def lines(learning: Mapping[str, Any], unit: str) -> list[tuple[str, ...]]:
    """A table for the terminal, its header first; `unit` is that of the cost of 1,000 items."""
    plan = [f"- {learning['plan']}"] if learning["plan"] else []
    out = [("learner", unit, "spent %", "first half %", "second half %", "- single", "- mix", *plan)]
    for learner in learning["learners"]:
        for b in learner["budgets"]:
            halves = [_figure(b[half]["quality"]) for half in ("first_half", "second_half")]
            less = [_figure(each, signed=True) for each in b["second_half"]["less"].values()]
            name = f"{learner['policy']} ({_many(learner['begun'])})"
            out.append((name, words.amount(b["per_1000"]), words.percent(spent_share(b)), *halves, *less))
    return out


def spent_share(budget: Mapping[str, Any]) -> float:
    """The share of the budget that was spent."""
    return float(budget["all"]["cost_per_1k"]["value"] / budget["per_1000"])


def _figure(measured: Mapping[str, Any], signed: bool = False) -> str:
    value, (low, high) = measured["value"], measured["ci"]
    half = "" if low is None else f" ±{words.percent((high - low) / 2)}"
    return words.percent(value, signed) + half


def rows(learning: Mapping[str, Any]) -> list[Row]:
    """The table of the page, a row for each learner and budget."""
    return [
        {"label": label(learning, learner), "first": not place, "spent": spent_share(budget), **budget}
        for learner in learning["learners"]
        for place, budget in enumerate(learner["budgets"])
    ]


def panels(learning: Mapping[str, Any]) -> list[Row]:
    """The charts of each budget: quality and spending of all learners, and whom each asked."""
    found, names = [], [label(learning, learner) for learner in learning["learners"]]
    for at, budget in enumerate(learning["learners"][0]["budgets"]):
        courses = dict(zip(names, (each["budgets"][at]["course"] for each in learning["learners"]), strict=True))
        beside = {BESIDE.get(name, learning["plan"]): value for name, value in budget["beside"].items()}
        found.append({"budget": budget["per_1000"], **charts(courses, budget["per_1000"], beside)})
    return found


def charts(courses: Mapping[str, Mapping[str, Any]], per_1000: float, beside: Mapping[str, float]) -> Row:
    """The charts of some courses of `askless.evaluation.learning.course`, by name; `beside` are qualities, by words."""
    quality = [{"label": name, "at": _middles(c["item"]), **_scaled(c["quality"], 100)} for name, c in courses.items()]
    share = 100 / per_1000 if per_1000 else 0.0
    spent = [{"label": name, "at": c["item"], **_scaled(c["spent"], share)} for name, c in courses.items()]
    levels = {name: 100 * value for name, value in beside.items()}
    last = max(c["item"][-1] for c in courses.values())
    return {
        "quality": _chart(quality, levels, last) if levels or any(v is not None for v in quality[0]["mean"]) else None,
        "spent": _chart(spent, {"the budget": 100.0}, last, least=0.0),
        "asked": [{"label": name, "rows": _asked(c)} for name, c in courses.items()],
    }


def _middles(ends: Sequence[int]) -> list[float]:
    """The middle of each span."""
    return [(begin + end) / 2 for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _scaled(band: Mapping[str, Any], by: float) -> dict[str, list[float | None]]:
    return {name: [None if v is None else by * v for v in values] for name, values in band.items()}


def _chart(lines: Sequence[Row], levels: Mapping[str, float], last: int, least: float | None = None) -> Row:
    """Lines with their bands, and dashed levels, up to the `last` item, in the picture's own units."""
    values = [v for line in lines for name in ("mean", "low", "high") for v in line[name] if v is not None]
    values += levels.values()
    bottom, top = float(min(values)) if least is None else least, float(max(values))
    pad = 0.06 * (top - bottom) or 1.0
    low, high = (bottom - pad if least is None else least), top + pad

    def x(item: float) -> float:
        return LEFT + (RIGHT - LEFT) * item / last

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    drawn = []
    for line in lines:
        there = [at for at, v in enumerate(line["mean"]) if v is not None]
        banded = [at for at in there if line["low"][at] is not None]
        edge = [(at, "high") for at in banded] + [(at, "low") for at in reversed(banded)]
        drawn.append(
            {
                "label": line["label"],
                "path": _path([(x(line["at"][at]), y(line["mean"][at])) for at in there]),
                "band": _path([(x(line["at"][at]), y(line[side][at])) for at, side in edge]),
            }
        )
    return {
        "x": [(x(v), f"{v:,.0f}") for v in _ticks(0, last, 6)],
        "y": [(y(v), f"{v:g}") for v in _ticks(low, high, 5)],
        "lines": drawn,
        "levels": [{"label": name, "y": y(value), "value": value} for name, value in levels.items()],
    }


def _asked(course: Mapping[str, Any]) -> list[Row]:
    """A row for each expert, in it each span with the share of its items about which it was asked."""
    ends = [0, *course["item"]]
    spans = [{"first": begin + 1, "last": end} for begin, end in zip(ends[:-1], ends[1:], strict=True)]
    return [
        {
            "expert": expert,
            "spans": [{**span, "share": share} for span, share in zip(spans, shares, strict=True)],
            "items": ends[-1],
        }
        for expert, shares in course["asked"].items()
    ]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers within a range, at most so many or so."""
    raw = (high - low) / most
    base = 10 ** np.floor(np.log10(raw))
    step = base * next(m for m in (1, 2, 2.5, 5, 10) if m * base >= raw * 0.999)
    return [float(f"{v:.10g}") for v in np.arange(np.ceil(low / step), high / step + 1e-9) * step]
