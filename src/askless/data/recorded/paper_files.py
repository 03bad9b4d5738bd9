"""The team paper's JSON files of recorded LLM answers, in and out, without loss either way.

`offline` is a list of {"Id", "Text", "Label", "Preds", "Time"}; `online` is JSON lines with "Completion_tokens" and
"Prompt_tokens" instead of "Time"; `summaries` is JSON lines of {"id", "input", "ground_truth", "generation", "time"[,
"nn_generation", "nn_time"]}. Either container is read for either layout, and ids and numbers may be missing.

Nothing is lost because each side carries what the other cannot say, and only that. The predictions' metadata keep, by
id, the values of the file that the tables would spell otherwise (an id 007, seconds in float64, an unknown key). A
written record has a key `askless` for the columns that its other keys would not bring back (probabilities, a split).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from askless import schema
from askless.config import Source
from askless.data.prepare import clean, ids
from askless.data.readers import RAW
from askless.data.recorded.paper_records import (
    LAYOUTS,
    ROWS,
    Columns,
    RecordLayout,
    differences,
    parse,
    spell,
)
from askless.data.tables import Record, read_records
from askless.errors import ConfigError, DataError
from askless.files import write_text


class Recorded(NamedTuple):
    """A recorded file's rows in its order, columns `ROWS`, and its answers.

    The id of a row is that of its cleaned text, as `prepare` gives it; where a text comes again, the count is mixed in.
    """

    rows: pa.Table
    predictions: pa.Table


def read(source: Source, path: Path) -> pa.Table:
    """The raw rows of a recorded file, without its answers.

    Raises `DataError` for records of two layouts, or of another than `source.kind` (offline and online differ in what
    they measure only, so that either kind reads both).
    """
    records, lines = read_records(path)
    name = _layout(records, lines, path)
    if records and (name == "summaries") != (source.kind == "summaries"):
        raise DataError(path, f"records of layout '{name}'", f"'{source.kind}'", "Correct the source's kind or path.")
    layout = _restricted(name, 0, path)
    rows = [_parsed(record, number, layout, (), path)[0] for number, record in enumerate(records)]
    return _strings(rows, RAW.names, path)


def load(path: Path | str, experts: Sequence[str], classes: Sequence[str], source_name: str) -> Recorded:
    """Read a recorded file; `experts` names the answers of a record in order (an unnamed answer is kept for `dump`).

    An answer that is none of `classes` is a null label with an error, its reply in `text`. Raises `DataError` naming
    the record that cannot be read.
    """
    records, lines = read_records(path)
    name = _layout(records, lines, path)
    layout = _restricted(name, len(experts), path)
    seen: dict[str, int] = {}
    rows, found, spelling = [], [], {}
    for number, record in enumerate(records):
        row, answers = columns = _parsed(record, number, layout, classes, path)
        plain = spell(columns, layout, classes)
        other = {"set": differences(record, plain), "drop": [key for key in plain if key not in record]}
        text = clean(row["text"])
        seen[text] = seen.get(text, 0) + 1
        again = "" if seen[text] == 1 else f"\0{seen[text]}"
        row["id"] = row["id"] or ids(source_name, [text + again])[0]
        if other["set"] or other["drop"]:
            spelling[row["id"]] = other
        rows.append(row)
        found += [{**a, "id": row["id"], "expert": e} for e, a in zip(experts, answers, strict=True) if a]
    meta = {"recorded": {"layout": name, "lines": lines, "experts": list(experts), "spelling": spelling}}
    return Recorded(_strings(rows, ROWS, path), _predictions(found, classes, meta))


def dump(path: Path | str, rows: pa.Table, predictions: pa.Table, layout: str | None = None) -> Path:
    """Write rows and their predictions in a layout of the paper; without `layout`, as the file they came from.

    `rows` are those of `load`, or prepared examples, whose ids then serve as the records' ids. Raises `ConfigError` for
    an unknown layout and `DataError` for more experts than it holds.
    """
    meta = schema.meta_of(predictions)
    origin = meta.get("recorded", {})
    name = layout or origin.get("layout")
    if name not in LAYOUTS:
        raise ConfigError.unknown("layout of recorded answers", str(name), LAYOUTS)
    experts = origin.get("experts") or list(dict.fromkeys(predictions["expert"].to_pylist()))
    shape, classes = _restricted(name, len(experts), path), meta.get("classes", ())
    answers: dict[tuple[str, str], Record] = {}
    for answer in predictions.to_pylist():
        answers[answer.pop("expert"), answer.pop("id")] = answer
    records = []
    for row in rows.to_pylist():
        full = {column: row.get(column) for column in ROWS} | {"source_id": row.get("source_id", row["id"])}
        columns = full, [answers.get((expert, row["id"])) for expert in experts]
        records.append(_as_read(columns, origin.get("spelling", {}).get(row["id"], {}), shape, classes))
    lines = origin["lines"] if name == origin.get("layout") else shape.lines
    return _write(path, records, lines)


def recorded_predictions(
    path: Path | str, examples: pa.Table, expert: str, classes: Sequence[str], key: str | None = None
) -> pa.Table:
    """The answers of a recorded file as one prediction row for each example, in the examples' order.

    `key` is that of the reply in a record, where it is not the layout's first: `nn_generation`, or any other. Rows are
    matched by cleaned text; of records with the same text the first counts. The others (`repeated`), and texts that are
    no example's (`unmatched`), are left out and, if there are any, counted in the metadata. Raises `DataError` where an
    example has no record, and where offline and online records are mixed; `ConfigError` for a key of no record.
    """
    first, repeated = _first_answers(path, classes, key)
    _check_measures(list(first.values()), path)
    pairs = list(zip(examples["id"].to_pylist(), examples["text"].to_pylist(), strict=True))
    missing = [name for name, text in pairs if text not in first]
    if missing:
        raise DataError(
            path,
            f"{len(missing)} of {len(pairs)} examples have no record{f' with {key!r}' if key else ''} "
            f"(first id {missing[0]})",
            "a recorded answer for the text of each example",
            "Use the file that was made from these texts.",
        )
    left_out = {"unmatched": len(first.keys() - {text for _, text in pairs}), "repeated": repeated}
    meta = {name: count for name, count in left_out.items() if count}
    answers = [{**first[text], "id": name, "expert": expert} for name, text in pairs]
    return _predictions(answers, classes, meta)


def _first_answers(path: Path | str, classes: Sequence[str], key: str | None) -> tuple[dict[str, Record], int]:
    """The first answer to each cleaned text, and how many more there are."""
    records, lines = read_records(path)
    layout = LAYOUTS[_layout(records, lines, path)]
    reply = key or next(iter(layout.answers[0]))
    if key and not any(key in record for record in records):
        raise ConfigError(f"{path}: {ConfigError.unknown('key of an answer', key, {k for r in records for k in r})}")
    first: dict[str, Record] = {}
    repeated = 0
    for number, record in enumerate(records):
        row, (answer,) = _parsed(record, number, layout.of(reply), classes, path)
        if answer is None:
            continue
        text = clean(row["text"])
        repeated += text in first
        first.setdefault(text, answer)
    return first, repeated


def _layout(records: Sequence[Record], lines: bool, path: Path | str) -> str:
    """The layout of all records; `DataError` where some are posts (`Text`) and some are documents (`input`)."""
    found: dict[str, int] = {}
    for number, record in enumerate(records):
        key = next((key for key in ("input", "Text") if key in record), None)
        if key is not None:
            found.setdefault(key, number)
    if len(found) > 1:
        got = f"record {found['Text']} is a post (Text) and record {found['input']} a document (input)"
        raise DataError(path, got, "records of one layout", "Take them apart into two files.")
    return "summaries" if "input" in found else "online" if lines else "offline"


def _check_measures(answers: Sequence[Record], path: Path | str) -> None:
    """Raise `DataError` where some answers have seconds only and others tokens only: their costs do not compare."""
    seconds = [a["seconds"] is not None for a in answers]
    tokens = [a["prompt_tokens"] is not None or a["completion_tokens"] is not None for a in answers]
    timed = sum(s and not t for s, t in zip(seconds, tokens, strict=True))
    counted = sum(t and not s for s, t in zip(seconds, tokens, strict=True))
    if timed and counted:
        got = f"offline and online records mixed: {timed} answers with seconds only, {counted} with tokens only"
        raise DataError(path, got, "one measure of cost for all", "Take them apart into two files.")


def _restricted(name: str, experts: int, path: Path | str) -> RecordLayout:
    layout = LAYOUTS[name]
    if experts > len(layout.answers):
        got = f"answers of {experts} experts"
        raise DataError(path, got, f"at most {len(layout.answers)} in layout '{name}'", "Use one file for each expert.")
    return replace(layout, answers=layout.answers[:experts])


def _parsed(record: Record, number: int, layout: RecordLayout, classes: Sequence[str], path: Path | str) -> Columns:
    try:
        return parse(record, layout, classes)
    except ValueError as error:
        remedy = "Correct the record, or where it is none of that paper's, name your columns: --column label=ITS_NAME."
        raise DataError(path, f"record {number}: {error}", "a record of the team paper", remedy) from None


def _as_read(columns: Columns, other: Record, layout: RecordLayout, classes: Sequence[str]) -> Record:
    """The record of these columns, in the spelling of the file it was read from wherever that says the same."""
    record = plain = spell(columns, layout, classes)
    trials = [{key: value} for key, value in other.get("set", {}).items()]
    for trial in (*trials, *other.get("drop", ())):
        if isinstance(trial, dict):
            changed = {**record, **trial}
        else:
            changed = {key: value for key, value in record.items() if key != trial}
        respelt = spell(parse(changed, layout, classes), layout, classes)
        if not differences(respelt, plain) and not differences(plain, respelt):
            record = changed
    return record


def _strings(rows: Sequence[Record], names: Sequence[str], path: Path | str) -> pa.Table:
    try:
        return pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(path, f"a column that is no text ({error})", "texts", "Correct the file.") from None


def _predictions(answers: Sequence[Record], classes: Sequence[str], meta: dict[str, Any]) -> pa.Table:
    columns = {name: [answer[name] for answer in answers] for name in schema.PREDICTIONS.names}
    return schema.table("predictions", columns, {"classes": list(classes), **meta} if classes else meta)


def _write(path: Path | str, records: Sequence[Record], lines: bool) -> Path:
    texts = [json.dumps(record, ensure_ascii=False) for record in records]
    return write_text(path, "".join(f"{t}\n" for t in texts) if lines else "[\n" + ",\n".join(texts) + "\n]\n")
