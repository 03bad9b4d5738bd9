"""What an expert's answer takes, in tokens, seconds and billed dollars.

A quantity is a straight line in the size of the text: counted exactly, bounded, or fitted to the answers on record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from askless.arrays import Floats
from askless.config import Price

QUANTITIES = ("prompt_tokens", "completion_tokens", "seconds", "cost_usd")
NAMED = ("Prompt tokens", "completion tokens", "seconds", "billed dollars")
SIZES = {"tokens": "tokens of the whole prompt, as the expert's own tokenizer counts them", "bytes": "UTF-8 bytes"}
# Fewer answers say next to nothing of a line and of what scatters around it.
LEAST, LEAST_TIMED = 30, 5
TIMED, BILLED = QUANTITIES.index("seconds"), QUANTITIES.index("cost_usd")
# More answers on record are not kept in a state: a bundle carries it.
MOST_STATED = 1000
EXACT, LEARNT, GUESSED, BOUND, UNKNOWN = "exact", "learnt", "guessed", "bound", "unknown"
# Tokens that a byte takes, and takes at least, whatever the language (benchmarks/README.md); never more than one.
PER_BYTE, LEAST_PER_BYTE = 0.25, 0.12


@dataclass(frozen=True, eq=False)
class Fit:
    """Least squares lines in the size of a text, for the quantities numbered `columns`, from answers on record.

    Attributes
    ----------
    columns : list of int
        Which of `QUANTITIES`, k of them.
    lines : array, shape (2, k)
        Intercepts and slopes.
    pull : array, shape (m, 2, k)
        What each of m answers (or batches) adds to the error of the lines: with weights of mean 0 and variance 1 their
        sum has White's covariance in its form HC3, which allows for a spread that grows with the size
        (MacKinnon and White 1985).
    spread : array, shape (k, k)
        Covariance of a single answer around the lines.
    """

    columns: list[int]
    lines: Floats
    pull: Floats
    spread: Floats

    @classmethod
    def of(cls, columns: list[int], sizes: Floats, used: Floats, held: float = 1.0) -> Fit:
        """Lines in `sizes` (m,) through `used` (m, k), each row of which is the mean of `held` answers."""
        middle = sizes.mean()
        design = np.column_stack([np.ones(len(sizes)), sizes - middle])
        inverse = np.linalg.pinv(design.T @ design)
        fitted = inverse @ design.T @ used
        rest = used - design @ fitted
        leverage = ((design @ inverse) * design).sum(axis=1)
        back = np.array([[1.0, -middle], [0.0, 1.0]])
        pull = (design @ inverse @ back.T)[:, :, None] * (rest / np.maximum(1 - leverage, 0.05)[:, None])[:, None]
        return cls(columns, back @ fitted, pull, held * rest.T @ rest / (len(sizes) - 2))


@dataclass(frozen=True, eq=False)
class Usage:
    """What an answer of an expert takes.

    Attributes
    ----------
    size : str
        How the size of a text is counted, one of `SIZES`.
    prior : tuple of str
        What is known of each of `QUANTITIES` before any answer: exact, guessed by bytes, bound (the most) or unknown.
    overhead : float
        Prompt tokens beside the text's size; NaN where they are not known.
    most : float
        The most tokens that a reply can have; NaN where there is no most.
    sizes : array, shape (m,)
        Sizes of the texts whose answers are on record.
    used : array, shape (m, 4)
        What these answers took, in the order of `QUANTITIES`; NaN where it is not recorded.
    """

    size: str
    prior: tuple[str, ...]
    overhead: float
    most: float
    sizes: Floats = field(default_factory=lambda: np.zeros(0))
    used: Floats = field(default_factory=lambda: np.zeros((0, len(QUANTITIES))))

    @classmethod
    def counted(cls, completion: tuple[int, int]) -> Usage:
        """Where a tokenizer is at hand: sizes are the prompt's tokens, `completion` the fewest and most of a reply."""
        fewest, most = completion
        return cls("tokens", (EXACT, EXACT if fewest == most else BOUND, UNKNOWN, UNKNOWN), 0.0, float(most))

    @classmethod
    def bound(cls, overhead: int, most: float) -> Usage:
        """Where nothing is known: prompt and template take a token for some bytes, and `most` are written.

        `overhead` are the bytes of the template and what a server may add.
        """
        return cls("bytes", (GUESSED, BOUND, UNKNOWN, UNKNOWN), float(overhead), float(most))

    @classmethod
    def unknown(cls) -> Usage:
        """Where there is not even a most: all is unknown until it is learnt."""
        return cls("bytes", (UNKNOWN,) * len(QUANTITIES), np.nan, np.nan)

    def learnt(self, sizes: Sequence[float] | Floats, used: Floats) -> Usage:
        """This, with answers on record: `sizes` (m,) of their texts, and what they took, `used` (m, 4)."""
        used = np.asarray(used, np.float64).reshape(-1, len(QUANTITIES))
        return replace(self, sizes=np.asarray(sizes, np.float64), used=used)

    @cached_property
    def fits(self) -> tuple[Fit, ...]:
        """What the record says of quantities that are not exact: tokens and dollars together, seconds on their own.

        What fewer than `LEAST` answers record is not fitted, nor seconds of fewer than `LEAST_TIMED` batches: answers
        with the very same seconds were one batch, and count as one.
        """
        fits, enough = [], np.isfinite(self.used).sum(axis=0) >= LEAST
        columns = [j for j in range(len(QUANTITIES)) if j != TIMED and self.prior[j] != EXACT and enough[j]]
        whole = np.isfinite(self.used[:, columns]).all(axis=1)
        if columns and whole.sum() >= LEAST:
            fits.append(Fit.of(columns, self.sizes[whole], self.used[whole][:, columns]))
        timed = np.isfinite(self.used[:, TIMED])
        seconds, batch, held = np.unique(self.used[timed, TIMED], return_inverse=True, return_counts=True)
        if len(seconds) >= LEAST_TIMED:
            fits.append(
                Fit.of([TIMED], np.bincount(batch, self.sizes[timed]) / held, seconds[:, None], float(held.mean()))
            )
        return tuple(fits)

    @property
    def known(self) -> tuple[str, ...]:
        """How each of `QUANTITIES` is known: exact, learnt, bound or unknown."""
        return tuple(LEARNT if rows else prior for prior, rows in zip(self.prior, self.rows, strict=True))

    @property
    def rows(self) -> tuple[int, ...]:
        """From how many answers each of `QUANTITIES` is learnt, seconds from how many batches; 0 where it is not."""
        found = {j: len(fit.pull) for fit in self.fits for j in fit.columns}
        return tuple(found.get(j, 0) for j in range(len(QUANTITIES)))

    @property
    def lines(self) -> Floats:
        """Intercepts and slopes of `QUANTITIES`, shape (2, 4); NaN where one is unknown."""
        slope = np.nan if np.isnan(self.overhead) else PER_BYTE if self.prior[0] == GUESSED else 1.0
        first = self.overhead * slope
        lines = np.array([[first, self.most, np.nan, np.nan], [slope, 0.0 * self.most, np.nan, np.nan]])
        for fit in self.fits:
            lines[:, fit.columns] = fit.lines
        return lines

    def rates(self, price: Price | None) -> tuple[Floats, float]:
        """Dollars for one of each of `QUANTITIES` (4,), and for each answer; NaN where there is nothing to count by.

        What the provider billed wins, where that was learnt, as in `CostModel`.
        """
        if self.rows[BILLED]:
            return np.eye(len(QUANTITIES))[BILLED], 0.0
        if price is None:
            return np.zeros(len(QUANTITIES)), np.nan
        return np.array([*(rate for rate, _ in price.rates), 0.0]), price.usd_per_1k_answers / 1e3

    def words(self) -> str:
        """What the figures rest on, in plain words."""
        parts = []
        for j, (name, known, rows) in enumerate(zip(NAMED, self.known, self.rows, strict=True)):
            what, least = ("batches", LEAST_TIMED) if j == TIMED else ("answers", LEAST)
            how = {
                EXACT: "counted",
                LEARNT: f"learnt from {rows:,} {what}",
                GUESSED: f"a quarter of the texts' bytes (fewer than {least} answers on record)",
                BOUND: f"a bound and no estimate (fewer than {least} answers on record)",
                UNKNOWN: f"not known (fewer than {least} {what} on record)",
            }
            if j != BILLED or known == LEARNT:
                parts.append(f"{name} {how[known]}")
        return ", ".join(parts) + "."

    def state(self) -> dict[str, Any]:
        """All of it as plain values; of more than `MOST_STATED` answers so many, at even distances."""
        kept = np.linspace(0, len(self.sizes), min(len(self.sizes), MOST_STATED), endpoint=False).astype(int)
        return {
            "size": self.size,
            "prior": list(self.prior),
            "overhead": _plain(self.overhead),
            "most": _plain(self.most),
            "sizes": self.sizes[kept].tolist(),
            "used": [[_plain(value) for value in row] for row in self.used[kept].tolist()],
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Usage:
        """What `state` gave."""
        overhead, most = (np.nan if state[name] is None else float(state[name]) for name in ("overhead", "most"))
        return cls(state["size"], tuple(state["prior"]), overhead, most).learnt(state["sizes"], np.array(state["used"]))


def byte_sizes(texts: Sequence[str]) -> Floats:
    """UTF-8 bytes of each text, shape (rows,)."""
    return np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts], np.float64)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
