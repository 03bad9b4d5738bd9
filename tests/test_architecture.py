"""Who may import whom, read off the syntax trees; what an import costs, seen in a fresh process."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from deferral.experts import EXPERTS
from deferral.experts.base import Expert
from deferral.policies import POLICIES, resolve
from deferral.policies.base import Policy

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "deferral").rglob("*.py"))
TASKS = sorted((ROOT / "tasks").rglob("*.py"))
FLOWS = sorted((ROOT / "flows").rglob("*.py"))
OUTSIDE = {"prefect", "mlflow", "dvc", "great_expectations", "tasks", "flows"}
# Each may import those above it and its own, none below; a new module or package gets its place here.
LAYERS = (
    {"__init__", "errors"},
    {
        "schema",
        "config",
        "prompts",
        "rouge",
        "summary_faults",
        "calibration",
        "reliability",
        "uncertainty",
        "networks",
        "vocabulary",
        "sqlite",
    },
    {"cost", "usage", "forecast", "glove", "embeddings", "sources", "demo", "datasets"},
    {"panel", "small"},
    {"experts", "policies"},
    {
        "metrics",
        "curves",
        "replay",
        "readings",
        "expert_readings",
        "headline",
        "evaluate",
        "simulation",
        "bounds",
        "guarantees",
        "shift",
        "summary_quality",
        "summary_examples",
        "distillation",
        "decision_log",
        "monitoring",
        "answering",
        "baseline",
        "unasked",
    },
    {
        "figures",
        "report_words",
        "report_rows",
        "report",
        "card",
        "bundle",
        "assign",
        "model_version",
        "registry",
        "threshold_words",
    },
    {
        "study",
        "plan",
        "plan_check",
        "plan_file",
        "planner",
        "explain",
        "ground",
        "shadow",
        "comparison",
        "comparison_page",
        "promotion",
        "recalibration",
        "proposal",
        "forecast_words",
    },
    {"live"},
    {"serving"},
    {"commands"},
    {"cli"},
)
HEAVY = ("torch", "transformers", "sklearn", "scipy", "matplotlib", "prefect", "mlflow", "dvc")


class Imports(ast.NodeVisitor):
    """Every imported module with the function it is imported in (None at the top of the file)."""

    def __init__(self, path: Path) -> None:
        self.found: list[tuple[str, str | None]] = []
        self._inside: str | None = None
        self.visit(ast.parse(path.read_text(encoding="utf-8")))

    def visit_FunctionDef(self, node):  # noqa: N802
        outer, self._inside = self._inside, node.name
        self.generic_visit(node)
        self._inside = outer

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Import(self, node):  # noqa: N802
        self.found += [(alias.name, self._inside) for alias in node.names]

    def visit_ImportFrom(self, node):  # noqa: N802
        assert node.level == 0, "relative import"
        self.found += [(f"{node.module}.{alias.name}", self._inside) for alias in node.names]


def imported(path: Path) -> set[str]:
    return {name for name, _ in Imports(path).found}


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    """The module or package of `deferral` that a file belongs to."""
    return path.relative_to(ROOT / "src" / "deferral").parts[0].removesuffix(".py")


def parts_used(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("deferral.")}


def test_the_reader_of_imports_sees_them_all(tmp_path):
    (tmp_path / "m.py").write_text(
        "import a.b, c\nfrom d.e import f\ndef g():\n    import h\nclass K:\n    async def m(self):\n"
        "        from n import o\nif True:\n    import p\n"
    )
    assert Imports(tmp_path / "m.py").found == [
        ("a.b", None),
        ("c", None),
        ("d.e.f", None),
        ("h", "g"),
        ("n.o", "m"),
        ("p", None),
    ]
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_library_imports_no_framework_and_nothing_outside_itself(path):
    bad = [(name, inside) for name, inside in Imports(path).found if name.split(".")[0] in OUTSIDE]
    if part_of(path) == "registry":
        bad = [(name, inside) for name, inside in bad if not (name.startswith("mlflow") and inside)]
    assert bad == []


@pytest.mark.parametrize("path", [p for p in SOURCES if part_of(p) in ("experts", "policies")], ids=name_of)
def test_policies_and_experts_meet_in_the_panel_only(path):
    other = {"experts": "policies", "policies": "experts"}[part_of(path)]
    assert other not in parts_used(path)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_layer_imports_only_from_those_above_it(path):
    rank = {part: i for i, layer in enumerate(LAYERS) for part in layer}
    assert part_of(path) in rank, f"place {part_of(path)} in LAYERS"
    assert {part for part in parts_used(path) if rank.get(part, 0) > rank[part_of(path)]} == set()


def test_tasks_never_import_flows():
    assert [name_of(p) for p in TASKS if "flows" in tops(p)] == []


@pytest.mark.parametrize(
    ("framework", "allowed"),
    [
        ("great_expectations", {"tasks/validation.py"}),
        # `served` is the code that MLflow itself loads as the model.
        ("mlflow", {"tasks/tracking.py", "tasks/served.py"}),
        ("dvc", {"tasks/versioning.py"}),
    ],
)
def test_each_framework_has_its_own_file_of_tasks(framework, allowed):
    assert {name_of(p) for p in (*TASKS, *FLOWS) if framework in tops(p)} <= allowed


@pytest.mark.parametrize(
    "module",
    ["deferral", "deferral.config", "deferral.schema", "deferral.panel", "deferral.policies", "deferral.experts"],
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
