"""What an expert is still to be asked, and what its answers on record took: what a forecast is made of."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from askless import experts
from askless.arrays import Floats
from askless.config import Params, Price
from askless.errors import ConfigError, DataError
from askless.experts.answer_store import Row
from askless.experts.asked import expert_of
from askless.experts.paid import PaidExpert
from askless.spending.forecast import Forecast, forecast
from askless.spending.usage import QUANTITIES, Usage, byte_sizes

ROWS = 4096
WINDOWS = 8


@dataclass(frozen=True, eq=False)
class Pending:
    """The replies to different texts that an expert has not given yet, in the order of the input.

    Parameters
    ----------
    rows, sizes
        Where each comes first, and its size as `usage.size` counts it, each (n,).
    usage
        What an answer takes, learnt from those kept.
    kept
        How many answers are kept already.
    texts
        How many texts were looked at, equal ones each time.
    others
        How many answers are kept that are of no use now: to other prompts, options or texts.
    batches
        Whether they are to be asked by batches.
    """

    rows: NDArray[np.int64]
    sizes: Floats
    usage: Usage
    kept: int
    texts: int
    others: int = 0
    batches: bool = False

    @classmethod
    def of(cls, expert: PaidExpert, batches: Iterable[Sequence[str]], again: Collection[str] = ()) -> Pending:
        """Looks through all texts, batch by batch, and changes nothing: neither asks nor makes a file.

        Kept answers of the keys `again` are to be bought once more.
        """
        expert.validate()
        seen: set[bytes] = set()
        rows: list[int] = []
        sizes, kept_sizes, used = [np.zeros(0)], [np.zeros(0)], [np.zeros((0, len(QUANTITIES)))]
        start, under_way = 0, expert.under_way()
        with expert.store(make=False) as store:
            for texts in batches:
                fresh = _different(expert, texts, seen)
                found = store.get_many(key for key in fresh if key not in again)
                missing = [at for key, at in fresh.items() if key not in found and key not in under_way]
                rows += [start + at for at in missing]
                sizes.append(sizes_of(expert, [texts[at] for at in missing]))
                kept_sizes.append(sizes_of(expert, [texts[fresh[key]] for key in found]))
                used.append(used_by(found.values()))
                start += len(texts)
            told = np.concatenate(used)
            others = len(store) - len(told) - len(again)
        usage = usage_of(expert).learnt(np.concatenate(kept_sizes), told)
        places, wide = np.array(rows, np.int64), np.concatenate(sizes)
        return cls(places, wide, usage, len(told), start, others, expert.batches)

    def forecast(self, expert: str, price: Price | None, confidence: float = 0.95) -> Forecast:
        """What asking about all of them will take."""
        usage, kept, batches = self.usage, self.kept, self.batches
        return forecast(expert, usage, self.sizes, price=price, kept=kept, confidence=confidence, batches=batches)

    def only(self, places: NDArray[np.int64]) -> Pending:
        """Those of them at these places."""
        return replace(self, rows=self.rows[places], sizes=self.sizes[places])

    @property
    def texts_left(self) -> NDArray[np.int64]:
        """Where each text comes first that lacks a reply, (texts,)."""
        return np.unique(self.rows)

    def draw(self, texts: int, seed: int) -> Pending:
        """The replies to so many of the texts, drawn by chance, or all where there are no more."""
        left = self.texts_left
        drawn = left[np.random.default_rng(seed).permutation(len(left))[:texts]]
        return self.only(np.flatnonzero(np.isin(self.rows, drawn)))

    def windows(self, rows: int, seed: int) -> list[Pending]:
        """So many of them in `WINDOWS` parts of neighbours in size, as batches are made of, in an order by chance.

        The parts stand at even distances in the order of size, from a start drawn by chance (systematic sampling).
        """
        order, rng = np.argsort(self.sizes, kind="stable"), np.random.default_rng(seed)
        rows = min(rows, len(order))
        if not rows:
            return []
        parts = min(WINDOWS, rows)
        ends = np.linspace(0, len(order), parts + 1).astype(int)
        lengths = np.diff(np.linspace(0, rows, parts + 1).astype(int))
        start = rng.random()
        first = [a + int(start * (b - a - n + 1)) for a, b, n in zip(ends[:-1], ends[1:], lengths, strict=True)]
        return [self.only(order[first[part] : first[part] + lengths[part]]) for part in rng.permutation(parts)]


def asker(settings: Params, task: str, name: str, answers: Path) -> PaidExpert:
    """An expert whose answers are paid for, as a task asks it; raises `ConfigError` for any other."""
    expert = expert_of(settings, task, name, answers)
    if not isinstance(expert, PaidExpert):
        backend = settings.expert(name).get("backend")
        able = ", ".join(experts.backends(lambda kind: issubclass(kind, PaidExpert)))
        raise ConfigError(f"Expert '{name}' of backend {backend} is not asked for its answers. Allowed: {able}.")
    return expert


def usage_of(expert: PaidExpert) -> Usage:
    """What an answer of `expert` takes before any is known: counted by its tokenizer, or bounds, or unknown."""
    try:
        prompt, most = expert.most_tokens([""])[0]
    except ConfigError:
        return Usage.unknown()
    return Usage.counted((expert.fewest_tokens(), most)) if expert.counts else Usage.bound(prompt, most)


def sizes_of(expert: PaidExpert, texts: Sequence[str]) -> Floats:
    """The size of each text, as `usage_of(expert).size` counts: shape (rows,)."""
    if not expert.counts:
        return byte_sizes(texts)
    return np.array([prompt for prompt, _ in expert.most_tokens(texts)] if texts else [], np.float64)


def used_by(rows: Iterable[Row]) -> Floats:
    """What kept answers took: (rows, 4) in the order of `QUANTITIES`, NaN where it was not measured."""
    values = [[row.get(name) for name in QUANTITIES] for row in rows]
    return np.array(values, np.float64).reshape(-1, len(QUANTITIES))


def texts_of(path: Path) -> Iterator[list[str]]:
    """The texts of a file of examples, some thousand at a time; raises `DataError` for one that is none."""
    if not path.is_file():
        raise DataError(path, "no such file", "a Parquet file of examples", "Run the stage that makes it.")
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=["text"]):
                yield batch.column("text").to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        allowed = "a whole Parquet file of examples"
        raise DataError(path, f"not readable ({error})", allowed, "Run the stage that makes it.") from error


def rows_of(path: Path, rows: NDArray[np.int64]) -> pa.Table:
    """Those rows of a file of examples."""
    return pq.read_table(path).take(pa.array(rows))


def sample(expert: PaidExpert, pending: Pending, examples: Path, rows: int, seed: int, most_seconds: float) -> int:
    """Really ask `expert` about up to `rows` of what is pending, and keep the answers; returns of how many.

    A model that runs here is timed on parts of like size, and on no more of them once `most_seconds` are over.
    """
    parts = [pending.draw(rows, seed)] if expert.hosted else pending.windows(rows, seed)
    start, asked = time.monotonic(), 0
    # Somebody waits for them.
    expert.live = True
    for part in parts:
        if len(part.rows) and time.monotonic() - start <= most_seconds:
            expert.answer(rows_of(examples, part.texts_left))
            asked += len(part.texts_left)
    expert.live = False
    return asked


def _different(expert: PaidExpert, texts: Sequence[str], seen: set[bytes]) -> dict[str, int]:
    """Keys of each text that was not `seen` before, and where it stands."""
    fresh: dict[str, int] = {}
    for at, text in enumerate(texts):
        for key in expert.keys(text):
            short = bytes.fromhex(key)[:16]
            if short not in seen:
                seen.add(short)
                fresh[key] = at
    return fresh
