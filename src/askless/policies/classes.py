"""Some policies judge by right and wrong; where a task has no classes, they say who does not."""

from __future__ import annotations

from askless.errors import ConfigError
from askless.panel import Panel
from askless.policies.base import Policy

GRADED = (
    *("always", "random", "length", "two_tier", "query_allocator"),
    *("chain", "chain_forward", "chain_rank", "chain_random", "summary_gain", "summary_published"),
)


def check_classes(policy: Policy, train: Panel) -> None:
    """Raise `ConfigError`, which names the policies of `GRADED`, where the task has no classes."""
    if not train.classes:
        raise ConfigError(
            f"{type(policy).__name__} got a task without classes, whose answers are texts of graded quality. "
            f"Allowed: a task of classification. For summaries choose one of {', '.join(GRADED)}."
        )
