"""Classes by name: those shipped, and those that other installed packages bring as entry points.

A package brings one by a line in its pyproject.toml, under `[project.entry-points."askless.policies"]` or
`[project.entry-points."askless.experts"]`: `name = "module:Class"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TypeVar

from askless.errors import ConfigError

T = TypeVar("T")


def known(group: str, shipped: Mapping[str, str]) -> dict[str, str]:
    """Every name of a group with its `module:Class`, the shipped ones first.

    Installed packages are read once in a process, when this is first called.

    Parameters
    ----------
    group
        Name of the entry points: `askless.policies` or `askless.experts`.
    shipped
        Names that come with askless.

    Returns
    -------
    dict
        Name to `module:Class`.

    Raises
    ------
    ConfigError
        Where a package brings a name that is taken, by askless or by another package.
    """
    found, owner = dict(shipped), dict.fromkeys(shipped, "askless")
    for name, path, package in _brought(group):
        if found.setdefault(name, path) != path:
            raise ConfigError(
                f"Package {package} brings '{name}' as one of {group}, a name that {owner[name]} has. "
                "Allowed: each name once. Rename the entry point, or uninstall one of the packages."
            )
        owner.setdefault(name, package)
    return found


def load(path: str, base: type[T], name: str) -> type[T]:
    """The class at `module:Class`.

    Parameters
    ----------
    path
        Where it is.
    base
        What it must be a subclass of.
    name
        The name under which it is registered, for the message.

    Returns
    -------
    type
        The class, imported.

    Raises
    ------
    ConfigError
        Where there is no such module or class, or one that is no concrete subclass of `base`.
    """
    module, _, attribute = path.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"'{name}' is registered as '{path}', which cannot be loaded ({error}). "
            f"Allowed: 'module:Class' of a subclass of {base.__name__} that can be imported."
        ) from error
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if not (isinstance(kind, type) and issubclass(kind, base)) or missing:
        lacks = f"lacks {', '.join(missing)}" if missing else f"is no subclass of {base.__name__}"
        raise ConfigError(f"'{name}' is registered as '{path}', which {lacks}. Allowed: a subclass with all methods.")
    return kind


@cache
def _brought(group: str) -> tuple[tuple[str, str, str], ...]:
    """Name, `module:Class` and package of each entry point of a group."""
    from importlib.metadata import entry_points

    return tuple((e.name, e.value, e.dist.name if e.dist else "unknown") for e in entry_points(group=group))
