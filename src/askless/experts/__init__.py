"""Experts answer examples in the prediction contract; `build` makes one from its options in params.yaml."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from askless.errors import ConfigError
from askless.experts.base import Expert, Setting, TrainedExpert

__all__ = ["EXPERTS", "Expert", "Setting", "TrainedExpert", "build", "options_of", "resolve"]
EXPERTS = {
    "llm": "askless.experts.local.causal_lm:LlmExpert",
    "vllm": "askless.experts.local.vllm:VllmExpert",
    "openai": "askless.experts.remote.openai:OpenAiExpert",
    "seq2seq": "askless.experts.local.seq2seq:Seq2SeqExpert",
    "extractive": "askless.experts.small.extractive:ExtractiveExpert",
    "lead": "askless.experts.small.lead:LeadExpert",
    "mlp": "askless.experts.small.mlp:MlpExpert",
    "linear": "askless.experts.small.linear:LinearExpert",
    "majority": "askless.experts.small.majority:MajorityExpert",
    "recorded": "askless.experts.recorded:RecordedExpert",
}
# What answers of one kind only; all others answer as the task asks.
LABELLERS, SUMMARISERS = ("mlp", "linear", "majority"), ("extractive", "lead", "seq2seq")


def build(setting: Setting, options: Mapping[str, Any]) -> Expert:
    """The expert that `options` describe: `backend` names its class, the rest are its arguments.

    Raises `ConfigError` for an unknown backend or argument, naming the known ones.
    """
    options = dict(options)
    backend = options.pop("backend", None)
    if backend not in EXPERTS:
        raise ConfigError.unknown(f"backend of expert '{setting.name}'", str(backend), EXPERTS)
    if backend in (SUMMARISERS if setting.classes else LABELLERS):
        able = ", ".join(name for name in EXPERTS if name not in (SUMMARISERS if setting.classes else LABELLERS))
        what = f"classes {list(setting.classes)}" if setting.classes else "summaries"
        raise ConfigError(
            f"Expert '{setting.name}': backend {backend} cannot answer with {what}. Allowed there: {able}."
        )
    kind = resolve(backend)
    allowed = options_of(backend)
    for key in options:
        if key not in allowed:
            raise ConfigError.unknown(f"option of expert '{setting.name}'", key, allowed)
    try:
        return kind(setting, **options)
    except TypeError as error:
        raise ConfigError(f"Expert '{setting.name}': {error}. Options: {', '.join(allowed)}.") from error


def resolve(backend: str) -> type[Expert]:
    """The class registered as `backend`."""
    module, _, attribute = EXPERTS[backend].partition(":")
    found: type[Expert] = getattr(import_module(module), attribute)
    return found


def options_of(backend: str) -> list[str]:
    """Names of the options that experts of `backend` take in params.yaml."""
    return [p for p in inspect.signature(resolve(backend)).parameters if p != "setting"]
