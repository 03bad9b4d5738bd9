"""`askless init` and `askless try`: from a stranger's file to ten answers of an LLM."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from askless import config
from askless.cli import app
from askless.data import readers
from askless.errors import BudgetError, ConfigError, DataError
from askless.experts import paid
from tests.experts.chat_server import Answer, chat
from tests.pipeline import committed_params, write_params

CLASSES = ["Abo kündigen", "no", "technische Störung"]
ROWS = [(f"Nachricht {i}", CLASSES[min(i % 4, 2)]) for i in range(80)]


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file with semicolons, names of its own and classes with blanks."""
    monkeypatch.chdir(tmp_path)
    lines = ["Nr;Nachricht;Thema", *(f"{i};{text};{label}" for i, (text, label) in enumerate(ROWS))]
    (tmp_path / "mail 1.csv").write_text("\n".join(lines), encoding="utf-8")
    return "mail 1.csv"


COLUMNS = ("--text", "Nachricht", "--label", "Thema", "--llm", "gpt-4o-mini")


def test_a_file_becomes_one_section_that_loads_and_reads_it(file, tmp_path):
    write_params(tmp_path, committed_params())
    before = (tmp_path / "params.yaml").read_bytes()
    done = run("init", file, *COLUMNS, "--question", "Worum geht es?")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "examples/demo.yaml").read_bytes() == before
    params = config.load()
    task = params.task("mail-1")
    assert (task.classes, task.positive, params.llms("mail-1")) == (tuple(CLASSES), CLASSES[0], ("gpt-4o-mini",))
    assert (task.checks.rows_min, task.checks.minority_share_min) == (64, 0.125)
    assert params.costs.prices["gpt-4o-mini"].usd_per_1m_prompt_tokens == 0.15
    assert params.prompts["mail-1"].question == "Worum geht es?"
    raw = readers.read(task.source, tmp_path / file)
    assert list(zip(raw["text"].to_pylist(), raw["label"].to_pylist(), strict=True)) == ROWS
    again = run("init", file, *COLUMNS)
    assert str(again.exception) == "params.yaml has a task 'mail-1'. Allowed: a new name. Give another by --name."


def test_a_second_task_is_added_to_a_persons_own_and_is_not_billed_with_the_first(file, tmp_path):
    run("init", file, *COLUMNS)
    first = (tmp_path / "params.yaml").read_text() + "# mine\n"
    (tmp_path / "params.yaml").write_text(first)
    done = run("init", file, *COLUMNS[:-1], "own", "--price", "1,1", "--name", "second")
    assert done.exit_code == 0, done.output
    params = config.load()
    assert (params.base.tasks, params.base.llms) == (("mail-1", "second"), ("gpt-4o-mini", "own"))
    assert [params.llms(task) for task in params.tasks] == [("own",), ("gpt-4o-mini",)]
    lines = (tmp_path / "params.yaml").read_text().splitlines()
    assert [line for line in first.splitlines() if line not in lines] == [
        "  tasks: [mail-1]",
        "  llms: [gpt-4o-mini]  # all that any task asks",
    ]
    bare = first.replace("    llms:\n", "    note:\n", 1)
    (tmp_path / "params.yaml").write_text(re.sub(r"(?s)    note:\n.*?    small", "    small", bare))
    refused = run("init", file, *COLUMNS[:-1], "own", "--price", "1,1", "--name", "second")
    assert isinstance(refused.exception, ConfigError)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a,b\nx,y\nz,w", (), "which column holds the texts? Allowed: one of a, b. Give --text COLUMN."),
        ("text,label\nx,y\nz,y", (), "1 different values in 'label'. Allowed: 2 to 100 classes."),
        (
            "text,label\nx,y\nz,\nw,v",
            (),
            "no label in row 2 (1 rows in all). Allowed: a class in each cell of 'label'.",
        ),
        (
            "text,label\nx,0\nz,1",
            (),
            'classes 0, 1 tell an LLM nothing. Say what each is: --describe "0=..." --describe',
        ),
        ("text,label\nx,a\nz,b", ("--price", "3"), "--price got '3'. Allowed: dollars for a million"),
        ("text,label\nx,a\nz,b", ("--price", "-1,2"), "--price got '-1,2'. Allowed: dollars for a million"),
        ("text,label\nx,a\nz,b", ("--label", "lable"), "no column 'lable'. Allowed: one of text, label."),
    ],
)
def test_what_cannot_be_known_is_told_with_the_option_that_says_it(tmp_path, monkeypatch, content, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail.csv").write_text(content)
    done = run("init", "mail.csv", "--llm", "m", *options)
    assert isinstance(done.exception, ConfigError | DataError)
    assert message in str(done.exception)
    assert not (tmp_path / "params.yaml").exists()


def test_ten_items_show_prompt_replies_and_cost_and_are_paid_for_once(file, server, monkeypatch):
    monkeypatch.setattr(paid, "PROGRESS_DELAY_S", 0)
    server.reply = lambda request, before: Answer(chat("NO" if "1" in request.text else "Maybe no, maybe not"))
    run("init", file, *COLUMNS, "--base-url", server.url, "--price", "1,1", "--question", "Worum geht es?")
    done = run("try", "mail-1", "--rows", "6")
    assert done.exit_code == 0, done.output
    shown = done.stdout
    assert "  | Worum geht es?" in shown and "it/s" not in done.stderr and " answers" not in done.stderr
    assert shown.count("  reply  ") == len(server.requests) == 6
    # Classes in turn, from train alone.
    assert [shown.count(f"gold {name}") for name in CLASSES] == [2, 2, 2]
    assert shown.count("  read   no   gold no\n") + shown.count("NOT READ: unparsable reply") >= 1
    assert "66 tokens read, 6 written: 7.2e-05 usd; 0 of these answers were kept from before." in shown
    assert "6 of these answers were kept" in run("try", "mail-1", "--rows", "6").stdout
    assert len(server.requests) == 6
    assert "no answer says how sure it is; with `confidence: stated` or `samples: 5` it does." in shown


def test_a_server_without_log_probabilities_is_asked_for_a_stated_one(file, server):
    run("init", file, *COLUMNS, "--base-url", "https://api.anthropic.com/v1", "--price", "1,1")
    written = Path("params.yaml").read_text().replace("https://api.anthropic.com/v1", server.url)
    assert "confidence: stated  # Anthropic gives no log-probabilities" in written
    Path("params.yaml").write_text(written)
    server.reply = lambda request, before: Answer(chat('{"label": "no", "probability": 0.8}'))
    assert "  read   no (80% sure)   gold no\n" in run("try", "mail-1", "--rows", "6").stdout


def test_without_a_price_nothing_is_asked_unless_a_person_says_so(file, server, monkeypatch):
    init = run("init", file, *COLUMNS[:-1], "own-model", "--base-url", server.url)
    assert "No price is known of own-model: add it in params.yaml, tasks." in init.output
    refused = run("try", "mail-1", "--rows", "2")
    assert isinstance(refused.exception, BudgetError) and not server.requests
    assert "its price is missing (tasks.mail-1.llms.own-model.price, or" in str(refused.exception)
    assert run("try", "mail-1", "--rows", "2", "--yes").exit_code == 0
    monkeypatch.setenv("ASKLESS_YES", "1")
    assert run("try", "mail-1", "--rows", "3").exit_code == 0
    assert len(server.requests) == 3


def test_a_server_that_does_not_say_what_it_took_is_shown_all_the_same(file, server):
    run("init", file, *COLUMNS, "--base-url", server.url, "--price", "1,1")
    server.reply = lambda request, before: Answer({**chat("no"), "usage": None})
    done = run("try", "mail-1", "--rows", "2")
    assert done.exit_code == 0 and done.stdout.count("  reply  'no'") == 2
    assert "0 tokens read, 0 written: what that costs is not known" in done.stdout
