"""What a labelled file of anybody's has in it: enough to write the section of a task."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from askless.data.columns import listed
from askless.data.prepare import clean
from askless.data.readers import raw_of
from askless.data.tables import TableFile, Wanted
from askless.errors import ConfigError, DataError

MOST_CLASSES = 100
TEXTS = ("text", "message", "content", "body", "comment", "tweet", "post", "sentence", "document", "review")
LABELS = ("label", "class", "category", "gold", "target", "topic", "sentiment", "intent")


@dataclass(frozen=True)
class Described:
    """A file of labelled texts.

    Parameters
    ----------
    path, kind
        Where it is, and `csv`, `jsonl` or `parquet`.
    text, label
        The columns of texts and classes.
    classes
        Class to its rows, in the order of their names.
    rows, empty
        Rows, and those without a text.
    longest
        Characters of the longest text.
    """

    path: Path
    kind: str
    text: str
    label: str
    classes: dict[str, int]
    rows: int
    empty: int
    longest: int

    @classmethod
    def of(cls, path: Path, text: str | None, label: str | None) -> Described:
        """Look at a file whole.

        Raises `DataError` for what is no table of texts or has a row without a label, `ConfigError` where a column is
        neither given nor has a name that says what it holds.
        """
        file = TableFile.of(path, lists=True)
        if file.kind == "text":
            raise DataError(
                path, "a file of texts alone", "CSV, JSON lines or Parquet with a label for each text", "Add it."
            )
        every = file.table(Wanted((), lambda name: True)).column_names
        chosen = {
            "text": _column("text", text, every, TEXTS, path),
            "label": _column("label", label, every, LABELS, path),
        }
        raw = raw_of(file.table(Wanted(tuple(chosen), names=chosen)), path)
        texts = [clean(each or "") for each in raw["text"].to_pylist()]
        counts = _classes(raw, chosen["label"], path)
        return cls(
            path, file.kind, chosen["text"], chosen["label"], counts, len(texts), texts.count(""), max(map(len, texts))
        )

    @property
    def rarest(self) -> str:
        """The class of the fewest rows."""
        return min(self.classes, key=self.classes.__getitem__)

    @property
    def meaningless(self) -> bool:
        """Whether the names of its classes are numbers, which tell an LLM nothing."""
        return all(re.fullmatch(r"-?\d+(\.\d+)?", name) for name in self.classes)


def _column(ours: str, given: str | None, every: Sequence[str], names: Sequence[str], path: Path) -> str:
    if given is not None:
        return given
    likely = [name for name in every if name.strip().casefold() in names]
    if len(likely) == 1:
        return likely[0]
    raise ConfigError(f"{path}: which column holds the {ours}s? Allowed: one of {listed(every)}. Give --{ours} COLUMN.")


def _classes(raw: pa.Table, column: str, path: Path) -> dict[str, int]:
    labels = raw["label"].to_pylist()
    if None in labels:
        got = f"no label in row {labels.index(None) + 1} ({labels.count(None)} rows in all)"
        raise DataError(path, got, f"a class in each cell of '{column}'", "Fill the cells, or leave these rows out.")
    counts = Counter(labels)
    if not 2 <= len(counts) <= MOST_CLASSES:
        got, allowed = f"{len(counts):,} different values in '{column}'", f"2 to {MOST_CLASSES} classes"
        raise DataError(path, got, allowed, "Give the column of the classes by --label.")
    return {name: counts[name] for name in sorted(counts)}
