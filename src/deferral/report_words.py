"""The report's numbers as text, and the sentences that are made from the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deferral.metrics import QUALITIES

Summary = Mapping[str, Any]
DEMO = "Generated demo data and toy models: these figures prove the plumbing, not the method."
DASH = "–"
OUTCOMES = {
    "kept, small right": ("good", "The small model was right and no LLM was paid."),
    "asked, only the LLM right": ("good", "Only the LLM was right and it was asked: what deferral is for."),
    "should have asked": ("miss", "Kept, but only the LLM would have been right: quality left on the table."),
    "asked for nothing": ("waste", "Both were right: the call was paid for and changed nothing."),
    "asked and misled": ("miss", "The small model was right and the LLM was not: paid for, and worse."),
    "hopeless, kept": ("none", "Both wrong and not asked: choosing between these two cannot help."),
    "hopeless, asked": ("waste", "Both wrong and asked all the same: paid for, and still wrong."),
}


def percent(value: float, signed: bool = False) -> str:
    """A share as a percentage with one decimal, without its sign %; never a negative zero."""
    number = round(100 * value, 1) + 0.0
    return f"{number:+.1f}" if signed and number else f"{number:.1f}"


def number(value: float, kind: str, signed: bool = False, unit: str = "") -> str:
    """A number of the page: `percent`, `cost` with its unit, `bare` cost, or `ratio`."""
    if kind == "percent":
        return percent(value, signed)
    if kind == "ratio":
        return f"{value:.3f}"
    return cost(value, unit) if kind == "cost" else amount(value)


def sentence(text: str) -> str:
    """`text` with a capital first letter."""
    return text[:1].upper() + text[1:]


def amount(value: float) -> str:
    """A cost in as many digits as matter, without its unit."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 1:
        return f"{value:.2f}"
    if value >= 1e-4:
        return f"{value:#.3g}"
    return "<0.0001" if value > 0 else "0"


def cost(value: float, unit: str) -> str:
    """A cost with its unit."""
    text = amount(value)
    if unit == "usd":
        return f"<${text[1:]}" if text.startswith("<") else f"${text}"
    return f"{text} {'s' if unit == 'seconds' else unit}"


def label(policy: str) -> str:
    """The name of a policy as people read it."""
    return f"{policy.removeprefix('always_')} alone" if policy.startswith("always_") else policy


def role(summary: Summary, policy: str) -> str:
    """What a policy is in this evaluation: headline, small, reference, bound, chance or other."""
    known = {
        summary["headline"]["policy"]: "headline",
        f"always_{summary['small']}": "small",
        f"always_{summary['reference']}": "reference",
        "oracle": "bound",
        "random": "chance",
    }
    return known.get(policy, "other")


def measures(summary: Summary) -> list[str]:
    """The measures worth showing: F1 of one class only where there are but two, or where it is the quality."""
    shown = len(summary["classes"]) == 2 or summary["quality"] == "f1_positive"
    return [name for name in QUALITIES if shown or name != "f1_positive"]


def quality_words(summary: Summary, quality: str | None = None) -> str:
    """A quality measure in words, the summary's own by default."""
    words = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
    return words.get(quality or summary["quality"], f"F1 of class “{summary['positive']}”")


def unit_words(summary: Summary) -> str:
    """The unit of cost per 1,000 items."""
    unit = {"usd": "$"}.get(summary["unit"], summary["unit"])
    return f"{unit} per 1,000 items"


def verdict(summary: Summary) -> tuple[str, str]:
    """What the headline amounts to, and in words.

    `reached`; `small` where the small expert has that quality alone; `useless` where nothing is saved; `missed`.
    """
    head = summary["headline"]
    if not head["reached"]:
        return "missed", "Not reached"
    high = head["cost_share"]["ci"][1]
    if high is None or high >= 1:
        return "useless", "As good, but not cheaper"
    if _small_is_enough(summary):
        return "small", f"Reached, as {summary['small']} alone does"
    return "reached", "Reached"


def ranking(summary: Summary) -> list[str]:
    """Sentences on which is better, the small expert or the reference, and whether the measures agree."""
    small, large, own = summary["small"], summary["reference"], quality_words(summary)
    found = claims(summary)
    if len(found) == 2:
        out = [f"Which of the two is better depends on the measure: {found[0]}; {found[1]}."]
        out.append(f"The headline, the curve and the calculator count {own}.")
    else:
        out = [f"{claim}." for claim in found]
    if _small_is_enough(summary):
        out.append(
            f"By {own}, {small} alone is already as good as {large}: matching {large} takes no LLM call, and "
            "deferring pays only where it lifts the team above both."
        )
    common = _quality_of(summary, "majority")
    matched = [name for name in (small, large) if name != "majority" and 0 <= _quality_of(summary, name) <= common]
    if matched:
        out.append(
            f"Always answering the commonest class has {own} {percent(common)}\u00a0%, no less than "
            f"{_listed(matched)}: on such data this measure says little."
        )
    return out


def claims(summary: Summary) -> list[str]:
    """For the small expert and the reference, by which measures it is the better; two claims where they differ."""
    small, large = summary["small"], summary["reference"]
    if small == large or not {small, large} <= set(summary["experts"]):
        return []
    first, second = summary["experts"][small], summary["experts"][large]
    won: dict[str, list[str]] = {small: [], large: []}
    for measure in measures(summary):
        a, b = first[measure], second[measure]
        if a["value"] == b["value"]:
            continue
        name, over, under = (small, a, b) if a["value"] > b["value"] else (large, b, a)
        close = "" if _apart(over, under) else ", intervals overlap"
        figures = f"{percent(over['value'])} against {percent(under['value'])}\u00a0%"
        won[name].append(f"{quality_words(summary, measure)} ({figures}{close})")
    return [f"{name} has the higher {_listed(wins)}" for name, wins in won.items() if wins]


def _quality_of(summary: Summary, expert: str) -> float:
    """An expert's quality, below every other's where it was not measured."""
    return float(summary["experts"].get(expert, {}).get("quality", -1.0))


def _small_is_enough(summary: Summary) -> bool:
    small, large = (_quality_of(summary, summary[who]) for who in ("small", "reference"))
    return small >= large >= 0


def _apart(over: Mapping[str, Any], under: Mapping[str, Any]) -> bool:
    low, high = over["ci"][0], under["ci"][1]
    return low is not None and high is not None and low > high


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
