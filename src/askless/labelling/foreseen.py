"""What labelling a stream will take before anything is asked: rows drawn by chance are decided, nobody is paid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.bundles.decide import decide
from askless.data.incoming import fault_of
from askless.data.prepare import clean
from askless.data.stream import ItemSource
from askless.experts.paid import PaidExpert
from askless.labelling.answerer import DeployedBundle
from askless.policies.base import Budget
from askless.spending.forecast import Forecast, forecast
from askless.spending.pending import sizes_of, usage_of, used_by
from askless.spending.usage import QUANTITIES, Usage

CHUNK = 4096


@dataclass(frozen=True)
class Drawn:
    """Texts drawn by chance from a stream.

    Parameters
    ----------
    texts
        Cleaned, None for one that cannot be answered.
    rows
        Of the stream.
    """

    texts: list[str | None]
    rows: int


def draw(source: ItemSource, most: int, longest: int | None, seed: int) -> Drawn:
    """Up to `most` rows of a stream, any set of that size as likely as another (reservoir sampling, Vitter's R)."""
    rng, kept, rows = np.random.default_rng(seed), list[str | None](), 0
    for chunk in source.chunks(CHUNK):
        places = rng.integers(0, np.arange(rows + 1, rows + len(chunk) + 1))
        for place, text in zip(places.tolist(), chunk.texts, strict=True):
            if len(kept) < most:
                kept.append(text)
            elif place < most:
                kept[place] = text
        rows += len(chunk)
    cleaned = [clean(text or "") for text in kept]
    return Drawn([None if fault_of(text, longest) else text for text in cleaned], rows)


def foresee(
    version: DeployedBundle, drawn: Drawn, budget: Budget | None, answers: Path, confidence: float
) -> list[Forecast]:
    """What each expensive expert will take for all rows, from those drawn; answers kept in `answers` are free.

    A text that comes again is counted each time, though it is paid for once. Raises `ConfigError` for a policy that
    needs an expensive answer before it decides.
    """
    good = [at for at, text in enumerate(drawn.texts) if text is not None]
    texts = [str(drawn.texts[at]) for at in good]
    who: Any = np.full(len(drawn.texts), "", object)
    who[good] = decide(version.bundle, texts, budget).expert
    return [
        _one(version, drawn, version.terms.expert(name, answers), who == name, confidence)
        for name in version.bundle.expensive
    ]


def on_record(expert: PaidExpert, examples: pa.Table, predictions: pa.Table) -> Usage:
    """What answers of `expert` take, learnt from those on record to `examples`.

    Seconds only where `predictions` have them: those of the pipeline leave them out, and what it makes is the same on
    every machine.
    """
    at = pc.index_in(predictions["id"], examples["id"].combine_chunks())
    answered = predictions.filter(pc.and_(pc.is_valid(at), pc.is_null(predictions["error"])))
    texts = examples["text"].take(pc.index_in(answered["id"], examples["id"].combine_chunks())).to_pylist()
    replies = pc.fill_null(answered["replies"], 1).to_numpy()[:, None]
    used = used_by(answered.select(list(QUANTITIES)).to_pylist())
    return usage_of(expert).learnt(sizes_of(expert, texts), used / replies)


def _one(version: DeployedBundle, drawn: Drawn, expert: PaidExpert, asked: Any, confidence: float) -> Forecast:
    rows = np.flatnonzero(asked)
    keys = [expert.keys(str(drawn.texts[at])) for at in rows]
    with expert.store(make=False) as store:
        kept = store.get_many(key for each in keys for key in each)
    found = np.array([kept.keys() >= set(each) for each in keys], bool)
    known = [kept[each[0]] for each, whole in zip(keys, found, strict=True) if whole]
    # All sizes: where not one of the rows drawn is asked about, some of the others may be.
    sizes, due = sizes_of(expert, [text or "" for text in drawn.texts]), np.zeros(len(drawn.texts), bool)
    due[rows[~found]] = True
    state = version.terms.usage.get(expert.name)
    usage = Usage.restore(state) if state else usage_of(expert).learnt(sizes[rows[found]], used_by(known))
    price = version.terms.costs.prices.get(expert.name)
    return forecast(
        expert.name,
        usage,
        sizes,
        asked=due,
        population=drawn.rows,
        price=price,
        kept=int(found.sum()),
        confidence=confidence,
        batches=expert.batches,
        replies=expert.replies,
    )
