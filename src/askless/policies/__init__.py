"""Policies decide which expert answers each row; `build` makes one from its options in params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from askless import plugins
from askless.errors import ConfigError
from askless.policies.base import Policy
from askless.policies.state import arguments

# By the task alone.
SUPPLIED = ("vectors", "encoded")
GROUP = "askless.policies"
POLICIES = {
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
    "subset": "askless.policies.planned.subset:Subset",
    "subset_select": "askless.policies.select_llm:SelectLLM",
    "bandit": "askless.policies.bandit.bandit:Bandit",
    "c2mab_v": "askless.policies.bandit.c2mab_v:C2MABV",
    "lin_ucb": "askless.policies.bandit.linear:LinUCB",
    "lin_ts": "askless.policies.bandit.linear:LinTS",
    "random": "askless.policies.baselines:Random",
    "length": "askless.policies.baselines:Length",
    "always": "askless.policies.baselines:Always",
    "team_alternating": "askless.policies.team.published:AlternatingTeam",
    "team_joint": "askless.policies.team.published:JointTeam",
    "team_gain": "askless.policies.team.gain:GainTeam",
    "summary_gain": "askless.policies.summaries.expected_gain:SummaryGain",
    "summary_published": "askless.policies.summaries.published:PublishedSummary",
}


def known() -> dict[str, str]:
    """Every policy by name, `module:Class`: those of `POLICIES` and those of other installed packages."""
    return plugins.known(GROUP, POLICIES)


def able(attribute: str) -> list[str]:
    """Names of the policies that say so of themselves: `able("graded")`."""
    return [name for name in known() if getattr(resolve(name, name), attribute)]


def build(name: str, options: Mapping[str, Any], **given: Any) -> Policy:
    """The policy that `options` describe.

    Parameters
    ----------
    name
        What it is called in params.yaml, and the kind where `options` names none.
    options
        `kind` names its class, the rest are its arguments.
    given
        Arguments that the task supplies (experts, vectors, random_state); those a policy does not take are left out.

    Raises
    ------
    ConfigError
        For an unknown kind or argument, naming the known ones.
    """
    kind = check(name, options)
    options, allowed = {key: value for key, value in options.items() if key != "kind"}, arguments(kind)
    try:
        return kind(**{**{k: v for k, v in given.items() if k in allowed}, **options})
    except TypeError as error:
        raise ConfigError(f"Policy '{name}': {error}. Options: {', '.join(allowed)}.") from error


def check(name: str, options: Mapping[str, Any]) -> type[Policy]:
    """The class that `options` name; raises `ConfigError` as `build` does for an unknown kind or argument."""
    kind = resolve(name, str(options.get("kind", name)))
    allowed = [each for each in arguments(kind) if each not in SUPPLIED]
    for key in options:
        if key != "kind" and key not in allowed:
            raise ConfigError.unknown(f"option of policy '{name}'", key, allowed)
    return kind


def resolve(name: str, kind: str) -> type[Policy]:
    """The class registered as `kind`, or a `ConfigError` that lists the known ones."""
    found = known()
    if kind not in found:
        raise ConfigError.unknown(f"kind of policy '{name}'", kind, found)
    return plugins.load(found[kind], Policy, kind)  # type: ignore[type-abstract]


def kind_of(policy: Policy) -> str:
    """The name under which the policy's class is registered; raises `ConfigError` where it is not."""
    path = f"{type(policy).__module__}:{type(policy).__qualname__}"
    for name, at in known().items():
        if at == path:
            return name
    raise ConfigError(
        f"{path} is not registered, so that a bundle of it could not be loaded. Allowed: an entry in POLICIES or an "
        f"entry point of the group {GROUP}; see docs/extending.md."
    )
