"""What params.yaml leaves unsaid: a task is one section, and the others have a default for it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from askless.errors import ConfigError

Raw = dict[str, Any]
SECTIONS = ("prompts", "experts", "train", "policies", "evaluate")
CLASSES: Raw = {
    "train": {"small": "auto", "baselines": ["majority"]},
    "policies": {kind: {"kind": kind} for kind in ("two_tier", "two_tier_online", "answer_scorer", "random")},
}
SUMMARIES: Raw = {
    "train": {"small": "lead", "baselines": []},
    "policies": {
        "gain": {"kind": "summary_gain"},
        "gain_after_small": {"kind": "summary_gain", "look_at": "small"},
        "random": {"kind": "random"},
    },
}
TRAIN: Raw = {"seeds": [67, 68, 69], "folds": 5, "distil": None, "teams": {}}
EVALUATE: Raw = {
    "headline": "auto",
    "budgets": [0.1, 0.2, 0.3, 0.4, 0.6, 0.8],
    "sweep": 51,
    "bootstrap": 1000,
    "confidence": 0.95,
    "margin": 0.01,
}


def filled(raw: Any) -> Any:
    """The parameters with every section that a task needs; what is no section of keys stays, to be told.

    A prompt, LLMs with their prices and a small expert that stand in a task go where all tasks have theirs. Raises
    `ConfigError` where two tasks say different things of an LLM of one name.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("tasks"), dict):
        return raw
    out: Raw = copy.deepcopy(raw)
    for name in SECTIONS:
        if out.get(name) is None:
            out[name] = {}
    if out.get("costs") is None:
        out["costs"] = {"unit": "usd", "prices": {}}
    if not all(isinstance(out[name], dict) for name in (*SECTIONS, "costs")):
        return out
    for name, task in out["tasks"].items():
        if isinstance(task, dict):
            _inline(out, str(name), task)
            _parts(out, str(name), task)
    for part in out["train"].values():
        if isinstance(part, dict):
            _plain(out["experts"], part)
    return out


def _inline(out: Raw, name: str, task: Raw) -> None:
    task.setdefault("kind", "classification")
    if isinstance(task.get("prompt"), dict):
        out["prompts"][name], task["prompt"] = task["prompt"], name
    if isinstance(task.get("llms"), dict):
        for llm, options in task["llms"].items():
            _llm(out, f"tasks.{name}.llms.{llm}", str(llm), options)
        task["llms"] = list(task["llms"])


def _llm(out: Raw, where: str, name: str, options: Any) -> None:
    """Put an LLM of a task among the experts, and its price among the prices."""
    prices, price = out["costs"].setdefault("prices", {}), None
    if isinstance(options, dict):
        options = dict(options)
        price = options.pop("price", None)
    for kept, said in ((out["experts"], options), (prices, price)):
        if said is not None and isinstance(kept, dict) and kept.setdefault(name, said) != said:
            raise ConfigError(
                f"{where}: '{name}' is described elsewhere too, and differently. Allowed: each name once. Leave out "
                "one of the two (`name: null` takes the other's), or rename it."
            )


def _parts(out: Raw, name: str, task: Mapping[str, Any]) -> None:
    summaries = task.get("kind") == "summarisation"
    own, base = SUMMARIES if summaries else CLASSES, out.get("base")
    llms = task.get("llms") or (base.get("llms") if isinstance(base, dict) else None) or []
    train = {**TRAIN, **own["train"], "llms": [] if summaries else llms}
    train |= {"small": task["small"]} if task.get("small") else {}
    for section, default in (("train", train), ("evaluate", {**EVALUATE, "model": f"askless-{name}"})):
        given = out[section].get(name)
        if given is None or isinstance(given, dict):
            out[section][name] = {**copy.deepcopy(default), **(given or {})}
    if out["policies"].get(name) is None:
        out["policies"][name] = copy.deepcopy(own["policies"])


def _plain(experts: Raw, train: Mapping[str, Any]) -> None:
    """A small expert without an entry of its own is of the backend of its name, without options."""
    baselines = train.get("baselines")
    named = [train.get("small"), *(baselines if isinstance(baselines, list) else [])]
    for expert in named:
        if expert and isinstance(expert, str):
            experts.setdefault(expert, {"backend": expert})
