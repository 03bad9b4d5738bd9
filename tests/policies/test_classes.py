import pytest

from askless.errors import ConfigError
from askless.policies import POLICIES, build
from askless.policies.base import Budget
from askless.policies.classes import GRADED
from tests.policies.summaries.made import empty, vectors, world

PAIR = ("small", "large")
TEAMS = {name for name in POLICIES if name.startswith("team_")}


@pytest.mark.parametrize("name", GRADED)
def test_these_policies_work_on_summaries(name):
    train, test = world(120, stated=True), world(80, 2, stated=True, blind=True)
    train._experts["large"].logprob = test._experts["large"].logprob = [-1.0] * 120
    policy = build(name, {}, experts=PAIR, expert="large", vectors=vectors()).fit(train, empty())
    done = policy.decide(test, Budget(share=0.5) if policy.takes_budget else None)
    assert len(done.expert) == 80 and (done.asked[range(80), done.expert]).all()


@pytest.mark.parametrize("name", sorted(set(POLICIES) - set(GRADED) - TEAMS))
def test_all_others_refuse_them_and_say_who_does_not(name):
    with pytest.raises(ConfigError) as error:
        build(name, {}, experts=PAIR).fit(world(40, stated=True), empty())
    kind = POLICIES[name].partition(":")[2]
    assert str(error.value) == (
        f"{kind} got a task without classes, whose answers are texts of graded quality. Allowed: a task of "
        "classification. For summaries choose one of always, random, length, two_tier, query_allocator, chain, "
        "chain_forward, chain_rank, chain_random, summary_gain, summary_published."
    )
