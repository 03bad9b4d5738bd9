"""Lines of tokens, seconds and dollars in the size of a text."""

import json

import numpy as np
import pytest

from askless.config import Price
from askless.spending.usage import LEAST, LEAST_TIMED, MOST_STATED, Usage, byte_sizes

NONE = np.nan


def used(prompt, completion, seconds=NONE, billed=NONE):
    columns = np.broadcast_arrays(prompt, completion, seconds, billed)
    return np.column_stack([np.asarray(column, float) for column in columns])


def test_bytes_are_those_of_utf_8():
    assert byte_sizes(["", "abc", "é€", "\ud800"]).tolist() == [0, 3, 5, 3]


def test_a_line_without_noise_is_found_exactly():
    size = np.arange(40.0)
    usage = Usage.bound(9, 64).learnt(size, used(20 + 3 * size, 5 + size))
    np.testing.assert_allclose(usage.lines[:, :2], [[20, 5], [3, 1]], atol=1e-9)
    assert usage.known == ("learnt", "learnt", "unknown", "unknown")
    assert abs(usage.fits[0].pull).max() < 1e-9
    assert usage.rows == (40, 40, 0, 0)


def test_what_is_counted_stays_and_the_rest_is_learnt():
    usage = Usage.counted((0, 64)).learnt(np.arange(40.0), used(np.arange(40.0) + 99, 7))
    assert usage.known[:2] == ("exact", "learnt")
    np.testing.assert_allclose(usage.lines[:, :2], [[0, 7], [1, 0]], atol=1e-9)


def test_too_few_answers_teach_nothing():
    size = np.arange(float(LEAST - 1))
    usage = Usage.bound(9, 64).learnt(size, used(size, size, size))
    assert usage.known == ("guessed", "bound", "learnt", "unknown"), "seconds need fewer"
    size = size[: LEAST_TIMED - 1]
    assert Usage.bound(9, 64).learnt(size, used(size, size, size)).known[2] == "unknown"


def test_answers_of_one_batch_are_one_timing():
    rng = np.random.default_rng(0)
    size, batch = np.arange(60.0), np.repeat(np.arange(6), 10)
    seconds = rng.gamma(2, 1, 6)[batch]
    usage = Usage.counted((1, 1)).learnt(size, used(size, 1, seconds))
    assert usage.rows[2] == 6
    fit = np.polyfit(size.reshape(6, 10).mean(axis=1), seconds[::10], 1)
    np.testing.assert_allclose(usage.lines[:, 2], fit[::-1])
    rest = seconds[::10] - np.polyval(fit, size.reshape(6, 10).mean(axis=1))
    assert usage.fits[0].spread.item() == pytest.approx(10 * (rest**2).sum() / 4)


def test_the_error_of_the_lines_is_that_of_hc3():
    rng = np.random.default_rng(3)
    size = rng.lognormal(4, 1, 40)
    y = 5 + 2 * size + size * rng.normal(0, 0.3, 40)
    usage = Usage.bound(0, 1).learnt(size, used(y, 1))
    x = np.column_stack([np.ones(40), size])
    inverse = np.linalg.inv(x.T @ x)
    rest, leverage = y - x @ inverse @ x.T @ y, np.diag(x @ inverse @ x.T)
    wanted = inverse @ (x.T * (rest / (1 - leverage)) ** 2) @ x @ inverse
    pull = usage.fits[0].pull[:, :, 0]
    np.testing.assert_allclose(pull.T @ pull, wanted, rtol=1e-6)


def test_texts_of_one_size_teach_a_mean():
    usage = Usage.bound(0, 64).learnt(np.full(31, 7.0), used(np.arange(31.0), 3))
    assert usage.lines[0, 0] + 7 * usage.lines[1, 0] == pytest.approx(15)


def test_what_was_billed_wins_over_a_price():
    price = Price(usd_per_1m_prompt_tokens=2.0, usd_per_hour=36.0, usd_per_1k_answers=5.0)
    rates, flat = Usage.counted((1, 1)).rates(price)
    np.testing.assert_allclose(rates, [2e-6, 0, 0.01, 0])
    assert flat == 0.005
    billed = Usage.bound(0, 9).learnt(np.arange(31.0), used(np.ones(31), 1, NONE, 0.5))
    assert billed.rates(price)[0].tolist() == [0, 0, 0, 1]
    assert np.isnan(Usage.counted((1, 1)).rates(None)[1])


@pytest.mark.parametrize("usage", [Usage.unknown(), Usage.bound(20, 16), Usage.counted((1, 3))])
@pytest.mark.parametrize("answers", [0, 40])
def test_it_is_kept_as_plain_values(usage, answers):
    rng = np.random.default_rng(1)
    usage = usage.learnt(rng.random(answers), np.where(rng.random((answers, 4)) < 0.1, NONE, rng.random((answers, 4))))
    again = Usage.restore(json.loads(json.dumps(usage.state())))
    assert (again.size, again.prior, again.known, again.rows) == (usage.size, usage.prior, usage.known, usage.rows)
    for name in ("overhead", "most", "sizes", "used", "lines"):
        np.testing.assert_array_equal(getattr(again, name), getattr(usage, name))


def test_of_very_many_answers_some_are_kept():
    size = np.arange(10.0 * MOST_STATED)
    again = Usage.restore(Usage.bound(0, 9).learnt(size, used(size, 1)).state())
    assert again.sizes.tolist() == size[::10].tolist() and again.used[:, 0].tolist() == size[::10].tolist()


def test_words_say_what_figures_rest_on():
    assert Usage.bound(1, 2).words() == (
        "Prompt tokens a quarter of the texts' bytes (fewer than 30 answers on record), completion tokens a "
        "bound and no estimate (fewer than 30 answers on record), seconds not known (fewer than 5 batches on record)."
    )
    learnt = Usage.counted((0, 9)).learnt(np.arange(50.0), used(1, np.arange(50.0), np.arange(50.0), 0.1))
    assert learnt.words() == (
        "Prompt tokens counted, completion tokens learnt from 50 answers, seconds learnt from 50 batches, billed "
        "dollars learnt from 50 answers."
    )
