"""After C2MAB-V: a combinatorial bandit that asks a set of experts whose expected cost is within the budget."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.optimize import linprog

from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError, ConfigError
from askless.panel import NO_LABEL, Panel
from askless.policies.bandit.bandit import Round, steps_of
from askless.policies.bandit.learner import Learner
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget, some_rows

REWARDS = ("any", "sum", "all")
# Steps of the continuous greedy algorithm.
STEPS = 20
MOST_ROWS = 5_000
SUREST = 0.99


class C2MABV(Learner):
    """Asks a set of experts, drawn anew for each item, and learns from each one's answer.

    Optimistic about quality (upper confidence bounds) and cost (lower ones) it solves the relaxed problem, maximal
    reward of at most `most` experts at an expected cost within the budget, and rounds the solution to a set, one for
    each item. The budget holds in the long run only: the bounds let early items cost more.

    The abstract and the introduction of the paper could be read, not its equations: the bounds here are those of CUCB,
    the relaxed problem is a linear program ("sum", and "all" in logarithms) or continuous greedy ("any"), rounding is
    dependent, and the answer is the vote of the set, weighted by the log-odds of each mean.

    Parameters
    ----------
    experts
        Names of two or more, the cheapest first.
    reward
        What of a set is wanted: "any" one right (of a cascade, AWC in the paper), the "sum" of those right (SUC), or
        "all" right (AIC).
    most
        Most experts of a set; for "all" exactly so many.
    random_state
        Seed of the sets drawn.

    Attributes
    ----------
    items_, spent_ : int, float
        Items and money so far.
    asked_, right_, cost_, most_ : array
        How often each expert's answer was judged, how often it was right, what its answers cost, and the most that one
        did, each (experts,).
    answered_ : array
        Of how many answers `cost_` is the sum, (experts,).

    References
    ----------
    Dai et al. 2024, arXiv 2405.16587; Chen, Wang and Yuan 2013 (CUCB); Calinescu et al. 2011 (continuous greedy);
    Gandhi et al. 2006 (dependent rounding).
    """

    title = "C2MAB-V"
    about = (
        "Asks a set of models drawn from an optimistic solution of the budgeted problem, and learns from each answer."
    )
    items_: int
    spent_: float
    asked_: Ints
    right_: Ints
    answered_: Ints
    cost_: Floats
    most_: Floats

    def __init__(self, experts: tuple[str, ...], *, reward: str = "any", most: int = 2, random_state: int = 0) -> None:
        self.experts = tuple(experts)
        self.reward = reward
        self.most = most
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Begin with what all experts answered to `train` and `valid` or, where these are empty, with nothing."""
        super().fit(train, valid)
        self._require(experts=2, most=1)
        if self.reward not in REWARDS:
            raise ConfigError.unknown("reward of a set", self.reward, REWARDS)
        k = len(self.experts)
        self.items_, self.spent_ = 0, 0.0
        self.asked_, self.right_, self.answered_ = (np.zeros(k, np.int64) for _ in range(3))
        self.cost_, self.most_ = np.zeros(k), np.zeros(k)
        for panel in (train, valid):
            rows = some_rows(len(panel), MOST_ROWS, self.random_state)
            made = Rounds.blank(self.experts, np.arange(len(rows)))
            for j, name in enumerate(self.experts):
                made.put(j, np.arange(len(rows)), panel.ask(name, rows), free=True)
            self._bill(made).feed(made, panel.gold[rows])
        return self

    def count(self, rounds: Rounds) -> Self:
        """Take note of items that were decided, and of what was paid for them: once, and before the next are."""
        self.items_, self.spent_ = self.items_ + len(rounds), self.spent_ + float(np.nansum(rounds.cost))
        return self._bill(rounds)

    def feed(self, rounds: Rounds, label: Ints) -> Self:
        """Learn true labels of rounds (n,), `NO_LABEL` where none is known: each round once."""
        judged = rounds.of(self.experts).asked & (label != NO_LABEL)[:, None]
        self.asked_ = self.asked_ + judged.sum(axis=0)
        self.right_ = self.right_ + (judged & (rounds.of(self.experts).label == label[:, None])).sum(axis=0)
        return self

    def look(self, panel: Panel) -> None:
        """Nothing: the set depends on the budget."""

    def decide(self, panel: Panel, budget: Budget | None = None, seen: None = None) -> Round:
        """Ask each row's set; without a budget the best `most` experts. Raises `BudgetError` for another kind."""
        if budget is not None and budget.per_1000 is None:
            raise BudgetError(f"C2MAB-V got a budget of {budget.kind}. Allowed: per_1000.")
        usd, n = (np.inf if budget is None else budget.value / 1000), len(panel)
        known = self.answered_ >= MOST_ROWS // 100
        least = float((self.cost_ / np.maximum(self.answered_, 1)).min())
        if known.all() and usd < least * (1 - 1e-9):
            raise BudgetError.too_little(1000 * usd, 1000 * least)
        chosen, made = self.choose(n, usd), Rounds.blank(self.experts, self.items_ + np.arange(n))
        for j, name in enumerate(self.experts):
            rows = np.flatnonzero(chosen[:, j])
            made.put(j, rows, panel.ask(name, rows), free=True)
        mean = np.clip((self.right_ + 1) / (self.asked_ + 2), 1 - SUREST, SUREST)
        weight = np.where(made.label == NO_LABEL, -np.inf, np.log(mean / (1 - mean)))
        same = (made.label[:, :, None] == made.label[:, None, :]) & (made.label[:, None, :] != NO_LABEL)
        votes = np.where(same, weight[:, None, :], 0.0).sum(axis=2)
        best = np.where(made.label == NO_LABEL, -np.inf, votes).argmax(axis=1)
        label, nothing = made.label[np.arange(n), best], np.full(n, np.nan)
        best = np.where(label == NO_LABEL, chosen.argmax(axis=1), best)
        asked = panel.asked_of(self.experts)
        return Round(
            self.experts,
            best,
            label,
            nothing,
            panel.spent,
            asked,
            nothing,
            steps_of(self.experts, asked, nothing),
            rounds=made,
        )

    def choose(self, rows: int, usd: float) -> Bools:
        """A set for each of so many items, at an expected cost of `usd`, (rows, experts)."""
        share = relaxed(self.reward, *self._bounds(), usd, self.most)
        random = np.random.default_rng([self.random_state, self.items_])
        return np.stack([rounded(share, random) for _ in range(rows)]) if rows else np.zeros((0, len(share)), bool)

    def _bill(self, rounds: Rounds) -> Self:
        """Take note of what answers cost."""
        rounds = rounds.of(self.experts)
        self.answered_ = self.answered_ + rounds.asked.sum(axis=0)
        self.cost_ = self.cost_ + np.nansum(rounds.cost, axis=0)
        self.most_ = np.maximum(self.most_, np.nan_to_num(rounds.cost).max(axis=0, initial=0.0))
        return self

    def _bounds(self) -> tuple[Floats, Floats]:
        """The upper bound of each expert's mean reward, and the lower one of its mean cost, each (experts,)."""
        spread = 1.5 * np.log(max(self.items_, 2))
        reward = self.right_ / np.maximum(self.asked_, 1) + np.sqrt(spread / np.maximum(self.asked_, 1))
        cost = self.cost_ / np.maximum(self.answered_, 1)
        cost = cost - self.most_ * np.sqrt(spread / np.maximum(self.answered_, 1))
        return np.where(self.asked_ > 0, np.minimum(reward, 1.0), 1.0), np.maximum(cost, 0.0)


def relaxed(reward: str, mean: Floats, cost: Floats, usd: float, most: int) -> Floats:
    """How often each expert is in the set that is best in expectation at a cost of `usd`, each from 0 to 1."""
    if reward != "any":
        worth = mean if reward == "sum" else np.log(np.maximum(mean, 1e-9))
        return _program(worth, cost, usd, most, exactly=reward == "all")
    share = np.zeros(len(mean))
    for _ in range(STEPS):
        wrong = 1 - mean * share
        worth = mean * np.prod(wrong) / np.maximum(wrong, 1e-9)
        share = share + _program(worth, cost, usd, most, exactly=False) / STEPS
    return np.clip(share, 0.0, 1.0)


def rounded(share: Floats, random: np.random.Generator) -> Bools:
    """A set that has each expert as often as its share, and as many as they sum to: dependent rounding."""
    share = share.copy()
    while len(open_ := np.flatnonzero((share > 1e-9) & (share < 1 - 1e-9))) > 1:
        i, j = open_[:2]
        up, down = min(1 - share[i], share[j]), min(share[i], 1 - share[j])
        step = up if random.random() < down / (up + down) else -down
        share[i], share[j] = share[i] + step, share[j] - step
    return np.asarray(random.random(len(share)) < np.where(share > 1 - 1e-9, 1.0, np.where(share < 1e-9, 0.0, share)))


def _program(worth: Floats, cost: Floats, usd: float, most: int, *, exactly: bool) -> Floats:
    """The linear program: shares of most worth; the cheapest experts where no others are within the budget."""
    k = len(worth)
    size = min(most, k)
    rows, least = [np.ones(k)], [float(size)]
    if np.isfinite(usd):
        scale = max(float(cost.max()), 1e-300)
        rows, least = [*rows, cost / scale], [*least, usd / scale]
    equal = {"A_eq": np.ones((1, k)), "b_eq": [float(size)]} if exactly else {}
    found = linprog(-worth, A_ub=np.array(rows), b_ub=least, bounds=(0, 1), **equal)
    if found.status != 0:
        return np.asarray(np.argsort(np.argsort(cost, kind="stable")) < size, np.float64)
    return np.asarray(found.x, np.float64)
