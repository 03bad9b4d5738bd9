"""What a call to an expensive expert can cost at most, and what its answer did cost."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from askless.config import Price
from askless.costs import CostModel
from askless.data.replies import quantity
from askless.errors import ConfigError
from askless.experts.answer_store import Row
from askless.experts.paid import PaidExpert

# No discount (cached prompts, batches) is larger.
LEAST_SHARE = 0.1
logger = logging.getLogger(__name__)


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
        self._told = False
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
        price = self._price.of(batch=self._expert.batches)
        tokens = np.array(self._expert.most_tokens(texts), np.float64).reshape(-1, 2)
        return [float(most) for most in tokens @ np.array(price.most) + price.usd_per_1k_answers / 1e3]

    def paid(self, rows: Mapping[str, Row]) -> dict[str, float | None]:
        """Dollars that each kept row cost by its key, None where that is not known: then it counts as the most.

        A server is not trusted to bill less than its tokens cost, unless `cost: server` says so.
        """
        return {key: self._cost(row) if self.in_dollars else 0.0 for key, row in rows.items()}

    def _cost(self, row: Row) -> float | None:
        stated, price = quantity(row.get("cost_usd")), self._price.of(batch=bool(row.get("batched")))
        if price.cost == "server" and stated is not None:
            return stated
        cost = price.usd_per_1k_answers / 1e3
        for rate, name in price.rates:
            if rate:
                used = quantity(row.get(name))
                if used is None or (not used and self._expert.hosted and (name != "completion_tokens" or row["text"])):
                    self._tell(f"its server states {name} {row.get(name)!r} for a call")
                    return None
                cost += rate * used
        for more, kind, whole in price.parts:
            cost += more * min(quantity(row.get(kind)) or 0.0, quantity(row.get(whole)) or 0.0)
        if stated is not None and stated < LEAST_SHARE * cost:
            self._tell(f"its server states a cost of ${stated:g} for a call that costs ${cost:g} at its price")
            return None
        return max(cost, stated or 0.0)

    def _tell(self, what: str) -> None:
        """Say once what a server states that cannot be believed."""
        if not self._told:
            self._told = True
            logger.warning(
                "Expert '%s': %s. Such calls count as the most that they can cost. Correct costs.prices.%s, or set its "
                "cost to server to count what the server states.",
                *(self._expert.name, what, self._expert.name),
            )

    def _check(self, limited: bool) -> None:
        name, prices = self._expert.name, self._costs.prices
        if self.in_dollars and name not in prices:
            raise ConfigError(
                f"Expert '{name}' has no price. Priced: {', '.join(sorted(prices)) or 'none'}. "
                f"Add costs.prices.{name}, {{}} for one that is free."
            )
        if limited and not self.in_dollars:
            raise ConfigError(
                f"A spend limit is in dollars. Got costs in {self._costs.unit}. Set costs.unit to usd, or give no "
                "limit (askless limit takes that of a key away)."
            )
        if limited and self._price.usd_per_hour:
            raise ConfigError(
                f"Expert '{name}' is priced by the hour, and how long a call will take is not known before. "
                "Allowed under a spend limit, that of a key too (askless limit): prices of tokens or answers. Price it "
                "so, or give no limit."
            )
