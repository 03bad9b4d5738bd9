"""Who should answer new texts: a policy from a bundle decides, and no expensive expert is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from askless import schema
from askless.arrays import Floats
from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.errors import ConfigError
from askless.experts.checked_summaries import CheckedSummaries
from askless.panel import NO_LABEL, Panel, of_label
from askless.policies.base import Budget, Decisions


@dataclass(frozen=True)
class TextDecisions:
    """Who should answer each text, and what the small expert answers to those that it is asked about; of one length.

    Parameters
    ----------
    expert
        Who should answer.
    small_answer
        The small expert's label or summary; None where it is not asked or has none.
    small_confidence
        The probability, from 0 to 1, that the label is right; None where the small expert is not asked or states none,
        and for summaries, whose quality is no probability.
    score
        What decided, None where nothing did.
    """

    expert: list[str]
    small_answer: list[str | None]
    small_confidence: list[float | None]
    score: list[float | None]


def decide(bundle: Bundle, texts: list[str], budget: Budget | None = None) -> TextDecisions:
    """Decide for new texts without asking any expensive expert; the small one's answers come along.

    Parameters
    ----------
    bundle
        A policy with its small expert.
    texts
        One or more, as they would be asked.
    budget
        How much may be deferred; None: the policy's own rule.

    Returns
    -------
    TextDecisions
        A list of each thing that is said of the texts, in their order.

    Raises
    ------
    ConfigError
        For a policy that decides by what expensive experts answer.
    """
    ids = [str(i) for i in range(len(texts))]
    panel, decided = decide_panel(bundle, ids, texts, budget, CostModel("seconds"))
    expert = [bundle.experts[j] for j in decided.expert]
    return TextDecisions(expert, *small_answers(panel, bundle.experts[0]), _finite(decided.score))


def decide_panel(
    bundle: Bundle, ids: list[str], texts: list[str], budget: Budget | None, costs: CostModel
) -> tuple[Panel, Decisions]:
    """The decisions about texts of these `ids`, and the panel on which they were made; expensive answers cost nothing
    on it.

    Ties are settled by the ids. Raises `ConfigError` as `decide`.
    """
    policy, small, classes = bundle.policy, bundle.small, bundle.classes
    if small is None or not policy.decides_alone:
        raise ConfigError(
            f"{type(policy).__name__} over {', '.join(policy.experts)} has no small expert with it, or decides by "
            "what expensive ones answer. Allowed: a team, summary_gain, or a policy between the small expert and "
            "one other."
        )
    split = ["test"] * len(texts)
    examples = schema.table("examples", {"id": ids, "text": pa.array(texts, pa.string()), "split": split})
    expensive = {name: _NeverAsked(name, classes) for name in policy.experts[1:]}
    answering = {small.name: small if classes else CheckedSummaries(small), **expensive}
    panel = Panel(examples, answering, costs, classes, blind=True)
    return panel, policy.decide(panel, budget)


@dataclass(frozen=True)
class _NeverAsked:
    """Stands for an expensive expert: that it would be asked is what counts, and nobody sees its answer."""

    name: str
    classes: tuple[str, ...]

    def answer(self, examples: pa.Table) -> pa.Table:
        """An answer to each example, at no cost."""
        n = examples.num_rows
        given = {"label": [self.classes[0]] * n} if self.classes else {"text": [self.name] * n}
        none = {"seconds": np.zeros(n, np.float32), "cost_usd": np.zeros(n)}
        none |= {name: np.zeros(n, np.int32) for name in ("prompt_tokens", "completion_tokens")}
        columns = {"id": examples["id"].combine_chunks(), "expert": [self.name] * n, **none, **given}
        return schema.table("predictions", columns)


def small_answers(panel: Panel, small: str) -> tuple[list[str | None], list[float | None]]:
    """The small expert's answer to each row that it was asked about, and its confidence; else None."""
    answer: Any = np.full(len(panel), None, object)
    confidence = np.full(len(panel), np.nan)
    answers = panel.ask(small, np.flatnonzero(panel.asked(small)))
    if panel.classes:
        answer[answers.rows] = [None if c == NO_LABEL else panel.classes[c] for c in answers.label]
        confidence[answers.rows] = of_label(answers.label, answers.proba)
    else:
        answer[answers.rows] = answers.table["text"].to_pylist()
    return answer.tolist(), _finite(confidence)


def _finite(values: Floats) -> list[float | None]:
    """Numbers to six digits, None for one that is none."""
    rounded = np.asarray(values, float).round(6)
    found: list[float | None] = rounded.tolist()
    for at in np.flatnonzero(~np.isfinite(rounded)).tolist():
        found[at] = None
    return found
