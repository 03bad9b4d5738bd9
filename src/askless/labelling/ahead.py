"""Rows of a stream that are deferred, asked about before any chunk is answered: all in one batch, or by their scores.

What is asked here is kept, so that the chunks find it there. It takes the memory of the deferred texts, and decides
each row twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from askless import schema
from askless.data.stream import Chunk
from askless.labelling.answerer import Answerer, TextBatch
from askless.policies.score_threshold import ScoreThreshold
from askless.policies.two_tier import TwoTier
from askless.spending.guard import GuardedExpert
from askless.spending.key_limits import NANO

ROWS = 1000


def ask_ahead(answerer: Answerer, chunks: Iterable[Chunk], stopped: Callable[[], bool] = lambda: False) -> None:
    """Ask about what is deferred where that is not done chunk by chunk.

    That is for experts that are asked by batches, and under a limit that could be passed: then a policy that compares a
    score with a threshold asks about the lowest scores first, which it is surest to defer. A policy that must see an
    expensive answer before it decides leaves all to the chunks.

    Parameters
    ----------
    answerer
        Decides, and has the experts.
    chunks
        The rows that are to be answered.
    stopped
        Whether to end; asked before each call to an expert.

    Raises
    ------
    ExpertError
        Where asking was to stop.
    """
    bundle = answerer.version.bundle
    policy = bundle.policy
    if (
        bundle.small is None
        or not policy.decides_alone
        or all(_as_they_come(each) for each in answerer.expensive.values())
    ):
        return
    deferred: dict[str, dict[str, tuple[float, str]]] = {name: {} for name in answerer.expensive}
    for chunk in chunks:
        items = TextBatch.of(answerer.version.terms, chunk.texts, chunk.faults)
        names, texts = ([values[at] for at in items.first] for values in (items.ids, items.texts))
        for row in answerer.decide(names, texts, answerer.budget):
            if row.expert in deferred:
                score = (
                    row.score if isinstance(policy, ScoreThreshold | TwoTier) and row.score is not None else -math.inf
                )
                deferred[row.expert][row.id] = score, row.text or ""
    for name, rows in deferred.items():
        expert = answerer.expensive[name]
        names = sorted(rows, key=lambda each: rows[each][0])
        most = expert.expert.replies * np.array(expert.price.most([rows[each][1] for each in names]))
        if not expert.expert.batches and most.sum() <= expert.left:
            continue
        while names and not stopped():
            # Those at once that the limit allows for certain: of more, threads would take others before the lowest.
            fit = int(np.searchsorted(np.cumsum(most), expert.left + 1 / NANO, "right"))
            part = names if expert.expert.batches else names[: min(fit, ROWS)]
            if not part:
                break
            columns = {"id": part, "text": [rows[each][1] for each in part], "split": ["test"] * len(part)}
            expert.ask_ahead(schema.table("examples", columns))
            names, most = names[len(part) :], most[len(part) :]


def _as_they_come(expert: GuardedExpert) -> bool:
    return not expert.expert.batches and expert.left == math.inf
