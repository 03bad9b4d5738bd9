"""`askless forget`: an item leaves everything that a run of `label` and its project kept."""

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from askless.cli import app
from askless.data.prepare import ids
from askless.errors import AsklessError
from askless.monitoring.decision_log import DecisionLog
from tests.labelling.label_data import read_rows, write_items
from tests.pipeline import working_in
from tests.production_data import texts
from tests.registry_data import LLM

WHO = "Theodora Quillfeather. A long text. " + "x" * 190


@pytest.fixture
def here(place, tmp_path):
    """A folder in which texts were labelled, with a log of decisions."""
    folder, bundle, server = place
    (tmp_path / "params.yaml").write_text((folder / "params.yaml").read_text())
    with working_in(tmp_path):
        write_items(tmp_path / "in.jsonl", [*texts(10), WHO])
        label("out.jsonl", "--log", "log", bundle=bundle)
        server.requests.clear()
        yield tmp_path, bundle, server


def label(out, *words, bundle):
    done = CliRunner().invoke(app, ["label", "in.jsonl", "--model", str(bundle), "-o", out, *words])
    assert done.exit_code == 0, (done.output, done.exception)


def run(*words, **options):
    done = CliRunner().invoke(app, ["forget", *(str(word) for word in words)], **options)
    if isinstance(done.exception, AsklessError):
        return " ".join(str(done.exception).split())
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.mark.parametrize("by", ["id", "text"])
def test_an_item_leaves_every_file_and_the_others_stay(here, by):
    folder, bundle, server = here
    (folder / "report.html").write_text(f"<p>{WHO}</p>")
    named = ("--id", "own-10") if by == "id" else ("--text", "-")
    dry = run("log", "out.jsonl", "in.jsonl", "report.html", *named, "--dry-run", input=WHO)
    assert len(read_rows(folder / "out.jsonl")) == 11 and dry.stdout.startswith("Would remove 1 rows: log")
    done = run("log", "out.jsonl", "in.jsonl", "report.html", *named, "--json", input=WHO)
    files = json.loads(done.stdout)["files"]
    names = {"out.jsonl", "in.jsonl", "report.html", f"{LLM}.sqlite", "ledger.sqlite", "00000000.parquet"}
    assert names < {each["path"].rpartition("/")[2] for each in files} and len(files) == 7
    assert dry.stdout.count("Would remove") == 7
    assert [row["id"] for row in read_rows(folder / "out.jsonl")] == [f"own-{n}" for n in range(10)]
    assert ids("olhs", [WHO])[0] not in DecisionLog(folder / "log").read()["id"].to_pylist()
    assert DecisionLog(folder / "log").read().num_rows == 10
    for path in (path for path in folder.rglob("*") if path.is_file()):
        inside = path.read_bytes()
        if path.suffix == ".parquet":
            inside += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        assert b"Quillfeather" not in inside and ids("olhs", [WHO])[0].encode() not in inside, path
    write_items(folder / "in.jsonl", [*texts(10), WHO])
    label("again.jsonl", "--answers", "out.jsonl.run/answers", bundle=bundle)
    assert server.asked() == [request for request in server.asked() if "Quillfeather" in request] != []


def test_what_other_programs_hold_is_listed(here):
    (here[0] / ".dvc").mkdir()
    (here[0] / ".dvc/config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = s3://b\n")
    (here[0] / "mlruns").mkdir()
    told = run("log", "--id", "none").stderr
    assert "`dvc gc --workspace`, then `dvc gc --workspace --cloud --remote store`" in told
    assert "`mlflow gc`" in told and "No row has a text beside this id" in told


def test_what_cannot_be_meant_is_refused(here):
    assert "Say what to forget" in run("log") and "Say what to forget" in run("log", "--id", "a", "--older-than", "9d")
    assert "--older-than got '3 weeks'. Allowed: whole days" in run("log", "--older-than", "3 weeks")
    assert "--text got an empty text" in run("log", "--text", " ")
    assert "Nothing was found." in run("log", "--older-than", "90d").stdout
    (here[0] / "params.yaml").unlink()
    assert "No params.yaml" in run("log", "--text", "x").stderr


def test_answers_of_other_options_are_not_known_and_that_is_told(here):
    text = (here[0] / "params.yaml").read_text()
    assert "backend: openai" in text
    (here[0] / "params.yaml").write_text(text.replace("backend: openai", "backend: openai\n    max_tokens: 17"))
    done = run("out.jsonl", "--text", WHO)
    told = done.stderr
    assert f"{LLM}.sqlite" not in done.stdout and "by the options that experts have today" in told
