"""The results of a batch as providers write them (OpenAI, Azure, vLLM's run-batch, Anthropic): a line an item.

A line has the item's id as `custom_id` and what came of it: a `response` with a status and a body, an `error`, or
Anthropic's `result`. Lines may be in any order. A line that failed or expired is no answer, and cost nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from askless.data.columns import as_name, listed
from askless.data.label_reader import reader_of
from askless.data.problems import Problem, stated
from askless.data.replies import confidence, observed, quantity, said, valid
from askless.data.tables import Record, TableFile
from askless.errors import ConfigError, DataError
from askless.schema import PREDICTIONS

ID, OUTCOMES = "custom_id", ("response", "error", "result")
REPLY = "reply"
ALLOWED = "the results of a batch: custom_id with response, error or result"
LINES = (".json", ".jsonl", ".ndjson")
TOKENS = tuple(name for name in PREDICTIONS.names if name.endswith("_tokens"))
COLUMNS = dict.fromkeys(("id", "label", "text", "error", REPLY), pa.string()) | dict.fromkeys(
    (*TOKENS, "batched", "cost_usd"), pa.float64()
)


def is_batch(path: Path, *, replies: bool = False) -> bool:
    """Whether the first line of a file of JSON lines is one of a batch, with `replies` one that has what came of it."""
    if path.suffix.lower() not in LINES or not path.is_file():
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        first = next((line for line in file if line.strip()), "")
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and ID in record and (not replies or not record.keys().isdisjoint(OUTCOMES))


def read(
    path: Path, expert: str | None = None, columns: Mapping[str, str] | None = None
) -> tuple[str, pa.Table, tuple[str, ...]]:
    """Whose answers a batch has, and these, with a note; their replies are labels until the classes are known.

    They are `expert`'s, else those of the one model that the replies name. What `columns` name, ours to theirs, is in
    these of each line instead. Raises `DataError` for a line that is none of a batch's results, and for several models.
    """
    file = TableFile.of(path, "jsonl", remedy="Correct the line, or fetch it again.", halves=True)
    for name in columns or {}:
        if name not in COLUMNS or name == REPLY:
            raise ConfigError.unknown("column of the results of a batch", name, set(COLUMNS) - {REPLY})
    rows = [_named(record, _row(record, path, at), columns or {}, path) for at, record in file.rows()]
    models = sorted({row["model"] for row in rows if row["model"]})
    if expert is None and len(models) > 1:
        got = f"answers of {len(models)} models ({listed(models, 3)})"
        raise DataError(path, got, "those of one", "Name whose answers they are: --expert NAME.")
    name = expert or next(iter(models), path.stem)
    notes = () if expert else (f"{path} is the results of a batch: its answers are taken as those of '{name}'.",)
    return name, pa.table({each: pa.array([row[each] for row in rows], kind) for each, kind in COLUMNS.items()}), notes


def labelled(table: pa.Table, classes: Sequence[str]) -> pa.Table:
    """The answers of a batch with the class that each reply names, and how likely it was; any other table as it is."""
    if REPLY not in table.column_names:
        return table
    reader = reader_of({name: name for name in classes})
    found: dict[str, list[Any]] = {name: [] for name in ("label", "proba", "mass", "logprob")}
    for reply, text in zip(table[REPLY].to_pylist(), table["label"].to_pylist(), strict=True):
        row = observed(json.loads(reply), reader) if reply else {}
        label = None if text is None else reader.label(row.get("text") or "")
        proba, mass = (None, None) if label is None else confidence(row, label, reader)
        each = (text if label is None else label, proba, mass, None if label is None else row["logprob"])
        for column, value in zip(found.values(), each, strict=True):
            column.append(value)
    table = table.drop_columns([REPLY, "label"])
    for name, values in found.items():
        kind = {"label": pa.string(), "proba": pa.list_(pa.float64())}.get(name, pa.float64())
        table = table.append_column(name, pa.array(values, kind))
    return table


def _row(record: Record, path: Path, at: int) -> dict[str, Any]:
    """What a line says: its id, and a reply with what it took, or why there is none."""
    outcome = next((record[name] for name in OUTCOMES if isinstance(record.get(name), Mapping | str)), None)
    name = as_name(record.get(ID))
    if name is None or outcome is None:
        got = f"line {at}: {listed(list(record))}"
        remedy = (
            "Give the output file of the batch, not its input; or name the columns: --column id=... --column label=..."
        )
        raise DataError(path, got, ALLOWED, remedy)
    body = _body(record)
    row: dict[str, Any] = {"id": valid(name), "label": None, "text": None, REPLY: None, "model": None}
    row |= {"cost_usd": None, "batched": 1.0, **dict.fromkeys(TOKENS, 0)}
    if body is None:
        return row | {"error": _why(record)}
    try:
        seen = observed(body)
    except ValueError as error:
        return row | {"error": f"no reply: {error}"}
    text = None if seen["text"] is None else valid(seen["text"])
    spoken = bool((text or "").strip())
    row |= {name: seen.get(name) for name in (*TOKENS, "cost_usd")}
    row |= {
        "label": text if spoken else None,
        "text": text,
        REPLY: json.dumps(body),
        "model": said(body.get("model")),
    }
    return row | {"error": None if spoken else seen.get("reason") or f"no reply ({seen['finish']})"}


def _named(record: Record, row: dict[str, Any], columns: Mapping[str, str], path: Path) -> dict[str, Any]:
    """A row with what the columns that a person named say in the place of what the batch's format says."""
    for ours, theirs in columns.items():
        if theirs not in record:
            remedy = f"Correct --column {ours}={theirs}."
            raise DataError(path, f"no column '{theirs}' in a line", f"one of {listed(list(record))}", remedy)
        value = record[theirs]
        if COLUMNS[ours] == pa.string():
            row[ours] = None if value is None else valid(as_name(value) or "")
        else:
            row[ours] = float(value) if ours == "batched" and isinstance(value, bool) else quantity(value)
            if value is not None and row[ours] is None:
                got, remedy = f"{theirs} is {value!r} in a line", f"Correct the file, or --column {ours}={theirs}."
                raise DataError(path, got, "null or a finite number >= 0", remedy)
        if ours == "label":
            row |= {REPLY: None, "error": row["error"] if value is None else None}
    return row


def _body(record: Record) -> Mapping[str, Any] | None:
    """The reply of a line, None where it failed."""
    response, result = record.get("response"), record.get("result")
    if isinstance(result, Mapping):
        body = result.get("message") if result.get("type") == "succeeded" else None
    elif isinstance(response, Mapping):
        body = response.get("body") if response.get("status_code", 200) == 200 else None
    else:
        return None
    return body if isinstance(body, Mapping) and stated(body) is None else None


def _why(record: Record) -> str:
    """Why a line has no reply, in the server's words."""
    response, result, error = (record.get(name) for name in ("response", "result", "error"))
    parts: list[Any] = []
    if isinstance(result, Mapping):
        parts, error = [result.get("type")], result.get("error")
    elif isinstance(response, Mapping):
        status, body = response.get("status_code"), response.get("body")
        parts = [f"HTTP {status}"] if status != 200 else []
        error = error or (stated(body) if isinstance(body, Mapping) else body)
    found = Problem.of(error)
    parts += [found.code, found.words]
    return ": ".join(str(part) for part in parts if part) or "no reply"
