"""An expert as options and files: built again from them, it answers the same on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from askless.errors import ConfigError
from askless.experts import backend_of, backends, build, resolve
from askless.experts.base import Expert, Setting

if TYPE_CHECKING:
    from askless.text.mean_vector_net import MeanVectorNet

VECTORS = "vectors"


def as_expert(small: Expert | MeanVectorNet) -> Expert:
    """The small expert itself, or the one that a network of its own makes."""
    if isinstance(small, Expert):
        return small
    from askless.experts.small.mlp import MlpExpert

    expert = MlpExpert(Setting(small.name, "", small.classes), features=small.reads.features)
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
    _check_code(expert.name, options := expert.keep(folder))
    return {"backend": backend, **options}


def restored(
    folder: Path, name: str, classes: tuple[str, ...], options: Mapping[str, Any], encoded: Path | None = None
) -> Expert:
    """The expert that `keep` wrote into `folder`, where `vectors` has its word vectors, ready to answer.

    `encoded` is where sentence vectors are kept, None: nowhere.

    Raises `ConfigError` for a backend that cannot be kept, and for code that came along: neither came from `keep`.
    """
    if not resolve(str(options.get("backend")), name).kept:
        raise ConfigError(
            f"Expert '{name}' in {folder} has backend {options.get('backend')}, which no bundle can keep. "
            f"Allowed: {', '.join(sorted(backends(lambda kind: kind.kept)))}. Use a bundle that Bundle.save wrote."
        )
    _check_code(name, options)
    return build(Setting(name, "", classes, vectors=folder / VECTORS, encoded=encoded), options).restore(folder)


def _check_code(name: str, options: Mapping[str, Any]) -> None:
    if options.get("trust_remote_code"):
        raise ConfigError(
            f"Expert '{name}' has trust_remote_code, which would run code of a bundle wherever that is loaded. "
            "Allowed for the small expert of a bundle: false. Take a model that transformers knows itself."
        )
