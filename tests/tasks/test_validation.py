"""The suites over prepared examples and predictions: what they let pass, what they stop, what their page says."""

import json

import pytest

from askless import schema
from askless.errors import DataError
from tasks.validation import validate_examples, validate_predictions
from tests.document_params import TASK, document_params
from tests.helpers import examples as table_of
from tests.helpers import ids, predictions
from tests.pipeline import LLM, small_params, write_params

ROWS = 200


def checked(tmp_path, table, last=None, last_from="here", task="olhs", summary=None, **checks):
    """The report's page after `validate_examples`."""
    settings = document_params(checks={"rows_min": 100, **checks}) if task == TASK else small_params(checks=checks)
    params = write_params(tmp_path, settings)
    good = tmp_path / "good.parquet"
    for path, content, source in ((tmp_path / "candidate.parquet", table, "here"), (good, last, last_from)):
        if content is not None:
            schema.write(content, path, "examples")
            path.with_suffix(".json").write_text(json.dumps({"made_from": source, **(summary or {})}))
    report = tmp_path / "checks" / "examples.html"
    try:
        validate_examples.fn(task, params, str(tmp_path / "candidate.parquet"), str(good), str(tmp_path / "checks"))
    finally:
        assert list(report.parent.iterdir()) == [report]
    return report.read_text(encoding="utf-8")


def balanced(rows=ROWS, ones=0.5, **columns):
    labels = ["1" if i < rows * ones else "0" for i in range(rows)]
    return table_of(labels, split=[schema.SPLITS[i % 3] for i in range(rows)], **columns)


def test_good_examples_pass_and_the_page_lists_what_held(tmp_path):
    page = checked(tmp_path, balanced(), last=balanced())
    assert "All expectations hold." in page
    assert f"{ROWS} rows" in page
    assert "FAILS" not in page
    assert page.count("<td>holds</td>") >= 10
    assert "http" not in page


def test_another_source_is_no_drift(tmp_path):
    assert "All expectations hold." in checked(tmp_path, balanced(), last=balanced(2 * ROWS), last_from="elsewhere")


FAULTS = {
    "half the rows": ({"table": balanced(), "last": balanced(2 * ROWS)}, "table row count to be between"),
    "twice the rows": ({"table": balanced(), "last": balanced(ROWS // 2)}, "table row count to be between"),
    "too few rows": ({"table": balanced(), "rows_min": ROWS + 1}, "table row count to be between"),
    "a class nearly gone": ({"table": balanced(ones=0.02)}, "column mean to be between (is_1)"),
    "another balance": ({"table": balanced(ones=0.7), "last": balanced()}, "column mean to be between (is_0)"),
    "a text too long": (
        {"table": balanced(text=["x" * 3000] + ["post"] * (ROWS - 1))},
        "column value lengths to be between (text)",
    ),
    "a missing label": (
        {"table": table_of([None] + ["0", "1"] * 99, split=["train", "valid", "test"] * 66 + ["test"])},
        "column values to not be null (label)",
    ),
    "no test split": (
        {"table": table_of(["0", "1"] * 100, split=["train", "valid"] * 100)},
        "column distinct values to equal set (split)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_the_message_and_on_the_page(tmp_path, fault):
    given, named = FAULTS[fault]
    with pytest.raises(DataError) as caught:
        checked(tmp_path, **given)
    assert named in caught.value.got
    assert str(tmp_path / "checks" / "examples.html") in str(caught.value)
    page = (tmp_path / "checks" / "examples.html").read_text(encoding="utf-8")
    failed = [row for row in page.split("<tr ") if row.startswith("class='bad'")]
    assert any(named in row for row in failed)
    assert f"{len(failed)} of " in page


def documents(rows=ROWS, **columns):
    given = {"reference": ["a summary"] * rows, "split": [schema.SPLITS[i % 3] for i in range(rows)]}
    return table_of([None] * rows, **given | columns)


def test_good_documents_pass_and_nothing_is_asked_of_labels(tmp_path):
    page = checked(tmp_path, documents(), last=documents(), task=TASK)
    assert "All expectations hold." in page
    assert "(reference)" in page and "(label)" not in page and "is_" not in page
    assert "Left out" not in page


def test_what_prepare_left_out_is_told(tmp_path):
    summary = {"raw_rows": 207, "empty_dropped": 4, "too_long_dropped": 3, "duplicates_dropped": 0}
    summary |= {"conflicting_references": 2, "tied_references": 1}
    page = checked(tmp_path, documents(), task=TASK, summary=summary)
    assert (
        "Left out of 207 raw rows: 4 empty, 3 too long. Texts with several references: 2; the one that most rows have "
        "stays.</p>" in page
    )


DOCUMENT_FAULTS = {
    "half the rows": ({"table": documents(), "last": documents(2 * ROWS)}, "table row count to be between"),
    "a document too long": (
        {"table": documents(text=["word " * 100_000] + ["post"] * (ROWS - 1))},
        "column value lengths to be between (text)",
    ),
    "a missing reference": (
        {"table": documents(reference=[None] + ["a summary"] * (ROWS - 1))},
        "column values to not be null (reference)",
    ),
    "an empty reference": (
        {"table": documents(reference=[""] + ["a summary"] * (ROWS - 1))},
        "column value lengths to be between (reference)",
    ),
    "a reference too long": (
        {"table": documents(reference=["x" * 21] + ["a summary"] * (ROWS - 1)), "summary_chars_max": 20},
        "column value lengths to be between (reference)",
    ),
}


@pytest.mark.parametrize("fault", DOCUMENT_FAULTS)
def test_a_fault_of_documents_is_named(tmp_path, fault):
    given, named = DOCUMENT_FAULTS[fault]
    with pytest.raises(DataError) as caught:
        checked(tmp_path, task=TASK, **given)
    assert caught.value.got.startswith(f"{named}: ")


def answered(tmp_path, table, task="olhs"):
    params = write_params(tmp_path, document_params() if task == TASK else small_params())
    schema.write(table, tmp_path / "candidate.parquet", "predictions")
    validate_predictions.fn(task, LLM, params, str(tmp_path / "candidate.parquet"), str(tmp_path / "checks"))
    return (tmp_path / "checks" / f"{LLM}.html").read_text(encoding="utf-8")


def test_some_unparsed_answers_pass_too_many_do_not(tmp_path):
    assert "All expectations hold." in answered(tmp_path, predictions(["0"] * 85 + [None] * 15))
    table = predictions(["0"] * 75 + [None] * 25, text=[""] * 75 + ["I cannot\nsay"] * 15 + ["Hm"] * 10)
    with pytest.raises(DataError) as error:
        answered(tmp_path, table)
    assert error.value.got == (
        "25 of 100 answers are of no use (0.25), 25 of them for this reason: silent. Replies were 'I cannot say', 'Hm'."
    )
    assert error.value.allowed == "a share of 0.2 at most"
    assert "FAILS" in (tmp_path / "checks" / f"{LLM}.html").read_text(encoding="utf-8")


def test_negative_seconds_and_a_mass_above_1_are_stopped(tmp_path):
    labels = ["0", "1"] * 10
    with pytest.raises(DataError, match=r"\(mass\): 1 of 20 rows"):
        answered(tmp_path, predictions(labels, mass=[1.5] + [0.9] * 19))
    with pytest.raises(DataError, match="seconds"):
        answered(tmp_path, predictions(labels, seconds=[-1.0] + [0.1] * 19))


def summaries(rows=20, meta=None, **columns):
    """Predictions that are summaries; the first values of a column as given, the rest good."""
    good = {"text": "a summary", "error": None, "quality": 0.5, "logprob": -0.2, "seconds": 0.1}
    full = {
        name: [*columns.get(name, []), *[value] * (rows - len(columns.get(name, [])))] for name, value in good.items()
    }
    return schema.table(
        "predictions", {"id": ids(rows), "expert": [LLM] * rows, **full}, {"classes": [], **(meta or {})}
    )


def test_some_empty_and_looping_summaries_pass_too_many_do_not(tmp_path):
    some = {"text": ["", "  ", "so so so so", None], "error": [None, None, "loop", "no answer"]}
    page = answered(tmp_path, summaries(quality=[None, 0.0, None, None], **some), TASK)
    assert "All expectations hold. Answers with an error: 1 loop, 1 no answer.<" in page
    assert "(quality)" in page and "(label)" not in page
    with pytest.raises(DataError, match=r"5 of 20 answers are of no use \(0\.25\), 3 of them .*: an empty reply\."):
        answered(tmp_path, summaries(text=["", "", ""], error=[None] * 3 + ["loop"] * 2), TASK)


SUMMARY_FAULTS = {
    "quality above 1": ({"quality": [1.5]}, r"\(quality\): 1 of 20 rows"),
    "quality below 0": ({"quality": [-0.5]}, r"\(quality\): 1 of 20 rows"),
    "no quality": ({"quality": [None]}, r"\(without_quality\): 0\.05"),
    "too long": ({"text": ["x" * 201]}, r"column value lengths to be between \(summary\): 1 of 20 rows"),
    "negative seconds": ({"seconds": [-1.0]}, "seconds"),
}


@pytest.mark.parametrize("fault", SUMMARY_FAULTS)
def test_a_fault_of_summaries_is_named(tmp_path, fault):
    columns, named = SUMMARY_FAULTS[fault]
    with pytest.raises(DataError, match=named):
        answered(tmp_path, summaries(**columns), TASK)


def test_a_long_loop_is_no_summary_and_its_length_does_not_count(tmp_path):
    page = answered(tmp_path, summaries(text=["so " * 100], error=["loop"], quality=[None]), TASK)
    assert "All expectations hold." in page


def test_recorded_answers_that_were_left_out_are_told(tmp_path):
    page = answered(tmp_path, summaries(meta={"unmatched": 3, "repeated": 1}), TASK)
    told = "3 to texts that are no example&#x27;s, 1 to a text that was answered before."
    assert f"All expectations hold. Left out of the recorded answers: {told}</p>" in page
    assert "Left out" not in answered(tmp_path, summaries(), TASK)


def test_texts_that_were_cut_are_told(tmp_path):
    page = answered(tmp_path, summaries(meta={"truncated": 2}), TASK)
    assert "All expectations hold. Texts that were too long and lost their end: 2.</p>" in page
    assert "lost their end" not in answered(tmp_path, summaries(meta={"truncated": 0}), TASK)
