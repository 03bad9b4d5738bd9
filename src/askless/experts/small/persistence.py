"""An expert as options and files: built again from them, it answers the same on another machine."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from askless.errors import ConfigError
from askless.experts import EXPERTS, build, options_of
from askless.experts.base import Expert, Setting, TrainedExpert

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors
    from askless.text.mean_vector_net import SmallModel

KEPT = ("extractive", "lead", "linear", "majority", "mlp", "seq2seq")
CHECKPOINT = "checkpoint"
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

    Word vectors (`vectors_of`) are the caller's to keep. Of an encoder-decoder in a folder its files are kept, of one
    on the hub the name and the commit. Raises `ConfigError` for an expert that answers from elsewhere.
    """
    backend = _backend_of(expert)
    if backend not in KEPT:
        raise ConfigError(
            f"Expert '{expert.name}' of class {type(expert).__name__} cannot be kept in a bundle. "
            f"Allowed backends: {', '.join(KEPT)}."
        )
    options = {"backend": backend, **{name: getattr(expert, name) for name in options_of(backend)}}
    if isinstance(expert, TrainedExpert):
        expert.save(folder)
    if backend == "seq2seq":
        checkpoint = expert.checkpoint  # type: ignore[attr-defined]
        options["revision"] = None if checkpoint.folder else checkpoint.revision
        if checkpoint.folder is not None:
            shutil.copytree(checkpoint.folder, folder / CHECKPOINT)
            options["model"] = CHECKPOINT
    return options


def restored(folder: Path, name: str, classes: tuple[str, ...], options: Mapping[str, Any]) -> Expert:
    """The expert that `keep` wrote into `folder`, where `vectors` has its word vectors, ready to answer."""
    options = dict(options)
    if (folder / CHECKPOINT).is_dir():
        options["model"] = str(folder / CHECKPOINT)
    expert = build(Setting(name, "", classes, vectors=folder / VECTORS), options)
    return expert.load(folder) if isinstance(expert, TrainedExpert) else expert


def vectors_of(expert: Expert) -> Vectors | None:
    """The word vectors by which `expert` answers, None where it knows none."""
    found: Vectors | None = getattr(getattr(expert, "model_", expert), "vectors", None)
    return found


def _backend_of(expert: Expert) -> str:
    path = f"{type(expert).__module__}:{type(expert).__qualname__}"
    return next((name for name, at in EXPERTS.items() if at == path), "")
