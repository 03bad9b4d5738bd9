"""Looks at made logs: alarms where something moved, and no more of them than promised where nothing did."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom, fisher_exact

from askless.monitoring import drift as monitoring
from askless.monitoring.drift import AGREEMENT, DEFERRED, ERRORS, PRICE, SCORES, asked, distinct, look
from tests.log_data import rows

WINDOWS, DAYS, LOOKS = 500, 30, 24


def made(n, seed, *, shift=0.0, **options):
    rng = np.random.default_rng(seed)
    return rows(rng.normal(shift, 1, n), rng=rng, **options)


def seen(before, now, audits=None, **options):
    return look(before, now, now.filter(now["audit"]) if audits is None else audits, **{"level": 0.05, **options})


def by_name(found):
    return {measure.name: measure for measure in found.measures}


@pytest.fixture(scope="module")
def before():
    return made(600, 0)


def test_nothing_moved_is_no_alarm_and_says_what_was_compared(before):
    found = seen(before, made(500, 1))
    assert [m.name for m in found.measures] == [SCORES, DEFERRED, ERRORS, AGREEMENT, PRICE]
    assert found.tested == found.measures
    assert (found.moved, found.alarm) == ((), False)
    least = min(found.measures, key=lambda m: m.p)
    assert found.words() == (
        f"No drift seen in 500 rows of version 1; the least p-value is that of {least.name}, {least.p:.2g}."
    )
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (SCORES, {"shift": 0.4, "cut": -0.1}),
        (DEFERRED, {"cut": 0.0}),
        (ERRORS, {"errors": 0.2}),
        (AGREEMENT, {"agree": 0.5}),
        (PRICE, {"price": 0.0013}),
    ],
)
def test_what_moved_is_named_and_nothing_else(before, name, options):
    found = seen(before, made(500, 2, **options))
    assert found.moved == (name,)
    measure = by_name(found)[name]
    assert found.words() == (
        f"Drift: 500 rows of version 1 differ from those it was calibrated on. {name[0].upper()}{name[1:]}: "
        f"{measure.before:.4g} then, {measure.now:.4g} now (p = {measure.p:.2g})."
    )


def test_fewer_errors_are_no_alarm_and_any_other_agreement_is(before):
    worse = made(600, 3, errors=0.3, agree=0.5)
    found = by_name(seen(worse, made(500, 4, errors=0.0, agree=0.9)))
    assert found[ERRORS].p > 0.5
    assert found[AGREEMENT].p < 1e-6


def test_shares_are_tested_exactly(before):
    now = made(500, 5)
    found = by_name(seen(before, now))
    table = [[int(asked(t).sum()), t.num_rows - int(asked(t).sum())] for t in (now, before)]
    assert found[DEFERRED].p == pytest.approx(fisher_exact(table).pvalue)
    assert found[DEFERRED].rows == (600, 500)


@pytest.mark.parametrize("n", [1, 19])
def test_a_small_window_is_never_tested(before, n):
    found = seen(before, made(n, 6, shift=9.0, errors=1.0, agree=0.0, price=9.0))
    assert found.tested == () and not found.alarm
    assert {m.why for m in found.measures} == {"fewer than 20 rows now"}
    said = f"Nothing could be tested on {n} rows of version 1: fewer than 20 rows on one of the sides."
    assert found.words() == said
    assert "fewer than 20 rows now" in found.markdown("usd")
    assert {m.why for m in seen(made(n, 7), before).measures} == {"fewer than 20 rows at calibration"}


def test_scores_that_were_never_stated_are_not_tested_and_ones_that_fall_silent_are_a_shift(before):
    def silent(table):
        nothing = pa.nulls(table.num_rows, pa.float64())
        return table.set_column(table.schema.get_field_index("score"), table.schema.field("score"), nothing)

    found = by_name(seen(silent(before), silent(made(500, 8))))
    assert (found[SCORES].p, found[SCORES].why) == (None, "none stated at calibration")
    fell = seen(before, silent(made(500, 8)))
    assert fell.moved == (SCORES,) and by_name(fell)[SCORES].now is None
    assert "The scores: -0." in fell.words() and " then, none now" in fell.words()


def test_prices_by_the_second_tell_of_the_machine(before):
    found = by_name(seen(before, made(500, 9, price=0.01), timed=True))
    assert (found[PRICE].p, found[PRICE].why) == (None, "priced by the second")


def test_rows_of_one_id_count_once(before):
    now = made(300, 10)
    thrice = pa.concat_tables([now, now, now])
    found, once = seen(before, thrice), seen(before, now)
    assert (found.rows, found.repeats) == (300, 600)
    assert found.measures[:3] == once.measures[:3]
    assert distinct(thrice).equals(now)


def test_audits_are_few_so_the_last_of_them_count_beyond_the_window(before):
    now, earlier = made(300, 11, audits=0.02), made(30_000, 12, name="b", audits=0.02, agree=0.2)
    few = by_name(seen(before, now))[AGREEMENT]
    assert (few.p, few.why) == (None, "fewer than 20 rows now")
    audits = pa.concat_tables([earlier.filter(earlier["audit"]), now.filter(now["audit"])])
    assert audits.num_rows > 500
    found = seen(before, now, audits)
    assert by_name(found)[AGREEMENT].rows[1] == monitoring.AUDITS
    assert found.moved == (AGREEMENT,)
    assert found.audited == now.filter(now["audit"]).num_rows < 20


def test_the_page_has_every_figure_and_the_chance_of_a_false_alarm(before):
    found = seen(before, made(500, 13, cut=0.0), looks=24)
    page = found.markdown("usd")
    deferred = by_name(found)[DEFERRED]
    assert f"| the share deferred | {deferred.before:.4g} (600) | {deferred.now:.4g} (500) | {deferred.p:.2g} |" in page
    assert page.count("**moved**") == 1
    assert "at most 0.21 % in a look and of 5 % in a day of 24 looks; a test raises it at 0.00042 or less" in page
    assert "Decided from 2026-01-01 00:00:00 to 2026-01-01 00:08:19 UTC." in page
    assert f"The audits of 500 of these rows cost {found.audit_cost:.4g} usd more." in page


def test_the_level_of_a_day_is_shared_by_its_looks_and_a_looks_by_its_tests(before):
    p = [0.009, 0.2, 0.5, 0.6, 0.7]

    def moved(looks, *values):
        found = seen(before, made(40, 14), looks=looks)
        measures = tuple(
            monitoring.Measure(m.name, m.before, m.now, m.rows, p) for m, p in zip(found.measures, values, strict=True)
        )
        return monitoring.WindowCheck(**{**vars(found), "measures": measures}).moved

    assert moved(1, *p) == (SCORES,)
    assert moved(2, *p) == ()
    assert moved(2, 0.0049, *p[1:]) == (SCORES,)
    assert moved(1, 0.012, *p[1:]) == ()
    # What could not be tested takes no part of the level.
    assert moved(1, 0.012, *p[1:4], None) == (SCORES,)


def test_false_alarms_are_no_more_than_stated(monkeypatch):
    """500 windows, each with rows of its own to be held against: at a level of .05 at most 41 alarms, 99.9 % of 25."""
    monkeypatch.setattr(monitoring, "PERMUTATIONS", 2000)
    alarms = 0
    for seed in range(WINDOWS):
        old, now = made(300, [1, seed], audits=0.5), made(200, [2, seed], audits=0.3)
        alarms += seen(old, now, random_state=seed).alarm
    assert alarms <= binom.ppf(0.999, WINDOWS, 0.05) == 41


@pytest.mark.slow
def test_a_day_of_looks_has_no_more_of_them_either():
    """30 days of 24 looks, a day's all at one baseline: at most 6 days with an alarm, 99.9 % of 1.5."""
    bad = 0
    for day in range(DAYS):
        old = made(300, [3, day])
        looks = (made(100, [4, day, hour], audits=0.3) for hour in range(LOOKS))
        bad += any([seen(old, now, looks=LOOKS, random_state=hour).alarm for hour, now in enumerate(looks)])
    assert bad <= binom.ppf(0.999, DAYS, 0.05) == 6


def test_a_shift_of_a_third_of_a_deviation_is_seen_in_five_hundred_rows():
    """At an hourly monitor's level; measured: 20 of 20, of which ten are looked at here."""
    found = [seen(made(600, [5, i]), made(500, [6, i], shift=-0.35), looks=LOOKS).alarm for i in range(10)]
    assert sum(found) >= 9
