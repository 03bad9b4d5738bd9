"""Every applicable policy replayed on anybody's recorded answers: what each budget buys, before it is spent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import policies as registry
from askless import schema
from askless.config import Evaluate
from askless.data.prepare import class_counts, document_counts
from askless.data.recorded import Study
from askless.errors import AsklessError, ConfigError, DataError
from askless.evaluation import curves, learning
from askless.evaluation.arrivals import EVERY_LABEL, Feedback
from askless.evaluation.evaluate import Evaluation, Runs
from askless.evaluation.expert_results import contradictions
from askless.evaluation.replay import Replay, crossfit, replay
from askless.files import write_text
from askless.panel import Panel
from askless.plans.boards import Boards
from askless.policies.bandit.learner import Learner
from askless.policies.base import Budget, Policy
from askless.policies.operating_points import near_hull
from askless.policies.state import arguments

SWEEP, SWEEP_OF_MANY = 41, 21
MANY = 100_000
MARGIN = 0.01
PAIR_POINTS = 10
# What learners are held against, where it is compared.
PLAN = "planned"
NOTHING: dict[str, Any] = {"budgets": (), "headline": "", "model": ""}


@dataclass(frozen=True)
class Asked:
    """What the experts of a study were asked, and how answers are judged.

    Parameters
    ----------
    classes
        Names of the classes; none where answers were judged already.
    positive
        The class that counts as positive in F1: the last.
    quality
        How answers are judged.
    kind
        `classification` or `judged`.
    """

    classes: tuple[str, ...]
    positive: str
    quality: str
    kind: str

    @classmethod
    def of(cls, study: Study, quality: str) -> Asked:
        """By labels with `quality`, or as the answers were judged; raises `ConfigError` for another quality there."""
        if not study.judged:
            return cls(study.classes, study.classes[-1], quality, "classification")
        own = "correct" if study.judged == "correct" else "mean_quality"
        if quality not in ("accuracy", own):
            got = f"Quality '{quality}' of answers that were judged already"
            raise ConfigError(f"{got}. Allowed: {own}. Leave it out, or give labels and gold labels.")
        return cls((), "", own, "judged")


def applicable(study: Study) -> list[str]:
    """The kinds of policy that this study can tell something about."""
    out = {name for names in _inapplicable(study).values() for name in names}
    return [name for name in registry.able("studied") if name not in out]


def _inapplicable(study: Study) -> dict[str, list[str]]:
    """Why kinds of policy are left out, in a sentence's beginning, to which these are."""
    able = {name: registry.resolve(name, name) for name in registry.able("studied")}
    if len(study.experts) < 2:
        only = f"{study.experts[0]} is the only expert, and there is nothing to decide"
        more = "; --small linear trains another on the labelled texts" if study.has_text and study.classes else ""
        return {only + more: list(able)}
    reads = [name for name, kind in able.items() if kind.reads_text and not study.has_text]
    labels = [name for name, kind in able.items() if not (study.classes or kind.graded) and name not in reads]
    why = {
        "The items have no text, which these policies read": reads,
        "Answers were judged already, and these policies decide between labels": labels,
    }
    return {reason: names for reason, names in why.items() if names}


def _learners(study: Study) -> list[str]:
    """The kinds that learn while they answer, where there are labels to tell them and experts to choose from."""
    if not study.classes or len(study.experts) < 2:
        return []
    kinds = {name: registry.resolve(name, name) for name in registry.known()}
    return [n for n, kind in kinds.items() if issubclass(kind, Learner) and (study.has_text or not kind.reads_text)]


def build(
    kind: str, experts: Sequence[str], reference: str, seed: int = 0, *, pair: Sequence[str] = (), prune: bool = True
) -> Policy:
    """A policy over all `experts`; where it is meant for two over the `pair`, by default the first and the reference.

    Without `prune` a chain asks them all, in the order given.
    """
    other = reference if reference != experts[0] else experts[-1]
    given = (pair or (experts[0], other)) if registry.resolve(kind, kind).pair else experts
    return registry.build(kind, {}, experts=tuple(given), random_state=seed, prune=prune)


def evaluate(
    study: Study,
    *,
    policies: Sequence[str] | None = None,
    reference: str | None = None,
    folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    bootstrap: int = 1000,
    confidence: float = 0.95,
    quality: str = "accuracy",
    orders: int = learning.ORDERS,
    feedback: Feedback = EVERY_LABEL,
    out: Path | str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Fit every policy that applies, replay it on the test items, and say what each budget buys.

    Operating points are chosen on valid or, where it is empty, on train by cross-fitting; test is only reported. Of
    more than 100,000 items one seed, fewer budgets and at most 200 resamples are used, and only the headline's
    decisions are written, which `notes` say.

    Parameters
    ----------
    study
        Labelled items and what each expert answered, as `askless.read_study` gives them.
    policies
        Kinds of policy to compare; by default all that apply and are fixed beforehand. Those that learn while they
        answer (`bandit`, ...) are replayed on the first 2,000 test items of each order of arrival, begun with nothing
        and with the other items, and told labels after each answer: the summary has them under `learning`.
    reference
        The expert that the others are measured against; by default the costliest.
    folds
        Folds of the cross-fitting.
    seeds
        A policy that draws is fitted once for each.
    bootstrap
        Resamples of the intervals.
    confidence
        Of the two-sided intervals, between 0 and 1.
    quality
        `accuracy`, `macro_f1` or `f1_positive`; of answers that were judged already their judgement.
    orders
        Orders of arrival for those that learn while they answer.
    feedback
        Which labels these are told, and when.
    out
        Folder for metrics.json, curve.csv, decisions.parquet and report.html; without one nothing is written.
    say
        Is told what is being done.

    Returns
    -------
    dict
        The summary that metrics.json has.

    Raises
    ------
    ConfigError
        For an unknown policy, expert or measure.
    DataError
        Where there are no train or no test items.
    """
    boards, notes = Boards.of(study), list(study.notes)
    if not len(boards.test):
        raise DataError("items", "no row in split 'test'", "rows to report on", "Mark some rows 'test'.")
    reference = _reference(study, boards, reference)
    seeds, sweep = tuple(seeds), SWEEP
    if len(boards.test) > MANY:
        seeds, sweep, bootstrap = seeds[:1], SWEEP_OF_MANY, min(bootstrap, 200)
        notes.append(
            f"Over {MANY:,} items: one seed, {sweep} budgets, {bootstrap} resamples, the headline's decisions."
        )
    options = {"sweep": sweep, "bootstrap": bootstrap, "confidence": confidence, "margin": MARGIN}
    settings = Evaluate(**options, **NOTHING, reference=reference)  # type: ignore[arg-type]
    budgets = boards.budgets(study.experts, sweep)
    pair = _best_pair(study, boards, reference, budgets, folds, say)
    sweeps = _Sweeps(study, boards, reference, pair, budgets, seeds, folds)
    if set(pair) != {study.experts[0], reference}:
        notes.append(
            f"Policies for two experts decide between {pair[0]} and {pair[1]}, the best pair where points are chosen."
        )
    evaluation = Evaluation(
        Asked.of(study, quality),
        settings,
        study.cost.unit,
        study.experts[0],
        sweeps.alone(boards.test),
        sweeps.alone(boards.held),
    )
    notes += _remarks(evaluation)
    kinds, plan = _kinds(study, policies, notes), None
    learners = [kind for kind in kinds if issubclass(registry.resolve(kind, kind), Learner)]
    fixed = [kind for kind in kinds if kind not in learners]
    for place, kind in enumerate(fixed, 1):
        say(f"{kind}: fitting and replaying ({place} of {len(fixed)})")
        try:
            run, choosing = sweeps.of(kind)
        except AsklessError as error:
            notes.append(f"{kind} is left out: {error}")
            continue
        evaluation.add(run, choosing)
        plan = run if kind == PLAN else plan
    if len(study.experts) > 1:
        evaluation.add_oracle()
    main = evaluation.best(list(evaluation.areas)) or f"always_{reference}"
    known = _answers(study, "valid" if len(boards.valid) else "train")
    summary = evaluation.summary("study", main, _answers(study, "test"), known) | {
        "chosen_on": "the valid split" if len(boards.valid) else f"train, {folds}-fold cross-fitted",
        "notes": notes,
        "splits": class_counts(study.examples, study.classes) if study.classes else document_counts(study.examples),
        "prices": {},
        "demo": False,
    }
    notes += contradictions(summary["experts"], summary["items"])
    if learners and (usd := learning.budgets(boards.train, study.experts)):
        beginners, beside = _beginners(study, boards, learners), learning.Beside.of(boards.test, study.experts, plan)
        summary["learning"] = learning.learnt(
            beginners, boards.test, usd, beside, orders=orders, feedback=feedback, confidence=confidence, say=say
        )
    elif learners:
        notes.append(learning.EQUAL % ", ".join(learners))
    if out is not None:
        _write(Path(out), summary, evaluation, schema.rows_in(study.examples, "test")["id"], study.classes)
    return summary


@dataclass(frozen=True)
class _Sweeps:
    """How policies are fitted and replayed in one study."""

    study: Study
    boards: Boards
    reference: str
    pair: tuple[str, ...]
    budgets: Sequence[Budget]
    seeds: Sequence[int]
    folds: int

    def of(self, kind: str) -> tuple[Replay, Replay]:
        """A policy's sweep on test, and on the rows on which its operating point is chosen."""
        policy, boards = registry.resolve(kind, kind), self.boards
        seeds = self.seeds if "random_state" in arguments(policy) else self.seeds[:1]
        swept: list[Budget | None] = list(self.budgets) if policy.budgets else [None]

        def make(seed: int) -> Policy:
            experts, ordered = self.study.experts, self.study.ordered
            return build(kind, experts, self.reference, seed, pair=self.pair, prune=not ordered)

        fitted = {s: make(s).fit(boards.train.copy(), boards.valid.copy()) for s in seeds}
        test = replay(kind, fitted, {s: boards.test for s in seeds}, swept)
        if len(boards.valid):
            return test, replay(kind, fitted, {s: boards.valid for s in seeds}, swept)
        return test, crossfit(kind, make, boards.train, swept, seeds, self.folds)

    def alone(self, board: Panel) -> Runs:
        """Each expert asked about every row."""
        sweeps, first = {}, self.study.experts[0]
        for expert in self.study.experts:
            policy = registry.build("always", {"expert": expert}, experts=tuple(dict.fromkeys((first, expert))))
            sweeps[f"always_{expert}"] = replay(f"always_{expert}", {0: policy}, {0: board}, [None])
        gold = np.zeros(len(board), np.int64) if self.study.judged else board.gold
        return Runs(gold, board.groups, sweeps, {})


def _reference(study: Study, boards: Boards, reference: str | None) -> str:
    if reference is not None and reference not in study.experts:
        raise ConfigError.unknown("expert", reference, study.experts)
    return reference or study.experts[int(np.argmax(boards.prices(study.experts)))]


def _best_pair(
    study: Study, boards: Boards, reference: str, budgets: Sequence[Budget], folds: int, say: Callable[[str], None]
) -> tuple[str, ...]:
    """The two experts of whom `two_tier` makes most on the rows on which operating points are chosen.

    Tried are those that are worth asking beside the first and the reference; of two experts there is but one pair. A
    pair begins at the cost of its first, under which a mix with the cheapest expert counts.
    """
    names = study.experts
    if len(names) < 3:
        return names
    held, own = boards.held, {}
    asked = {name: held.copy().ask(name) for name in names}
    quality = np.stack([held.quality(asked[name]) for name in names], axis=1)
    cost = np.stack([asked[name].cost for name in names], axis=1)
    near = {names[j] for j in near_hull(cost, quality)} | {reference}
    tried = [name for name in names if name in near]
    pairs = [(a, b) for i, a in enumerate(tried) for b in tried[i + 1 :]]
    say(f"two_tier: trying {len(pairs)} pairs of experts")
    low, high = float(cost[:, 0].mean()), float(cost.mean(axis=0).max())
    swept = list(budgets[:: max(1, len(budgets) // PAIR_POINTS)]) + [budgets[-1]]
    for pair in pairs:

        def make(seed: int, pair: tuple[str, ...] = pair) -> Policy:
            return registry.build("two_tier", {}, experts=pair, random_state=seed)

        if len(boards.valid):
            fitted = make(0).fit(boards.train.copy(), boards.valid.copy())
            run = replay("two_tier", {0: fitted}, {0: held}, swept)
        else:
            run = crossfit("two_tier", make, boards.train, swept, (0,), folds)
        gold = np.zeros(len(held), np.int64) if study.judged else held.gold
        reached = run.right(gold)[:, 0].mean(axis=1)
        spent = run.cost[:, 0].mean(axis=1) if high > low else run.deferred[:, 0].mean(axis=1)
        ends = (low, high) if high > low else (0.0, 1.0)
        own[pair] = curves.area(np.append(low, spent), np.append(quality[:, 0].mean(), reached), *ends)
    return max(own, key=lambda pair: own[pair])


def _kinds(study: Study, wanted: Sequence[str] | None, notes: list[str]) -> list[str]:
    able = [*applicable(study), *(_learners(study))]
    notes += [f"{why}. Left out: {', '.join(names)}." for why, names in _inapplicable(study).items()]
    for kind in wanted or ():
        if kind in registry.known() and kind not in able and not registry.resolve(kind, kind).studied:
            raise ConfigError(
                f"Policy '{kind}' is not replayed on recorded answers: it is trained by a pipeline, or is always "
                f"shown. Allowed: {', '.join(able)}."
            )
        if kind not in able:
            raise ConfigError.unknown("policy", kind, able)
    return list(dict.fromkeys(wanted)) if wanted else applicable(study)


def _beginners(study: Study, boards: Boards, kinds: Sequence[str]) -> list[learning.Beginner]:
    """Each kind that learns while it answers, begun with nothing, and with all items but those of test."""
    nothing, found = boards.train.take(np.arange(0)), []
    dearest = learning.ceilings(boards.train, study.experts)
    for kind in kinds:
        for train, valid in ((nothing, nothing), (boards.train, boards.valid)):

            def begin(seed: int, kind: str = kind, train: Panel = train, valid: Panel = valid) -> Learner:
                given = {"experts": study.experts, "ceilings": dearest, "random_state": seed}
                policy = registry.build(kind, {}, **given)
                assert isinstance(policy, Learner)
                return policy.fit(train.copy(), valid.copy())

            found.append(learning.Beginner(kind, len(train) + len(valid), begin))
    return found


def _remarks(evaluation: Evaluation) -> list[str]:
    """What the user should know before reading any curve."""
    prices = [float(run.cost.mean()) for run in evaluation.alone.values()]
    if len(prices) > 1 and max(prices) <= min(prices):
        return ["All experts cost the same: budgets are shares of items, and nothing can be saved but calls."]
    return []


def _answers(study: Study, split: str) -> dict[str, pa.Table]:
    inside = pc.equal(study.examples["split"], split)
    return {expert: table.filter(inside) for expert, table in study.answers.items()}


def _write(
    out: Path, summary: Mapping[str, Any], evaluation: Evaluation, ids: pa.ChunkedArray, classes: Sequence[str]
) -> None:
    from askless.report.report import write_report

    out.mkdir(parents=True, exist_ok=True)
    curve, chosen, main = evaluation.curve(), evaluation.chosen, summary["headline"]["policy"]
    written = list(chosen.values()) if len(ids) <= MANY else [chosen[main]]
    parts = [run.decisions(0, s, ids.combine_chunks(), classes) for run in written for s in range(len(run.seeds))]
    schema.write(pa.concat_tables(parts), out / "decisions.parquet", "decisions")
    write_text(out / "metrics.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    write_text(out / "curve.csv", curve.to_pandas().to_csv(index=False, float_format="%.9g"))
    write_report(out, summary, curve)
