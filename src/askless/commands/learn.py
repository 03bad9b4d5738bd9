"""`askless learn`: a model that learns whom to ask while it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askless.commands.options import NONE, AsJson, Prices, Seed, layout, names, note, pairs, print_json, study, tell

if TYPE_CHECKING:
    from askless.bundles.terms import Terms
    from askless.data.recorded import Study
    from askless.prompts import PromptSpec

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The model: a folder, new or known.")]
Llm = Annotated[
    list[str],
    typer.Option(
        metavar="NAME=MODEL",
        help="Whom it may ask, two or more: --llm mini=gpt-4o-mini, or with its server behind it, "
        "--llm local=qwen2.5:7b@http://localhost:11434/v1.",
    ),
]
BudgetUsd = Annotated[float, typer.Option(help="Dollars for 1,000 items, never exceeded.", show_default=False)]
Classes = Annotated[
    str, typer.Option("--classes", metavar="NAMES", help='What a text can be, with commas: a,b,"c, d".')
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
Answers = Annotated[
    list[Path],
    typer.Option("--answers", metavar="FILE", help="Begin with these answers to --examples, by the names of --llm."),
]
Known = Annotated[
    Path | None, typer.Option("--examples", metavar="FILE", help="Labelled items to begin with.", show_default=False)
]


def learn(
    output: Output,
    llm: Llm,
    budget_usd: BudgetUsd,
    classes: Classes,
    question: Question = None,
    prompt: PromptFile = None,
    prices: Prices = None,
    reference: Reference = None,
    reference_share: ReferenceShare = 0.05,
    examples: Known = None,
    answers: Answers = [],  # noqa: B006
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make a model that learns which LLMs to ask while it answers: no labels beforehand, never above the budget.

    It answers by `askless label` and `askless serve`, and learns from labels that come later, by `askless feedback` or
    /v1/feedback. Run it again on the same folder with other LLMs, prices or another budget: what was learnt of the LLMs
    that stay stays.

    Example: askless learn -o live --llm mini=gpt-4o-mini --llm large=gpt-4o --classes yes,no --budget-usd 0.5
    """
    from askless.bundles.terms import Terms
    from askless.data.recorded.prices import read_prices
    from askless.labelling.live_model import make

    wanted = names(classes) or []
    terms = Terms.of_models(
        output.name,
        tuple(wanted),
        pairs("--llm", llm),
        _prompt(question, prompt, wanted),
        {} if prices is None else read_prices(prices),
    )
    if question is None and prompt is None:
        terms = _as_before(output, terms)
    whom = None if reference is None else (reference, reference_share)
    done = make(output, terms, budget_usd, whom, _study(examples, answers, classes, prices, seed), seed)
    if as_json:
        print_json(done)
        return
    note(done["notes"])
    for line in done["words"]:
        tell(line)
    typer.echo(f"\nAnswer:  askless label ITEMS --model {output} -o labelled.csv --max-usd 5")
    typer.echo(f"Or:      askless serve {output}")
    typer.echo(f"Learn:   askless feedback LABELS --model {output}")


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
    from askless.bundles.bundle import OF_RUN
    from askless.bundles.terms import FILE

    if not (model / OF_RUN / FILE).exists():
        return terms
    prompt = next(iter(terms.read(model / OF_RUN).experts.values()))["prompt"]
    return replace(terms, experts={name: {**how, "prompt": prompt} for name, how in terms.experts.items()})


def _study(examples: Path | None, answers: list[Path], classes: str, prices: Path | None, seed: int) -> Study | None:
    from askless.errors import ConfigError

    if (examples is None) != (not answers):
        raise ConfigError("Got one of --examples and --answers. Give both to begin with what is known, or neither.")
    if examples is None:
        return None
    return study(examples, answers, False, seed, layout(NONE, NONE, None, NONE), NONE, classes, prices)
