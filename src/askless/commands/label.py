"""`askless label`: a stream of items answered within a spend limit."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.options import (
    NONE,
    AsJson,
    TermsFile,
    Trust,
    hushed,
    note,
    pairs,
    params_here,
    print_json,
    say,
    tell,
)
from askless.commands.spend_bar import SpendBar

if TYPE_CHECKING:
    import pyarrow as pa

    from askless.data.stream import ItemSource
    from askless.labelling.answerer import DeployedBundle
    from askless.labelling.learning import Learning
    from askless.labelling.run import LabelProgress, Run
    from askless.policies.base import Budget
    from askless.spending.guard import GuardedExpert
    from askless.spending.ledger import Ledger

INTERRUPTED = 130


class OnFault(StrEnum):
    """What becomes of items while an expensive expert's server fails."""

    WAIT = "wait"
    SMALL = "small"


class Format(StrEnum):
    """What the input is."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    TEXT = "text"


Items = Annotated[str, typer.Argument(metavar="ITEMS", help="JSON lines, CSV, Parquet, text lines, or - for a pipe.")]
Model = Annotated[
    str, typer.Option("--model", metavar="ADDRESS", help="models:/name@alias, /name/version, a plan, or a folder.")
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The answers: .jsonl, .csv or .parquet.")]
MaxUsd = Annotated[
    float | None,
    typer.Option(
        "--max-usd", metavar="DOLLARS", help="What expensive experts may be paid in all.", show_default="no limit"
    ),
]
Share = Annotated[
    float | None,
    typer.Option(help="Largest share of items that may be deferred.", show_default="what the version was set to"),
]
Per1000 = Annotated[float | None, typer.Option(help="Budget for 1,000 items instead, in the policy's cost unit.")]
Answers = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where answers are kept and looked for.", show_default="OUT.run/answers"),
]
Columns = Annotated[
    list[str], typer.Option("--column", metavar="OURS=THEIRS", help="A column under another name: --column text=post.")
]
Kind = Annotated[Format | None, typer.Option("--format", help="The input's format.", show_default="by its ending")]
Faults = Annotated[
    OnFault | None,
    typer.Option(
        "--on-fault",
        help="While a server fails: wait for it, or take the small expert's answer.",
        show_default="wait; small by a model that learns, which asks another",
    ),
]
Patience = Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for a server before giving up.")]
Again = Annotated[
    bool, typer.Option("--again", help="Answer anew what the small expert answered for want of money or a server.")
]
InDoubt = Annotated[bool, typer.Option("--ask-in-doubt", help="Ask again what may have been billed without an answer.")]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Go on where answers state no probability, and the model goes by that.")
]
Log = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Also write decisions to this log, for `flows.monitor`.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it will take, and ask nobody.")]
Sample = Annotated[int, typer.Option(min=2, help="Rows, drawn by chance, that --dry-run decides.")]
NoText = Annotated[bool, typer.Option("--no-text", help="Keep no text: not in the output, nor in what the run keeps.")]
RawCsv = Annotated[bool, typer.Option("--raw-csv", help="Do not guard cells of a CSV that a spreadsheet would run.")]
ChunkRows = Annotated[int, typer.Option(min=1, max=100_000, help="Rows that are decided and kept together.")]


def label(
    items: Items,
    model: Model,
    out: Out,
    max_usd: MaxUsd = None,
    share: Share = None,
    per_1000: Per1000 = None,
    params: TermsFile = None,
    trust: Trust = False,
    answers: Answers = None,
    column: Columns = NONE,
    kind: Kind = None,
    on_fault: Faults = None,
    patience: Patience = 600.0,
    again: Again = False,
    ask_in_doubt: InDoubt = False,
    anyway: Anyway = False,
    log: Log = None,
    no_text: NoText = False,
    raw_csv: RawCsv = False,
    chunk_rows: ChunkRows = 1000,
    dry_run: DryRun = False,
    sample: Sample = 5000,
    as_json: AsJson = False,
) -> None:
    """Answer items of any number: the small expert, or an expensive one where the model defers, within a spend limit.

    The limit is hard: a call that could pass it is not made, and the small expert's answer is given and marked. Run the
    same command again after a kill: it goes on, and pays for nothing twice.

    Example: askless label posts.jsonl --model models:/askless-olhs@champion -o labelled.jsonl --max-usd 5
    """
    from askless.data.stream import ItemSource
    from askless.errors import BudgetError, ConfigError, ExpertError
    from askless.labelling.ahead import ask_ahead
    from askless.labelling.answerer import PASSING, Answerer
    from askless.labelling.outputs import kind_of
    from askless.labelling.run import Run, answer_chunk, folder_of
    from askless.spending.billing import DOUBT, FaultHandling

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if share is not None and per_1000 is not None:
        raise BudgetError("Got both --share and --per-1000. Give one of them, or none for what the version was set to.")
    kind_of(out)
    names = pairs("--column", column)
    for name in names:
        if name not in ("id", "text"):
            raise ConfigError.unknown("column", name, ("id", "text"))
    source = ItemSource.of(items, None if kind is None else kind.value, names)
    version, facts = _version(model, out, params, trust)
    budget = _budget(version, share, per_1000)
    facts |= {"budget": _named(budget), "chunk_rows": chunk_rows, **({"texts": "left out"} if no_text else {})}
    if dry_run:
        _foresee(source, version, budget, answers or folder_of(out) / "answers", sample, max_usd, as_json)
        return
    waits = on_fault is OnFault.WAIT or (on_fault is None and version.learning is None)
    handling = FaultHandling(waits, patience, ask_in_doubt)
    with ExitStack() as stack:
        stack.enter_context(hushed() if no_text else nullcontext())
        run = stack.enter_context(Run.opened(out, facts))
        ledger = stack.enter_context(run.ledger(max_usd))
        bar = stack.enter_context(closing(_LabelBar(source.count(), "rows", ledger)))
        kept = answers or run.folder / "answers"
        expensive = stack.enter_context(version.guarded(ledger, kept, handling))
        _ready(expensive, bar, no_text, () if anyway else version.bundle.facts.get("sure", ()))
        interrupted = stack.enter_context(interruptible(expensive))
        own = () if on_fault or version.learning is None else version.bundle.expensive
        answered = partial(_if_any, {name: expensive[name] for name in own})
        answerer, written, begun = Answerer(version, expensive, budget), _log(log), f"{datetime.now(UTC):%H%M%S%f}"
        try:
            anew = (*PASSING, *([DOUBT] if ask_in_doubt else [])) if again else ()
            ask_ahead(answerer, run.due(source, chunk_rows, anew), interrupted)
            done = run.label(
                source,
                chunk_rows,
                lambda chunk: answered(
                    answer_chunk(answerer, chunk, written, f"{begun}{chunk.number:04d}", not no_text)
                ),
                bar,
                anew,
                interrupted,
            )
        except ExpertError:
            if not interrupted():
                raise
            done = None
        bar.close()
        if done is None or interrupted():
            say("Interrupted. What was answered and paid for is kept: run the same command to go on.")
            raise typer.Exit(INTERRUPTED)
        if not run.done or done.before < done.rows:
            run.finish(not no_text, {"model": version.address, "max_usd": max_usd}, raw_csv)
        facts = _facts(run, version, done, ledger)
        note(_moved(run, version, facts))
        print_json(facts) if as_json else _summary(version, done, ledger, facts)


def _if_any(expensive: Mapping[str, GuardedExpert], rows: pa.Table) -> pa.Table:
    """Rows that were answered; raises `ExpertError` where the servers of all these experts are down by now."""
    from askless.errors import ExpertError

    down = {name: each.breaker.last for name, each in expensive.items() if each.breaker.open}
    if down and len(down) == len(expensive):
        why = "; ".join(f"{name}: {last}" for name, last in down.items())
        raise ExpertError(f"No LLM answers ({why}). Run again when one does: what was answered is kept.")
    return rows


def _version(model: str, out: Path, params: Path | None, trust: bool) -> tuple[DeployedBundle, dict[str, Any]]:
    """What answers: the version that the run of `out` began with, where `model` is the address that it was given."""
    from askless.labelling.answerer import DeployedBundle
    from askless.labelling.run import begun_with
    from askless.registry.versions import ADDRESS

    begun = begun_with(out) or {}
    asked, resolved = (ADDRESS.fullmatch(str(address)) for address in (model, begun.get("model")))
    # An alias may have moved since. Whoever wrote run.json names a version of this model, or nothing that counts.
    same = asked and resolved and resolved["number"] and resolved["model"] == asked["model"]
    address = str(begun["model"]) if same and begun.get("asked") == model else model
    version = DeployedBundle.at(address, params_here(params, address), trust)
    return version, {"asked": model, "model": version.address}


def _ready(expensive: dict[str, GuardedExpert], bar: SpendBar, no_text: bool, sure: Sequence[str]) -> None:
    """Have experts tell what they wait for and keep no text; those that should be `sure` stop where they do not say."""
    for name, each in expensive.items():
        each.billing.on_wait, each.expert.private = bar.waits, no_text
        if name in sure:
            each.expect_confidence()


def _budget(version: DeployedBundle, share: float | None, per_1000: float | None) -> Budget | None:
    from askless.policies.base import Budget

    given = share is not None or per_1000 is not None
    return Budget(share=share, per_1000=per_1000) if given else version.budget


def _foresee(
    source: ItemSource,
    version: DeployedBundle,
    budget: Budget | None,
    answers: Path,
    sample: int,
    limit: float | None,
    as_json: bool,
) -> None:
    """Say what each expensive expert will take, and whether a limit is enough."""
    from askless.labelling.foreseen import draw, foresee
    from askless.report import forecast_words
    from askless.spending.forecast import together

    drawn = draw(source, sample, version.terms.longest, 0)
    if version.learning is not None:
        _most(version.learning, drawn.rows, budget, limit, as_json)
        return
    found = foresee(version, drawn, budget, answers, 0.95)
    total = together([each.usd for each in found])
    if as_json:
        print_json({"rows": drawn.rows, "experts": [each.as_dict() for each in found], "usd": vars(total)})
        return
    looked = "all" if len(drawn.texts) == drawn.rows else f"{len(drawn.texts):,} drawn by chance"
    typer.echo(f"{drawn.rows:,} rows, {looked} decided by {version.address}; nobody was asked.\n")
    for each in found:
        typer.echo(f"{forecast_words.block(each, version.terms.task)}\n")
        note(forecast_words.limit_words(version.terms.expert(each.expert, answers), each.usd))
    if limit is not None and total.high > limit:
        enough = "not enough" if total.low > limit else "perhaps not enough"
        tell(f"A limit of ${limit:g} is {enough}: from there on the small expert answers. A lower --share asks less.")


def _most(learning: Learning, rows: int, budget: Budget | None, limit: float | None, as_json: bool) -> None:
    """Say what a model that learns while it answers may take: whom it asks is not known before."""
    from askless.policies.bandit.bandit import OPENING

    known, per_1000 = learning.facts(), 0.0 if budget is None else float(budget.per_1000 or 0)
    left = known["allowed_usd"] - known["spent_usd"] - known["reserved_usd"]
    most = per_1000 / 1000 * max(rows, OPENING) + max(left, 0.0)
    if as_json:
        print_json({"rows": rows, "most_usd": most})
        return
    tell(f"{rows:,} rows; nobody was asked. Whom it asks is learnt as it goes: at most ${most:.6g}, by its budget.")
    if limit is not None and most > limit:
        tell(f"A limit of ${limit:g} may not be enough: from there on rows may have no answer.")


def _named(budget: Any) -> str:
    """A budget in a word or two."""
    if budget is None:
        return "the model's own rule"
    return next(f"{name} {value:g}" for name, value in vars(budget).items() if value is not None)


def _log(folder: Path | None) -> Any:
    from askless.monitoring.decision_log import DecisionLog

    return None if folder is None else DecisionLog(folder)


class _LabelBar(SpendBar):
    """Rows answered, and the money spent, on the terminal."""

    def __call__(self, progress: LabelProgress) -> None:
        deferred = progress.reasons["deferred"] / max(progress.rows, 1)
        self.say(f"{100 * deferred:.1f} % deferred", done=progress.rows)


@contextmanager
def interruptible(expensive: dict[str, Any]) -> Iterator[Any]:
    """Ctrl-C and SIGTERM finish what is under way; a second one does not wait."""
    seen: list[int] = []

    def stop(number: int, _: Any) -> None:
        seen.append(number)
        for expert in expensive.values():
            expert.halt("interrupted")
        signal.signal(number, before[number])

    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _facts(run: Run, version: DeployedBundle, done: LabelProgress, ledger: Ledger) -> dict[str, Any]:
    from askless.labelling.answerer import REASONS

    calls = ledger.counts()
    return {
        "output": str(run.out),
        "model": version.address,
        "rows": done.rows,
        "reasons": {name: done.reasons[name] for name in REASONS},
        "calls": {
            name: sum(n for (who, _), n in calls.items() if who == name) for name in sorted({w for w, _ in calls})
        },
        "paid_usd": ledger.spent,
        "in_doubt_usd": ledger.doubted,
        "limit_usd": ledger.limit,
    }


def _summary(version: DeployedBundle, done: LabelProgress, ledger: Ledger, facts: dict[str, Any]) -> None:
    small = version.bundle.experts[0]
    typer.echo(f"{done.rows:,} rows by {version.address}: {facts['output']}\n")
    # Where that is an LLM too it may not have been asked either.
    whose = f"{small} answered" if version.bundle.small is not None else f"{small} answered, or nobody"
    names = _words(small, whose)
    if version.learning is not None:
        names["deferred"] = "another LLM's answer stands"
    for name, words in names.items():
        rows = done.reasons[name]
        if rows:
            typer.echo(f"  {name:<13}{rows:>12,}  {100 * rows / done.rows:5.1f} %  {words}")
    limit = "no limit was set" if ledger.limit is None else f"the limit is ${ledger.limit:g}"
    calls = ", ".join(f"{n:,} calls of {name}" for name, n in facts["calls"].items()) or "no calls"
    doubt = f" In doubt are ${ledger.doubted:.6g} more." if ledger.doubted else ""
    typer.echo("")
    whom = "expensive experts" if version.learning is None else "LLMs"
    tell(f"Paid to {whom}: ${ledger.spent:.6g} ({limit}), {calls}.{doubt}")
    passing = {name: done.reasons[name] for name in ("limit", "paused", "fault") if done.reasons[name]}
    if passing:
        which = "--max-usd" if ledger.limit is not None else "limit of the key"
        raised = f" with a higher {which}" if "limit" in passing and version.learning is None else ""
        note([f"{sum(passing.values()):,} rows can be answered anew: run again with --again{raised}."])


def _moved(run: Run, version: DeployedBundle, facts: dict[str, Any]) -> list[str]:
    """What is said where the rows do not look like those that the model was calibrated on."""
    from askless.monitoring import baseline
    from askless.stats.known_words import KnownWords
    from askless.stats.shift import REMEDY

    folder, about = version.bundle.folder, version.bundle.facts
    assert folder is not None
    before, known = baseline.read(folder), KnownWords.read(folder)
    found = run.shift(before) if before is not None else None if known is None else run.new_words(known)
    facts["shift"] = found and {"alarm": found.alarm, "p_values": dict(found.p_values)}
    remedy = REMEDY
    if "usd_per_row" in about:
        usd = about["usd_per_row"] * facts["rows"]
        remedy = f"A promise for them, by askless annotate, costs about ${usd:.2g}."
    return [found.words(bool(about.get("promised")), remedy=remedy)] if found and found.alarm else []


def _words(small: str, whose: str) -> dict[str, str]:
    return {
        "kept": f"{small} answered, as the model decided",
        "deferred": "an expensive expert answered",
        "limit": f"deferred, but over the spend limit: {whose}",
        "paused": f"deferred, but its server was failing: {whose}",
        "fault": f"deferred, but the call failed: {whose}",
        "in doubt": f"deferred and perhaps billed, but no answer came: {whose}",
        "unanswerable": "no text, or one that is too long",
    }
