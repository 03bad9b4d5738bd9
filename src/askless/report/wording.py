"""The report's numbers as text, and the sentences that are made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from askless.evaluation.headline import WORDS
from askless.evaluation.metrics import GRADES, QUALITIES

Summary = Mapping[str, Any]
Cells = tuple[str, ...]
DEMO = "Generated demo data{toys}: these figures prove the plumbing, not the method."
DASH = "–"
BILL = ("own", "reference", "saved")
OUTCOMES = {
    "classification": {
        "kept, small right": ("good", "The small model was right and no LLM was paid."),
        "asked, only the LLM right": ("good", "Only the LLM was right and it was asked: what deferral is for."),
        "should have asked": ("miss", "Kept, but only the LLM would have been right: quality left on the table."),
        "asked for nothing": ("waste", "Both were right: the call was paid for and changed nothing."),
        "asked and misled": ("miss", "The small model was right and the LLM was not: paid for, and worse."),
        "hopeless, kept": ("none", "Both wrong and not asked: choosing between these two cannot help."),
        "hopeless, asked": ("waste", "Both wrong and asked all the same: paid for, and still wrong."),
    },
    "summarisation": {
        "kept, small as good": ("good", "The small model's summary is no worse, and no LLM was paid."),
        "asked, LLM better": ("good", "The LLM's summary is better and it was asked: what deferral is for."),
        "should have asked": ("miss", "Kept, but the LLM's summary would have been better: quality left on the table."),
        "asked for nothing": (
            "waste",
            "The outcome is no better and no worse: the call was paid for and changed nothing.",
        ),
        "asked and misled": ("miss", "The small model's summary is better: the LLM was paid for, and made it worse."),
    },
}
EFFECTS = {
    "kept, small as good": "loss avoided",
    "asked, LLM better": "gained",
    "should have asked": "gain missed",
    "asked and misled": "lost",
}
OUTCOMES["judged"] = {
    name: (tone, meaning.replace("The LLM's summary", "The LLM's answer").replace("summary", "answer"))
    for name, (tone, meaning) in OUTCOMES["summarisation"].items()
}
# What any expert must beat, and what it says of those that do not.
LEAST = {
    "classification": ("majority", "Always answering the commonest class", "on such data this measure says little"),
    "summarisation": ("lead", "Taking the first sentence", "by this measure that is the better bargain"),
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


def title(summary: Summary, policy: str) -> str:
    """The plain name of a policy, with its own where another's is the same."""
    plain = summary["policies"][policy]["title"]
    if policy.startswith("always_") or not plain:
        return label(policy)
    twins = [name for name, other in summary["policies"].items() if other["title"] == plain]
    return plain if twins == [policy] else f"{plain} ({policy})"


def bill(summary: Summary, cost_per_1k: float | None = None) -> dict[str, str]:
    """What a month costs (`own`, by default the headline's), and by the `reference` alone, and what is `saved`."""
    many, unit = summary["items_per_month"] / 1000, summary["unit"]
    own = summary["headline"]["cost_per_1k"]["value"] if cost_per_1k is None else cost_per_1k
    return monthly(many * own, many * reference_cost(summary), unit)


def monthly(own: float, reference: float, unit: str) -> dict[str, str]:
    """Two amounts and their difference, `saved`, in the digits that the larger asks for, so that they add up."""
    most = max(own, reference)
    digits = 0 if most >= 1000 else 2 if most >= 1 or not most else min(12, 2 - math.floor(math.log10(most)))
    saved = round(reference, digits) - round(own, digits)
    return {name: _money(value, digits, unit) for name, value in zip(BILL, (own, reference, saved), strict=True)}


def _money(value: float, digits: int, unit: str) -> str:
    least = 10**-digits
    sign = "\u2212" if value <= -least / 2 else "<" if 0 < value < least / 2 else ""
    text = f"{max(abs(value), least if sign == '<' else 0):,.{digits}f}"
    return f"{sign}${text}" if unit == "usd" else f"{sign}{text} {'s' if unit == 'seconds' else unit}"


def reference_cost(summary: Summary) -> float:
    """What 1,000 items cost by the reference alone."""
    return float(summary["policies"][f"always_{summary['reference']}"]["cost_per_1k"])


def role(summary: Summary, policy: str) -> str:
    """What a policy is in this evaluation: headline, small, reference, bound, chance or other."""
    roles = {
        summary["headline"]["policy"]: "headline",
        f"always_{summary['small']}": "small",
        f"always_{summary['reference']}": "reference",
        "oracle": "bound",
        "random": "chance",
    }
    return roles.get(policy, "other")


def measures(summary: Summary) -> list[str]:
    """The measures of experts worth showing.

    Of classes F1 of one only where there are but two, or where it is the quality; of summaries all that were measured.
    """
    if of_summaries(summary):
        return [name for name in GRADES if all(name in expert for expert in summary["experts"].values())]
    if not summary["classes"]:
        return [summary["quality"]]
    shown = len(summary["classes"]) == 2 or summary["quality"] == "f1_positive"
    return [name for name in QUALITIES if shown or name != "f1_positive"]


def budget_measures(summary: Summary) -> list[str]:
    """The measures that policies have at each budget: of summaries the quality alone."""
    return [summary["quality"]] if of_summaries(summary) else measures(summary)


def of_summaries(summary: Summary) -> bool:
    """Whether answers are summaries, which have quality scores, and not classes, which are right or wrong."""
    return bool(summary["kind"] == "summarisation")


def _shares(summary: Summary) -> bool:
    """Whether a quality is a share of right answers, and no score."""
    return not of_summaries(summary) and summary["quality"] != "mean_quality"


def quality_words(summary: Summary, quality: str | None = None) -> str:
    """A quality measure in words, the summary's own by default."""
    return WORDS.get(quality or summary["quality"], f"F1 of class “{summary['positive']}”")


def sign(summary: Summary) -> str:
    """What follows a quality: a sign % after a share of right answers, nothing after a score, which is shown x 100."""
    return "\u00a0%" if _shares(summary) else ""


def axis_words(summary: Summary) -> str:
    """The quality with its unit, as an axis or a column has it."""
    return quality_words(summary) + (" (%)" if _shares(summary) else "")


def unit_words(summary: Summary) -> str:
    """The unit of cost per 1,000 items."""
    unit = {"usd": "$"}.get(summary["unit"], summary["unit"])
    return f"{unit} per 1,000 items"


def verdict(summary: Summary) -> tuple[str, str]:
    """What the headline amounts to, and in words.

    `reached`; `small` where a cheaper expert has that quality alone; `useless` where nothing is saved; `missed`.
    """
    head = summary["headline"]
    if not head["reached"]:
        return "missed", "Not certain" if head["quality_difference"]["value"] >= -head["margin"] else "Not reached"
    high = head["cost_share"]["ci"][1]
    if high is None or high >= 1:
        return "useless", "As good, but not cheaper"
    if name := sufficient(summary):
        return "small", f"Reached, as {name} alone does"
    return "reached", "Reached"


def best(summary: Summary) -> str:
    """The headline's sentence on the best point, unless on test that is no better than the first."""
    head, peak = summary["headline"], summary["policies"][summary["headline"]["policy"]]["peak"]
    peak_gain, gain = (round(point["quality_difference"]["value"], 3) for point in (peak, head))
    return str(head["best"]) if peak_gain > gain else ""


def sufficient(summary: Summary) -> str:
    """The cheapest expert that is as good as the reference alone and costs no more than the headline; else nothing."""
    head, large = summary["headline"], summary["reference"]
    price = reference_cost(summary)
    most = head["cost_per_1k"]["value"] if head["reached"] else price
    alone = {name: summary["policies"].get(f"always_{name}", {}) for name in summary["experts"] if name != large}
    prices = {
        name: policy["cost_per_1k"]
        for name, policy in alone.items()
        if policy.get("operating_point", {}).get("reached") and policy["cost_per_1k"] <= most
    }
    name = min(prices, key=lambda each: prices[each], default="")
    return name if name and prices[name] < price else ""


def enough(summary: Summary) -> str:
    """Where a cheaper expert alone would do: that it would, by which test, and what it costs; else nothing."""
    name = sufficient(summary)
    if not name:
        return ""
    point, large = summary["policies"][f"always_{name}"]["operating_point"], summary["reference"]
    change = point["quality_difference"]
    better = change["ci"][0] is not None and change["ci"][0] > 0
    what = "better than" if better else "as good as"
    within = "" if better else f" within {percent(summary['headline']['margin'])} points"
    figures = f"{percent(point['quality']['value'])} against {percent(point['reference_quality']['value'])}"
    low, high = (percent(end, signed=True) for end in change["ci"])
    share = point["cost_share"]["value"]
    saved = "" if share is None else f", {percent(1 - share)} % less"
    price = cost(point["cost_per_1k"]["value"], summary["unit"])
    return (
        f"{name} alone{_only(summary, name)} would do: it is {what} {large}{within} ({quality_words(summary)} {figures}"
        f"{sign(summary)}, difference [{low}, {high}]) for {price} per 1,000 items{saved}."
    )


def _only(summary: Summary, name: str) -> str:
    """That an expert says one class to everything; else nothing."""
    only = summary["experts"][name].get("only")
    return "" if only is None else f", which answers “{only}” to every item,"


def one_class(summary: Summary) -> str:
    """Which experts say one class to every item, in a sentence; else nothing."""
    said = [f"{name} (“{e['only']}”)" for name, e in summary["experts"].items() if e.get("only") is not None]
    if not said:
        return ""
    return f"{_listed(said)} {'gives' if len(said) == 1 else 'give'} the same answer to every item of test."


def demo(summary: Summary) -> str:
    """What is of the demo here, and that its figures prove nothing; nothing where all is one's own."""
    parts = summary.get("demo")
    if not parts:
        return ""
    if parts is True or "data" in parts:
        toys = parts is True or {*parts} - {"data", "word vectors"}
        return DEMO.format(toys=" and toy models" if toys else "")
    return f"{sentence(_listed(list(parts)))} of the demo on texts of your own: these figures say nothing of real ones."


def ranking(summary: Summary) -> list[str]:
    """Sentences on which is better, the small expert or the reference, and whether the measures agree."""
    small, large, own = summary["small"], summary["reference"], quality_words(summary)
    found = claims(summary)
    if len(found) == 2:
        out = [f"Which of the two is better depends on the measure: {found[0]}; {found[1]}."]
        out.append(f"The headline, the curve and the calculator count {own}.")
    else:
        out = [f"{claim}." for claim in found]
    if enough(summary):
        out.append(f"{enough(summary)} Deferring pays only where it lifts quality above both.")
    elif small != large and _quality_of(summary, small) >= _quality_of(summary, large) >= 0:
        as_good = f"it to be as good within {percent(summary['headline']['margin'])} points"
        out.append(f"{small} is not worse than {large} here, but {summary['items']:,} items do not show {as_good}.")
    least, what, so = LEAST.get(summary["kind"], ("", "", ""))
    common = _quality_of(summary, least)
    matched = [name for name in (small, large) if name != least and 0 <= _quality_of(summary, name) <= common]
    if matched:
        out.append(f"{what} has {own} {percent(common)}{sign(summary)}, no less than {_listed(matched)}: {so}.")
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
        figures = f"{percent(over['value'])} against {percent(under['value'])}{sign(summary)}"
        won[name].append(f"{quality_words(summary, measure)} ({figures}{close})")
    return [f"{name} has the higher {_listed(wins)}" for name, wins in won.items() if wins]


def _quality_of(summary: Summary, expert: str) -> float:
    """An expert's quality, below every other's where it was not measured."""
    return float(summary["experts"].get(expert, {}).get("quality", -1.0))


def _apart(over: Mapping[str, Any], under: Mapping[str, Any]) -> bool:
    low, high = over["ci"][0], under["ci"][1]
    return low is not None and high is not None and low > high


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def aligned(lines: Sequence[Cells], right: Sequence[str] | None = None) -> str:
    """A table in columns, its head first; `right` names the columns that stand to the right: all but the first."""
    columns = list(zip(*lines, strict=True))
    to_right = [name in right if right is not None else at > 0 for at, name in enumerate(lines[0])]
    padded = [
        [cell.rjust(width) if last else cell.ljust(width) for cell in column]
        for column, last in zip(columns, to_right, strict=True)
        for width in (max(map(len, column)),)
    ]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))
