"""`askless learn`: a model that learns whom to ask while it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askless.commands.options import (
    NONE,
    AsJson,
    Prices,
    Seed,
    Trust,
    layout,
    names,
    note,
    pairs,
    print_json,
    study,
    tell,
)

if TYPE_CHECKING:
    from askless.bundles.terms import Terms
    from askless.labelling.known import Known
    from askless.prompts import PromptSpec

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The model: a folder, new or known.")]
Llm = Annotated[
    list[str],
    typer.Option(
        metavar="NAME=MODEL",
        help="Whom it may ask, two or more: --llm mini=gpt-4o-mini, or with its server behind it, "
        "--llm local=qwen2.5:7b@http://localhost:11434/v1.",
        show_default=False,
    ),
]
BudgetUsd = Annotated[float, typer.Option(help="Dollars for 1,000 items, never exceeded.", show_default=False)]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes", metavar="NAMES", help='What a text can be, with commas: a,b,"c, d".', show_default="the plan's"
    ),
]
Question = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="What they are asked.", show_default="as before, or to which class it belongs"),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--prompt",
        metavar="FILE",
        help="Instead of a question: YAML as in docs/tasks.md, or a text with {text} where the item stands.",
        show_default=False,
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="An LLM whose answers are taken for true until a label comes.", show_default="none"
    ),
]
ReferenceShare = Annotated[
    float, typer.Option(metavar="SHARE", help="Of the items, about which --reference is asked whatever is decided.")
]
Judge = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=MODEL",
        help="An LLM, written as --llm, that is none of these: it reads an item and the answers given, and says which "
        "class is right until a label comes.",
        show_default="none",
    ),
]
JudgeShare = Annotated[
    float, typer.Option(metavar="SHARE", help="Of the items, about which --judge is asked whatever is decided.")
]
Answers = Annotated[
    list[Path],
    typer.Option("--answers", metavar="FILE", help="Begin with these answers to --examples, by the names of --llm."),
]
Examples = Annotated[
    Path | None, typer.Option("--examples", metavar="FILE", help="Labelled items to begin with.", show_default=False)
]
Plan = Annotated[
    Path | None,
    typer.Option(
        metavar="PLAN",
        help="Begin with the labelled answers that a plan was made on; without --llm ask the LLMs of its --llm, as it "
        "does.",
        show_default=False,
    ),
]


def learn(
    output: Output,
    budget_usd: BudgetUsd,
    llm: Llm = [],  # noqa: B006
    classes: Classes = None,
    question: Question = None,
    prompt: PromptFile = None,
    prices: Prices = None,
    reference: Reference = None,
    reference_share: ReferenceShare = 0.05,
    judge: Judge = None,
    judge_share: JudgeShare = 0.05,
    examples: Examples = None,
    answers: Answers = [],  # noqa: B006
    plan: Plan = None,
    trust: Trust = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make a model that learns which LLMs to ask while it answers: no labels beforehand, never above the budget.

    It answers by `askless label` and `askless serve`, and learns from labels that come later, by `askless feedback` or
    /v1/feedback. Run it again on the same folder with other LLMs, prices or another budget: what was learnt of the LLMs
    that stay stays.

    Example: askless learn -o live --llm mini=gpt-4o-mini --llm large=gpt-4o --classes yes,no --budget-usd 0.5
    """
    from askless.errors import ConfigError
    from askless.labelling.live_model import JUDGE, REFERENCE, Teacher, make

    known = _known(examples, answers, plan, classes, prices, seed)
    if plan is not None and not llm:
        # Prices are the judge's then.
        own: list[object] = [question, prompt, classes, None if judge else prices]
        terms = _of_plan(plan, output.name, trust, own)
    else:
        terms = _typed(output, llm, names(classes) or _classes_of(plan), question, prompt, prices)
    if reference is not None and judge is not None:
        raise ConfigError("Got both --reference and --judge. Give one of them: labels come of one of the two.")
    teacher = None if reference is None else Teacher(REFERENCE, reference, reference_share)
    if judge is not None:
        name, terms = _judged(terms, judge, prices)
        teacher = Teacher(JUDGE, name, judge_share)
    done = make(output, terms, budget_usd, teacher, known, seed)
    if as_json:
        print_json(done)
        return
    note(done["notes"])
    for line in done["words"]:
        tell(line)
    typer.echo(f"\nAnswer:  askless label ITEMS --model {output} -o labelled.csv --max-usd 5")
    typer.echo(f"Or:      askless serve {output}")
    typer.echo(f"Learn:   askless feedback LABELS --model {output}")


def _typed(
    output: Path,
    llm: list[str],
    classes: list[str],
    question: str | None,
    prompt: Path | None,
    prices: Path | None,
) -> Terms:
    """The terms that the options say."""
    from askless.bundles.terms import Terms
    from askless.data.recorded.prices import read_prices

    asked = _prompt(question, prompt, classes)
    known = {} if prices is None else read_prices(prices)
    terms = Terms.of_models(output.name, tuple(classes), pairs("--llm", llm), asked, known)
    return _as_before(output, terms) if question is None and prompt is None else terms


def _judged(terms: Terms, judge: str, prices: Path | None) -> tuple[str, Terms]:
    """Who judges, and the terms with the judge."""
    from askless.data.recorded.prices import read_prices
    from askless.labelling.judge import judged

    [(name, model)] = pairs("--judge", [judge]).items()
    return name, judged(terms, name, model, {} if prices is None else read_prices(prices))


def _of_plan(plan: Path, task: str, agreed: bool, others: list[object]) -> Terms:
    """The terms on which a plan asks its LLMs."""
    from askless.bundles.bundle import Bundle
    from askless.bundles.terms import of_bundle
    from askless.errors import ConfigError

    if any(each is not None for each in others):
        raise ConfigError(
            "Got --plan without --llm, and --question, --prompt, --prices or --classes. The plan's LLMs are asked as "
            "it asks them: leave these out, or name LLMs by --llm."
        )
    return replace(of_bundle(Bundle.load(plan), None, agreed), task=task, usage={})


def _classes_of(plan: Path | None) -> list[str]:
    from askless.bundles.bundle import Bundle

    return [] if plan is None else list(Bundle.load(plan).classes)


def _prompt(question: str | None, prompt: Path | None, classes: list[str]) -> PromptSpec:
    from askless.errors import ConfigError
    from askless.prompts import PromptSpec

    if len(set(classes)) != len(classes) or len(classes) < 2:
        raise ConfigError(f"--classes got {', '.join(classes) or 'none'}. Allowed: two or more different names.")
    if question is not None and prompt is not None:
        raise ConfigError("Got both --question and --prompt. Give one of them.")
    return PromptSpec(question=question) if prompt is None else PromptSpec.read(prompt)


def _as_before(model: Path, terms: Terms) -> Terms:
    """Terms that ask what a model that is there already asks."""
    from askless.bundles.bundle import OF_RUN, Bundle
    from askless.bundles.terms import FILE

    if not (model / OF_RUN / FILE).exists():
        return terms
    prompt = terms.read(model / OF_RUN).experts[Bundle.load(model).experts[0]]["prompt"]
    return replace(terms, experts={name: {**how, "prompt": prompt} for name, how in terms.experts.items()})


def _known(
    examples: Path | None, answers: list[Path], plan: Path | None, classes: str | None, prices: Path | None, seed: int
) -> Known | None:
    """The labelled answers to begin with."""
    from askless.bundles.bundle import Bundle
    from askless.errors import ConfigError, DataError
    from askless.labelling.known import Known

    if (examples is None) != (not answers):
        raise ConfigError("Got one of --examples and --answers. Give both to begin with what is known, or neither.")
    if plan is not None and examples is not None:
        raise ConfigError("Got both --plan and --examples. Give one of them.")
    if plan is None and examples is None:
        return None
    if plan is not None:
        bundle = Bundle.load(plan)
        if classes is not None and names(classes) != list(bundle.classes):
            raise ConfigError(
                f"--classes got {classes}, and the plan has {', '.join(bundle.classes)}. Allowed: the plan's, in its "
                "order, for its answers are begun with. Leave --classes out."
            )
        folder = bundle.folder
        assert folder is not None
        known, where = Known.read(folder), plan
    elif examples is not None:
        given = study(examples, answers, False, seed, layout(NONE, NONE, None, NONE), NONE, classes, prices)
        known, where = Known.of(given, seed), examples
    if known is None:
        allowed = "items with labels, and answers that cost dollars"
        raise DataError(where, "nothing that can be begun with", allowed, "Give labels, and prices by --prices.")
    return known
