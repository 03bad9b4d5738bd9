"""What a small expert learns from an LLM: answers that were paid for anyway, as rows to train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from askless import schema
from askless.errors import DataError
from askless.evaluation.replay import Replay
from askless.evaluation.results import Bootstrap

COLUMNS = ("id", "text", "answers")


def lessons(folder: Path | str, llm: str, examples: pa.Table, classes: Sequence[str]) -> pa.Table:
    """The texts in `folder` that `llm` answered, its answer in place of the gold one, as train examples.

    `folder` holds the Parquet files of answered items; where it is missing there are no rows. A text counts once, and
    one that is among `examples`, in whatever split, not at all: what is tested is not taught. An LLM's summary stands
    for the reference. Raises `DataError` for a file that is no table of answered items.
    """
    answered = [_answers(path, llm) for path in sorted(Path(folder).glob("*.parquet"))]
    rows = pa.concat_tables(answered) if answered else _nothing()
    column = "label" if classes else "reference"
    fits = pc.is_in(rows["answer"], pa.array(list(classes), pa.string())) if classes else rows["answer"].is_valid()
    tested = pc.is_in(rows["text"], examples["text"].combine_chunks().cast(pa.string()))
    rows = rows.filter(pc.and_(fits, pc.invert(tested)))
    rows = rows.take(pc.sort_indices(rows, [("text", "ascending"), ("id", "ascending")]))
    first = pa.array([i == 0 or a != b for i, (a, b) in enumerate(_pairs(rows["text"].to_pylist()))], pa.bool_())
    rows = rows.filter(first)
    # The prefix is part of what draws are keyed by: it stays.
    named = pc.binary_join_element_wise(pa.scalar("heard"), rows["id"], ":")
    split = pa.repeat("train", rows.num_rows)
    return schema.table("examples", {"id": named, "text": rows["text"], column: rows["answer"], "split": split})


def brought(boot: Bootstrap, taught: Replay, untaught: Replay) -> dict[str, Any]:
    """Quality of always asking the small expert without those lessons, and what they added, paired, with intervals."""
    (with_, with_d), (without, without_d) = boot.quality_of(taught), boot.quality_of(untaught)
    return {
        "quality_without": boot.interval(float(without[0]), without_d[:, 0]).as_dict(),
        "difference": boot.interval(float(with_[0] - without[0]), with_d[:, 0] - without_d[:, 0]).as_dict(),
    }


def _answers(path: Path, llm: str) -> pa.Table:
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
        listed = table["answers"].combine_chunks()
        given, row = listed.flatten(), pc.list_parent_indices(listed)
        mine = pc.equal(pc.struct_field(given, "expert"), llm)
        answers, rows = pc.struct_field(given, "answer").filter(mine), table.take(row.filter(mine))
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        allowed = f"a table of answered items with columns {', '.join(COLUMNS)}"
        raise DataError(path, f"unreadable ({str(error).splitlines()[0]})", allowed, "Move it elsewhere.") from error
    return pa.table({"id": rows["id"], "text": rows["text"], "answer": answers}, schema=_nothing().schema)


def _nothing() -> pa.Table:
    return pa.table({name: pa.array([], pa.string()) for name in ("id", "text", "answer")})


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
    return list(zip(texts, texts[:1] + texts[:-1], strict=True))
