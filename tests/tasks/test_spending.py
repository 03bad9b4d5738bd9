"""What is said, and asked, before an LLM's answers are paid for."""

from __future__ import annotations

import io
import math
import sys

import pytest

from askless import schema
from askless.data.demo.posts import posts
from askless.errors import BudgetError, ConfigError, DataError
from askless.experts.answer_store import AnswerStore
from askless.report.forecast_words import reason
from askless.spending.forecast import Forecast, Range
from flows import stage
from tasks.spending import forecast_spending
from tests.experts.tiny_models import examples
from tests.pipeline import LLM, small_params, write_params

NOTHING = Range(math.nan, math.nan, math.nan)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("spending") / "examples.parquet"
    schema.write(examples(list(dict.fromkeys(row["text"] for row in posts(80, 5)))), path, "examples")
    return path


@pytest.fixture
def spend(texts, tmp_path, monkeypatch):
    """The task, under a limit in dollars and other changes of the small parameters; standard input is no terminal."""
    monkeypatch.delenv("ASKLESS_YES", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    def run(limit, llm=LLM, yes=False, **about):
        settings = small_params()
        settings["generate"]["ask_above_usd"] = limit
        settings["experts"] |= about
        params = write_params(tmp_path, settings)
        forecast_spending.fn("olhs", llm, params, str(texts), str(tmp_path / "answers"), yes)

    return run


def test_answers_that_a_change_made_worthless_are_counted(spend, tmp_path, capsys):
    with AnswerStore(tmp_path / "answers" / f"{LLM}.sqlite") as store:
        store.put_many({"of another prompt": {}, "of another model": {}})
    spend(5.0)
    assert "2 kept answers are to another prompt, other options or other texts" in capsys.readouterr().err


def test_the_forecast_is_printed_and_below_the_limit_nobody_is_asked(spend, tmp_path, capsys):
    spend(5.0)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"{LLM} on olhs ")
    assert "prompt tokens" in said.err and "Go on?" not in said.err
    assert not (tmp_path / "answers").exists()


def test_beyond_it_a_run_that_nobody_watches_stops(spend):
    with pytest.raises(BudgetError) as error:
        spend(0.0)
    said = str(error.value)
    assert said.startswith("The forecast is $")
    assert f"answers of {LLM}, and the limit (generate.ask_above_usd) $0. Nothing was asked. Allow it by " in said
    assert f"`python -m flows.generate olhs {LLM} --yes`, by a higher limit in " in said


def test_a_person_may_allow_it(spend, capsys):
    spend(0.0, yes=True)
    assert "Go on?" not in capsys.readouterr().err


def test_a_server_without_a_price_is_not_asked_unseen(spend):
    far = {"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    with pytest.raises(BudgetError, match=r"not known: its price is missing \(tasks.olhs.llms.far.price, or costs"):
        spend(5.0, llm="far", far=far)


def test_an_expert_that_is_not_paid_has_no_forecast(spend, capsys):
    spend(0.0, llm="majority")
    assert capsys.readouterr().err == ""


def test_what_is_unknown_is_one_error(spend, texts, tmp_path):
    with pytest.raises(ConfigError, match="Unknown expert 'demo-xxs'"):
        spend(5.0, llm="demo-xxs")
    with pytest.raises(ConfigError, match="generate.ask_above_usd: Input should be greater than or equal to 0"):
        spend(-1.0)
    params = write_params(tmp_path, small_params())
    with pytest.raises(DataError, match="no such file"):
        forecast_spending.fn("olhs", LLM, params, str(tmp_path / "none.parquet"), str(tmp_path))


@pytest.mark.parametrize(
    ("usd", "calls", "hosted", "asks"),
    [
        (Range(4.0, 3.0, 5.0), 9, True, False),
        (Range(4.0, 3.0, 5.1), 9, True, True),
        (Range(math.nan, math.nan, math.nan), 9, True, True),
        (Range(math.nan, math.nan, math.nan), 9, False, False),
        (Range(0.0, 0.0, 0.0), 0, True, False),
    ],
)
def test_the_upper_end_decides(usd, calls, hosted, asks):
    found = Forecast("e", Range(calls, calls, calls), NOTHING, NOTHING, NOTHING, usd, 0, 0.95, "")
    assert bool(reason(found, "olhs", hosted, 5.0)) == asks


def test_a_flag_of_a_stage_is_handed_on(monkeypatch):
    got = []

    def flow(**arguments):
        got.append(arguments)

    for words in (["a"], ["a", "--yes"]):
        monkeypatch.setattr(sys, "argv", ["generate", *words])
        stage.run_stage(flow, ["task"], yes="do it")
    assert got == [
        {"task": "a", "params": "params.yaml", "yes": False},
        {"task": "a", "params": "params.yaml", "yes": True},
    ]
