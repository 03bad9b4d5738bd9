"""How far a generation is, in words and figures."""

import pytest

from tasks.progress import Progress, steps
from tasks.shards import Counts

WORDS = {
    "nothing yet": ((100, Counts(0, 0, 0, 0.0), 10.0), "0 of 100 items (0 %), $0.0000 so far"),
    "kept before": ((100, Counts(100, 0, 0, 0.0), 1.0), "100 of 100 items (100 %), $0.0000 so far"),
    "at work": (
        (12_000, Counts(3200, 3000, 360_000, 0.0361), 240.0),
        "3,200 of 12,000 items (27 %), 12.5 items/s, 1,500 tokens/s, $0.0361 so far, about 12 min left",
    ),
    "nearly done": (
        (1000, Counts(900, 900, 9000, 1234.5), 450.0),
        "900 of 1,000 items (90 %), 2.0 items/s, 20 tokens/s, $1,234.50 so far, about 50 s left",
    ),
    "no price": (
        (10**6, Counts(1000, 1000, 0, None), 100.0),
        "1,000 of 1,000,000 items (0 %), 10.0 items/s, 0 tokens/s, no price known, about 27.8 h left",
    ),
    "no items": ((0, Counts(0, 0, 0, 0.0), 1.0), "0 of 0 items (100 %), $0.0000 so far"),
}


@pytest.mark.parametrize("name", WORDS)
def test_progress_in_one_line(name):
    figures, words = WORDS[name]
    assert str(Progress(*figures)) == words


def test_what_is_not_known_is_no_metric():
    assert Progress(10, Counts(0, 0, 0, None), 2.0).metrics == {
        "items": 0.0,
        "items_per_second": 0.0,
        "tokens_per_second": 0.0,
    }
    assert Progress(10, Counts(6, 4, 40, 0.5), 2.0).metrics == {
        "items": 6.0,
        "items_per_second": 2.0,
        "tokens_per_second": 20.0,
        "usd": 0.5,
        "seconds_left": 2.0,
    }


def test_a_long_loop_says_once_a_minute_how_far_it_is(monkeypatch, capsys):
    now = iter([0.0, 0.0, 30.0, 60.0, 90.0, 130.0])
    monkeypatch.setattr("tasks.progress.time.monotonic", lambda: next(now))
    assert list(steps(range(5), "olhs: fitting", "policies")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err.splitlines() == [
        "olhs: fitting: 2 of 5 policies, about 2 min left",
        "olhs: fitting: 4 of 5 policies, about 32 s left",
    ]
