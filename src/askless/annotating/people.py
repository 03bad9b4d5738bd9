"""Rows of which nobody is sure enough: a file for people to label them, and their answers read back.

The file does not say what was answered before, so that people make up their own minds. Its form is told by its ending:
`.csv`, `.json` as Label Studio imports tasks, `.jsonl` as Argilla imports records. So what these tools export is read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from askless.annotating.asked import AskedTexts
from askless.annotating.rounds import Annotation
from askless.annotating.table import TextTable
from askless.arrays import Bools, Floats, Ints
from askless.data.columns import as_name
from askless.data.tables import TableFile
from askless.errors import ConfigError, DataError
from askless.files import write_text
from askless.labelling.outputs import write_output
from askless.panel import NO_LABEL

PEOPLE, GOLD = "people", "gold"
# Before an id, which a spreadsheet could take for a number.
OF = "text-"
FORMS = (".csv", ".json", ".jsonl")


def sureness(asked: AskedTexts, found: Annotation) -> Floats:
    """How sure the surest is of each text's label, (texts,), 0 where there is none.

    Of the LLM what it states of its answer, where its server gives log-probabilities; of the small model the chance
    that the LLM says the same, out of fold for texts that it learnt from.
    """
    said, agrees, held, taught = (
        found.small_said.copy(),
        found.small_agrees.copy(),
        found.small.held,
        found.small.taught,
    )
    said[taught], agrees[taught] = held.label, held.agrees
    own = np.where(found.by_small, found.agrees, np.where(said == found.label, agrees, 1 - agrees))
    sure = np.fmax(np.nan_to_num(own), np.nan_to_num(np.where(found.by_small, 0.0, asked.stated)))
    return np.where(found.label == NO_LABEL, 0.0, sure)


@dataclass(frozen=True)
class ForPeople:
    """What is left to people, and what they have said.

    Parameters
    ----------
    queue
        Where the rows of which nobody is sure go; None: nowhere.
    below
        Nobody is sure of a label that nobody is so sure of, 0 to 1.
    abstain
        Whether such rows keep no label.
    answers
        What people said of rows of a queue; None: nothing yet.
    usd
        What one answer of them costs.

    Raises
    ------
    ConfigError
        For a queue in another form than `FORMS`, and a share or a price that is none.
    """

    queue: Path | None = None
    below: float = 0.7
    abstain: bool = False
    answers: Path | None = None
    usd: float = 0.0

    def __post_init__(self) -> None:
        if self.queue is not None and self.queue.suffix.lower() not in FORMS:
            allowed = ".csv, .json (tasks of Label Studio), .jsonl (records of Argilla)"
            raise ConfigError(f"--queue got '{self.queue}'. Allowed: a file that ends in {allowed}.")
        if not (0 < self.below <= 1 and 0 <= self.usd < float("inf")):
            raise ConfigError(
                f"Got --sure {self.below:g}, --people-usd {self.usd:g}. Allowed: a share of more than 0, up to 1, and "
                "dollars, 0 or more."
            )

    def said(self, table: TextTable, classes: tuple[str, ...]) -> tuple[Ints, Ints]:
        """As `read_answers`; raises `DataError` too for a queue that would be written over answers."""
        if self.queue is not None and _answered(self.queue):
            remedy = "Give it with --people, and a new one with --queue."
            raise DataError(self.queue, "answers of people", "a file without any, or none yet", remedy)
        if self.answers is not None:
            return read_answers(self.answers, table, classes)
        return np.full(len(table.texts), NO_LABEL), np.zeros(len(table.texts), np.int64)

    def review(self, said: tuple[Ints, Ints], table: TextTable, asked: AskedTexts, found: Annotation) -> Review:
        """What becomes of each text; writes the queue."""
        sure, (label, answers) = sureness(asked, found), said
        unsure = (sure < self.below) & (label == NO_LABEL)
        if self.queue is not None:
            write_queue(self.queue, table, unsure, sure)
        return Review(self, unsure, label, answers)


@dataclass(frozen=True, eq=False)
class Review:
    """What becomes of the texts that are for people.

    Parameters
    ----------
    asked
        What is left to people.
    unsure
        Texts of which nobody is sure, those that people have labelled not among them, (texts,).
    label
        What people say of each text, -1 where they have said nothing, (texts,).
    answers
        How many of their answers there are to each, (texts,).
    """

    asked: ForPeople
    unsure: Bools
    label: Ints
    answers: Ints

    @property
    def by_people(self) -> Bools:
        """Which texts people have labelled, (texts,)."""
        return np.asarray(self.label != NO_LABEL)

    @property
    def abstained(self) -> Bools:
        """Which texts have no label for want of somebody who is sure, (texts,)."""
        return self.unsure & self.asked.abstain

    def facts(self, found: Annotation, count: Ints) -> dict[str, Any]:
        """Plain values on it, by rows."""
        queue = self.asked.queue
        return {
            "below": self.asked.below,
            "unsure": int(count[self.unsure].sum()),
            "abstained": self.asked.abstain,
            "file": None if queue is None else str(queue),
            "labelled": int(count[self.by_people].sum()),
            "changed": int(count[self.by_people & (self.label != found.label)].sum()),
            "answers": int(self.answers.sum()),
            "paid_usd": self.asked.usd * int(self.answers.sum()),
        }


def write_queue(path: Path, table: TextTable, unsure: Bools, sure: Floats) -> None:
    """The texts of which nobody is sure, the least sure first, each with its id and the number of its first row."""
    texts, first = np.unique(table.of_row, return_index=True)
    row_of = dict(zip(texts.tolist(), (first + 1).tolist(), strict=True))
    places = np.flatnonzero(unsure)
    places = places[np.argsort(sure[places], kind="stable")].tolist()
    rows = [{"id": OF + table.ids[at], "row": row_of[at], "text": table.texts[at]} for at in places]
    match path.suffix.lower():
        case ".json":
            tasks = [{"data": row} for row in rows]
            write_text(path, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
        case ".jsonl":
            records = (
                {"id": row["id"], "fields": {"text": row["text"]}, "metadata": {"row": row["row"]}} for row in rows
            )
            write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
        case _:
            names = ("id", "row", "text")
            out = pa.table({name: [row[name] for row in rows] for name in names} | {GOLD: [""] * len(rows)})
            write_output(path, iter([out]), out.schema, {})


def read_answers(path: Path, table: TextTable, classes: tuple[str, ...]) -> tuple[Ints, Ints]:
    """What people say of each text, -1 for nothing and where they are divided, and how many answers there are.

    An answer belongs to the text of its id, wherever that stands in the file now. Raises `DataError` for an id that is
    of no text of it, and a label that is no class.
    """
    place, votes = {OF + name: at for at, name in enumerate(table.ids)}, dict[int, Counter[int]]()
    for number, record in TableFile.of(path, lists=True).rows():
        of, labels = _answer(record)
        if of not in place:
            got = f"id '{of}' in record {number}, of no text of the file" if of else f"no id in record {number}"
            raise DataError(path, got, "ids of --queue's file", "Give the answers to this very file, with their ids.")
        for name in labels:
            if name not in classes:
                raise DataError(path, f"label '{name}' of id {of}", f"one of {', '.join(classes)}", "Correct it.")
            votes.setdefault(place[of], Counter())[classes.index(name)] += 1
    label, answers = np.full(len(table.texts), NO_LABEL), np.zeros(len(table.texts), np.int64)
    for at, counted in votes.items():
        (best, most), *others = counted.most_common(2)
        answers[at] = counted.total()
        if not others or others[0][1] < most:
            label[at] = best
    return label, answers


def _answered(path: Path) -> bool:
    """Whether a file holds what people said."""
    try:
        return path.exists() and any(_answer(record)[1] for _, record in TableFile.of(path, lists=True).rows())
    except DataError:
        return False


def _answer(record: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The id of a text, and what people say of it: of a flat record, a task of Label Studio, a record of Argilla."""
    if isinstance(record.get("annotations"), list):
        data = record.get("data")
        return _id(data.get("id") if isinstance(data, Mapping) else None), [*_chosen(record["annotations"])]
    if isinstance(record.get("fields"), Mapping):
        responses = record.get("responses") or {}
        given = (
            [each for every in responses.values() for each in every] if isinstance(responses, Mapping) else responses
        )
        return _id(record.get("id")), [str(each["value"]) for each in given if each.get("value")]
    name = str(record.get(GOLD) or "").strip()
    return _id(record.get("id")), [name] if name else []


def _id(value: object) -> str:
    return as_name(value) or ""


def _chosen(annotations: list[Mapping[str, Any]]) -> Iterator[str]:
    for each in annotations:
        for result in [] if each.get("was_cancelled") else each.get("result", ()):
            yield from map(str, result.get("value", {}).get("choices", ()))
