"""The files of containers say what this project has: its lock, its modules, its options."""

import re
import subprocess

import yaml
from typer.testing import CliRunner

from askless.cli import app
from tests.pipeline import ROOT
from tests.test_extras import needed

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]
CLUSTER = list(yaml.safe_load_all((ROOT / "examples/kubernetes/serve.yaml").read_text("utf-8")))


def names(lock):
    return set(re.findall(r"^([a-z0-9.-]+)==", lock, re.M))


def test_an_image_for_cpus_has_all_of_the_lock_but_torch_and_what_it_alone_needs(tmp_path):
    (cut,) = re.findall(r"sed -i -E '([^']+)'", (ROOT / "Dockerfile").read_text("utf-8"))
    lock = ROOT / "requirements.lock"
    done = subprocess.run(["sed", "-E", cut, str(lock)], capture_output=True, text=True, check=True)
    left, all_of_it = names(done.stdout), names(lock.read_text("utf-8"))
    assert "torch" in all_of_it - left and needed("serve").keys() <= left
    assert {name.partition("-")[0] for name in all_of_it - left} == {"torch", "triton", "nvidia", "cuda"}
    assert all(not line.endswith("\\") for line in done.stdout.splitlines()[-1:])


def test_images_of_others_are_pinned_by_digest():
    base = re.findall(r"^ARG PYTHON=(.*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    others = [about["image"] for about in COMPOSE.values() if "build" not in about]
    assert base and others and all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in base + others)


def test_what_containers_run_is_there():
    helped = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    served = [COMPOSE["serve"]["command"], CLUSTER[1]["spec"]["template"]["spec"]["containers"][0]["args"]]
    assert {word for words in served for word in words if word.startswith("--")} <= set(re.findall(r"--[\w-]+", helped))
    for module in re.findall(r"-m (flows\.\w+)", " ".join(COMPOSE["worker"]["command"])):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    named = {word for about in COMPOSE.values() for word in about.get("depends_on", {})}
    assert named < COMPOSE.keys() and all("healthcheck" in COMPOSE[name] for name in named)
    assert all(port.startswith("127.0.0.1:") for about in COMPOSE.values() for port in about.get("ports", []))


def test_who_writes_into_a_volume_owns_the_folder_that_it_is_put_on():
    owned = set(re.findall(r"/[\w./]+", " ".join(re.findall(r"chown (.*)", (ROOT / "Dockerfile").read_text("utf-8")))))
    own = [about for about in COMPOSE.values() if "build" in about]
    on = {
        place
        for about in own
        for name, place in (each.split(":")[:2] for each in about.get("volumes", []))
        if name != "."
    }
    assert on == {"/artifacts", "/home/askless/.prefect", "/work"} and on <= owned


def test_a_worker_runs_the_code_of_its_checkout():
    worker = COMPOSE["worker"]
    assert ".:/project" in worker["volumes"] and worker["environment"]["PYTHONPATH"] == "/project/src"
