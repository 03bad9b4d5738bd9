"""Tokens and seconds into money, applied late: a price change never re-runs an LLM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.arrays import Floats
from askless.config import Costs, Price
from askless.errors import ConfigError, DataError

UNITS = {"usd": "US dollars", "seconds": "seconds", "tokens": "tokens"}


@dataclass(frozen=True)
class CostModel:
    """What an answer costs, in `unit`.

    In dollars the price a provider billed (`cost_usd`) wins; else measured tokens and seconds are priced.

    Parameters
    ----------
    unit
        `usd`, `seconds` or `tokens`.
    prices
        Expert to its `Price`, in dollars; `decider` prices the seconds of deciding itself.
    """

    unit: str = "usd"
    prices: Mapping[str, Price] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError.unknown("cost unit", self.unit, UNITS)

    @classmethod
    def of(cls, costs: Costs) -> CostModel:
        """The cost model that the `costs` section describes."""
        return cls(costs.unit, costs.prices)

    def price(self, answers: pa.Table, expert: str) -> Floats:
        """Cost of each answer of one expert, shape (rows,), in `unit`.

        Raises `DataError` where the quantity that is priced was not measured, `ConfigError` where an
        expert has neither a price nor a billed cost.
        """
        if self.unit == "seconds":
            return self._measured(answers, "seconds", expert)
        if self.unit == "tokens":
            return self._measured(answers, "prompt_tokens", expert) + self._measured(
                answers, "completion_tokens", expert
            )
        billed = _floats(answers, "cost_usd")
        unbilled = np.isnan(billed)
        if unbilled.any():
            rest = answers.filter(pa.array(unbilled))
            billed[unbilled] = self._from_price(rest, expert)
        return billed

    def ceiling(self, answers: pa.Table, expert: str, max_tokens: int) -> float | None:
        """The most that an answer of one expert can cost whose prompt is none longer than those of `answers`.

        In `unit`; None where its answers are not priced by tokens in dollars.
        """
        price = self.prices.get(expert)
        if self.unit != "usd" or price is None or price.usd_per_hour or answers["cost_usd"].null_count < len(answers):
            return None
        read, written = price.most
        longest = float(self._measured(answers, "prompt_tokens", expert).max()) if read else 0.0
        replies = float(np.nan_to_num(_floats(answers, "replies"), nan=1.0).max(initial=1.0))
        return read * longest + replies * (written * max_tokens + price.usd_per_1k_answers / 1e3)

    def by_batches(self, answers: pa.Table, expert: str) -> tuple[float, float] | None:
        """Dollars for 1,000 of these answers as they are, and by batches; None where those would cost no less."""
        price = self.prices.get(expert, Price()).batch
        if self.unit != "usd" or price is None or not len(answers) or answers["cost_usd"].null_count < len(answers):
            return None
        now, then = (
            1000 * float(each.mean()) for each in (self.price(answers, expert), self._at(price, answers, expert))
        )
        return (now, then) if then < now else None

    def compute(self, seconds: float) -> float:
        """Cost of `seconds` of the decider's own work; in dollars at the hourly price of `decider`."""
        if self.unit == "usd":
            return seconds / 3600 * self.prices.get("decider", Price()).usd_per_hour
        return seconds if self.unit == "seconds" else 0.0

    def _from_price(self, answers: pa.Table, expert: str) -> Floats:
        if expert not in self.prices:
            raise ConfigError(
                f"Expert '{expert}' has no price and its answers carry no cost_usd. "
                f"Priced: {', '.join(sorted(self.prices)) or 'none'}. "
                f"Add costs.prices.{expert} to params.yaml."
            )
        price, cost = self.prices[expert], np.zeros(answers.num_rows)
        batch = pc.fill_null(answers["batched"], False).to_numpy()
        for rows, each in ((~batch, price), (batch, price.of(batch=True))):
            if rows.any():
                cost[rows] = self._at(each, answers.filter(pa.array(rows)), expert)
        return cost

    def _at(self, price: Price, answers: pa.Table, expert: str) -> Floats:
        samples = schema.meta_of(answers).get(schema.SAMPLES, {}).get(expert, 1.0)
        replies = np.nan_to_num(_floats(answers, "replies"), nan=samples)
        cost = replies * price.usd_per_1k_answers / 1e3
        for rate, column in price.rates:
            if rate:
                cost += rate * self._measured(answers, column, expert)
        for more, kind, whole in price.parts:
            cost += more * np.minimum(np.nan_to_num(_floats(answers, kind)), _floats(answers, whole))
        return cost

    def _measured(self, answers: pa.Table, column: str, expert: str) -> Floats:
        values = _floats(answers, column)
        if np.isnan(values).any():
            raise DataError(
                f"predictions of {expert}",
                f"'{column}', which cost is counted by, is null in {np.isnan(values).sum()} of {len(values)} rows",
                "a measured value in every row",
                "Measure it, price the expert otherwise, or change costs.unit.",
            )
        return values


def _floats(answers: pa.Table, column: str) -> Floats:
    values = answers[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float64)
