"""dvc.yaml tells the truth: what a stage reads is among its `deps` and `params`, and nothing else re-runs it."""

import ast
import copy
import json
import re
import shutil
from pathlib import Path

import grimp
import pytest
import yaml

from askless import config
from askless.prompts import PromptSpec
from tasks.settings import plain, stage_settings
from tests.pipeline import ROOT, committed_params, write_params

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# What is reached and cannot change what a stage makes. A module that is left out is not looked into either.
NO_OUTCOME = {
    "askless": "names of the library, each imported when it is used",
    "flows": "telemetry off, where Prefect's home is",
    "flows.stage": "the command line, and how an error is printed",
    "askless.registry.experiments": "where MLflow keeps runs",
    "askless.registry.traces": "what MLflow is told",
    "askless.spending.judging": "what a judge may be paid: without its marks the stage ends",
    "tasks": "which failures are tried again",
    "tasks.agreement": "it may stop prepare, and changes nothing that prepare makes",
    "tasks.progress": "lines and metrics of progress",
    "tasks.runs": "what MLflow is told",
}
# Followed, and no dependency of `generate`: its classes are.
NAMES = Path("src/askless/experts/shipped.py")
OF_GENERATE = {
    "askless.experts.small": "refused in base.llms",
    "tasks.spending": "a forecast, and whether to go on",
}
# What DVC re-runs after `settings` when a value of params.yaml changes; stages without a task are those of every task.
RERUN = {
    r"base\.tasks": "",
    r"base\.llms": "train evaluate",
    r"tasks\.(\w+)\.kind": "prepare embed generate train evaluate",
    r"tasks\.(\w+)\.classes": "prepare generate train evaluate",
    r"tasks\.(\w+)\.(source\..*|max_chars)": "prepare evaluate",
    r"tasks\.(\w+)\.(split\..*|empty_text)": "prepare",
    r"tasks\.(\w+)\.vectors\..*": "embed evaluate",
    r"tasks\.(\w+)\.checks\..*": "prepare generate",
    r"tasks\.(\w+)\.prompt": "generate evaluate",
    r"tasks\.(\w+)\.(quality|judge)": "generate train evaluate",
    r"tasks\.(\w+)\.(positive|note)": "evaluate",
    r"experts\.(demo-\w+)\..*": "generate-LLM evaluate",
    r"experts\.(mlp|linear|majority)\..*": "train@olhs evaluate@olhs",
    r"experts\.(extractive|lead)\..*": "train@xsum evaluate@xsum",
    r"experts\.(?!demo|mlp|linear|majority|extractive|lead).*": "",
    r"generate\..*": "",
    r"train\.(\w+)\..*": "train evaluate",
    r"policies\.(\w+)\..*": "evaluate",
    r"costs\.unit": "generate train evaluate",
    r"costs\.prices\..*": "train evaluate",
    r"evaluate\.(\w+)\..*": "evaluate",
    r"(promote|monitor)\..*": "",
}


@pytest.fixture(scope="module")
def graph():
    """Every import of the code, those in functions and those of registries as dotted strings included."""
    built = grimp.build_graph("askless", "tasks", "flows", exclude_type_checking_imports=True, cache_dir=None)
    for module in built.modules:
        for named in registered(module) & built.modules:
            built.add_import(importer=module, imported=named)
    return built


def file_of(module):
    base = ROOT / ("src" if module.startswith("askless") else ".") / Path(*module.split("."))
    return (base / "__init__.py" if base.is_dir() else base.with_suffix(".py")).relative_to(ROOT)


def registered(module):
    """Modules that strings such as "askless.experts.recorded:RecordedExpert" name."""
    strings = [
        n.value for n in ast.walk(ast.parse((ROOT / file_of(module)).read_text())) if isinstance(n, ast.Constant)
    ]
    found = (re.fullmatch(r"((?:askless|tasks|flows)[\w.]*):\w+", s) for s in strings if isinstance(s, str))
    return {match[1] for match in found if match}


def left_out(stage):
    """A pattern of the modules that cannot change what a stage makes."""
    named = [re.escape(module) for module in NO_OUTCOME if (stage, module) != ("evaluate", "tasks.runs")]
    if stage == "generate":
        named += [rf"{re.escape(module)}(\..*)?" for module in OF_GENERATE]
    return re.compile("|".join(named))


def reached(graph, stage):
    """The modules that a stage's flow imports, and how each came in."""
    out, seen, todo = left_out(stage), {}, [(f"flows.{stage}", "")]
    while todo:
        module, by = todo.pop()
        if module in seen or out.fullmatch(module):
            continue
        seen[module] = by
        parents = {module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)}
        todo += [(name, module) for name in graph.find_modules_directly_imported_by(module) | parents]
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_reaches_is_covered_by_its_deps(graph, stage):
    deps = [Path(dep) for dep in STAGES[stage]["deps"]]
    seen = reached(graph, stage)
    deps += [NAMES] * (stage == "generate")
    bare = {m: by for m, by in seen.items() if not any(file_of(m).is_relative_to(dep) for dep in deps)}
    assert bare == {}


@pytest.mark.parametrize("stage", STAGES)
def test_no_code_is_among_the_deps_that_the_stage_does_not_reach(graph, stage):
    code = [Path(dep) for dep in STAGES[stage]["deps"] if not dep.startswith(("data/", "models/"))]
    files = [file_of(module) for module in reached(graph, stage)]
    assert [str(dep) for dep in code if not any(file.is_relative_to(dep) for file in files)] == []


def leaves(node, at=()):
    """The keys of every value that is no section."""
    if isinstance(node, dict) and node:
        return [leaf for key, value in node.items() for leaf in leaves(value, (*at, key))]
    return [at]


def another(key, value):
    """Another value for a key."""
    if key == "base.llms":
        return (*value, "qwen1.5-7b-chat")
    if key == "costs.unit":
        return "seconds"
    if key.endswith((".judge", ".small", ".baselines")):
        return ("t5-small",) if isinstance(value, tuple) else "t5-small"
    if key.endswith(".backend"):
        return "recorded"
    if isinstance(value, bool | None):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return (
        f"{value}x" if isinstance(value, str | Path) else ("another",) if isinstance(value, tuple) else {"another": 1}
    )


def changed(settings, leaf, value):
    """Parameters with another value of a key, whether or not that may be."""
    out = copy.deepcopy(settings)
    place = out
    for part in leaf[:-1]:
        place = place[part] if isinstance(place, dict) else getattr(place, part)
    if isinstance(place, dict):
        place[leaf[-1]] = value(place.get(leaf[-1]))
    else:
        object.__setattr__(place, leaf[-1], value(getattr(place, leaf[-1])))
    return out


PARAMS = committed_params()
LLMS = PARAMS["base"]["llms"]
LEAVES = {".".join(leaf): leaf for leaf in leaves(PARAMS)}


def expected(key):
    """The stages that a key of params.yaml concerns."""
    (stages,) = (stages for pattern, stages in RERUN.items() if re.fullmatch(pattern, key))
    section, named, *_ = key.split(".")
    concerned = [named] if named in PARAMS["tasks"] else PARAMS["base"]["tasks"]
    found = set()
    for name, _, only in (stage.partition("@") for stage in stages.split()):
        llms = LLMS if name == "generate" else [named] if name == "generate-LLM" else [None]
        of = [f"{name.removesuffix('-LLM')}@{task}" for task in ([only] if only else concerned)]
        found |= {stage if llm is None else f"{stage}-{llm}" for stage in of for llm in llms}
    return found


SETTINGS = config.load(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def reads(tmp_path_factory):
    """What each stage reads, as DVC understands dvc.yaml."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("truth")
    shutil.copy(ROOT / "dvc.yaml", folder)
    write_params(folder, PARAMS)
    with Repo.init(str(folder), no_scm=True) as repo:
        return {stage.name: {str(dep) for dep in stage.deps} for stage in repo.index.stages}


def files(settings):
    """The files of stage `settings`, by the path that dvc.yaml has."""
    return {
        f"data/settings/{task}/{about}.json": json.dumps(values, sort_keys=True, default=plain)
        for task in PARAMS["tasks"]
        for about, values in stage_settings(settings, task).items()
    }


def asked(reads, settings):
    """The stages that DVC re-runs after `settings` with other parameters."""
    before, now = files(SETTINGS), files(settings)
    other = {path for path in before if now[path] != before[path]}
    return {stage for stage, read in reads.items() if read & other}


@pytest.mark.parametrize("key", LEAVES)
def test_a_value_of_params_re_runs_the_stages_that_it_concerns_and_no_others(reads, key):
    assert asked(reads, changed(SETTINGS, LEAVES[key], lambda value: another(key, value))) == expected(key)


@pytest.mark.parametrize("change", [("experts", "mlp", "hidden"), ("experts", "linear", "ngrams")])
def test_an_option_that_params_do_not_name_yet_is_seen(reads, change):
    assert asked(reads, changed(SETTINGS, change, lambda value: 3)) == expected("experts.mlp.epochs")


def test_a_price_by_the_hour_makes_one_llms_answers_keep_their_seconds(reads):
    settings = changed(SETTINGS, ("costs", "prices", "demo-s", "usd_per_hour"), lambda value: 1.0)
    again = {f"generate@{task}-demo-s" for task in PARAMS["tasks"]}
    assert asked(reads, settings) == expected("costs.prices.demo-s.x") | again


@pytest.mark.parametrize("name", ["own", "olhs"])
def test_a_prompt_re_runs_the_answers_of_the_llms_that_get_it_alone(reads, name):
    def with_prompt(question):
        settings = changed(SETTINGS, ("prompts", name), lambda value: PromptSpec(question=question))
        return changed(settings, ("experts", "demo-s", "prompt"), lambda value: name)

    before, now = files(with_prompt("What?")), files(with_prompt("Which?"))
    other = {path for path in before if now[path] != before[path]}
    assert {stage for stage, read in reads.items() if read & other} == {
        *(f"generate@{task}-demo-s" for task in PARAMS["tasks"]),
        *(f"evaluate@{task}" for task in PARAMS["tasks"]),
    }


def test_params_are_read_by_way_of_stage_settings_alone():
    assert {stage: about.get("params") for stage, about in STAGES.items() if "params" in about} == {
        "settings": [{"params.yaml": None}]
    }


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_registers_a_model(graph, stage):
    assert not {"tasks.registration", "tasks.served"} & set(reached(graph, stage))


@pytest.mark.parametrize(
    "file", ["experts/small/mlp.py", "experts/shipped.py", "policies/two_tier.py", "report/report.py"]
)
def test_one_small_expert_policy_or_page_re_runs_no_generate(file):
    path = Path("src/askless", file)
    assert not any(path.is_relative_to(dep) for dep in STAGES["generate"]["deps"])
    assert any(path.is_relative_to(dep) for dep in STAGES["evaluate"]["deps"])


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "settings"])
@pytest.mark.parametrize("file", ["commands/serve.py", "serving/app.py", "annotating/run.py", "registry/aliases.py"])
def test_what_answers_and_serves_re_runs_no_stage_but_settings(stage, file):
    assert not any(Path("src/askless", file).is_relative_to(dep) for dep in STAGES[stage]["deps"])


def test_an_llm_with_a_dot_in_its_name_is_no_level_of_params_to_dvc(tmp_path):
    from dvc.repo import Repo

    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    write_params(tmp_path, {**PARAMS, "base": {**PARAMS["base"], "llms": ["qwen1.5-7b-chat"]}})
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        stages = [stage for stage in repo.index.stages if stage.name.startswith("generate@olhs")]
        assert [stage.cmd for stage in stages] == ["python -m flows.generate olhs qwen1.5-7b-chat"]
