"""Every policy replayed on test, its operating point chosen on valid; metrics, curve, decisions, report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE
from tqdm import tqdm

from deferral import config, evaluate, experts, policies, replay, schema
from deferral.cost import CostModel
from deferral.experts.recorded import RecordedExpert
from deferral.panel import Answering, Panel, class_indices
from deferral.policies.base import Budget, Policy
from tasks import require_classes
from tasks.train import small_expert


@dataclass(frozen=True)
class Inputs:
    """What the evaluation reads."""

    name: str
    settings: config.Params
    examples: pa.Table
    predictions: Path
    models: Path
    vectors: Path

    @property
    def experts(self) -> tuple[str, ...]:
        """Small expert, baselines, LLMs."""
        train = self.settings.train
        return (train.small, *train.baselines, *self.settings.base.llms)

    @property
    def classes(self) -> tuple[str, ...]:
        """The task's classes."""
        return self.settings.task(self.name).classes

    def recorded(self, expert: str) -> RecordedExpert:
        """The predictions of one expert, replayed."""
        setting = experts.Setting(name=expert, task=self.name, classes=self.classes)
        made = "generated" if expert in self.settings.base.llms else "trained"
        return RecordedExpert(setting, path=str(self.predictions / made / f"{expert}.parquet"))

    def panel(self, split: str, answering: Mapping[str, Answering], *, blind: bool) -> Panel:
        """A fresh panel over one split."""
        rows = schema.rows_in(self.examples, split)
        return Panel(rows, answering, CostModel.of(self.settings.costs), self.classes, blind=blind)


@task(cache_policy=NO_CACHE)
def evaluate_policies(
    name: str, params: str, examples: str, predictions: str, models: str, vectors: str, out: str, decisions: str
) -> str:
    """Write the figures (metrics.json, headline.json, curve.csv), the report with its pictures, and the decisions.

    Returns the report's path.
    """
    settings = config.load(params)
    require_classes(name, settings.task(name), "evaluate")
    rows = schema.read(examples, "examples", classes=settings.task(name).classes)
    inputs = Inputs(name, settings, rows, Path(predictions), Path(models), Path(vectors))
    fitted = fit_all(inputs)
    test, valid = (replay_all(inputs, fitted, split) for split in ("test", "valid"))
    keep_policies(inputs, fitted, valid, Path(out) / "policies")
    return write_all(inputs, test, valid, Path(out), Path(decisions), Path(examples))


Fitted = dict[str, dict[int, tuple[Policy, Mapping[str, Answering]]]]


def fit_all(inputs: Inputs) -> Fitted:
    """Each policy and seed with the experts it may ask: teams from their bundles, the others fitted here."""
    from deferral import bundle

    train = inputs.settings.train
    recorded = {expert: inputs.recorded(expert) for expert in inputs.experts}
    fitted: Fitted = {}
    pools: dict[int, Mapping[str, Answering]] = {}
    for seed in train.seeds:
        small = small_expert(inputs.settings, inputs.name, train.small, str(inputs.vectors), seed)
        pools[seed] = {**recorded, train.small: small.load(inputs.models / train.small / f"seed-{seed}")}
    for expert in inputs.experts:
        seeds = train.seeds if expert == train.small else train.seeds[:1]
        options = {"kind": "always", "expert": expert}
        pair = (train.small, expert) if expert != train.small else (train.small,)
        fitted[f"always_{expert}"] = {s: (policies.build("always", options, experts=pair), pools[s]) for s in seeds}
    for team in train.teams:
        folders = {s: inputs.models / "teams" / team / f"seed-{s}" for s in train.seeds}
        fitted[team] = {s: (bundle.load(folder).policy, pools[s]) for s, folder in folders.items()}
    for policy, options in inputs.settings.policies.items():
        fitted[policy] = {s: (fit_one(inputs, policy, options, pools[s], s), pools[s]) for s in train.seeds}
    return fitted


def fit_one(inputs: Inputs, name: str, options: Mapping[str, Any], pool: Mapping[str, Answering], seed: int) -> Policy:
    """A policy of params.yaml fitted on train and valid, over the experts it names or those its kind is for."""
    train, valid = (inputs.panel(split, pool, blind=False) for split in ("train", "valid"))
    small, options = inputs.settings.train.small, dict(options)
    kind = policies.resolve(name, str(options.get("kind", name)))
    llms = (inputs.settings.evaluate.reference,) if kind.pair else inputs.settings.base.llms
    rising = sorted((small, *llms), key=lambda expert: float(train.copy().ask(expert).cost.mean()))
    experts_ = tuple(options.pop("experts", rising))
    return policies.build(name, options, experts=experts_, random_state=seed).fit(train, valid)


def keep_policies(inputs: Inputs, fitted: Fitted, valid: evaluate.Runs, out: Path) -> None:
    """Each seed's policy of params.yaml that plain values can tell, as a bundle in `out/<policy>/seed-<n>`."""
    from deferral import bundle
    from deferral.policies.base import Plain

    with schema.replacing_folder(out) as part:
        for name in inputs.settings.policies:
            quality = valid.gold == valid.sweeps[name].label
            for s, (seed, (policy, _)) in enumerate(fitted[name].items()):
                if isinstance(policy, Plain):
                    facts = {
                        "task": inputs.name,
                        "team": name,
                        "seed": seed,
                        "unit": inputs.settings.costs.unit,
                        "valid_quality": float(quality[:, s].mean(axis=1).max()),
                    }
                    bundle.save(policy, part / name / f"seed-{seed}", facts, inputs.classes)


def replay_all(inputs: Inputs, fitted: Fitted, split: str) -> evaluate.Runs:
    """Every policy over the sweep of budgets on one split, and by its own rule."""
    settings = inputs.settings.evaluate
    shares = np.unique(np.round([*np.linspace(0, 1, settings.sweep), *settings.budgets], 9))
    budgets = [Budget(share=float(s)) for s in shares]
    gold = class_indices(schema.rows_in(inputs.examples, split)["label"], inputs.classes)
    sweeps, own = {}, {}
    for name, seeds in tqdm(fitted.items(), desc=f"replaying {split}", unit="policy", disable=None):
        panels = {s: inputs.panel(split, pool, blind=True) for s, (_, pool) in seeds.items()}
        by_seed = {s: policy for s, (policy, _) in seeds.items()}
        if not next(iter(by_seed.values())).takes_budget:
            sweeps[name] = replay.replay(name, by_seed, panels, [None])
            continue
        run = replay.replay(name, by_seed, panels, [*budgets, None])
        sweeps[name] = replay.only(run, np.arange(len(budgets)))
        own[name] = replay.only(run, np.array([len(budgets)]))
    dear = [sweeps[f"always_{llm}"] for llm in inputs.settings.base.llms]
    small = sweeps[f"always_{inputs.settings.train.small}"]
    sweeps["oracle"] = replay.oracle("oracle", small, dear, gold, shares.tolist())
    group = schema.rows_in(inputs.examples, split)["group"].to_pylist()
    return evaluate.Runs(gold, group, sweeps, own)


def write_all(
    inputs: Inputs, test: evaluate.Runs, valid: evaluate.Runs, out: Path, decisions: Path, examples: Path
) -> str:
    """The evaluation as files, each written beside and renamed."""
    from deferral.report import write_report
    from tasks.versioning import versions

    settings, task_settings = inputs.settings.evaluate, inputs.settings.task(inputs.name)
    rows = schema.rows_in(inputs.examples, "test")
    answers, held = (
        {e: inputs.recorded(e).answer(schema.rows_in(inputs.examples, split)) for e in inputs.experts}
        for split in ("test", "valid")
    )
    unit, small = inputs.settings.costs.unit, inputs.settings.train.small
    summary, curve = evaluate.summarise(inputs.name, task_settings, settings, unit, test, valid, answers, small, held)
    summary["demo"] = task_settings.source.kind == "demo"
    summary["prices"] = {name: asdict(price) for name, price in inputs.settings.costs.prices.items()}
    summary["splits"] = json.loads(examples.with_suffix(".json").read_text(encoding="utf-8"))["splits"]
    out.mkdir(parents=True, exist_ok=True)
    schema.write_text(out / "metrics.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    schema.write_text(out / "headline.json", json.dumps(headline_figures(summary), indent=1, allow_nan=False) + "\n")
    schema.write_text(out / "curve.csv", curve.to_pandas().to_csv(index=False, float_format="%.9g"))
    schema.write(decision_table(inputs, test, rows), decisions, "decisions")
    return str(write_report(out, summary, curve, versions=versions()))


def headline_figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures that `dvc metrics show` compares between versions."""
    head, small = summary["headline"], summary["experts"][summary["small"]]
    return {
        "reached": head["reached"],
        "cost_share": head["cost_share"]["value"],
        "cost_share_high": head["cost_share"]["ci"][1],
        "deferral_rate": head["deferral_rate"],
        "quality": head["quality"]["value"],
        "quality_reference": head["reference_quality"]["value"],
        "quality_small": small["quality"],
        "apgr": summary["policies"][head["policy"]]["apgr"],
    }


def decision_table(inputs: Inputs, test: evaluate.Runs, rows: pa.Table) -> pa.Table:
    """The decisions of every team and policy at the budgets of params.yaml, all seeds."""
    ids, budgets = rows["id"].to_pylist(), inputs.settings.evaluate.budgets
    parts = []
    for name, run in test.sweeps.items():
        if name == "oracle" or run.points == 1:
            continue
        for p in (int(np.flatnonzero(np.isclose(run.budgets, b))[0]) for b in budgets):
            parts += [run.decisions(p, s, ids, inputs.classes) for s in range(len(run.seeds))]
    return schema.with_meta(pa.concat_tables(parts), "decisions", {"task": inputs.name})
