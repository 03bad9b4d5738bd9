"""What an import costs, seen in a fresh process. Who may import whom is held by `make lint`."""

import json
import subprocess
import sys

import pytest

from askless.experts import EXPERTS
from askless.experts.base import Expert
from askless.policies import POLICIES, resolve
from askless.policies.base import Policy

HEAVY = ("torch", "transformers", "sklearn", "scipy", "matplotlib", "prefect", "mlflow", "dvc")


@pytest.mark.parametrize(
    "module",
    ["askless", "askless.config", "askless.schema", "askless.panel", "askless.policies", "askless.experts"],
)
def test_importing_what_everybody_needs_is_cheap(module):
    code = f"import sys, json, {module}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", EXPERTS)
def test_every_expert_of_the_registry_is_one(name):
    module, _, attribute = EXPERTS[name].partition(":")
    kind = getattr(__import__(module, fromlist=[attribute]), attribute)
    assert issubclass(kind, Expert)
    assert not kind.__abstractmethods__


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_of_the_registry_is_one(name):
    kind = resolve(name, name)
    assert issubclass(kind, Policy)
    assert not kind.__abstractmethods__
