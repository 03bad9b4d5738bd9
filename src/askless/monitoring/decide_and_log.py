"""New items answered as a policy decides, and a few drawn by chance put to both experts, whoever was to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.arrays import Floats, Ints
from askless.errors import ConfigError
from askless.monitoring.decision_log import ROWS, DecisionRow, checked, log_rows
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget, Decisions, Policy, answered
from askless.text.rouge import rouge

AUDIT_SEED = 52_711_983
ANSWERS = pa.list_(pa.struct([("expert", pa.string()), ("answer", pa.string())]))


@dataclass(frozen=True)
class Audit:
    """A share of the rows is put to the small expert and to the reference, whoever was to answer.

    Parameters
    ----------
    reference
        One of the policy's expensive experts.
    share
        Of the rows, from 0 to 1; they are drawn by a hash of the id.
    agree_from
        ROUGE-L, from 0 to 1, from which two summaries agree; None: of summaries that is not stated. Labels agree where
        they are equal.

    Raises
    ------
    ConfigError
        For a share that is none.
    """

    reference: str
    share: float
    agree_from: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"An audit of a share of {self.share:g} of the rows. Allowed: from 0 to 1.")


def answer(
    policy: Policy,
    panel: Panel,
    budget: Budget | None,
    audit: Audit,
    *,
    task: str,
    version: str,
    time: datetime,
    asked: Sequence[str] | None = None,
) -> pa.Table:
    """Decide every row of a panel and audit some: rows of the log, texts and summaries among them.

    Parameters
    ----------
    policy
        Decides.
    panel
        The items, blind, with everybody that may be asked; asking is billed to it.
    budget
        Within which it decides; None: by its own rule.
    audit
        What is asked beyond the decisions.
    task, version, time
        As the log has them.
    asked
        Who is asked for money, and those of the policy among them whose faults are told. By default all but its first.

    Returns
    -------
    pa.Table
        The columns `ROWS`, and `answers`: those of every expensive expert that was asked, by decision or audit.

    Raises
    ------
    ConfigError
        For an audit's reference that is none of the policy's expensive experts.
    """
    small, *expensive = policy.experts
    if audit.share and audit.reference not in expensive:
        raise ConfigError.unknown("reference of the audit", audit.reference, expensive)
    done = policy.decide(panel, budget)
    billed = [name for name in panel.experts if name in (expensive if asked is None else asked) and name != small]
    paid = np.sum([panel.bill(name) for name in billed], axis=0)
    answers = {name: _answers(panel, name) for name in policy.experts}
    given = _given(panel, done, answers)
    errors = _errors(panel, [name for name in policy.experts if name in (expensive if asked is None else asked)])
    drawn = np.flatnonzero(panel.draws(AUDIT_SEED) < audit.share)
    before = panel.spent
    agreement = likeness(panel, small, audit.reference, drawn) if len(drawn) else np.zeros(0)
    audited, audit_cost = np.isin(np.arange(len(panel)), drawn), panel.spent - before
    agree = _agreed(agreement, drawn, len(panel), audit.agree_from if not panel.classes else 1.0)
    small_answers = _answers(panel, small)
    rows = log_rows(
        DecisionRow(
            time=time,
            id=panel.ids[i],
            task=task,
            version=done.version or version,
            expert=policy.experts[done.expert[i]],
            asked=[expensive[j] for j in np.flatnonzero(done.asked[i, 1:])],
            score=done.score[i],
            cost=done.cost[i],
            paid=paid[i] if done.asked[i, 1:].any() else None,
            small_answer=small_answers[i],
            answer=given[i],
            audit=audited[i],
            agree=agree[i],
            audit_cost=audit_cost[i],
            error=errors[i],
            text=text,
        )
        for i, text in enumerate(panel.text)
    )
    return rows.append_column("answers", _expensive_answers(panel, expensive))


def loggable(
    rows: pa.Table, classes: tuple[str, ...], texts: bool, names: Callable[[list[str]], list[str]] | None = None
) -> pa.Table:
    """What `answer` gave as the log keeps it: without texts and summaries, unless asked for, and under its `names`."""
    hidden = () if texts else ("text",) if classes else ("text", "answer", "small_answer")
    rows = rows.select([name for name in ROWS.names if name not in hidden])
    if names is not None:
        at = rows.schema.get_field_index("id")
        rows = rows.set_column(at, rows.schema.field(at), pa.array(names(rows["id"].to_pylist()), pa.string()))
    return checked(rows, "answers")


def likeness(panel: Panel, small: str, reference: str, rows: Ints) -> Floats:
    """How near two experts' answers to `rows` are (n,): 1 or 0 for labels, ROUGE-L for summaries; both are billed.

    NaN where either gave no answer, or none that is on record: of answers that were judged only the judgement may be.
    """
    one, other = panel.ask(small, rows), panel.ask(reference, rows)
    both = answered(one) & answered(other)
    if panel.classes:
        return np.where(both, (one.label == other.label).astype(float), np.nan)
    for each in (one, other):
        both &= pc.is_valid(each.table["text"]).to_numpy(zero_copy_only=False)
    found, at = np.full(len(rows), np.nan), np.flatnonzero(both)
    texts = [each.table["text"].take(pa.array(at)).to_pylist() for each in (one, other)]
    found[at] = rouge(*texts)
    return found


def _agreed(agreement: Floats, drawn: Ints, rows: int, least: float | None) -> list[bool | None]:
    agree: list[bool | None] = [None] * rows
    for row, found in zip(drawn.tolist(), agreement.tolist(), strict=True):
        agree[row] = None if found != found or least is None else found >= least
    return agree


def _answers(panel: Panel, name: str) -> list[str | None]:
    """What an expert answered to the rows it was asked about, None elsewhere."""
    found: Any = np.full(len(panel), None, object)
    answers = panel.ask(name, np.flatnonzero(panel.asked(name)))
    if panel.classes:
        found[answers.rows] = [None if c == NO_LABEL else panel.classes[c] for c in answers.label]
    else:
        texts, given = answers.table["text"].to_pylist(), answered(answers)
        found[answers.rows] = [text if ok else None for text, ok in zip(texts, given, strict=True)]
    return list(found)


def _given(panel: Panel, done: Decisions, answers: Mapping[str, list[str | None]]) -> list[str | None]:
    """The answer given: the label decided upon, or the summary of whoever was chosen."""
    if panel.classes:
        return [None if c == NO_LABEL else panel.classes[c] for c in done.label]
    return [answers[done.experts[j]][row] for row, j in enumerate(done.expert)]


def _errors(panel: Panel, expensive: list[str]) -> list[str | None]:
    """What went wrong with an expensive expert that was asked, None where all of them answered."""
    errors: list[str | None] = [None] * len(panel)
    for name in expensive:
        answers = panel.ask(name, np.flatnonzero(panel.asked(name)))
        reasons = answers.table["error"].to_pylist()
        for at in np.flatnonzero(~answered(answers)).tolist():
            errors[answers.rows[at]] = f"{name}: {reasons[at] or 'no answer'}"
    return errors


def _expensive_answers(panel: Panel, expensive: list[str]) -> pa.Array:
    asked = {name: (panel.asked(name), _answers(panel, name)) for name in expensive}
    rows = [
        [{"expert": name, "answer": given[i]} for name, (put, given) in asked.items() if put[i]]
        for i in range(len(panel))
    ]
    return pa.array(rows, ANSWERS)
