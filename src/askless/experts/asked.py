"""An expert as a task of params.yaml asks it: by the prompt that the parameters write for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from askless import experts, schema
from askless.config import Params
from askless.data.prepare import clean
from askless.errors import ConfigError
from askless.experts.base import Expert, Setting
from askless.prompts import Draw, Example, PromptSpec


def expert_of(
    settings: Params, task: str, name: str, answers: Path | None = None, rows: pa.Table | None = None
) -> Expert:
    """An expert of a task, with nothing loaded, its answers kept in the folder `answers`; `rows` as of `options_of`.

    Raises `ConfigError` for unknown names and options, and for a prompt that cannot be meant.
    """
    about = settings.task(task)
    setting = Setting(name, task, about.classes, about.prompt, answers=answers)
    return experts.build(setting, options_of(settings, task, name, rows))


def options_of(settings: Params, task: str, name: str, rows: pa.Table | None = None) -> dict[str, Any]:
    """An expert's options, a prompt of params.yaml among them in full: so that they say all that it is asked.

    Examples that a prompt draws are of the train split of `rows`, by default of what the stage prepare made.
    """
    options, used = settings.expert(name), _used(settings, task, name)
    spec = spec_of(settings, task, name)
    if spec is None:
        own = settings.task(task).prompt in settings.prompts and isinstance(options.get("prompt"), Mapping)
        return {**options, "prompt": used} if own else options
    classes = settings.task(task).classes
    shown = _examples(spec, settings, task, rows) if spec.examples else ()
    return {**options, "prompt": spec.written(classes, shown).values()}


def spec_of(settings: Params, task: str, name: str) -> PromptSpec | None:
    """What params.yaml writes for an expert to be asked; None where that is a prompt of askless, or none."""
    if "prompt" not in experts.resolve(str(settings.expert(name).get("backend")), name).option_names():
        return None
    used = _used(settings, task, name)
    return settings.prompts.get(used, None if used else PromptSpec())


def _used(settings: Params, task: str, name: str) -> str:
    """The name of the prompt that an expert gets; empty for the one that is made of the classes."""
    own, asked = settings.expert(name).get("prompt"), settings.task(task).prompt
    return str(own.get(asked, asked) if isinstance(own, Mapping) else own or asked)


def _examples(spec: PromptSpec, settings: Params, task: str, rows: pa.Table | None) -> tuple[Example, ...]:
    """The examples of a prompt; raises `ConfigError` for one that valid or test has: its answer would be told."""
    path = settings.base.data / "prepared" / task / "examples.parquet"
    if rows is None and not path.exists():
        if isinstance(spec.examples, tuple):
            return spec.examples
        raise ConfigError(
            f"tasks.{task}.prompt: draws examples from train, and {path} is not there. Allowed: after the stage "
            f"prepare. Run: dvc repro prepare@{task}."
        )
    if rows is None:
        rows = schema.read_columns(path, "examples", ("id", "text", "label", "split"))
    if isinstance(spec.examples, Draw):
        train = schema.rows_in(rows, "train")
        return spec.examples.of(list(zip(*(train[name].to_pylist() for name in ("id", "text", "label")), strict=True)))
    held = {t for t, s in zip(rows["text"].to_pylist(), rows["split"].to_pylist(), strict=True) if s != "train"}
    for each in spec.examples:
        if clean(each.text) in held:
            raise ConfigError(
                f"tasks.{task}.prompt: the example {each.text[:40]!r} is among the items that results are measured on. "
                "Allowed: examples of train, or of no data set. Take another, or draw them: examples: {draw: 4}."
            )
    return spec.examples
