"""Policies decide which expert answers each row; `build` makes one from its options in params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from deferral.errors import ConfigError
from deferral.policies.base import Policy, arguments

POLICIES = {
    "always": "deferral.policies.baselines:Always",
    "random": "deferral.policies.baselines:Random",
    "length": "deferral.policies.baselines:Length",
    "team_alternating": "deferral.policies.published:AlternatingTeam",
    "team_joint": "deferral.policies.published:JointTeam",
    "team_gain": "deferral.policies.gain:GainTeam",
    "two_tier": "deferral.policies.cascade:TwoTier",
    "two_tier_online": "deferral.policies.online:OnlineTwoTier",
    "answer_scorer": "deferral.policies.learned:AnswerScorer",
    "query_allocator": "deferral.policies.learned:QueryAllocator",
    "meta_model": "deferral.policies.learned:MetaModel",
    "chain": "deferral.policies.chain:Chain",
    "chain_forward": "deferral.policies.chain_published:ForwardChain",
    "chain_rank": "deferral.policies.chain_published:RankChain",
    "chain_random": "deferral.policies.chain_published:RandomChain",
    "planned": "deferral.policies.planned:Planned",
    "summary_gain": "deferral.policies.summaries.expected_gain:SummaryGain",
    "summary_published": "deferral.policies.summaries.published:PublishedSummary",
}


def build(name: str, options: Mapping[str, Any], **given: Any) -> Policy:
    """The policy that `options` describe: `kind` names its class, the rest are its arguments.

    `given` are arguments that the task supplies (experts, vectors, seed); those a policy does not take are
    left out. Raises `ConfigError` for an unknown kind or argument, naming the known ones.
    """
    options = dict(options)
    kind = resolve(name, str(options.pop("kind", name)))
    allowed = arguments(kind)
    for key in options:
        if key not in allowed:
            raise ConfigError.unknown(f"option of policy '{name}'", key, allowed)
    try:
        return kind(**{**{k: v for k, v in given.items() if k in allowed}, **options})
    except TypeError as error:
        raise ConfigError(f"Policy '{name}': {error}. Options: {', '.join(allowed)}.") from error


def resolve(name: str, kind: str) -> type[Policy]:
    """The class registered as `kind`, or a `ConfigError` that lists the known ones."""
    if kind not in POLICIES:
        raise ConfigError.unknown(f"kind of policy '{name}'", kind, POLICIES)
    module, _, attribute = POLICIES[kind].partition(":")
    found: type[Policy] = getattr(import_module(module), attribute)
    return found
