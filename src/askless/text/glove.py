"""GloVe text, plain or zipped, parsed once into a memory-mapped matrix and a word list."""

from __future__ import annotations

import io
import os
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from askless.errors import DataError
from askless.files import replacing_folder
from askless.text.vocabulary import NEWLINE, SPACE

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
    with replacing_folder(folder) as part, _text(path, dim, member) as (stream, size, where):
        with open(part / MATRIX, "w+b") as matrix, open(part / WORDS, "wb") as words:
            _header(matrix, 0, dim)
            count = 0
            for names, rows in _parsed(stream, size, dim, where):
                words.write(names)
                matrix.write(rows.data)
                count += len(rows)
            if lower:
                (part / LOWER).touch()
            if not count:
                raise DataError(where, "no lines", f"lines of a word and {dim} numbers", "Download the file again.")
            matrix.seek(0)
            _header(matrix, count, dim)
    return folder


def _parsed(stream: IO[bytes], size: int, dim: int, where: str) -> Iterator[tuple[bytes, Matrix]]:
    """Words and rows, block by block in the file's order; blocks are parsed in threads."""
    from tqdm import tqdm

    workers = min(8, os.cpu_count() or 1)
    waiting: deque[tuple[bytes, Future[tuple[bytes, Matrix]]]] = deque()
    lines = 0
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=size, desc="word vectors", unit="B", unit_scale=True, disable=None) as bar,
    ):
        blocks = _blocks(stream)
        while True:
            while len(waiting) <= workers and (block := next(blocks, b"")):
                waiting.append((block, pool.submit(_parse, block, dim)))
            if not waiting:
                return
            block, future = waiting.popleft()
            try:
                names, rows = future.result()
            except (pa.ArrowInvalid, ValueError) as error:
                raise _corrupt(block, lines, dim, where, error) from None
            lines += len(rows)
            bar.update(len(block))
            yield names, rows


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """The stream in blocks of whole lines."""
    rest = b""
    while chunk := stream.read(BLOCK):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield rest + chunk[:cut]
            rest = chunk[cut:]
        else:
            rest += chunk
    if rest:
        yield rest + b"\n"


def _parse(block: bytes, dim: int) -> tuple[bytes, Matrix]:
    """The words, each with a newline, and the numbers of a block of lines; `ValueError` where a line is corrupt.

    Arrow casts all numbers at once: an array of strings lies over the block, its separators and words null.
    """
    raw, ends = _separators(block, dim)
    rows, fields = len(ends) // (dim + 1), dim + 1
    edges = np.zeros(2 * len(ends) + 1, np.int32)
    edges[1::2] = ends
    edges[2::2] = ends + 1
    numbers = np.tile(np.arange(2 * fields) % 2 == 0, (rows, 1))
    numbers[:, 0] = False
    places, text = pa.py_buffer(edges), pa.py_buffer(raw)
    valid = pa.py_buffer(np.packbits(numbers, bitorder="little"))
    strings = pa.StringArray.from_buffers(numbers.size, places, text, valid)
    cast = np.frombuffer(strings.cast(pa.float32()).buffers()[1], np.float32)
    values = np.ascontiguousarray(cast[: numbers.size].reshape(rows, 2 * fields)[:, 2::2])
    words = pa.StringArray.from_buffers(numbers.size, places, text).take(np.arange(0, numbers.size, 2 * fields))
    words.validate(full=True)
    if not np.isfinite(values).all() or pc.any(pc.equal(words, "")).as_py():
        raise ValueError("a number that is not finite, or no word")
    return pc.binary_join_element_wise(words, "\n", "").buffers()[2].to_pybytes(), values


def _separators(block: bytes, dim: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The block's bytes and where its fields end; `ValueError` unless each line has a word and `dim` numbers."""
    wanted = np.full(dim + 1, SPACE, np.uint8)
    wanted[-1] = NEWLINE
    for simple in (True, False):
        raw = np.frombuffer(block if simple else block.replace(b"\r\n", b"\n"), np.uint8)
        ends = np.flatnonzero(raw <= SPACE if simple else (raw == SPACE) | (raw == NEWLINE))
        if not len(ends) % (dim + 1) and (raw[ends].reshape(-1, dim + 1) == wanted).all():
            return raw, ends
    raise ValueError("lines of other lengths")


def _corrupt(block: bytes, before: int, dim: int, where: str, error: Exception) -> DataError:
    """The error for the first corrupt line of a block that follows `before` good lines."""
    for number, line in enumerate(block.split(b"\n")[:-1], start=before + 1):
        got = _fault(line.rstrip(b"\r"), dim)
        if got:
            found = line.count(b" ")
            other = number == 1 and found > 1
            return DataError(
                where,
                f"line {number} {got}",
                f"a word and {dim} finite numbers, single spaces between",
                f"Set dim to {found}, or use a file of dimension {dim}." if other else "Download the file again.",
            )
    return DataError(where, f"lines from {before + 1}: {error}", "GloVe text", "Download the file again.")


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
def _text(path: Path, dim: int, member: str | None) -> Iterator[tuple[IO[bytes], int, str]]:
    """The opened text, its size in bytes and its name for messages."""
    if not path.is_file():
        raise DataError(path, "no such file", "GloVe text or a zip of it", "Correct the path or download it.")
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as stream:
            yield stream, path.stat().st_size, str(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            name = _member(archive, path, dim, member)
            with archive.open(name) as inside:
                yield io.BufferedReader(inside, BLOCK), archive.getinfo(name).file_size, f"{path}:{name}"  # type: ignore[type-var]
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
