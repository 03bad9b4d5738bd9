"""Small synthetic evaluations through the real code path, for the report's tests."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.config import Evaluate, Price, Source, Split, Task, VectorSource
from askless.costs import CostModel
from askless.evaluation.evaluate import Runs, evaluated
from askless.evaluation.replay import Replay, oracle, replay
from askless.evaluation.summary_examples import side_by_side
from askless.panel import Panel, class_indices
from askless.policies.base import Budget, Policy
from askless.policies.baselines import Always, Length, Random
from askless.policies.team.allocator import Allocator
from tests.report import report_documents

CLASSES = ("0", "1")
SEEDS = (67, 68, 69)
BUDGETS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
PRICES = {
    "llm": Price(usd_per_1m_prompt_tokens=1.6, usd_per_1m_completion_tokens=1.6),
    "llm-mini": Price(usd_per_1m_prompt_tokens=0.3, usd_per_1m_completion_tokens=0.3),
    "mlp": Price(usd_per_hour=0.05),
    "linear": Price(usd_per_hour=0.05),
    "majority": Price(),
    "lead": Price(),
}
SECONDS = {"llm": 1.44, "llm-mini": 0.7, "mlp": 0.42}
EXPERTS = {
    "classification": ("llm", "llm-mini", "mlp", "linear", "majority"),
    "summarisation": ("llm", "llm-mini", "mlp", "lead"),
}


@dataclass
class Recorded:
    """Answers from a table, by id."""

    table: pa.Table

    def answer(self, examples: pa.Table) -> pa.Table:
        """The stored rows of these examples."""
        return self.table.take(pc.index_in(examples["id"], self.table["id"]))


class Hunch(Allocator):
    """Reads how hard an item is off its text, with noise of its own seed."""

    graded = True

    def __init__(self, experts: tuple[str, ...], noise: float = 0.25, random_state: int = 0) -> None:
        super().__init__(experts)
        self.noise, self.random_state = noise, random_state

    def look(self, panel: Panel) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One less difficulty for the small expert, a constant for the others."""
        hard = np.array([float(text.split()[1]) for text in panel.text])
        noise = np.random.default_rng([self.random_state, len(panel)]).normal(0, self.noise, len(hard))
        return np.column_stack([1 - hard + noise] + [np.full(len(hard), 0.6)] * (len(self.experts) - 1))

    def confidence(self, seen: np.ndarray[Any, Any], choice: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The chosen expert's estimate, kept within [0, 1]."""
        return np.clip(seen[np.arange(len(seen)), choice] * 0.6 + 0.4, 0, 1)


@dataclass(frozen=True)
class World:
    """How the synthetic data are drawn: errors from the easiest item to the hardest, noise of the policy."""

    kind: Literal["classification", "summarisation"] = "classification"
    rows: int = 600
    positives: float = 0.5
    small_errors: tuple[float, float] = (0.0, 0.4)
    llm_errors: tuple[float, float] = (0.16, 0.02)
    llm_bias: float = 0.0
    noise: float = 0.1
    quality: str = "accuracy"
    unit: str = "usd"
    groups: bool = True
    unparsed: float = 0.0
    sweep: int = 26
    bootstrap: int = 60
    margin: float = 0.05


WORLDS = {
    "reached": World(),
    "useless": World(noise=3.0, small_errors=(0.2, 0.2), llm_errors=(0.05, 0.05)),
    "measures": World(
        positives=0.17,
        small_errors=(0.01, 0.20),
        llm_errors=(0.02, 0.02),
        llm_bias=0.2,
        unparsed=0.01,
        margin=0.01,
        noise=0.25,
    ),
    "missed": World(margin=0.0, groups=False),
    "seconds": World(unit="seconds", groups=False),
    "documents": World(
        "summarisation", small_errors=(0.1, 0.8), llm_errors=(0.35, 0.35), quality="rougeL", margin=0.02
    ),
    "worse": World(
        "summarisation", small_errors=(0.2, 0.4), llm_errors=(0.7, 0.7), quality="rougeL", unit="seconds", margin=0.01
    ),
    "large": World(rows=3000, sweep=51, bootstrap=400, margin=0.01),
}


def _examples(world: World, split: str, rows: int, seed: int) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    if world.kind == "summarisation":
        return report_documents.documents(split, rows, seed)
    rng = np.random.default_rng(seed)
    hard = rng.random(rows)
    gold = (rng.random(rows) < world.positives).astype(int)
    text = [f"private {h:.3f} " + "word " * int(3 + 12 * h + rng.integers(0, 12)) for h in hard]
    columns = {
        "id": [f"{split}{i}" for i in range(rows)],
        "text": text,
        "label": [CLASSES[g] for g in gold],
        "split": [split] * rows,
    }
    if world.groups:
        columns["group"] = [("forum", "news", "chat")[int(h * 7) % 3] for h in hard]
    return schema.table("examples", columns), hard


def _answers(world: World, name: str, examples: pa.Table, hard: np.ndarray[Any, Any], seed: int) -> pa.Table:
    easy, hardest = {
        "mlp": world.small_errors,
        "linear": (world.small_errors[0] + 0.02, world.small_errors[1] + 0.02),
        "llm": world.llm_errors,
        "llm-mini": (world.llm_errors[0] + 0.05, world.llm_errors[1] + 0.05),
        "majority": (0.0, 0.0),
        "lead": (0.85, 0.85),
    }[name]
    error = easy + (hardest - easy) * hard
    if world.kind == "summarisation":
        return report_documents.summaries(name, examples, error, SECONDS.get(name, 0.001), seed)
    return _labels(world, name, examples, error, seed)


def _labels(world: World, name: str, examples: pa.Table, error: np.ndarray[Any, Any], seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    gold = class_indices(examples["label"], CLASSES)
    if name.startswith("llm"):
        error = error + world.llm_bias * (gold == 0)
    elif world.llm_bias:
        error = error + 0.3 * (gold == 1)
    label = np.where(rng.random(len(gold)) < error, 1 - gold, gold)
    if name == "majority":
        label = np.full(len(gold), int(gold.mean() > 0.5))
    top = np.clip(1 - 0.6 * error + rng.normal(0, 0.05, len(gold)), 0.5, 0.999)
    proba = np.where(np.arange(2) == label[:, None], top[:, None], 1 - top[:, None])
    silent = rng.random(len(gold)) < (world.unparsed if name == "llm" else 0)
    tokens = np.array([len(t.split()) for t in examples["text"].to_pylist()])
    columns = {
        "id": examples["id"].combine_chunks(),
        "expert": [name] * len(gold),
        "label": [None if s else CLASSES[v] for s, v in zip(silent, label, strict=True)],
        "proba": [None if s or name == "majority" else p for s, p in zip(silent, proba.tolist(), strict=True)],
        "prompt_tokens": (tokens + 30).astype(np.int32),
        "completion_tokens": np.ones(len(gold), np.int32),
        "seconds": (rng.uniform(0.2, 0.4, len(gold)) if name.startswith("llm") else np.full(len(gold), 1e-4)).astype(
            np.float32
        ),
        "error": ["unparsable reply" if s else None for s in silent],
    }
    return schema.table("predictions", columns)


def _fitted(world: World, panels: Mapping[str, Panel]) -> dict[str, dict[int, Policy]]:
    pair = ("mlp", "llm")
    kinds: dict[str, Callable[[int], Policy]] = {
        "team": lambda s: Hunch(pair, world.noise, s),
        "team_joint": lambda s: Hunch(pair, 2 * world.noise, s),
        "random": lambda s: Random(pair, s),
        "length": lambda s: Length(pair),
    }
    return {
        name: {s: make(s).fit(panels["train"].copy(), panels["valid"].copy()) for s in SEEDS}
        for name, make in kinds.items()
    }


def _runs(world: World, panel: Panel, fitted: Mapping[str, dict[int, Policy]]) -> Runs:
    gold = class_indices(panel._examples["label"], panel.classes)
    shares = sorted({*(round(i / (world.sweep - 1), 9) for i in range(world.sweep)), *BUDGETS})
    sweeps: dict[str, Replay] = {}
    for name in EXPERTS[world.kind]:
        always: dict[int, Policy] = {0: Always((name,) if name == "mlp" else ("mlp", name), name)}
        sweeps[f"always_{name}"] = replay(f"always_{name}", always, {0: panel}, [None])
    own = {}
    panels = dict.fromkeys(SEEDS, panel)
    for name, policies in fitted.items():
        sweeps[name] = replay(name, policies, panels, [Budget(share=s) for s in shares])
        own[name] = replay(name, policies, panels, [None])
    sweeps["oracle"] = oracle("oracle", sweeps["always_mlp"], [sweeps["always_llm"]], gold, shares)
    return Runs(gold, panel._examples["group"].to_pylist(), sweeps, own)


@cache
def evaluation(which: str = "reached") -> tuple[dict[str, Any], pa.Table]:
    """Summary and curve of one of the `WORLDS`. Do not change what it returns: it is cached."""
    return _made(which)[:2]


def examples(which: str) -> list[dict[str, Any]]:
    """What `write_report` shows side by side of one of the `WORLDS` of documents."""
    return copy.deepcopy(_made(which)[2])


@cache
def _made(which: str) -> tuple[dict[str, Any], pa.Table, list[dict[str, Any]]]:
    world, panels, answers = WORLDS[which], {}, {}
    classes = CLASSES if world.kind == "classification" else ()
    cost = CostModel(world.unit, PRICES)
    for i, (split, rows) in enumerate([("train", 400), ("valid", world.rows), ("test", world.rows)]):
        table, hard = _examples(world, split, rows, i)
        tables = {n: _answers(world, n, table, hard, 10 * i + j) for j, n in enumerate(EXPERTS[world.kind])}
        panels[split] = Panel(table, {n: Recorded(t) for n, t in tables.items()}, cost, classes)
        answers[split] = tables
    fitted = _fitted(world, panels)
    test, valid = (_runs(world, panels[split], fitted) for split in ("test", "valid"))
    task, settings = _settings(world, classes)
    found = evaluated(task, settings, world.unit, "mlp", test, valid)
    if world.kind == "classification":
        return found.summary("olhs", "team", answers["test"]), found.curve(), []
    shown = side_by_side(found.chosen["team"], found.weak, found.strong, table, answers["test"], cost)
    references = table["reference"].to_pylist()
    return found.summary("xsum", "team", answers["test"], references=references), found.curve(), shown


def _settings(world: World, classes: tuple[str, ...]) -> tuple[Task, Evaluate]:
    task = Task(
        kind=world.kind,
        classes=classes,
        positive="1" if classes else "",
        source=Source(kind="demo"),
        vectors=VectorSource(kind="demo"),
        split=Split(train=0.4, valid=0.3, test=0.3),
        prompt="demo-olhs",
        quality=world.quality,
    )
    settings = Evaluate(
        reference="llm",
        budgets=BUDGETS,
        sweep=world.sweep,
        bootstrap=world.bootstrap,
        confidence=0.95,
        margin=world.margin,
        headline="team",
        model="askless-test",
    )
    return task, settings
