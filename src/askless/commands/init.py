"""`askless init`: a person's file and LLM -> the section of params.yaml that a task needs."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.options import NONE, pairs, price_of, say, tell

if TYPE_CHECKING:
    from askless.data.described import Described

DEMO = Path("examples/demo.yaml")
FEW = 30


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Labelled texts: CSV, JSON lines or Parquet.")],
    llm: Annotated[str, typer.Option("--llm", metavar="MODEL", help="The LLM, by the name that its server knows.")],
    text: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of the texts.", show_default="by its name")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of the classes.", show_default="by its name")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the task is called.", show_default="the file's name")
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the LLM is asked about each text.", show_default="asked on a terminal"),
    ] = None,
    describe: Annotated[
        list[str], typer.Option("--describe", metavar="CLASS=TEXT", help="What a class means; once for each.")
    ] = NONE,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Of a server that speaks OpenAI's API.", show_default="OpenAI's")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(
            metavar="IN,OUT", help="Dollars for a million tokens read and written.", show_default="as it is listed"
        ),
    ] = None,
    small: Annotated[str, typer.Option(metavar="NAME", help="The small model; auto takes the best.")] = "auto",
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where to write it.")] = Path("params.yaml"),
) -> None:
    """Look at a file of labelled texts and write the parameters of a task of its own.

    Classes, checks and the price are written down with what they were made of, to be read and changed. The demo's
    params.yaml is kept as examples/demo.yaml; to parameters of your own the task is added.

    Example: askless init complaints.csv --text message --label topic --llm gpt-4o-mini
    """
    from askless import config
    from askless.data.described import Described
    from askless.files import replacing
    from askless.prompts import QUESTION

    found = Described.of(file, text, label)
    named = name or re.sub(r"[^\w-]+", "-", file.stem).strip("-_") or "task"
    config.check_name(named)
    meant = pairs("--describe", describe)
    if found.meaningless and not meant:
        meant = _asked_meanings(found)
    asked = question or _answer("What is the LLM to be asked about each text?", QUESTION)
    expert = config.name_of(llm)
    listed = price_of(price, llm, base_url)
    section = _section(found, named, expert, llm, base_url, listed, asked, meant, small)
    own = _own(out)
    text = _new(named, expert, section) if own is None else _added(own, out, named, expert, section)
    with replacing(out) as part:
        part.write_text(text, encoding="utf-8")
        config.load(part)
    _tell(found, named, llm, out)
    if listed is None:
        tell(
            f"No price is known of {llm}: add it in {out}, tasks.{named}.llms.{expert}.price, before anything is asked."
        )


def _answer(question: str, default: str) -> str:
    """What a person at the terminal answers; the default where nobody is there."""
    if not sys.stdin.isatty():
        return default
    sys.stderr.write(f"{question} [{default}] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() or default


def _asked_meanings(found: Described) -> dict[str, str]:
    from askless.errors import ConfigError

    if not sys.stdin.isatty():
        shown = " ".join(f'--describe "{name}=..."' for name in found.classes)
        raise ConfigError(
            f"{found.path}: classes {', '.join(found.classes)} tell an LLM nothing. Say what each is: {shown}."
        )
    return {name: _answer(f"What does class {name} mean?", name) for name in found.classes}


def _own(out: Path) -> str | None:
    """The parameters of a person's own at `out`, to be added to; None where there are none, the demo's put aside."""
    from askless import config
    from askless.errors import ConfigError

    if not out.exists():
        return None
    text = out.read_text(encoding="utf-8")
    if any(not task.source.kind.startswith("demo") for task in config.load(out).tasks.values()):
        return text
    if DEMO.exists() and DEMO.read_text(encoding="utf-8") != text:
        raise ConfigError(
            f"{out} would be kept as {DEMO}, which is there and differs. Move one of them, or give --out."
        )
    DEMO.parent.mkdir(exist_ok=True)
    DEMO.write_text(text, encoding="utf-8")
    say(f"The demo's parameters are kept in {DEMO}.")
    return None


def _added(text: str, out: Path, name: str, expert: str, section: Sequence[str]) -> str:
    """A person's parameters with one more task, every other line as it was."""
    from askless import config
    from askless.errors import ConfigError

    settings = config.load(out)
    if name in settings.tasks:
        raise ConfigError(f"{out} has a task '{name}'. Allowed: a new name. Give another by --name.")
    if others := [other for other, about in settings.tasks.items() if about.llms is None]:
        raise ConfigError(
            f"{out}: task '{others[0]}' names no llms, so that it would ask {expert} too. Allowed: tasks that list "
            f"theirs. Give it `llms: [{', '.join(settings.base.llms)}]` first."
        )
    more = {r"^ +tasks: \[[^\]\n]+(?=\])": f", {_quoted(name)}", r"^tasks:.*\n": "\n".join([*section, ""])}
    if expert not in settings.base.llms:
        more[r"^ +llms: \[[^\]\n]+(?=\])"] = f", {_quoted(expert)}"
    for pattern, put in more.items():
        found = re.search(pattern, text, re.MULTILINE)
        if found is None:
            raise ConfigError(
                f"{out} has no line `tasks: [...]` and `llms: [...]` under `base`, and `tasks:`, to add to. Give --out "
                "own.yaml, and copy the task."
            )
        text = text[: found.end()] + put + text[found.end() :]
    return text


def _new(name: str, expert: str, section: Sequence[str]) -> str:
    head = [
        "# Written by `askless init`, to be read and changed. What is left out has a default: docs/tasks.md.",
        "base:",
        f"  tasks: [{_quoted(name)}]",
        f"  llms: [{_quoted(expert)}]  # all that any task asks",
        "",
        "tasks:",
    ]
    return "\n".join([*head, *section, ""])


def _section(
    found: Described,
    name: str,
    expert: str,
    llm: str,
    base_url: str | None,
    price: Mapping[str, Any] | None,
    question: str,
    meant: Mapping[str, str],
    small: str,
) -> list[str]:
    """The lines of a task, one for each thing to be changed."""
    from askless.experts.remote import providers

    columns = {ours: theirs for ours, theirs in (("text", found.text), ("label", found.label)) if ours != theirs}
    source = f"kind: {found.kind}, path: {_quoted(str(found.path))}"
    source += (
        f", columns: {{{', '.join(f'{ours}: {_quoted(theirs)}' for ours, theirs in columns.items())}}}"
        if columns
        else ""
    )
    width = max(len(_quoted(each)) for each in found.classes)
    share = found.classes[found.rarest] / found.rows
    provider, lacks = providers.provider(base_url)
    return [
        f"  {_quoted(name)}:",
        f"    source: {{{source}}}",
        f"    classes:{' ' * width}  # rows of each",
        *(f"      - {_quoted(each):<{width}}    # {count:,}" for each, count in found.classes.items()),
        f"    positive: {_quoted(found.rarest)}  # the class of which F1 speaks: here the rarest",
        f"    empty_text: {'drop' if found.empty else 'error'}  # rows without a text: {found.empty:,}",
        "    prompt:  # `askless try` shows what is sent, and what comes back",
        f"      question: {_quoted(question)}",
        *_meanings(found, meant),
        "      # examples: {draw: 4, seed: 0}  # answered texts of train, the classes in turn",
        "    llms:",
        f"      {_quoted(expert)}:",
        "        backend: openai",
        f"        model: {_quoted(llm)}",
        *([f"        base_url: {_quoted(base_url)}"] if base_url else []),
        *([f"        confidence: stated  # {provider} gives no log-probabilities"] if "logprobs" in lacks else []),
        *_priced(price),
        f"    small: {small}  # what answers for next to nothing",
        "    checks:  # a run stops where these do not hold",
        f"      rows_min: {max(1, math.floor(0.8 * found.rows))}  # of {found.rows:,}",
        f"      minority_share_min: {math.floor(share * 500) / 1000:g}  # of {share:.3f}",
        f"      text_chars_max: {max(1000, 2 * found.longest)}  # of {found.longest:,}",
    ]


def _meanings(found: Described, meant: Mapping[str, str]) -> list[str]:
    if not meant:
        return [f"      # descriptions: {{{_quoted(found.rarest)}: what it means}}  # where the name does not say it"]
    return ["      descriptions:", *(f"        {_quoted(name)}: {_quoted(text)}" for name, text in meant.items())]


def _priced(price: Mapping[str, Any] | None) -> list[str]:
    if price is None:
        return [
            "        # price: {usd_per_1m_prompt_tokens: ..., usd_per_1m_completion_tokens: ...}  # not listed: add it"
        ]
    return ["        price:", *(f"          {key}: {json.dumps(value)}" for key, value in price.items())]


def _quoted(text: str) -> str:
    """A text as YAML has it whatever is in it; plain where it can be nothing else."""
    plain = re.fullmatch(r"[A-Za-z][\w./-]*", text) and text.casefold() not in _WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")


def _tell(found: Described, name: str, llm: str, place: Path) -> None:
    counts = ", ".join(f"{each} {count:,}" for each, count in found.classes.items())
    tell(f"{found.path}: {found.rows:,} rows; texts in '{found.text}', classes in '{found.label}': {counts}.")
    if found.classes[found.rarest] < FEW:
        tell(f"Few: '{found.rarest}' has {found.classes[found.rarest]} rows, of which a quarter is for the test.")
    other = "" if place == Path("params.yaml") else f" --params {place}"
    tell(f"{place} is written. Read it, then see ten answers of {llm}: askless try {name}{other}")
