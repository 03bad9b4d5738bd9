"""A comparison as aligned lines for a terminal, as markdown, and as one self-contained HTML page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from askless.files import write_text
from askless.registry.comparison import ROLES, Comparison, Figure
from askless.report import wording as words
from askless.report.report import environment
from askless.report.wording import Cells, aligned

MOST_GROUPS = 20
WIDTH = 110


def write(folder: Path, found: Comparison, outcome: str = "", reason: str = "") -> Path:
    """Write `comparison.json`, `.md` and `.html` into `folder`; returns the page's path.

    `outcome` (promoted, refused, or nothing where nothing was decided) and `reason` say what the rule makes of it.
    """
    written = {**found.as_dict(), "outcome": outcome, "reason": reason}
    write_text(folder / "comparison.json", json.dumps(written, indent=1, allow_nan=False) + "\n")
    write_text(folder / "comparison.md", markdown(found, reason))
    return write_text(folder / "comparison.html", page(found, outcome, reason))


def sentence(found: Comparison) -> str:
    """What the challenger has over the champion, in one sentence."""
    return f"{quality_words(found)}; {cost_words(found)}."


def quality_words(found: Comparison) -> str:
    """The difference in quality, in points with its interval."""
    name = words.quality_words(found.as_dict())
    return f"{name} {_range(found.quality_difference, partial(words.percent, signed=True))} points"


def cost_words(found: Comparison) -> str:
    """The difference in cost, as a share of the champion's or, where that is free, as it is."""
    if found.cost_change["value"] is not None:
        return f"cost {_range(found.cost_change, partial(words.percent, signed=True))} %"
    unit = words.unit_words(found.as_dict())
    return f"cost {_range(found.cost_difference, change)} {unit}, where it was nothing"


def change(value: float) -> str:
    """A difference in cost with its sign, in as many digits as matter."""
    if not value:
        return "0"
    size = words.amount(abs(value))
    return f"{value:+.2g}" if size.startswith("<") else f"{'+' if value > 0 else '-'}{size}"


def text(found: Comparison) -> str:
    """The comparison as aligned lines."""
    level = f"{100 * found.confidence:g} %"
    notes = [
        f"{found.items:,} test items of {found.task}, the same resamples of them for both; intervals of {level}.",
        f"Saving: of what {found.reference['name']} alone costs. A difference is challenger less champion.",
    ]
    parts = [aligned(_figures(found))]
    parts += [aligned(_rows(found, what, rows)) for what, rows in _tables(found)]
    parts += [aligned(_live(found)), textwrap.fill(live_words(found), WIDTH)] if found.live else []
    return "\n\n".join([*parts, "\n".join(notes)])


def markdown(found: Comparison, reason: str = "") -> str:
    """The comparison as markdown tables, what was decided on top."""
    parts = [f"**{reason}**" if reason else "", sentence(found), _table(_figures(found))]
    parts += [_table(_rows(found, what, rows)) for what, rows in _tables(found)]
    parts += ["### On live requests", _table(_live(found)), live_words(found)] if found.live else []
    parts.append(f"*{found.items:,} test items; paired intervals of {100 * found.confidence:g} %.*")
    return "\n\n".join(part for part in parts if part) + "\n"


def page(found: Comparison, outcome: str = "", reason: str = "") -> str:
    """The comparison as one HTML page that asks nothing of the network."""
    env = environment(found.unit)
    env.filters["number"] = partial(_number, unit=found.unit)
    like = found.as_dict()
    return env.get_template("comparison.html.j2").render(
        c=found,
        roles=ROLES,
        outcome=outcome,
        reason=reason,
        headline=words.sentence(sentence(found)),
        quality=words.quality_words(like),
        sign=words.sign(like),
        unit=words.unit_words(like),
        tables=_tables(found),
        hidden=max(0, len(found.groups) - MOST_GROUPS),
        live=found.live,
        live_words=live_words(found),
    )


def live_words(found: Comparison) -> str:
    """What the figures on live requests are of."""
    if found.live is None:
        return ""
    live = found.live
    answers = (
        f"; of the {live['compared']:,} answered by both {words.percent(live['same_answer'])} % have equal answers"
        if live["compared"]
        else ""
    )
    return (
        f"{live['items']:,} items of {live['since']} to {live['until']} UTC, decided by version {live['champion']} in "
        f"service and by version {live['challenger']} in its shadow{answers}. "
        "Expensive answers are priced as on record. The rule does not look at this."
    )


def _number(value: float, kind: str, signed: bool = False, unit: str = "") -> str:
    return change(value) if kind == "change" else words.number(value, kind, signed, unit)


def _tables(found: Comparison) -> list[tuple[str, list[Figure]]]:
    """Classes in their order, then groups; of many groups those in which most is lost, by items, the worst first."""
    groups = found.groups
    if len(groups) > MOST_GROUPS:
        groups = sorted(groups, key=lambda g: (g["items"] * (g["quality_difference"]["value"] or 0.0), g["name"]))
    tables = [("class", found.classes), ("group", groups[:MOST_GROUPS])]
    return [(what, rows) for what, rows in tables if rows]


def _figures(found: Comparison) -> list[Cells]:
    """The table of figures, its head first."""
    like, signed = found.as_dict(), partial(words.percent, signed=True)
    sides = [found.sides[role] for role in ROLES]
    sign = words.sign(like).replace("\u00a0", " ")
    shares = ["own rule" if side["budget"] is None else words.percent(side["budget"]) for side in sides]
    return [
        ("", *ROLES, "difference"),
        ("", *(side["name"] for side in sides), ""),
        (
            f"{words.quality_words(like)}{sign}",
            *(_range(side["quality"], words.percent) for side in sides),
            _range(found.quality_difference, signed),
        ),
        (
            words.unit_words(like).replace("1,000 items", "1,000"),
            *(_range(side["cost_per_1k"], words.amount) for side in sides),
            "" if found.cost_change["value"] is None else f"{_range(found.cost_change, signed)} %",
        ),
        ("saving %", *(_range(side["saving"], words.percent) for side in sides), ""),
        ("deferred %", *(words.percent(side["deferral_rate"]) for side in sides), ""),
        ("may defer %", *shares, ""),
        ("decides by", *(side["kind"] for side in sides), ""),
        ("unchanged %", "", "", words.percent(found.unchanged)),
    ]


def _live(found: Comparison) -> list[Cells]:
    """The table of live requests, its head first."""
    live, signed = found.live or {}, partial(words.percent, signed=True)
    unit = words.unit_words(found.as_dict()).replace("1,000 items", "1,000")
    return [
        ("on live requests", *ROLES, "difference"),
        (
            "deferred %",
            *(_range(live["deferral_rate"][role], words.percent) for role in ROLES),
            _range(live["deferral_difference"], signed),
        ),
        (
            f"expensive answers, {unit}",
            *(_range(live["cost_per_1k"][role], words.amount) for role in ROLES),
            _range(live["cost_difference"], change),
        ),
        ("same expert %", "", "", words.percent(live["same_expert"])),
    ]


def _rows(found: Comparison, what: str, rows: Sequence[Figure]) -> list[Cells]:
    """The table of classes or groups, its head first."""
    like, signed = found.as_dict(), partial(words.percent, signed=True)
    name = "right %" if found.kind == "classification" else words.quality_words(like)
    head = (what, "items", *(f"{name}, {role}" for role in ROLES), "difference", *(f"cost, {role}" for role in ROLES))
    return [
        head,
        *(
            (
                row["name"],
                f"{row['items']:,}",
                *(_or_dash(row["quality"][role], words.percent) for role in ROLES),
                _range(row["quality_difference"], signed),
                *(_or_dash(row["cost_per_1k"][role], words.amount) for role in ROLES),
            )
            for row in rows
        ),
    ]


def _table(lines: Sequence[Cells]) -> str:
    head, *rows = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


def _or_dash(value: float | None, form: Callable[[float], str]) -> str:
    return words.DASH if value is None else form(value)


def _range(figure: Mapping[str, Any], form: Callable[[float], str]) -> str:
    """A value with its interval."""
    (low, high), value = figure["ci"], _or_dash(figure["value"], form)
    return value if low is None else f"{value} [{form(low)}, {form(high)}]"
