"""An expert as options and files: built again from them, it answers the same on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from askless.errors import ConfigError
from askless.experts import backend_of, backends, build
from askless.experts.base import Expert, Setting

if TYPE_CHECKING:
    from askless.text.mean_vector_net import SmallModel

VECTORS = "vectors"


def as_expert(small: Expert | SmallModel) -> Expert:
    """The small expert itself, or the one that a network of its own makes."""
    if isinstance(small, Expert):
        return small
    from askless.experts.small.mlp import MlpExpert

    expert = MlpExpert(Setting(small.name, "", small.classes))
    expert.model_ = small
    return expert


def keep(expert: Expert, folder: Path) -> dict[str, Any]:
    """Write what `expert` has learnt into `folder`; returns its backend and options, plain values.

    Its word vectors are the caller's to keep. Raises `ConfigError` for an expert that answers from elsewhere, or whose
    class is registered under no name.
    """
    backend = backend_of(type(expert))
    if backend is None or not expert.kept:
        raise ConfigError(
            f"Expert '{expert.name}' of class {type(expert).__name__} cannot be kept in a bundle. "
            f"Allowed backends: {', '.join(sorted(backends(lambda kind: kind.kept)))}."
        )
    return {"backend": backend, **expert.keep(folder)}


def restored(folder: Path, name: str, classes: tuple[str, ...], options: Mapping[str, Any]) -> Expert:
    """The expert that `keep` wrote into `folder`, where `vectors` has its word vectors, ready to answer."""
    return build(Setting(name, "", classes, vectors=folder / VECTORS), options).restore(folder)
