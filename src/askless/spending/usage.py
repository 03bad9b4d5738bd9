"""What an expert's answer takes, in tokens, seconds and billed dollars, as straight lines in the size of its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from askless.arrays import Floats
from askless.config import Price

QUANTITIES = ("prompt_tokens", "completion_tokens", "seconds", "cost_usd")
NAMED = ("Prompt tokens", "completion tokens", "seconds", "billed dollars")
SIZES = {"tokens": "tokens of the whole prompt, as the expert's own tokenizer counts them", "bytes": "UTF-8 bytes"}
ARRAYS = ("lines", "error", "spread", "third")
# Fewer answers say next to nothing of a line and of what scatters around it.
LEAST, LEAST_TIMED = 30, 5
TIMED = QUANTITIES.index("seconds")
TOLD = [j for j in range(len(QUANTITIES)) if j != TIMED]
EXACT, LEARNT, BOUND, UNKNOWN = "exact", "learnt", "bound", "unknown"


@dataclass(frozen=True, eq=False)
class Usage:
    """What an answer takes: a line for each of `QUANTITIES` in the size of its text, counted in `size` (`SIZES`).

    `lines` (2, 4) are intercepts and slopes, of which each in `known` is exact, learnt, a hard bound, or unknown (then
    NaN). `error` (8, 8) is the covariance of the lines' 8 numbers, intercepts first, `spread` (4, 4) that of single
    answers around the lines, `third` (4, 4, 4) their third moments; all 0 where nothing was learnt. `rows` is from how
    many answers each was learnt, of seconds from how many batches. No reply has more than `most` tokens.
    """

    size: str
    known: tuple[str, ...]
    lines: Floats
    error: Floats
    spread: Floats
    third: Floats
    most: float
    rows: tuple[int, ...] = (0, 0, 0, 0)

    @classmethod
    def counted(cls, completion: tuple[int, int]) -> Usage:
        """Where a tokenizer is at hand: sizes are the prompt's tokens, `completion` the fewest and most of a reply."""
        fewest, most = completion
        return cls._told("tokens", 0.0, float(most), EXACT, EXACT if fewest == most else BOUND)

    @classmethod
    def bound(cls, overhead: int, most: float) -> Usage:
        """Where nothing is known: a token takes a byte or more of prompt, template included, and `most` are written.

        `overhead` are the bytes of the template and what a server may add.
        """
        return cls._told("bytes", float(overhead), float(most), BOUND, BOUND)

    @classmethod
    def unknown(cls) -> Usage:
        """Where there is not even a most: all is unknown until it is learnt."""
        return cls._told("bytes", np.nan, np.nan, UNKNOWN, UNKNOWN)

    @classmethod
    def _told(cls, size: str, overhead: float, most: float, prompt: str, completion: str) -> Usage:
        slope = np.nan if prompt == UNKNOWN else 1.0
        lines = np.array([[overhead, most, np.nan, np.nan], [slope, 0.0 * most, np.nan, np.nan]])
        return cls(
            size,
            (prompt, completion, UNKNOWN, UNKNOWN),
            lines,
            np.zeros((8, 8)),
            np.zeros((4, 4)),
            np.zeros((4, 4, 4)),
            most,
        )

    def learnt(self, sizes: Sequence[float] | Floats, used: Floats) -> Usage:
        """This, with lines learnt from answers on record in the place of what is not exact.

        `sizes` (m,) are those of the texts, `used` (m, 4) what their answers took, NaN where not recorded. What fewer
        than `LEAST` answers record stays as it is, and of seconds what fewer than `LEAST_TIMED` batches do: answers
        with the very same seconds were one batch, and count as one.
        """
        used = np.asarray(used, np.float64).reshape(-1, len(QUANTITIES))
        sizes = np.asarray(sizes, np.float64)
        enough = np.isfinite(used).sum(axis=0) >= LEAST
        told = [j for j in TOLD if self.known[j] != EXACT and enough[j]]
        rows = np.isfinite(used[:, told]).all(axis=1)
        found = self
        if told and rows.sum() >= LEAST:
            found = found._with(told, sizes[rows], used[rows][:, told])
        timed = np.isfinite(used[:, TIMED])
        seconds, batch, held = np.unique(used[timed, TIMED], return_inverse=True, return_counts=True)
        if len(seconds) >= LEAST_TIMED:
            middle = np.bincount(batch, sizes[timed]) / held
            found = found._with([TIMED], middle, seconds[:, None], float(held.mean()))
        return found

    def _with(self, new: list[int], x: Floats, y: Floats, held: float = 1.0) -> Usage:
        """Lines of the quantities `new` in `x` (m,) through `y` (m, new), each of which is the mean of `held` answers.

        Ordinary least squares; the lines' covariance is White's in its form HC3, which allows for a spread that grows
        with the size (MacKinnon and White 1985).
        """
        m, middle = len(x), x.mean()
        design = np.column_stack([np.ones(m), x - middle])
        inverse = np.linalg.pinv(design.T @ design)
        fitted = inverse @ design.T @ y
        rest = y - design @ fitted
        leverage = ((design @ inverse) * design).sum(axis=1)
        back = np.array([[1.0, -middle], [0.0, 1.0]])
        pull = (design @ inverse @ back.T)[:, :, None] * (rest / np.maximum(1 - leverage, 0.05)[:, None])[:, None]
        pull = pull.reshape(m, -1)
        lines, error, spread, third = (getattr(self, name).copy() for name in ARRAYS)
        lines[:, new] = back @ fitted
        at = [side * len(QUANTITIES) + j for side in (0, 1) for j in new]
        error[np.ix_(at, at)] = pull.T @ pull
        spread[np.ix_(new, new)] = held * (rest.T @ rest) / (m - 2)
        third[np.ix_(new, new, new)] = np.einsum("mi,mj,mk->ijk", rest, rest, rest, optimize=True) / m
        known = tuple(LEARNT if j in new else was for j, was in enumerate(self.known))
        rows = tuple(m if j in new else was for j, was in enumerate(self.rows))
        learnt = dict(zip(ARRAYS, (lines, error, spread, third), strict=True))
        return replace(self, known=known, rows=rows, **learnt)

    def rates(self, price: Price | None) -> tuple[Floats, float]:
        """Dollars for one of each of `QUANTITIES` (4,), and for each answer; NaN where there is nothing to count by.

        What the provider billed wins, where that was learnt, as in `CostModel`.
        """
        if self.known[3] == LEARNT:
            return np.array([0.0, 0.0, 0.0, 1.0]), 0.0
        if price is None:
            return np.zeros(4), np.nan
        per_token = np.array([price.usd_per_1m_prompt_tokens, price.usd_per_1m_completion_tokens]) / 1e6
        return np.array([*per_token, price.usd_per_hour / 3600, 0.0]), price.usd_per_1k_answers / 1e3

    def words(self) -> str:
        """What the figures rest on, in plain words."""
        said = []
        for j, (name, known, rows) in enumerate(zip(NAMED, self.known, self.rows, strict=True)):
            what, least = ("batches", LEAST_TIMED) if j == TIMED else ("answers", LEAST)
            told = {
                EXACT: "counted",
                LEARNT: f"learnt from {rows:,} {what}",
                BOUND: f"at most (fewer than {least} answers on record)",
                UNKNOWN: f"not known (fewer than {least} {what} on record)",
            }
            if j < len(NAMED) - 1 or known == LEARNT:
                said.append(f"{name} {told[known]}")
        return ", ".join(said) + "."

    def state(self) -> dict[str, Any]:
        """All of it as plain values."""
        arrays = {name: _plain(getattr(self, name).tolist()) for name in ARRAYS}
        told = {"size": self.size, "known": list(self.known), "rows": list(self.rows), "most": _plain(self.most)}
        return {**told, **arrays}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Usage:
        """What `state` gave."""
        arrays = {name: np.array(state[name], np.float64) for name in ARRAYS}
        most = np.nan if state["most"] is None else float(state["most"])
        return cls(state["size"], tuple(state["known"]), most=most, rows=tuple(state["rows"]), **arrays)


def byte_sizes(texts: Sequence[str]) -> Floats:
    """UTF-8 bytes of each text, shape (rows,)."""
    return np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts], np.float64)


def _plain(values: Any) -> Any:
    """Nested lists of numbers, None in the place of NaN."""
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return None if np.isnan(values) else float(values)
