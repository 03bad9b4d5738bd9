"""The limit holds over any history, threads and kills included; what is told adds up."""

import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.errors import BudgetError, DataError
from askless.spending.ledger import PAID, Ledger


def test_a_call_is_reserved_at_its_most_and_settled_at_its_cost():
    with Ledger(limit=1.0) as ledger:
        assert ledger.reserve("llm", [("a", 0.6)]) == 1
        assert ledger.left == pytest.approx(0.4)
        ledger.settle({"a": 0.1})
        assert (ledger.spent, ledger.left) == (pytest.approx(0.1), pytest.approx(0.9))
        assert ledger.counts() == {("llm", PAID): 1}


def test_the_first_calls_that_fit_are_reserved_and_no_later_one():
    with Ledger(limit=1.0) as ledger:
        assert ledger.reserve("llm", [("a", 0.5), ("b", 0.5), ("c", 0.1)]) == 2
        assert ledger.left == 0
        ledger.release(["a", "b"])
        assert ledger.reserve("llm", [("c", 1.1), ("d", 0.1)]) == 0
        assert ledger.left == 1.0


def test_a_limit_can_be_spent_to_the_last_billionth():
    with Ledger(limit=0.3) as ledger:
        for key in "abc":
            assert ledger.reserve("llm", [(key, 0.1)]) == 1
            ledger.settle({key: 0.1})
        assert ledger.left == 0 and ledger.reserve("llm", [("d", 1e-9)]) == 0
        assert ledger.reserve("llm", [("e", 0.0)]) == 1


def test_what_does_not_fit_waits_for_what_is_under_way():
    with Ledger(limit=1.0) as ledger:
        ledger.reserve("llm", [("a", 0.9)])
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(ledger.reserve, "llm", [("b", 0.5)])
            assert not second.done()
            ledger.settle({"a": 0.2})
            assert second.result(timeout=300) == 1
            third = pool.submit(ledger.reserve, "llm", [("c", 0.5)])
            ledger.settle({"b": 0.5})
            assert third.result(timeout=300) == 0


def test_a_call_in_doubt_counts_at_its_most_and_is_known_after_a_restart(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, 1.0) as ledger:
        ledger.reserve("llm", [("a", 0.4), ("b", 0.4)])
        ledger.doubt(["a"])
    with Ledger(path, 1.0) as ledger:
        assert ledger.doubtful("a") and not ledger.doubtful("b")
        assert ledger.open_calls("llm") == ["b"] and ledger.open_calls("other") == []
        assert ledger.left == pytest.approx(0.2)
        assert ledger.reserve("llm", [("c", 0.3)]) == 0, "an earlier process's calls are not waited for"
        ledger.settle({"b": None})
        assert (ledger.spent, ledger.doubted) == (pytest.approx(0.4), pytest.approx(0.4))
        assert ledger.reserve("llm", [("a", 0.2)]) == 1, "asked again, the doubt stays on the bill"
        ledger.settle({"a": 0.1})
        assert (ledger.spent, ledger.doubted) == (pytest.approx(0.5), pytest.approx(0.4))


def test_each_answer_is_told_to_one_part_and_as_often_as_it_asks():
    with Ledger() as ledger:
        ledger.reserve("llm", [("a", 1.0), ("b", 1.0)])
        ledger.settle({"a": 0.25, "b": 0.5})
        assert ledger.paid(["a", "a", "kept"], part=1) == [0.25, 0.0, 0.0]
        assert ledger.paid(["b", "a"], part=2) == [0.5, 0.0]
        assert ledger.paid(["a"], part=1) == [0.25]


def test_a_bill_above_the_most_is_written_down_and_nothing_more_is_paid():
    with Ledger(limit=1.0) as ledger:
        ledger.reserve("llm", [("a", 0.1)])
        ledger.settle({"a": 0.2})
        assert ledger.overran() and ledger.spent == pytest.approx(0.2)
        assert ledger.reserve("llm", [("b", 0.1)]) == 0
    with Ledger() as ledger:
        ledger.reserve("llm", [("a", 0.0)])
        ledger.settle({"a": 0.2})
        assert ledger.reserve("llm", [("b", 0.0)]) == 1, "without a limit there is none to keep"


def test_a_daily_limit_begins_anew_each_day(monkeypatch):
    now = ["2026-01-01"]
    monkeypatch.setattr(Ledger, "_today", lambda self: now[0])
    with Ledger(limit=1.0, daily=True) as ledger:
        ledger.reserve("llm", [("a", 0.9), ("b", 0.1)])
        ledger.settle({"a": 0.8})
        now[0] = "2026-01-02"
        assert (ledger.spent, ledger.left) == (0.0, 1.0)
        ledger.settle({"b": 0.1})
        assert ledger.spent == 0.0, "it was spent on the day it was reserved"


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf"), 2e9])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(BudgetError, match=r"A spend limit of .+ dollars\. Allowed: above 0, up to 1e\+09\."):
        Ledger(limit=limit)


def test_a_file_that_is_no_ledger_is_named(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_text("this is not a database, it is a letter to somebody about something else altogether")
    with pytest.raises(DataError, match="the ledger of calls could not be kept or read"):
        Ledger(path, 1.0)


CALLS = st.lists(
    st.tuples(st.floats(0, 0.7), st.floats(0, 1), st.sampled_from(["settle", "unknown", "doubt", "release", "kill"])),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(CALLS)
def test_reserved_and_spent_never_pass_the_limit(tmp_path_factory, calls):
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    ledger, made = Ledger(path, 1.0), 0.0
    for n, (most, share, end) in enumerate(calls):
        if ledger.reserve("llm", [(str(n), most)]):
            made += most
            cost = most * share
            if end == "settle":
                ledger.settle({str(n): cost})
                made += cost - most
            elif end == "unknown":
                ledger.settle({str(n): None})
            elif end == "doubt":
                ledger.doubt([str(n)])
            elif end == "release":
                ledger.release([str(n)])
                made -= most
            else:
                ledger.close()
                ledger = Ledger(path, 1.0)
                ledger.doubt(ledger.open_calls("llm"))
        else:
            assert made + most > 1.0 - 1e-7, "only what does not fit is refused"
        assert ledger.spent + ledger.doubted <= 1.0
        assert ledger.left == pytest.approx(1.0 - made, abs=1e-7)
    ledger.close()


def test_many_threads_share_one_limit():
    rng = random.Random(3)
    costs = {str(n): rng.uniform(0, 0.02) for n in range(400)}
    spending, highest = [0.0], [0.0]
    lock = threading.Lock()
    with Ledger(limit=1.0) as ledger:

        def call(key: str) -> bool:
            if not ledger.reserve("llm", [(key, 0.02)]):
                return False
            with lock:
                spending[0] += costs[key]
                highest[0] = max(highest[0], spending[0])
            ledger.settle({key: costs[key]})
            return True

        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(call, costs))
        assert highest[0] <= 1.0
        assert ledger.spent == pytest.approx(sum(costs[key] for key, ok in zip(costs, done, strict=True) if ok))
        assert ledger.spent > 0.98, "what is left is less than one call's most"


def test_an_overrun_is_in_the_file_and_ends_with_its_day(tmp_path, monkeypatch):
    path = tmp_path / "l.sqlite"
    with Ledger(path, 1.0, daily=True) as ledger:
        ledger.reserve("llm", [("a", 0.1)])
        ledger.settle({"a": 0.2})
        assert ledger.overran() and not ledger.reserve("llm", [("b", 0.1)])
    with Ledger(path, 1.0, daily=True) as ledger:
        assert ledger.overran() and not ledger.reserve("llm", [("b", 0.1)]), "a restart does not forget it"
        monkeypatch.setattr(ledger, "_today", lambda: "2999-01-01")
        assert not ledger.overran() and ledger.reserve("llm", [("b", 0.1)]) == 1, "the next day goes on"


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_ledger_that_is_lost_gives_no_day_a_second_limit(tmp_path, monkeypatch, lose):
    path = tmp_path / "l.sqlite"
    for reserved in (0, 1):
        with Ledger(path, 1.0, daily=True) as ledger:
            ledger.reserve("llm", [("a", 0.1)] * reserved)
        lose(path)
    with pytest.raises(DataError, match=r"no ledger, .* today: .* remove .*/\.l\.sqlite\.day to begin"):
        Ledger(path, 1.0, daily=True)
    Ledger(path, daily=True).close()
    lose(path)
    monkeypatch.setattr(Ledger, "_today", lambda self: "2999-01-01")
    Ledger(path, 1.0, daily=True).close()


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE TRIGGER free AFTER UPDATE ON calls BEGIN UPDATE calls SET cost = 0 WHERE id = new.id; END",
        "CREATE VIEW dear AS SELECT * FROM calls",
        "CREATE INDEX other ON calls (cost)",
        "INSERT INTO calls VALUES (9, 'k', 'llm', '2026-01-01', 'paid', 1, -1000000000, NULL)",
        "INSERT INTO calls VALUES (9, 'k', 'llm', '2026-01-01', 'open', -1000000000, NULL, NULL)",
        "INSERT INTO calls VALUES (9, 'k', 'llm', '2026-01-01', 'paid', 1, NULL, NULL)",
        "INSERT INTO calls VALUES (9, 'k', 'llm', '2026-01-01', 'gone', 1, 0, NULL)",
        "INSERT INTO calls VALUES (9, 'k', 'llm', '2026-01-01', 'paid', 1, 'x', NULL)",
        "DROP TABLE calls; CREATE TABLE calls (id INTEGER PRIMARY KEY, key TEXT, expert TEXT, day TEXT, state TEXT, "
        "most INTEGER, cost INTEGER AS (0), part INTEGER)",
    ],
)
def test_a_ledger_that_somebody_prepared_lifts_no_limit(tmp_path, planted):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, 0.2) as ledger:
        ledger.reserve("llm", [("a", 0.15)])
        ledger.settle({"a": 0.15})
    with sqlite3.connect(path) as db:
        db.executescript(planted)
    db.close()
    with pytest.raises(DataError, match="the ledger of calls could not be kept or read"):
        Ledger(path, 0.2)
