"""A bandit that answers live: what it spends and learns is shared by all processes that use it."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from askless.labelling.learning import Decided, Label, Learning, Turn, Version
from askless.panel import NO_LABEL, Panel
from askless.policies.bandit.bandit import Bandit, Round
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget, Policy
from askless.policies.state import plain, restored
from askless.spending.call_price import CallPrice
from askless.spending.guard import GuardedExpert

# So many items are decided in a turn: what a kill leaves reserved is the money of no more.
AT_ONCE = 50
# A version is made of so many labels of the reference.
LEARN = 20
REFERENCE_SEED = 33_550_336
# Of a round the class index of the answer that stood, which teaches nothing and is shown.
ANSWER = "answer"
# Of the answers to some rows: for each row, and in it for each expert.
_Keys = list[list[list[str]]]


class LiveBandit(Policy):
    """Decides as the newest version of a bandit, within what is left of its money, and leaves what it asked.

    Parameters
    ----------
    bundle
        That of the bandit; its facts say who is the `reference`, of which share of the items, if there is one.
    learning
        What it has spent and learnt.
    expensive
        Its experts by name, each behind a ledger.
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
        reference = bundle.facts.get("reference")
        self._reference = None if reference is None else (str(reference["expert"]), float(reference["share"]))
        self._expensive = [expensive[name] for name in self.experts]
        # Of turns under way the call before each, and the calls since the first of them that were counted.
        self._since, self._counted = list[int](), set[int]()
        self._prices = [CallPrice(each.expert, costs, limited=True) for each in self._expensive]
        self._lock = threading.Lock()

    def look(self, panel: Panel) -> None:
        """Nothing."""

    def decide(self, panel: Panel, budget: Budget | None = None, seen: None = None) -> Round:
        """Ask about the rows in their order; what they may cost is reserved before, and given back where it was not."""
        if budget is None or budget.per_1000 is None:
            got = "no budget" if budget is None else f"a budget of {budget.kind}"
            raise BudgetError(f"A model that learns while it answers got {got}. Allowed: --per-1000, in dollars.")
        (bandit, number), most, usd = self._newest(), self._most(panel.text), budget.per_1000 / 1000
        keys = [[each.expert.keys(text) for each in self._expensive] for text in panel.text]
        kept = self._kept(keys)
        turn = self._begin(len(panel), usd, float(most[~kept].sum()))
        bandit.ceilings, bandit.at_hand = tuple(most.max(axis=0, initial=0.0)), kept
        own = self._own(usd, most)
        # By its own reckoning the last row may take all that the turn has, but for what is put by for the reference.
        has = turn.usd - (usd - own) * len(panel)
        bandit.items_, bandit.spent_ = turn.first, own * (turn.first + len(panel)) - has
        try:
            drawn, bill = self._referred(panel, np.where(kept, 0.0, most), kept, turn.usd - usd * len(panel))
            bandit.spent_ += bill
            done = bandit.decide(panel, Budget(per_1000=1000 * own))
        except BaseException:
            # What came of an ask that broke off is there the next time.
            if (spent := self._spent(turn, keys)) is not None:
                self.learning.end(turn, usd, spent)
            raise
        by_reference = self._put(panel, drawn, done.rounds)
        asked, paid = done.rounds.asked, ~np.any(kept, axis=1) & (np.nansum(done.rounds.cost, axis=1) > 0)
        answers = done.label.tolist()
        rounds = [_text(done.rounds[at : at + 1], answers[at]) if asked[at].any() else "" for at in range(len(panel))]
        answered = np.any(done.rounds.label != NO_LABEL, axis=1)
        both = zip(panel.ids, done.rounds.item.tolist(), rounds, paid.tolist(), answered.tolist(), strict=True)
        decided = [Decided(*each, number) for each in both]
        if (spent := self._spent(turn, keys)) is not None:
            self.learning.end(turn, usd, spent, decided)
        with self._lock:
            _priced(self._bandit, done.rounds[paid])
            if by_reference:
                self._waiting += self.learning.label(by_reference, panel.classes, first=True).new
                if self._waiting >= LEARN:
                    self.learning.learn(partial(taught, self._bundle))
                    self._waiting = 0
        return replace(done, version=str(number))

    def _own(self, usd: float, most: Floats) -> float:
        """What the bandit itself may spend on an item, where a part is put by for the reference: half at least."""
        if self._reference is None:
            return usd
        name, share = self._reference
        return max(usd / 2, usd - share * float(most[:, self.experts.index(name)].max(initial=0.0)))

    def _referred(self, panel: Panel, most: Floats, kept: Bools, usd: float) -> tuple[Ints, float]:
        """Ask the reference about its share of the rows, as far as `usd` reaches, whatever will be decided.

        Gives which, and what that took.
        """
        if self._reference is None:
            return np.zeros(0, np.int64), 0.0
        name, share = self._reference
        j, rows = self.experts.index(name), np.flatnonzero(panel.draws(REFERENCE_SEED) < share)
        rows = rows[np.cumsum(most[rows, j]) <= usd]
        panel.ask(name, rows)
        return rows, float(panel.bill(name)[~kept[:, j]].sum())

    def _put(self, panel: Panel, rows: Ints, rounds: Rounds) -> list[Label]:
        """Put the reference's answers to `rows` into what was asked; the labels that they are."""
        if self._reference is None or not len(rows):
            return []
        answers = panel.ask(self._reference[0], rows)
        rounds.put(self.experts.index(answers.expert), rows, answers, free=True)
        both = zip(rows.tolist(), answers.label.tolist(), strict=True)
        return [Label(panel.ids[at], None, panel.classes[label]) for at, label in both if label != NO_LABEL]

    def _newest(self) -> tuple[Bandit, int]:
        """A copy of the newest version, with the experts of here, and its number."""
        with self._lock:
            if (number := self.learning.number) != self._number:
                before, self._bandit, self._number = self._bandit, as_of(self._bandit, self.learning.version()), number
                if self._bandit.experts != self.experts:
                    self._bandit = self._bandit.hiring(self.experts)
                # Who gives no answers now is known here; labels come later.
                self._bandit.silent_ = before.silent_
            return copy.copy(self._bandit), number

    def _most(self, texts: Sequence[str]) -> Floats:
        """The most that each expert's answer to each text can cost, (rows, experts)."""
        both = zip(self._expensive, self._prices, strict=True)
        return np.stack([each.expert.replies * np.array(price.most(texts)) for each, price in both], axis=1)

    def _kept(self, keys: _Keys) -> Bools:
        """Which answers are there already, so that they are paid for, (rows, experts)."""
        found = [
            set(each.kept.get_many([key for row in keys for key in row[j]])) for j, each in enumerate(self._expensive)
        ]
        return np.array([[found[j].issuperset(some) for j, some in enumerate(row)] for row in keys], bool)

    def _begin(self, items: int, usd: float, most: float) -> Turn:
        with self._lock:
            turn = self.learning.begin(items, usd, most, self._expensive[0].ledger)
            self._since.append(turn.call)
            return turn

    def _spent(self, turn: Turn, keys: _Keys) -> float | None:
        """What calls of these keys took in the turn, in doubt the most; None where one is still open (a batch).

        A call that two turns waited for is counted by the one that ends first.
        """
        calls = self._expensive[0].ledger.closed_since(turn.call, [key for row in keys for some in row for key in some])
        with self._lock:
            self._since.remove(turn.call)
            new = {number: usd for number, usd in (calls or {}).items() if number not in self._counted}
            first = min(self._since, default=math.inf)
            self._counted = {number for number in self._counted | new.keys() if number > first}
        return None if calls is None else sum(new.values())


def cold(bandit: Bandit, classes: Sequence[str]) -> Bandit:
    """A bandit that begins with nothing."""
    nothing = Panel(schema.table("examples", {}), dict.fromkeys(bandit.experts, _Nobody()), CostModel("usd"), classes)
    return bandit.fit(nothing, nothing)


def as_of(bandit: Bandit, version: Version | None) -> Bandit:
    """The bandit as a version has it; what it was begun with where there is none."""
    if version is None:
        return bandit
    made = Bandit(tuple(version.experts), **{k: v for k, v in bandit.get_params().items() if k != "experts"})
    return made.restore(version.state)


def taught(
    bundle: Bundle, before: Version | None, rows: Sequence[tuple[str, str]]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The experts and the state that come of a version, and of rounds with their labels, in their order."""
    assert isinstance(bundle.policy, Bandit)
    made = as_of(bundle.policy, before)
    values = [(json.loads(text), bundle.classes.index(label)) for text, label in rows]
    for each, _ in values:
        each.pop(ANSWER, None)
    for names, alike in groupby(values, key=lambda value: value[0].pop("experts")):
        some = list(alike)
        columns = {name: [one for each, _ in some for one in each[name]] for name in some[0][0]}
        rounds: Rounds = restored(Rounds, {"experts": names, **columns})
        _priced(made, rounds)
        made.feed(rounds, np.array([label for _, label in some]))
    return made.experts, made.state()


def rounds_of(text: str) -> tuple[Rounds, int]:
    """What was asked about an item, as it is kept, and the class index of the answer that stood."""
    values = json.loads(text)
    answer = int(values.pop(ANSWER, NO_LABEL))
    return restored(Rounds, values), answer


def changed(version: Version | None) -> dict[str, int]:
    """From which item on, counted from 1, an expert's answers count, of those that changed while they were watched."""
    if version is None:
        return {}
    since = zip(version.experts, version.state["since_"], strict=True)
    return {name: item + 1 for name, item in since if item >= 0}


def _priced(bandit: Bandit, rounds: Rounds) -> None:
    """Learn prices and who gives no answers, of rounds that were paid: kept answers say nothing of the next ones."""
    rounds = rounds.of(bandit.experts)
    paid = ~rounds.asked | (rounds.cost > 0) | (rounds.label == NO_LABEL)
    bandit.count(rounds[np.all(paid, axis=1) & np.any(rounds.asked, axis=1)])


def _text(rounds: Rounds, answer: int) -> str:
    return json.dumps({**plain(rounds), ANSWER: answer})


class _Nobody:
    def answer(self, examples: pa.Table) -> pa.Table:
        return schema.table("predictions", {})
