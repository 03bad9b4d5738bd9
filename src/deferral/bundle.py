"""A fitted team as a folder: safetensors for what is large, JSON for what is read; no pickle.

bundle.json             kind, arguments, experts, classes, prices, thresholds, what training cost
small.safetensors       the small network
allocator.safetensors   the allocator network
vectors/                the rows of the word vectors that the team needs
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deferral.errors import DataError
from deferral.schema import replacing_folder, write_text

if TYPE_CHECKING:
    from deferral.policies.base import Budget
    from deferral.policies.team import Team

FORMAT = 1
FILES = ("bundle.json", "small.safetensors", "allocator.safetensors", "vectors")


def save(team: Team, folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write a fitted team into `folder`, replacing what stood there only when all of it is written.

    `facts` are plain values kept beside it (task, seed, training cost, data versions).
    """
    from safetensors.torch import save_file

    arguments = {k: v for k, v in team.get_params().items() if k not in ("experts", "vectors")}
    about = {
        "format": FORMAT,
        "kind": _kind_of(team),
        "arguments": arguments,
        "experts": list(team.experts),
        "classes": list(team.classes_),
        "epoch": team.epoch_,
        "prices": team.prices_.tolist(),
        "thresholds": {k: v.tolist() for k, v in asdict(team.thresholds_).items()},
        "calibrators": getattr(team, "calibrators_", np.zeros((0, 2))).tolist(),
        "facts": dict(facts),
    }
    with replacing_folder(folder) as part:
        save_file(team.small_.stack.state_dict(), part / "small.safetensors")
        save_file(team.allocator_.state_dict(), part / "allocator.safetensors")
        team.vectors.save(part / "vectors")
        write_text(part / "bundle.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
    return folder


def load(folder: Path | str) -> Team:
    """The team that `save` wrote, ready to decide; raises `DataError` naming what is missing."""
    from safetensors.torch import load_file

    from deferral.embeddings import Vectors
    from deferral.networks import load_stack
    from deferral.policies import resolve
    from deferral.policies.allocator import Thresholds
    from deferral.small import SmallModel

    folder = Path(folder)
    about = describe(folder)
    vectors = Vectors.open(folder / "vectors")
    kind: Any = resolve(folder.name, about["kind"])
    team: Team = kind(tuple(about["experts"]), vectors, **about["arguments"])
    team.classes_ = tuple(about["classes"])
    small = load_stack(load_file(folder / "small.safetensors"))
    team.small_ = SmallModel(team.experts[0], team.classes_, small, vectors)
    team.allocator_ = load_stack(load_file(folder / "allocator.safetensors"))
    team.epoch_ = about["epoch"]
    team.prices_ = np.array(about["prices"])
    team.thresholds_ = Thresholds(**{k: np.array(v) for k, v in about["thresholds"].items()})
    if about["calibrators"]:
        team.calibrators_ = np.array(about["calibrators"])  # type: ignore[attr-defined]
    return team


def describe(folder: Path | str) -> dict[str, Any]:
    """What `bundle.json` says, without loading any network."""
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise DataError(folder, f"no {missing[0]}", f"a bundle folder with {', '.join(FILES)}", "Train it again.")
    about: dict[str, Any] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    if about.get("format") != FORMAT:
        raise DataError(
            folder, f"bundle format {about.get('format')}", f"format {FORMAT}", "Train it again with this version."
        )
    return about


@dataclass(frozen=True)
class Assigned:
    """Who should answer each text, and what the small model says to it; lists of one length."""

    expert: list[str]
    small_label: list[str]
    small_confidence: list[float]
    score: list[float]


def assign(team: Team, texts: list[str], budget: Budget | None = None) -> Assigned:
    """Decide for new texts without asking any LLM; the small model's answers come along."""
    import pyarrow as pa

    from deferral import schema
    from deferral.cost import CostModel
    from deferral.panel import Panel

    examples = schema.table(
        "examples",
        {"id": [str(i) for i in range(len(texts))], "text": pa.array(texts), "split": ["test"] * len(texts)},
    )
    panel = Panel(examples, {}, CostModel("seconds"), team.classes_, blind=True)
    seen = team.look(panel)
    choice = team.choose(seen, budget)
    small = panel.ask(team.experts[0])
    return Assigned(
        expert=[team.experts[j] for j in choice],
        small_label=[team.classes_[c] for c in small.label],
        small_confidence=small.proba.max(axis=1).round(6).tolist(),
        score=team.score(seen).round(6).tolist(),
    )


def _kind_of(team: Team) -> str:
    from deferral.policies import POLICIES

    path = f"{type(team).__module__}:{type(team).__qualname__}"
    return next(name for name, at in POLICIES.items() if at == path)
