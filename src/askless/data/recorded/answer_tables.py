"""What experts answered, made into predictions of the data contract: labels among the classes, one answer to an id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.data.columns import counted, refuse, refuse_repeated, shorten
from askless.data.recorded import batch_files, probabilities
from askless.data.recorded.answer_files import ExpertAnswers
from askless.data.recorded.spelling import NOTHING, read_labels
from askless.data.recorded.votes import majority
from askless.errors import DataError

MOST_UNNAMED = 50
NO_ANSWER, OUTSIDE, EMPTY = "no answer is recorded", "label outside the classes", "empty label"


def settled(
    answers: ExpertAnswers, classes: Sequence[str] | None, spelt: Mapping[str, str] = NOTHING
) -> tuple[ExpertAnswers, tuple[str, ...]]:
    """The same answers with labels among the classes, one answer to an id, and what was changed.

    `spelt` says of labels which class they mean. Without `classes` labels stay as they were given. Several answers
    to one id that differ in `sample` become their majority, the vote's shares and the sum of their costs. Raises
    `DataError` where more than half of the labels are no class.
    """
    if classes is None:
        return replace(answers, notes=()), answers.notes
    read = batch_files.labelled(answers.table, classes)
    if read is not answers.table:
        answers = replace(answers, table=read, stated=tuple(classes))
    table, notes = _classed(answers.table, answers, classes, spelt)
    if answers.has("quality"):
        notes.append(f"'{answers.expert}': correct or quality does not count, for labels are held against gold ones.")
    if "quality" in table.column_names:
        table = table.drop_columns("quality")
    voted = _voted(table, answers, classes)
    stated = answers.stated
    if voted is not table:
        stated = tuple(classes)
        summary = f"{counted(len(table), 'sampled answer')} to {counted(len(voted), 'item')}"
        notes.append(f"'{answers.expert}': {summary} put to the vote.")
    return replace(answers, table=voted, stated=stated, notes=()), (*answers.notes, *notes)


def judged(answers: ExpertAnswers) -> tuple[ExpertAnswers, tuple[str, ...]]:
    """The same answers by their quality alone, a label kept as the text unless there is one; and what was changed.

    Raises `DataError` where nobody judged an answer, and for sampled answers: what a vote of them is worth is unknown.
    """
    table, null, notes = answers.table, pa.scalar(None, pa.string()), list(answers.notes)
    remedy = "Keep one, or give labels and gold labels: these can be put to the vote."
    refuse_repeated(table["id"], answers.where, "one judged answer to an item", remedy, f"'{answers.expert}' answers ")
    kept = {name: table[name] if name in table.column_names else null for name in ("text", "error")}
    unjudged = pc.and_(pc.is_null(table["quality"]), pc.is_null(kept["error"]))
    refuse(table["quality"], unjudged, "quality", answers.where, "a judgement of every answer, or its error")
    table = _with(table, "text", pc.coalesce(kept["text"], table["label"]))
    table = _with(table, "label", pa.chunked_array([pa.nulls(len(table), pa.string())]))
    if answers.has("proba"):
        notes.append(f"'{answers.expert}': proba is of classes, which judged answers have none of; logprob counts.")
    table = table.drop_columns([name for name in ("proba",) if name in table.column_names])
    return replace(answers, table=table, stated=None, notes=()), tuple(notes)


def predictions(
    answers: ExpertAnswers, classes: Sequence[str] | None, at: pa.Array | None = None, task: str | None = None
) -> pa.Table:
    """Settled answers in the data contract, those of the rows `at` in that order, or all."""
    table = answers.table if at is None else answers.table.take(at)
    order = classes or answers.stated
    if "proba" in table.column_names and order is not None:
        column = probabilities.ordered(table["proba"], answers.stated or order, order, answers.where)
        table = _with(table, "proba", column)
    return _contract(table, answers, order, task)


def refuse_twice(answers: ExpertAnswers) -> None:
    """Raise `DataError` where settled answers have an id twice."""
    remedy = "Remove the duplicates, or number sampled answers in a column 'sample'."
    allowed = "one answer of an expert to an item"
    refuse_repeated(answers.table["id"], answers.where, allowed, remedy, f"'{answers.expert}' answers ")


def distinct(answers: Iterable[ExpertAnswers]) -> tuple[str, ...]:
    """The labels themselves as classes, for sampled answers of which nobody says the classes."""
    columns = {one.where: pc.utf8_trim_whitespace(one.table["label"]) for one in answers}
    names = sorted({name for column in columns.values() for name in pc.unique(column).drop_null().to_pylist()})
    if len(names) > MOST_UNNAMED:
        raise DataError(
            ", ".join(map(str, columns)),
            f"sampled answers with {len(names):,} different labels",
            f"at most {MOST_UNNAMED} without named classes",
            "Name the classes: --classes A,B,C.",
        )
    return tuple(names)


def _classed(
    table: pa.Table, answers: ExpertAnswers, classes: Sequence[str], spelt: Mapping[str, str]
) -> tuple[pa.Table, list[str]]:
    """The table with labels of the classes only; any other is kept in `text`, with an error."""
    found = read_labels(table["label"], classes, spelt)
    unread, empty = (pc.sum(each).as_py() or 0 for each in (found.unread, found.empty))
    spoken = len(table) - table["label"].null_count - empty
    if unread > spoken / 2:
        got = f"{unread:,} of {spoken:,} labels of '{answers.expert}' are none of the classes"
        raise DataError(
            answers.where,
            f"{got}: {_counted(found.examples)}",
            f"labels among {_quoted(classes)}",
            "Say what they mean (--map THEIRS=CLASS), where in a reply the label stands (--pattern 'Answer: (.*)'), "
            "which column holds it (--column label=ITS_NAME), or all the classes (--classes A,B,C).",
        )
    notes = []
    if found.respelt:
        notes.append(
            f"{counted(found.respelt, 'label')} of '{answers.expert}' in another spelling: read as the class meant."
        )
    if unread:
        notes.append(
            f"{counted(unread, 'label')} of '{answers.expert}' outside the classes: no answer, which counts as wrong: "
            f"{_counted(found.examples)}. To say what one means: --map THEIRS=CLASS."
        )
    if empty:
        notes.append(f"{counted(empty, 'empty label')} of '{answers.expert}': no answer, which counts as wrong.")
    if not spoken:
        notes.append(f"'{answers.expert}' gave no label at all.")
    null = pa.scalar(None, pa.string())
    kept = {name: table[name] if name in table.column_names else null for name in ("text", "error")}
    text = pc.if_else(found.unread, pc.coalesce(kept["text"], table["label"]), kept["text"])
    error = pc.if_else(found.unread, pa.scalar(OUTSIDE), kept["error"])
    error = pc.if_else(found.empty, pc.coalesce(error, pa.scalar(EMPTY)), error)
    for name, column in (("label", found.label), ("text", text), ("error", error)):
        table = _with(table, name, column)
    return table, notes


def _voted(table: pa.Table, answers: ExpertAnswers, classes: Sequence[str]) -> pa.Table:
    if "sample" not in table.column_names or pc.count_distinct(table["id"]).as_py() == len(table):
        return table
    keys = table.select(["id", "sample"]).group_by(["id", "sample"], use_threads=False).aggregate([])
    if len(keys) < len(table):
        got = (
            f"{counted(len(table) - len(keys), 'answer')} of '{answers.expert}' with an id and sample that came before"
        )
        raise DataError(answers.where, got, "one answer for each id and sample", "Remove the repeated rows.")
    return majority(table, classes)


def _contract(table: pa.Table, answers: ExpertAnswers, classes: Sequence[str] | None, task: str | None) -> pa.Table:
    names = {name: table[name] for name in table.column_names if name in schema.PREDICTIONS.names}
    error = names.get("error", pa.nulls(len(table), pa.string()))
    unjudged = pc.is_null(table["quality"]) if "quality" in table.column_names else True
    missing = pc.and_(pc.and_(pc.is_null(table["label"]), pc.is_null(error)), unjudged)
    names["error"] = pc.if_else(missing, pa.scalar(NO_ANSWER), error)
    names["expert"] = pa.repeat(answers.expert, len(table))
    arrays = [
        names[f.name].cast(f.type, safe=False) if f.name in names else pa.nulls(len(table), f.type)
        for f in schema.PREDICTIONS
    ]
    meta: dict[str, Any] = {"classes": list(classes)} if classes is not None else {}
    if "samples" in table.column_names:
        # A vote has as many replies as samples: none of them says how long all can be.
        meta[schema.SAMPLES] = {answers.expert: pc.mean(table["samples"]).as_py()}
    elif answers.max_tokens:
        meta[schema.MAX_TOKENS] = answers.max_tokens
    built = pa.Table.from_arrays(arrays, schema=schema.PREDICTIONS)
    built = schema.with_meta(built, "predictions", meta | ({"task": task} if task else {}))
    return schema.check(built, "predictions", answers.where)


def _counted(labels: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"'{shorten(name, 40)}' ({often:,})" for name, often in labels)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{shorten(name)}'" for name in names)


def _with(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.append_column(name, column) if at < 0 else table.set_column(at, name, column)
