"""Options that several commands take, and the study they describe."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

if TYPE_CHECKING:
    from askless.data.recorded import Study
    from askless.data.recorded.answer_files import Layout

NONE: list[str] = []
Examples = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="Labelled items: id and label, and text, split, group if known. Parquet, CSV or JSON lines.",
        show_default=False,
    ),
]
AnswerFiles = Annotated[
    list[Path],
    typer.Option(
        "--answers",
        metavar="FILE",
        help="Answers: id, expert, label (or correct or quality), and proba or logprob, cost_usd or tokens or seconds. "
        "Once for each file.",
        show_default=False,
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The expert to be measured against.", show_default="the costliest expert"),
]
Intersect = Annotated[bool, typer.Option("--intersect", help="Keep only the items that every expert answered.")]
Seed = Annotated[int, typer.Option(help="Seed of the split, where the items have none, and of what is random.")]
Columns = Annotated[
    list[str],
    typer.Option(
        "--column", metavar="OURS=THEIRS", help="A column of the answers under another name: --column label=reply."
    ),
]
EXAMPLES = {
    "--wide": "EXPERT=ITS_COLUMN, such as {} gpt-4=gpt4_label",
    "--map": 'ITS_LABEL=CLASS, such as {} "Not biased=0"',
    "--llm": "EXPERT=MODEL, such as {} gpt-4=gpt-4o-mini",
    "--judge": "NAME=MODEL, such as {} gpt-4=gpt-4o",
}
Wide = Annotated[
    list[str],
    typer.Option(
        "--wide",
        metavar="NAME=COLUMN",
        help="An expert's own column of labels, in a file that has one for each: --wide gpt-4=gpt4_label.",
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        metavar="REGEX",
        help="Finds the label in a reply, by its group: --pattern 'Answer: (.*)'.",
        show_default=False,
    ),
]
Spelt = Annotated[
    list[str],
    typer.Option("--map", metavar="THEIRS=CLASS", help='The class that a label means: --map "Not biased=0".'),
]
ItemColumns = Annotated[
    list[str],
    typer.Option("--item-column", metavar="OURS=THEIRS", help="The same of the items: --item-column label=gold."),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        "--classes", metavar="NAMES", help='All classes, with commas: A,B,"C, D".', show_default="the gold labels"
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        "--order",
        metavar="NAMES",
        help="The experts to ask, with commas, in the order in which a chain asks them.",
        show_default="all, by rising cost",
    ),
]
Small = Annotated[
    str | None,
    typer.Option(
        "--small",
        metavar="NAME",
        help="Also train a small model on the labelled texts: auto, linear, stack, ... (docs/experts.md).",
        show_default="none",
    ),
]
Prices = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="YAML with prices: {NAME: ...}, for answers without cost_usd.", show_default=False
    ),
]
ParamsFile = Annotated[Path, typer.Option("--params", metavar="FILE", help="Parameters of the pipeline.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Agree to servers and prices that came with the model; remembered until one changes."),
]
TermsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Parameters that say how expensive experts are asked and what they charge.",
        show_default="params.yaml where there is one, else (and for a plan) what came with the model",
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", metavar="FOLDER", help="Data of the pipeline.", show_default="base.data of the parameters"),
]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Also write comparison.html, .md and .json here.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]


def study(
    examples: Path,
    answers: Sequence[Path],
    intersect: bool,
    seed: int,
    layout: Layout,
    item_columns: Sequence[str],
    classes: str | None,
    prices: Path | None,
    fit: bool = True,
    order: str | None = None,
) -> Study:
    """The study that the options describe; with `fit` it has train items."""
    from askless.data.recorded import load
    from askless.data.recorded.prices import read_prices

    return load(
        examples,
        answers,
        intersect=intersect,
        split_seed=seed,
        **vars(layout),
        item_columns=pairs("--item-column", item_columns),
        classes=names(classes),
        prices=None if prices is None else read_prices(prices),
        fit=fit,
        order=names(order),
    )


def layout(columns: Sequence[str], wide: Sequence[str], pattern: str | None, spelt: Sequence[str]) -> Layout:
    """How files of answers are to be read, by these options."""
    from askless.data.recorded.answer_files import Layout

    return Layout(pairs("--column", columns), pairs("--wide", wide), pattern, pairs("--map", spelt))


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """`ours=theirs` as a mapping; raises `ConfigError` for anything else."""
    from askless.errors import ConfigError

    found: dict[str, str] = {}
    for text in given:
        parts = text.rpartition("=") if option == "--map" else text.partition("=")
        ours, equals, theirs = (part.strip() for part in parts)
        if not (ours and equals and theirs):
            form = EXAMPLES.get(option, "OUR_NAME=ITS_NAME, such as {} label=gold").format(option)
            raise ConfigError(f"{option} got '{text}'. Give {form}.")
        found[ours] = theirs
    return found


def shares(option: str, given: Sequence[str]) -> dict[str, float]:
    """`class=share` as a mapping; raises `ConfigError` for anything else."""
    from askless.errors import ConfigError

    found = {}
    for name, text in pairs(option, given).items():
        try:
            found[name] = float(text)
        except ValueError as error:
            raise ConfigError(f"{option} got '{name}={text}'. Give a share, such as {option} {name}=0.9.") from error
    return found


def price_of(given: str | None, model: str, base_url: str | None) -> dict[str, Any] | None:
    """The price that `--price` gives, as fields of `config.Price`; without it the listed one, None where none is."""
    from askless import price_list
    from askless.errors import ConfigError

    if given is None:
        return price_list.listed(model, base_url)
    try:
        read, written = map(float, given.split(","))
        if not (0 <= read < math.inf and 0 <= written < math.inf):
            raise ValueError
    except ValueError:
        allowed = "Allowed: dollars for a million tokens read and written, such as 0.15,0.6."
        raise ConfigError(f"--price got '{given}'. {allowed}") from None
    return {"usd_per_1m_prompt_tokens": read, "usd_per_1m_completion_tokens": written}


def names(text: str | None) -> list[str] | None:
    """Names with commas between them, as in a line of CSV: one with a comma in it is quoted."""
    if text is None:
        return None
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), []) if name.strip()]


def listed(names: Sequence[str]) -> str:
    """The text of which `names` gives these names."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def params_here(given: Path | None, model: str = "") -> Path | None:
    """The parameters given, else the params.yaml of the current folder; None where there is none.

    A plan and the run of `annotate` are of no task of that file: they bring their terms.
    """
    from askless.bundles.bundle import OF_RUN

    default = Path("params.yaml")
    own = Path(model).is_file() or (Path(model) / OF_RUN).is_dir()
    return given or (default if default.exists() and not own else None)


def say(text: str) -> None:
    """A sentence for the person, on stderr: stdout is for the result."""
    sys.stderr.write(f"{_wrapped(text, sys.stderr)}\n")
    sys.stderr.flush()


def note(notes: Sequence[str]) -> None:
    """What was assumed or changed, each once."""
    for text in dict.fromkeys(notes):
        say(f"Note: {text}")


def tell(text: str) -> None:
    """A sentence of the result, on stdout."""
    typer.echo(_wrapped(text, sys.stdout))


def print_json(value: Any) -> None:
    """One JSON object on stdout, on one line; null where a number is not finite."""
    typer.echo(json.dumps(_finite(value), allow_nan=False))


@contextmanager
def hushed() -> Iterator[None]:
    """Let no text out by the message of an error that nobody foresaw: its kind and where it happened are shown."""
    from askless.errors import AsklessError

    try:
        yield
    except (AsklessError, typer.Exit):
        raise
    except Exception as error:
        where = "".join(traceback.format_tb(error.__traceback__))
        sys.stderr.write(f"{where}{type(error).__name__}; what it says is left out: it may be a text.\n")
        raise SystemExit(1) from None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _wrapped(text: str, stream: TextIO) -> str:
    """Broken between words on a terminal, one line anywhere else; control characters are spelt out."""
    text = "".join(each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text)
    if not stream.isatty():
        return text
    return textwrap.fill(text, shutil.get_terminal_size().columns, subsequent_indent="  ", break_on_hyphens=False)
