"""What every expert is: something that answers examples, and what a task tells it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa

from askless import schema
from askless.errors import ConfigError
from askless.experts.answer_store import PaidAnswers

if TYPE_CHECKING:
    from askless.text.embeddings import Vectors


@dataclass(frozen=True)
class Setting:
    """What a task tells each of its experts.

    Parameters
    ----------
    name
        The expert's name in params.yaml and in every table.
    task
        The task's name.
    classes
        The task's classes, in their order; none where answers are summaries.
    prompt
        The task's prompt, an entry of `askless.prompts`.
    vectors
        Folder of the task's word vectors, None where it has none.
    answers
        Folder where paid answers are kept as they come, or what keeps them; None, they are kept in memory only.
    quality, positive
        How the task judges labels, as `tasks.<task>.quality`, and the class that counts as positive in F1.
    encoded
        Folder where sentence vectors are kept by their texts' hashes; None, each is computed when it is asked for.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    prompt: str = ""
    vectors: Path | None = None
    answers: Path | PaidAnswers | None = None
    quality: str = "accuracy"
    positive: str = ""
    encoded: Path | None = None


class Expert(ABC):
    """Answers examples. Arguments are stored untouched, under their own names; nothing is loaded before it is needed.

    A subclass defines `answer`, states its options as keyword arguments of the constructor, and says of itself by
    class attributes what differs from the defaults here.

    Parameters
    ----------
    setting
        What the task tells the expert.

    Attributes
    ----------
    labels
        Whether it can answer with one of a task's classes.
    summarises
        Whether it can answer with a text, where a task has no classes.
    kept
        Whether it can travel in a bundle: `keep` writes what its answers need, and `restore` reads it.
    hosted
        Whether others run the model and bill each call.
    packages
        pip packages that a registered model with this expert needs, beyond those that askless needs to decide.
    """

    labels: ClassVar[bool] = True
    summarises: ClassVar[bool] = True
    kept: ClassVar[bool] = False
    hosted: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @classmethod
    def option_names(cls) -> list[str]:
        """Names of the options that it takes in params.yaml."""
        return [name for name in inspect.signature(cls).parameters if name != "setting"]

    def options(self) -> dict[str, Any]:
        """Its options as they were given, by name."""
        return {name: getattr(self, name) for name in self.option_names()}

    @property
    def name(self) -> str:
        """The expert's name in params.yaml and in every table."""
        return self.setting.name

    @abstractmethod
    def answer(self, examples: pa.Table) -> pa.Table:
        """One prediction row (`schema.PREDICTIONS`) for each row of `examples`, in the same order.

        Where there is no answer, `label` or `text` is null and `error` says why; no class stands in for it.
        """

    @property
    def server(self) -> str | None:
        """The host of the server that is asked, None where the expert computes its answers itself."""
        return None

    @property
    def vectors(self) -> Vectors | None:
        """The word vectors by which it answers, None where it uses none; a bundle keeps them."""
        return None

    def keep(self, folder: Path) -> dict[str, Any]:
        """Write what its answers need, but for word vectors, into `folder`; returns the options to build it with."""
        return self.options()

    def restore(self, folder: Path) -> Self:
        """Read what `keep` wrote into `folder`; returns itself, ready to answer."""
        return self

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
    """A small expert that learns from labelled examples and is kept as a folder without pickles.

    Parameters
    ----------
    setting
        What the task tells the expert.

    Attributes
    ----------
    chooses_on_valid
        Whether `fit` looks at `valid`; where not, all rows may teach.
    """

    kept = True
    chooses_on_valid: ClassVar[bool] = True

    @abstractmethod
    def fit(self, train: pa.Table, valid: pa.Table) -> Self:
        """Learn from `train`; `valid` chooses what is to be chosen (epoch, strength); returns itself."""

    def alike(self) -> TrainedExpert:
        """One of the same options that has learnt nothing; what was chosen once and for all is chosen there already."""
        return type(self)(self.setting, **self.options())

    @abstractmethod
    def save(self, folder: Path) -> Path:
        """Write what was learnt into `folder` (safetensors, JSON), beside and renamed."""

    @abstractmethod
    def load(self, folder: Path) -> Self:
        """Read what `save` wrote; returns itself, ready to answer."""

    def predictions(self, examples: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
        """As of any expert; metadata say that rows that it has learnt from, if any are there, are not out of fold."""
        table = super().predictions(examples, columns)
        return schema.with_meta(table, "predictions", {**schema.meta_of(table), schema.OUT_OF_FOLD: None})

    def keep(self, folder: Path) -> dict[str, Any]:
        """Save what was learnt into `folder`; returns the options."""
        self.save(folder)
        return self.options()

    def restore(self, folder: Path) -> Self:
        """Load what was learnt from `folder`."""
        return self.load(folder)


def whole(value: object, least: int = 1) -> bool:
    """Whether an option is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def number(value: object, least: float = 0.0, most: float = float("inf")) -> bool:
    """Whether an option is a finite number from `least` to `most`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    return fits and value != float("inf")
