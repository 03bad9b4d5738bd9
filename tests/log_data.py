"""Rows of the decision log: one by one, or many with scores from a distribution, deferred below a threshold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from askless.arrays import Floats
from askless.monitoring.decision_log import DecisionRow, checked

START = datetime(2026, 1, 1, tzinfo=UTC)
CUT, PRICE = -0.5, 0.001
Rng = np.random.Generator


def row(
    name: str,
    version: str,
    deferred: bool,
    answer: str | None = "0",
    *,
    failed: bool = False,
    expensive: str = "llm",
    text: str | None = None,
) -> DecisionRow:
    """One item; deferred to `expensive`, which answered unless it `failed`."""
    return DecisionRow(
        time=START,
        id=name,
        task="olhs",
        version=version,
        expert=expensive if deferred and not failed else "small",
        asked=[expensive] if deferred else [],
        score=None,
        cost=0.0,
        answer=answer,
        text=text,
    )


def rows(
    score: Floats,
    *,
    rng: Rng,
    name: str = "a",
    version: str = "1",
    cut: float = CUT,
    errors: float = 0.02,
    agree: float = 0.8,
    audits: float = 1.0,
    price: float = PRICE,
) -> pa.Table:
    """A row for each score; below `cut` it is put to `llm`, which errs with probability `errors`."""
    n = len(score)
    sent, audit = score < cut, rng.random(n) < audits
    wrong = sent & (rng.random(n) < errors)
    paid = price * rng.integers(8, 13, n) / 10
    columns = {
        "time": [START + timedelta(seconds=i) for i in range(n)],
        "id": [f"{name}{i}" for i in range(n)],
        "task": ["olhs"] * n,
        "version": [version] * n,
        "expert": np.where(sent & ~wrong, "llm", "small"),
        "asked": [["llm"] if put else [] for put in sent],
        "score": score,
        "cost": np.where(sent, paid, 0.0),
        "paid": pa.array(paid, mask=~sent),
        "small_answer": ["0"] * n,
        "answer": ["0"] * n,
        "audit": audit,
        "agree": pa.array(rng.random(n) < agree, mask=~audit),
        "audit_cost": np.where(audit & ~sent, paid, 0.0),
        "error": ["llm: silent" if each else None for each in wrong],
    }
    return checked(pa.table(columns), "made")


def simple(n: int, name: str = "a", version: str = "1") -> pa.Table:
    """`n` rows of normal scores."""
    rng = np.random.default_rng(n)
    return rows(rng.normal(size=n), rng=rng, name=name, version=version)
