"""The published bandits with context: one expert an item, chosen by what its text says of who is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import BudgetError, ConfigError
from askless.panel import NO_LABEL, Panel
from askless.policies.bandit.bandit import Round, steps_of
from askless.policies.bandit.learner import Learner
from askless.policies.bandit.rounds import Rounds
from askless.policies.base import Budget, billed, some_rows

# At most so many rows are asked about before the money is counted again.
AT_ONCE = 50
# A point of quality is worth so many times the budget of an item where nothing is put by; with the money of so many
# items put by it is worth e times less.
TOP, SPAN = 2.0, 25
# The largest exponent of that.
MOST_DEAR = 100.0
# What a call may cost beyond the most that was seen of its expert, where no ceiling is given.
HEADROOM = 2.0
MOST_ROWS = 5_000
PRICED = 50


@dataclass(frozen=True)
class TextRounds(Rounds):
    """Rounds and what was read of their texts, which a label needs to be learnt; no state of a policy has them.

    Parameters
    ----------
    experts, item, label, p, cost, free
        As of `Rounds`.
    x
        What was read, (n, numbers).
    reading
        What reading cost, (n,).
    """

    x: Floats
    reading: Floats


class LinUCB(Learner):
    """Asks the one expert whose optimistic chance of being right, read off the text, most exceeds its price.

    Chances are a ridge regression for each expert on hashed words; to each is added `optimism` standard errors. The
    price of money falls by the factor e with the money of every 25 items that are put by (multiplicative weights, as of
    bandits with knapsacks), so that what comes in is spent; an expert is asked only where the money of the items so far
    pays for the most that it can cost, else the cheapest, else nobody. So no budget is exceeded after any item, where
    ceilings hold.

    What was learnt is as wide as `width` squared, whatever the items: for each expert the sums of the products of
    what was read. No text is in it; but the sum of an expert that answered one item is the products of that one's.

    Parameters
    ----------
    experts
        Names of two or more, the cheapest first.
    width
        Words are hashed into so many numbers, 1 or more.
    shrink
        Strength of the ridge, > 0.
    optimism
        Standard errors, 0 or more.
    ceilings
        The most that a call of each can cost, in the cost model's unit; without it twice the most seen, which the
        first calls of an expert may exceed.
    random_state
        Seed of the draws of `LinTS`.

    Attributes
    ----------
    items_, spent_ : int, float
        Items and money so far.
    squares_, products_ : array
        Each expert's sums of x x' and of x times right less a half, (experts, numbers, numbers) and (experts, numbers).
    answered_, cost_, most_ : array
        How many answers of each were paid, what these cost, and the most that one did, each (experts,).

    References
    ----------
    Li et al. 2010, arXiv 1003.0146 (LinUCB); Badanidiyuru et al. 2013 and Agrawal and Devanur 2016 (the price of a
    budget).
    """

    title = "LinUCB"
    about = "Reads the text and asks the one model that is likeliest right for its price, as far as labels so far tell."
    reads_text = True
    items_: int
    spent_: float
    squares_: Floats
    products_: Floats
    answered_: Ints
    cost_: Floats
    most_: Floats

    def __init__(
        self,
        experts: tuple[str, ...],
        *,
        width: int = 64,
        shrink: float = 1.0,
        optimism: float = 0.5,
        ceilings: tuple[float, ...] | None = None,
        random_state: int = 0,
    ) -> None:
        self.experts = tuple(experts)
        self.width = width
        self.shrink = shrink
        self.optimism = optimism
        self.ceilings = ceilings
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Begin with what all experts answered to `train` and `valid` or, where these are empty, with nothing."""
        super().fit(train, valid)
        self._require(experts=2, width=1, optimism=0)
        k, d = len(self.experts), self.width + 1
        if not self.shrink > 0 or (self.ceilings is not None and len(self.ceilings) != k):
            raise ConfigError(
                f"{type(self).__name__} got shrink {self.shrink:g} and ceilings {self.ceilings}. Allowed: a number "
                f"> 0, and {k} numbers, one for each expert, or none."
            )
        self.items_, self.spent_ = 0, 0.0
        self.squares_, self.products_ = np.zeros((k, d, d)), np.zeros((k, d))
        self.answered_, self.cost_, self.most_ = np.zeros(k, np.int64), np.zeros(k), np.zeros(k)
        for panel in (train, valid):
            part = panel.take(some_rows(len(panel), MOST_ROWS, self.random_state))
            made = self._blank(part, self.look(part))
            for j, name in enumerate(self.experts):
                made.put(j, np.arange(len(part)), part.ask(name), free=True)
            self._bill(made).feed(made, part.gold)
        return self

    def count(self, rounds: TextRounds) -> Self:
        """Take note of items that were decided, and of what was paid for them: once, and before the next are."""
        self.items_ += len(rounds)
        self.spent_ += float(np.nansum(rounds.cost) + rounds.reading.sum())
        return self._bill(rounds)

    def feed(self, rounds: TextRounds, label: Ints) -> Self:
        """Learn true labels of rounds (n,), `NO_LABEL` where none is known: each round once, at any time."""
        judged = rounds.asked & (label != NO_LABEL)[:, None]
        right = (rounds.label == label[:, None]) - 0.5
        each = [(rounds.x[mine], good[mine]) for mine, good in zip(judged.T, right.T, strict=True)]
        self.squares_ = self.squares_ + np.stack([x.T @ x for x, _ in each])
        self.products_ = self.products_ + np.stack([x.T @ good for x, good in each])
        return self

    def look(self, panel: Panel) -> Floats:
        """A one and the hashed words of each text, of length 1, (rows, width + 1); its compute billed to the panel."""
        from sklearn.feature_extraction.text import HashingVectorizer

        with billed(panel):
            words = HashingVectorizer(n_features=self.width).transform(panel.text or [""]).toarray()[: len(panel)]
            return np.hstack([np.ones((len(panel), 1)), words])

    def decide(self, panel: Panel, budget: Budget | None = None, seen: Floats | None = None) -> Round:
        """Ask about the rows in their order; without a budget quality alone counts.

        A row for which there is no money left is asked about to nobody. Raises `BudgetError` for a budget under the
        least cost, or of another kind than `per_1000`.
        """
        usd, n = self._usd(budget), len(panel)
        made = self._blank(panel, self.look(panel) if seen is None else seen)
        chances, spent = self.chances(made.x, self.items_), self.spent_
        start = 0
        while start < n:
            rows = np.arange(start, min(start + AT_ONCE, n))
            there = np.asarray(usd * (made.item[rows] + 1) - spent - np.cumsum(made.reading[rows]))
            chosen = self._granted(chances[rows] - self._price(usd, int(made.item[start]), spent), there)
            rows = rows[: len(chosen)]
            for j, name in enumerate(self.experts):
                if len(mine := rows[chosen == j]):
                    made.put(j, mine, panel.ask(name, mine), free=True)
            spent += float(np.nansum(made.cost[rows]) + made.reading[rows].sum())
            start += len(rows)
        expert, asked, nothing = made.asked.argmax(axis=1), panel.asked_of(self.experts), np.full(n, np.nan)
        label, steps = made.label[np.arange(n), expert], steps_of(self.experts, asked, nothing)
        return Round(self.experts, expert, label, nothing, panel.spent, asked, nothing, steps, rounds=made)

    def chances(self, x: Floats, item: int = 0) -> Floats:
        """What each expert's chance of being right counts as, given what was read `x` (n, numbers), (n, experts).

        `item` is the number of the first one, by which draws are told apart.
        """
        inverse = np.linalg.inv(self.squares_ + self.shrink * np.eye(x.shape[1]))
        mean = 0.5 + np.einsum("nd,kde,ke->nk", x, inverse, self.products_, optimize=True)
        error = np.sqrt(np.stack([((x @ each) * x).sum(axis=1) for each in inverse], axis=1))
        return np.asarray(mean + self.optimism * error * self._luck(error.shape, item))

    def _luck(self, shape: tuple[int, ...], item: int) -> Floats:
        """How many times `optimism` each chance is raised."""
        return np.ones(shape)

    def _price(self, usd: float, item: int, spent: float) -> Floats:
        """What each expert costs in quality, (experts,), where `spent` was paid for the first `item` items."""
        if not np.isfinite(usd):
            return np.zeros(len(self.experts))
        put_by = (usd * item - spent) / max(usd, 1e-300)
        # Long before that money is worth more than any answer.
        dear = np.exp(min(-put_by / SPAN, MOST_DEAR))
        return np.asarray(TOP * dear * self._expected() / max(usd, 1e-300))

    def _granted(self, worth: Floats, there: Floats) -> Ints:
        """Whom to ask about the first rows, as many as there surely is the money `there` for; -1 where nobody."""
        most, cheapest = self._ceilings(), int(self._expected().argmin())
        # Another than the cheapest leaves the money for the cheapest's next answer.
        kept = np.where(np.arange(len(most)) == cheapest, 0.0, most[cheapest])
        chosen = worth.argmax(axis=1)
        within = np.logical_and.accumulate(np.cumsum(most[chosen]) + kept[chosen] <= there)
        if within[0]:
            return np.asarray(chosen[within])
        # What an answer costs is known once it is there: then there may be money for the next.
        return np.array([cheapest if most[cheapest] <= there[0] else -1])

    def _expected(self) -> Floats:
        """What an answer of each expert costs, as far as is known."""
        seen = self.answered_ > 0
        mean = self.cost_ / np.maximum(self.answered_, 1)
        if self.ceilings is not None:
            return np.where(seen, mean, self.ceilings)
        return np.where(seen, mean, mean[seen].mean() if seen.any() else 1.0)

    def _ceilings(self) -> Floats:
        """The most that a call of each expert can cost; 0 where nothing is known."""
        return HEADROOM * self.most_ if self.ceilings is None else np.asarray(self.ceilings, np.float64)

    def _usd(self, budget: Budget | None) -> float:
        """What an item may cost in the mean."""
        if budget is None:
            return np.inf
        if budget.per_1000 is None:
            raise BudgetError(f"{type(self).__name__} got a budget of {budget.kind}. Allowed: per_1000.")
        cheapest = int(self._expected().argmin())
        least = float(self._expected()[cheapest])
        if self.answered_[cheapest] >= PRICED and budget.value / 1000 < least * (1 - 1e-9):
            raise BudgetError.too_little(budget.value, 1000 * least)
        return budget.value / 1000

    def _bill(self, rounds: Rounds) -> Self:
        """Take note of what answers cost."""
        cost = np.nan_to_num(rounds.cost)
        self.answered_ = self.answered_ + rounds.asked.sum(axis=0)
        self.cost_, self.most_ = self.cost_ + cost.sum(axis=0), np.maximum(self.most_, cost.max(axis=0, initial=0.0))
        return self

    def _blank(self, panel: Panel, x: Floats) -> TextRounds:
        """Nobody asked about any row of a panel."""
        nobody = vars(Rounds.blank(self.experts, self.items_ + np.arange(len(panel))))
        return TextRounds(**nobody, x=x, reading=panel.spent)


class LinTS(LinUCB):
    """As `LinUCB`, but each chance is drawn from what is believed of it: Thompson sampling.

    A chance is drawn for each item and expert, which is the same as to draw the regression anew for each item.

    Parameters
    ----------
    experts, width, shrink, optimism, ceilings, random_state
        As of `LinUCB`; `optimism` is the scale of what is drawn.

    References
    ----------
    Agrawal and Goyal 2013, arXiv 1209.3352 (Thompson sampling with linear payoffs).
    """

    title = "LinTS"
    about = "Reads the text and asks one model, drawn by how likely it is to be the one that is right for its price."

    def _luck(self, shape: tuple[int, ...], item: int) -> Floats:
        return np.random.default_rng([self.random_state, item]).standard_normal(shape)
