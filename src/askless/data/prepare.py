"""Raw rows into examples: cleaned, one row a text, stable ids, a stratified split that does not depend on order.

Cleaning is Unicode NFC, every run of white space one space, none at the ends; nothing else is changed. What a row's
text is held against, its gold, is the label or, where the task is summarisation, the cleaned reference summary. Rows
whose cleaned texts are equal are one example: its gold is the majority's (of the row seen first on a tie), the rest is
taken from the first row with that gold. Examples are stored by id, so that the order of the raw rows leaves no trace.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from askless import id_key, schema
from askless.config import TABLES, Split, Task
from askless.errors import DataError


def prepare(raw: pa.Table, task: Task, source_name: str) -> tuple[pa.Table, dict[str, Any]]:
    """Examples (`schema.EXAMPLES`) and a JSON-able summary of a raw table with the columns of `readers.RAW`.

    The summary counts what was left out: empty texts, empty references, texts longer than `task.max_chars`, duplicates.
    Raises `DataError` for an empty text or reference where `task.empty_text` is "error", for a label outside the
    classes, for an id of a table that stands on two texts, where no row has a reference, and where no row is left.
    """
    texts = [clean(text or "") for text in raw["text"].to_pylist()]
    if task.source.kind in TABLES:
        _one_text_an_id(raw["source_id"].to_pylist(), texts, source_name)
    documents = task.kind == "summarisation"
    golds = _references(raw, source_name) if documents else _labels(raw, task.classes, source_name)
    rows, dropped = _usable(texts, golds, task, source_name)
    kept, conflicts, ties = _unique(rows, texts, golds)
    # The split, the sample and the order are those of the plain hashes: figures do not depend on a key.
    plain = plain_ids(source_name, [texts[row] for row in kept])
    order = sorted(_sampled(plain, task.max_rows), key=plain.__getitem__)
    groups = raw["group"].to_pylist()
    columns: dict[str, list[Any]] = {
        "id": ids(source_name, [texts[kept[i]] for i in order]),
        "text": [texts[kept[i]] for i in order],
        "reference" if documents else "label": [golds[kept[i]] for i in order],
        "group": [groups[kept[i]] for i in order],
    }
    columns["split"] = split([plain[i] for i in order], columns.get("label", [None] * len(kept)), task.split)
    meta: dict[str, Any] = {"source": source_name, "classes": list(task.classes)}
    meta |= {"id_key": mark} if (mark := id_key.mark()) else {}
    examples = schema.table("examples", columns, meta)
    what = "references" if documents else "labels"
    return examples, {
        "source": source_name,
        "raw_rows": len(texts),
        **dropped,
        "duplicates_dropped": len(rows) - len(kept),
        f"conflicting_{what}": conflicts,
        f"tied_{what}": ties,
        **({"sampled_of": len(kept)} if task.max_rows and task.max_rows < len(kept) else {}),
        "examples": len(order),
        "splits": document_counts(examples) if documents else class_counts(examples, task.classes),
    }


def _sampled(names: Sequence[str], most: int | None) -> list[int]:
    """Rows of at most so many ids: those of the lowest hashes, so that a new row moves one other at most."""
    if most is None or most >= len(names):
        return list(range(len(names)))
    return sorted(range(len(names)), key=lambda row: hashlib.sha256(f"sample\0{names[row]}".encode()).digest())[:most]


def clean(text: str) -> str:
    """The text in Unicode NFC, with single spaces and none at its ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def ids(source_name: str, texts: Iterable[str]) -> list[str]:
    """Stable ids of 16 hexadecimal digits: `plain_ids`, named by `id_key`."""
    return [name[:16] for name in id_key.keyed(plain_ids(source_name, texts))]


def own_ids(task: str, names: Iterable[str]) -> list[str]:
    """What ids of people's own are called where they are kept, so that none is."""
    return ids(f"{task} own id", names)


def plain_ids(source_name: str, texts: Iterable[str]) -> list[str]:
    """What ids are where there is no key: 16 digits of the SHA-256 of the source's name and the cleaned text."""
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


def document_counts(examples: pa.Table) -> dict[str, dict[str, int]]:
    """Rows in each split, in the form of `class_counts`."""
    found = Counter(examples["split"].to_pylist())
    return {part: {"documents": found[part]} for part in schema.SPLITS}


def _one_text_an_id(names: Sequence[str | None], texts: Sequence[str], where: str) -> None:
    first: dict[str, int] = {}
    twice = [(first[n], row) for row, n in enumerate(names) if n and texts[first.setdefault(n, row)] != texts[row]]
    if twice:
        one, other = (row + 1 for row in twice[0])
        raise DataError(
            where,
            f"one id for two texts, in rows {one} and {other} ({len(twice)} such rows in all)",
            "an id that is its row's own",
            'Correct the file, or name the column of ids by columns: {id: NAME}, {id: ""} where there is none.',
        )


def _labels(raw: pa.Table, classes: Sequence[str], where: str) -> list[str]:
    labels: list[str] = raw["label"].to_pylist()
    bad = [row for row, label in enumerate(labels) if label not in classes]
    if bad:
        got = "no label" if labels[bad[0]] is None else f"label {labels[bad[0]]!r}"
        raise DataError(
            where,
            f"{got} in row {bad[0] + 1} ({len(bad)} rows in all)",
            f"one of {list(classes)}",
            "Correct the label in the raw file, or the task's classes in params.yaml.",
        )
    return labels


def _references(raw: pa.Table, where: str) -> list[str]:
    """The cleaned references, empty where a row has none."""
    if raw.num_rows and raw["reference"].null_count == raw.num_rows:
        raise DataError(
            where,
            f"no reference in any of {raw.num_rows} rows",
            "a column 'reference' with a summary of each text",
            "Add or rename the column, or take kind: classification.",
        )
    return [clean(reference or "") for reference in raw["reference"].to_pylist()]


def _usable(texts: Sequence[str], golds: Sequence[str], task: Task, where: str) -> tuple[list[int], dict[str, int]]:
    """The rows with a text that is not too long, and with a reference if the task needs one; how many have not."""
    filled = rows = _filled("text", texts, range(len(texts)), task, where)
    dropped = {"empty_dropped": len(texts) - len(filled)}
    if task.kind == "summarisation":
        rows = _filled("reference", golds, filled, task, where)
        dropped["empty_references_dropped"] = len(filled) - len(rows)
    short = [row for row in rows if task.max_chars is None or len(texts[row]) <= task.max_chars]
    dropped["too_long_dropped"] = len(rows) - len(short)
    if not short:
        limit = f" of at most {task.max_chars} characters" if task.max_chars else ""
        wanted = " and a reference" if task.kind == "summarisation" else ""
        got = f"{len(texts)} rows, none with a text{limit}{wanted}"
        raise DataError(where, got, "at least one row", "Check the raw file.")
    return short, dropped


def _filled(what: str, values: Sequence[str], rows: Sequence[int], task: Task, where: str) -> list[int]:
    """Those of `rows` whose value is not empty."""
    filled = [row for row in rows if values[row]]
    empty = len(rows) - len(filled)
    if empty and task.empty_text == "error":
        raise DataError(
            where,
            f"empty {what} in row {next(row for row in rows if not values[row]) + 1} ({empty} rows in all)",
            "at least one visible character",
            "Correct the raw file, or set empty_text to 'drop'.",
        )
    return filled


def _unique(rows: Sequence[int], texts: Sequence[str], golds: Sequence[str]) -> tuple[list[int], int, int]:
    """One row for each text, and how many texts had conflicting and how many tied golds."""
    same: dict[str, list[int]] = {}
    for row in rows:
        same.setdefault(texts[row], []).append(row)
    kept, conflicts, ties = [], 0, 0
    for members in same.values():
        votes = Counter(golds[row] for row in members).most_common()
        conflicts += len(votes) > 1
        ties += len(votes) > 1 and votes[0][1] == votes[1][1]
        kept.append(next(row for row in members if golds[row] == votes[0][0]))
    return kept, conflicts, ties
