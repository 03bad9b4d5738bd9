"""The rows that later ones are held against: made, kept with a bundle, read again."""

import numpy as np
import pytest

from askless import schema
from askless.costs import CostModel
from askless.errors import DataError
from askless.monitoring import baseline
from askless.panel import Panel
from askless.policies.base import Budget
from tests.helpers import ByScore, examples, told
from tests.log_data import START, simple
from tests.summaries_data import EXPENSIVE, PAIR, news, panel, ranker, vectors_in


def board(n, agree=0.75):
    """Small and LLM, who say the same of a share of the rows; the first rows score highest."""
    llm = ["0" if i < agree * n else "1" for i in range(n)]
    experts = {"small": told("small", ["0"] * n, cost=0.0), "llm": told("llm", llm, cost=2.0)}
    policy = ByScore(("small", "llm"), {f"post {i}": 1 - i / n for i in range(n)})
    return policy, Panel(examples(["0"] * n), experts, CostModel(), ("0", "1"))


def made(n=40, share=0.25):
    policy, rows = board(n)
    return baseline.baseline(policy, rows, Budget(share=share), "llm", task="t", time=START)


def test_all_rows_are_decided_and_audited():
    rows = made()
    assert rows["expert"].to_pylist() == ["llm"] * 10 + ["small"] * 30
    assert rows["audit"].to_pylist() == [True] * 40
    assert rows["agree"].to_pylist() == [True] * 30 + [False] * 10
    assert rows["text"].null_count == 40 and rows["id"].to_pylist() == [str(row) for row in range(40)]
    assert baseline.agree_from(rows) is None


def test_of_many_rows_some_are_drawn(monkeypatch):
    monkeypatch.setattr(baseline, "MOST", 20)
    rows = made()
    assert rows.num_rows == 20
    assert sum(e == "llm" for e in rows["expert"].to_pylist()) == 5


def test_of_summaries_the_median_likeness_is_kept(tmp_path):
    small = ranker(vectors_in(tmp_path))
    rows = news(40, 4)
    policy = ByScore(PAIR, {text: i / 40 for i, text in enumerate(rows["text"].to_pylist())})
    found = baseline.baseline(policy, panel(rows, small), Budget(share=0.5), EXPENSIVE, task="t", time=START)
    assert 0 < baseline.agree_from(found) < 1
    assert np.mean(found["agree"].to_pylist()) == pytest.approx(0.5, abs=0.05)
    assert found["answer"].null_count == found["small_answer"].null_count == 40


def test_it_is_kept_in_a_folder_and_read_again(tmp_path):
    assert baseline.read(tmp_path) is None
    assert baseline.agree_from(None) is None
    rows = schema.with_meta(simple(30), "baseline", {"agree_from": 0.25})
    assert baseline.write(tmp_path, rows) == tmp_path / "baseline.parquet"
    again = baseline.read(tmp_path)
    assert again.equals(rows) and baseline.agree_from(again) == 0.25


def test_a_damaged_one_is_named(tmp_path):
    path = baseline.write(tmp_path, simple(30))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError) as error:
        baseline.read(tmp_path)
    assert str(error.value).startswith(f"{path}: unreadable (")
    assert str(error.value).endswith("Allowed: the file as it was written. Register the model again.")
    path.write_bytes(b"")
    with pytest.raises(DataError, match="unreadable"):
        baseline.read(tmp_path)


def test_the_price_of_audits_is_that_of_asking_about_rows_that_would_have_stayed():
    rows = made(40, 0.25)
    assert baseline.audit_price(rows, 0.02) == pytest.approx(1000 * 0.02 * 0.75 * 2.0)
    assert baseline.audit_price(rows, 0.0) == 0
    assert baseline.audit_price(None, 0.02) is None
    assert baseline.audit_price(made(40, 0.0), 0.02) is None
