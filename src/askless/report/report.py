"""The evaluation as one self-contained HTML page, two pictures and a few lines of markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from askless import schema
from askless.errors import ConfigError
from askless.files import replacing, write_text
from askless.report import figures, learning
from askless.report import wording as words
from askless.report.rows import CPT_LEVELS, SLACK_LEVELS, Row, Summary, curve_series, example_cards, policy_rows

if TYPE_CHECKING:
    from jinja2 import Environment

# What the table of policies adds to a name.
ROLES = {"headline": "headline", "small": "small model", "reference": "reference", "bound": "bound"}


def write_report(
    folder: Path,
    summary: Summary,
    curve: pa.Table,
    *,
    versions: Mapping[str, str] = {},
    examples: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write `report.html`, `curve.png` and `reliability.png` into `folder`; returns the page's path.

    `curve` is the `curve` table that belongs to `summary`; `versions` are shown as they are. Everything is
    made before anything is written, and each file replaces the last one only when it is whole.

    `examples` are documents shown side by side with their summaries, each a mapping of `id`, `outcome`, `document`,
    `cut` (whether the document was), `reference`, `expert` (whose summary stands), `cost` (of deciding this item, all
    that was asked included), and `answers`: for each expert `expert`, `text`, `quality` and `error` (or None), `cost`
    and `asked`. Raises `ConfigError` for examples of a classification.
    """
    if examples and not words.of_summaries(summary):
        raise ConfigError(
            f"The report of a {summary['kind']} got {len(examples)} examples. Allowed: none, for the texts of a "
            "classification are never shown. Leave `examples` out."
        )
    series = curve_series(summary, curve)
    pictures = {
        "curve.png": figures.curve(series, words.axis_words(summary), words.unit_words(summary)),
        "reliability.png": figures.reliability(summary["reliability"]),
    }
    page = _page(summary, series, pictures["curve.png"], versions, example_cards(summary, examples))
    for name, content in pictures.items():
        with replacing(Path(folder) / name) as part:
            part.write_bytes(content)
    return write_text(Path(folder) / "report.html", page)


def headline(summary: Summary) -> str:
    """The result in one sentence, a second where a cheaper expert alone would do, a third where more is to be had."""
    parts = (summary["headline"]["text"], words.enough(summary), words.best(summary))
    return " ".join(part for part in parts if part)


def text_summary(summary: Summary) -> str:
    """The policies as aligned lines: curves by falling area, then single points by quality; then what columns mean."""
    quality, reference = words.quality_words(summary), summary["reference"]
    chosen_on = summary.get("chosen_on", "the valid split")
    unit = words.unit_words(summary).replace("1,000 items", "1,000")
    sign = words.sign(summary).replace("\u00a0", " ")
    lines = [("policy", f"{quality}{sign}", unit, "saved %", f"area{sign}")]
    for row in sorted(policy_rows(summary), key=_falling):
        name = row["label"] + (" *" if row["role"] == "headline" else "")
        reached, saving = (_with_interval(of, words.percent) for of in (row["quality"], row["saved"]))
        area = row["auc"]["value"]
        last = words.DASH if area is None else words.percent(area)
        lines.append((name, reached, words.amount(row["cost"]["value"]), saving, last))
    points = f"{quality}, cost and what it saves of {reference}'s at the point that {chosen_on} chose, on test"
    legend = f"area: mean {quality} over the range of costs, read off test; * headline"
    said = [words.one_class(summary)] if words.one_class(summary) else []
    return "\n".join([words.aligned(lines), "", f"{points};", f"{legend}.", *said, *_learning_lines(summary, unit)])


def _learning_lines(summary: Summary, unit: str) -> list[str]:
    """How learners did, nothing where there are none."""
    found = summary.get("learning")
    if not found:
        return []
    about = (
        f"Learning while answering, on {found['items']:,} test items in {found['orders']} orders of arrival. Each "
        f"learner was told {learning.told(found)}, after it had answered: this is no row of the table above."
    )
    against = "- single, - mix: points against the best single expert and the best mix of the same cost, second half."
    concluded = [f"{name}: {text}" for name, text in learning.findings(found).items()]
    return ["", about, "", words.aligned(learning.lines(found, unit)), "", against, *concluded]


def _falling(row: Row) -> tuple[bool, bool, float]:
    area = row["auc"]["value"]
    return row["role"] == "bound", area is None, -(row["quality"]["value"] if area is None else area)


def markdown_summary(summary: Summary) -> str:
    """The headline and the table of policies, in markdown."""
    area = "AUC" if words.of_summaries(summary) else "AUC (%)"
    lines = [
        f"**{headline(summary)}**",
        "",
        f"| policy | {words.axis_words(summary)} | {words.unit_words(summary)} | deferral rate (%) | {area} |",
        "|---|---|---|---|---|",
    ]
    for row in policy_rows(summary):
        rate = row["deferral_rate"]
        cells = [
            _plain(row["label"]),
            _with_interval(row["quality"], words.percent),
            _with_interval(row["cost"], partial(words.cost, unit=summary["unit"])),
            words.DASH if rate is None else words.percent(rate),
            _with_interval(row["auc"], words.percent),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *(["", f"*{words.demo(summary)}*"] if words.demo(summary) else [])]) + "\n"


def worst_groups(summary: Summary, most: int = 20) -> list[Row]:
    """The groups of a summary by name or, of more than `most`, those in which most money was wasted, worst first."""
    groups: list[Row] = summary["groups"]
    if len(groups) <= most:
        return groups
    return sorted(groups, key=lambda row: (-row["wasted_per_1k"] * row["items"], row["group"]))[:most]


@cache
def environment(unit: str) -> Environment:
    """Where pages are made from `templates`: their filters, costs in `unit`; what is not known is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("askless", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["zip"] = zip
    env.filters |= {
        "percent": words.percent,
        "number": partial(words.number, unit=unit),
        "sentence": words.sentence,
        "softened": _softened,
        "breakable": _breakable,
    }
    return env


def _page(
    summary: Summary, series: list[Row], picture: bytes, versions: Mapping[str, str], examples: Sequence[Row]
) -> str:
    status, status_words = words.verdict(summary)
    main = summary["headline"]["policy"]
    rows = policy_rows(summary)
    prepared = dict(summary.get("splits") or {})
    splits = prepared.pop("splits", None)
    if splits is None:
        splits, prepared = prepared, {}
    splits = {name: splits[name] for name in sorted(splits, key=(*schema.SPLITS, *splits).index)}
    env = environment(summary["unit"])
    return env.get_template("report.html.j2").render(
        s=summary,
        head=summary["headline"],
        status=status,
        status_words=status_words,
        main=words.title(summary, main),
        roles=ROLES,
        bill=words.bill(summary),
        reference_cost=words.reference_cost(summary),
        notes=summary.get("notes", []),
        chosen_on=summary.get("chosen_on", "the valid split"),
        seeds=summary["policies"][main]["seeds"],
        demo=words.demo(summary),
        summaries=words.of_summaries(summary),
        quality=words.quality_words(summary),
        sign=words.sign(summary),
        measures={name: words.quality_words(summary, name) for name in words.measures(summary)},
        budget_measures={name: words.quality_words(summary, name) for name in words.budget_measures(summary)},
        groups=worst_groups(summary),
        unit=words.unit_words(summary),
        best=words.best(summary),
        enough=words.enough(summary),
        sufficient=words.sufficient(summary),
        ranking=words.ranking(summary),
        disagree=len(words.claims(summary)) == 2,
        rows=rows,
        swept=[row for row in rows if len(summary["policies"][row["name"]]["points"]) > 1],
        outcomes=words.OUTCOMES[summary["kind"]],
        effects=words.EFFECTS,
        examples=examples,
        slacks=[float(s) for s in SLACK_LEVELS],
        levels=[float(x) for x in CPT_LEVELS],
        no_gap=any("gap to recover" in row["why"]["apgr"] and row["apgr"]["value"] is None for row in rows),
        series=series,
        picture=base64.b64encode(picture).decode(),
        versions=versions,
        learning=_learning(summary),
        splits=splits,
        prepared=prepared,
        prices=summary.get("prices") or {},
        by_batches=summary.get("by_batches") or {},
    )


def _learning(summary: Summary) -> Row:
    """What the page shows of learners, nothing where there are none."""
    found = summary.get("learning")
    if not found:
        return {}
    parts = {"rows": learning.rows, "panels": learning.panels, "findings": learning.findings, "told": learning.told}
    return {name: part(found) for name, part in parts.items()}


def _with_interval(measured: Mapping[str, Any], text: Callable[[float], str]) -> str:
    if measured["value"] is None:
        return words.DASH
    low, high = measured["ci"]
    return text(measured["value"]) + (f" [{text(low)}, {text(high)}]" if low is not None else "")


def _softened(text: str) -> str:
    """The headline with its intervals in a lighter hand, and no number torn from its unit."""
    from markupsafe import Markup, escape

    whole = re.sub(r"(\d) (%|points)", "\\1\u00a0\\2", str(escape(text)))
    return Markup(re.sub(r"(\[[-+.,\d ]+\])", r'<span class="soft">\1</span>', whole))


def _breakable(name: str) -> str:
    """A name that may be broken after an underscore."""
    from markupsafe import Markup, escape

    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def _plain(name: str) -> str:
    return name.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
