"""The model card of a registered version: what it is made of, what it does, where it ends, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from askless.report import wording as words
from askless.report.report import markdown_summary

if TYPE_CHECKING:
    from askless.bundles.bundle import Bundle

Summary = Mapping[str, Any]
CURVE = "![cost-quality curve](curve.png)"


def card(summary: Summary, bundle: Bundle, share: float | None, versions: Mapping[str, str], note: str = "") -> str:
    """The card in Markdown.

    Parameters
    ----------
    summary
        The evaluation, as in metrics.json.
    bundle
        What is registered.
    share
        The share of items, from 0 to 1, that it may defer; None: by its own rule.
    versions
        Those of code and data.
    note
        What the task's owner says of its data.

    Returns
    -------
    str
        Markdown.

    References
    ----------
    Mitchell et al. 2019, Model Cards for Model Reporting.
    """
    parts = {
        "What it does": _use(bundle, summary),
        "Data": _data(summary, versions, note),
        "How it decides": _method(bundle, share, summary),
        "What it reached": f"{markdown_summary(summary)}\n{CURVE}",
        "What is promised": _promise(summary),
        "Limits": _limits(summary),
        "Make it again": _again(bundle, summary, versions),
    }
    body = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in parts.items())
    return f"# {bundle.facts['team']} for {summary['task']}\n\n{body}\n"


def _use(bundle: Bundle, summary: Summary) -> str:
    what = "the class of a text" if summary["kind"] == "classification" else "a document's summary"
    return (
        f"Decides, text by text, which of {_listed(bundle.experts)} gives {what}. It asks nobody by itself: it says "
        f"who should answer, and what {bundle.experts[0]} answers."
    )


def _data(summary: Summary, versions: Mapping[str, str], note: str) -> str:
    splits: Mapping[str, Any] = summary.get("splits") or {}
    counts: Mapping[str, Any] = splits.get("splits") or splits
    rows = ", ".join(f"{sum(of.values()):,} {name}" for name, of in counts.items() if isinstance(of, Mapping))
    lines = [f"- rows: {rows}" if rows else "", f"- evaluated on {summary['items']:,} test items, looked at once"]
    lines += [f"- classes: {_listed(summary['classes'])}"] if summary["classes"] else []
    kept = {name: value for name, value in versions.items() if name.startswith("data.") and summary["task"] in name}
    lines += [f"- `{name.removeprefix('data.')}`: `{value}`" for name, value in sorted(kept.items())]
    lines += [f"\n**{words.demo(summary)}**"] if words.demo(summary) else []
    return "\n".join([line for line in lines if line] + ([f"\n{note}"] if note else []))


def _method(bundle: Bundle, share: float | None, summary: Summary) -> str:
    arguments = ", ".join(f"`{name}={value}`" for name, value in sorted(bundle.arguments.items()))
    point = "by its own rule" if share is None else f"{100 * share:.1f} % of the items may go beyond the small expert"
    return "\n".join(
        [
            f"- kind: `{bundle.kind}` ({arguments}), seed {bundle.facts['seed']}",
            f"- experts by rising price: {_listed(bundle.experts)}",
            f"- operating point, chosen on valid: {point}",
            "- thresholds, calibrators and what else was learnt: `learnt` in `bundle.json`",
            *(f"- {note}" for note in summary.get("notes", [])),
        ]
    )


def _promise(summary: Summary) -> str:
    head, level, reference = summary["headline"], 100 * summary["confidence"], summary["reference"]
    kept = "was reached" if head["reached"] else "was NOT reached"
    return (
        f"None beyond the test items. There the quality of {reference}, less {100 * head['margin']:.1f} points, "
        f"{kept} at the lower end of a {level:.0f} % interval ({summary['bootstrap']:,} resamples of items and seeds). "
        "A promise with a finite-sample guarantee is what `askless plan` makes."
    )


def _limits(summary: Summary) -> str:
    unit = words.unit_words(summary)
    lines = [
        "- Holds for texts like those it was made on; the flow `monitor` says when they no longer are.",
        f"- Costs ({unit}) are those of the prices in params.yaml; another price moves the operating point.",
    ]
    reached = {row["group"]: row["quality"].get(summary["headline"]["policy"], 1.0) for row in summary["groups"]}
    if reached:
        worst = min(reached, key=lambda group: reached[group])
        items = next(row["items"] for row in summary["groups"] if row["group"] == worst)
        value = words.percent(reached[worst])
        lines.append(f"- Weakest group: {worst}, {words.quality_words(summary)} {value} on {items} items.")
    missing = {name: expert["unparsed"] for name, expert in summary["experts"].items() if expert["unparsed"]}
    lines += [
        f"- {name} gives no usable answer to {words.percent(share)} % of the items." for name, share in missing.items()
    ]
    return "\n".join(lines)


def _again(bundle: Bundle, summary: Summary, versions: Mapping[str, str]) -> str:
    commit, dirty = versions.get("git_commit"), versions.get("git_dirty") == "true"
    lines = [
        "```",
        *([f"git checkout {commit}"] if commit else []),
        "make setup",
        f"dvc repro evaluate@{summary['task']}",
        "```",
    ]
    lines += ["The working tree had changes that are not in this commit."] if dirty else []
    if "dvc_lock_sha256" in versions:
        lines.append(f"dvc.lock: `{versions['dvc_lock_sha256']}`. `dvc pull` brings the data, where a remote is set.")
    return "\n".join([*lines, f"Bundle format {bundle.format}, seeds {_listed(summary['seeds'])}."])


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
