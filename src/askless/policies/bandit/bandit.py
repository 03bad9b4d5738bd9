"""Learning whom to ask while answering: no labelled set beforehand, and within the budget after every item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError, ConfigError
from askless.panel import NO_LABEL, Panel
from askless.policies.bandit import changes
from askless.policies.bandit.learner import Learner
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget, Decisions, Step, some_rows
from askless.policies.operating_points import beneath_hull, upper_hull
from askless.policies.planned.gain_rule import GainRule
from askless.policies.planned.planned import MOST_EXPERTS
from askless.policies.planned.posteriors import SomeAsked
from askless.policies.planned.walk import STOP, AnswerMatrix, Observations, same_experts

# Over so many items what was saved or overspent is made good; the money of so many is put by for a long text.
PACE, KEPT_BACK = 200, 40
# The cheapest expert's answers to so many first items may run ahead of the budget.
OPENING = 20
# So many items are explored before anything is learnt; up to so many labels exploration has its share of the money,
# then one that falls with the square of their number: what is asked because of other answers teaches as well.
FEWEST, STEADY = 30, 300
# An explored item counts as so many labels, and of items without a label every so manieth as one.
TEACHES, UNTOLD = 4, 4
# An expert of more than the budget's price is asked about a part of what is explored, and so is one that lies beneath
# the hull of the others by so many standard errors.
BENEATH, SELDOM = 2.0, 0.1
# Rows of an expert before it may be asked first; rows that show how sure the first is.
FIRST, LOOKED_AT = 20, 600
# It learns anew once there are so many labels more, and this share, but at least once in `most_rows`.
NEW, MORE = 10, 0.2
# And once a price has moved by such a share.
MOVED = 0.2
# At most so many rows are asked about before the money is counted again.
AT_ONCE = 50
# A price is a mean of which the newest of so many answers are most, and is known after so many.
PRICED = 60
# An expert that changed or is new is asked about up to this share of the items, until it has as many labelled rows or
# as many answers as say what it costs; one that gives no answers is tried with the second share.
ANEW, FRESH, TRIED = 0.25, 40, 0.02
# Answers that were asked for because of others are compared where these were the same ones' and about as sure.
SURE = (0.5, 0.75)
# What a call may cost beyond the most that was seen of its expert, where no ceiling is given.
HEADROOM = 2.0
LAMBDAS = 120
# Most experts whose answers to an item are weighed together.
MOST = 4
NOBODY = -1
EVER = -(2**53)
LARGEST = 1e300


@dataclass(frozen=True)
class Round(Decisions):
    """What a bandit decided.

    Parameters
    ----------
    experts, expert, label, score, cost, asked, confidence, steps, version
        As of `Decisions`.
    rounds
        What it asked, to be counted and fed.
    """

    rounds: Rounds = field(kw_only=True, repr=False)


@dataclass(frozen=True)
class Points:
    """Operating points by rising cost.

    Parameters
    ----------
    rule, first, cost
        The rule's own ones, whom to ask first at each, and the mean cost of an item, each (points,).
    """

    rule: Ints
    first: Ints
    cost: Floats

    def mixed(self, usd: float, draws: Floats) -> Ints:
        """Each row's point, so that a row costs `usd` in the mean, (n,)."""
        if len(self.cost) == 1 or usd >= self.cost[-1]:
            return np.full(len(draws), len(self.cost) - 1)
        high = max(1, int(np.searchsorted(self.cost, usd, side="right")))
        low = high - 1
        share = (usd - self.cost[low]) / max(self.cost[high] - self.cost[low], 1e-300)
        return np.where(draws < share, high, low)


class Bandit(Learner):
    """Learns whom to ask while it answers: one expert after another, while one more is worth its price.

    It asks a first expert about every item and goes on by the gain rule of plans, learnt from rows about which only
    some were asked (`SomeAsked`). Beside that a share of the items, drawn by their ids, explores: several experts
    answer at once, the costly ones about fewer items, and so one that surely lies beneath the hull of the others. After
    every item what was spent is at most the budget times the items so far, but for the cheapest expert's answers to the
    first 20, which may run ahead of it.

    It decides by what it knows, and `decide` changes nothing. `count` takes note of what was asked and paid, `feed` of
    labels, which may come late, for some items only, and be put right: gold, a person's, or a reference expert's.
    `fit` begins with labelled answers of all experts, or on empty panels with nothing.

    An expert whose answers are another's since some item (`changes.change`) is learnt anew from there on; one that
    gives no answers is tried now and then only.

    Parameters
    ----------
    experts
        Names of two or more, the cheapest first.
    ceilings
        The most that a call of each can cost, in the cost model's unit; without it twice the most seen, which the
        first calls of an expert may exceed.
    explore
        Share of the money, 0 to 1, that exploration has at first.
    most_rows
        So many labelled rounds, the newest, are learnt from; half of them explored ones, if there are so many.
    random_state
        Seed of the draws.

    Attributes
    ----------
    items_, spent_ : int, float
        Items and money so far.
    rounds_, gold_ : Rounds, array
        The labelled rounds.
    since_ : array
        The number of the item from which the answers of each expert count, below 0 where it was there from the start
        and never changed, (experts,).
    order_ : array
        Places of those `experts` that give answers and of whom the rule is, by rising price: of more than nine the
        cheapest and those next to the hull.
    rule_ : GainRule or None
        What was learnt of them, once there are some rounds.
    points_ : Points or None
        Whom to ask first at each price of quality.

    References
    ----------
    Badanidiyuru et al. 2013 (bandits with knapsacks); Dai et al. 2024, arXiv 2405.16587 (C2MAB-V).
    """

    title = "Bandit"
    about = "Learns from feedback which few models to ask while it answers, and never spends above its budget."
    # Answers that are there already, (rows, experts) of the next panel, None for none: they take no money, and the
    # place of another first one.
    at_hand: Bools | None = None
    items_: int
    spent_: float
    # How many items were explored, with or without a label.
    tried_: int
    rounds_: Rounds
    gold_: Ints
    # How many labels have come in all, and had when it learnt last.
    fed_: int
    learnt_: int
    # The most seen of each expert's costs, the mean of the newest, NaN where there are none, and how many these are.
    most_: Floats
    prices_: Floats
    priced_: Ints
    # The number of the item from which the answers of each expert count, whether that is because it came then and not
    # because it changed, and how many calls in a row gave none.
    since_: Ints
    came_: Bools
    silent_: Ints
    order_: Ints
    rule_: GainRule | None
    points_: Points | None

    def __init__(
        self,
        experts: tuple[str, ...],
        *,
        ceilings: Sequence[float] | None = None,
        explore: float = 0.8,
        most_rows: int = 2_000,
        random_state: int = 0,
    ) -> None:
        self.experts = tuple(experts)
        self.ceilings = ceilings
        self.explore = explore
        self.most_rows = most_rows
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Begin with what all experts answered to `train` and `valid` or, where these are empty, with nothing."""
        super().fit(train, valid)
        self._require(experts=2, most_rows=1)
        k = len(self.experts)
        if not 0 <= self.explore <= 1 or (self.ceilings is not None and len(self.ceilings) != k):
            raise ConfigError(
                f"Bandit got explore {self.explore:g} and ceilings {self.ceilings}. Allowed: a share from 0 to 1, and "
                f"{k} numbers, one for each expert, or none."
            )
        self.items_, self.spent_, self.tried_, self.fed_, self.learnt_ = 0, 0.0, 0, 0, 0
        self.rule_, self.points_, self.order_ = None, None, np.arange(k)
        self.rounds_, self.gold_ = Rounds.blank(self.experts, np.arange(0)), np.zeros(0, np.int64)
        self.most_, self.prices_, self.priced_ = np.zeros(k), np.full(k, np.nan), np.zeros(k, np.int64)
        self.since_, self.silent_, self.came_ = np.full(k, EVER), np.zeros(k, np.int64), np.zeros(k, bool)
        for panel in (train, valid):
            rows = some_rows(len(panel), self.most_rows, self.random_state)
            # What came before the first item has numbers below 0.
            made = Rounds.blank(self.experts, np.arange(len(rows)) - len(rows) - self.fed_)
            for j, name in enumerate(self.experts):
                made.put(j, np.arange(len(rows)), panel.ask(name, rows), free=True)
            self._price(made)
            self.feed(made, panel.gold[rows])
        return self

    def count(self, rounds: Rounds) -> Self:
        """Take note of items that were decided, and of what was paid for them: once, and before the next are."""
        self.items_, self.spent_ = self.items_ + len(rounds), self.spent_ + float(np.nansum(rounds.cost))
        self.tried_ += rounds.explored
        here = self.here()
        self._price(rounds)
        none = rounds.label == NO_LABEL
        runs = zip(self.silent_.tolist(), rounds.asked.T, none.T, strict=True)
        self.silent_ = np.array([changes.run_on(run, none[asked]) for run, asked, none in runs], np.int64)
        if self.rule_ is not None:
            moved = np.abs(self._expected()[self.order_] - self.rule_.prices_) > MOVED * self.rule_.prices_
            if moved.any() or (here != self.here()).any():
                self.learn()
        return self

    def feed(self, rounds: Rounds, label: Ints) -> Self:
        """Learn the true labels of rounds.

        Parameters
        ----------
        rounds
            Some of those that were decided, at any time. One that was fed before gets its new label.
        label
            Class index of each one's true label, `NO_LABEL` where none is known, (n,).
        """
        told = label != NO_LABEL
        rounds, label = rounds[told].of(self.experts), label[told]
        stays = ~np.isin(self.rounds_.item, rounds.item)
        both, gold = self.rounds_[stays].then(rounds), np.concatenate([self.gold_[stays], label])
        rows = both.newest(self.most_rows)
        self.rounds_, self.gold_ = both[rows], gold[rows]
        self.fed_ += len(label)
        due = self.learnt_ + max(NEW, min(MORE * self.fed_, self.most_rows))
        if self._set_aside() or (self.rounds_.explored >= FEWEST and self.fed_ >= due):
            self.learn()
        return self

    def _set_aside(self) -> bool:
        """Forget answers of before an expert changed, and calls in an outage; whether what was learnt is of them."""
        asked, silent = self.rounds_.asked, self.rounds_.asked & (self.rounds_.label == NO_LABEL)
        out = self.rounds_.item[:, None] < self.since_
        for j in range(len(self.experts)):
            rows = np.flatnonzero(asked[:, j] & ~out[:, j])
            out[rows, j] = changes.runs(silent[rows, j], self._outage(j))
        self.rounds_ = self.rounds_.without(out)
        clearest, who, since = 0.0, NOBODY, 0
        for j in range(len(self.experts)):
            rows, group = self._alike(j)
            found = changes.change(self.rounds_.label[rows, j] == self.gold_[rows], group)
            # Of several it is the clearest: what others say because of its answers is no news of them.
            if found is not None and found[1] > clearest:
                clearest, who, since = found[1], j, int(self.rounds_.item[rows[found[0]]])
        if who != NOBODY:
            self.since_[who], self.came_[who] = since, False
            self.rounds_ = self.rounds_.without(self.rounds_.item[:, None] < self.since_)
            # Perhaps it costs something else too.
            self.priced_[who] = min(int(self.priced_[who]), FIRST)
        return who != NOBODY and self.rule_ is not None

    def _alike(self, j: int) -> tuple[Ints, Ints]:
        """Labelled rounds of expert `j`, and groups by whose answers it was asked because of, and how sure these were.

        Both (n,); group 0 are those that it was asked before anything was seen.
        """
        seen = self.rounds_
        free, asked = seen.free[:, j], seen.asked[:, j]
        group = np.where(free, 0, NOBODY)
        if self.rule_ is not None:
            prices = self._expected()
            rows = np.flatnonzero(asked & ~free)
            voted = seen.asked[rows] & (prices < prices[j]) & (seen.label[rows] != NO_LABEL)
            _, sure, _, _ = self._look(seen.label[rows], seen.p[rows], voted, np.zeros(len(rows), np.int64))
            who = voted[:, self.order_] @ (1 << np.arange(len(self.order_)))
            group[rows] = np.where(np.isnan(sure), NOBODY, 1 + who * (len(SURE) + 1) + np.digitize(sure, SURE))
        rows = np.flatnonzero(group != NOBODY)
        return rows, group[rows]

    def learn(self) -> Self:
        """Learn anew from all labelled rounds, as `feed` does now and then."""
        made, prices = self.rounds_, self._expected()
        beneath = beneath_hull(prices, self._rates()[1])
        beneath[int(np.argmin(prices))] = -1.0
        kept = np.argsort(beneath, kind="stable")
        kept = kept[self.here()[kept]][:MOST_EXPERTS]
        order = self.order_ = kept[np.argsort(prices[kept], kind="stable")]
        label = made.label[:, order]
        cost = np.broadcast_to(prices[order], label.shape)
        p = made.p[:, order]
        seen = AnswerMatrix(label, p, p, cost, label == self.gold_[:, None])
        some = SomeAsked(made.asked[:, order], made.free[:, order])
        self.rule_ = GainRule(most=MOST, points=LAMBDAS, votes=True).fit(seen, some)
        self.points_ = self._points()
        self.learnt_ = self.fed_
        return self

    def told(self, expert: str, factor: float) -> Self:
        """Take note that an expert's answers now cost `factor` times what they did, before bills say so.

        `ceilings`, where they are given, are the caller's. Without end, of an expert that cost nothing, it is what its
        next answers cost. Raises `ConfigError` for a factor below 0, or none.
        """
        if not factor >= 0:
            raise ConfigError(f"{expert} got a price of {factor:g} times what it was. Allowed: 0 or more.")
        j = self.experts.index(expert)
        if np.isinf(factor):
            self.prices_[j], self.most_[j], self.priced_[j] = np.nan, 0.0, 0
        else:
            self.prices_[j] *= factor
            self.most_[j] *= factor
        return self if self.rule_ is None else self.learn()

    def hiring(self, experts: Sequence[str], ceilings: Sequence[float] | None = None) -> Bandit:
        """Another bandit that asks `experts`, of whom `ceilings` holds: what was learnt of those who stay, stays."""
        options = {**self.get_params(), "experts": tuple(experts), "ceilings": ceilings}
        twin = type(self)(**options)
        twin.items_, twin.spent_, twin.tried_ = self.items_, self.spent_, self.tried_
        twin.fed_, twin.gold_ = self.fed_, self.gold_.copy()
        twin.rounds_, twin.learnt_ = self.rounds_.of(experts), self.learnt_
        twin.rule_, twin.points_, twin.order_ = None, None, np.arange(len(twin.experts))
        k = len(twin.experts)
        twin.most_, twin.prices_, twin.priced_ = np.zeros(k), np.full(k, np.nan), np.zeros(k, np.int64)
        twin.since_, twin.silent_ = np.full(k, self.items_), np.zeros(k, np.int64)
        twin.came_ = np.ones(k, bool)
        for j, name in enumerate(twin.experts):
            if name in self.experts:
                i = self.experts.index(name)
                twin.most_[j], twin.prices_[j], twin.priced_[j] = self.most_[i], self.prices_[i], self.priced_[i]
                twin.since_[j], twin.silent_[j], twin.came_[j] = self.since_[i], self.silent_[i], self.came_[i]
        return twin.learn() if self.rule_ is not None else twin

    def state(self) -> dict[str, Any]:
        """As of `Policy`; None for what is not known, for which JSON has no number."""
        return {name: _null(value) for name, value in super().state().items()}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """As of `Policy`; also where there are no rounds, of which plain values do not tell how wide they are."""
        super().restore(state)
        if not len(self.gold_):
            self.rounds_ = Rounds.blank(self.experts, np.arange(0))
        return self

    def look(self, panel: Panel) -> None:
        """Nothing: whom to ask first depends on the budget."""

    def decide(self, panel: Panel, budget: Budget | None = None, seen: None = None) -> Round:
        """Ask about the rows in their order; without a budget nothing explores, and quality alone counts.

        A row for which there is no money left is asked about to nobody. Raises `BudgetError` for a budget under the
        least cost, or of another kind than `per_1000`.
        """
        usd, n, k = self._usd(budget), len(panel), len(self.experts)
        made = Rounds.blank(self.experts, self.items_ + np.arange(n))
        ceilings = self._ceilings()
        share, part = self._exploration(usd)
        # The chance that each expert is asked for the sake of learning: of two who are, all the cheaper.
        chance = share * part + self._anew(usd)
        explored = panel.draws(self.random_state)[:, None] < chance
        # What is put by pays for a long text and for an item that explores.
        put_by, tries = max(KEPT_BACK * usd, float(part @ ceilings)), float(chance @ self._expected())
        best, sure, spent = np.full(n, NO_LABEL), np.full(n, np.nan), self.spent_
        for start in range(0, n, AT_ONCE):
            rows = np.arange(start, min(start + AT_ONCE, n))
            there = np.asarray(usd * (made.item[rows] + 1) - spent, np.float64)
            block = _Block(panel, made, rows, there, ceilings, None if self.at_hand is None else self.at_hand[rows])
            first = int(made.item[start])
            kept = min(put_by, usd * first / 2) if np.isfinite(usd) else 0.0
            target = (usd * (first + PACE) - kept - spent) / PACE if np.isfinite(usd) else np.inf
            left = (target - tries) / max(1 - share, 1e-9)
            label, sure[rows] = self._decide(block, usd, left, kept, explored[rows])
            best[rows] = label
            spent += float(block.spent.sum())
        stands = made.asked & (made.label == best[:, None]) & (best != NO_LABEL)[:, None]
        expert = np.where(stands.any(axis=1), k - 1 - stands[:, ::-1].argmax(axis=1), made.asked.argmax(axis=1))
        sure = np.where(best == NO_LABEL, np.nan, sure)
        asked = panel.asked_of(self.experts)
        steps = steps_of(self.experts, asked, sure)
        return Round(self.experts, expert, best, sure, panel.spent, asked, sure, steps, rounds=made)

    def _decide(self, block: _Block, usd: float, left: float, kept: float, explored: Bools) -> tuple[Ints, Floats]:
        """Ask about the rows of a block, each that does not explore for `left` in the mean, with money `kept` back.

        The label of each, and how surely it is right, each (m,).
        """
        n, here = len(block.rows), self.here()
        cheapest = int(np.argmin(np.where(here, self._expected(), np.inf)))
        points = self.points_ or Points(np.zeros(1, np.int64), np.array([cheapest]), np.ones(1))
        point = points.mixed(left, block.panel.draws(self.random_state + 7919)[block.rows])
        first = np.arange(len(self.experts)) == points.first[point][:, None]
        block.ask(np.where(np.any(explored, axis=1)[:, None], explored | first, False), 0.0, free=True)
        instead = block.untouched & ~np.any(first & ~block.paid, axis=1) & ~np.all(block.paid, axis=1)
        block.ask(np.where(instead[:, None], ~block.paid, False), 0.0)
        block.ask(np.where(block.untouched[:, None], first, False), 0.0, free=True)
        # The opening: the cheapest expert answers though the first items' money has not come together yet.
        opening = np.broadcast_to(np.arange(len(self.experts)) == cheapest, first.shape)
        ahead = np.maximum(0, OPENING - 1 - block.made.item[block.rows]) * min(usd, LARGEST)
        block.ask(np.where(block.untouched[:, None], opening, False), -ahead, free=True)
        mute = ~block.untouched & np.all(block.label == NO_LABEL, axis=1)
        if mute.any():
            block.ask(mute[:, None] & self._instead(block, point, here), 0.0)
        if self.rule_ is None:
            return block.dearest(self._expected()), np.full(n, np.nan)
        goes_on = instead | np.any(block.asked & first, axis=1)
        best, sure, then, _ = self._look(block.label, block.p, block.asked, points.rule[point])
        for _ in range(MOST - 1):
            before = block.asked.sum(axis=1)
            block.ask(goes_on[:, None] & (np.arange(len(self.experts)) == then[:, None]), kept)
            goes_on = block.asked.sum(axis=1) > before
            if not len(on := np.flatnonzero(goes_on)):
                break
            best[on], sure[on], then[on], _ = self._look(
                block.label[on], block.p[on], block.asked[on], points.rule[point[on]]
            )
        return best, sure

    def _instead(self, block: _Block, point: Ints, here: Bools) -> Bools:
        """Whom to ask about each row where all who were asked gave no answer, (m, experts)."""
        others = here & ~block.asked
        price = np.full(len(point), LARGEST) if self.rule_ is None else self.rule_.lambdas_[point]
        worth = self._rates()[1] - price[:, None] * self._expected()
        best = np.where(others, worth, -np.inf).argmax(axis=1)
        return np.asarray(others & (np.arange(len(here)) == best[:, None]))

    def _look(self, label: Ints, p: Floats, asked: Bools, point: Ints) -> tuple[Ints, Floats, Ints, Floats]:
        """What the answers so far come to.

        The label that stands, the chance that it is right, whom to ask next, `NOBODY` where it is to stand, and the
        chance to expect after that, each (m,). Of more than `MOST` who were asked the costliest count.
        """
        assert self.rule_ is not None
        n = len(label)
        best, sure = np.full(n, NO_LABEL), np.full(n, np.nan)
        then, after = np.full(n, NOBODY), np.full(n, np.nan)
        label, p = label[:, self.order_], p[:, self.order_]
        counted = asked[:, self.order_]
        counted &= counted[:, ::-1].cumsum(axis=1)[:, ::-1] <= MOST
        for members, rows in same_experts(counted):
            if not len(members):
                continue
            at = np.ix_(rows, members)
            look = self.rule_.look(point[rows], Observations(members, label[at], p[at], p[at]))
            given = look.answer != STOP
            best[rows] = np.where(given, label[rows, look.answer], NO_LABEL)
            sure[rows] = look.sure
            on = look.then != STOP
            then[rows] = np.where(on, self.order_[look.then], NOBODY)
            price = self.rule_.lambdas_[point[rows]] * self.rule_.prices_[look.then]
            after[rows] = np.where(on, look.threshold + price, np.nan)
        return best, sure, then, after

    def sure(self, label: Ints, p: Floats, asked: Bools) -> Floats | None:
        """The chance that what those who were asked said is right, (n,); None while nothing was learnt of it."""
        return None if self.rule_ is None else self._look(label, p, asked, np.zeros(len(label), np.int64))[1]

    def _points(self) -> Points | None:
        """The operating points: at each price of quality whom to ask first, by the labelled rounds."""
        assert self.rule_ is not None
        prices, free = self._expected(), self.rounds_.free
        # They are compared on rows shared with the one of the most; who is beneath the hull is not asked first.
        anchor = int(free.sum(axis=0).argmax())
        shared = (free & free[:, [anchor]]).sum(axis=0)
        known = self.order_[shared[self.order_] >= FIRST]
        if not len(known):
            return None
        rate = self._rates()[1][known]
        known = known[beneath_hull(prices[known], rate) <= np.sqrt(rate * (1 - rate) / len(free))]
        base, _ = self._foreseen(np.flatnonzero(free[:, anchor])[-LOOKED_AT:], anchor)
        quality, cost = np.empty((len(known), LAMBDAS)), np.empty((len(known), LAMBDAS))
        for i, f in enumerate(known):
            rows = np.flatnonzero(free[:, f] & free[:, anchor])[-LOOKED_AT:]
            mine, bill = self._foreseen(rows, f)
            theirs, _ = self._foreseen(rows, anchor)
            quality[i], cost[i] = base.mean(axis=1) + (mine - theirs).mean(axis=1), bill.mean(axis=1)
        best = (quality - self.rule_.lambdas_ * cost).argmax(axis=0)
        at = np.arange(LAMBDAS)
        point = upper_hull(cost[best, at], quality[best, at])
        return Points(point, known[best[point]], cost[best[point], point])

    def _foreseen(self, rows: Ints, first: int) -> tuple[Floats, Floats]:
        """The quality to expect of asking `first` about labelled rounds, and the cost, each (lambdas, rows).

        A round is followed as far as its experts were asked, then what the rule expects counts.
        """
        assert self.rule_ is not None
        prices, made = self._expected(), self.rounds_
        at, point = np.tile(rows, LAMBDAS), np.repeat(np.arange(LAMBDAS), len(rows))
        asked = np.zeros((len(at), len(prices)), bool)
        asked[:, first] = True
        quality, cost, on = np.zeros(len(at)), np.full(len(at), prices[first]), np.arange(len(at))
        for _ in range(MOST):
            mine = at[on]
            _, sure, then, after = self._look(made.label[mine], made.p[mine], asked[on], point[on])
            cost[on] += np.where(then == NOBODY, 0.0, prices[then])
            there = (then != NOBODY) & made.asked[mine, then]
            quality[on] = np.where(then == NOBODY, sure, after)
            on, then = on[there], then[there]
            asked[on, then] = True
        return quality.reshape(LAMBDAS, -1), cost.reshape(LAMBDAS, -1)

    def _usd(self, budget: Budget | None) -> float:
        """What an item may cost in the mean."""
        if budget is None:
            return np.inf
        if budget.per_1000 is None:
            raise BudgetError(f"Bandit got a budget of {budget.kind}. Allowed: per_1000, which it keeps as it goes.")
        least = float(self.prices_[self.priced_ > 0].min(initial=np.inf)) if self.priced_.min() >= PRICED else 0.0
        if budget.value / 1000 < least * (1 - 1e-9):
            raise BudgetError.too_little(budget.value, 1000 * least)
        return budget.value / 1000

    def _expected(self) -> Floats:
        """What an answer of each expert costs, as far as is known."""
        seen = self.priced_ > 0
        if self.ceilings is None:
            return np.where(seen, self.prices_, np.mean(self.prices_[seen]) if seen.any() else 1.0)
        most = self._ceilings()
        # An expert not asked yet: as far below its ceiling as the others are below theirs.
        below = self.prices_[seen].sum() / max(float(most[seen].sum()), 1e-300) if seen.any() else 1.0
        return np.where(seen, self.prices_, below * most)

    def _ceilings(self) -> Floats:
        """The most that a call of each expert can cost; 0 where nothing is known."""
        if self.ceilings is not None:
            return np.asarray(self.ceilings, np.float64)
        return HEADROOM * self.most_

    def _exploration(self, usd: float) -> tuple[float, Floats]:
        """The share of the items that explore, and of these the part about which each expert is asked, (experts,)."""
        prices, explored = self._expected(), max(self.rounds_.explored, self.tried_ / UNTOLD)
        part = np.minimum(1.0, usd / np.maximum(prices, 1e-300))
        here = self.here()
        part = np.where(self._beneath(), SELDOM * part, part) * here
        if not np.isfinite(usd):
            return 0.0, part
        falling = min(1.0, STEADY / max(self.fed_, TEACHES * self.rounds_.explored, self.items_ / UNTOLD, 1)) ** 2
        spare = usd - prices[here].min() if explored < FEWEST else self.explore * usd * falling
        return float(np.clip(spare / max(float(part @ prices), 1e-300), 0.0, 1.0)), part

    def _beneath(self) -> Bools:
        """Who surely lies beneath what mixes of the others buy for its price, (experts,)."""
        seen, rate = self._rates()
        off = beneath_hull(self._expected(), rate) > BENEATH * np.sqrt(rate * (1 - rate) / (seen + 2))
        return np.asarray((seen >= FEWEST) & off)

    def _rates(self) -> tuple[Ints, Floats]:
        """How many labelled rounds each expert answered unselected, and how often it was right, each (experts,)."""
        free = self.rounds_.free
        right = (free & (self.rounds_.label == self.gold_[:, None])).sum(axis=0)
        return free.sum(axis=0), (right + 1) / (free.sum(axis=0) + 2)

    def _anew(self, usd: float) -> Floats:
        """The share of the items about which experts that changed, are new or give no answers are asked, (experts,)."""
        affordable, seen = usd / np.maximum(self._expected(), 1e-300), self._rates()[0]
        fresh = (self.since_ >= 0) & (seen < FRESH) & (self.priced_ < PRICED) & ~self._beneath() & np.isfinite(usd)
        share = np.where(fresh, np.minimum(ANEW, ANEW * affordable), 0.0)
        return np.where(self.here(), share, np.minimum(TRIED, SELDOM * affordable))

    def here(self) -> Bools:
        """Who gives answers, by the last calls, (experts,); all where nobody does."""
        here = np.array([self.silent_[j] < self._outage(j) for j in range(len(self.experts))])
        return here if here.any() else ~here

    def _outage(self, j: int) -> int:
        """How many calls in a row without an answer are an outage of expert `j`."""
        asked = self.rounds_.asked[:, j]
        return changes.outage(int((asked & (self.rounds_.label[:, j] == NO_LABEL)).sum()), int(asked.sum()))

    def _price(self, rounds: Rounds) -> None:
        """Take note of what answers cost."""
        cost = np.nan_to_num(rounds.cost)
        # That no answer came for nothing says nothing of what one costs.
        asked = (rounds.asked & ((cost > 0) | (rounds.label != NO_LABEL))).sum(axis=0)
        self.most_ = np.maximum(self.most_, cost.max(axis=0, initial=0.0))
        before = np.minimum(self.priced_, np.maximum(PRICED - asked, 0))
        total = np.nan_to_num(self.prices_) * before + cost.sum(axis=0)
        self.priced_ = before + asked
        self.prices_ = np.where(self.priced_ > 0, total / np.maximum(self.priced_, 1), np.nan)


class _Block:
    """Some rows of a panel, asked about in their order, none beyond the money that there is up to it.

    `there` (m,) is the money up to each row; `at_hand` (m, experts) says which answers take none.
    """

    def __init__(
        self, panel: Panel, made: Rounds, rows: Ints, there: Floats, ceilings: Floats, at_hand: Bools | None = None
    ) -> None:
        self.panel, self.made, self.rows, self.there, self.ceilings = panel, made, rows, there, ceilings
        self.paid = np.ones((len(rows), len(ceilings)), bool) if at_hand is None else ~at_hand

    @property
    def label(self) -> Ints:
        """As of `Rounds`, of these rows."""
        return self.made.label[self.rows]

    @property
    def p(self) -> Floats:
        """As of `Rounds`, of these rows."""
        return self.made.p[self.rows]

    @property
    def asked(self) -> Bools:
        """As of `Rounds`, of these rows."""
        return self.made.asked[self.rows]

    @property
    def spent(self) -> Floats:
        """What was paid for each row, (m,)."""
        return np.asarray(np.nansum(self.made.cost[self.rows], axis=1, where=self.paid))

    @property
    def untouched(self) -> Bools:
        """The rows about which nobody was asked, (m,)."""
        return np.asarray(~np.any(self.asked, axis=1))

    def dearest(self, prices: Floats) -> Ints:
        """The label that the costliest expert who gave one gave, (m,)."""
        label = self.label
        last = np.where(label == NO_LABEL, -np.inf, prices).argmax(axis=1)
        return np.asarray(label[np.arange(len(label)), last])

    def ask(self, wanted: Bools, kept: float | Floats, *, free: bool = False) -> None:
        """Ask the experts `wanted` (m, experts) about each row for which there is money, leaving `kept`."""
        left = np.any(wanted, axis=1)
        if not left.any():
            return
        paid = wanted & self.paid
        most = paid @ self.ceilings
        while len(todo := np.flatnonzero(left)):
            within = (np.cumsum(most[todo]) <= self._money(kept)[todo]) | ~np.any(paid[todo], axis=1)
            # What an answer costs is known once it is there: then there may be money for the next.
            granted = todo[: int(np.logical_and.accumulate(within).sum())]
            left[granted if len(granted) else todo[0]] = False
            for j, name in enumerate(self.made.experts):
                rows = self.rows[granted[wanted[granted, j]]]
                if len(rows):
                    self.made.put(j, rows, self.panel.ask(name, rows), free=free)

    def _money(self, kept: float | Floats) -> Floats:
        """What each row may cost more, nothing that a later one needs, (m,)."""
        left = self.there - np.cumsum(self.spent) - kept
        return np.minimum.accumulate(left[::-1])[::-1]


def _null(value: Any) -> Any:
    """Plain values with None for NaN."""
    if isinstance(value, dict):
        return {key: _null(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_null(each) for each in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def steps_of(experts: tuple[str, ...], asked: Bools, sure: Floats) -> tuple[Step, ...]:
    """After each expert's answer the rows for which another one was asked."""
    steps = []
    for j, name in enumerate(experts):
        rows = np.flatnonzero(asked[:, j])
        on = asked[rows, j + 1 :].any(axis=1)
        steps.append(Step(name, rows, np.nan_to_num(sure[rows]), np.where(on, np.inf, -np.inf)))
    return tuple(steps)
