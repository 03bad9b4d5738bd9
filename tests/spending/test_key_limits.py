"""A limit of a key holds over runs, processes and kills, whatever the limit of each run."""

import multiprocessing
import os
import random
import sqlite3

import pytest

from askless.errors import BudgetError, DataError
from askless.spending import key_limits
from askless.spending.billing import LIMIT, OVERRUN, over_limit
from askless.spending.key_limits import KeyLimits, kept_in, key_limit
from askless.spending.ledger import Ledger

KEY, OTHER = "A_KEY", "ANOTHER_KEY"


@pytest.fixture(autouse=True)
def limits(tmp_path, monkeypatch):
    """Of a user who has none but that of `KEY`, one dollar a day."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = KeyLimits(kept_in())
    made.set(KEY, 1.0, None)
    yield made
    made.close()


def test_runs_share_what_their_key_may_pay(limits):
    with Ledger(limit=0.7) as one, Ledger() as other:
        assert one.reserve("llm", [("a", 0.6), ("b", 0.3)], payer=KEY) == 1, "its own limit holds too"
        assert other.reserve("llm", [("a", 0.4), ("b", 0.1)], payer=KEY) == 1
        assert (key_limit(KEY).left, one.key_limit(KEY).left) == (0.0, 0.0)
        one.settle({"a": 0.1})
        other.release(["a"])
        assert key_limit(KEY).today == pytest.approx(0.1)
        assert one.key_limit(KEY) is None, "less is left of its own"
        assert str(other.key_limit(KEY)) == "the limit of $1 a day for A_KEY"
        assert one.reserve("llm", [("c", 0.6)], payer=OTHER) == 1, "another key has no limit"
        assert other.reserve("llm", [("c", 5.0)]) == 1, "nobody's key pays"
        assert key_limit(KEY).today == pytest.approx(0.1)


def test_a_day_begins_anew_and_what_is_paid_in_all_does_not(limits, monkeypatch):
    limits.set(KEY, 1.0, 1.5)
    with Ledger() as ledger:
        assert ledger.reserve("llm", [("a", 1.0), ("b", 0.1)], payer=KEY) == 1
        ledger.settle({"a": 1.0})
        monkeypatch.setattr(Ledger, "_today", lambda self: "2999-01-01")
        assert ledger.reserve("llm", [("b", 0.5), ("c", 0.1)], payer=KEY) == 1
        assert str(ledger.key_limit(KEY)) == "the limit of $1 a day and $1.5 in all for A_KEY"
    limits.set(KEY, None, None)
    assert limits.of(KEY, "2999-01-01") is None and limits.keys() == []
    limits.set(KEY, None, 2.0)
    assert limits.of(KEY, "2999-01-01").left == pytest.approx(0.5), "what was paid stays counted"


@pytest.mark.parametrize(
    ("ends", "paid", "then"),
    [
        (lambda ledger: None, 0.6, 0.3),
        (lambda ledger: ledger.settle({"a": 0.2}), 0.2, 0.2),
        (lambda ledger: ledger.doubt(["a"]), 0.6, 0.6),
        (lambda ledger: ledger.release(["a"]), 0.0, 0.0),
    ],
    ids=["under way", "answered", "in doubt", "not billed"],
)
def test_what_a_kill_leaves_between_both_files_is_made_good_by_the_run_that_goes_on(
    tmp_path, monkeypatch, ends, paid, then
):
    """Killed before the key's file hears how a call ended, it counts at its most until the run goes on."""
    killed = Ledger(tmp_path / "ledger.sqlite")
    killed.reserve("llm", [("a", 0.6)], payer=KEY)
    monkeypatch.setattr(KeyLimits, "settle", lambda *_: set())
    ends(killed)
    killed.close()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert key_limit(KEY).today == pytest.approx(0.6)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert key_limit(KEY).today == pytest.approx(0.6), "who only reads changes nothing"
        ledger.reserve("llm", [("b", 0.1)], payer=KEY)
        assert key_limit(KEY).today == pytest.approx(paid + 0.1)
        ledger.settle({"a": 0.3, "b": 0.1})
        assert key_limit(KEY).today == pytest.approx(then + 0.1)


def test_a_call_that_the_run_could_not_write_down_leaves_its_number_to_the_next(tmp_path, monkeypatch):
    """As where the disk is full: what is said is that, never that the limits are broken."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:

        def full(*about):
            raise ledger._unusable("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(ledger, "_write", full)
            for _ in range(2):
                with pytest.raises(DataError, match="disk is full"):
                    ledger.reserve("llm", [("a", 0.3)], payer=KEY)
        assert ledger.reserve("llm", [("a", 0.3)], payer=KEY) == 1
        ledger.settle({"a": 0.2})
    assert key_limit(KEY).today == pytest.approx(0.2)


def test_a_copy_of_a_run_is_another_one(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.reserve("llm", [("a", 0.3)], payer=KEY)
    (tmp_path / "copy.sqlite").write_bytes((tmp_path / "l.sqlite").read_bytes())
    with Ledger(tmp_path / "copy.sqlite") as copy:
        copy.settle({"a": 0.1})
        assert key_limit(KEY).today == pytest.approx(0.3)
        assert copy.reserve("llm", [("b", 0.3)], payer=KEY) == 1


def _spends(folder, number, seed):
    """A process that is killed in the middle of its calls, or ends; writes what a provider billed."""
    rng, billed = random.Random(seed), 0.0
    with Ledger(folder / f"{number}.sqlite") as ledger:
        for call in range(30):
            if not ledger.reserve("llm", [(str(call), 0.02)], payer=KEY):
                break
            cost = rng.uniform(0, 0.02)
            billed += cost
            (folder / f"{number}.billed").write_text(repr(billed))
            if rng.random() < 0.05:
                os._exit(9)
            ledger.settle({str(call): cost})


def test_processes_at_once_never_pass_the_limit(tmp_path):
    """Four spenders, killed at random and begun again, until nothing more fits."""
    context = multiprocessing.get_context("fork")
    for turn in range(3):
        these = [context.Process(target=_spends, args=(tmp_path, f"{turn}-{n}", 7 * turn + n)) for n in range(4)]
        for each in these:
            each.start()
        for each in these:
            each.join()
    billed = sum(float(path.read_text()) for path in tmp_path.glob("*.billed"))
    assert 0.5 < billed <= key_limit(KEY).today <= 1.0


@pytest.mark.parametrize("dollars", [-1.0, float("nan"), float("inf"), 2e9])
def test_a_limit_that_is_none_is_refused(limits, dollars):
    with pytest.raises(BudgetError, match=r"A limit of .+ dollars for A_KEY\. Allowed: 0 to 1e\+09\."):
        limits.set(KEY, dollars, None)


def test_a_bill_above_the_most_ends_what_a_key_with_a_limit_pays(limits, tmp_path):
    limits.set(KEY, 100.0, None)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.reserve("llm", [("a", 0.1)], payer=KEY) == ledger.reserve("llm", [("b", 0.1)]) == 1
        ledger.settle({"b": 0.2})
        assert ledger.reserve("llm", [("c", 0.1)], payer=KEY) == 1, "what no limit speaks of"
        ledger.settle({"a": 0.2})
        assert ledger.reserve("llm", [("d", 0.1)], payer=KEY) == 0
        assert over_limit(ledger, KEY) == f"{LIMIT}: {OVERRUN}"
        assert ledger.reserve("llm", [("e", 0.1)]) == 1, "by another key"


@pytest.mark.parametrize("spoil", ["CREATE TRIGGER more AFTER INSERT ON held BEGIN DELETE FROM held; END", None])
def test_a_file_that_is_not_its_own_is_refused(limits, spoil):
    limits.close()
    if spoil is None:
        kept_in().write_text("no database" * 200)
    else:
        with sqlite3.connect(kept_in()) as db:
            db.execute(spoil)
        db.close()
    with pytest.raises(DataError, match="the limits of keys could not be kept or read"), Ledger() as ledger:
        ledger.reserve("llm", [("a", 0.1)], payer=KEY)
    kept_in().unlink()
    limits.path = key_limits.kept_in()
