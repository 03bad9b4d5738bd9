"""An .npy file of one pickled object, read as plain lists, dicts and values; nothing in it is run.

Not even numpy's own reconstructors are: a crafted dtype makes them follow any pointer. Arrays come back as lists.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from askless.errors import DataError

_PLAIN = re.compile(r"b1|[iu][1248]|f[248]|[SU][0-9]+|O8?")


def load_npy(path: Path) -> Any:
    """What the file holds, if that is numpy arrays and plain containers of plain values; else `DataError`."""
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if dtype != np.dtype(object) or shape != ():
                raise ValueError(f"an array of {dtype} of shape {shape}")
            [value] = _Restricted(file).load()
            return value
    except Exception as error:
        raise DataError(
            path,
            str(error) or type(error).__name__,
            "one pickled object of numpy arrays and plain containers",
            "Do not load it by other means; fetch the original file again.",
        ) from error


class _Restricted(pickle.Unpickler):
    """Gives stand-ins for the few names that plain data need; any other name is refused before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name in the pickle."""
        full = f"{module.replace('numpy._core', 'numpy.core').replace('__builtin__', 'builtins')}.{name}"
        if full not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return _STAND_INS[full]

    def persistent_load(self, pid: Any) -> Any:
        """Nothing outside the file is looked up."""
        raise pickle.UnpicklingError("it refers to an object outside the file")


class _Dtype:
    """Stands in for numpy.dtype: a plain one, by its code."""

    def __init__(self, code: str, *flags: object) -> None:
        if not _PLAIN.fullmatch(code):
            raise pickle.UnpicklingError(f"it has numbers of the type {code!r}")
        self.code, self.order = code, "|"

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = state[1]

    def values(self, data: Any) -> list[Any]:
        """The items of an array: a list for objects, else raw bytes."""
        if self.code.startswith("O"):
            return list(data)
        items: list[Any] = np.frombuffer(bytes(data), np.dtype(self.order + self.code)).tolist()
        return items


class _Array(list[Any]):
    """Stands in for numpy.ndarray, made empty and then filled by its state."""

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, dtype, fortran, data = state
        self[:] = _shaped(dtype.values(data), shape, "F" if fortran else "C")


class _Call:
    """Stands in for a function; immutable, as a pickle may set the state of anything it has named."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes a function")


class _Reconstruct(_Call):
    def __call__(self, *empty: object) -> _Array:
        return _Array()


class _Scalar(_Call):
    def __call__(self, dtype: _Dtype, data: bytes) -> Any:
        [value] = dtype.values(data)
        return value


class _FromBuffer(_Call):
    def __call__(self, data: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
        return _Array(_shaped(dtype.values(data), shape, order))


class _Latin1(_Call):
    """How old pickles spell bytes; no other codec is reached."""

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
        return text.encode("latin1")


def _shaped(values: list[Any], shape: tuple[int, ...], order: str) -> list[Any]:
    """Nested lists of the shape; a single value is a list of one."""
    if len(shape) < 2:
        return values
    flat = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        flat[place] = value
    nested: list[Any] = flat.reshape(shape, order="F" if order == "F" else "C").tolist()
    return nested


_STAND_INS: dict[str, Any] = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": _Reconstruct(),
    "numpy.core.multiarray.scalar": _Scalar(),
    "numpy.core.numeric._frombuffer": _FromBuffer(),
    "_codecs.encode": _Latin1(),
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.bytearray": bytearray,
}
