"""Policies decide which expert answers each row; `build` makes one from its options in params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from askless.errors import ConfigError
from askless.policies.base import Policy, arguments

POLICIES = {
    "always": "askless.policies.baselines:Always",
    "random": "askless.policies.baselines:Random",
    "length": "askless.policies.baselines:Length",
    "team_alternating": "askless.policies.team.published:AlternatingTeam",
    "team_joint": "askless.policies.team.published:JointTeam",
    "team_gain": "askless.policies.team.gain:GainTeam",
    "two_tier": "askless.policies.two_tier:TwoTier",
    "two_tier_online": "askless.policies.two_tier_online:OnlineTwoTier",
    "answer_scorer": "askless.policies.learned:AnswerScorer",
    "query_allocator": "askless.policies.learned:QueryAllocator",
    "meta_model": "askless.policies.learned:MetaModel",
    "chain": "askless.policies.chain.chain:Chain",
    "chain_forward": "askless.policies.chain.published:ForwardChain",
    "chain_rank": "askless.policies.chain.published:RankChain",
    "chain_random": "askless.policies.chain.published:RandomChain",
    "planned": "askless.policies.planned.planned:Planned",
    "summary_gain": "askless.policies.summaries.expected_gain:SummaryGain",
    "summary_published": "askless.policies.summaries.published:PublishedSummary",
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
