"""What the README says can be done, done."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from askless import config, experts
from askless.cli import app
from tests.experts.chat_server import Answer, ChatServer, chat
from tests.pipeline import working_in

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return [body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S) if kind == language]


def commands() -> list[str]:
    lines = [line.split("   #")[0].split("  #")[0].strip() for block in blocks("") for line in block.splitlines()]
    return [line for line in lines if line.startswith(("make ", "dvc "))]


def test_it_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 200
    anchors = {
        "#" + re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in re.findall(r"^#+ (.*)", README, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target in anchors or (ROOT / target).exists(), target


@pytest.fixture
def recorded(tmp_path):
    """A folder with the files that the README names, their first rows."""
    (tmp_path / "examples/recorded").mkdir(parents=True)
    for path in (ROOT / "examples/recorded").glob("*.csv"):
        lines = path.read_text("utf-8").splitlines(keepends=True)
        (tmp_path / path.relative_to(ROOT)).write_text("".join(lines[:301]), "utf-8")
    with working_in(tmp_path):
        yield tmp_path


def askless_commands() -> list[list[str]]:
    """The commands of the blocks, in the README's order."""
    lines = [line.split("  #")[0] for block in blocks("") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("askless ")]


BARE, PLAN, *RECORDED = askless_commands()[:5]
PIPELINE, OWN = askless_commands()[5:8], askless_commands()[8:]


def run(words: list[str]) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.stdout


def test_each_command_of_the_blocks_is_run_here():
    named = [[words[0] for words in part] for part in ([BARE], RECORDED, PIPELINE, OWN)]
    assert named == [["annotate"], ["plan", "label", "serve"], ["promote", "label", "serve"], ["init", "try"]]


def test_what_it_says_a_plan_says_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (told,) = blocks("text")
    assert run([*PLAN[:-1], str(tmp_path / "plan.yaml")]).splitlines()[:3] == told.splitlines()


@pytest.fixture
def provider(monkeypatch, tmp_path):
    """A server that says `yes`, for OPENAI_BASE_URL to name; what is agreed to is the test's own."""
    server = ChatServer()
    server.reply = lambda request, before: Answer(chat("yes"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets=None: None)
    yield server
    server.close()


def test_one_llms_recorded_answers_become_labels_of_new_texts(provider, tmp_path, monkeypatch):
    rows = [(f"{('calm', 'angry')[n % 2]} text {n}", ("no", "yes")[n % 2]) for n in range(500)]
    answers = [f"{n},gpt4,{label},40,1,-0.1" for n, (_, label) in enumerate(rows)]
    files = {
        "items.csv": ["id,text,label", *(f"{n},{text},{label}" for n, (text, label) in enumerate(rows))],
        "gpt4.csv": ["id,expert,label,prompt_tokens,completion_tokens,logprob", *answers],
        "new.csv": ["text", "a calm one", "an angry one"],
        "prompt.txt": ["Is it angry? Say yes or no.", "{text}"],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines), "utf-8")
    with working_in(tmp_path):
        run(RECORDED[0])
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        for words in RECORDED[1:]:
            run(words)
    assert len((tmp_path / "labelled.csv").read_text("utf-8").splitlines()) == 3


def test_a_bare_file_is_annotated(provider, tmp_path, monkeypatch):
    (tmp_path / "posts.csv").write_text("\n".join(["post", *(f"post {n}" for n in range(60))]), "utf-8")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    with working_in(tmp_path):
        said = run([*BARE, "--price", "0.15,0.6"])
    assert (
        "of all labels are what gpt-4o-mini says" in said and (tmp_path / "labelled.parquet.run/report.html").exists()
    )


def test_a_file_and_an_llm_become_a_task_that_is_tried(provider, tmp_path, monkeypatch):
    rows = [f"message {n},{('yes', 'no')[n % 2]}" for n in range(80)]
    (tmp_path / "complaints.csv").write_text("\n".join(["message,topic", *rows]), "utf-8")
    with working_in(tmp_path):
        run(OWN[0])
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        assert run(OWN[1]).count("  read   yes") == 10
    assert len(provider.requests) == 10


@pytest.mark.slow
def test_the_commands_after_the_pipeline_work_in_their_order(built, provider, tmp_path):
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    shutil.copytree(ROOT / "examples/recorded", tmp_path / "examples/recorded")
    with working_in(tmp_path):
        for words in PIPELINE:
            run(words)
    assert len((tmp_path / "labelled.csv").read_text("utf-8").splitlines()) == 21


def test_python_runs(recorded, capsys):
    plans, classifies = blocks("python")
    assert all(len([line for line in code.splitlines() if line]) <= 5 for code in (plans, classifies))
    said = {}
    exec(compile(plans, "README.md", "exec"), said)
    assert capsys.readouterr().out.splitlines() == said["plan"].words()
    assert (recorded / "out" / "report.html").is_file()
    labels = ["0", "1"] * 20
    texts = [f"{'calm' if label == '0' else 'rude'} text {row}" for row, label in enumerate(labels)]
    given = {"llm": lambda texts: [None] * len(texts), "texts": texts, "labels": labels, "llm_answers": labels}
    exec(compile(classifies, "README.md", "exec"), {**given, "new_texts": ["so rude text", "so calm text"]})
    assert capsys.readouterr().out == "1 0\n"


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_accepted_and_builds(text, tmp_path):
    given, params = yaml.safe_load(text), yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    params["experts"].update(given["experts"])
    params["costs"]["prices"].update(given["costs"]["prices"])
    params["base"]["llms"] += list(given["experts"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")
    settings = config.load(tmp_path / "params.yaml")
    for name in given["experts"]:
        built = experts.build(experts.Setting(name, "olhs", ("0", "1")), settings.expert(name))
        assert built.name == name


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith("make ")])
def test_make_knows_the_target(line):
    done = subprocess.run([*line.split()[:1], "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
def test_the_dvc_commands_share_data_through_a_folder(tmp_path):
    lines = [c for c in commands() if c.startswith("dvc ")]
    assert [line.split()[1] for line in lines] == ["remote", "push"]
    here = tmp_path / "project"
    here.mkdir()
    dvc = Path(sys.executable).with_name("dvc")

    def run(*words: str) -> None:
        subprocess.run(words, cwd=here, check=True, capture_output=True)

    run("git", "init", "-q")
    run(str(dvc), "init", "-q")
    (here / "data.txt").write_text("kept")
    run(str(dvc), "add", "-q", "data.txt")
    for line in lines:
        run(str(dvc), *line.split()[1:])
    (here / "data.txt").unlink()
    shutil.rmtree(here / ".dvc" / "cache")
    run(str(dvc), "pull")
    assert (here / "data.txt").read_text() == "kept"


def test_the_experiment_it_proposes_names_real_parameters():
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    (proposed,) = re.findall(r"`dvc exp run ([^`]+)`", README)
    for setting in re.findall(r"-S ([\w.]+)=", proposed):
        value = params
        for key in setting.split("."):
            value = value[key]
    for task, policy in re.findall(r"evaluate\.(\w+)\.headline=(\w+)", proposed):
        assert policy in params["train"][task]["teams"]
