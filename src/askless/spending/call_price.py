"""What a call to an expensive expert can cost at most, and what its answer did cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.errors import ConfigError, DataError
from askless.experts.answer_store import Row
from askless.experts.paid import PaidExpert


class CallPrice:
    """Dollars of the calls of one expert.

    Parameters
    ----------
    expert
        Whose calls; it says how many tokens a call has at most.
    costs
        The prices, and the unit in which costs are counted; in another unit than dollars every call counts as 0.
    limited
        Whether a spend limit is to hold, so that the most must be known before a call.

    Raises
    ------
    ConfigError
        For an expert without a price, and under a limit for costs in another unit, a price by the hour or a reply
        without a longest: then no most is known.
    """

    def __init__(self, expert: PaidExpert, costs: CostModel, limited: bool) -> None:
        self._expert = expert
        self._costs = costs
        self._price = costs.prices.get(expert.name, Price())
        self._check(limited)
        # Without a limit the most matters only where a server does not say how many tokens it billed.
        self._bounded = self.in_dollars and (limited or (expert.hosted and not self._price.usd_per_hour))
        try:
            self.most(["x"])
        except ConfigError:
            if limited:
                raise
            self._bounded = False

    @property
    def in_dollars(self) -> bool:
        """Whether costs are counted in dollars."""
        return self._costs.unit == "usd"

    def most(self, texts: Sequence[str]) -> list[float]:
        """The most dollars that a call about each text can cost, 0 where no most is known."""
        if not self._bounded:
            return [0.0] * len(texts)
        price = self._price
        tokens = np.array(self._expert.most_tokens(texts), np.float64).reshape(-1, 2)
        rates = np.array([price.usd_per_1m_prompt_tokens, price.usd_per_1m_completion_tokens]) / 1e6
        return [float(most) for most in tokens @ rates + price.usd_per_1k_answers / 1e3]

    def paid(self, rows: Mapping[str, Row]) -> dict[str, float | None]:
        """Dollars that each kept row cost by its key, None where what is priced was not measured."""
        if not self.in_dollars or not rows:
            return dict.fromkeys(rows, 0.0)
        name = self._expert.name
        columns = {"id": list(rows), "expert": [name] * len(rows), **self._expert.columns(list(rows.values()))}
        try:
            return dict(zip(rows, self._costs.price(schema.table("predictions", columns), name).tolist(), strict=True))
        except DataError:
            if len(rows) == 1:
                return dict.fromkeys(rows)
            return {key: cost for one in rows.items() for key, cost in self.paid(dict([one])).items()}

    def _check(self, limited: bool) -> None:
        name, prices = self._expert.name, self._costs.prices
        if self.in_dollars and name not in prices:
            raise ConfigError(
                f"Expert '{name}' has no price. Priced: {', '.join(sorted(prices)) or 'none'}. "
                f"Add costs.prices.{name}, {{}} for one that is free."
            )
        if limited and not self.in_dollars:
            raise ConfigError(f"A spend limit is in dollars. Got costs in {self._costs.unit}. Set costs.unit to usd.")
        if limited and self._price.usd_per_hour:
            raise ConfigError(
                f"Expert '{name}' is priced by the hour, and how long a call will take is not known before. "
                "Allowed under a spend limit: prices of tokens or answers. Price it so, or give no limit."
            )
