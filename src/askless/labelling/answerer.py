"""The one way to new answers for money: `label`, `serve`, the flow `answer` and the registered model all go through it.

A text is cleaned and named, found answerable or not, decided about, put to an expensive expert where it is deferred and
the ledger allows it, and becomes a row of the decision log. Where no answer came the small expert's is given instead.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.arrays import Floats, Ints
from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide_panel, small_answers
from askless.bundles.terms import Terms, of_bundle
from askless.costs import CostModel
from askless.data.incoming import fault_of
from askless.data.prepare import clean, ids
from askless.errors import AsklessError, BudgetError, ConfigError, DataError
from askless.experts.answer_store import asking
from askless.experts.checked_summaries import CheckedSummaries
from askless.labelling.learning import Learning
from askless.labelling.live_bandit import AT_ONCE, LiveBandit
from askless.made_once import made_once
from askless.monitoring.decide_and_log import ANSWERS, Audit, answer
from askless.monitoring.decision_log import ROWS, DecisionRow
from askless.panel import NO_LABEL, Answering, Panel
from askless.policies.bandit.bandit import Round
from askless.policies.base import Budget, Chooser, Decisions, Policy
from askless.registry import versions as registry
from askless.registry.traces import trace
from askless.spending.billing import DOUBT, FAULT, LIMIT, PAUSED, FaultHandling, code_of
from askless.spending.guard import GuardedExpert, Piece, unpaid
from askless.spending.ledger import Ledger

KEPT, DEFERRED, UNANSWERABLE = "kept", "deferred", "unanswerable"
REASONS = (KEPT, DEFERRED, LIMIT, PAUSED, FAULT, DOUBT, UNANSWERABLE)
PASSING = (LIMIT, PAUSED, FAULT)
SPENT = f"{LIMIT}: the budget of the items so far is spent"
TAKEN = ("cost_usd", "prompt_tokens", "completion_tokens")
ANSWERED = pa.schema(
    [
        *(field.with_nullable(True) for field in ROWS),
        pa.field("answers", ANSWERS),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class DeployedBundle:
    """A version that answers.

    Parameters
    ----------
    address, number
        `models:/name/version` or a folder, and the version's number, "0" for a folder; `deciding` for one that learns.
    bundle
        Its policy, and its small expert unless all of its experts are asked for money.
    terms
        On which its expensive experts are asked.
    budget
        The operating point that it was set to, None for the policy's own rule.

    Raises
    ------
    ConfigError
        For an expert that is neither in the bundle nor in the terms.
    """

    address: str
    number: str
    bundle: Bundle
    terms: Terms
    budget: Budget | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.expensive if name not in self.terms.experts]:
            raise ConfigError(
                f"{self.address}: its expert '{unknown[0]}' is neither with it nor in its terms. Allowed: a small one "
                "with it, and terms that say how others are asked. Give --params, or plan again with --llm."
            )

    @property
    def expensive(self) -> tuple[str, ...]:
        """Who is asked for money: experts of the bundle, and the judge of one that learns."""
        judge = self.bundle.facts.get("judge")
        return (*self.bundle.expensive, *([] if judge is None else [str(judge["expert"])]))

    @made_once
    def learning(self) -> Learning | None:
        """What it has spent and learnt, where it learns while it answers."""
        return Learning.of(self.bundle)

    @property
    def deciding(self) -> str:
        """The number of what decides by now: of a model that learns, of the newest that it has learnt."""
        return self.number if self.learning is None else str(self.learning.number)

    @property
    def decides_alone(self) -> bool:
        """Whether it knows who should answer a text before anybody expensive was asked."""
        return self.bundle.small is not None and self.bundle.policy.decides_alone

    @classmethod
    def at(cls, address: str, params: Path | None, agreed: bool = False, *, decides: bool = False) -> DeployedBundle:
        """The version at an address of the registry or in a folder; `params` instead of the terms that came with it.

        `agreed` agrees to the servers and prices in those (`trust.check`). Raises `AsklessError` for one that cannot
        decide a text, with `decides` also for one that needs an expensive answer before it can.
        """
        found = registry.at(address)
        address, number = (address, "0") if found is None else (found.address, str(found.number))
        bundle = Bundle.load(registry.resolve(address))
        terms = of_bundle(bundle, params, agreed)
        version = cls(address, number, bundle, terms, bundle.budget(found.budget if found else None))
        try:
            Answerer(version).decide(["trial"], ["A text to begin with."], version.budget)
        except AsklessError:
            if decides:
                raise
            # Else whoever asks it to decide is told.
        except Exception as error:
            got = f"what cannot decide a text ({type(error).__name__}: {error})"
            raise DataError(address, got, "a bundle as it was saved", "Train, plan or register it again.") from error
        return version

    @contextmanager
    def guarded(
        self, ledger: Ledger, answers: Path, handling: FaultHandling | None = None, **options: Any
    ) -> Iterator[dict[str, GuardedExpert]]:
        """Its expensive experts behind a ledger, as `guarded` has it."""
        with guarded(self.terms, self.expensive, ledger, answers, handling, **options) as found:
            yield found


@contextmanager
def guarded(
    terms: Terms,
    names: Sequence[str],
    ledger: Ledger,
    answers: Path,
    handling: FaultHandling | None = None,
    **options: Any,
) -> Iterator[dict[str, GuardedExpert]]:
    """Expensive experts behind a ledger (`GuardedExpert`), their answers in a folder; let go at the end.

    Runs that share answers wait for each other, so that none pays for what another is asking.
    """
    with ExitStack() as stack:
        stack.enter_context(asking(answers, names))
        found = {}
        for name in names:
            found[name] = terms.guarded(name, ledger, answers, handling, **options)
            stack.callback(found[name].let_go)
            trace(found[name].expert, found[name].price)
        yield found


@dataclass(frozen=True)
class TextBatch:
    """Texts as they are decided about.

    Parameters
    ----------
    ids
        Of each, from its task and the text.
    texts
        Cleaned.
    faults
        What makes each unanswerable, None for nothing.
    """

    ids: list[str]
    texts: list[str]
    faults: list[str | None]

    @classmethod
    def of(cls, terms: Terms, texts: Sequence[str | None], faults: Sequence[str | None] = ()) -> TextBatch:
        """Texts as they came, with what their reader found wrong with them."""
        cleaned = [clean(text or "") for text in texts]
        both = zip(faults or [None] * len(cleaned), cleaned, strict=True)
        return cls(ids(terms.task, cleaned), cleaned, [fault or fault_of(text, terms.longest) for fault, text in both])

    @property
    def first(self) -> list[int]:
        """The rows that are the first of their text, and can be answered."""
        seen = {name: at for at, name in reversed(list(enumerate(self.ids))) if self.faults[at] is None}
        return sorted(seen.values())


@dataclass(frozen=True)
class AnsweredTexts:
    """Answers to some texts.

    Parameters
    ----------
    rows
        One of `ANSWERED` for each text in its order. A text that comes again costs nothing again; one that cannot be
        answered has an `error`, and no `expert`.
    distinct
        One of `decision_log.ROWS` for each different text that could be answered, to be logged.
    """

    rows: pa.Table
    distinct: pa.Table


class Used(NamedTuple):
    """What an expensive answer took: dollars that were paid now, and its tokens whenever it was made."""

    usd: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class AskedText:
    """A text that was put to expensive experts.

    Parameters
    ----------
    row
        Who answered in the end, and what.
    used
        Expert to what its answer took.
    """

    row: DecisionRow
    used: Mapping[str, Used] = field(default_factory=dict)

    @classmethod
    def of(cls, row: DecisionRow, calls: Mapping[str, _OneCall]) -> AskedText:
        """A row, and what the calls took that were made for it."""
        tables = {name: call.table for name, call in calls.items() if call.table is not None}
        return cls(row, {name: Used(*(t[each][0].as_py() or 0 for each in TAKEN)) for name, t in tables.items()})


@dataclass(frozen=True)
class Answerer:
    """Answers texts as a version decides; any number of threads may use `decide` and `ask`.

    Parameters
    ----------
    version
        What decides, its small expert, and the terms on which expensive ones are asked.
    expensive
        Its expensive experts by name, each behind a ledger; none where nobody is to be asked.
    budget
        The operating point; None for the policy's own rule.
    audit
        Which rows are put to the small and the reference expert whatever the decision; None for no row.
    """

    version: DeployedBundle
    expensive: Mapping[str, GuardedExpert] = field(default_factory=dict)
    budget: Budget | None = None
    audit: Audit | None = None

    @property
    def small(self) -> str:
        """The small expert's name."""
        return self.version.bundle.experts[0]

    @made_once
    def policy(self) -> Policy:
        """Who decides where experts are asked."""
        bundle, learnt = self.version.bundle, self.version.learning
        return bundle.policy if learnt is None else LiveBandit(bundle, learnt, self.expensive, self.costs)

    @property
    def costs(self) -> CostModel:
        """Its prices."""
        return CostModel.of(self.version.terms.costs)

    def answer(self, texts: Sequence[str | None], part: int = 0, faults: Sequence[str | None] = ()) -> AnsweredTexts:
        """Answer texts together.

        Parameters
        ----------
        texts
            As they came, None for a row without one.
        part
            The part of a run: that which asks first for an answer has its cost, and has it again when it asks again.
        faults
            What their reader found wrong with each, None for nothing; such a text is not answered.

        Returns
        -------
        AnsweredTexts
            A row for each text, in their order.

        Raises
        ------
        ExpertError
            Where asking was to stop; what was answered until then is kept.
        """
        items = TextBatch.of(self.version.terms, texts, faults)
        for expert in self.expensive.values():
            expert.part = part
        names, cleaned = ([values[at] for at in items.first] for values in (items.ids, items.texts))
        own = self.version.bundle.small
        experts = {**({} if own is None else {self.small: own}), **self.expensive}
        together = AT_ONCE if self.version.learning else max(len(names), 1)
        rows = pa.concat_tables(
            self._rows(self.policy, names[at:end], cleaned[at:end], experts, self.budget, self.audit)
            for at in range(0, max(len(names), 1), together)
            for end in [at + together]
        )
        return AnsweredTexts(self._in_order(items, rows), rows.drop_columns(["answers"]))

    def decide(
        self, names: Sequence[str], texts: Sequence[str], budget: Budget | None, time: datetime | None = None
    ) -> list[DecisionRow]:
        """Who should answer cleaned texts of these ids: rows of which those that are deferred lack their answer yet.

        Raises `ConfigError` for a policy that needs an expensive answer before it decides, `BudgetError` for a budget
        that cannot be met.
        """
        panel, done = decide_panel(self.version.bundle, list(names), list(texts), budget, self.costs)
        small, _ = small_answers(panel, self.small)
        experts, time = self.version.bundle.experts, time or datetime.now(UTC)
        return [
            DecisionRow(
                time=time,
                id=names[at],
                task=self.version.terms.task,
                version=self.version.number,
                expert=experts[expert],
                asked=[experts[expert]] if expert else [],
                score=float(done.score[at]) if np.isfinite(done.score[at]) else None,
                cost=float(done.cost[at]),
                small_answer=small[at],
                answer=None if expert else small[at],
                text=texts[at],
            )
            for at, expert in enumerate(done.expert.tolist())
        ]

    def ask(self, decided: DecisionRow, piece: Piece | None = None) -> AskedText:
        """Put a text that was deferred to its expert, and give the row that comes of it; whatever happens, one does.

        With `piece` a summary is passed on as it is written, and nothing in it counts as a fault; a label is not.
        """
        call = _OneCall(self.expensive[decided.expert], None if self.version.bundle.classes else piece)
        try:
            row = self._completed(decided, call)
        except Exception as error:
            why = str(error) if isinstance(error, AsklessError) else type(error).__name__
            return AskedText(self.without(decided, why))
        return AskedText.of(row, {decided.expert: call})

    def answer_one(
        self,
        undecided: DecisionRow,
        budget: Budget | None,
        early: Callable[[AskedText], None] | None = None,
        piece: Piece | None = None,
    ) -> AskedText:
        """Answer a text, `undecided` as yet, by a policy that asks before it decides; no `piece` is passed on.

        Whatever happens a row comes of it, but for a budget that cannot be met: then `BudgetError` is raised. Where a
        judge is asked once it is answered, `early` is told before what comes of it but for what the judge takes.
        """
        calls = {name: _OneCall(each, None) for name, each in self.expensive.items()}
        own = self.version.bundle.small
        experts = {**({} if own is None else {self.small: own}), **calls}
        policy = self.policy
        if early is not None and isinstance(policy, LiveBandit):
            policy = _Telling(policy, lambda done: self._answered_early(undecided, done, calls, early))
        try:
            names, texts = [undecided.id], [undecided.text or ""]
            made = self._rows(policy, names, texts, experts, budget, time=undecided.time)
        except BudgetError:
            raise
        except Exception as error:
            why = str(error) if isinstance(error, AsklessError) else type(error).__name__
            asked = AskedText.of(self.without(undecided, why), calls)
            # Those that had answered by then are paid for.
            paid = sum(used.usd for used in asked.used.values())
            bill: Any = {"asked": list(asked.used), "paid": paid, "cost": asked.row.cost + paid}
            return replace(asked, row=replace(asked.row, **bill)) if asked.used else asked
        return AskedText.of(DecisionRow(**made.select(ROWS.names).to_pylist()[0]), calls)

    def _answered_early(
        self,
        undecided: DecisionRow,
        done: Round,
        calls: Mapping[str, _OneCall],
        early: Callable[[AskedText], None],
    ) -> None:
        """Tell what comes of a text that was decided, where nothing went wrong with anybody who was asked."""
        if np.any(done.asked[0] & (done.rounds.label[0] == NO_LABEL)) or done.label[0] == NO_LABEL:
            return
        experts, classes, cost = self.policy.experts, self.version.bundle.classes, float(done.cost[0])
        facts: Any = {
            "expert": experts[done.expert[0]],
            "asked": [experts[j] for j in np.flatnonzero(done.asked[0]) if j],
            "score": float(done.score[0]) if np.isfinite(done.score[0]) else None,
            "small_answer": classes[done.rounds.label[0, 0]] if done.asked[0, 0] else None,
            "answer": classes[done.label[0]],
            "version": done.version,
        }
        early(AskedText.of(replace(undecided, **facts, cost=cost, paid=cost), calls))

    def undecided(self, name: str, text: str, time: datetime) -> DecisionRow:
        """The row of a cleaned text that nobody has answered yet."""
        about: Any = {"task": self.version.terms.task, "version": self.version.deciding}
        last = self.version.bundle.experts[-1]
        return DecisionRow(time=time, id=name, expert=last, asked=[], score=None, cost=0.0, text=text, **about)

    def without(self, decided: DecisionRow, why: str) -> DecisionRow:
        """The row of a text whose expert gave no answer, for the reason `why`: the small expert's answer instead.

        Where that is asked for money too nobody's is given.
        """
        if self.version.bundle.small is None:
            return replace(decided, error=f"{decided.expert}: {why}")
        return self._completed(decided, _GivenAnswer(decided.expert, {"error": why}))

    def reason(self, expert: str | None, error: str | None, answer: str | None) -> str:
        """The word for how an answer came about, from the columns of its row."""
        if expert is None:
            return UNANSWERABLE
        if expert != self.small and answer is not None:
            return DEFERRED
        if not error:
            return KEPT
        name = next((name for name in self.version.bundle.experts if error.startswith(f"{name}: ")), "")
        return code_of(error.removeprefix(f"{name}: "))

    def _completed(self, decided: DecisionRow, expert: Answering) -> DecisionRow:
        """The row of a decided text once `expert` was asked, and the small one where that gave no answer."""
        bundle = self.version.bundle
        small: Any = bundle.small
        if decided.small_answer is not None:
            small = _GivenAnswer(self.small, {"label" if bundle.classes else "text": decided.small_answer})
        made = _Decided(bundle.experts, decided)
        experts = {self.small: small, decided.expert: expert}
        rows = self._rows(made, [decided.id], [decided.text or ""], experts, time=decided.time)
        return DecisionRow(**rows.select(ROWS.names).to_pylist()[0])

    def _rows(
        self,
        policy: Policy,
        names: list[str],
        texts: list[str],
        experts: Mapping[str, Any],
        budget: Budget | None = None,
        audit: Audit | None = None,
        time: datetime | None = None,
    ) -> pa.Table:
        """Rows of the log about cleaned texts, and the column `answers`."""
        terms, classes = self.version.terms, self.version.bundle.classes
        examples = schema.table("examples", {"id": names, "text": texts, "split": ["test"] * len(names)})
        if not classes:
            experts = {name: each if _in_pieces(each) else CheckedSummaries(each) for name, each in experts.items()}
        panel = Panel(examples, experts, self.costs, classes, blind=True)
        audit, time = audit or Audit(policy.experts[-1], 0.0), time or datetime.now(UTC)
        task, asked, learnt = terms.task, self.version.expensive, self.version.learning
        number = self.version.number
        rows = answer(policy, panel, budget, audit, task=task, version=number, time=time, asked=asked)
        if learnt is None:
            return rows
        at, nobody = (
            rows.schema.get_field_index("error"),
            pc.and_(pc.is_null(rows["answer"]), pc.is_null(rows["error"])),
        )
        return rows.set_column(at, rows.schema.field(at), pc.if_else(nobody, f"{self.small}: {SPENT}", rows["error"]))

    def _in_order(self, items: TextBatch, rows: pa.Table) -> pa.Table:
        """The rows of distinct texts as one of `ANSWERED` for each text."""
        place = {name: row for row, name in enumerate(rows["id"].to_pylist())}
        answerable = [None if fault else place[name] for name, fault in zip(items.ids, items.faults, strict=True)]
        at = pa.array(answerable, pa.int64())
        columns = {name: rows[name].take(at) for name in rows.column_names}
        first = pa.array(np.isin(np.arange(len(items.ids)), items.first))
        for name in ("cost", "audit_cost"):
            columns[name] = pc.if_else(first, columns[name], 0.0)
        columns["paid"] = pc.if_else(first, columns["paid"], pa.scalar(None, pa.float64()))
        columns |= {"id": pa.array(items.ids), "text": pa.array(items.texts)}
        columns["error"] = pc.coalesce(pa.array(items.faults, pa.string()), columns["error"])
        came = zip(*(columns[name].to_pylist() for name in ("expert", "error", "answer")), strict=True)
        columns["reason"] = pa.array([self.reason(*each) for each in came], pa.string())
        return pa.table([columns[name] for name in ANSWERED.names], schema=ANSWERED)


class _Telling(Policy):
    """A model that learns, which tells what it has decided before its judge is asked."""

    def __init__(self, policy: LiveBandit, decided: Callable[[Round], None]) -> None:
        self.experts = policy.experts
        self.policy = policy
        self.decided = decided

    def look(self, panel: Panel) -> None:
        self.policy.look(panel)

    def decide(self, panel: Panel, budget: Budget | None = None, seen: Any = None) -> Decisions:
        return self.policy.decide(panel, budget, seen, self.decided)


class _Decided(Chooser):
    """A decision that was made, and paid for, before."""

    def __init__(self, experts: tuple[str, ...], row: DecisionRow) -> None:
        self.experts = (experts[0], row.expert)
        self.row = row

    def look(self, panel: Panel) -> Floats:
        panel.charge(self.row.cost)
        if self.row.small_answer is not None:
            panel.ask(self.experts[0])
        return np.array([np.nan if self.row.score is None else self.row.score])

    def choose(self, seen: Floats, budget: Budget | None) -> Ints:
        return np.ones(len(seen), np.int64)


@dataclass(frozen=True)
class _GivenAnswer:
    """An expert whose one answer, or error, is there already; it costs nothing more."""

    name: str
    values: Mapping[str, str]

    def answer(self, examples: pa.Table) -> pa.Table:
        return unpaid(self.name, examples, **self.values)


@dataclass
class _OneCall:
    """An expensive expert asked about one text, for which alone the answer's cost is counted."""

    guarded: GuardedExpert
    piece: Piece | None
    table: Any = None

    def answer(self, examples: pa.Table) -> pa.Table:
        self.table = self.guarded.answer(examples, secrets.randbits(62), self.piece)
        return self.table


def _in_pieces(expert: Any) -> bool:
    """Whether what an expert writes has been passed on already, so that no fault of it may be found any more."""
    return isinstance(expert, _OneCall) and expert.piece is not None
