"""A plan as what answers new items: its page, its bundle, the terms of its experts, and how it decided known rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from askless import experts
from askless.bundles import plan_file, trust
from askless.bundles.bundle import Bundle
from askless.bundles.terms import FILE, Terms
from askless.config import Price
from askless.data.recorded import Study
from askless.experts.base import Expert
from askless.experts.paid import PaidExpert
from askless.labelling.foreseen import on_record
from askless.labelling.known import Known
from askless.monitoring import baseline
from askless.panel import Panel
from askless.plans.boards import Boards
from askless.plans.plan import Plan

# From so many of an expert's answers on record a plan goes by their probabilities.
MOST = 0.5


def keep(
    plan: Plan, study: Study, path: Path | str, small: Expert | None = None, terms: Terms | None = None, seed: int = 0
) -> Bundle:
    """Write a plan so that `label`, `serve` and `decide` take it as a model.

    Parameters
    ----------
    plan
        Made from `study`.
    study
        Its rows are what later ones are held against: those that certified the plan, else all that it was made on; with
        a small expert or a policy that has learnt from their texts, test's.
    path
        Of the page, `.yaml`; the rest is beside it, in a folder of the same name that ends in `.files`.
    small
        The small expert, where it was trained with the plan.
    terms
        How its other experts are asked, in the words of whoever makes the plan, who agrees to them by that; None where
        that will be said when new items are answered.
    seed
        Of the plan.

    Returns
    -------
    Bundle
        What decides.
    """
    task = Path(path).stem
    facts = {"task": task, "seed": seed, "sure": _sure(plan, study, small)}
    bundle = plan_file.write(plan, path, facts, small)
    assert bundle.folder is not None
    if len(bundle.experts) > 1:
        rows = _known(plan, study, small is not None and small.name in bundle.experts)
        about = baseline.baseline(plan.policy, rows, plan.budget, bundle.experts[-1], task=task, time=datetime.now(UTC))
        baseline.write(bundle.folder, about)
    if (known := Known.of(study, seed)) is not None:
        known.write(bundle.folder)
    if terms is not None:
        terms = _of_plan(terms, bundle, study)
        terms.write(bundle.folder)
        trust.check(terms.experts, terms.costs, str(bundle.folder / FILE), agreed=True)
    return bundle


def _sure(plan: Plan, study: Study, small: Expert | None) -> list[str]:
    """Those by whose probabilities the plan decides who else is asked: most of their answers on record state one."""
    looked_at = [] if plan.policy.reads_text else [name for name in plan.policy.experts[:-1] if not _is(small, name)]
    stated = {name: confidence_share(study.answers[name]) for name in looked_at}
    return [name for name, share in stated.items() if share > MOST]


def _is(small: Expert | None, name: str) -> bool:
    return small is not None and small.name == name


def confidence_share(answers: pa.Table) -> float:
    """Share of the answers with a label that state a probability of it."""
    stated = pc.or_(pc.is_valid(answers["logprob"]), pc.is_valid(answers["proba"]))
    given = pc.is_valid(answers["label"])
    return float((pc.sum(pc.and_(given, stated)).as_py() or 0) / max(pc.sum(given).as_py() or 0, 1))


def _known(plan: Plan, study: Study, learnt: bool) -> Panel:
    """Rows of the study that are like new ones."""
    boards = Boards.of(study) if plan.certify == "split" else Boards.labelled(study)
    if len(boards.valid):
        return boards.valid
    return boards.test if (learnt or plan.policy.reads_text) and len(boards.test) else boards.train


def _of_plan(terms: Terms, bundle: Bundle, study: Study) -> Terms:
    """The terms of those that a plan asks, with what their answers on record took."""
    asked = {name: terms.experts[name] for name in bundle.expensive if name in terms.experts}
    prices = {name: terms.costs.prices.get(name, Price()) for name in bundle.experts}
    usage = {}
    for name, options in asked.items():
        expert = experts.build(experts.Setting(name, terms.task, terms.classes), options)
        if isinstance(expert, PaidExpert) and not study.answers[name]["prompt_tokens"].null_count:
            usage[name] = on_record(expert, study.examples, study.answers[name]).state()
    return replace(terms, experts=asked, costs=replace(terms.costs, prices=prices), usage=usage)
