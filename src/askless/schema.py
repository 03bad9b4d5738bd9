"""The data contract: Arrow schemas, and the one way tables are read, checked and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from askless.errors import DataError
from askless.files import replacing

SPLITS = ("train", "valid", "test")
PROBA_TOLERANCE = 1e-3
# Metadata of answers of an expert that learns: how its train rows are answered out of fold, null where they are not.
OUT_OF_FOLD = "out_of_fold"
# Metadata of answers: expert to how many samples an answer of it is the vote of, in the mean.
SAMPLES = "samples"
# Metadata of answers: the longest that a reply could be, in tokens.
MAX_TOKENS = "max_tokens"
# Rows that are written at once: what a file looks like does not depend on the pieces it was made of.
ROW_GROUP = 131_072
_READ_ROWS, _READ_BYTES = 8192, 1 << 20
FEW = 512

EXAMPLES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("reference", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("group", pa.string()),
    ]
)
PREDICTIONS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("expert", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("proba", pa.list_(pa.field("element", pa.float32()))),
        pa.field("logprob", pa.float32()),
        pa.field("mass", pa.float32()),
        pa.field("text", pa.string()),
        pa.field("quality", pa.float32()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("cached_tokens", pa.int32()),
        pa.field("cache_write_tokens", pa.int32()),
        pa.field("completion_tokens", pa.int32()),
        pa.field("reasoning_tokens", pa.int32()),
        pa.field("batched", pa.bool_()),
        pa.field("replies", pa.int16()),
        pa.field("seconds", pa.float32()),
        pa.field("cost_usd", pa.float64()),
        pa.field("error", pa.string()),
    ]
)
DECISIONS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("budget", pa.float64(), nullable=False),
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("expert", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("cost", pa.float64(), nullable=False),
        pa.field("asked", pa.list_(pa.field("element", pa.string())), nullable=False),
    ]
)
CURVE = pa.schema(
    [
        pa.field("policy", pa.string(), nullable=False),
        pa.field("budget", pa.float64(), nullable=False),
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("cost", pa.float64(), nullable=False),
        pa.field("quality", pa.float64(), nullable=False),
        pa.field("deferral_rate", pa.float64(), nullable=False),
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
    ]
)
SCHEMAS = {"examples": EXAMPLES, "predictions": PREDICTIONS, "decisions": DECISIONS, "curve": CURVE}
KEYS = {
    "examples": ["id"],
    "predictions": ["id", "expert"],
    "decisions": ["id", "policy", "budget", "seed"],
    "curve": ["policy", "budget", "seed"],
}


def table(kind: str, columns: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> pa.Table:
    """Build a table of `kind` from columns; absent nullable columns are filled with nulls.

    A NaN stays one, except in a pandas column, where it means null. Raises `DataError` where a column has
    the wrong type or another length, or where the contract is broken.
    """
    schema = SCHEMAS[kind]
    columns = {name: values for name, values in columns.items() if values is not None}
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise DataError(kind, f"unknown columns {sorted(unknown)}", ", ".join(schema.names), "Rename or drop them.")
    length = max((len(v) for v in columns.values()), default=0)
    for name, values in columns.items():
        if len(values) != length:
            raise DataError(
                kind,
                f"column '{name}' has {len(values)} rows",
                f"{length}, as the longest",
                "Fill it with None.",
            )
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        try:
            arrays.append(pa.nulls(length, field.type) if values is None else pa.array(values, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
            raise _wrong_type(kind, field, str(error)) from error
    return check(with_meta(pa.Table.from_arrays(arrays, schema=schema), kind, meta or {}), kind)


def with_meta(tbl: pa.Table, kind: str, meta: Mapping[str, Any]) -> pa.Table:
    """The same table with `meta` as JSON in its schema metadata, keys sorted."""
    full = {"schema": f"askless/{kind}/1", **{str(k): v for k, v in meta.items() if k != "schema"}}
    return tbl.replace_schema_metadata({k: json.dumps(full[k], sort_keys=True) for k in sorted(full)})


def meta_of(tbl: pa.Table) -> dict[str, Any]:
    """The schema metadata as plain values; nothing for a file that another program wrote."""
    meta = tbl.schema.metadata or {}
    ours = meta.get(b"schema", b"").startswith(b'"askless/')
    return {k.decode(): json.loads(v) for k, v in meta.items() if k != b"pandas"} if ours else {}


def check(tbl: pa.Table, kind: str, where: object | None = None, *, classes: Sequence[str] | None = None) -> pa.Table:
    """Return `tbl` if it keeps the contract of `kind`, else raise `DataError` naming column and row."""
    where = where or kind
    _check_columns(tbl, SCHEMAS[kind], where)
    _check_unique(tbl, KEYS[kind], where)
    classes = classes or meta_of(tbl).get("classes")
    if kind == "examples":
        _check_examples(tbl, where)
    if kind == "predictions":
        _check_predictions(tbl, where)
    if classes:
        check_classes(tbl, classes, where)
    return tbl


def check_classes(tbl: pa.Table, classes: Sequence[str], where: object) -> None:
    """Raise `DataError` unless each label is null or one of `classes` and each proba has a value for each."""
    if "label" in tbl.column_names:
        _refuse(
            tbl,
            pc.and_(pc.is_valid(tbl["label"]), pc.invert(pc.is_in(tbl["label"], pa.array(list(classes), pa.string())))),
            where,
            "label outside the classes: '{}'",
            "label",
            f"one of {list(classes)}, or null",
            "Correct the label or the classes in params.yaml.",
        )
    if "proba" in tbl.column_names:
        _refuse(
            tbl,
            pc.not_equal(pc.list_value_length(tbl["proba"]), len(classes)),
            where,
            "proba {}",
            "proba",
            f"{len(classes)} values, of {list(classes)}, or null",
            "Add the rest.",
        )


def surely_valid(prediction: Mapping[str, Any], classes: Sequence[str]) -> bool:
    """Whether a row of predictions, but for its keys, is one beyond doubt: what `check` takes a table to say.

    False says nothing: `check` decides about it.
    """
    told = {name: value for name, value in prediction.items() if value is not None}
    if told.keys().isdisjoint(("label", "text", "error", "quality")) or not prediction.keys() <= _SURELY.keys():
        return False
    if not all(_SURELY[name](value) for name, value in told.items()):
        return False
    fits = told.get("label") in (None, *classes) and len(told.get("proba", classes)) == len(classes)
    return fits or not classes


def _surely_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and (value.isascii() or bool(value.encode()))
    except UnicodeEncodeError:
        return False


def _surely_number(value: Any) -> bool:
    return type(value) is float and -1e9 < value < 1e9


def _surely_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e9


def _surely_proba(value: Any) -> bool:
    numbers = type(value) is list and all(map(_surely_number, value))
    return numbers and min(value, default=-1) >= 0 and abs(sum(value) - 1) < PROBA_TOLERANCE / 2


_SURELY: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("label", "text", "error"), _surely_text),
    **dict.fromkeys(("logprob", "mass", "quality"), _surely_number),
    **dict.fromkeys(("seconds", "cost_usd"), _surely_amount),
    **dict.fromkeys(
        (name for name in PREDICTIONS.names if name.endswith("_tokens")),
        lambda value: type(value) is int and 0 <= value < 2**31,
    ),
    "replies": lambda value: type(value) is int and 0 <= value < 2**15,
    "batched": lambda value: type(value) is bool,
    "proba": _surely_proba,
}


def check_answers(examples: pa.Table, predictions: pa.Table, where: object | None = None) -> None:
    """Raise `DataError` unless `predictions` answer exactly the ids of `examples`."""
    asked, answered = set(examples["id"].to_pylist()), set(predictions["id"].to_pylist())
    missing, extra = asked - answered, answered - asked
    if missing or extra:
        raise DataError(
            where or "predictions",
            f"{len(missing)} of {len(asked)} examples have no answer and {len(extra)} answers have no example"
            + (f" (first missing id {min(missing)})" if missing else f" (first unknown id {min(extra)})"),
            "one row for each example id",
            "Generate the predictions again for these examples.",
        )


def write(tbl: pa.Table, path: Path | str, kind: str) -> Path:
    """Check and write a table beside `path`, then rename: a reader never sees half a file."""
    return _write([check(tbl, kind, path)], path, tbl.schema)


def write_pieces(pieces: Iterable[pa.Table], path: Path | str, kind: str, meta: Mapping[str, Any]) -> Path:
    """Write tables, each checked, one after the other into one file: the same bytes as `write` of all of them.

    No more than a piece and a row group are held at once, so that keys which two pieces have in common are not seen.
    """
    empty = with_meta(SCHEMAS[kind].empty_table(), kind, meta)
    checked = (check(piece.select(SCHEMAS[kind].names), kind, path) for piece in pieces)
    return _write((piece.replace_schema_metadata(empty.schema.metadata) for piece in checked), path, empty.schema)


def _write(pieces: Iterable[pa.Table], path: Path | str, columns: pa.Schema) -> Path:
    held, written = columns.empty_table(), False
    with replacing(path) as part, pq.ParquetWriter(part, columns, compression="zstd", store_schema=True) as writer:
        # Pages follow chunks, and the same content must give the same bytes.
        for piece in pieces:
            held = pa.concat_tables([held, piece])
            while held.num_rows > ROW_GROUP:
                writer.write_table(held.slice(0, ROW_GROUP).combine_chunks(), ROW_GROUP)
                held = held.slice(ROW_GROUP)
                written = True
        if held.num_rows or not written:
            writer.write_table(held.combine_chunks(), ROW_GROUP)
    return Path(path)


def read(path: Path | str, kind: str, *, classes: Sequence[str] | None = None) -> pa.Table:
    """Read and check a table of `kind`; a missing or truncated file is one clear `DataError`."""
    with _readable(path, kind):
        tbl = pq.read_table(path)
    return check(tbl, kind, path, classes=classes)


def slices(path: Path | str, kind: str, rows: int, *, classes: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The table of `kind` in `path`, `rows` rows at a time, each slice checked: no more than that is read at once.

    That keys are unique is seen in each slice only; `check_keys` looks at the keys of the whole file.
    """
    with _readable(path, kind):
        file = pq.ParquetFile(path, buffer_size=_READ_BYTES)
        with file:
            held = file.schema_arrow.empty_table()
            for batch in file.iter_batches(batch_size=min(rows, _READ_ROWS)):
                held = pa.concat_tables([held, pa.Table.from_batches([batch], held.schema)])
                while held.num_rows >= rows:
                    yield check(held.slice(0, rows).combine_chunks(), kind, path, classes=classes)
                    held = held.slice(rows)
            if held.num_rows:
                yield check(held.combine_chunks(), kind, path, classes=classes)


def read_columns(
    path: Path | str, kind: str, names: Sequence[str], *, classes: Sequence[str] | None = None
) -> pa.Table:
    """Some columns of the table of `kind` in `path`, all of which is checked, a row group's length at a time."""
    check_keys(path, kind)
    for _ in slices(path, kind, ROW_GROUP, classes=classes):
        pass
    return pq.read_table(path, columns=list(names))


def check_keys(path: Path | str, kind: str) -> int:
    """Raise `DataError` unless the keys of the table in `path` are unique; returns how many rows it has."""
    with _readable(path, kind):
        keys = pq.read_table(path, columns=KEYS[kind])
    _check_unique(keys, KEYS[kind], path)
    return int(keys.num_rows)


@contextmanager
def _readable(path: Path | str, kind: str) -> Iterator[None]:
    """Turn what goes wrong in reading a file into a `DataError`."""
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "no such file", f"a Parquet file of {kind}", "Run the stage that makes it.")
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            path,
            f"not a readable Parquet file ({error})",
            f"a whole Parquet file of {kind}",
            "Make it again.",
        ) from error


def rows_in(tbl: pa.Table, split: str) -> pa.Table:
    """The rows of one split, in stored order."""
    return tbl.filter(pc.equal(tbl["split"], split))


def labelled(classes: tuple[str, ...], proba: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Columns `label`, `proba` and `logprob` from class probabilities, shape (rows, classes)."""
    best = proba.argmax(axis=1)
    top = np.maximum(proba[np.arange(len(proba)), best], np.finfo(np.float32).tiny)
    flat = pa.array(np.ascontiguousarray(proba, dtype=np.float32).reshape(-1))
    offsets = pa.array(np.arange(0, proba.size + 1, proba.shape[1], dtype=np.int32))
    return {
        "label": np.asarray(classes, dtype=object)[best],
        "proba": pa.ListArray.from_arrays(offsets, flat, type=PREDICTIONS.field("proba").type),
        "logprob": np.log(top).astype(np.float32),
    }


def _check_columns(tbl: pa.Table, schema: pa.Schema, where: object) -> None:
    types = dict(zip(tbl.schema.names, tbl.schema.types, strict=True))
    missing = [n for n in schema.names if n not in types]
    if missing:
        raise DataError(
            where,
            f"missing column {missing[0]!r} (columns are {tbl.column_names})",
            ", ".join(schema.names),
            "Rename or add the column.",
        )
    for field in schema:
        if types[field.name] != field.type:
            raise _wrong_type(where, field, str(types[field.name]))
        if not field.nullable and (column := tbl[field.name]).null_count:
            _refuse(tbl, pc.is_null(column), where, "null", field.name, "a value in every row", "Fill it.")


def _check_unique(tbl: pa.Table, keys: list[str], where: object) -> None:
    if tbl.num_rows <= FEW and len(set(zip(*(tbl[key].to_pylist() for key in keys), strict=True))) == tbl.num_rows:
        return
    counts = tbl.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if twice.num_rows:
        row = twice.slice(0, 1).to_pylist()[0]
        first = " + ".join(repr(row[k]) for k in keys)
        raise DataError(
            where,
            f"{twice.num_rows} duplicate keys, the first {first} {row['count_all']} times",
            f"one row for each {' + '.join(keys)}",
            "Remove the duplicates.",
        )


def _check_examples(tbl: pa.Table, where: object) -> None:
    bad_split = pc.invert(pc.is_in(tbl["split"], pa.array(SPLITS)))
    _refuse(tbl, bad_split, where, "split '{}'", "split", ", ".join(SPLITS), "Correct the split.")
    empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(tbl["text"])), 0)
    _refuse(tbl, empty, where, "empty text", "text", "at least one visible character", "Remove the row.")


def _check_predictions(tbl: pa.Table, where: object) -> None:
    parts = (pc.is_null(tbl[name]) for name in ("label", "text", "error", "quality"))
    silent = reduce(pc.and_, parts)
    _refuse(
        tbl,
        silent,
        where,
        "neither an answer nor an error",
        "label",
        "a label, a text, a quality or an error",
        "Say why.",
    )
    for name in ("seconds", "cost_usd", *(name for name in PREDICTIONS.names if name.endswith("_tokens"))):
        column = tbl[name]
        if column.null_count == len(column):
            continue
        bad = pc.fill_null(pc.less(column, pa.scalar(0, column.type)), False)
        if pa.types.is_floating(column.type):
            bad = pc.or_(bad, pc.fill_null(pc.invert(pc.is_finite(column)), False))
        _refuse(tbl, bad, where, f"{name} is {{}}", name, "null or a finite number >= 0", "Measure it again.")
    _check_proba(tbl, where)


def _check_proba(tbl: pa.Table, where: object) -> None:
    if tbl["proba"].null_count == tbl.num_rows:
        return
    present = pc.is_valid(tbl["proba"]).to_numpy()
    lists = pc.drop_null(tbl["proba"]).combine_chunks()
    # NaN where a value is null, so that its row's sum is NaN too.
    values = lists.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())
    sums = np.bincount(row, values, len(lists))
    negative = np.bincount(row, values < 0, len(lists)) > 0
    bad = np.zeros(tbl.num_rows, bool)
    bad[present] = negative | ~(np.abs(sums - 1) <= PROBA_TOLERANCE)
    _refuse(
        tbl,
        pa.chunked_array([bad]),
        where,
        "proba {}",
        "proba",
        f"null or values >= 0 that sum to 1 (within {PROBA_TOLERANCE})",
        "Normalise the probabilities.",
    )


def _refuse(
    tbl: pa.Table, bad: pa.ChunkedArray, where: object, got: str, column: str, allowed: str, remedy: str
) -> None:
    count = pc.sum(bad).as_py() or 0
    if count:
        row = pc.index(bad, True).as_py()
        value = tbl[column][row].as_py()
        if isinstance(value, list):
            value = [v if v is None else round(v, 4) for v in value]
        raise DataError(
            where,
            f"{got.format(value)} in column '{column}', row {row} ({count} rows in all)",
            allowed,
            remedy,
        )


def _wrong_type(where: object, field: pa.Field, got: str) -> DataError:
    return DataError(where, f"column '{field.name}' is {got}", str(field.type), "Convert the column.")
