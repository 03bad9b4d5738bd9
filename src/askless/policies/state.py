"""What was learnt as plain values, and back, by the annotations of the attributes that hold it.

An annotated attribute whose name ends in `_` is kept: `words_: dict[str, float]`. Known are numbers, strings, None,
arrays, tuples, lists, dicts, and objects whose arguments and annotated attributes are of these kinds again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np


def arguments(kind: type) -> list[str]:
    """Names of a class's arguments, among them those that its `**options` hand on to its parents."""
    names: list[str] = []
    for parent in kind.__mro__:
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(parent).parameters.values()
        own = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        names += [name for name in own if name not in names]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return names


def learnt(kind: type) -> dict[str, Any]:
    """The annotated attributes of a class that are kept, each with its type."""
    return {name: hint for name, hint in get_type_hints(kind).items() if name.endswith("_")}


def plain(value: Any) -> Any:
    """`value` in numbers, strings, lists and dicts of them."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return {name: plain(getattr(value, name)) for name in _parts(type(value))}


def restored(hint: Any, value: Any) -> Any:
    """The value of the type `hint` that `plain` gave; raises `KeyError` or `TypeError` for one that it did not."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        fitting = (each for each in args if (each is NoneType) == (value is None) and _fits(each, value))
        return restored(next(fitting), value)
    if origin is np.ndarray:
        return np.array(value, get_args(args[1])[0])
    if origin is tuple:
        return tuple(restored(args[0 if args[-1] is ... else k], each) for k, each in enumerate(value))
    if origin is list:
        return [restored(args[0], each) for each in value]
    if origin is dict:
        return {args[0](key): restored(args[1], each) for key, each in value.items()}
    if hint in (str, int, float, bool):
        return hint(value)
    return value if hint is NoneType else _object(hint, value)


def _parts(kind: type) -> list[str]:
    return [*arguments(kind), *learnt(kind)]


def _fits(hint: Any, value: Any) -> bool:
    """Whether a plain value can be one of a type, where it can be one of several."""
    return not isinstance(value, dict) or (isinstance(hint, type) and set(_parts(hint)) == set(value))


def _object(kind: type, value: Mapping[str, Any]) -> Any:
    hints = {**get_type_hints(vars(kind).get("__init__", kind)), **get_type_hints(kind)}
    made = kind(**{name: restored(hints[name], value[name]) for name in arguments(kind)})
    for name, hint in learnt(kind).items():
        setattr(made, name, restored(hint, value[name]))
    return made
