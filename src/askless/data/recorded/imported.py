"""A file of answers, in a format of the papers or anybody's, as predictions to keep; and the labelled items in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.data import tables
from askless.data.columns import counted, strings
from askless.data.recorded import answer_files, answer_tables
from askless.data.recorded import paper_files as recorded
from askless.data.recorded.answer_files import AS_IT_IS, ExpertAnswers, Layout
from askless.data.recorded.batch_files import REPLY, is_batch
from askless.data.recorded.items import NAMES
from askless.data.recorded.paper_records import NO_CLASS
from askless.data.tables import Wanted, read_records
from askless.errors import DataError
from askless.files import replacing

OF_PAPERS = {"Preds", "generation"}
UNNAMED = "no classes are named (--classes A,B,C): replies are kept as labels, without their probabilities."


@dataclass(frozen=True)
class Imported:
    """Answers as predictions, and what was read beside them.

    Parameters
    ----------
    predictions
        The answers of all experts.
    items
        The labelled items of the same file, None where it shows none.
    notes
        What was assumed or changed.
    """

    predictions: pa.Table
    items: pa.Table | None
    notes: tuple[str, ...]


def read(
    path: Path,
    experts: Sequence[str] = (),
    task: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    layout: Layout = AS_IT_IS,
    item_columns: Mapping[str, str] | None = None,
) -> Imported:
    """Read answers from the papers' JSON, the results of a batch, or a table with the columns of `answer_files`.

    `experts` names whose answers they are, or picks one of those that the file names. Items are read from the
    papers' files, and from others where `item_columns` says which column holds the gold label. Where the layout
    names columns, a file is read by these alone, whatever keys of the papers it has.
    """
    if not (layout.columns or layout.wide) and not is_batch(path) and _of_papers(path):
        return _paper(path, experts, task, classes, layout)
    if len(experts) > 1:
        raise DataError(path, f"{len(experts)} experts", "at most one", "Leave --expert out for all that it names.")
    answers = answer_files.read(path, experts[0] if experts else None, layout)
    if classes is None and any("sample" in one.table.column_names for one in answers.values()):
        classes = answer_tables.distinct(answers.values())
    items = _items(path, item_columns) if item_columns else None
    return _imported(answers.values(), classes, task, items, layout.spelt)


def _imported(
    answers: Iterable[ExpertAnswers],
    classes: Sequence[str] | None,
    task: str | None,
    items: pa.Table | None,
    spelt: Mapping[str, str],
) -> Imported:
    tables: list[pa.Table] = []
    notes: list[str] = []
    for one in answers:
        settled, changed = answer_tables.settled(one, classes, spelt)
        if classes is None and REPLY in one.table.column_names:
            changed = (*changed, f"{one.where}: {UNNAMED}")
        answer_tables.refuse_twice(settled)
        tables.append(answer_tables.predictions(settled, classes, task=task))
        notes += changed
    joined = pa.concat_tables(tables)
    samples = {k: n for table in tables for k, n in schema.meta_of(table).get(schema.SAMPLES, {}).items()}
    if samples:
        joined = schema.with_meta(joined, "predictions", schema.meta_of(joined) | {schema.SAMPLES: samples})
    return Imported(joined, items, tuple(notes))


def _of_papers(path: Path) -> bool:
    """Whether the first record of a JSON file has the papers' key of an answer."""
    if path.suffix.lower() not in (".json", ".jsonl") or not path.is_file():
        return False
    records, _ = read_records(path)
    return bool(records) and not OF_PAPERS.isdisjoint(records[0])


def _paper(
    path: Path, experts: Sequence[str], task: str | None, classes: Sequence[str] | None, layout: Layout
) -> Imported:
    names, source = list(experts) or [path.stem], task or "answers"
    gold = recorded.load(path, [], (), source).rows["label"]
    known = tuple(classes or sorted(pc.unique(gold).drop_null().to_pylist()))
    found = recorded.load(path, names, known, source)
    answers = [_answers(found.predictions, name, path, known) for name in names]
    answers = [replace(one, table=layout.label(one.table)) for one in answers]
    notes = () if experts else (f"{path} names no expert: its answers are taken as those of '{names[0]}'.",)
    done = _imported(answers, known or None, task, _shown(found.rows), layout.spelt)
    return Imported(done.predictions, done.items, (*notes, *done.notes))


def _answers(predictions: pa.Table, expert: str, path: Path, classes: Sequence[str]) -> ExpertAnswers:
    """One expert's rows, with a reply that was none of the classes as the label."""
    mine = predictions.filter(pc.equal(predictions["expert"], expert)).drop_columns("expert")
    strange = pc.fill_null(pc.equal(mine["error"], NO_CLASS), False)
    null = pa.scalar(None, pa.string())
    for name, column in (
        ("label", pc.if_else(strange, mine["text"], mine["label"])),
        ("error", pc.if_else(strange, null, mine["error"])),
    ):
        mine = mine.set_column(mine.column_names.index(name), name, column)
    return ExpertAnswers(expert, path, mine, tuple(classes) or None)


def _items(path: Path, columns: Mapping[str, str]) -> pa.Table:
    """The first row of each id; raises `DataError` where rows of one id differ in their gold label."""
    if "label" not in columns:
        got = "no column of the gold label is named"
        raise DataError(path, got, "--item-column label=ITS_NAME", "Name it; 'label' is what the expert answered.")
    raw = tables.read(path, Wanted(("id", "label"), NAMES.__contains__, columns, "--item-column"))
    table = pa.table({name: strings(raw[name], name, path) for name in raw.column_names})
    pairs = table.select(["id", "label"]).group_by(["id", "label"], use_threads=False).aggregate([])
    ids = pc.unique(table["id"])
    if len(pairs) > len(ids):
        got = f"{counted(len(pairs) - len(ids), 'id')} with several gold labels"
        raise DataError(path, got, "one gold label for each id", "Correct them.")
    return _shown(table.take(pc.index_in(ids, table["id"].combine_chunks())))


def _shown(rows: pa.Table) -> pa.Table:
    """The columns of items that hold anything."""
    return rows.select([n for n in NAMES if n in rows.column_names and rows[n].null_count < len(rows)])


def write_items(items: pa.Table, path: Path) -> Path:
    """Write items as Parquet; the same content gives the same bytes."""
    import pyarrow.parquet as pq

    with replacing(path) as part:
        pq.write_table(items.combine_chunks(), part, compression="zstd", store_schema=True)
    return path
