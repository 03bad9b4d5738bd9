"""An operating point set anew on rows that have changed: the share kept, or the agreement where audits allow."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.errors import ConfigError, DataError
from askless.experts import Setting
from askless.experts.small.majority import MajorityExpert
from askless.monitoring import recalibration
from askless.monitoring.drift import asked
from askless.monitoring.recalibration import certified, deferred, recalibrate, share_for
from askless.panel import Panel
from askless.policies.base import Budget
from askless.policies.baselines import Length
from askless.policies.chain.chain import Chain
from tests.helpers import CLASSES, examples, told
from tests.log_data import rows

N = 400
TEXTS = ["x" * (i + 1) for i in range(N)]
LONGER = ["x" * (i // 2 + 201) for i in range(N)]
BEYOND = ["x" * (i + 201) for i in range(N)]


@pytest.fixture(scope="module")
def loaded():
    """Defers the longest texts, fitted on those of 1 to 400 letters."""
    items = examples(["1"] * N, text=TEXTS)
    small = MajorityExpert(Setting("small", "t", CLASSES)).fit(items, items)
    experts = {"small": told("small", ["0"] * N, cost=0.0), "llm": told("llm", ["1"] * N, cost=1.0)}
    boards = [Panel(items, experts, CostModel(), CLASSES) for _ in range(2)]
    return Bundle.of(Length(("small", "llm")).fit(*boards), CLASSES, small=small)


def logged(texts, share=0.25, audits=1.0, wrong=(), seed=0):
    """Rows of the log of texts of which the longest `share` went to the LLM; on ids of `wrong` the two disagree."""
    length = np.array([len(text) for text in texts], float)
    found = rows(-length, rng=np.random.default_rng(seed), cut=float(np.quantile(-length, share)), audits=audits)
    names = found["id"].to_pylist()
    agree = [None if a is None else i not in wrong for i, a in zip(names, found["agree"].to_pylist(), strict=True)]
    at = found.schema.get_field_index("agree")
    return found.set_column(at, found.schema.field("agree"), pa.array(agree, pa.bool_()))


def texts_of(table, texts):
    return dict(zip(table["id"].to_pylist(), texts, strict=True))


def recalibrated(loaded, before, now, texts, *, share=0.25, margin=0.05, confidence=0.95):
    budget = loaded.budget(share)
    return recalibrate(loaded, budget, before, now, texts_of(now, texts), margin=margin, confidence=confidence)


def test_the_share_of_calibration_is_had_again_on_longer_texts(loaded):
    before, now = logged(TEXTS), logged(LONGER, audits=0.0)
    found = recalibrated(loaded, before, now, LONGER)
    assert (found.goal, found.before, found.certificate, found.audited) == ("share", 0.25, None, 0)
    assert found.kept == asked(before).mean() == 0.25
    assert found.drifted == pytest.approx(0.5, abs=0.02)
    assert found.held == pytest.approx(0.25, abs=0.02)
    assert found.after == found.for_share == pytest.approx(0.125, abs=0.02)
    assert found.rows == N
    again = deferred(loaded, LONGER, Budget(share=found.after))
    assert again.mean() == found.held


def test_a_dial_of_its_own_rule_is_named_none(loaded):
    found = recalibrated(loaded, logged(TEXTS), logged(LONGER, audits=0.0), LONGER, share=None)
    assert found.before is None
    assert found.held == pytest.approx(0.25, abs=0.02)


@settings(max_examples=15)
@given(st.floats(0, 1), st.integers(1, N))
def test_a_dial_comes_as_near_to_a_share_as_texts_allow(loaded, share, n):
    texts = TEXTS[:n]
    at = share_for(loaded, texts, share)
    assert 0 <= at <= 1 and round(at, recalibration.DIGITS) == at
    grid = [deferred(loaded, texts, Budget(share=k / 10)).mean() for k in range(11)]
    had = deferred(loaded, texts, Budget(share=at)).mean()
    assert abs(had - share) <= min(abs(each - share) for each in grid) + 0.02


def test_rows_beyond_all_that_was_seen_go_together_or_not_at_all(loaded):
    """Half of the rows: none at 0, all of them at the least share above it, so a quarter is out of reach."""
    found = recalibrated(loaded, logged(TEXTS), logged(BEYOND, audits=0.0), BEYOND)
    assert (found.after, found.held) == (0.0, 0.0)
    assert deferred(loaded, BEYOND, Budget(share=10**-recalibration.DIGITS)).mean() == 0.5


def test_the_ends_are_tried_before_all_else(loaded):
    assert share_for(loaded, TEXTS, 0.0) == 0.0
    assert deferred(loaded, TEXTS, Budget(share=share_for(loaded, TEXTS, 1.0))).all()


def test_where_audits_are_many_the_agreement_is_kept_and_more_is_deferred_for_it(loaded):
    """At calibration one kept row in twenty is lost; now the shortest half of the texts is."""
    before = logged(TEXTS, wrong={f"a{i}" for i in range(0, 300, 15)})
    now = logged(TEXTS, wrong={f"a{i}" for i in range(200)}, seed=1)
    found = recalibrated(loaded, before, now, TEXTS, margin=0.05)
    assert found.goal == "agreement"
    assert found.lost == pytest.approx(0.05)
    assert found.certificate.limit == pytest.approx(0.10)
    assert found.audited == N
    kept = ~deferred(loaded, TEXTS, Budget(share=found.after))
    lost = (kept & (np.arange(N) < 200)).mean()
    assert lost < 0.10
    assert found.for_share < found.after
    assert found.held == (~kept).mean()


def test_too_few_audits_promise_nothing_and_say_how_many_would(loaded):
    before = logged(TEXTS, wrong={f"a{i}" for i in range(0, 300, 15)})
    now = logged(TEXTS, wrong={f"a{i}" for i in range(200)}, seed=1, audits=0.06)
    found = recalibrated(loaded, before, now, TEXTS, margin=0.0)
    assert 20 <= found.audited < 40
    assert (found.goal, found.certificate.index) == ("share", None)
    assert found.certificate.needed > found.audited
    assert found.after == found.for_share
    none = recalibrated(loaded, before, logged(TEXTS, audits=0.0), TEXTS)
    assert (none.certificate, none.audited) == (None, 0)


@pytest.mark.slow
def test_a_promise_is_kept_as_often_as_it_says(loaded):
    """Of 30 windows at 90 % confidence at most 9 may lose more on all rows than the limit, 99.9 % of 3."""
    rng, limit, broken = np.random.default_rng(0), 0.15, 0
    for _ in range(30):
        wrong = {f"a{i}" for i in np.flatnonzero(rng.random(N) < 0.3)}
        whole = logged(TEXTS, wrong=wrong)
        some = whole.take(pa.array(np.sort(rng.choice(N, 120, replace=False))))
        names = texts_of(whole, TEXTS)
        _, safe = certified(loaded, some, names, limit, 0.9)
        if safe is not None:
            kept = ~deferred(loaded, TEXTS, Budget(share=safe))
            broken += (kept & np.array([f"a{i}" in wrong for i in range(N)])).mean() > limit
    assert broken <= 9


def test_of_summaries_nothing_is_certified(loaded):
    now = logged(TEXTS)
    assert certified(replace(loaded, classes=()), now, texts_of(now, TEXTS), 0.1, 0.95) == (None, None)
    assert certified(loaded, now, texts_of(now, TEXTS), 0.0, 0.95) == (None, None)


def test_texts_that_are_gone_are_counted(loaded):
    now = logged(LONGER)
    with pytest.raises(DataError) as error:
        recalibrate(
            loaded,
            None,
            logged(TEXTS),
            now,
            dict(list(texts_of(now, LONGER).items())[:300]),
            margin=0.05,
            confidence=0.95,
        )
    assert str(error.value) == (
        "window: the texts of 300 of 400 rows. Allowed: those of nine in ten. "
        "Keep the answered files until they are looked at."
    )


def test_a_policy_that_must_hear_an_llm_cannot_be_set_anew(loaded):
    chain = Bundle.of(Chain(("small", "llm", "other")), CLASSES, small=loaded.small)
    with pytest.raises(ConfigError, match="Chain over small, llm, other has no small expert with it"):
        recalibrated(chain, logged(TEXTS), logged(TEXTS), TEXTS)
