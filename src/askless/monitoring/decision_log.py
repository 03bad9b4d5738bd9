"""What was decided in production, row by row: Parquet parts in one folder, only ever added to, bounded in size.

Every append is a part of its own name, written beside and renamed, so that any number of writers and readers may work
at once. When the parts come to more than the limit the oldest are dropped, and counted. Texts are not in it unless
asked for: a row is found again by its id. That is not the item's own, which is a hash of its text that anybody can
reckon who guesses the text, but one that needs the secret of the log too (`DecisionLog.names`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from askless.errors import ConfigError, DataError
from askless.files import locked, replacing, write_text

ROWS = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("expert", pa.string(), nullable=False),
        pa.field("asked", pa.list_(pa.field("element", pa.string())), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("cost", pa.float64(), nullable=False),
        pa.field("paid", pa.float64()),
        pa.field("small_answer", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("audit", pa.bool_(), nullable=False),
        pa.field("agree", pa.bool_()),
        pa.field("audit_cost", pa.float64(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("text", pa.string()),
    ]
)
KEY = 16
SECRET, VARIABLE = ".secret", "ASKLESS_SECRET"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRow:
    """One decided item, as every part of the product writes it down; `log_rows` makes a table of many.

    Parameters
    ----------
    time
        When the item was decided, with its time zone.
    id, task, version
        The item, its task, and the number of the version that decided.
    expert
        Who gave the answer.
    asked
        The expensive experts that the item was put to by decision, in order.
    score
        What decided, None where nothing did.
    cost
        All that was spent on the item, in the task's cost unit, audits apart.
    paid
        What expensive experts took of that; None where none was asked.
    small_answer, answer
        The small expert's label or summary, and the one given; None where there is none.
    audit
        Whether small expert and reference were both asked, whatever the decision.
    agree
        Whether these two agreed; None without an audit, and where either gave no answer.
    audit_cost
        What the audit cost beyond `cost`.
    error
        What went wrong with an expensive expert.
    text
        The item itself, None where it is not to be kept.
    """

    time: datetime
    id: str
    task: str
    version: str
    expert: str
    asked: Sequence[str]
    score: float | None
    cost: float
    paid: float | None = None
    small_answer: str | None = None
    answer: str | None = None
    audit: bool = False
    agree: bool | None = None
    audit_cost: float = 0.0
    error: str | None = None
    text: str | None = None


def log_rows(rows: Iterable[DecisionRow]) -> pa.Table:
    """Decided items as a table of the columns `ROWS`."""
    given = list(rows)
    columns = {name: [getattr(row, name) for row in given] for name in ROWS.names}
    return checked(pa.table({f.name: pa.array(columns[f.name], f.type, from_pandas=True) for f in ROWS}), "decisions")


class DecisionLog:
    """The log of one task: Parquet parts in a folder, only ever added to.

    Parameters
    ----------
    folder
        Where the parts are; made by the first `append`.
    megabytes
        Size beyond which the oldest parts are dropped, above 0 and finite.
    beside
        The folder of another log whose secret this one shares, so that an item has one name in both.

    Raises
    ------
    ConfigError
        For a size that is not.
    """

    def __init__(self, folder: Path | str, megabytes: float = 256.0, beside: Path | None = None) -> None:
        if not 0 < megabytes < float("inf"):
            raise ConfigError(f"A decision log of {megabytes:g} megabytes. Allowed: a finite number above 0.")
        self.folder = Path(folder)
        self.megabytes = megabytes
        self.beside = beside

    def names(self, ids: Iterable[str]) -> list[str]:
        """What items of these ids are called here: HMAC-SHA-256 of the id, of as many digits.

        Its key is what the environment variable `ASKLESS_SECRET` holds, else the file `.secret` beside the parts, which
        is made at the first use.
        """
        return [hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()[:KEY] for name in ids]

    @cached_property
    def _secret(self) -> bytes:
        if given := os.environ.get(VARIABLE):
            return given.encode()
        folder = self.beside or self.folder
        path = folder / SECRET
        with locked(folder / ".lock"):
            if not path.exists():
                with replacing(path, private=True) as part:
                    part.write_text(secrets.token_hex(32), encoding="ascii")
            try:
                return path.read_bytes()
            except OSError as error:
                got, remedy = f"not readable ({error.strerror})", f"Correct its rights, or set {VARIABLE}."
                raise DataError(path, got, "the secret of the log", remedy) from error

    def append(self, rows: pa.Table, key: str = "") -> Path | None:
        """Add `rows` as one part; None where there are none, or where rows of this `key` are in the log already.

        Raises `DataError` for rows that break `ROWS` and where the folder cannot be written.
        """
        rows = checked(rows, self.folder)
        if not rows.num_rows:
            return None
        with locked(self.folder / ".lock"):
            if key and any(part.stem.endswith(f"-{key}") for part in self.parts()):
                return None
            path = self.folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{key or uuid.uuid4().hex[:KEY]}.parquet"
            with replacing(path, private=True) as part:
                pq.write_table(rows, part, compression="zstd")
            self._drop()
        return path

    def parts(self) -> list[Path]:
        """The files of the log, oldest first."""
        return sorted(path for path in self.folder.glob("*.parquet") if not path.name.startswith("."))

    def read(self, parts: Sequence[Path] | None = None) -> pa.Table:
        """The rows of `parts` (all by default), oldest first; a part that has been dropped meanwhile has none.

        Raises `DataError` naming a part that cannot be read.
        """
        tables = [_read(part) for part in (self.parts() if parts is None else parts)]
        return pa.concat_tables([ROWS.empty_table(), *tables])

    def dropped(self) -> dict[str, int]:
        """How many `parts` and `rows` were dropped so far to stay within the limit."""
        found = self._counted()
        return {"parts": int(found["parts"]), "rows": int(found["rows"])}

    def _counted(self) -> dict[str, int | str]:
        try:
            return dict(json.loads((self.folder / "dropped.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {"parts": 0, "rows": 0, "last": ""}

    def _drop(self) -> None:
        """Drop the oldest parts beyond the limit, never the newest; a kill in between counts none twice."""
        parts = self.parts()
        sizes = [part.stat().st_size for part in parts]
        left = sum(sizes)
        for part, size in zip(parts[:-1], sizes[:-1], strict=True):
            if left <= self.megabytes * 1e6:
                return
            count = self._counted()
            if part.name != count["last"]:
                rows = int(count["rows"]) + pq.read_metadata(part).num_rows
                now = {"parts": int(count["parts"]) + 1, "rows": rows, "last": part.name}
                write_text(self.folder / "dropped.json", json.dumps(now) + "\n")
            part.unlink()
            left -= size


def checked(rows: pa.Table, where: object) -> pa.Table:
    """`rows` as `ROWS` has them, columns that may be null filled in; raises `DataError` naming what does not fit."""
    unknown = [name for name in rows.column_names if name not in ROWS.names]
    lacking = [field.name for field in ROWS if not field.nullable and field.name not in rows.column_names]
    if unknown or lacking:
        got = f"unknown column '{unknown[0]}'" if unknown else f"no column '{lacking[0]}'"
        raise DataError(where, got, f"the columns {', '.join(ROWS.names)}", "Rename, drop or add it.")
    columns = []
    for field in ROWS:
        given = rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        try:
            column = given.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(where, f"column '{field.name}' is {given.type}", str(field.type), "Convert it.") from error
        if column.null_count and not field.nullable:
            raise DataError(where, f"{column.null_count} nulls in '{field.name}'", "a value in every row", "Fill it.")
        columns.append(column)
    return pa.table(columns, schema=ROWS)


def _read(part: Path) -> pa.Table:
    try:
        return checked(pq.read_table(part).replace_schema_metadata(None), part)
    except FileNotFoundError:
        return ROWS.empty_table()
    except (pa.ArrowException, OSError) as error:
        remedy = "Move it away: the rest of the log is whole."
        raise DataError(part, f"unreadable ({error})", "a part that the log wrote", remedy) from error
