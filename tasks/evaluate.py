"""Every policy replayed on test, its operating point chosen on valid; metrics, curve, decisions, report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, experts, policies, schema
from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.data import readers
from askless.errors import DataError
from askless.evaluation import evaluate, learning, replay
from askless.evaluation.distillation import brought
from askless.evaluation.expert_results import contradictions
from askless.evaluation.summary_examples import side_by_side
from askless.experts.local.checkpoint import DEMO
from askless.experts.recorded import RecordedExpert
from askless.experts.small.auto import CHOSEN_FROM, in_words
from askless.experts.small.out_of_fold import is_out_of_fold
from askless.files import replacing_folder, write_text
from askless.panel import Answering, Panel, class_indices
from askless.policies.bandit.learner import Learner
from askless.policies.base import Budget, Policy
from askless.text.embeddings import Vectors
from tasks.progress import steps
from tasks.train import UNTAUGHT

# What learners are held against, where it is among the policies; else the headline.
PLAN = "planned"


@dataclass(frozen=True)
class Inputs:
    """What the evaluation reads."""

    name: str
    settings: config.Params
    examples: pa.Table
    predictions: Path
    models: Path
    vectors: Path
    encoded: Path | None = None

    @property
    def task(self) -> config.Task:
        """What the task asks."""
        return self.settings.task(self.name)

    @property
    def train(self) -> config.Train:
        """Who takes part."""
        return self.settings.train[self.name]

    @property
    def evaluate(self) -> config.Evaluate:
        """How the report is made."""
        return self.settings.evaluate[self.name]

    @property
    def words(self) -> Vectors | None:
        """The task's word vectors, None where it has none."""
        return Vectors.open(self.vectors) if self.task.vectors else None

    @property
    def experts(self) -> tuple[str, ...]:
        """Small expert, baselines, LLMs."""
        return tuple(dict.fromkeys((self.train.small, *self.train.baselines, *self.settings.llms(self.name))))

    def policies(self, *, learn: bool) -> dict[str, Mapping[str, Any]]:
        """The policies of params.yaml with their options, those that learn while they answer or all others."""
        named = self.settings.policies[self.name]
        kinds = {name: policies.resolve(name, str(options.get("kind", name))) for name, options in named.items()}
        return {name: options for name, options in named.items() if issubclass(kinds[name], Learner) == learn}

    def recorded(self, expert: str, seed: int | None = None) -> RecordedExpert:
        """The predictions of one expert, replayed; of the small one as trained with `seed`, by default the first."""
        setting = experts.Setting(name=expert, task=self.name, classes=self.task.classes)
        path = self.predictions / "generated" / f"{expert}.parquet"
        if expert not in self.settings.llms(self.name):
            folder = self.predictions / "trained" / expert
            path = folder / f"seed-{self.train.seeds[0] if seed is None else seed}.parquet"
            # An expert that does not learn answers the same with every seed.
            path = path if path.exists() else folder / f"seed-{self.train.seeds[0]}.parquet"
        return RecordedExpert(setting, path=str(path))

    def pool(self, seed: int) -> dict[str, Answering]:
        """Every expert's predictions, the small one's as trained with `seed`.

        Raises `DataError` where a policy would be fitted on what an expert says of rows that it has learnt from.
        """
        found = {}
        for expert in self.experts:
            found[expert] = self.recorded(expert, seed if expert == self.train.small else None)
            if self.learns(expert) and not is_out_of_fold(pq.read_schema(found[expert].path)):
                raise DataError(
                    str(found[expert].path),
                    f"the train split as a model of '{expert}' answers it that has learnt from it",
                    "answers out of fold, for policies are fitted on them",
                    f"Run dvc repro train@{self.name}.",
                )
        return dict(found)

    def learns(self, expert: str) -> bool:
        """Whether an expert was trained on labelled rows of the task."""
        kind = experts.resolve(self.settings.expert(expert)["backend"])
        return expert not in self.settings.llms(self.name) and issubclass(kind, experts.TrainedExpert)

    def panel(self, split: str, answering: Mapping[str, Answering]) -> Panel:
        """A fresh panel over one split."""
        rows = schema.rows_in(self.examples, split)
        return Panel(rows, answering, CostModel.of(self.settings.costs), self.task.classes)


@task(cache_policy=NO_CACHE)
def evaluate_policies(
    name: str,
    params: str,
    examples: str,
    predictions: str,
    models: str,
    vectors: str,
    out: str,
    decisions: str,
    encoded: str | None = None,
) -> str:
    """Write the figures (metrics.json, headline.json, curve.csv), the report with its pictures, and the decisions.

    Returns the report's path.
    """
    settings = config.load(params)
    rows = schema.read(examples, "examples", classes=settings.task(name).classes)
    folders = [Path(predictions), Path(models), Path(vectors)]
    inputs = Inputs(name, settings, rows, *folders, encoded=None if encoded is None else Path(encoded))
    fitted = fit_all(inputs)
    test, valid = (replay_all(inputs, fitted, split) for split in ("test", "valid"))
    keep_policies(inputs, fitted, valid, Path(out) / "policies")
    return write_all(inputs, fitted, test, valid, Path(out), Path(decisions), Path(examples))


Fitted = dict[str, dict[int, tuple[Policy, Mapping[str, Answering]]]]


def fit_all(inputs: Inputs) -> Fitted:
    """Each policy and seed with the experts it may ask: teams from their bundles, the others fitted here."""
    train, fitted = inputs.train, Fitted()
    pools = {seed: inputs.pool(seed) for seed in train.seeds}
    for expert in inputs.experts:
        seeds = train.seeds if expert == train.small else train.seeds[:1]
        options = {"kind": "always", "expert": expert}
        pair = (train.small, expert) if expert != train.small else (train.small,)
        fitted[f"always_{expert}"] = {s: (policies.build("always", options, experts=pair), pools[s]) for s in seeds}
    for team in train.teams:
        folders = {s: inputs.models / "teams" / team / f"seed-{s}" for s in train.seeds}
        kept = {s: Bundle.load(folder, encoded=inputs.encoded) for s, folder in folders.items()}
        fitted[team] = {s: (bundle.policy, pools[s]) for s, bundle in kept.items()}
    words = inputs.words
    for policy, options in steps(inputs.policies(learn=False).items(), f"{inputs.name}: fitting", "policies"):
        fitted[policy] = {s: (fit_one(inputs, policy, options, pools[s], s, words), pools[s]) for s in train.seeds}
    return fitted


def fit_one(
    inputs: Inputs,
    name: str,
    options: Mapping[str, Any],
    pool: Mapping[str, Answering],
    seed: int,
    words: Vectors | None,
) -> Policy:
    """A policy of params.yaml fitted on train and valid, over the experts it names or those its kind is for."""
    train, valid = (inputs.panel(split, pool) for split in ("train", "valid"))
    return build_one(inputs, name, options, train, seed, words).fit(train, valid)


def build_one(
    inputs: Inputs, name: str, options: Mapping[str, Any], train: Panel, seed: int, words: Vectors | None
) -> Policy:
    """As `fit_one`, not fitted."""
    small, options = inputs.train.small, dict(options)
    kind = policies.resolve(name, str(options.get("kind", name)))
    llms = (inputs.evaluate.reference,) if kind.pair else inputs.settings.llms(inputs.name)
    priced = dict.fromkeys((small, *llms))
    rising = sorted(priced, key=lambda expert: (expert != small, float(train.copy().ask(expert).cost.mean())))
    experts_ = tuple(options.pop("experts", rising))
    given = {"experts": experts_, "vectors": words, "random_state": seed, "encoded": inputs.encoded}
    if issubclass(kind, Learner):
        given["ceilings"] = learning.ceilings(train, experts_)
    return policies.build(name, options, **given)


def keep_policies(inputs: Inputs, fitted: Fitted, valid: evaluate.Runs, out: Path) -> None:
    """Each seed's policy of params.yaml that plain values can tell, as a bundle in `out/<policy>/seed-<n>`."""
    with replacing_folder(out) as part:
        for name in inputs.policies(learn=False):
            quality = valid.sweeps[name].right(valid.gold)
            for s, (seed, (policy, _)) in enumerate(fitted[name].items()):
                if policy.kept:
                    facts = {
                        "task": inputs.name,
                        "team": name,
                        "seed": seed,
                        "unit": inputs.settings.costs.unit,
                        "valid_quality": float(quality[:, s].mean(axis=1).max()),
                    }
                    Bundle.of(policy, inputs.task.classes, facts).save(part / name / f"seed-{seed}")


def replay_all(inputs: Inputs, fitted: Fitted, split: str) -> evaluate.Runs:
    """Every policy over the sweep of budgets on one split, and by its own rule."""
    rows, settings = schema.rows_in(inputs.examples, split), inputs.evaluate
    shares = np.unique(np.round([*np.linspace(0, 1, settings.sweep), *settings.budgets], 9))
    budgets = [Budget(share=float(s)) for s in shares]
    gold = class_indices(rows["label"], inputs.task.classes)
    sweeps, own = {}, {}
    for name, seeds in steps(fitted.items(), f"{inputs.name}: replaying {split}", "policies"):
        panels = {s: inputs.panel(split, pool) for s, (_, pool) in seeds.items()}
        by_seed = {s: policy for s, (policy, _) in seeds.items()}
        if not next(iter(by_seed.values())).budgets:
            sweeps[name] = replay.replay(name, by_seed, panels, [None])
            continue
        run = replay.replay(name, by_seed, panels, [*budgets, None])
        sweeps[name] = replay.only(run, np.arange(len(budgets)))
        own[name] = replay.only(run, np.array([len(budgets)]))
    return evaluate.Runs(gold, rows["group"].to_pylist(), sweeps, own)


def write_all(
    inputs: Inputs,
    fitted: Fitted,
    test: evaluate.Runs,
    valid: evaluate.Runs,
    out: Path,
    decisions: Path,
    examples: Path,
) -> str:
    """The evaluation as files, each written beside and renamed."""
    from askless.report.report import write_report
    from tasks.versioning import data_of

    settings, rows = inputs.settings, schema.rows_in(inputs.examples, "test")
    answers, held = (
        {e: inputs.recorded(e).answer(schema.rows_in(inputs.examples, split)) for e in inputs.experts}
        for split in ("test", "valid")
    )
    own, small = networks_alone(inputs, fitted), inputs.train.small
    bounds = by_share(inputs, test, own)
    found = evaluate.evaluated(inputs.task, inputs.evaluate, settings.costs.unit, small, test, valid, own, bounds)
    references = rows["reference"].to_pylist() if inputs.task.kind == "summarisation" else []
    main = chosen_headline(inputs, fitted, found)
    if main in own:
        network = next(iter(fitted[main].values()))[0].brought()
        answers[network.name], held[network.name] = (
            network.answer(schema.rows_in(inputs.examples, split)) for split in ("test", "valid")
        )
    summary, curve = found.summary(inputs.name, main, answers, held, references), found.curve()
    summary["demo"] = of_the_demo(inputs)
    summary["notes"] = [*choices(inputs), *findings(fitted), *known_in_words(inputs, rows["text"])]
    summary["notes"] += contradictions(summary["experts"], len(rows))
    if taught := distilled(inputs, found):
        summary["distillation"] = taught
        summary["notes"].append(taught_in_words(taught, inputs.train.small))
    if learners := inputs.policies(learn=True):
        if told := learnt(inputs, learners, test.sweeps.get(PLAN) or test.sweeps[main]):
            summary["learning"] = told
        else:
            summary["notes"].append(learning.EQUAL % ", ".join(learners))
    priced = {name: settings.costs.prices[name] for name in (*answers, "decider") if name in settings.costs.prices}
    summary["prices"] = {name: asdict(price) for name, price in priced.items()}
    costs = CostModel.of(settings.costs)
    by_batches = {name: costs.by_batches(table, name) for name, table in answers.items()}
    if cheaper := {name: figures for name, figures in by_batches.items() if figures}:
        summary["by_batches"] = cheaper
    summary["splits"] = json.loads(examples.with_suffix(".json").read_text(encoding="utf-8"))["splits"]
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "metrics.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    write_text(out / "headline.json", json.dumps(headline_figures(summary), indent=1, allow_nan=False) + "\n")
    write_text(out / "curve.csv", curve.to_pandas().to_csv(index=False, float_format="%.9g"))
    schema.write(decision_table(inputs, test, rows), decisions, "decisions")
    data = data_of(inputs.name, settings.llms(inputs.name))
    shown = side_by_side(found.chosen[main], found.weak, found.strong, rows, answers, CostModel.of(settings.costs))
    return str(write_report(out, summary, curve, versions=data, examples=shown if references else []))


def learnt(inputs: Inputs, learners: Mapping[str, Mapping[str, Any]], plan: replay.Replay) -> dict[str, Any]:
    """How policies that learn while they answer did on test, begun with nothing; nothing where all cost the same."""
    pool = inputs.pool(inputs.train.seeds[0])
    train, test, words = inputs.panel("train", pool), inputs.panel("test", pool), inputs.words
    nothing, beginners = train.take(np.arange(0)), []
    for name, options in learners.items():

        def begin(seed: int, name: str = name, options: Mapping[str, Any] = options) -> Learner:
            policy = build_one(inputs, name, options, train, seed, words)
            assert isinstance(policy, Learner)
            return policy.fit(nothing.copy(), nothing.copy())

        beginners.append(learning.Beginner(name, 0, begin))
    asked = [name for name in train.experts if any(name in each.begin(0).experts for each in beginners)]
    usd = learning.budgets(train, asked)
    if not usd:
        return {}
    beside, trained = learning.Beside.of(test, asked, plan), [name for name in asked if inputs.learns(name)]
    return learning.learnt(beginners, test, usd, beside, trained=trained, confidence=inputs.evaluate.confidence)


def chosen_headline(inputs: Inputs, fitted: Fitted, found: evaluate.Evaluation) -> str:
    """The policy that params.yaml names or, for `auto`, that valid chose among those that can be registered.

    Where none can be, it is the best of all; a task without any policy has its reference.
    """
    if inputs.evaluate.headline != config.AUTO:
        return inputs.evaluate.headline
    names = [*inputs.train.teams, *(name for name in inputs.settings.policies[inputs.name] if name in fitted)]
    first = {name: next(iter(fitted[name].values()))[0] for name in names}
    small = inputs.train.small
    able = [n for n, p in first.items() if p.kept and p.decides_alone and (p.brings or p.experts[0] == small)]
    return found.best(able) or found.best(names) or f"always_{inputs.evaluate.reference}"


def of_the_demo(inputs: Inputs) -> list[str]:
    """What was made up for the demo: the data, the word vectors, and LLMs by name."""
    models = {name: inputs.settings.expert(name).get("model") for name in inputs.settings.llms(inputs.name)}
    found = ["data"] if inputs.task.source.kind in readers.WITHOUT_FILE else []
    found += ["word vectors"] if inputs.task.vectors and inputs.task.vectors.kind == "demo" else []
    return found + [name for name, model in models.items() if str(model).startswith(DEMO)]


def known_in_words(inputs: Inputs, texts: pa.ChunkedArray) -> list[str]:
    """How many of the words of `texts` the task's word vectors know; nothing where it has none."""
    if inputs.words is None:
        return []
    return [f"The word vectors know {100 * inputs.words.share_known(texts):.1f} % of the words of the test texts."]


def networks_alone(inputs: Inputs, fitted: Fitted) -> dict[str, replay.Replay]:
    """By policy, always asking the network of its own with which each seed's policy answers; others are left out."""
    found = {}
    for name, seeds in fitted.items():
        own = {seed: policy.brought() for seed, (policy, _) in seeds.items() if policy.brings}
        for network in {each.name for each in own.values()}:
            always = {seed: policies.build("always", {"expert": network}, experts=(network,)) for seed in own}
            panels = {seed: inputs.panel("test", {network: each}) for seed, each in own.items()}
            found[name] = replay.replay(f"always_{network}", always, panels, [None])
    return found


def by_share(inputs: Inputs, test: evaluate.Runs, own: Mapping[str, replay.Replay]) -> list[replay.Replay]:
    """What a share of LLM calls can buy, where the small expert answers the rest, and where a network of `own` does."""
    small = inputs.train.small
    expensive = [test.sweeps[f"always_{llm}"] for llm in inputs.settings.llms(inputs.name) if llm != small]
    shares = inputs.evaluate.budgets or [0.0]
    bases = (test.sweeps[f"always_{small}"], *own.values())
    return [replay.oracle(evaluate.ORACLE, base, expensive, test.gold, shares) for base in bases]


def distilled(inputs: Inputs, found: evaluate.Evaluation) -> dict[str, Any]:
    """What the small expert's lessons from an LLM brought on test; nothing where it had none."""
    folder, small = inputs.predictions / "trained" / inputs.train.small / UNTAUGHT, inputs.train.small
    if inputs.train.distil is None or not (folder / "lessons.json").exists():
        return {}
    setting = experts.Setting(name=small, task=inputs.name, classes=inputs.task.classes)
    panels, alone = {}, {}
    for seed in found.weak.seeds:
        recorded = RecordedExpert(setting, path=str(folder / f"seed-{seed}.parquet"))
        panels[seed] = inputs.panel("test", {small: recorded})
        alone[seed] = policies.build("always", {"expert": small}, experts=(small,))
    untaught = replay.replay(f"untaught_{small}", alone, panels, [None])
    about = json.loads((folder / "lessons.json").read_text(encoding="utf-8"))
    return {**about, **brought(found.boot, found.weak, untaught)}


def taught_in_words(taught: Mapping[str, Any], small: str) -> str:
    """`distilled` in a sentence."""
    change = taught["difference"]
    low, high = (100 * end for end in change["ci"])
    return (
        f"{small} learnt from {taught['rows']:,} answers that {taught['llm']} was paid for on new items: "
        f"{100 * change['value']:+.1f} points [{low:+.1f}, {high:+.1f}] of quality on test."
    )


def choices(inputs: Inputs) -> list[str]:
    """What the small expert and the baselines were chosen from, a sentence or two for each that was."""
    small = (inputs.train.small, *inputs.train.baselines)
    told = {name: schema.meta_of(pq.read_schema(inputs.recorded(name).path).empty_table()) for name in small}
    return [in_words(name, meta[CHOSEN_FROM]) for name, meta in told.items() if CHOSEN_FROM in meta]


def findings(fitted: Fitted) -> list[str]:
    """What policies say of the experts, each sentence once, by the first seed."""
    found = [getattr(next(iter(seeds.values()))[0], "finding", str)() for seeds in fitted.values()]
    return list(dict.fromkeys(sentence for sentence in found if sentence))


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
    ids, budgets = rows["id"].to_pylist(), inputs.evaluate.budgets
    parts = []
    for run in test.sweeps.values():
        if run.points == 1:
            continue
        for p in (int(np.flatnonzero(np.isclose(run.budgets, b))[0]) for b in budgets):
            parts += [run.decisions(p, s, ids, inputs.task.classes) for s in range(len(run.seeds))]
    return schema.with_meta(pa.concat_tables(parts), "decisions", {"task": inputs.name})
