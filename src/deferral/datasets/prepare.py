"""Raw rows into examples: cleaned, one row a text, stable ids, a stratified split that does not depend on order.

Cleaning is Unicode NFC, every run of white space one space, none at the ends; nothing else is changed. Rows whose
cleaned texts are equal are one example: its label is the majority's (of the row seen first on a tie), the rest is taken
from the first row with that label. Examples are stored by id, so that the order of the raw rows leaves no trace.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from deferral import schema
from deferral.config import Split, Task
from deferral.errors import DataError


def prepare(raw: pa.Table, task: Task, source_name: str) -> tuple[pa.Table, dict[str, Any]]:
    """Examples (`schema.EXAMPLES`) and a JSON-able summary of a raw table with columns text, label and group.

    Raises `DataError` for an empty text where `task.empty_text` is "error", for a label outside the classes, and where
    no row is left.
    """
    texts = [clean(text or "") for text in raw["text"].to_pylist()]
    labels, groups = raw["label"].to_pylist(), raw["group"].to_pylist()
    _check_labels(labels, task.classes, source_name)
    rows = _filled(texts, task, source_name)
    kept, conflicts, ties = _unique(rows, texts, labels)
    names = ids(source_name, [texts[row] for row in kept])
    order = sorted(range(len(kept)), key=names.__getitem__)
    columns = {
        "id": [names[i] for i in order],
        "text": [texts[kept[i]] for i in order],
        "label": [labels[kept[i]] for i in order],
        "group": [groups[kept[i]] for i in order],
    }
    columns["split"] = split(columns["id"], columns["label"], task.split)
    meta = {"source": source_name, "classes": list(task.classes)}
    examples = schema.table("examples", columns, meta)
    return examples, {
        "source": source_name,
        "raw_rows": len(texts),
        "empty_dropped": len(texts) - len(rows),
        "duplicates_dropped": len(rows) - len(kept),
        "conflicting_labels": conflicts,
        "tied_labels": ties,
        "examples": len(kept),
        "splits": class_counts(examples, task.classes),
    }


def clean(text: str) -> str:
    """The text in Unicode NFC, with single spaces and none at its ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def ids(source_name: str, texts: Iterable[str]) -> list[str]:
    """Stable ids: 16 hexadecimal digits of the SHA-256 of the source's name and the cleaned text."""
    return [hashlib.sha256(f"{source_name}\0{text}".encode()).hexdigest()[:16] for text in texts]


def split(names: Sequence[str], labels: Sequence[str | None], shares: Split) -> list[str]:
    """The split of each id: every class is ranked by a salted hash of its ids and cut at the shares.

    Each class keeps the shares within half a row, the order of the rows does not matter, and a new row moves at most
    the rows at the two cuts of its class.
    """
    ranked: dict[str | None, list[tuple[str, int]]] = {}
    for row, (name, label) in enumerate(zip(names, labels, strict=True)):
        rank = hashlib.sha256(f"{shares.salt}\0{name}".encode()).hexdigest()
        ranked.setdefault(label, []).append((rank, row))
    out = [""] * len(names)
    for members in ranked.values():
        count = len(members)
        first, second = (
            math.floor(count * share + 0.5 + 1e-9) for share in (shares.train, shares.train + shares.valid)
        )
        for place, (_, row) in enumerate(sorted(members)):
            out[row] = "train" if place < first else "valid" if place < second else "test"
    return out


def class_counts(examples: pa.Table, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows of each class in each split."""
    found = Counter(zip(examples["split"].to_pylist(), examples["label"].to_pylist(), strict=True))
    return {part: {name: found[part, name] for name in classes} for part in schema.SPLITS}


def _check_labels(labels: Sequence[str | None], classes: Sequence[str], where: str) -> None:
    bad = [row for row, label in enumerate(labels) if label not in classes]
    if bad:
        got = "no label" if labels[bad[0]] is None else f"label {labels[bad[0]]!r}"
        raise DataError(
            where,
            f"{got} in row {bad[0]} ({len(bad)} rows in all)",
            f"one of {list(classes)}",
            "Correct the label in the raw file, or the task's classes in params.yaml.",
        )


def _filled(texts: Sequence[str], task: Task, where: str) -> list[int]:
    """The rows whose text is not empty."""
    rows = [row for row, text in enumerate(texts) if text]
    empty = len(texts) - len(rows)
    if empty and task.empty_text == "error":
        raise DataError(
            where,
            f"empty text in row {texts.index('')} ({empty} rows in all)",
            "at least one visible character",
            "Correct the raw file, or set empty_text to 'drop'.",
        )
    if not rows:
        raise DataError(where, f"{len(texts)} rows, none with a text", "at least one row", "Check the raw file.")
    return rows


def _unique(rows: Sequence[int], texts: Sequence[str], labels: Sequence[str]) -> tuple[list[int], int, int]:
    """One row for each text, and how many texts had conflicting and how many tied labels."""
    same: dict[str, list[int]] = {}
    for row in rows:
        same.setdefault(texts[row], []).append(row)
    kept, conflicts, ties = [], 0, 0
    for members in same.values():
        votes = Counter(labels[row] for row in members).most_common()
        conflicts += len(votes) > 1
        ties += len(votes) > 1 and votes[0][1] == votes[1][1]
        kept.append(next(row for row in members if labels[row] == votes[0][0]))
    return kept, conflicts, ties
