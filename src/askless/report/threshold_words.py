"""What a policy holds each item against at its operating point, in a few words."""

from __future__ import annotations

from askless.policies.allocator import Allocator
from askless.policies.base import Budget, Policy
from askless.policies.summaries.expected_gain import SummaryGain
from askless.policies.two_tier import TwoTier


def threshold_words(policy: Policy, share: float | None) -> str:
    """The threshold at which `policy` defers `share` of the items, by its own rule without one.

    Lambda is the quality that one unit of cost must be expected to buy. Nothing is said of a policy that has more than
    one threshold: those are in its bundle.
    """
    budget = None if share is None else Budget(share=share)
    if isinstance(policy, TwoTier):
        cut, straight = policy.rule(budget)
        return f"{policy.experts[1]} alone" if straight else f"{policy.measure_} under {cut.threshold:.4g}"
    if isinstance(policy, Allocator):
        return f"lambda {0.0 if budget is None else policy.thresholds_.at(budget):.4g}"
    if isinstance(policy, SummaryGain):
        return f"lambda {' or '.join(f'{price:.4g}' for price in _lambdas(policy, budget))}"
    return ""


def _lambdas(policy: SummaryGain, budget: Budget | None) -> list[float]:
    """The one or the two between which a budget's items are divided."""
    if budget is None:
        return [0.0]
    mix = policy.by_share_.mix(budget)
    places = {0.0: [mix.low], 1.0: [mix.high]}.get(mix.weight, [mix.low, mix.high])
    return list(dict.fromkeys(float(policy.by_share_.price[place]) for place in places))
