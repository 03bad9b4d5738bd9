"""One record of the team paper's JSON files, as table columns and back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from askless import schema
from askless.data.columns import as_name
from askless.data.tables import Record

Columns = tuple[Record, list[Record | None]]
EXTRA = "askless"
ROWS = ("id", "text", "label", "reference", "split", "group", "source_id")
ANSWER = tuple(name for name in schema.PREDICTIONS.names if name not in ("id", "expert"))
NO_ANSWER, NO_CLASS = "no answer is recorded", "the answer is none of the classes"


@dataclass(frozen=True)
class RecordLayout:
    """Which key of a record is which column.

    Parameters
    ----------
    row
        Keys of the row itself.
    answers
        Keys of each expert's answer, the reply itself first.
    lines
        Whether it is written as JSON lines rather than one list.
    """

    row: Mapping[str, str]
    answers: tuple[Mapping[str, str], ...]
    lines: bool

    def of(self, key: str) -> RecordLayout:
        """The same layout with one answer, the reply under `key`; one that the paper has not takes `<key>_time`."""
        known = {next(iter(keys)): keys for keys in self.answers}
        column = next(iter(self.answers[0].values()))
        return replace(self, answers=(known.get(key, {key: column, f"{key}_time": "seconds"}),))


_ROW = {"Id": "source_id", "Text": "text", "Label": "label"}
_NUMBERS = {"Time": "seconds", "Completion_tokens": "completion_tokens", "Prompt_tokens": "prompt_tokens"}
LAYOUTS = {
    "offline": RecordLayout(_ROW, ({"Preds": "label", **_NUMBERS},), lines=False),
    "online": RecordLayout(_ROW, ({"Preds": "label", **_NUMBERS},), lines=True),
    "summaries": RecordLayout(
        {"id": "source_id", "input": "text", "ground_truth": "reference"},
        ({"generation": "text", "time": "seconds"}, {"nn_generation": "text", "nn_time": "seconds"}),
        lines=True,
    ),
}


def parse(record: Record, layout: RecordLayout, classes: Sequence[str]) -> Columns:
    """A record as row columns, and the columns of each expert's answer (None where it has none).

    Raises `ValueError` saying what is wrong with it, without quoting its text.
    """
    over_row, over_answers = _extra(record)
    row: Record = dict.fromkeys(ROWS)
    for key, column in layout.row.items():
        row[column] = record.get(key) if column in ("text", "reference") else as_name(record.get(key))
    if not isinstance(row["text"], str) or not isinstance(row["reference"], str | None):
        raise ValueError(f"its text or reference is missing or no text (its keys are {sorted(record)})")
    row |= over_row
    answers: list[Record | None] = []
    for keys in layout.answers:
        over = over_answers.get(next(iter(keys)), {})
        present = over or any(key in record for key in keys)
        answers.append({**_answer(record, keys, classes), **over} if present else None)
    return row, answers


def spell(columns: Columns, layout: RecordLayout, classes: Sequence[str]) -> Record:
    """The record that says these columns; what the paper's keys cannot say is under the key `askless`.

    An id of ours that serves as the record's id is kept there too.
    """
    row, answers = columns
    record = {key: _plain(row[column], column) for key, column in layout.row.items() if row[column] is not None}
    for keys, answer in zip(layout.answers, answers, strict=True):
        record |= _reply(answer, keys) if answer else {}
    back, derived = parse(record, layout, classes)
    pinned = {**row, "id": row["id"] if row["id"] == row["source_id"] else None}
    extra: Record = {"row": differences(pinned, back), "answers": {}}
    for keys, answer, other in zip(layout.answers, answers, derived, strict=True):
        extra["answers"][next(iter(keys))] = differences(answer or {}, other or {})
    extra["answers"] = {key: over for key, over in extra["answers"].items() if over}
    extra = {key: over for key, over in extra.items() if over}
    return {**record, EXTRA: extra} if extra else record


def differences(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> Record:
    """The items of `wanted` that `got` lacks or has otherwise (1, 1.0 and true are three things)."""
    return {key: value for key, value in wanted.items() if key not in got or not _same(got[key], value)}


def _extra(record: Record) -> tuple[Record, dict[str, Record]]:
    """The columns under the key `askless`, of the row and of each answer; none unless `spell` has them so."""
    extra = record.get(EXTRA)
    if not isinstance(extra, dict):
        return {}, {}
    row, answers = extra.get("row", {}), extra.get("answers", {})
    good = isinstance(row, dict) and set(row) <= set(ROWS) and isinstance(answers, dict)
    good = good and all(isinstance(over, dict) and set(over) <= set(ANSWER) for over in answers.values())
    return (row, answers) if good else ({}, {})


def _answer(record: Record, keys: Mapping[str, str], classes: Sequence[str]) -> Record:
    answer: Record = dict.fromkeys(ANSWER)
    (key, column), *numbers = keys.items()
    if column == "text" and not isinstance(record.get(key), str | None):
        raise ValueError(f"{key} is no text but {type(record[key]).__name__}")
    reply = as_name(record.get(key))
    name = reply.strip() if reply is not None and column == "label" else None
    if name in classes:
        answer["label"] = name
    else:
        answer["text"] = reply
        answer["error"] = NO_ANSWER if reply is None else NO_CLASS if column == "label" else None
    for key, column in numbers:
        answer[column] = _number(record.get(key), key, whole=column != "seconds")
    return answer


def _reply(answer: Record, keys: Mapping[str, str]) -> Record:
    (key, column), *numbers = keys.items()
    reply = answer["text"] if answer[column] is None else answer[column]
    measured = {key: answer[column] for key, column in numbers if answer[column] is not None}
    return {key: _plain(reply, column), **measured}


def _number(value: Any, key: str, *, whole: bool) -> float | int | None:
    """A measured number as the tables hold it: seconds in float32, tokens whole."""
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < (2**31 if whole else 1e30) or (whole and not number.is_integer()):
        raise ValueError(f"{key} is {value!r}, not {'a whole' if whole else 'a'} number >= 0")
    return int(number) if whole else float(np.float32(number))


def _plain(value: Any, column: str) -> Any:
    """A name that is a whole number is written as one."""
    named = column in ("label", "source_id") and isinstance(value, str)
    return int(value) if named and re.fullmatch(r"0|-?[1-9][0-9]{0,17}", value) else value


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) in (str, int, bool) or type(other) in (str, int, bool, type(None)):
        return type(one) is type(other) and bool(one == other)
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
