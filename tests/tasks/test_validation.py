"""The suites over prepared examples and predictions: what they let pass, what they stop, what their page says."""

import json

import pytest

from deferral import schema
from deferral.errors import DataError
from tasks.validation import validate_examples, validate_predictions
from tests.helpers import examples as table_of
from tests.helpers import predictions
from tests.pipeline import LLM, small_params, write_params

ROWS = 200


def checked(tmp_path, table, last=None, last_from="here", **checks):
    """The report's path and page after `validate_examples`."""
    params = write_params(tmp_path, small_params(checks=checks))
    good = tmp_path / "good.parquet"
    for path, content, source in ((tmp_path / "candidate.parquet", table, "here"), (good, last, last_from)):
        if content is not None:
            schema.write(content, path, "examples")
            path.with_suffix(".json").write_text(json.dumps({"made_from": source}))
    report = tmp_path / "checks" / "examples.html"
    try:
        validate_examples.fn("olhs", params, str(tmp_path / "candidate.parquet"), str(good), str(tmp_path / "checks"))
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


def answered(tmp_path, table):
    params = write_params(tmp_path, small_params())
    schema.write(table, tmp_path / "candidate.parquet", "predictions")
    validate_predictions.fn("olhs", LLM, params, str(tmp_path / "candidate.parquet"), str(tmp_path / "checks"))
    return (tmp_path / "checks" / f"{LLM}.html").read_text(encoding="utf-8")


def test_some_unparsed_answers_pass_too_many_do_not(tmp_path):
    assert "All expectations hold." in answered(tmp_path, predictions(["0"] * 85 + [None] * 15))
    with pytest.raises(DataError, match=r"\(unparsed\): 0\.25"):
        answered(tmp_path, predictions(["0"] * 75 + [None] * 25))
    assert "FAILS" in (tmp_path / "checks" / f"{LLM}.html").read_text(encoding="utf-8")


def test_negative_seconds_and_a_mass_above_1_are_stopped(tmp_path):
    labels = ["0", "1"] * 10
    with pytest.raises(DataError, match=r"\(mass\): 1 of 20 rows"):
        answered(tmp_path, predictions(labels, mass=[1.5] + [0.9] * 19))
    with pytest.raises(DataError, match="seconds"):
        answered(tmp_path, predictions(labels, seconds=[-1.0] + [0.1] * 19))
