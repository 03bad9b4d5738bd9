"""Items answered as decided, a share of them put to both experts, every call billed to what it was for."""

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.stats import binom

from askless.costs import CostModel
from askless.errors import ConfigError
from askless.experts.checked_summaries import CheckedSummaries
from askless.monitoring.decide_and_log import ANSWERS, Audit, answer, likeness, loggable
from askless.panel import Panel
from askless.policies.base import Budget
from tests.helpers import ByScore, examples, ids, told
from tests.summaries_data import EMPTY, EXPENSIVE, PAIR, SMALL, news, panel, ranker, vectors_in

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ABOUT = {"task": "t", "version": "7", "time": NOW}
SMALL_COST, LLM_COST = 1.0, 10.0


def answered(small, llm, *, share=0.0, deferred=0.5, reference="llm", other=None):
    """Rows of the log and the experts, the first rows deferred to the LLM."""
    n = len(small)
    experts = {"small": told("small", small, cost=SMALL_COST), "llm": told("llm", llm, cost=LLM_COST)}
    if other is not None:
        experts["other"] = told("other", other, cost=5.0)
    board = Panel(examples(["0"] * n), experts, CostModel(), ("0", "1"), blind=True)
    policy = ByScore(tuple(experts), {f"post {i}": 1 - i / n for i in range(n)})
    return answer(policy, board, Budget(share=deferred), Audit(reference, share), **ABOUT), experts


def test_each_row_says_who_answered_what_at_which_cost():
    rows, _ = answered(["0", "0", "0", "0"], ["1", "1", "1", "1"])
    assert rows["id"].to_pylist() == ids(4)
    assert rows["expert"].to_pylist() == ["llm", "llm", "small", "small"]
    assert rows["asked"].to_pylist() == [["llm"], ["llm"], [], []]
    assert rows["answer"].to_pylist() == ["1", "1", "0", "0"]
    assert rows["small_answer"].to_pylist() == [None, None, "0", "0"]
    assert rows["cost"].to_pylist() == [LLM_COST, LLM_COST, SMALL_COST, SMALL_COST]
    assert rows["paid"].to_pylist() == [LLM_COST, LLM_COST, None, None]
    assert rows["score"].to_pylist() == [1.0, 0.75, 0.5, 0.25]
    assert rows["audit"].to_pylist() == [False] * 4
    assert rows["error"].to_pylist() == rows["agree"].to_pylist() == [None] * 4
    assert rows["answers"].to_pylist() == [[{"expert": "llm", "answer": "1"}]] * 2 + [[], []]
    assert set(rows["version"].to_pylist()) == {"7"} and rows["time"][0].as_py() == NOW


def test_an_audit_puts_every_row_to_both_and_bills_that_apart():
    rows, experts = answered(["0", "0", "0", "1"], ["1", "0", "1", "1"], share=1.0)
    assert rows["audit"].to_pylist() == [True] * 4
    assert rows["agree"].to_pylist() == [False, True, False, True]
    assert rows["cost"].to_pylist() == [LLM_COST, LLM_COST, SMALL_COST, SMALL_COST]
    assert rows["audit_cost"].to_pylist() == [SMALL_COST, SMALL_COST, LLM_COST, LLM_COST]
    assert rows["paid"].to_pylist() == [LLM_COST, LLM_COST, None, None]
    assert [len(each) for each in rows["answers"].to_pylist()] == [1] * 4
    assert sorted(experts["llm"].asked) == ids(4)
    # What was decided before it stays: an audit changes no answer.
    assert rows["answer"].to_pylist() == ["1", "0", "0", "1"]
    assert rows["small_answer"].to_pylist() == ["0", "0", "0", "1"]


def test_an_expert_that_fails_is_an_error_the_small_one_answers_and_nobody_agrees():
    rows, _ = answered(["0"] * 4, [None, "1", None, "1"], share=1.0)
    assert rows["expert"].to_pylist() == ["small", "llm", "small", "small"]
    assert rows["answer"].to_pylist() == ["0", "1", "0", "0"]
    assert rows["asked"].to_pylist() == [["llm"], ["llm"], [], []]
    # Row 2 was put to the LLM by the audit alone.
    assert rows["error"].to_pylist() == ["llm: silent", None, None, None]
    assert rows["agree"].to_pylist() == [None, False, None, False]
    assert rows["answers"].to_pylist()[2] == [{"expert": "llm", "answer": None}]


def test_with_several_expensive_experts_the_reference_is_audited_and_all_their_answers_are_kept():
    rows, _ = answered(["0"] * 2, ["1"] * 2, share=1.0, reference="other", other=["0"] * 2)
    assert rows["agree"].to_pylist() == [True, True]
    assert [[said["expert"] for said in row] for row in rows["answers"].to_pylist()] == [["llm", "other"], ["other"]]
    assert rows.schema.field("answers").type == ANSWERS
    with pytest.raises(ConfigError) as error:
        answered(["0"], ["1"], share=1.0, reference="nobody")
    assert str(error.value) == "Unknown reference of the audit 'nobody'. Known: llm."


def test_the_audited_are_drawn_by_their_ids_at_the_share_that_was_said():
    n, share = 4000, 0.05
    rows, _ = answered(["0"] * n, ["1"] * n, share=share)
    drawn = rows["audit"].to_numpy()
    assert binom.ppf(0.0005, n, share) <= drawn.sum() <= binom.ppf(0.9995, n, share)
    assert abs(drawn[: n // 2].mean() - drawn[n // 2 :].mean()) < 0.03
    some, _ = answered(["0"] * 100, ["1"] * 100, share=share)
    assert some["audit"].to_pylist() == drawn[:100].tolist()


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_cannot_be_meant_is_refused(share):
    with pytest.raises(ConfigError, match=r"An audit of a share of .* of the rows\. Allowed: from 0 to 1\."):
        Audit("llm", share)


def test_nothing_to_answer_is_no_rows():
    rows, _ = answered([], [], share=1.0)
    assert rows.num_rows == 0


def test_the_log_has_no_texts_unless_asked_for():
    rows, _ = answered(["0"] * 2, ["1"] * 2)
    for classes, texts, hidden in (
        (("0", "1"), False, ["text"]),
        ((), False, ["text", "answer", "small_answer"]),
        ((), True, []),
    ):
        kept = loggable(rows, classes, texts)
        assert "answers" not in kept.column_names
        said = ["text", "answer", "small_answer"]
        assert [name for name in said if kept[name].null_count == 2] == hidden
        assert kept["id"].equals(rows["id"])
    kept = loggable(rows, ("0", "1"), False, lambda names: [f"not {name}" for name in names])
    assert kept["id"].to_pylist() == [f"not {name}" for name in rows["id"].to_pylist()]


@pytest.fixture(scope="module")
def summarisers(tmp_path_factory):
    return ranker(vectors_in(tmp_path_factory.mktemp("vectors")))


def test_summaries_agree_where_they_are_as_alike_as_was_said(summarisers):
    rows = news(40, 4)
    board = panel(rows, summarisers, blind=True)
    alike = likeness(board.copy(), SMALL, EXPENSIVE, np.arange(len(board)))
    assert not np.isnan(alike).any() and 0 < alike.mean() < 1
    policy = ByScore(PAIR, {text: 1 - i / 40 for i, text in enumerate(rows["text"].to_pylist())})
    bar = float(np.median(alike))
    found = answer(policy, board.copy(), Budget(share=0.25), Audit(EXPENSIVE, 1.0, bar), **ABOUT)
    assert found["agree"].to_pylist() == (alike >= bar).tolist()
    assert found["answer"][0].as_py() == board.ask(EXPENSIVE).table["text"][0].as_py()
    assert found["answer"][39].as_py() == found["small_answer"][39].as_py()
    unknown = answer(policy, board.copy(), Budget(share=0.25), Audit(EXPENSIVE, 1.0), **ABOUT)
    assert unknown["agree"].null_count == 40


def test_a_faulty_summary_is_an_error_and_not_an_answer(summarisers):
    rows = news(2, 4, odd=("word " * 40,))

    class Repeats:
        """Says the document's first word over and over."""

        def answer(self, examples):
            table = summarisers.answer(examples)
            at = table.schema.get_field_index("text")
            return table.set_column(at, table.schema.field(at), [["blah " * 20] * examples.num_rows])

    checked = CheckedSummaries(Repeats()).answer(rows)
    assert checked["error"].to_pylist() == ["repeated token loop"] * 3
    assert CheckedSummaries(summarisers).answer(EMPTY).num_rows == 0
