"""A fitted policy as a folder: safetensors for what is large, JSON for what is read; no pickle.

bundle.json             kind, arguments, experts, classes, what was learnt, the small expert's options, facts, files
allocator.safetensors   a team's allocator network
small.safetensors, ...  what the small expert has learnt, as it saves it (`Expert.keep`)
vectors/                the word vectors by which policy and small expert decide and answer
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from askless import policies
from askless.errors import AsklessError, ConfigError, DataError
from askless.experts.base import Expert
from askless.experts.small.persistence import VECTORS, as_expert, keep, restored
from askless.files import replacing_folder, write_text
from askless.policies.allocator import Allocator, Thresholds
from askless.policies.base import Plain, Policy

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors
    from askless.text.mean_vector_net import SmallModel

FORMAT = 3
ABOUT, ALLOCATOR = "bundle.json", "allocator.safetensors"
KEYS = {
    "arguments": dict,
    "classes": list,
    "experts": list,
    "facts": dict,
    "files": list,
    "kind": str,
    "learnt": dict,
    "small": dict | None,
}


@dataclass(frozen=True)
class Loaded:
    """A policy ready to decide, its classes (none for summaries), and the small expert that came with it, if any."""

    policy: Policy
    classes: tuple[str, ...]
    small: Expert | SmallModel | None


def save(
    policy: Policy,
    folder: Path,
    facts: Mapping[str, Any],
    classes: tuple[str, ...],
    small: Expert | SmallModel | None = None,
) -> Path:
    """Write a fitted policy into `folder`, replacing what stood there only when all of it is written.

    `facts` are plain values kept beside it (task, seed, training cost, data versions); `small` is `experts[0]` of a
    policy other than a team, which brings its own. With it the bundle decides by itself anywhere; without, it is a
    record of what was learnt, and word vectors are not in it. Raises `ConfigError` for a policy or a small expert
    that cannot be kept.
    """
    if not isinstance(policy, Plain | Allocator):
        raise ConfigError(
            f"{type(policy).__name__} cannot be kept. Allowed: teams, two_tier, chain, planned, summary_gain, length, "
            "random."
        )
    team = hasattr(policy, "allocator_")
    given = policy.small_ if team else small  # type: ignore[attr-defined]
    expert = None if given is None else as_expert(given)
    if expert is not None and expert.name != policy.experts[0]:
        raise ConfigError(f"The small expert is '{expert.name}'. Allowed: '{policy.experts[0]}', the policy's first.")
    words = None if expert is None else _vectors(policy, expert)
    with replacing_folder(folder) as part:
        options = None if expert is None else keep(expert, part)
        if team:
            from safetensors.torch import save_file

            save_file(policy.allocator_.state_dict(), part / ALLOCATOR)  # type: ignore[attr-defined]
        if words is not None:
            words.save(part / VECTORS)
        about = {
            "format": FORMAT,
            "files": [ABOUT, *sorted(path.name for path in part.iterdir())],
            "kind": kind_of(policy),
            "arguments": {k: v for k, v in policy.get_params().items() if k not in ("experts", "vectors")},
            "experts": list(policy.experts),
            "classes": list(classes),
            "learnt": policy.state() if isinstance(policy, Plain) else _learnt(policy),
            "small": options,
            "facts": dict(facts),
        }
        write_text(part / ABOUT, json.dumps(about, indent=1, sort_keys=True) + "\n")
    return folder


def load(folder: Path | str, vectors: Vectors | None = None) -> Loaded:
    """The policy that `save` wrote, ready to decide; `vectors` for one that needs word vectors and has none with it.

    Raises `DataError` naming what is missing or broken.
    """
    folder = Path(folder)
    about = describe(folder)
    try:
        return _read(folder, about, vectors)
    except AsklessError:
        raise
    except Exception as error:
        raise _broken(folder, f"{type(error).__name__}: {error}") from error


def describe(folder: Path | str) -> dict[str, Any]:
    """What `bundle.json` says, without loading any network."""
    folder = Path(folder)
    if not (folder / ABOUT).exists():
        raise DataError(folder, f"no {ABOUT}", "the folder of a trained team or policy", "Train it again.")
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _broken(folder, str(error)) from error
    kept = about.get("format") if isinstance(about, dict) else None
    if kept != FORMAT:
        raise DataError(folder, f"bundle format {kept}", f"format {FORMAT}", "Train it again with this version.")
    wrong = [key for key, kind in KEYS.items() if key not in about or not isinstance(about[key], kind)]
    if wrong:
        raise _broken(folder, f"'{wrong[0]}' in {ABOUT} is {about.get(wrong[0], 'absent')!r}")
    missing = [name for name in map(str, about["files"]) if not (folder / name).exists()]
    if missing:
        raise DataError(
            folder, f"no {missing[0]}", f"a folder with {', '.join(map(str, about['files']))}", "Train it again."
        )
    return dict(about)


def kind_of(policy: Policy) -> str:
    """The name under which the policy's class is registered."""
    path = f"{type(policy).__module__}:{type(policy).__qualname__}"
    return next(name for name, at in policies.POLICIES.items() if at == path)


def _read(folder: Path, about: Mapping[str, Any], vectors: Vectors | None) -> Loaded:
    experts, classes, small = tuple(about["experts"]), tuple(about["classes"]), None
    if about["small"]:
        small = restored(folder, experts[0], classes, about["small"])
        vectors = small.vectors
    if vectors is None and VECTORS in about["files"]:
        from askless.text.embeddings import Vectors

        vectors = Vectors.open(folder / VECTORS)
    options = {"kind": about["kind"], **about["arguments"]}
    policy = policies.build(folder.name, options, experts=experts, vectors=vectors)
    if isinstance(policy, Plain):
        policy.restore(about["learnt"])
    elif isinstance(policy, Allocator):
        _restore(policy, folder, about["learnt"], small)
    return Loaded(policy, classes, small)


def _learnt(policy: Allocator) -> dict[str, Any]:
    """What an allocator has learnt but for networks, as plain values."""
    thresholds = {name: values.tolist() for name, values in asdict(policy.thresholds_).items()}
    learnt = {"prices": policy.prices_.tolist(), "thresholds": thresholds}
    if hasattr(policy, "allocator_"):
        calibrators = getattr(policy, "calibrators_", np.zeros((0, 2)))
        learnt |= {"epoch": policy.epoch_, "calibrators": calibrators.tolist()}  # type: ignore[attr-defined]
    return learnt


def _restore(policy: Any, folder: Path, learnt: Mapping[str, Any], small: Any) -> None:
    policy.prices_ = np.array(learnt["prices"])
    policy.thresholds_ = Thresholds(**{name: np.array(values) for name, values in learnt["thresholds"].items()})
    if not (folder / ALLOCATOR).exists():
        return
    from safetensors.torch import load_file

    from askless.text.networks import load_stack

    policy.allocator_, policy.epoch_ = load_stack(load_file(folder / ALLOCATOR)), learnt["epoch"]
    policy.small_, policy.classes_ = small.model_, small.model_.classes
    if learnt["calibrators"]:
        policy.calibrators_ = np.array(learnt["calibrators"])


def _vectors(policy: Policy, small: Expert) -> Vectors | None:
    """The word vectors that policy and small expert share; raises `ConfigError` where each has others."""
    known: list[Vectors] = [each for each in (getattr(policy, "vectors", None), small.vectors) if each is not None]
    if len(known) == 2 and not _same(*known):
        sizes = " and ".join(f"{len(each)} words of dimension {each.dim}" for each in known)
        raise ConfigError(
            f"{type(policy).__name__} and '{small.name}' know different word vectors: {sizes}. Allowed: the same for "
            "both. Open one folder for the two."
        )
    return known[0] if known else None


def _same(one: Vectors, other: Vectors) -> bool:
    if one is other:
        return True
    alike = one.lower == other.lower and np.array_equal(one.matrix, other.matrix)
    return alike and one.vocabulary.words() == other.vocabulary.words()


def _broken(folder: Path, got: str) -> DataError:
    return DataError(folder, f"not a bundle ({got})", "the folder that save wrote", "Train it again.")
