"""A fitted policy as a folder: safetensors for what is large, JSON for what is read; no pickle.

bundle.json             kind, arguments, experts, classes, what was learnt, the small expert's options, facts, digests
allocator.safetensors   a team's allocator network
small.safetensors, ...  what the small expert has learnt, as it saves it (`Expert.keep`)
vectors/                the word vectors by which policy and small expert decide and answer
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from askless import config, policies
from askless.errors import AsklessError, ConfigError, DataError
from askless.experts.base import Expert
from askless.experts.small.persistence import VECTORS, as_expert, keep, restored
from askless.files import read_json, replacing_folder, sha256_of, write_text
from askless.policies.base import Budget, Policy

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors
    from askless.text.mean_vector_net import MeanVectorNet

FORMAT = 7
FILE = "bundle.json"
# Where the folder of a run has the bundle that the run made.
OF_RUN = "model"
# What is put beside a bundle after it was saved, and is no part of what decides.
BESIDE = ("baseline.parquet", "card.md", "curve.png", "known.json", "policies", "terms.json", "words.npz")
REMEDY = "Plan or train it again; register a registered model again."
KEYS = {
    "arguments": dict,
    "classes": list,
    "digests": dict,
    "experts": list,
    "facts": dict,
    "files": list,
    "kind": str,
    "learnt": dict,
    "small": dict | None,
}


@dataclass(frozen=True, eq=False)
class Bundle:
    """A fitted policy with all that it needs to decide; `of` makes one in memory, `load` reads a folder.

    Reading takes bundle.json alone. The policy, its networks and word vectors are read when they are first asked for.

    Parameters
    ----------
    kind
        Name under which the policy's class is registered; empty for one that is not.
    experts
        The policy's experts, the small one first.
    classes
        The classes it decides about, none for summaries.
    arguments
        What the policy was made with.
    facts
        Plain values on how it was made: `task`, `team` (its name in params.yaml), `seed`, `unit`, `valid_quality`, ...,
        and the `budget` at which it works, where that was set: a share of items from 0 to 1, or what a plan was made
        for, as in `{per_1000: 5}`.
    small_options
        Backend and options of the small expert that is in the folder, None where none is.
    folder
        Where it is kept, None in memory.
    parts
        Gives the policy and its small expert, which `policy` and `small` keep.
    """

    format: ClassVar[int] = FORMAT

    kind: str
    experts: tuple[str, ...]
    classes: tuple[str, ...]
    arguments: Mapping[str, Any]
    facts: Mapping[str, Any]
    small_options: Mapping[str, Any] | None
    folder: Path | None
    parts: Callable[[], tuple[Policy, Expert | None]] = field(repr=False)

    @classmethod
    def of(
        cls,
        policy: Policy,
        classes: tuple[str, ...] = (),
        facts: Mapping[str, Any] = {},
        small: Expert | MeanVectorNet | None = None,
    ) -> Bundle:
        """A policy in memory; raises `ConfigError` for a small expert that is not the policy's first.

        Parameters
        ----------
        policy
            Fitted.
        classes, facts
            As in the class.
        small
            `experts[0]` of the policy. A team brings its own. Without it the bundle is a record of what was learnt: it
            cannot decide, and saved, word vectors are not in it.

        Returns
        -------
        Bundle
            In memory, `folder` is None.
        """
        brought = policy.brought()
        given = small if brought is None else brought
        expert = None if given is None else as_expert(given)
        if expert is not None and expert.name != policy.experts[0]:
            raise ConfigError(
                f"The small expert is '{expert.name}'. Allowed: '{policy.experts[0]}', the policy's first."
            )
        arguments = {k: v for k, v in policy.get_params().items() if k not in ("experts", "vectors", "encoded")}
        parts = policy, expert
        return cls(_kind(policy), policy.experts, classes, arguments, dict(facts), None, None, lambda: parts)

    @classmethod
    def load(cls, folder: Path | str, vectors: Vectors | None = None, encoded: Path | None = None) -> Bundle:
        """The bundle that `save` wrote.

        Parameters
        ----------
        folder
            Where it is, or the page of a plan, whose bundle lies beside it, or the folder of a run that made one.
        vectors
            Word vectors for a policy that needs some and has none with it.
        encoded
            Folder where sentence vectors are kept; None, each is computed when it is asked for.

        Returns
        -------
        Bundle
            Its policy and small expert are read when they are first asked for.

        Raises
        ------
        DataError
            For a folder that is none, was made by an earlier version, or lacks a file. Asking for `policy` or `small`
            raises it for files that are broken.
        """
        given = Path(folder)
        folder = files_of(given) if given.is_file() else given
        if not (folder / FILE).exists() and (folder / OF_RUN / FILE).exists():
            folder = folder / OF_RUN
        about = _read(folder)
        if given.is_file() and sha256_of(given) != about["facts"].get("page"):
            raise DataError(given, f"not the page of the plan in {folder}", "the page as it was written", "Plan again.")
        experts, classes = tuple(about["experts"]), tuple(about["classes"])
        return cls(
            about["kind"],
            experts,
            classes,
            about["arguments"],
            about["facts"],
            about["small"],
            folder,
            lambda: _parts(folder, about, vectors, encoded),
        )

    @cached_property
    def _policy_and_small(self) -> tuple[Policy, Expert | None]:
        return self.parts()

    @property
    def policy(self) -> Policy:
        """The policy, ready to decide."""
        return self._policy_and_small[0]

    @property
    def small(self) -> Expert | None:
        """The small expert, ready to answer; None without one."""
        return self._policy_and_small[1]

    @property
    def expensive(self) -> tuple[str, ...]:
        """Those of its experts that are asked for money: all but the small one, where that is with it."""
        with_it = self.small is not None if self.folder is None else self.small_options is not None
        return self.experts[1:] if with_it else self.experts

    @property
    def task(self) -> str:
        """The task that it was made for, empty where that was not written down."""
        return str(self.facts.get("task", ""))

    def share(self, registered: float | None = None) -> float | None:
        """The share of items that it may defer: as set in its facts, else as `registered`; None: no share is set."""
        share = self.facts.get("budget", registered)
        share = share.get("share") if isinstance(share, Mapping) else share
        return None if share is None else float(share)

    def budget(self, registered: float | None = None) -> Budget | None:
        """What its facts set, else `registered`, as a budget; None, its own rule, for a policy that takes none."""
        given = self.facts.get("budget", registered)
        if given is None or not self.policy.budgets:
            return None
        return Budget(**given) if isinstance(given, Mapping) else Budget(share=float(given))

    def save(self, folder: Path) -> Bundle:
        """Write it into `folder`, replacing what stood there only when all is written; the bundle of that folder.

        Raises `ConfigError` for a policy or a small expert that cannot be kept.
        """
        policy, small = self.policy, self.small
        if not (policy.kept or policy.in_plans):
            able = ", ".join(policies.able("kept"))
            raise ConfigError(f"{type(policy).__name__} cannot be kept. Allowed: {able}.")
        kind = policies.kind_of(policy)
        words = None if small is None else _vectors(policy, small)
        with replacing_folder(folder) as part:
            options = None if small is None else keep(small, part)
            policy.write(part)
            if words is not None:
                words.save(part / VECTORS)
            written = {
                "format": FORMAT,
                "digests": {str(path.relative_to(part)): sha256_of(path) for path in _files_in(part)},
                "files": [FILE, *sorted(path.name for path in part.iterdir())],
                "kind": kind,
                "arguments": dict(self.arguments),
                "experts": list(self.experts),
                "classes": list(self.classes),
                "learnt": policy.state(),
                "small": options,
                "facts": dict(self.facts),
            }
            write_text(part / FILE, as_json(written))
        return replace(self, folder=folder, small_options=options, parts=lambda: (policy, small))


def files_of(page: Path) -> Path:
    """The folder of the bundle that decides as the plan on this page says."""
    return page.with_suffix(".files")


def as_json(written: Mapping[str, Any]) -> str:
    """The text of a bundle.json."""
    return json.dumps(written, indent=1, sort_keys=True) + "\n"


def _kind(policy: Policy) -> str:
    path = f"{type(policy).__module__}:{type(policy).__qualname__}"
    return next((name for name, at in policies.known().items() if at == path), "")


def _read(folder: Path) -> dict[str, Any]:
    """What bundle.json says, checked."""
    if not (folder / FILE).exists():
        allowed = "a plan with its folder .files beside it, or the folder of learn, annotate, a trained team or policy"
        raise DataError(folder, f"no {FILE}", allowed, REMEDY if folder.exists() else "Correct the path.")
    try:
        about = read_json(folder / FILE)
    except (OSError, ValueError) as error:
        raise _broken(folder, str(error)) from error
    kept = about.get("format") if isinstance(about, dict) else None
    if kept != FORMAT:
        by = ", made by an earlier version" if isinstance(kept, int) and kept < FORMAT else ""
        raise DataError(folder, f"bundle format {kept}{by}", f"format {FORMAT}", REMEDY)
    wrong = [key for key, kind in KEYS.items() if key not in about or not isinstance(about[key], kind)]
    if wrong:
        raise _broken(folder, f"'{wrong[0]}' in {FILE} is {about.get(wrong[0], 'absent')!r}")
    if not all(isinstance(each, str) for each in about["classes"]):
        raise _broken(folder, f"'classes' in {FILE} is {about['classes']!r}")
    for name in (*about["experts"], *filter(None, [about["facts"].get("task")])):
        try:
            config.check_name(str(name))
        except ConfigError as error:
            raise _broken(folder, str(error)) from None
    files = [str(name) for name in about["files"]]
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        raise DataError(folder, f"no {missing[0]}", f"a folder with {', '.join(files)}", REMEDY)
    return dict(about)


def _parts(
    folder: Path, about: Mapping[str, Any], vectors: Vectors | None, encoded: Path | None
) -> tuple[Policy, Expert | None]:
    try:
        return _restored(folder, about, vectors, encoded)
    except AsklessError:
        raise
    except Exception as error:
        raise _broken(folder, f"{type(error).__name__}: {error}") from error


def _files_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _restored(
    folder: Path, about: Mapping[str, Any], vectors: Vectors | None, encoded: Path | None
) -> tuple[Policy, Expert | None]:
    found = {str(path.relative_to(folder)): path for path in _files_in(folder)}
    saved = {name for name in found if name != FILE and name.split("/")[0] not in BESIDE}
    for name in sorted(saved | set(about["digests"])):
        if name not in saved or sha256_of(found[name]) != about["digests"].get(name):
            raise _broken(folder, f"{name} is not the file that was saved")
    experts, small = tuple(about["experts"]), None
    if about["small"]:
        small = restored(folder, experts[0], tuple(about["classes"]), about["small"], encoded)
        vectors = small.vectors
    if vectors is None and VECTORS in about["files"]:
        from askless.text.embeddings import Vectors

        vectors = Vectors.open(folder / VECTORS)
    options = {"kind": about["kind"], **about["arguments"]}
    policy = policies.build(folder.name, options, experts=experts, vectors=vectors, encoded=encoded)
    policy.restore(about["learnt"]).read(folder, small)
    return policy, small


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
    equal = one.lower == other.lower and np.array_equal(one.matrix, other.matrix)
    return equal and one.vocabulary.words() == other.vocabulary.words()


def _broken(folder: Path, got: str) -> DataError:
    return DataError(folder, f"not a bundle ({got})", "a folder that Bundle.save wrote", REMEDY)
