"""What may be promised: by hand, and by drawing the data again and again."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom, norm

from askless.errors import ConfigError, DataError
from askless.stats.bounds import betting_mean, exact
from askless.stats.guarantees import Certificate, certify_quality, fixed_sequences, labels_needed

REDRAWS, DELTA = 500, 0.05
# A promise that is broken in exactly delta of all cases would exceed this in one run of a thousand.
ALLOWED = int(binom.ppf(0.999, REDRAWS, DELTA))


def outcomes(*lost_and_won, n=300):
    """Candidates with these numbers of rows lost and won against a reference that is right on the first half."""
    reference = np.arange(n) < n // 2
    policy = np.tile(reference, (len(lost_and_won), 1))
    for row, (lost, won) in zip(policy, lost_and_won, strict=True):
        row[:lost] = False
        row[n - won :] = won > 0
    return policy, reference, np.arange(len(policy), 0, -1)[:, None] * np.ones((1, n))


def test_the_cheapest_before_the_first_failure_is_chosen():
    got = certify_quality(*outcomes((0, 0), (1, 2), (40, 0), (0, 0)), eps=0.03, bound="exact")
    assert (got.index, got.certified, len(got.p_values), got.n) == (1, 2, 3, 300)
    assert got.p_values[2] > 0.05 >= max(got.p_values[:2])
    assert (
        got.words() == "Promised with 95 % confidence, on 300 items: a quality of at most 3 points below the reference."
    )


def test_of_those_certified_the_cheapest_counts_wherever_it_stands():
    policy, reference, _ = outcomes((0, 0), (0, 0), (0, 0))
    cost = np.array([3.0, 1.0, 2.0])[:, None] * np.ones((1, 300))
    assert certify_quality(policy, reference, cost, 0.03).index == 1


@pytest.mark.parametrize(("bound", "index"), [("exact", 1), ("clopper_pearson", 0), ("betting", 0)])
def test_the_exact_bound_counts_what_was_won(bound, index):
    assert certify_quality(*outcomes((0, 0), (6, 6)), eps=0.03, bound=bound).index == index


def test_too_few_rows_allow_no_promise_and_the_number_that_would_is_said():
    got = certify_quality(*outcomes((0, 0), (2, 2), n=40), eps=0.01)
    assert (got.index, got.certified, len(got.p_values), got.needed) == (None, 0, 1, 2555)
    assert got.words() == (
        "40 items do not allow to promise a quality of at most 1 point below the reference with 95 % confidence. "
        "The only promise is to ask the reference always. It would take about 2,555 labelled items."
    )


def test_enough_rows_of_a_bad_policy_are_no_matter_of_labels():
    got = certify_quality(*outcomes((60, 0), n=2000), eps=0.02)
    assert (got.index, got.needed) == (None, None)
    assert got.words().endswith("The only promise is to ask the reference always.")


def losses(lost, won, n):
    return np.repeat([1.0, -1.0, 0.0], [lost, won, n - lost - won])


@pytest.mark.parametrize("bound", ["clopper_pearson", "exact"])
@pytest.mark.parametrize(("lost", "won", "eps"), [(2, 0, 0.03), (4, 3, 0.05), (9, 9, 0.05), (20, 18, 0.08)])
def test_so_many_labels_certify_in_nine_cases_of_ten(bound, lost, won, eps):
    """With the number of the usual formula (z^2 d / eps^2) it was about half of the cases."""
    n = labels_needed(losses(lost, won, 400), eps, bound=bound)
    rng, certified = np.random.default_rng(5), 0
    chance = np.array([lost, won, 0]) / 400
    chance[2] = 1 - chance.sum()
    for _ in range(300):
        drawn = rng.multinomial(n, chance)
        reference = losses(*drawn[:2], n) > -1
        policy = losses(*drawn[:2], n) < 1
        certified += certify_quality(policy[None], reference, np.ones((1, n)), eps, bound=bound).index is not None
    assert 0.82 <= certified / 300 <= 0.97


def test_nothing_is_said_of_labels_that_no_number_would_do():
    assert labels_needed(losses(5, 9, 100), 0.05) is None
    assert labels_needed(losses(5, 9, 100), 0.05, bound="exact") is not None
    assert labels_needed(losses(9, 3, 100), 0.05, bound="exact") is None


def test_families_share_the_chance_and_one_that_is_through_leaves_its_part():
    def family(*p_values):
        return [lambda p=p: p for p in p_values]

    assert fixed_sequences([family(0.02, 0.03)], 0.05) == [(2, (0.02, 0.03))]
    assert fixed_sequences([family(0.02, 0.03), family(0.2)], 0.05) == [(1, (0.02, 0.03)), (0, (0.2,))]
    assert fixed_sequences([family(0.03, 0.01), family(0.02)], 0.05) == [(2, (0.03, 0.01)), (1, (0.02,))]
    assert fixed_sequences([family(0.03), family(0.02)], 0.05, [0.04, 0.0]) == [(1, (0.03,)), (1, (0.02,))]
    assert fixed_sequences([family(0.03), family(0.02)], 0.05, [0.02, 0.01]) == [(0, (0.03,)), (0, (0.02,))]


@pytest.mark.parametrize("shares", [None, [0.03, 0.01, 0.01]])
def test_all_families_together_err_in_at_most_delta_of_all_cases(shares):
    """Three families, two of a true promise before a broken one, one broken from the start."""
    rng, broken = np.random.default_rng(1), 0
    for _ in range(4000):
        p, good = rng.random(3), rng.random(2) ** 8
        families = [[partial(float, x) for x in row] for row in ((good[0], p[0]), (good[1], p[1]), (p[2],))]
        got = [count for count, _ in fixed_sequences(families, DELTA, shares)]
        broken += got[0] > 1 or got[1] > 1 or got[2] > 0
    assert broken <= binom.ppf(0.999, 4000, DELTA)


def test_a_scaled_quality_is_bet_on():
    rng = np.random.default_rng(0)
    reference = rng.random(500)
    policy = np.clip(reference + rng.normal(0, 0.02, (2, 500)), 0, 1)
    policy[1] *= 0.5
    got = certify_quality(policy, reference, np.ones((2, 500)), 0.05, bound="betting")
    assert (got.index, got.certified) == (0, 1)


def test_what_cannot_be_meant_is_refused():
    policy, reference, cost = outcomes((0, 0))
    for eps, confidence, told in (
        (0.0, 0.95, "A limit of 0. Allowed: more than 0 and less than 1; 0.03 is three points."),
        (0.03, 95, "A confidence of 95. Allowed: 0.5 or more and less than 1."),
    ):
        with pytest.raises(ConfigError) as error:
            certify_quality(policy, reference, cost, eps, confidence)
        assert str(error.value) == told
    with pytest.raises(ConfigError, match="Unknown bound 'exakt'"):
        certify_quality(policy, reference, cost, 0.03, bound="exakt")
    with pytest.raises(DataError, match=r"^outcomes: quality \(1, 300\) and cost \(1, 299\)\."):
        certify_quality(policy, reference, cost[:, 1:], 0.03)
    with pytest.raises(DataError, match=r"^outcomes: a reference \(299,\)\. Allowed: \(300,\)\."):
        certify_quality(policy, reference[1:], cost, 0.03)
    with pytest.raises(DataError, match="^outcomes: a quality outside"):
        certify_quality(policy * 2.0, reference, cost, 0.03)


# Shares of rows that a policy loses and wins against its reference as the dial goes down, for a promise of 3 points.
HARD = {
    "few apart, then exactly eps": ([0.0, 0.01, 0.03, 0.03, 0.03], [0.0, 0.0, 0.0, 0.0, 0.0]),
    "many apart": ([0.05, 0.10, 0.15, 0.2, 0.3], [0.05, 0.09, 0.12, 0.16, 0.2]),
    "exactly eps from the start, none won": ([0.03] * 5, [0.0] * 5),
    "exactly eps from the start": ([0.05] * 5, [0.02] * 5),
    "just over eps": ([0.01, 0.032, 0.05, 0.1, 0.2], [0.0, 0.0, 0.015, 0.06, 0.15]),
}


@pytest.mark.parametrize("bound", ["exact", "clopper_pearson", "betting"])
@pytest.mark.parametrize("setting", HARD)
def test_the_promise_of_quality_fails_in_at_most_delta_of_all_redraws(setting, bound):
    """Of 500 redraws of 300 rows at delta = .05 at most 41 are broken: 25, and 3.3 standard errors."""
    lost, won = (np.array(shares)[:, None] for shares in HARD[setting])
    rng, broken = np.random.default_rng(7), 0
    for _ in range(REDRAWS):
        # A row lost or won at one point of the dial is so at all that lose or win more.
        draw = rng.random(300)
        reference = draw < 0.6
        policy = (reference & (draw >= lost)) | (draw > 1 - won)
        got = certify_quality(policy, reference, 5 - np.arange(5)[:, None] * np.ones((1, 300)), 0.03, 1 - DELTA, bound)
        broken += got.index is not None and (lost - won)[got.index, 0] >= 0.03 - 1e-12
    assert broken <= ALLOWED == 41


@pytest.mark.slow
def test_a_promise_of_a_refitted_policy_holds_as_well():
    """The whole way: a threshold at each share is set on four fifths and cross-fitted, certified, and set on all rows.

    The true loss of what would be deployed is known. Broken in at most delta of 500 redraws of 300 rows, for a small
    expert whose score says much, little and nothing.
    """
    for slope, base in ((3.0, 2.0), (1.0, 2.2), (0.0, 1.5)):
        rng, broken, saved = np.random.default_rng(11), 0, 0
        for _ in range(REDRAWS):
            score, small, large = _draw(rng, 300, slope, base)
            shares = np.linspace(0.9, 0.0, 10)
            fold = rng.permutation(300) % 5
            policy = np.empty((10, 300), bool)
            for k in range(5):
                cut = np.quantile(score[fold != k], shares)[:, None]
                held = fold == k
                policy[:, held] = np.where(score[held] < cut, large[held], small[held])
            cost = np.tile(1 + 10 * shares[:, None], (1, 300))
            got = certify_quality(policy, large, cost, 0.05, 1 - DELTA, "exact")
            if got.index is not None:
                saved += 1
                broken += _true_loss(np.quantile(score, shares[got.index]), slope, base) > 0.05
        assert broken <= ALLOWED
        assert saved > 250


@pytest.mark.slow
@pytest.mark.parametrize(("ways", "least"), [(4, 0.08), (8, 0.12)])
def test_what_is_chosen_within_folds_is_no_longer_certified_by_the_other_folds(ways, least):
    """Why all that is tried shares the chance: equally good ways, each just at eps, one chosen on four fifths.

    What lies in the fifth that tests it has chosen for the other four: their errors hang together. Of 1,000 samples of
    300 rows 11 and 16 % are certified at 95 %, where only 5 % may be; with a part of the chance for each, 4 %.
    """
    rng, chosen, shared = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        draw = rng.random((ways, 300))
        loss = (draw < 0.05).astype(float) - (draw > 0.98)
        fold, tested = rng.permutation(300) % 5, np.empty(300)
        for k in range(5):
            tested[fold == k] = loss[loss[:, fold != k].mean(axis=1).argmin(), fold == k]
        chosen += exact(tested, 0.03, 0.05) <= 0.05
        shared += any(exact(each, 0.03, 0.05 / ways) <= 0.05 / ways for each in loss)
    assert chosen > 1000 * least
    assert shared <= 75


def _chances(score, slope, base):
    return 1 / (1 + np.exp(-(base + slope * score))), np.full(np.shape(score), 0.9)


def _draw(rng, n, slope, base):
    score = rng.normal(size=n)
    small, large = _chances(score, slope, base)
    return score, rng.random(n) < small, rng.random(n) < large


def _true_loss(cut, slope, base):
    x = np.linspace(-6, 6, 4001)
    small, large = _chances(x, slope, base)
    weight = norm.pdf(x)
    return float(((large - small) * (x >= cut) * weight).sum() / weight.sum())


def test_the_promise_of_a_spend_limit_fails_in_at_most_delta_of_all_redraws():
    for shares in ([0.1, 0.2, 0.25, 0.3], [0.251] * 4):
        rng, broken = np.random.default_rng(3), 0
        for _ in range(REDRAWS):
            cost = 1.0 + 4.0 * (rng.random(300) < np.array(shares)[:, None])
            ((passed, _),) = fixed_sequences([[partial(betting_mean, each / 5, 2 / 5) for each in cost]], DELTA)
            broken += passed > 0 and 1 + 4 * shares[passed - 1] > 2.0 + 1e-12
        assert broken <= ALLOWED


def test_a_limit_of_spending_is_told_for_1000_items():
    kept, none = (Certificate("spend", "betting", 2.3, 0.95, 800, index, 0, (), None).words() for index in (1, None))
    assert kept == "Promised with 95 % confidence, on 800 items: a mean cost of at most 2300 per 1,000 items."
    assert none == "800 items do not allow to promise a mean cost of at most 2300 per 1,000 items with 95 % confidence."


def test_a_certificate_can_be_written_and_read():
    got = certify_quality(*outcomes((0, 0), (1, 2)), eps=0.03)
    assert Certificate(**vars(got)) == got
