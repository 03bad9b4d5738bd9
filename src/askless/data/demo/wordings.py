"""The words and wordings of the demo, read from the YAML files beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


def read(name: str) -> dict[str, Any]:
    """What `name`.yaml holds."""
    return dict(yaml.safe_load((files("askless.data.demo") / f"{name}.yaml").read_text(encoding="utf-8")))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of them, drawn."""
    return options[int(rng.integers(len(options)))]


POSTS, DOCUMENTS = read("posts"), read("documents")
WORDS: dict[str, tuple[str, ...]] = {kind: tuple(words.split()) for kind, words in read("words").items()}
INSULTS, PRAISES, NAMES = WORDS["insults"], WORDS["praises"], WORDS["names"]
SLANG_INSULTS, SLANG_PRAISES = WORDS["slang_insults"], WORDS["slang_praises"]
SLANG = frozenset(SLANG_INSULTS + SLANG_PRAISES)

_ONSETS = "b br ch d dr f fl g gl h j k kr l m n p pl s sh sn t th tr v w z".split()
_JOINTS = "bl dr fl kl pl tr vl zw sk thr".split()
_VOWELS = "a e i o u ou".split()
_CODAS = ("", "l", "nd", "sk", "lp", "v")


def made_up(draw: Sequence[int]) -> str:
    """A pseudo-word out of six integers; no slang word can come out.

    >>> made_up([0, 0, 2, 4, 1, 3])
    'bandplesk'
    """
    parts = (_ONSETS, _VOWELS, _CODAS, _JOINTS, _VOWELS, _CODAS)
    return "".join(part[k % len(part)] for part, k in zip(parts, draw, strict=True))
