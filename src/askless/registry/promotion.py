"""When a challenger takes the champion's place: the rule, and what it says of a registered version.

A challenger is promoted in one of two ways:

- as good and cheaper: the lower end of the interval of the difference in quality is at least -`quality_margin`, and the
  mean cost is lower;
- as cheap and better: the upper end of the interval of the change in cost is at most `cost_margin`, and the mean
  quality is higher.

Intervals are paired, over items, two-sided at `confidence`; all else is refused. So that many small steps do not add
up, the lower end of the difference to the anchor, the first champion or the last that a person put in place, is at
least -`total_margin` too, unless the challenger is no worse than the champion for certain. One that is worse for
certain within a class or a group, all of them looked at together, and by more than `part_margin` in the mean, is
refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from askless.config import Params, Promote
from askless.errors import ConfigError, DataError
from askless.monitoring.shadow_log import beside
from askless.registry import aliases
from askless.registry import versions as registry
from askless.registry.comparison import Comparison, compare, on_live
from askless.registry.comparison_page import cost_words, quality_words
from askless.registry.held_out import HeldOut, Side
from askless.registry.versions import PROMOTED, REFUSED, Version
from askless.report import wording as words

UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Verdict:
    """What the rule says of a challenger.

    Parameters
    ----------
    outcome
        Promoted, refused, or unchanged where there was nothing to decide.
    reason
        One sentence.
    """

    outcome: str
    reason: str


@dataclass(frozen=True)
class Weighed:
    """A version held against the champion.

    Parameters
    ----------
    model
        The registered model's name.
    champion, challenger
        Numbers of the versions, None where there is no champion.
    run_id
        MLflow's run of the challenger.
    verdict
        What the rule says.
    comparison
        None where none was made.
    anchor
        The version from which losses are counted once the challenger is promoted; None: from the challenger.
    against
        The champion, its anchor and the rule: what a refused challenger is known to have been judged by.
    """

    model: str
    champion: int | None
    challenger: int
    run_id: str
    verdict: Verdict
    comparison: Comparison | None
    anchor: int | None = None
    against: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        found = None if self.comparison is None else self.comparison.as_dict()
        return {**vars(self), "verdict": vars(self.verdict), "comparison": found}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Weighed:
        """From what `as_dict` gave."""
        found = None if plain["comparison"] is None else Comparison(**plain["comparison"])
        return cls(**{**plain, "verdict": Verdict(**plain["verdict"]), "comparison": found})


def judge(found: Comparison, rule: Promote, since: Comparison | None = None) -> Verdict:
    """What the rule says of a comparison, and of the one with the anchor, `since`, where that is not the champion."""
    quality, cost = found.quality_difference, _cost(found)
    floor, ceiling = quality["ci"][0], cost["ci"][1]
    if floor is None or ceiling is None:
        return Verdict(REFUSED, f"Too few items for an interval of {_percent(rule.confidence)} %.")
    as_good, as_cheap = floor >= -rule.quality_margin, ceiling <= rule.cost_margin
    cheaper, better = cost["value"] < 0, quality["value"] > 0
    figures, way = f"{quality_words(found)}, {cost_words(found)}", ""
    if as_good and cheaper:
        way = f"{'Better' if floor > 0 else 'As good'} and cheaper"
    elif as_cheap and better:
        way = f"{'Cheaper' if ceiling < 0 else 'As cheap'} and better"
    if not way:
        return Verdict(REFUSED, f"{_why_not(found, rule, as_good, as_cheap)}: {figures}.")
    lost = _lost_within(found, rule) or ("" if floor >= 0 else _lost_since(since, rule))
    return Verdict(REFUSED, f"{way}, but {lost}: {figures}.") if lost else Verdict(PROMOTED, f"{way}: {figures}.")


def weigh(model: str, which: str | int, settings: Params, *, data: Path | str | None = None, asked: bool) -> Weighed:
    """Hold a version, by number or alias, against the champion of `model` on today's test items.

    Without being `asked` by a person, a version that was proposed for review stays where it is, and one that was
    refused is not judged again by the same rule against the same champion: chance would promote it one day. Raises
    `AsklessError` for a version that is not there, cannot be read, or is of another task.
    """
    task, version, now = task_of(model, settings), registry.find(model, which), registry.champion(model)
    against = "" if now is None else f"{now.number} since {now.anchor} by {json.dumps(asdict(settings.promote))}"
    reason, side, found, anchor = _nothing_to_decide(version, now, asked, against), side_of(version), None, None
    side.require(task, settings.task(task).classes)
    if reason:
        verdict = Verdict(UNCHANGED, reason)
    elif now is None:
        verdict = Verdict(PROMOTED, f"No champion yet: version {version.number} is the first.")
    else:
        held_out = HeldOut.of(task, settings, data)
        found, anchor = compare(side_of(now), side, held_out), now.anchor or now.number
        verdict = judge(found, settings.promote)
        if verdict.outcome == PROMOTED and anchor != now.number and settings.promote.total_margin is not None:
            verdict = judge(found, settings.promote, compare(_anchor(model, anchor), side, held_out))
        found = _with_live(found, held_out, (now.number, version.number))
    return Weighed(model, now.number if now else None, version.number, version.run_id, verdict, found, anchor, against)


def settle(weighed: Weighed) -> str:
    """Do in the registry what the verdict says; returns what was done, in one sentence.

    Raises `DataError` where another version became champion since it was weighed.
    """
    verdict, number = weighed.verdict, weighed.challenger
    if verdict.outcome == PROMOTED:
        champion, anchor = weighed.champion, weighed.anchor
        aliases.promote(weighed.model, number, expected=champion, reason=verdict.reason, anchor=anchor)
        return f"Version {number} is champion of {weighed.model}. {verdict.reason}"
    if verdict.outcome == REFUSED:
        aliases.refuse(weighed.model, number, verdict.reason, weighed.against)
        return f"Version {weighed.champion} stays champion of {weighed.model}. Version {number}: {verdict.reason}"
    return f"Nothing changes in {weighed.model}. {verdict.reason}"


def side_of(version: Version) -> Side:
    """A registered version as one side of a comparison, at the operating point chosen when it was registered."""
    return Side.of(version.address, registry.resolve(version.address), version.budget)


def task_of(model: str, settings: Params) -> str:
    """The task that registers its versions under `model`; raises `ConfigError` where none does."""
    known = {evaluate.model: task for task, evaluate in settings.evaluate.items()}
    if model not in known:
        raise ConfigError.unknown("model in evaluate.<task>.model", model, known)
    return known[model]


def by_hand(model: str, which: str | int, settings: Params, reason: str) -> Version:
    """Make a version champion whatever the rule says; raises `DataError` without a reason, or for another task's."""
    if not reason.strip():
        raise DataError("--by-hand", "no reason", "a sentence that will stand on the version", "Add --reason TEXT.")
    version, task = registry.find(model, which), task_of(model, settings)
    side_of(version).require(task, settings.task(task).classes)
    now = registry.serving(model)
    expected = None if now is None else now.number
    return aliases.promote(model, version.number, expected=expected, reason=f"By hand: {reason.strip()}")


def _anchor(model: str, number: int) -> Side:
    """The version from which losses are counted; raises `DataError` where it cannot be read any more."""
    try:
        return side_of(registry.find(model, number))
    except DataError as error:
        remedy = f"Decide by hand, to count anew: askless promote {model} VERSION --by-hand --reason TEXT."
        raise DataError(error.where, error.got, "the version from which losses are counted", remedy) from error


def _lost_within(found: Comparison, rule: Promote) -> str:
    """The class or group that loses most where one is worse for certain by more than the rule allows; else nothing."""
    if rule.part_margin is None:
        return ""
    rows = [("class", row) for row in found.classes] + [("group", row) for row in found.groups]
    worse = [
        (row["quality_difference"]["value"], f"{kind} {row['name']}")
        for kind, row in rows
        if row["p_worse"] < (1 - rule.confidence) / 2 and row["quality_difference"]["value"] < -rule.part_margin
    ]
    if not worse:
        return ""
    value, name = min(worse)
    more = f" and {len(worse) - 1} more" if len(worse) > 1 else ""
    return f"worse for certain in {name} ({100 * value:+.1f} points){more}"


def _lost_since(since: Comparison | None, rule: Promote) -> str:
    """What was lost since the anchor, where that may be more than the rule allows; else nothing."""
    if since is None or rule.total_margin is None:
        return ""
    low, high = since.quality_difference["ci"]
    if low is not None and low >= -rule.total_margin:
        return ""
    worse = _may(high is not None and high < -rule.total_margin)
    first = since.sides["champion"]["name"]
    return (
        f"quality {worse} more than {_percent(rule.total_margin)} points worse than that of {first}, from which losses "
        f"are counted ({quality_words(since)})"
    )


def _with_live(found: Comparison, held_out: HeldOut, numbers: tuple[int, int]) -> Comparison:
    """The comparison with what live requests say, where both were seen there: it informs, and changes no verdict."""
    folder = held_out.data / "log" / held_out.task
    if not beside(folder).is_dir():
        return found
    try:
        return on_live(found, held_out, folder, (str(numbers[0]), str(numbers[1])))
    except DataError:
        return found


def _nothing_to_decide(version: Version, now: Version | None, asked: bool, against: str) -> str:
    name, by_hand = f"Version {version.number}", f"askless promote {version.model} {version.number}"
    if now is not None and now.number == version.number:
        return f"{name} is champion already."
    if now is not None and aliases.rolled_back(version, now):
        return f"{name} was rolled back and comes back only by hand: {by_hand} --by-hand --reason TEXT."
    if version.proposed_by and not asked:
        return f"{name} was proposed by {version.proposed_by} and waits for a person: {by_hand}."
    if version.verdict == REFUSED and version.against == against and not asked:
        return f"{name} was refused against this champion already, and is judged again if a person asks: {by_hand}."
    return ""


def _cost(found: Comparison) -> dict[str, Any]:
    """The change in cost; where the champion is free, any cost at all is beyond every margin."""
    if found.cost_change["value"] is not None:
        return found.cost_change
    beyond = float("inf") if found.cost_difference["value"] > 0 else 0.0
    return {"value": beyond, "ci": [beyond, beyond]}


def _why_not(found: Comparison, rule: Promote, as_good: bool, as_cheap: bool) -> str:
    """What keeps it back, "is" where its whole interval says so and else "may be"."""
    quality, cost = found.quality_difference["ci"], _cost(found)["ci"]
    if found.unchanged == 1:
        return "The same answers at the same cost, so nothing is gained"
    if as_good and as_cheap:
        return "Neither better nor cheaper"
    worse = f"quality {_may(quality[1] < -rule.quality_margin)} more than {_percent(rule.quality_margin)} points worse"
    beyond = f"more than {_percent(rule.cost_margin)} % higher" if rule.cost_margin else "higher"
    costlier = f"cost {_may(cost[0] > rule.cost_margin)} {beyond}"
    if as_good:
        return f"{'Better' if quality[0] > 0 else 'As good'}, but {costlier}"
    if as_cheap:
        return f"{'Cheaper' if cost[1] < 0 else 'As cheap'}, but {worse}"
    return words.sentence(f"{worse} and {costlier}")


def _may(certain: bool) -> str:
    return "is" if certain else "may be"


def _percent(share: float) -> str:
    return f"{100 * share:g}"
