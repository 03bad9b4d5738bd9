"""From no label to a promise: which texts the LLM is asked about, in which order, and when to stop.

1. Texts drawn by chance teach the small model.
2. Texts that will have to be asked anyway, the least sure ones, are asked in rounds and teach it too.
3. Of the rows left a sample is drawn by chance, which never teaches, and certifies how many of the surest may be kept
   (`annotating.floors`). How many are drawn is settled before, by what the bill is then expected to be.
4. All others are asked.

What is expected rests on answers that teach, so that the promise is tested once, on rows nobody looked at before.
Everything follows from the file, the options and the answers: after a kill the same steps are taken again, and answers
that are kept cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from askless.annotating.asked import AskedTexts
from askless.annotating.floors import AGREEMENT, PRECISION, RECALL, Floor, Promise, Tested, floors_of, spoken_of
from askless.annotating.gold import Checked, Gold
from askless.annotating.rest import Rest, share_of
from askless.annotating.small_model import NAME, Scores, SmallModel
from askless.annotating.tier import Tier, logit
from askless.arrays import Bools, Floats, Ints
from askless.errors import BudgetError
from askless.experts.base import Setting
from askless.panel import NO_LABEL
from askless.policies.operating_points import Threshold
from askless.spending.billing import LIMIT, code_of
from askless.stats.bounds import share_interval
from askless.stats.calibration import laplace

# Drawn by chance to begin with: a share of the texts, within bounds.
FIRST, FEWEST, MOST = 0.05, 50, 300
# A round asks half of what is expected to be asked anyway, while that is worth it: shares of the texts, and at most.
ROUNDS, STEP, WORTH = 10, (0.06, 2000), (0.12, 1500)
# By batches each round takes up to a day, and each thing that is asked is one batch.
ROUNDS_OF_BATCHES = 1
# Where money is short: its parts for teaching and for the sample.
TEACHING, CERTIFYING = 0.4, 0.15
# What is left is asked in so many parts where the rows found meanwhile let more be kept.
PARTS = 20


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Parameters
    ----------
    agree
        Share of the rows, 0 to 1, whose label is to be what the LLM would say; None, and no recall, precision and
        price of an error: as many as the money buys.
    confidence
        Of all that is promised together, 0.5 to below 1.
    small
        Backend and options of the small model.
    seed
        Of everything that is drawn.
    encoded
        Folder where sentence vectors are kept; None: they are made again in each round.
    recall
        Class to the share, 0 to 1, of the rows to which the LLM would give it that are to be labelled so.
    precision
        Class to the share of the rows labelled so to which the LLM would give it.
    error_usd
        What a label that the LLM would not give costs, in dollars, instead of a promise: calls and errors together
        are to cost least.
    """

    agree: float | None
    confidence: float = 0.95
    small: Mapping[str, Any] = field(default_factory=lambda: {"backend": "stack"})
    seed: int = 0
    encoded: Path | None = None
    recall: Mapping[str, float] = field(default_factory=dict)
    precision: Mapping[str, float] = field(default_factory=dict)
    error_usd: float | None = None

    @property
    def promises(self) -> bool:
        """Whether there is a goal to be promised."""
        return self.agree is not None or bool(self.recall) or bool(self.precision)

    def __post_init__(self) -> None:
        if self.agree is not None and not 0.5 <= self.agree < 1:
            raise BudgetError(f"An agreement of {self.agree:g}. Allowed: 0.5 or more and less than 1, such as 0.97.")
        if not 0.5 <= self.confidence < 1:
            raise BudgetError(f"A confidence of {self.confidence:g}. Allowed: 0.5 or more and less than 1.")
        if self.error_usd is not None and (self.promises or self.error_usd <= 0):
            got = "and a goal" if self.promises else f"of {self.error_usd:g} dollars"
            raise BudgetError(f"A price of an error {got}. Allowed: more than 0, and no other goal beside it.")


@dataclass(frozen=True)
class Round:
    """How things stood when the small model had learnt from so many answers.

    Parameters
    ----------
    asked
        Texts put to the LLM until then.
    agreement
        Of the small model with the LLM, expected over the file (out of fold, on texts drawn by chance), 0 to 1.
    calls
        Texts that were expected to be asked in all, to reach the goal.
    usd
        Paid until then.
    certified
        Texts not asked that may keep the small model's label: none before a sample was drawn.
    """

    asked: int
    agreement: float
    calls: int
    usd: float
    certified: int = 0


@dataclass(frozen=True, eq=False)
class Annotation:
    """The labels of the different texts of a file, and what is promised of its rows.

    Parameters
    ----------
    label, agrees
        Class index, -1 for none, and for texts of the small model the chance that the LLM says the same (NaN for
        others), each (texts,).
    by_small
        Which texts the small model labelled, by itself or with what a cheaper LLM says, (texts,).
    promises
        Of each floor; where there is no goal, of agreement.
    confidence
        Of all promises together.
    rounds
        How it came about.
    sample
        Rows of the sample that certified, and on how many of these kept the small model was wrong.
    checked
        How many of the sample were kept.
    small
        The small model.
    threshold
        For another file: the margin under which a text goes to the LLM. It is where a file like this one is expected to
        keep the goal, on the safe side, or to ask about as many of its texts; nothing is promised of it.
    drawn, kept
        Which texts the sample had, and which stand above the threshold, each (texts,).
    small_said, small_agrees
        What the small model says of the texts that were not asked before the sample was drawn, and the chance that the
        LLM says the same, each (texts,); -1 and NaN of the others.
    stopped
        Why it ended: `goal`, `price` of an error, `money`, `everything`, or `unanswered` where rows that were to be
        asked got no answer.
    checked_by_people
        What human labels say of the LLM.
    tiers
        Cheaper LLMs ahead of it, in the order in which they were asked.
    """

    label: Ints
    agrees: Floats
    by_small: Bools
    promises: tuple[Promise, ...]
    confidence: float
    rounds: tuple[Round, ...]
    sample: tuple[int, int]
    checked: int
    small: SmallModel
    threshold: Threshold
    drawn: Bools
    kept: Bools
    small_said: Ints
    small_agrees: Floats
    stopped: str
    checked_by_people: Checked | None = None
    tiers: tuple[Tier, ...] = ()

    @property
    def by_tier(self) -> Ints:
        """The last tier that says the same of each text that the small model labelled, (texts,); -1 for none."""
        found = np.full(len(self.label), -1)
        for n, tier in enumerate(self.tiers):
            found[self.by_small & (tier.asked.label == self.label) & (self.label != NO_LABEL)] = n
        return found

    @property
    def promised(self) -> float | None:
        """The share of all rows of the file that is promised to have the LLM's label, None for none."""
        shares = [each.share for each in self.promises if each.floor.measure == AGREEMENT and each.floor.group is None]
        return shares[0] if shares else None


def first_draw(texts: int) -> int:
    """How many texts are drawn by chance to begin with."""
    return min(texts, max(FEWEST, min(MOST, int(FIRST * texts))))


def annotate(
    asked: AskedTexts,
    count: Ints,
    wish: Wish,
    task: str = "annotate",
    report: Callable[[Round], None] = lambda r: None,
    groups: Mapping[str | None, Ints] | None = None,
    gold: Gold | None = None,
    cheaper: Sequence[AskedTexts] = (),
) -> Annotation:
    """Ask as little as keeps the promise.

    Parameters
    ----------
    asked
        The texts, of which none was asked yet, and the LLM behind its ledger.
    count
        Rows that have each text, (texts,).
    wish
        What is asked for.
    task
        The task's name.
    report
        Called after each round, and when the sample has settled how many may be kept.
    groups
        Name of each group of rows in which the goals are to hold to how many of its rows have each text, (texts,);
        None: they hold over all.
    gold
        Human labels, which make the goal one about what people say.
    cheaper
        The same texts before cheaper LLMs, the cheapest first, behind the same ledger.

    Returns
    -------
    Annotation

    Raises
    ------
    DataError
        Where no answer of the LLM had a label.
    ExpertError
        Where asking was to stop.
    """
    run = _Run(asked, count, wish, task, report, groups or {None: count}, gold, cheaper)
    run.teach()
    return run.finish()


class _Run:
    def __init__(
        self,
        asked: AskedTexts,
        count: Ints,
        wish: Wish,
        task: str,
        report: Callable[[Round], None],
        groups: Mapping[str | None, Ints],
        gold: Gold | None,
        cheaper: Sequence[AskedTexts],
    ) -> None:
        self.asked, self.count, self.wish, self.task, self.report = asked, count, wish, task, report
        self.rows, self.gold = int(count.sum()), gold
        self.people: Checked | None = None
        self.goals = floors_of(wish.agree, wish.recall, wish.precision, asked.classes, groups)
        self.delta = (1 - wish.confidence) / max(1, len(self.goals))
        self.rng = np.random.default_rng(wish.seed)
        self.rounds: list[Round] = []
        self.tiers = tuple(map(Tier, cheaper))

    def teach(self) -> None:
        """Steps 1 and 2."""
        if self.gold is not None:
            self.delta /= 2
            self.asked.ask(np.unique(self.gold.places))
            people = self.people = self.gold.compared(self.asked, self.rows, (1 - self.wish.confidence) / 2)
            self.goals = [people.stricter(floor, self.asked.expert.name) for floor in self.goals]
        texts = len(self.count)
        first = first_draw(texts)
        self.short = False
        self.chance = np.zeros(texts, bool)
        self.chance[self.rng.permutation(texts)[:first]] = True
        for asked in self._llms:
            asked.ask(np.flatnonzero(self.chance))
        rounds = ROUNDS_OF_BATCHES if any(asked.by_batches for asked in self._llms) else ROUNDS
        for number in range(rounds + 1):
            self._learn()
            size = self._next_round() if number < rounds else 0
            if not size:
                return
            self.asked.ask(self.rest.places[self.rest.order[-size:]])

    def _next_round(self) -> int:
        """How many of the least sure texts to ask next, 0 for no more."""
        done, affordable, texts = int(self.asked.done.sum()), self._affordable(), len(self.count)
        goal = self.wish.promises or self.wish.error_usd is not None
        self.short = not goal or done + affordable < self.rest.calls
        if self.short:
            size, least = int(TEACHING * (done + affordable)) - done, FEWEST // 2
        else:
            size, least = int((~self.rest.kept).sum()) // 2, max(FEWEST, share_of(WORTH, texts)) // 2
        most = texts if self.asked.by_batches else max(FEWEST, share_of(STEP, texts))
        return min(size, most) if size >= max(1, least) else 0

    def finish(self) -> Annotation:
        """Steps 3 and 4."""
        self._draw()
        if self.short:
            kept, stopped = self._ask_least_sure(), "money"
        else:
            kept, stopped = self._ask_all_others(), "goal" if self.wish.promises else "price"
        # The small model stands in for the LLM there, beyond what the sample speaks of.
        unknown = ~self.asked.answered
        unknown[self.rest.places[kept & ~self.drawn]] = False
        if not kept.any():
            stopped = "everything"
        if unknown.any() and stopped != "money":
            failed = np.flatnonzero(unknown & self.asked.failed).tolist()
            over = any(code_of(self.asked.errors[at]) == LIMIT for at in failed)
            stopped = "money" if over else "unanswered"
        said = np.full(len(self.count), NO_LABEL)
        said[self.rest.places] = self.rest.scores.label
        promises = [self._promise(tested, kept, unknown, said, stopped) for tested in self.tested]
        return self._annotation(kept, tuple(promises), stopped)

    def _promise(self, tested: Tested, kept: Bools, unknown: Bools, said: Ints, stopped: str) -> Promise:
        line, floor = tested.line, tested.line.floor
        unasked = kept & ~self.drawn & ~self.asked.answered[self.rest.places]
        there = int(floor.count[unknown & (floor.concerns(said) | (said == NO_LABEL))].sum())
        settled = not self.short and self.wish.promises
        rows = int(line.count[unasked[line.at]].sum())
        found = self._found(floor, kept & settled)
        return Promise(floor, tested.promises(kept, rows, there, found, settled))

    def _draw(self) -> None:
        """The sample, asked."""
        rest, drawn = self.rest, []
        left = sum(int(part.count.sum()) for part in rest.parts)
        money = int(CERTIFYING / (1 - TEACHING) * self._affordable())
        for part, sample in zip(rest.parts, rest.samples, strict=True):
            rows = np.repeat(np.arange(len(rest.places)), part.count)
            if self.short:
                sample = min(len(rows) // 2, money * len(rows) // left) if left else 0
            drawn.append(np.bincount(rows[self.rng.permutation(len(rows))[:sample]], minlength=len(rest.places)))
        self.drawn = np.sum(drawn, axis=0, dtype=np.int64) > 0
        lines = [line for part in rest.parts for line in part.lines]
        # Whatever failed until now is in the file, and has no label of the LLM.
        failed = self.asked.failed.copy()
        self.asked.ask(rest.places[self.drawn])
        self.sampled = int(sum(each.sum() for each in drawn))
        samples = [each for each, part in zip(drawn, rest.parts, strict=True) for _ in part.lines]
        self.tested = [
            Tested.of(
                replace(line, failed=int(line.floor.count[failed].sum())),
                sample,
                rest.scores,
                self.asked,
                rest.places,
                self.delta,
            )
            for line, sample in zip(lines, samples, strict=True)
        ]

    def _ask_all_others(self) -> Bools:
        """Ask about all that may not be kept: which of the texts left are kept in the end.

        Rows of a class that are found on the way let more of the others be kept, so the surest are asked last.
        """
        rest = self.rest
        while True:
            kept = self._kept()
            todo = rest.order[(~kept & ~self.asked.done[rest.places])[rest.order]]
            self._certified(kept, len(todo))
            if not len(todo):
                return kept
            size = max(self.asked.together, len(todo) // PARTS) if self.wish.recall else len(todo)
            self.asked.ask(rest.places[todo[::-1][:size]])

    def _certified(self, kept: Bools, todo: int) -> None:
        """Report what the sample has settled."""
        if self.wish.promises:
            done, may = int(self.asked.done.sum()), int((kept & ~self.asked.done[self.rest.places]).sum())
            self.report(replace(self.rounds[-1], asked=done, calls=done + todo, certified=may))

    def _kept(self) -> Bools:
        rest = self.rest
        if not self.wish.promises:
            return rest.kept
        kept = np.zeros(len(rest.places), bool)
        for _ in range(2 if self.wish.recall and self.wish.precision else 1):
            before, kept = kept, spoken_of(rest.parts, len(rest.places))
            for tested in self.tested:
                line = tested.line
                kept[line.at[tested.keeps(self._found(line.floor, before)) :]] = False
        return kept

    def _found(self, floor: Floor, kept: Bools) -> int:
        """Rows of the floor's class that have its label: named by the LLM or, of a recall, kept by a precision."""
        found = floor.found(self.asked)
        if floor.measure == RECALL:
            unasked = kept & ~self.asked.answered[self.rest.places]
            same = [each for each in self.tested if each.line.floor.key == (PRECISION, floor.of, floor.group)]
            found += sum(each.right(unasked) for each in same)
        return found

    def _ask_least_sure(self) -> Bools:
        """Ask from the least sure on while there is money: which of the texts left are kept then."""
        places = self.rest.places[self.rest.order]
        for end in range(len(places), 0, -self.asked.together):
            part = places[max(0, end - self.asked.together) : end]
            self.asked.ask(part[::-1])
            if self.asked.unasked[part].any():
                break
        held = np.flatnonzero(self.asked.unasked[places])
        kept = np.zeros(len(places), bool)
        kept[self.rest.order[: int(held[-1]) + 1 if len(held) else 0]] = True
        return kept

    def _annotation(self, kept_left: Bools, promises: tuple[Promise, ...], stopped: str) -> Annotation:
        asked, rest = self.asked, self.rest
        by_small = np.flatnonzero(~asked.answered)
        label, agrees = asked.label.copy(), np.full(len(asked.label), np.nan)
        said = self._refined(self.small.scores(asked, by_small), by_small)
        label[by_small], agrees[by_small] = said.label, said.agrees
        drawn, kept = np.zeros(len(label), bool), np.zeros(len(label), bool)
        drawn[rest.places[self.drawn]], kept[rest.places[kept_left]] = True, True
        small_said, small_agrees = np.full(len(label), NO_LABEL), np.full(len(label), np.nan)
        small_said[rest.places], small_agrees[rest.places] = rest.scores.label, rest.scores.agrees
        wrong = drawn & kept & (small_said != asked.label)
        return Annotation(
            label=label,
            agrees=agrees,
            by_small=~asked.answered,
            promises=promises,
            confidence=self.wish.confidence,
            rounds=tuple(self.rounds),
            sample=(self.sampled, int(wrong.sum())),
            checked=int((drawn & kept).sum()),
            small=self.small,
            threshold=self._threshold(),
            drawn=drawn,
            kept=kept,
            small_said=small_said,
            small_agrees=small_agrees,
            stopped=stopped,
            checked_by_people=self.people,
            tiers=self.tiers,
        )

    def _threshold(self) -> Threshold:
        """By what is to be expected of texts that nobody has learnt from: those left, and those taught, out of fold.

        Of the small model alone: another file is not put to cheaper LLMs.
        """
        small, alone = self.small, self.alone
        margin = np.concatenate([alone.margin, small.held.margin])
        count = np.concatenate([self.count[self.rest.places], self.count[small.taught]])
        expected = np.concatenate([1 - alone.agrees, 1 - small.held.agrees])
        order = np.argsort(-margin, kind="stable")
        least = next((floor.least for floor in self.goals if floor.measure == AGREEMENT), None)
        if least is None:
            sure = ~self.asked.answered
            for tier in self.tiers if self.goals or self.wish.error_usd is not None else ():
                # Of which the small model alone was not sure enough; where money is the goal, it is to pay as much.
                sure &= tier.asked.label == NO_LABEL
            kept = np.cumsum(count[order]) <= count.sum() * self.count[sure].sum() / self.rows
        else:
            # By how much more the texts drawn by chance may be wrong than is expected of them.
            mine = self.chance[small.taught]
            wrong = int((small.held.label != self.asked.label[small.taught])[mine].sum())
            expected_there = max(float((1 - small.held.agrees)[mine].mean()), 1e-9)
            off = max(1.0, share_interval(wrong, int(mine.sum()))[1] / expected_there)
            kept = off * np.cumsum((count * expected)[order]) <= (1 - least) * count.sum()
        texts = int(kept.sum())
        return Threshold(float(margin[order[texts - 1]]) if texts else math.inf, 0.0)

    def _learn(self) -> None:
        setting = Setting(NAME, self.task, self.asked.classes, encoded=self.wish.encoded)
        small = self.small = SmallModel.of(self.wish.small, self.asked, self.chance, setting, self.wish.seed)
        places = np.flatnonzero(~self.asked.done)
        self.alone = small.scores(self.asked, places)
        scores, agreement = self._cheaper(self.alone, places) if self.tiers else (self.alone, small.agreement)
        # Without a goal the agreement is tested that the small model is expected to have.
        floors = self.goals or [Floor(AGREEMENT, agreement, self.count)]
        self.rest = Rest.of(scores, places, self.asked, floors, self.wish.seed, self.delta)
        if self.wish.error_usd is not None:
            self.rest = self.rest.priced(self.count, self.wish.error_usd, self.asked.mean_cost)
        self.rounds.append(Round(int(self.asked.done.sum()), agreement, self.rest.calls, self._paid()))
        self.report(self.rounds[-1])

    def _cheaper(self, scores: Scores, places: Ints) -> tuple[Scores, float]:
        """What is said with the cheaper LLMs, asked where it is worth it, and how often it is expected to agree."""
        taught, held, scores = self.small.taught, _on_one_scale(self.small.held), _on_one_scale(scores)
        label, drawn = self.asked.label[taught], self.chance[taught]
        for tier in self.tiers:
            told = tier.learn(held, taught, label, self.wish.seed)
            least = tier.ask(scores, places, (1 - held.agrees[drawn], 1 - told.agrees[drawn]), self._bill(label[drawn]))
            asked = np.flatnonzero(1 - held.agrees >= least)
            held, scores = held.put(asked, told.take(asked)), tier.refine(scores, places)
        return scores, laplace((held.label == label)[drawn])

    def _refined(self, scores: Scores, places: Ints) -> Scores:
        for tier in self.tiers:
            scores = tier.refine(_on_one_scale(scores), places)
        return scores

    def _bill(self, label: Ints) -> Callable[[Floats, float], tuple[float, float]]:
        """What texts are expected to cost by how likely their labels are wrong: errors too many, and dollars.

        `label` is the LLM's of texts drawn by chance, by which goals that are about a class allow errors.
        """
        usd, price, may = self.asked.mean_cost, self.wish.error_usd, 1.0 * bool(self.goals)
        each = self._left() / max(int((~self.asked.done).sum()), 1)
        for floor in self.goals:
            of = 1.0 if floor.measure == AGREEMENT else float((label == floor.of).mean())
            may = min(may, (1 - floor.least) * of)

        def bill(wrong: Floats, cheaper_usd: float) -> tuple[float, float]:
            n = len(wrong)
            if price is not None:
                return 0.0, cheaper_usd + float(np.minimum(price * wrong, usd).sum())
            errors = np.concatenate([[0.0], np.cumsum(np.sort(wrong))])
            able = min(n, max(0, (each * n - cheaper_usd) / usd)) if usd else n
            kept = max(int(np.searchsorted(errors, may * n, side="right")) - 1, n - int(able))
            return max(0.0, float(errors[kept]) - may * n), cheaper_usd + usd * (n - kept)

        return bill

    def _paid(self) -> float:
        return sum(float(asked.cost.sum()) for asked in self._llms)

    @property
    def _llms(self) -> list[AskedTexts]:
        return [*(tier.asked for tier in self.tiers), self.asked]

    def _left(self) -> float:
        """Dollars that are left at this step, not what a killed run spent later."""
        ledger, key = self.asked.expert.ledger, self.asked.expert.key_limit
        limit = math.inf if ledger.limit is None else ledger.limit
        if key is not None:
            # Of what its key may pay, what this run has paid is gone already.
            limit = min(limit, ledger.spent + ledger.doubted + key.left)
        return max(0.0, limit - ledger.doubted - self._paid())

    def _affordable(self) -> int:
        """About how many texts the money is enough for that is left."""
        mean, rest = self.asked.mean_cost, int((~self.asked.done).sum())
        left = self._left() / mean if mean else math.inf
        return rest if left > rest else int(left)


def _on_one_scale(scores: Scores) -> Scores:
    """With a margin that compares between all who have a say: by the calibrated chance."""
    return replace(scores, margin=logit(scores.agrees))
