"""A fitted policy as a folder: safetensors for what is large, JSON for what is read; no pickle.

bundle.json             kind, arguments, experts, classes, what was learnt, facts, and the names of the other files
small.safetensors       the small network, where the policy asks one first
allocator.safetensors   a team's allocator network
vectors/                the rows of the word vectors that the networks need
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deferral import schema
from deferral.errors import ConfigError, DataError
from deferral.policies.base import Budget, Chooser, Plain, Policy
from deferral.schema import replacing_folder, write_text

if TYPE_CHECKING:
    import pyarrow as pa

    from deferral.policies.team import Team
    from deferral.small import SmallModel

FORMAT = 2
NETWORKS = ("small.safetensors", "allocator.safetensors")


@dataclass(frozen=True)
class Loaded:
    """A policy ready to decide, its classes, and the small network that it asks first, if it has one of its own."""

    policy: Policy
    classes: tuple[str, ...]
    small: SmallModel | None


def save(
    policy: Policy, folder: Path, facts: Mapping[str, Any], classes: tuple[str, ...], small: SmallModel | None = None
) -> Path:
    """Write a fitted policy into `folder`, replacing what stood there only when all of it is written.

    `facts` are plain values kept beside it (task, seed, training cost, data versions); `small` is the network that a
    policy other than a team asks first. Raises `ConfigError` for a policy that cannot be written as plain values.
    """
    from safetensors.torch import save_file

    networks, learnt = {}, {}
    if hasattr(policy, "allocator_"):
        team: Team = policy  # type: ignore[assignment]
        small, networks = team.small_, {"allocator.safetensors": team.allocator_.state_dict()}
        learnt = _learnt(team)
    elif isinstance(policy, Plain):
        learnt = policy.state()
    else:
        raise ConfigError(f"{type(policy).__name__} cannot be kept. Allowed: teams, two_tier, chain, planned.")
    if small is not None:
        networks["small.safetensors"] = small.stack.state_dict()
    files = ["bundle.json", *sorted(networks), *(["vectors"] if small else [])]
    about = {
        "format": FORMAT,
        "files": files,
        "kind": kind_of(policy),
        "arguments": {k: v for k, v in policy.get_params().items() if k not in ("experts", "vectors")},
        "experts": list(policy.experts),
        "classes": list(classes),
        "learnt": learnt,
        "facts": dict(facts),
    }
    with replacing_folder(folder) as part:
        for name, weights in networks.items():
            save_file(weights, part / name)
        if small is not None:
            small.vectors.save(part / "vectors")
        write_text(part / "bundle.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
    return folder


def load(folder: Path | str) -> Loaded:
    """The policy that `save` wrote, ready to decide; raises `DataError` naming what is missing."""
    from deferral.policies import resolve

    folder = Path(folder)
    about = describe(folder)
    kind: Any = resolve(folder.name, about["kind"])
    experts, classes = tuple(about["experts"]), tuple(about["classes"])
    if "small.safetensors" not in about["files"]:
        return Loaded(kind(experts, **about["arguments"]).restore(about["learnt"]), classes, None)
    small = _small(folder, experts[0], classes)
    if "allocator.safetensors" not in about["files"]:
        return Loaded(kind(experts, **about["arguments"]).restore(about["learnt"]), classes, small)
    team: Team = kind(experts, small.vectors, **about["arguments"])
    _restore(team, small, folder, about["learnt"])
    return Loaded(team, classes, small)


def _small(folder: Path, name: str, classes: tuple[str, ...]) -> SmallModel:
    from safetensors.torch import load_file

    from deferral.embeddings import Vectors
    from deferral.networks import load_stack
    from deferral.small import SmallModel

    stack = load_stack(load_file(folder / "small.safetensors"))
    return SmallModel(name, classes, stack, Vectors.open(folder / "vectors"))


def _learnt(team: Team) -> dict[str, Any]:
    return {
        "epoch": team.epoch_,
        "prices": team.prices_.tolist(),
        "thresholds": {k: v.tolist() for k, v in asdict(team.thresholds_).items()},
        "calibrators": getattr(team, "calibrators_", np.zeros((0, 2))).tolist(),
    }


def _restore(team: Team, small: SmallModel, folder: Path, learnt: Mapping[str, Any]) -> None:
    from safetensors.torch import load_file

    from deferral.networks import load_stack
    from deferral.policies.allocator import Thresholds

    team.classes_, team.small_, team.epoch_ = small.classes, small, learnt["epoch"]
    team.allocator_ = load_stack(load_file(folder / "allocator.safetensors"))
    team.prices_ = np.array(learnt["prices"])
    team.thresholds_ = Thresholds(**{k: np.array(v) for k, v in learnt["thresholds"].items()})
    if learnt["calibrators"]:
        team.calibrators_ = np.array(learnt["calibrators"])  # type: ignore[attr-defined]


def describe(folder: Path | str) -> dict[str, Any]:
    """What `bundle.json` says, without loading any network."""
    folder = Path(folder)
    if not (folder / "bundle.json").exists():
        raise DataError(folder, "no bundle.json", "the folder of a trained team or policy", "Train it again.")
    about: dict[str, Any] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    if about.get("format") != FORMAT:
        raise DataError(
            folder, f"bundle format {about.get('format')}", f"format {FORMAT}", "Train it again with this version."
        )
    missing = [name for name in about["files"] if not (folder / name).exists()]
    if missing:
        raise DataError(folder, f"no {missing[0]}", f"a folder with {', '.join(about['files'])}", "Train it again.")
    return about


@dataclass(frozen=True)
class Assigned:
    """Who should answer each text, and what the small model says to it; lists of one length."""

    expert: list[str]
    small_label: list[str]
    small_confidence: list[float]
    score: list[float]


class _Silent:
    """Stands where an LLM would be asked: it is noted that it would, and nothing is said."""

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self, examples: pa.Table) -> pa.Table:
        """No label, at no cost."""
        n = examples.num_rows
        told = {"expert": [self.name] * n, "error": ["not asked"] * n, "seconds": np.zeros(n, np.float32)}
        return schema.table("predictions", {"id": examples["id"].combine_chunks(), **told})


def assign(loaded: Loaded, texts: list[str], budget: Budget | None = None) -> Assigned:
    """Decide for new texts without asking any LLM; the small model's answers come along.

    Raises `ConfigError` for a policy that must hear an LLM before it can decide.
    """
    import pyarrow as pa

    from deferral.cost import CostModel
    from deferral.panel import Panel

    policy, small = loaded.policy, loaded.small
    if small is None or not (policy.pair or isinstance(policy, Chooser)):
        raise ConfigError(
            f"{type(policy).__name__} over {', '.join(policy.experts)} has no small network, or "
            "decides by what LLMs answer. Allowed: a team, or a policy between the small network and one LLM."
        )
    examples = schema.table(
        "examples",
        {"id": [str(i) for i in range(len(texts))], "text": pa.array(texts), "split": ["test"] * len(texts)},
    )
    silent = {name: _Silent(name) for name in policy.experts[1:]}
    panel = Panel(examples, {small.name: small, **silent}, CostModel("seconds"), loaded.classes, blind=True)
    decided = policy.decide(panel, budget)
    answers = panel.ask(small.name)
    last = decided.asked.shape[1] - 1 - np.argmax(decided.asked[:, ::-1], axis=1)
    return Assigned(
        expert=[policy.experts[j] for j in last],
        small_label=[loaded.classes[c] for c in answers.label],
        small_confidence=answers.proba.max(axis=1).round(6).tolist(),
        score=np.nan_to_num(decided.score).round(6).tolist(),
    )


def kind_of(policy: Policy) -> str:
    """The name under which the policy's class is registered."""
    from deferral.policies import POLICIES

    path = f"{type(policy).__module__}:{type(policy).__qualname__}"
    return next(name for name, at in POLICIES.items() if at == path)
