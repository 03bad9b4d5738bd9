"""GloVe text, plain or zipped, parsed once into a memory-mapped matrix and a word list."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from askless.errors import DataError
from askless.files import replacing_folder

Matrix = npt.NDArray[np.float32]
MATRIX, WORDS, LOWER = "vectors.npy", "words.txt", "lower"
BLOCK = 1 << 20
_LARGEST = float(np.finfo(np.float32).max)
_NUMBER = re.compile(rb"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def build(path: Path | str, folder: Path | str, dim: int, *, member: str | None = None, lower: bool = False) -> Path:
    """Parse GloVe text (plain, or a member of a zip) of `dim` numbers a line into `folder`; return the folder.

    With `lower` the vectors take texts in lower case, as GloVe's own words are. The folder takes the place of an
    older one only when it is whole. Raises `DataError` naming the first corrupt line.
    """
    path, folder = Path(path), Path(folder)
    with replacing_folder(folder) as part, open(part / MATRIX, "w+b") as matrix, open(part / WORDS, "wb") as words:
        _header(matrix, 0, dim)
        count = 0
        with _text(path, dim, member) as (stream, where):
            try:
                for names, rows in _parsed(stream, dim):
                    words.write(names)
                    matrix.write(rows.data)
                    count += len(rows)
            except (pa.ArrowInvalid, ValueError) as error:
                with _text(path, dim, member) as (again, _):
                    raise _corrupt(again, dim, where, error) from None
        if lower:
            (part / LOWER).touch()
        matrix.seek(0)
        _header(matrix, count, dim)
    return folder


def _parsed(stream: IO[bytes], dim: int) -> Iterator[tuple[bytes, Matrix]]:
    """Words, each with a newline, and their rows, block by block; `ValueError` where a line is corrupt."""
    from pyarrow import csv
    from tqdm import tqdm

    names = [str(place) for place in range(dim + 1)]
    kinds = {"0": pa.string(), **dict.fromkeys(names[1:], pa.float32())}
    blocks = csv.open_csv(
        stream,
        csv.ReadOptions(block_size=BLOCK, column_names=names),
        csv.ParseOptions(delimiter=" ", quote_char=False, double_quote=False, ignore_empty_lines=False),
        csv.ConvertOptions(column_types=kinds, null_values=[]),
    )
    with tqdm(desc="word vectors", unit=" words", unit_scale=True, disable=None) as bar:
        for block in blocks:
            words, *numbers = block.columns
            rows = np.column_stack(numbers)
            if not np.isfinite(rows).all() or pc.any(pc.equal(words, "")).as_py():
                raise ValueError("a number that is not finite, or no word")
            bar.update(len(rows))
            yield "".join(f"{word}\n" for word in words.to_pylist()).encode(), rows


def _corrupt(stream: IO[bytes], dim: int, where: str, error: Exception) -> DataError:
    """The error for the first corrupt line."""
    number = 0
    for number, line in enumerate(stream, start=1):
        got = _fault(line.rstrip(b"\r\n"), dim)
        if got:
            found = line.count(b" ")
            other = number == 1 and found > 1
            return DataError(
                where,
                f"line {number} {got}",
                f"a word and {dim} finite numbers, single spaces between",
                f"Set dim to {found}, or use a file of dimension {dim}." if other else "Download the file again.",
            )
    got = str(error) if number else "no lines"
    return DataError(where, got, f"lines of a word and {dim} numbers", "Download the file again.")


def _fault(line: bytes, dim: int) -> str | None:
    word, *numbers = line.split(b" ")
    if len(numbers) != dim:
        return f"has {len(numbers)} numbers"
    if not word:
        return "has no word"
    bad = next((n for n in numbers if not _NUMBER.fullmatch(n) or abs(float(n)) > _LARGEST), None)
    if bad is not None:
        return f"has a field that is no finite number ({bad.decode(errors='replace')!r})"
    return None if word.decode(errors="replace").encode() == word else "has a word that is not UTF-8"


@contextmanager
def _text(path: Path, dim: int, member: str | None) -> Iterator[tuple[IO[bytes], str]]:
    """The opened text, and its name for messages."""
    if not path.is_file():
        raise DataError(path, "no such file", "GloVe text or a zip of it", "Correct the path or download it.")
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as stream:
            yield stream, str(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            name = _member(archive, path, dim, member)
            with archive.open(name) as inside:
                yield io.BufferedReader(inside, BLOCK), f"{path}:{name}"  # type: ignore[type-var]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(path, f"a damaged zip ({error})", "a whole zip file", "Download it again.") from error


def _member(archive: zipfile.ZipFile, path: Path, dim: int, member: str | None) -> str:
    texts = [name for name in archive.namelist() if name.endswith(".txt")]
    fitting = [member] if member else [n for n in texts if n.endswith(f".{dim}d.txt")] or texts
    if len(fitting) != 1 or fitting[0] not in archive.namelist():
        raise DataError(
            path,
            f"no member '{member}'" if member else f"no single text of dimension {dim}",
            ", ".join(archive.namelist()) or "a zip with a text in it",
            "Set member to one of these.",
        )
    return fitting[0]


def _header(file: Any, rows: int, dim: int) -> None:
    """Write the .npy header, whose length does not depend on the number of rows."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)})
