"""What LLMs are asked, as data: the prompts that come with askless, and those that params.yaml writes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from askless.errors import ConfigError
from askless.files import read_yaml

STRICT = ConfigDict(extra="forbid")
LABEL, PROBABILITY, TEMPLATE = "label", "probability", "template"
# An example has to state some probability.
SHOWN = 0.9
_MARK = re.compile(r"\{(text|examples)\}")
QUESTION = "Which of these classes does the text belong to?"
SUMMARY = "Summarise the following text in one sentence.\n\nText: {text}\n\nOne-sentence summary:"


@dataclass(frozen=True, config=STRICT)
class Example:
    """An answered text that stands in a prompt.

    Parameters
    ----------
    text
        The text.
    label
        Its class.
    """

    text: str
    label: str


@dataclass(frozen=True, config=STRICT)
class Draw:
    """Examples drawn from the split `train`, the same ones as long as these rows are in it.

    Parameters
    ----------
    draw
        How many, 1 or more.
    seed
        Of the draw.
    balanced
        Whether the classes take turns, so that each has about as many.
    """

    draw: Annotated[int, Field(ge=1)]
    seed: int = 0
    balanced: bool = True

    def of(self, rows: Sequence[tuple[str, str, str]]) -> tuple[Example, ...]:
        """Those of (id, text, class) whose ids have the lowest hashes."""
        ranked = sorted(rows, key=lambda row: hashlib.sha256(f"{self.seed}\0{row[0]}".encode()).digest())
        if self.balanced:
            turns: dict[str, int] = {}
            place = []
            for row in ranked:
                turns[row[2]] = turns.get(row[2], 0) + 1
                place.append(turns[row[2]])
            ranked = [row for _, row in sorted(zip(place, ranked, strict=True), key=lambda each: each[0])]
        return tuple(Example(text, label) for _, text, label in ranked[: self.draw])


@dataclass(frozen=True, config=STRICT)
class Prompt:
    """A prompt as data.

    Parameters
    ----------
    template
        Text with `{text}` where the item stands and, where there are examples, `{examples}`.
    words
        The word that stands for each class; none where a text is to be written.
    system
        The system message, None for none.
    examples
        Answered texts that stand before the item.
    reply
        `words`: the reply is one of the words; `json`: an object whose field `label` is one of them, by a schema where
        the server has them; `stated`: the same with a field `probability`, which the prompt asks for at its end.
    """

    template: str
    words: Mapping[str, str] = field(default_factory=dict)
    system: str | None = None
    examples: tuple[Example, ...] = ()
    reply: Literal["words", "json", "stated"] = "words"

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> Prompt:
        """The prompt that plain values say; raises `ConfigError` for others, `where` is whose they are."""
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"{where}: {at}: {first['msg']}. Allowed: template, words, system, examples, reply."
            ) from None

    def values(self) -> dict[str, Any]:
        """It as plain values, what differs from the defaults alone."""
        found: dict[str, Any] = {"template": self.template}
        found |= {"words": dict(self.words)} if self.words else {}
        found |= {"system": self.system} if self.system is not None else {}
        found |= {"examples": [vars(example) for example in self.examples]} if self.examples else {}
        return found | ({"reply": self.reply} if self.reply != "words" else {})

    def fill(self, text: str) -> str:
        """The prompt for one text; braces in texts are left alone.

        >>> Prompt("Say {text} twice.").fill("{x}")
        'Say {x} twice.'
        """
        shown = "".join(f"Text: {each.text}\nAnswer: {self.answer(each.label)}\n\n" for each in self.examples)
        parts = {"text": text, "examples": shown}
        return _MARK.sub(lambda mark: parts[mark[1]], self.template) + self._wanted

    def answer(self, label: str) -> str:
        """The reply that names a class."""
        word = self.words[label].strip()
        fields = {LABEL: word} | ({PROBABILITY: SHOWN} if self.reply == "stated" else {})
        return word if self.reply == "words" else json.dumps(fields, ensure_ascii=False)

    @property
    def _wanted(self) -> str:
        """What stands behind the text, where a probability is to be stated."""
        if self.reply != "stated":
            return ""
        names = ", ".join(word.strip() for word in self.words.values())
        return (
            f'\n\nReply with JSON such as {{"{LABEL}": "...", "{PROBABILITY}": ...}} and nothing else; {LABEL} is one '
            f"of: {names}; {PROBABILITY}, from 0 to 1, is how likely it is that {LABEL} is right."
        )

    @property
    def sha(self) -> str:
        """SHA-256 of all that it says."""
        parts: list[Any] = [self.template, dict(self.words), self.system]
        parts += [self.values()] if self.examples or self.reply != "words" else []
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


# What is wrong is said of the one that was meant. The tags stand in the places of pydantic's errors.
DRAWN, LISTED = "(drawn)", "(listed)"
Examples = Annotated[
    Annotated[Draw, Tag(DRAWN)] | Annotated[tuple[Example, ...], Tag(LISTED)],
    Discriminator(lambda given: DRAWN if isinstance(given, Draw | Mapping) else LISTED),
]


@dataclass(frozen=True, config=STRICT)
class PromptSpec:
    """A prompt as params.yaml writes it; whatever it leaves out has a default that fits the task's classes.

    Parameters
    ----------
    question
        What is asked about each text, a sentence or more; of the default template.
    template
        The whole message, with `{text}` and perhaps `{examples}`, in place of the default one.
    system
        The system message.
    words
        Class to the word that the LLM is to answer with; by default the class itself.
    descriptions
        Class to what it means; of the default template.
    examples
        A list of `{text: ..., label: ...}`, or `{draw: n, seed: s, balanced: true}`: drawn from train.
    reply
        `words` or `json`.
    """

    question: str | None = None
    template: str | None = None
    system: str | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    examples: Examples = ()
    reply: Literal["words", "json"] = "words"

    @classmethod
    def read(cls, path: Path) -> PromptSpec:
        """The prompt in a file: YAML with these keys, or the text of a template; raises `ConfigError` for neither."""
        try:
            text = path.read_text("utf-8")
            values = read_yaml(path) if path.suffix in (".yaml", ".yml") else {"template": text.removesuffix("\n")}
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            got = f"{place_of(first['loc']) or 'the prompt'}: {first['msg']}"
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            got = " ".join(str(error).split())
        allowed = ", ".join(each.name for each in fields(cls))
        raise ConfigError(f"{path}: {got}. Allowed in YAML: {allowed}; in any other file: a text with {{text}} in it.")

    def problems(self, classes: Sequence[str]) -> list[str]:
        """What is wrong with it for a task of these classes, each a key and a sentence."""
        found = [
            f"{key}: class '{name}' is none of the task's ({', '.join(classes) or 'it has none'})"
            for key in ("words", "descriptions")
            for name in getattr(self, key)
            if name not in classes
        ]
        if isinstance(self.examples, tuple):
            others = [each.label for each in self.examples if each.label not in classes]
            found += [
                f"examples: label '{name}' is none of the task's classes ({', '.join(classes)})" for name in others
            ]
        words = [self.words.get(name, name).strip().casefold() for name in classes]
        if len(set(words)) < len(words) or "" in words:
            found.append(f"words: {words} must be different, and none empty")
        if self.template is not None:
            found += self._of_template(self.template)
        elif classes and all(re.fullmatch(r"-?\d+(\.\d+)?", word) for word in words) and not self.descriptions:
            shown = ", ".join(f'"{name}": ...' for name in classes)
            found.append(
                f"descriptions: classes {', '.join(classes)} tell an LLM nothing. Say what each is: {{{shown}}}"
            )
        return found

    def _of_template(self, template: str) -> list[str]:
        found = []
        if "{text}" not in template:
            found.append("template: has no {text}, so that every item would be asked alike. Put {text} where it stands")
        if self.question is not None or self.descriptions:
            found.append("template: with question or descriptions, which are of the default template. Leave one out")
        if bool(self.examples) != ("{examples}" in template):
            found.append("template: {examples} and examples need each other. Give both, or neither")
        return found

    def written(self, classes: Sequence[str], examples: Sequence[Example] = ()) -> Prompt:
        """The prompt for a task of these classes, with these examples."""
        words = {name: self.words.get(name, name) for name in classes}
        template = self.template or (self._question(words) if classes else SUMMARY)
        return Prompt(template, words, self.system, tuple(examples), self.reply)

    def _question(self, words: Mapping[str, str]) -> str:
        described = [name for name in words if name in self.descriptions]
        told = "".join(f"- {words[name]}: {self.descriptions[name]}\n" for name in described)
        names = ", ".join(word.strip() for word in words.values())
        told += "\n" if told else ""
        how = (
            f"Answer with one of these and nothing else: {names}."
            if self.reply == "words"
            else f'Answer with JSON such as {{"{LABEL}": "..."}} and nothing else; {LABEL} is one of: {names}.'
        )
        return f"{self.question or QUESTION}\n\n{told}{how}\n\n{{examples}}Text: {{text}}\nAnswer:"


def place_of(loc: Sequence[str | int]) -> str:
    """The key that pydantic's error is about, as a person wrote it."""
    return ".".join(str(part) for part in loc if part not in (DRAWN, LISTED))


PROMPTS: Mapping[str, Prompt] = MappingProxyType(
    {
        "demo-olhs": Prompt("{text}\nOffensive:", {"0": " no", "1": " yes"}),
        "demo-xsum": Prompt("{text}\nSummary:"),
        "judge": Prompt(
            "Mark the summary of this document from 1 to 5: 5 if it states the main point and nothing that the document"
            " does not say, 3 if it leaves out a part of it or adds something, 1 if it is wrong or beside the point. A "
            "reference, where there is one, is a good summary. Answer with one digit only.\n\n{text}\n\nMark:",
            {mark: mark for mark in "12345"},
            system="You are a strict editor who marks summaries with one digit from 1 to 5 and nothing else.",
        ),
        "olhs": Prompt(
            "Is the following post hate speech or offensive language? Answer with one digit only: 1 if it "
            "is, 0 if it is not.\n\nPost: {text}\n\nAnswer:",
            {"0": "0", "1": "1"},
            system="You are a careful content moderator who answers with 0 or 1 and nothing else.",
        ),
        "xsum": Prompt(
            "Summarise the following document in one sentence.\n\nDocument: {text}\n\nOne-sentence summary:",
            system="You write one-sentence summaries that state only what the document says.",
        ),
    }
)
