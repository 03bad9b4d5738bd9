"""What every expert is: something that answers examples, and what a task tells it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from askless import schema
from askless.errors import ConfigError
from askless.experts.answer_store import PaidAnswers


@dataclass(frozen=True)
class Setting:
    """What a task tells each of its experts.

    `prompt` names an entry of `askless.prompts`; `vectors` is the folder of the task's word vectors;
    `answers` is the folder where paid answers are kept as they come, or what keeps them (None: they are not kept).
    """

    name: str
    task: str
    classes: tuple[str, ...]
    prompt: str = ""
    vectors: Path | None = None
    answers: Path | PaidAnswers | None = None


class Expert(ABC):
    """Answers examples; arguments are stored untouched and nothing is loaded before the first answer."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @property
    def name(self) -> str:
        """The expert's name in params.yaml and in every table."""
        return self.setting.name

    @abstractmethod
    def answer(self, examples: pa.Table) -> pa.Table:
        """One prediction row (`schema.PREDICTIONS`) for each row of `examples`, in the same order."""

    @property
    def server(self) -> str | None:
        """The host of the server that is asked, None where the expert computes its answers itself."""
        return None

    def meta(self) -> dict[str, Any]:
        """What the predictions' metadata say of the model, beyond task and classes."""
        return {}

    def require(self, option: str, ok: bool, allowed: str) -> None:
        """Raise `ConfigError` unless the value of `option` is `ok`."""
        if not ok:
            got = getattr(self, option)
            raise ConfigError(f"Expert '{self.name}': {option} is {got!r}. Allowed: {allowed}.")

    def predictions(self, examples: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
        """`columns` as a checked prediction table of this expert for `examples`."""
        full = {"id": examples["id"].combine_chunks(), "expert": [self.name] * examples.num_rows, **columns}
        meta = {"task": self.setting.task, "classes": list(self.setting.classes), **self.meta()}
        return schema.table("predictions", full, meta)


class TrainedExpert(Expert):
    """A small expert that learns from labelled examples and is kept as a folder without pickles."""

    @abstractmethod
    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Learn from `train`; `valid` chooses what is to be chosen (epoch, strength); returns itself."""

    @abstractmethod
    def save(self, folder: Path) -> Path:
        """Write what was learnt into `folder` (safetensors, JSON), beside and renamed."""

    @abstractmethod
    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; returns itself, ready to answer."""


def whole(value: object, least: int = 1) -> bool:
    """Whether an option is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def number(value: object, least: float = 0.0, most: float = float("inf")) -> bool:
    """Whether an option is a finite number from `least` to `most`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    return fits and value != float("inf")
