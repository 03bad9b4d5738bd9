"""What an expert's answer takes, in tokens, seconds and billed dollars, as straight lines in the size of its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deferral.config import Price

Floats = NDArray[np.float64]
QUANTITIES = ("prompt_tokens", "completion_tokens", "seconds", "cost_usd")
SIZES = {"tokens": "tokens of the whole prompt, as the expert's own tokenizer counts them", "bytes": "UTF-8 bytes"}
# Fewer answers say next to nothing of a line and of what scatters around it.
LEAST = 5
EXACT, LEARNT, BOUND, UNKNOWN = "exact", "learnt", "bound", "unknown"


@dataclass(frozen=True, eq=False)
class Usage:
    """What an answer takes: a line for each of `QUANTITIES` in the size of its text, counted in `size` (`SIZES`).

    `lines` (2, 4) are intercepts and slopes, of which each in `known` is exact, learnt, a hard bound, or unknown (then
    NaN). `error` (8, 8) is the covariance of the lines' 8 numbers, intercepts first, `spread` (4, 4) that of single
    answers around the lines; both 0 where nothing was learnt. `rows` is how many answers that was.
    """

    size: str
    known: tuple[str, ...]
    lines: Floats
    error: Floats
    spread: Floats
    rows: int = 0

    @classmethod
    def counted(cls, completion: tuple[int, int]) -> Usage:
        """Where a tokenizer is at hand: sizes are the prompt's own tokens, `completion` the fewest and most after it."""
        fewest, most = completion
        return cls._told("tokens", 0.0, float(most), EXACT, EXACT if fewest == most else BOUND)

    @classmethod
    def bound(cls, overhead: int, most: float) -> Usage:
        """Where nothing is known: a token takes a byte or more of prompt, template included, and `most` are written.

        `overhead` are the bytes of the template, `most` may be infinite.
        """
        return cls._told("bytes", float(overhead), float(most), BOUND, BOUND)

    @classmethod
    def _told(cls, size: str, overhead: float, most: float, prompt: str, completion: str) -> Usage:
        lines = np.array([[overhead, most, np.nan, np.nan], [1.0, 0.0, np.nan, np.nan]])
        return cls(size, (prompt, completion, UNKNOWN, UNKNOWN), lines, np.zeros((8, 8)), np.zeros((4, 4)))

    def learnt(self, sizes: Sequence[float] | Floats, used: Floats) -> Usage:
        """This, with lines learnt from answers on record in the place of what is not exact.

        `sizes` (m,) are those of the texts, `used` (m, 4) what their answers took, NaN where not recorded. Quantities
        that fewer than `LEAST` answers record stay as they are; a row counts where all others are recorded. Ordinary
        least squares; `error` is White's sandwich in its form HC3, which allows for a spread that grows with the size
        (MacKinnon and White 1985).
        """
        used = np.asarray(used, np.float64).reshape(-1, len(QUANTITIES))
        enough = np.isfinite(used).sum(axis=0) >= LEAST
        new = [j for j, known in enumerate(self.known) if known != EXACT and enough[j]]
        rows = np.isfinite(used[:, new]).all(axis=1)
        if not new or (m := int(rows.sum())) < LEAST:
            return self
        x, y = np.asarray(sizes, np.float64)[rows], used[rows][:, new]
        middle = x.mean()
        design = np.column_stack([np.ones(m), x - middle])
        inverse = np.linalg.pinv(design.T @ design)
        fitted = inverse @ design.T @ y
        rest = y - design @ fitted
        leverage = ((design @ inverse) * design).sum(axis=1)
        around = rest / np.maximum(1 - leverage, 0.05)[:, None]
        back = np.array([[1.0, -middle], [0.0, 1.0]])
        pulls = np.einsum("mi,mj->mij", design @ inverse @ back.T, around).reshape(m, -1)
        lines, error, spread = self.lines.copy(), np.zeros((8, 8)), np.zeros((4, 4))
        lines[:, new] = back @ fitted
        at = [side * len(QUANTITIES) + j for side in (0, 1) for j in new]
        error[np.ix_(at, at)] = pulls.T @ pulls
        spread[np.ix_(new, new)] = rest.T @ rest / (m - 2)
        known = tuple(LEARNT if j in new else was for j, was in enumerate(self.known))
        return replace(self, known=known, lines=lines, error=error, spread=spread, rows=m)

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
        """How the figures come about, in plain words."""
        said = []
        for name, known in zip(("prompt tokens", "completion tokens", "seconds"), self.known, strict=False):
            said.append(f"{name} " + {EXACT: "counted", LEARNT: f"learnt from {self.rows} answers"}.get(known, ""))
            if known == BOUND:
                said[-1] += "at most"
            if known == UNKNOWN:
                said[-1] += "not known: no answer was timed"
        return "; ".join(said)

    def state(self) -> dict[str, Any]:
        """All of it as plain values."""
        arrays = {name: _plain(getattr(self, name)) for name in ("lines", "error", "spread")}
        return {"size": self.size, "known": list(self.known), "rows": self.rows, **arrays}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Usage:
        """What `state` gave."""
        arrays = {name: np.array(state[name], np.float64) for name in ("lines", "error", "spread")}
        return cls(state["size"], tuple(state["known"]), rows=int(state["rows"]), **arrays)


def byte_sizes(texts: Sequence[str]) -> Floats:
    """UTF-8 bytes of each text, shape (rows,)."""
    return np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts], np.float64)


def _plain(array: Floats) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in array]
