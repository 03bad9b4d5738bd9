"""Experts answer examples in the prediction contract; `build` makes one from its options in params.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from askless import plugins
from askless.errors import ConfigError
from askless.experts.base import Expert, Setting, TrainedExpert
from askless.experts.shipped import EXPERTS

__all__ = [
    "EXPERTS",
    "Expert",
    "Setting",
    "TrainedExpert",
    "backends",
    "build",
    "known",
    "learner",
    "options_of",
    "resolve",
]
GROUP = "askless.experts"


def known() -> dict[str, str]:
    """Every backend with its `module:Class`: those of askless, then those that packages bring as entry points."""
    return plugins.known(GROUP, EXPERTS)


def resolve(backend: str, expert: str = "") -> type[Expert]:
    """The class of a backend.

    Raises `ConfigError` for an unknown one, listing those that are known; `expert` is whose backend it is.
    """
    classes = known()
    if backend not in classes:
        raise ConfigError.unknown(f"backend of expert '{expert}'" if expert else "backend", str(backend), classes)
    return plugins.load(classes[backend], Expert, backend)  # type: ignore[type-abstract]


def backends(able: Callable[[type[Expert]], bool]) -> list[str]:
    """The backends whose class is `able`, for messages that say what is allowed."""
    return [name for name in known() if able(resolve(name))]


def build(setting: Setting, options: Mapping[str, Any]) -> Expert:
    """The expert that `options` describe.

    Parameters
    ----------
    setting
        What the task tells the expert: its name, the classes, the prompt, where answers are kept.
    options
        An entry under `experts` of params.yaml: `backend` names the class, the rest are its arguments.

    Returns
    -------
    Expert
        The expert; nothing of it is loaded yet.

    Raises
    ------
    ConfigError
        For an unknown backend or argument, naming the known ones, and for a backend that cannot answer as the task
        asks: with one of its classes, or with a summary.
    """
    options = dict(options)
    kind = resolve(options.pop("backend", None), setting.name)
    if not _answers(kind, setting):
        able = ", ".join(backends(lambda other: _answers(other, setting)))
        what = f"classes {list(setting.classes)}" if setting.classes else "summaries"
        raise ConfigError(
            f"Expert '{setting.name}': backend {backend_of(kind)} cannot answer with {what}. Allowed there: {able}."
        )
    allowed = kind.option_names()
    for key in options:
        if key not in allowed:
            raise ConfigError.unknown(f"option of expert '{setting.name}'", key, allowed)
    try:
        return kind(setting, **options)
    except TypeError as error:
        raise ConfigError(f"Expert '{setting.name}': {error}. Options: {', '.join(allowed)}.") from error


def learns_labels(kind: type[Expert]) -> bool:
    """Whether experts of a class are trained on labelled texts."""
    return kind.labels and issubclass(kind, TrainedExpert)


def learner(setting: Setting, options: Mapping[str, Any], said: str, seed: int | None = None) -> TrainedExpert:
    """The small expert that `options` describe, as it is before it learns; `seed` is for one that takes a seed.

    Raises `ConfigError` as `build`, and for a backend that learns nothing: `said` is what was got, in words.
    """
    backend = str(options.get("backend"))
    if not issubclass(resolve(backend, setting.name), TrainedExpert):
        raise ConfigError(f"{said}, which learns nothing. Allowed: {', '.join(backends(learns_labels))}.")
    seeded = {} if seed is None or "random_state" not in options_of(backend) else {"random_state": seed}
    expert = build(setting, {**seeded, **options})
    assert isinstance(expert, TrainedExpert)
    return expert


def options_of(backend: str) -> list[str]:
    """Names of the options that experts of `backend` take in params.yaml."""
    return resolve(backend).option_names()


def backend_of(kind: type[Expert]) -> str | None:
    """The backend under which a class is registered, None where it is under none."""
    path = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name, at in known().items() if at == path), None)


def _answers(kind: type[Expert], setting: Setting) -> bool:
    return kind.labels if setting.classes else kind.summarises
