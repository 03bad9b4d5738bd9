"""Who writes the summary: the gain in quality expected of a costlier expert, against its price."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import ConfigError
from askless.panel import Answers, Panel
from askless.policies.base import Budget, Decisions, Policy, Step, answered, billed, settle, some_rows
from askless.policies.operating_points import Mix, PricedPoints
from askless.policies.summaries.features import chunks, document_features, summary_features
from askless.policies.summaries.regression import Stacked
from askless.policies.summaries.rule import SummaryGainRule
from askless.text.embeddings import Vectors

LOOKS = ("input", "small")


@dataclass
class _GainEstimates:
    """What is estimated of rows: the gain expected of each costlier expert, (rows, costlier), `before` any call.

    `after` the small one's summary was read, NaN where it was not; `work` (rows,) is what that reading costs.
    """

    before: Floats
    after: Floats
    work: Floats


class SummaryGain(Policy):
    """Estimates how much better than the small expert's each costlier one's summary will be, and asks who is worth it.

    Qualities are any numbers in [0, 1], as ROUGE-L F. Budgets are met exactly in expectation on valid, or on train by
    estimates that are out of fold; a price is lambda itself, and without a budget lambda is 0, so that a costlier
    expert is asked only where it is expected to be better. No confidence is stated: quality is no probability.

    Parameters
    ----------
    experts
        Names of two or more, by rising cost: the small one first.
    vectors
        Word vectors that documents and summaries are read by; None reads without.
    look_at
        "input": only the document is read before one expert is asked, the one of the largest gain - lambda x price.
        "small": the small one is asked first, its summary read, and perhaps another asked, both being paid.
    straight
        With `look_at="small"`: the costlier one is asked at once where the document promises so much that reading the
        small one's summary would not be worth its price.
    trees
        Random trees in each regression.
    folds
        How many folds estimates out of fold come from, 2 or more.
    most
        Of more rows to learn from, so many are drawn.
    random_state
        Seed of trees, folds, the rows drawn, and the draws by which a budget is met.

    Attributes
    ----------
    prices_, quality_ : arrays (experts,)
        Means on train.
    gains_ : array (costlier, 3)
        Each costlier expert's mean gain and its 95 % interval.
    single_ : str or None
        The one expert that answers all without a budget.
    """

    title = "Router by expected gain"
    about = "Estimates how much better a costlier summary will be, and asks where that is worth its price."
    reads_text = True
    graded = True
    studied = False
    decides_alone = True
    before_: Stacked
    after_: Stacked | None
    prices_: Floats
    quality_: Floats
    gains_: Floats
    rule_: SummaryGainRule
    by_cost_: PricedPoints
    by_share_: PricedPoints
    single_: str | None

    def __init__(
        self,
        experts: tuple[str, ...],
        vectors: Vectors | None = None,
        *,
        look_at: str = "input",
        straight: bool = True,
        trees: int = 50,
        folds: int = 5,
        most: int = 20_000,
        random_state: int = 0,
    ) -> None:
        self.experts = tuple(experts)
        self.vectors = vectors
        self.look_at = look_at
        self.straight = straight
        self.trees = trees
        self.folds = folds
        self.most = most
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn on `train`, set operating points on `valid`, or where that is empty on train, out of fold."""
        super().fit(train, valid)
        if self.look_at not in LOOKS:
            raise ConfigError.unknown("look_at", self.look_at, LOOKS)
        self._require(train, experts=2, folds=2, trees=1, most=1)
        rows = some_rows(len(train), self.most, self.random_state)
        answers = [train.ask(name, rows) for name in self.experts]
        quality = np.stack([train.quality(each) for each in answers], axis=1)
        self.quality_ = quality.mean(axis=0)
        self.prices_ = np.array([each.cost.mean() for each in answers])
        gain = quality[:, 1:] - quality[:, :1]
        self.gains_ = _interval(gain)
        x = self._documents(train, rows)
        self.before_ = self._regression().fit(x, gain)
        before = after = self.before_.out_of_fold_
        self.after_ = None
        if self.look_at == "small":
            read = np.hstack([x, self._summaries(train, answers[0])])
            self.after_ = self._regression().fit(read, gain, before)
            after = self._unanswered(self.after_.out_of_fold_, answers[0])
        news = (after - before).std(axis=0)
        self.rule_ = SummaryGainRule.of(self.prices_, news, self.look_at, self.straight)
        if len(valid):
            before, after, answers, quality = self._held(valid)
        cost = np.stack([each.cost for each in answers], axis=1)
        self.by_cost_, self.by_share_ = self.rule_.points(before, after, cost, quality)
        place = np.unique(self.rule_.decide(before, after, np.zeros(len(before)))[1])
        self.single_ = self.experts[place[0]] if len(place) == 1 else None
        return self

    def look(self, panel: Panel) -> _GainEstimates:
        """The gain expected from the documents alone, before anyone is asked."""
        with billed(panel):
            before = self._before(panel, np.arange(len(panel)))
        return _GainEstimates(before, np.full(before.shape, np.nan), np.zeros(len(before)))

    def decide(self, panel: Panel, budget: Budget | None = None, seen: _GainEstimates | None = None) -> Decisions:
        """Ask the expert that each row's gain is worth; raises `BudgetError` for a budget under the least cost."""
        seen = self.look(panel) if seen is None else seen
        price = self._lambdas(panel, budget)
        score, threshold = self.rule_.first(seen.before, price)
        after = "" if self.look_at == "input" else self.experts[0]
        steps: tuple[Step, ...] = (Step("", np.arange(len(panel)), score, threshold),)
        if after:
            rows = np.flatnonzero(score >= threshold)
            self._read(panel, seen, rows)
            steps += (Step(after, rows, *self.rule_.second(seen.after[rows], price[rows])),)
            score = score.copy()
            score[rows] = steps[-1].score
        choice = self.rule_.decide(seen.before, seen.after, price)[1]
        done = settle(panel, self.experts, choice, score)
        return replace(done, steps=steps if self.straight or not after else steps[1:])

    def finding(self) -> str:
        """What was found of the costlier experts, in words."""
        small, parts = self.experts[0], []
        for j, (mean, low, high) in enumerate(self.gains_, start=1):
            verdict = "better" if low > 0 else "worse" if high < 0 else "neither clearly better nor worse"
            parts.append(
                f"{self.experts[j]} costs {self.prices_[j]:.3g} an item against {self.prices_[0]:.3g} of {small}, "
                f"and is {verdict}: {mean:+.3f} [{low:+.3f}, {high:+.3f}] in quality."
            )
        end = f"Where quality has no price, {self.single_} answers all." if self.single_ else ""
        return " ".join([*parts, end]).strip()

    def threshold_words(self, budget: Budget | None) -> str:
        """Lambda, or the two between which a budget's items are divided."""
        if budget is None or budget.price is not None:
            return f"lambda {0.0 if budget is None else budget.value:.4g}"
        points, mix = self._points(budget)
        places = {0.0: [mix.low], 1.0: [mix.high]}.get(mix.weight, [mix.low, mix.high])
        return "lambda " + " or ".join(f"{price:.4g}" for price in dict.fromkeys(points.price[places].tolist()))

    def state(self) -> dict[str, Any]:
        """What was learnt, and of how many dimensions the word vectors were."""
        return {"dim": self.vectors.dim if self.vectors else 0, **super().state()}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over what `state` gave: it then decides the same; raises `ConfigError` for other word vectors."""
        dim = self.vectors.dim if self.vectors else 0
        if dim != state["dim"]:
            raise ConfigError(f"SummaryGain got word vectors of dimension {dim}. Allowed: {state['dim']}, as in fit.")
        return super().restore(state)

    def _held(self, valid: Panel) -> tuple[Floats, Floats, list[Answers], Floats]:
        """Estimates, answers and qualities on rows that nothing was learnt from."""
        answers = [valid.ask(name) for name in self.experts]
        seen = _GainEstimates(self._before(valid, np.arange(len(valid))), np.empty(0), np.empty(0))
        after = self._after(valid, answers[0], seen.before) if self.after_ else seen.before
        return seen.before, after, answers, np.stack([valid.quality(each) for each in answers], axis=1)

    def _lambdas(self, panel: Panel, budget: Budget | None) -> Floats:
        """The price of quality that each row is decided at, shape (rows,)."""
        if budget is None or budget.price is not None:
            return np.full(len(panel), 0.0 if budget is None else budget.value)
        points, mix = self._points(budget)
        return np.asarray(points.price[mix.place(panel.draws(self.random_state))])

    def _points(self, budget: Budget) -> tuple[PricedPoints, Mix]:
        points = self.by_cost_ if budget.share is None else self.by_share_
        return points, points.mix(budget)

    def _read(self, panel: Panel, seen: _GainEstimates, rows: Ints) -> None:
        """Ask the small one about `rows`, and read those of its summaries that were not read before."""
        small = panel.ask(self.experts[0], rows)
        new = np.isnan(seen.after[rows, 0])
        if new.any():
            fresh = rows[new]
            start = time.perf_counter()
            seen.after[fresh] = self._after(panel, panel.ask(self.experts[0], fresh), seen.before[fresh])
            seen.work[fresh] = panel.cost_model.compute(time.perf_counter() - start) / len(fresh)
        panel.charge(seen.work[small.rows], small.rows)

    def _before(self, panel: Panel, rows: Ints) -> Floats:
        parts = [self.before_.predict(self._documents(panel, rows[part])) for part in chunks(len(rows))]
        return np.vstack(parts)

    def _after(self, panel: Panel, small: Answers, before: Floats) -> Floats:
        assert self.after_ is not None
        texts, parts = small.table["text"], []
        for part in chunks(len(small.rows)):
            x = self._documents(panel, small.rows[part])
            own = self._summaries(panel, small, part, texts)
            parts.append(self.after_.predict(np.hstack([x, own]), before[part]))
        return self._unanswered(np.vstack(parts), small)

    def _unanswered(self, gain: Floats, small: Answers) -> Floats:
        """Where the small one gave no summary, all of a costlier one's quality is gained."""
        return np.where(answered(small)[:, None], gain, np.maximum(gain, self.quality_[1:]))

    def _documents(self, panel: Panel, rows: Ints) -> Floats:
        return document_features([panel.text[row] for row in rows], self.vectors)

    def _summaries(self, panel: Panel, small: Answers, part: slice = slice(None), texts: Any = None) -> Floats:
        texts = small.table["text"] if texts is None else texts
        summaries = texts.slice(part.start or 0, len(small.rows[part]))
        documents = [panel.text[row] for row in small.rows[part]]
        return summary_features(summaries, documents, small.logprob[part], self.vectors)

    def _regression(self) -> Stacked:
        return Stacked(self.trees, self.folds, self.random_state)


def _interval(gain: Floats) -> Floats:
    """Mean and 95 % normal interval of each column, shape (columns, 3)."""
    mean, error = gain.mean(axis=0), 1.96 * gain.std(axis=0) / np.sqrt(len(gain))
    return np.stack([mean, mean - error, mean + error], axis=1)
