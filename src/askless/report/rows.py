"""What the report's curve, its table of policies and its examples show, as plain rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from askless.report import wording as words

Summary = Mapping[str, Any]
Row = dict[str, Any]
CPT_LEVELS = ("0.50", "0.80", "1.00")
SLACK_LEVELS = ("0.00", "0.005", "0.01")
CURVES_SHOWN, POLICIES_SHOWN = 3, 5
TEXT_CHARS, TEASER_CHARS = 2_000, 160
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def curve_series(summary: Summary, curve: pa.Table) -> list[Row]:
    """Each policy's points by rising cost, best area first: means over seeds, cost per 1,000 items."""
    measured = ("cost", "quality", "ci_low", "ci_high", "deferral_rate")
    means = curve.group_by(["policy", "budget"], use_threads=False).aggregate([(m, "mean") for m in measured])
    points: dict[str, list[Row]] = {}
    for row in means.to_pylist():
        spent, *others = (row[f"{m}_mean"] for m in measured)
        quality, low, high, rate = others
        point = {"cost": 1000 * spent, "quality": quality, "low": low, "high": high, "rate": rate}
        points.setdefault(row["policy"], []).append({**point, "budget": row["budget"]})
    area = {name: summary["policies"][name].get("auc") or -1.0 for name in points}
    main = summary["headline"]["policy"]
    ranked = sorted(points, key=lambda name: (name != main, -area[name], name))
    lines = [n for n in ranked if len(points[n]) > 1 and words.role(summary, n) == "other"]
    hidden = {*lines[CURVES_SHOWN - 1 :], "random"}
    return [
        {
            "name": name,
            "label": words.title(summary, name),
            "role": words.role(summary, name),
            "alone": _alone(summary, name),
            "line": len(points[name]) > 1,
            "shown": name not in hidden,
            "points": sorted(points[name], key=lambda p: (p["cost"], p["budget"])),
        }
        for name in ranked
    ]


def policy_rows(summary: Summary) -> list[Row]:
    """One row for each policy: those that keep the reference's quality, the cheapest on top; bounds last.

    A few are `shown` at first: the headline's, the small expert, the reference, and the best of the others.
    """
    rows = [_policy_row(summary, name, policy) for name, policy in summary["policies"].items()]
    rows.sort(key=_place)
    needed = [row for row in rows if row["role"] in ("headline", "small", "reference")]
    others = [row for row in rows if row["role"] == "other"]
    for row in (needed + others)[:POLICIES_SHOWN]:
        row["shown"] = True
    return rows


def example_cards(summary: Summary, examples: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What the page shows of each of `examples` (see `report.write_report`): costs per 1,000 items, long texts cut.

    The small expert's answer comes first, the reference's second.
    """
    first, cards = (summary["small"], summary["reference"]), []
    for example in examples:
        tone, meaning = words.OUTCOMES[summary["kind"]].get(example["outcome"], ("none", ""))
        document, cut = _shown(example["document"])
        cards.append(
            {
                "id": _shown(example["id"], TEASER_CHARS)[0],
                "outcome": example["outcome"],
                "tone": tone,
                "meaning": meaning,
                "expert": example["expert"],
                "cost": 1000 * example["cost"],
                "document": (document, cut or example["cut"]),
                "reference": _shown(example["reference"]),
                "teaser": _shown(example["reference"], TEASER_CHARS),
                "answers": [
                    _answer(answer, example["expert"])
                    for answer in sorted(example["answers"], key=lambda a: [a["expert"] != name for name in first])
                ],
            }
        )
    return cards


def _answer(answer: Mapping[str, Any], chosen: str) -> Row:
    text = answer["text"]
    return {
        **answer,
        "text": None if text is None else _shown(text),
        "error": answer["error"] and _shown(answer["error"], TEASER_CHARS)[0],
        "cost": 1000 * answer["cost"],
        "chosen": answer["expert"] == chosen,
    }


def _shown(text: str, most: int = TEXT_CHARS) -> tuple[str, bool]:
    """The beginning of a text, up to a blank where there is one, without signs of control; and whether it was cut."""
    start = text[:most]
    if cut := len(text) > most:
        start = re.sub(r"\s\S{0,40}$", "", start)
    return _UNPRINTABLE.sub("\ufffd", start), cut


def _policy_row(summary: Summary, name: str, policy: Mapping[str, Any]) -> Row:
    point = policy.get("operating_point")
    at = point or {
        "quality": {"value": policy["quality"], "ci": policy.get("quality_ci", [None, None])},
        "cost_per_1k": _value(policy["cost_per_1k"]),
        "reached": False,
    }
    none = _value(None)
    return {
        "name": name,
        "label": words.label(name),
        "title": words.title(summary, name),
        "about": policy["about"],
        "role": words.role(summary, name),
        "shown": False,
        "quality": at["quality"],
        "cost": at["cost_per_1k"],
        "month": words.bill(summary, at["cost_per_1k"]["value"])["own"],
        "saved": _saved(at.get("cost_share"), at["cost_per_1k"], summary),
        # Where another expert answers everything, nothing is left to defer from.
        "deferral_rate": None if _alone(summary, name) else at.get("deferral_rate"),
        "reached": at["reached"],
        "auc": _value(policy.get("auc"), policy.get("auc_ci")),
        "auc_line": policy.get("auc_line"),
        "apgr": _value(policy.get("apgr"), policy.get("apgr_ci")),
        "cpt": [policy.get("cpt", {}).get(level) for level in CPT_LEVELS],
        "saving": [policy.get("saving_at_equal_quality", {}).get(slack, none) for slack in SLACK_LEVELS],
        "why": _why(summary, policy),
    }


def _saved(share: Mapping[str, Any] | None, cost: Mapping[str, Any], summary: Summary) -> Row:
    """How much less a point costs than the reference, with its interval; below 0 it costs more."""
    if share is None:
        price = words.reference_cost(summary)
        share = _value(cost["value"] / price if price else None)
    value, (low, high) = share["value"], share["ci"]
    ends = [None, None] if low is None or high is None else [1 - high, 1 - low]
    return _value(None if value is None else 1 - value, ends)


def _alone(summary: Summary, name: str) -> bool:
    return name.startswith("always_") and words.role(summary, name) == "other"


def _why(summary: Summary, policy: Mapping[str, Any]) -> dict[str, str]:
    """For each column that may be empty: why it is."""
    small, large = summary["small"], summary["reference"]
    rate = {"deferral_rate": "one expert answers everything" if not policy["swept"] else "no point is chosen"}
    if not policy["swept"]:
        single = dict.fromkeys(("auc", "apgr", "cpt"), "a single point has no curve")
        return rate | single | {"saving": f"{large} costs nothing"}
    gap = f"{large} is not better than {small}: there is no gap to recover"
    if not policy.get("pair", True):
        gap = f"a share deferred is no share of {large}'s calls: it asks others than {small} and {large}"
    return rate | {
        "auc": f"{large} costs no more than {small}",
        "apgr": gap,
        "cpt": gap if policy["apgr"] is None else "this share of the gap is never recovered",
        "saving": f"{large} costs nothing",
    }


def _place(row: Row) -> tuple[Any, ...]:
    if row["role"] == "bound":
        return (2, 0.0, 0.0)
    if row["reached"]:
        return (0, row["cost"]["value"], -row["quality"]["value"])
    return (1, -row["quality"]["value"], row["cost"]["value"])


def _value(value: float | None, ci: list[float | None] | None = None) -> Row:
    return {"value": value, "ci": ci or [None, None]}
