import numpy as np
import pytest

from askless.costs import CostModel
from askless.errors import ConfigError
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget
from askless.policies.baselines import Always, Length, Random
from tests.helpers import CLASSES, examples, panel, told
from tests.policies.summaries import made as summaries

PAIR = ("small", "large")


def world(n=400, blind=False, seed=0, experts=PAIR):
    rng = np.random.default_rng(seed)
    gold = rng.choice(CLASSES, n).tolist()
    said = {name: rng.choice(CLASSES, n).tolist() for name in experts}
    return panel(gold, said, cost={"small": 0.1, "large": 1.0, "huge": 2.0}, blind=blind)


@pytest.mark.parametrize(("expert", "cost", "rate"), [("small", 0.1, 0.0), ("large", 1.0, 1.0)])
@pytest.mark.parametrize("budget", [None, Budget(share=0.0), Budget(share=1.0), Budget(per_1000=0.0)])
def test_always_asks_one_expert_whatever_the_budget(expert, cost, rate, budget):
    board = world(10, blind=True)
    decided = Always(PAIR, expert).decide(board, budget)
    assert decided.cost.tolist() == [cost] * 10
    assert decided.deferral_rate == rate
    assert decided.label.tolist() == board.ask(expert).label.tolist()
    assert np.isnan(decided.score).all()


def test_always_is_as_silent_as_its_expert():
    board = panel(["0", "1"], {"small": ["0", "1"], "large": [None, "1"]}, blind=True)
    decided = Always(PAIR, "large").decide(board)
    assert decided.label.tolist() == [-1, 1]
    assert board.asked("small").sum() == 0


def test_always_keeps_the_summaries_of_its_expert_and_pays_for_no_other():
    test = summaries.world(30, silent=0.3, blind=True)
    decided = Always(PAIR, "small").fit(summaries.world(20), summaries.empty()).decide(test)
    assert not decided.expert.any() and (decided.label == NO_LABEL).all()
    assert decided.cost.tolist() == [summaries.PRICES["small"]] * 30


def test_always_an_unknown_expert_lists_the_known_ones():
    with pytest.raises(ConfigError) as error:
        Always(PAIR, "larg").decide(world(4))
    assert str(error.value) == "Unknown expert 'larg'. Known: large, small. Did you mean 'large'?"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_random_defers_the_share_it_is_given_by_a_draw_of_the_id(share):
    policy = Random(PAIR, random_state=3).fit(world(2000), world(2000, seed=1))
    board = world(2001, blind=True, seed=2)
    decided = policy.decide(board, Budget(share=share))
    assert decided.deferral_rate == pytest.approx(share, abs=0.04)
    again = policy.decide(world(2001, blind=True, seed=9), Budget(share=share))
    assert decided.expert.tolist() == again.expert.tolist()
    assert decided.score.tolist() == board.draws(3).tolist()


def test_length_defers_the_longest_texts():
    lengths = np.random.default_rng(0).permutation(100) + 1
    labels = ["0"] * 100
    experts = {name: told(name, labels, cost=cost) for name, cost in (("small", 0.1), ("large", 1.0))}

    def board(blind=False):
        rows = examples(labels, text=["x" * n for n in lengths])
        return Panel(rows, experts, CostModel(), CLASSES, blind=blind)

    policy = Length(PAIR).fit(board(), board())
    for share in (0.0, 0.2, 0.5, 1.0):
        decided = policy.decide(board(blind=True), Budget(share=share))
        deferred = lengths[decided.expert == 1]
        assert len(deferred) == round(100 * share)
        assert not len(deferred) or deferred.min() > 100 - len(deferred)
    assert decided.score.tolist() == (-lengths).tolist()
