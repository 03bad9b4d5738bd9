"""What docs/recorded.md says can be done, done."""

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from askless.cli import app
from tests.commands import answer_files
from tests.experts.chat_server import Answer, ChatServer, chat
from tests.pipeline import working_in

TEXTS = ("is it early?", "is it late?")
PAGE = (Path(__file__).parents[1] / "docs" / "recorded.md").read_text("utf-8")


def blocks(kind):
    """(title, body) of each block of a kind."""
    found = re.findall(r"^```(\w*)(?: title=\"(\S+)\")?\n(.*?)^```$", PAGE, re.M | re.S)
    return [(name, body) for language, name, body in found if language == kind]


def commands():
    told = [line for _, body in blocks("") for line in body.splitlines()]
    return [shlex.split(line)[1:] for line in told + re.findall(r"`(askless [^`]+)`", PAGE)]


@pytest.fixture
def folder(tmp_path):
    for name, body in (*blocks("csv"), *blocks("yaml"), *blocks("text")):
        (tmp_path / name).write_text(body)
    with working_in(tmp_path):
        yield tmp_path


def run(words):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done


def test_the_page_names_these_commands():
    road = ["import", "evaluate", "plan", "explain", "plan", "label", "label"]
    assert [words[0] for words in commands()][:7] == road


def test_the_import_of_the_page(folder):
    done = run(commands()[0])
    table = pq.read_table("answers.parquet")
    assert table.num_rows == 6
    assert "Note: 2 labels of 'mini' in another spelling: read as the class meant." in done.stderr
    assert table["label"].null_count == 0


def test_the_python_of_the_page(folder):
    ((_, code),) = blocks("python")
    said = {}
    exec(compile(code, "recorded.md", "exec"), said)
    assert said["study"].experts == ("mini", "large")


def test_the_other_commands_on_more_items(folder):
    answer_files.write(folder)
    for words in commands()[1:4]:
        files = ["--answers", "small.parquet", "--answers", "large.parquet"]
        at = words.index("--answers")
        words = [*words[:at], *files, *words[at + 2 :]]
        words = [{"17": "q17", "items.csv": "items.parquet"}.get(word, word) for word in words]
        run([*words, "--bootstrap", "40", "--policy", "two_tier"] if words[0] == "evaluate" else words)
    assert (folder / "plan.yaml").is_file()
    assert (folder / "out" / "report.html").is_file()


def test_new_texts_are_labelled_by_a_plan(folder, monkeypatch):
    answer_files.write(folder)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    server = ChatServer()
    server.reply = lambda request, before: Answer(chat("A"))
    here = {"items.csv": "items.parquet", "answers.parquet": "large.parquet"}
    here["large=gpt-4o-mini"] = f"large=m@{server.url}"
    for words in commands()[4:7]:
        run([here.get(word, word) for word in words])
    server.close()
    rows = (folder / "out.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows[1:]] == [[str(n), text, "A"] for n, text in enumerate(TEXTS, 1)]
    assert {request.text for request in server.requests} == {
        f"Answer yes or no and nothing else.\n\n{t}" for t in TEXTS
    }
