"""Commands traced for connections: they reach the experts that are named, and nobody else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.labelling.label_data import write_items
from tests.pipeline import ROOT
from tests.production_data import chat_server, production, texts
from tests.registry_data import MODEL
from tests.serving.house import CHAMPION

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="connections are seen by strace, which is not here"),
]
# What keeps other packages from calling home must not be the environment that the tests run in.
SWITCHES = ("DO_NOT_TRACK", "TELEMETRY", "ANALYTICS", "OFFLINE")
LABEL = ["label", "in.jsonl", "--model", CHAMPION, "-o", "out.jsonl"]
START = "from askless.cli import main; main()"


def reached(words):
    """The addresses that a command connects to, as `host:port`."""
    kept = {name: value for name, value in os.environ.items() if not any(each in name for each in SWITCHES)}
    kept |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": os.environ["PATH"]}
    trace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", "trace.txt"]
    done = subprocess.run([*trace, sys.executable, "-c", START, *words], env=kept, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = re.findall(r'sin6?_port=htons\((\d+)\).*?"([^"]+)"', Path("trace.txt").read_text())
    return {f"{host}:{port}" for port, host in found}


def test_texts_reach_the_expert_that_is_named_and_nobody_else(empty_store, tmp_path):
    with chat_server() as llm, production(tmp_path, empty_store, llm.url):
        write_items(tmp_path / "in.jsonl", texts(40))
        assert reached([*LABEL, "--dry-run"]) == set()
        assert reached(LABEL) == {urlsplit(llm.url).netloc}
        assert reached(["models", MODEL["olhs"]]) == set()
