"""A bandit that answers live: what it spends and learns is shared by all processes that use it."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from askless import schema
from askless.arrays import Bools, Floats, Ints
from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.errors import BudgetError
from askless.labelling.judge import Judging
from askless.labelling.learning import Decided, Label, Learning, Turn, Version
from askless.panel import NO_LABEL, Answers, Panel
from askless.policies.bandit.bandit import Bandit, Round
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget, Policy
from askless.policies.state import plain, restored
from askless.spending.call_price import CallPrice
from askless.spending.guard import GuardedExpert

# So many items are decided in a turn: what a kill leaves reserved is the money of no more.
AT_ONCE = 50
# A version is made of so many labels of the reference or the judge.
LEARN = 20
TEACHER_SEED = 33_550_336
# Of a round the class index of the answer that stood, and of the judge's verdict with its cost: they teach nothing and
# are shown.
ANSWER, VERDICT = "answer", "verdict"
# Of the answers to some rows: for each row, and in it for each expert.
_Keys = list[list[list[str]]]


class LiveBandit(Policy):
    """Decides as the newest version of a bandit, within what is left of its money, and leaves what it asked.

    Parameters
    ----------
    bundle
        That of the bandit; its facts say who is the `reference` or the `judge`, and of which share of the items.
    learning
        What it has spent and learnt.
    expensive
        Its experts and the judge by name, each behind a ledger.
    costs
        Their prices.
    """

    budgets = Bandit.budgets
    whole_batch = True

    def __init__(
        self, bundle: Bundle, learning: Learning, expensive: Mapping[str, GuardedExpert], costs: CostModel
    ) -> None:
        assert isinstance(bundle.policy, Bandit)
        self.experts = bundle.policy.experts
        self.learning = learning
        self._bundle, self._bandit, self._number, self._waiting = bundle, bundle.policy, 0, 0
        judge = bundle.facts.get("judge")
        teacher = judge or bundle.facts.get("reference") or {"expert": self.experts[0], "share": 0.0}
        self._teacher, self._share = str(teacher["expert"]), float(teacher["share"])
        names = (*self.experts, *([] if judge is None else [self._teacher]))
        self._expensive, self._at = [expensive[name] for name in names], names.index(self._teacher)
        self._judging = None if judge is None else Judging(self._expensive[-1].expert)
        # The turns under way, and the calls since the first of them that were counted.
        self._under_way, self._counted = list[_UnderWay](), set[int]()
        self._prices = [CallPrice(each.expert, costs, limited=True) for each in self._expensive]
        self._lock = threading.Lock()

    def look(self, panel: Panel) -> None:
        """Nothing."""

    def decide(
        self,
        panel: Panel,
        budget: Budget | None = None,
        seen: None = None,
        decided: Callable[[Round], None] | None = None,
    ) -> Round:
        """Ask about the rows in their order; what they may cost is reserved before, and given back where it was not.

        Where a judge is asked about any of them `decided` is told before what was decided.
        """
        if budget is None or budget.per_1000 is None:
            got = "no budget" if budget is None else f"a budget of {budget.kind}"
            raise BudgetError(f"A model that learns while it answers got {got}. Allowed: --per-1000, in dollars.")
        (bandit, number), most, usd = self._newest(), self._most(panel.text), budget.per_1000 / 1000
        keys = [[each.expert.keys(text) for each in self._expensive] for text in panel.text]
        kept, own, k = self._kept(keys), self._own(usd, most, bandit), len(self.experts)
        drawn = panel.draws(TEACHER_SEED) < self._share
        due = np.where(kept, 0.0, most)
        here = self._begin(len(panel), usd, float(due[:, :k].sum() + due[drawn, k:].sum()), keys)
        turn = here.turn
        bandit.ceilings, bandit.at_hand = tuple(most[:, :k].max(axis=0, initial=0.0)), kept[:, :k]
        # By its own reckoning the last row may take all that the turn has, but for what is put by for the teacher.
        has = turn.usd - (usd - own) * len(panel)
        bandit.items_, bandit.spent_ = turn.first, own * (turn.first + len(panel)) - has
        try:
            rows = np.flatnonzero(drawn)
            # What is kept takes nothing, and is taken whatever money is left.
            rows = rows[kept[rows, self._at] | (np.cumsum(due[rows, self._at]) <= turn.usd - usd * len(panel))]
            bandit.spent_ += self._put_by(panel, rows, due, kept)
            done = replace(bandit.decide(panel, Budget(per_1000=1000 * own)), version=str(number))
            if decided is not None and self._judging is not None and len(rows):
                decided(replace(done, cost=panel.spent))
            told = self._told(panel, rows, done.rounds)
        except BaseException:
            # What came of an ask that broke off is there the next time.
            if (spent := self._spent(here)) is not None:
                self.learning.end(turn, usd, spent)
            raise
        asked, new = done.rounds.asked, ~np.any(kept[:, :k], axis=1)
        paid = new & (np.nansum(done.rounds.cost, axis=1) > 0)
        answers, verdicts = done.label.tolist(), self._verdicts(told)
        rounds = [
            _text(done.rounds[at : at + 1], answers[at], verdicts.get(at)) if asked[at].any() else ""
            for at in range(len(panel))
        ]
        answered = np.any(done.rounds.label != NO_LABEL, axis=1)
        # Of turns about one text at once none has paid for all of it anew, whoever ends first.
        anew = (paid & here.alone).tolist()
        both = zip(panel.ids, done.rounds.item.tolist(), rounds, anew, answered.tolist(), strict=True)
        kept_of = [Decided(*each, number) for each in both]
        if (spent := self._spent(here)) is not None:
            self.learning.end(turn, usd, spent, kept_of)
        labelled = [(at, label) for at, label in zip(told.rows, told.label, strict=True) if label != NO_LABEL]
        labels = [Label(panel.ids[at], None, panel.classes[label]) for at, label in labelled]
        with self._lock:
            _priced(self._bandit, done.rounds[paid | (new & answered)])
            if labels:
                self._waiting += self.learning.label(labels, panel.classes, first=True).new
                if self._waiting >= LEARN:
                    self.learning.learn(partial(taught, self._bundle))
                    self._waiting = 0
        return replace(done, cost=panel.spent)

    def _own(self, usd: float, most: Floats, bandit: Bandit) -> float:
        """What the bandit itself may spend on an item, where a part is put by for the teacher.

        That is half at least, and what the cheapest expert that gives answers takes.
        """
        priced, ceilings = bandit.prices_[(bandit.priced_ > 0) & bandit.here()], most.max(axis=0, initial=0.0)
        least = float((priced if len(priced) else ceilings[: len(self.experts)]).min())
        return max(usd / 2, usd - self._share * float(ceilings[self._at]), min(usd, least))

    def _put_by(self, panel: Panel, rows: Ints, due: Floats, kept: Bools) -> float:
        """What the teacher takes of `rows`: the reference, who is asked now, what it did; a judge the most."""
        if self._judging is not None:
            return float(due[rows, self._at].sum())
        panel.ask(self._teacher, rows)
        return float(panel.bill(self._teacher)[~kept[:, self._at]].sum())

    def _told(self, panel: Panel, rows: Ints, rounds: Rounds) -> Answers:
        """What the teacher says of `rows`: of a judge, who is asked now, of those that anybody was asked about."""
        if self._judging is None:
            answers = panel.ask(self._teacher, rows)
            if len(rows):
                rounds.put(self._at, rows, answers, free=True)
            return answers
        rows = rows[rounds.asked[rows].any(axis=1)]
        given = {at: [panel.classes[label] for label in rounds.label[at] if label != NO_LABEL] for at in rows.tolist()}
        texts = {at: self._judging.shown(panel.text[at], classes) for at, classes in given.items()}
        return panel.ask(self._teacher, rows, texts=texts)

    def _verdicts(self, told: Answers) -> dict[int, dict[str, Any]]:
        """Of a judge, what is kept of each row that it was asked about."""
        if self._judging is None:
            return {}
        about = zip(told.rows.tolist(), told.label.tolist(), told.cost.tolist(), strict=True)
        return {at: {"expert": self._teacher, "label": label, "cost": cost} for at, label, cost in about}

    def _newest(self) -> tuple[Bandit, int]:
        """A copy of the newest version, with the experts of here, and its number."""
        with self._lock:
            if (number := self.learning.number) != self._number:
                before, self._bandit, self._number = self._bandit, as_of(self._bandit, self.learning.version()), number
                if self._bandit.experts != self.experts:
                    self._bandit = self._bandit.hiring(self.experts, before.ceilings)
                # Who gives no answers now is known here; labels come later.
                self._bandit.silent_ = before.silent_
            return copy.copy(self._bandit), number

    def _most(self, texts: Sequence[str]) -> Floats:
        """The most that each one's answer to each text can cost, (rows, experts); a judge is last, with any answers."""
        shown = [texts] * len(self._expensive)
        if self._judging is not None:
            shown[-1] = [self._judging.longest(text) for text in texts]
        both = zip(self._expensive, self._prices, shown, strict=True)
        return np.stack([each.expert.replies * np.array(price.most(some)) for each, price, some in both], axis=1)

    def _kept(self, keys: _Keys) -> Bools:
        """Which answers are there already, so that they are paid for, (rows, experts)."""
        found = [
            set(each.kept.get_many([key for row in keys for key in row[j]])) for j, each in enumerate(self._expensive)
        ]
        return np.array([[found[j].issuperset(some) for j, some in enumerate(row)] for row in keys], bool)

    def _begin(self, items: int, usd: float, most: float, keys: _Keys) -> _UnderWay:
        with self._lock:
            turn = self.learning.begin(items, usd, most, self._expensive[0].ledger)
            here = _UnderWay(turn, {key for row in keys for some in row for key in some})
            for other in self._under_way:
                if not here.keys.isdisjoint(other.keys):
                    here.alone = other.alone = False
            self._under_way.append(here)
            return here

    def _spent(self, here: _UnderWay) -> float | None:
        """What calls of a turn's keys took in it, in doubt the most; None where one is still open (a batch).

        A call that two turns waited for is counted by the one that ends first; one that is open and of another turn
        too, by that one.
        """
        with self._lock:
            self._under_way.remove(here)
            calls, still_open = self._expensive[0].ledger.since(here.turn.call, list(here.keys))
            new = {number: usd for number, usd in calls.items() if number not in self._counted}
            first = min((each.turn.call for each in self._under_way), default=math.inf)
            self._counted = {number for number in self._counted | new.keys() if number > first}
            others = set[str]().union(*(each.keys for each in self._under_way))
        return None if still_open - others else sum(new.values())


@dataclass(eq=False)
class _UnderWay:
    """A turn that has begun, the keys of its answers, and whether no other asked about one of its texts meanwhile."""

    turn: Turn
    keys: set[str]
    alone: bool = True


def cold(bandit: Bandit, classes: Sequence[str]) -> Bandit:
    """A bandit that begins with nothing."""
    nothing = Panel(schema.table("examples", {}), dict.fromkeys(bandit.experts, _Nobody()), CostModel("usd"), classes)
    return bandit.fit(nothing, nothing)


def as_of(bandit: Bandit, version: Version | None) -> Bandit:
    """The bandit as a version has it; what it was begun with where there is none."""
    if version is None:
        return bandit
    experts, options = tuple(version.experts), bandit.get_params()
    # Those of a call about a text of 1,000 characters, in the order of the bundle's experts.
    ceilings = options["ceilings"] if experts == bandit.experts else None
    return Bandit(**{**options, "experts": experts, "ceilings": ceilings}).restore(version.state)


def taught(
    bundle: Bundle, before: Version | None, rows: Sequence[tuple[str, str]]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The experts and the state that come of a version, and of rounds with their labels, in their order."""
    assert isinstance(bundle.policy, Bandit)
    made = as_of(bundle.policy, before)
    values = [(json.loads(text), bundle.classes.index(label)) for text, label in rows]
    for each, _ in values:
        each.pop(ANSWER, None)
        each.pop(VERDICT, None)
    for names, alike in groupby(values, key=lambda value: value[0].pop("experts")):
        some = list(alike)
        columns = {name: [one for each, _ in some for one in each[name]] for name in some[0][0]}
        rounds: Rounds = restored(Rounds, {"experts": names, **columns})
        _priced(made, rounds)
        made.feed(rounds, np.array([label for _, label in some]))
    return made.experts, made.state()


def rounds_of(text: str) -> tuple[Rounds, int, dict[str, Any] | None]:
    """What was asked about an item, as it is kept, the class index of the answer that stood, and a judge's verdict."""
    values = json.loads(text)
    answer, verdict = int(values.pop(ANSWER, NO_LABEL)), values.pop(VERDICT, None)
    return restored(Rounds, values), answer, verdict


def changed(version: Version | None) -> dict[str, int]:
    """From which item on, counted from 1, an expert's answers count, of those that changed while they were watched."""
    if version is None:
        return {}
    since = zip(version.experts, version.state["since_"], version.state["came_"], strict=True)
    return {name: item + 1 for name, item, came in since if item >= 0 and not came}


def _priced(bandit: Bandit, rounds: Rounds) -> None:
    """Learn prices and who gives no answers, of rounds that were paid: kept answers say nothing of the next ones."""
    rounds = rounds.of(bandit.experts)
    # An answer for nothing is a kept one, but of an expert that is free.
    free = np.zeros(len(bandit.experts)) if bandit.ceilings is None else np.asarray(bandit.ceilings) == 0
    paid = ~rounds.asked | (rounds.cost > 0) | (rounds.label == NO_LABEL) | free
    bandit.count(rounds[np.all(paid, axis=1) & np.any(rounds.asked, axis=1)])


def _text(rounds: Rounds, answer: int, verdict: dict[str, Any] | None) -> str:
    return json.dumps({**plain(rounds), ANSWER: answer, **({} if verdict is None else {VERDICT: verdict})})


class _Nobody:
    def answer(self, examples: pa.Table) -> pa.Table:
        return schema.table("predictions", {})
