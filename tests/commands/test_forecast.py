"""`askless forecast`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from askless import schema
from askless.cli import app
from askless.data.demo.posts import posts
from askless.experts.answer_store import AnswerStore
from tests.experts.chat_server import Answer, ChatServer, chat
from tests.experts.tiny_models import examples
from tests.pipeline import small_params, write_params

PROGRAM = str(Path(sys.executable).with_name("askless"))


@pytest.fixture
def server():
    running = ChatServer()
    running.reply = lambda request, before: Answer(chat("1", prompt_tokens=len(request.text) // 4))
    yield running
    running.close()


@pytest.fixture
def place(tmp_path, monkeypatch, server):
    """A project with 150 prepared posts, the smallest demo LLM and a server, in which to run."""
    params = small_params()
    params["experts"]["far"] = {"backend": "openai", "model": "m", "base_url": server.url}
    params["costs"]["prices"]["far"] = {"usd_per_1m_prompt_tokens": 10.0, "usd_per_1m_completion_tokens": 20.0}
    params["experts"]["demo-xs"]["batch_size"] = 8
    write_params(tmp_path, params)
    texts = list(dict.fromkeys(row["text"] for row in posts(150, 5)))
    schema.write(examples(texts), tmp_path / "data/prepared/olhs/examples.parquet", "examples")
    monkeypatch.chdir(tmp_path)
    return len(texts)


def run(*words, code=0):
    done = CliRunner().invoke(app, ["forecast", *map(str, words)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def told(*words):
    return json.loads(run("--task", "olhs", *words, "--json").stdout)


def test_a_model_that_runs_here_is_timed_on_items_that_are_kept(place):
    done = run("--task", "olhs", "--experts", "demo-xs")
    assert done.stderr.startswith("demo-xs: 64 items are asked first; their answers are kept.\n")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["demo-xs", "on", "olhs", "estimate", "95", "%", "interval"]
    assert lines[1] == ["calls", str(place - 64), "exact"]
    assert lines[2][-1] == lines[3][-1] == lines[5][-1] == "exact"
    assert lines[4][0] == "time" and "–" in lines[4]
    assert (
        lines[6]
        == (
            "Prompt tokens counted, completion tokens counted, seconds learnt from 8 batches. 64 answers are kept "
            "already and free."
        ).split()
    )
    with AnswerStore("data/answers/olhs/demo-xs.sqlite") as store:
        assert len(store) == 64
    again = run("--task", "olhs", "--experts", "demo-xs")
    assert (again.stdout, again.stderr) == (done.stdout, ""), "it is timed, so that nothing more is asked"


def test_the_bill_afterwards_is_the_one_that_was_forecast(place):
    before = told("--experts", "demo-xs", "--sample", 0)["experts"][0]
    assert before["seconds"] == {"value": None, "low": None, "high": None}
    assert not Path("data/answers").exists()
    run("--task", "olhs", "--experts", "demo-xs", "--sample", 10_000)
    after = told("--experts", "demo-xs")["experts"][0]
    assert (after["calls"]["value"], after["kept"]) == (0, place)
    with AnswerStore("data/answers/olhs/demo-xs.sqlite") as store:
        rows = [json.loads(row) for (row,) in store._db.execute("SELECT row FROM answers")]
    for name in ("prompt_tokens", "completion_tokens"):
        assert before[name]["low"] == before[name]["high"] == sum(row[name] for row in rows)
    done = run("--task", "olhs", "--experts", "demo-xs")
    assert done.stdout.startswith(f"demo-xs on olhs: nothing to ask, {place} answers are kept already and free.")


def test_a_server_is_asked_nothing_unless_a_sample_is_wanted(place, server):
    blind = told("--experts", "far")["experts"][0]
    assert server.requests == []
    assert (blind["completion_tokens"]["low"], blind["completion_tokens"]["high"]) == (0.0, 16 * place)
    assert 0 < blind["usd"]["low"] < blind["usd"]["value"] < blind["usd"]["high"]
    done = run("--task", "olhs", "--experts", "far", "--sample", 30)
    assert len(server.requests) == 30
    assert done.stderr.startswith("far: 30 items are asked first ($")
    got = told("--experts", "far")["experts"][0]
    assert got["kept"] == 30
    assert 0 < got["usd"]["low"] <= got["usd"]["value"] <= got["usd"]["high"] < blind["usd"]["high"]
    assert "prompt tokens learnt from 30 answers" in got["basis"].lower()
    run("--task", "olhs", "--experts", "far", "--sample", 10_000)
    # Posts ask for as many tokens as a quarter of their characters, so the line is right and its interval narrow.
    rows = [len(request.text) // 4 for request in server.requests]
    assert got["prompt_tokens"]["low"] - 1 <= sum(rows[30:]) <= got["prompt_tokens"]["high"] + 1


def test_what_batches_would_cost_is_forecast_beside(place):
    settings = yaml.safe_load(Path("params.yaml").read_text())
    half = {"usd_per_1m_prompt_tokens": 5.0, "usd_per_1m_completion_tokens": 10.0}
    settings["costs"]["prices"]["far"]["batch"] = half
    write_params(Path(), settings)
    live = told("--experts", "far")["experts"][0]
    assert live["batch_usd"]["high"] == pytest.approx(live["usd"]["high"] / 2)
    assert "dollars by batches" in run("--task", "olhs", "--experts", "far").stdout
    settings["experts"]["far"]["mode"] = "batch"
    write_params(Path(), settings)
    batch = told("--experts", "far")["experts"][0]
    assert (batch["usd"], batch["batch_usd"]) == (live["batch_usd"], None)


def test_experts_are_those_of_the_pipeline_and_add_up(place):
    one = told("--sample", 0)
    assert [each["expert"] for each in one["experts"]] == ["demo-xs"]
    both = told("--experts", "demo-xs, far", "--sample", 0)
    assert both["usd"]["value"] == pytest.approx(sum(each["usd"]["value"] for each in both["experts"]))
    done = run("--task", "olhs", "--experts", "demo-xs,far", "--sample", 0)
    assert done.stdout.splitlines()[-1].startswith("Together $")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "olsh"], "Unknown task 'olsh'. Known: olhs. Did you mean 'olhs'?"),
        (["--task", "olhs", "--experts", "demo-xx"], "Unknown expert 'demo-xx'."),
        (["--task", "olhs", "--experts", "linear"], "Expert 'linear' of backend linear is not asked for its answers."),
        (["--task", "olhs", "--confidence", "95"], "A forecast with confidence 95. Allowed: above 0.5 and below 1."),
        (["--task", "olhs", "--params", "none.yaml"], "none.yaml: no such file."),
        (["--task", "olhs", "--data", "none"], "none/prepared/olhs/examples.parquet: no such file."),
    ],
)
def test_bad_input_is_one_paragraph_and_nothing_is_asked(place, words, said):
    done = CliRunner().invoke(app, ["forecast", *words])
    assert done.exit_code == 1
    assert str(done.exception).startswith(said)
    assert not Path("data/answers").exists()


def test_as_a_program_an_error_is_one_line(tmp_path):
    done = subprocess.run([PROGRAM, "forecast", "--task", "olhs"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: params.yaml: no such file.")


@pytest.mark.parametrize("width", [80, 120])
def test_help_has_an_example_and_fits_its_terminal(width):
    done = CliRunner().invoke(app, ["forecast", "--help"], env={"COLUMNS": str(width), "TERMINAL_WIDTH": str(width)})
    assert "Example: askless forecast " in " ".join(done.output.split())
    assert max(map(len, done.output.splitlines())) <= width
