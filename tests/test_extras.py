"""What each extra brings: the command line works without the pipeline's packages, and has none under the GPL."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flows
from askless.cli import main
from askless.errors import EXTRAS, MissingExtra, require
from tests.experts.chat_server import ChatServer
from tests.labelling.label_data import shop, write_items
from tests.production_data import said, texts

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Commands in one process: what they print is of no interest, only that they get there.
CODE = """
import json, os, signal, sys, threading
from importlib.abc import MetaPathFinder

forbidden = set(json.loads(sys.argv[1]))

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import uvicorn
from typer.testing import CliRunner
from askless.cli import app

uvicorn.Server.run = lambda server, sockets=None: None
for command in json.loads(sys.argv[2]):
    done = CliRunner().invoke(app, command, input="a text")
    print(json.dumps([command[0], done.exit_code, repr(done.exception), done.output[-2000:]]))
"""


@cache
def needed(*extras: str) -> dict[str, str]:
    """The distributions that the project's own requirements and these extras bring, with their licences."""
    wanted = [Requirement(f"askless[{','.join(extras)}]")]
    seen, found = set(), {}
    while wanted:
        asked = wanted.pop()
        name = canonicalize_name(asked.name)
        if (name, frozenset(asked.extras)) in seen:
            continue
        seen.add((name, frozenset(asked.extras)))
        if name == "askless":
            more = [text for extra in asked.extras for text in PROJECT["optional-dependencies"][extra]]
            wanted += map(Requirement, [*PROJECT["dependencies"], *more])
            continue
        try:
            known = distribution(name)
        except PackageNotFoundError:
            continue
        about = known.metadata
        # A whole text has those of libraries in the wheel too (scipy: GCC's runtime, with its exception).
        told = [about.get("License-Expression"), (about.get("License") or "").partition("\n")[0]]
        found[name] = " ".join(filter(None, [*told, *about.get_all("Classifier", [])]))
        for text in known.requires or []:
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ["", *asked.extras]):
                wanted.append(one)
    return found


@cache
def of_the_pipeline() -> list[str]:
    """Modules that only the pipeline's packages have."""
    alone = needed("pipeline").keys() - needed("serve").keys()
    return sorted(
        module
        for module, names in packages_distributions().items()
        if {canonicalize_name(name) for name in names} <= alone
    )


def test_the_pipeline_is_an_extra_that_setup_installs():
    needless = {"prefect", "dvc", "great_expectations", "pygit2", "psutil", "mlflow", "torch", "transformers"}
    assert needless <= set(of_the_pipeline())
    use, tests = needed("pipeline", "serve").keys(), {"ray", "playwright", "schemathesis", "mypy", "mkdocs-material"}
    assert {"dvc", "prefect", "great-expectations", "torch", "openai", "uvicorn"} <= use and not tests & use
    assert use | tests <= needed("dev").keys()
    setup, _, dev = (ROOT / "Makefile").read_text("utf-8").partition("\n.venv/dev:")
    assert "'.[pipeline,serve]'" in setup and "'.[dev]'" in dev


def test_nothing_that_the_command_line_needs_is_under_the_gpl():
    assert len(needed("serve")) > 40
    assert [name for name, licence in needed("serve").items() if "GPL" in licence or "Affero" in licence] == []


def test_the_command_line_works_without_the_packages_of_the_pipeline(tmp_path, monkeypatch):
    server = ChatServer()
    server.reply = said
    bundle = str(shop(tmp_path, server.url))
    write_items(tmp_path / "in.jsonl", texts(20))
    rows = [f"{n},text {n},{n % 2},{'train valid test'.split()[n % 3]}" for n in range(60)]
    (tmp_path / "items.csv").write_text("\n".join(["id,text,label,split", *rows]))
    answers = [f"{n},{who},{n % 2},{cost},-0.1" for who, cost in (("s", 0.0), ("l", 0.01)) for n in range(60)]
    (tmp_path / "answers.csv").write_text("\n".join(["id,expert,label,cost_usd,logprob", *answers]))
    study = ["--examples", "items.csv", "--answers", "answers.csv"]
    commands = [
        ["label", "in.jsonl", "--model", bundle, "-o", "out.jsonl", "--log", "log"],
        ["decide", bundle],
        ["evaluate", *study, "--out", "report"],
        ["plan", *study, "--quality-floor", "0.5", "-o", "plan.yaml"],
        ["serve", bundle, "--port", "0"],
        ["models", "askless-none"],
        ["forget", "log", "--id", "none"],
    ]
    given = [json.dumps(of_the_pipeline()), json.dumps(commands)]
    done = subprocess.run([sys.executable, "-c", CODE, *given], cwd=tmp_path, capture_output=True, text=True)
    server.close()
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in outcomes] == [command[0] for command in commands], done.stderr
    for name, code, exception, output in outcomes:
        assert "ModuleNotFound" not in exception and "MissingExtra" not in exception, (name, exception)
        assert code == 0 or name == "models", (name, exception, output)
    assert (tmp_path / "out.jsonl").exists() and (tmp_path / "report/report.html").exists()


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch, capsys):
    def fail():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("askless.cli.app", fail)
    with pytest.raises(SystemExit):
        main()
    assert "'torch' is not installed. Run: pip install 'askless[realmodels]'" in capsys.readouterr().err
    assert set(EXTRAS.values()) <= set(PROJECT["optional-dependencies"])
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=r"askless\[registry\]"):
        require("mlflow")


def test_importing_takes_less_than_half_a_second():
    """Of processor time, so that others on the machine do not count."""
    code = "import time, askless; print(time.process_time())"
    times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    assert min(times) < 0.5


def test_a_flow_without_them_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'askless\[pipeline\]'"):
        importlib.reload(flows)


def test_the_lock_of_a_container_is_of_todays_requirements():
    """`make lock` writes it: what `serve` needs with any model, in tested versions, each with its hashes."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    pins = (ROOT / "constraints.txt").read_text("utf-8").split()
    tested = {canonicalize_name(name): version for name, _, version in (pin.partition("==") for pin in pins)}
    locked = dict(re.findall(r"^([\w.-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE))
    others = {name for name, version in locked.items() if tested.get(name) != version}
    assert others == {name for name in locked if re.match("nvidia-|cuda-|triton|setuptools", name)}, "of torch for GPUs"
    assert needed("serve", "realmodels", "registry").keys() - locked.keys() == set(), "make lock"
    assert len(locked) == text.count("==") and "://" not in text
