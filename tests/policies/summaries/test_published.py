import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.svm import SVC

from askless.policies.base import Budget
from askless.policies.summaries.published import PublishedSummary
from tests.policies.summaries.made import WORDS, Writes, board, empty, vectors, world

PAIR = ("small", "large")


def telling(n, seed=0, *, blind=False):
    """Summaries of the word that tells which of the two is better."""
    rng = np.random.default_rng([seed, n])
    better = rng.random(n) < 0.5
    said = [" ".join(["storm" if b else "calm"] * 3 + list(rng.choice(WORDS[2:], 4))) for b in better]
    quality = np.where(better, 0.8, 0.2)
    experts = [Writes("small", said, np.full(n, 0.5), cost=1.0), Writes("large", said, quality, cost=4.0)]
    panel = board(["a document"] * n, experts, blind=blind)
    panel.better = better
    return panel


def test_it_decides_as_the_published_rule_does():
    train, test = telling(200), telling(100, 1, blind=True)
    v = vectors()

    def summed(panel):
        texts = [panel._experts[name].texts for name in PAIR]
        return np.array([v.matrix[v.rows(" ".join(both).split())].sum(axis=0) for both in zip(*texts, strict=True)])

    reduce = PCA(len(WORDS)).fit(summed(train))
    svc = SVC(C=0.1, kernel="rbf").fit(reduce.transform(summed(train)), np.where(train.better, 0, 1))
    decided = PublishedSummary(PAIR, v).fit(train, empty()).decide(test)
    assert decided.expert.tolist() == (svc.predict(reduce.transform(summed(test))) == 0).astype(int).tolist()
    assert decided.expert.tolist() == test.better.astype(int).tolist()


def test_both_are_asked_and_paid_whatever_it_decides():
    one = PublishedSummary(PAIR, vectors()).fit(telling(100), empty())
    for budget in (None, Budget(share=0.0), Budget(price=9.0), Budget(per_1000=1)):
        decided = one.decide(telling(50, 1, blind=True), budget)
        assert decided.asked.all()
        assert decided.cost.tolist() == [5.0] * 50
        assert 0 < (decided.expert == 1).mean() < 1
    (step,) = decided.steps
    assert (step.score < step.threshold).tolist() == (decided.expert == 1).tolist()
    assert np.isnan(decided.confidence).all()


@pytest.mark.parametrize(("off", "expert"), [(-0.9, 1), (0.9, 0)])
def test_where_one_is_always_better_there_is_nothing_to_learn(off, expert):
    one = PublishedSummary(PAIR, vectors()).fit(world(30, off=off), empty())
    assert (one.decide(world(10, 1, blind=True)).expert == expert).all()


def test_a_missing_summary_is_read_as_no_words_and_the_other_stands():
    train, test = telling(100), telling(20, 1, blind=True)
    one = PublishedSummary(PAIR, vectors()).fit(train, empty())
    test._experts["large"].texts = [None] * 20
    assert (one.decide(test).expert == 0).all()
