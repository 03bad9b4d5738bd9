import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from askless import config
from askless.errors import ConfigError

MINIMAL: dict[str, Any] = {
    "base": {"tasks": ["posts"], "llms": ["llm"]},
    "tasks": {
        "posts": {
            "kind": "classification",
            "classes": ["0", "1"],
            "positive": "1",
            "source": {"kind": "demo"},
            "vectors": {"kind": "demo"},
            "split": {"train": 0.6, "valid": 0.2, "test": 0.2},
            "prompt": "olhs",
            "quality": "accuracy",
            "checks": {"rows_min": 10},
        }
    },
    "experts": {"llm": {"backend": "llm", "model": "demo:s"}, "small": {"backend": "mlp"}},
    "train": {"posts": {"seeds": [1], "small": "small", "baselines": [], "llms": ["llm"], "teams": {"team": {}}}},
    "policies": {"posts": {"random": {}}},
    "costs": {"unit": "usd", "prices": {"llm": {"usd_per_hour": 2}}},
    "evaluate": {
        "posts": {
            "headline": "team",
            "reference": "llm",
            "budgets": [0.5],
            "sweep": 3,
            "bootstrap": 20,
            "confidence": 0.9,
            "margin": 0.01,
            "model": "posts",
        }
    },
}

BUILT_IN = "demo-olhs, demo-xsum, judge, olhs, xsum"
# All that a task of one's own needs: what it leaves out has a default.
OWN: dict[str, Any] = {
    "base": {"tasks": ["mail"], "llms": ["cheap", "dear"]},
    "tasks": {
        "mail": {
            "source": {"kind": "csv", "path": "mail.csv", "columns": {"label": "topic"}},
            "classes": ["billing", "technical fault", "something else"],
            "prompt": {"question": "What is it about?"},
            "llms": {
                "dear": {"backend": "openai", "model": "m", "price": {"usd_per_1m_prompt_tokens": 2}},
                "cheap": {"backend": "openai", "model": "s", "price": {"usd_per_1m_prompt_tokens": 1}},
            },
            "small": "auto",
        }
    },
}
DOCUMENTS: dict[str, Any] = {"kind": "summarisation", "classes": [], "positive": "", "quality": "rougeL"}


def section_at(tree: dict[str, Any], path: str) -> dict[str, Any]:
    for part in filter(None, path.split(".")):
        tree = tree[part]
    return tree


def load_with(folder: Path, path: str, **changes: Any) -> config.Params:
    tree = copy.deepcopy(MINIMAL)
    section_at(tree, path).update(changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return config.load(folder / "params.yaml")


def error_of(folder: Path, path: str, **changes: Any) -> str:
    with pytest.raises(ConfigError) as error:
        load_with(folder, path, **changes)
    start = f"{folder}/params.yaml: "
    assert str(error.value).startswith(start)
    return str(error.value).removeprefix(start)


def test_values_and_defaults(tmp_path):
    params = load_with(tmp_path, "")
    assert params.base == config.Base(tasks=("posts",), llms=("llm",), data=Path("data"))
    task = params.task("posts")
    assert task.classes == ("0", "1")
    assert (task.checks.rows_min, task.checks.text_chars_max) == (10, 10_000)
    assert task.source == config.Source(kind="demo", rows=None, seed=0)
    assert params.costs.prices["llm"] == config.Price(usd_per_hour=2.0)
    assert params.expert("llm") == {"backend": "llm", "model": "demo:s"}


def test_a_task_is_one_section_and_the_others_have_defaults(tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(OWN))
    params = config.load(tmp_path / "params.yaml")
    task, train, evaluate = params.task("mail"), params.train["mail"], params.evaluate["mail"]
    assert (task.kind, task.quality, task.positive, task.vectors) == (
        "classification",
        "accuracy",
        "something else",
        None,
    )
    assert (params.llms("mail"), evaluate.reference) == (("cheap", "dear"), "dear")
    assert params.experts["dear"] == {"backend": "openai", "model": "m"}
    assert params.experts["auto"] == {"backend": "auto"}
    assert params.costs.prices["cheap"] == config.Price(usd_per_1m_prompt_tokens=1)
    assert (train.small, train.baselines, evaluate.model) == ("auto", ("majority",), "askless-mail")
    assert "two_tier" in params.policies["mail"]
    prompt = params.prompts[task.prompt].written(task.classes)
    assert prompt.fill("Hm.") == (
        "What is it about?\n\nAnswer with one of these and nothing else: billing, technical fault, something else.\n\n"
        "Text: Hm.\nAnswer:"
    )


def test_an_llm_of_base_that_a_task_does_not_list_is_not_its(tmp_path):
    tree = copy.deepcopy(OWN)
    del tree["tasks"]["mail"]["llms"]["dear"]
    tree["experts"] = {"dear": {"backend": "openai", "model": "m"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    params = config.load(tmp_path / "params.yaml")
    assert (params.llms("mail"), params.evaluate["mail"].reference) == (("cheap",), "cheap")


def test_parameters_are_frozen_and_an_experts_options_are_a_copy(tmp_path):
    params = load_with(tmp_path, "")
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.base.tasks = ()
    params.expert("llm")["model"] = "changed"
    assert params.expert("llm")["model"] == "demo:s"


@pytest.mark.parametrize(
    ("path", "key", "meant"),
    [
        ("", "polices", "policies"),
        ("base", "task", "tasks"),
        ("tasks.posts", "clases", "classes"),
        ("tasks.posts.source", "pth", "path"),
        ("tasks.posts.vectors", "dims", "dim"),
        ("tasks.posts.split", "vald", "valid"),
        ("tasks.posts.checks", "row_min", "rows_min"),
        ("train.posts", "seed", "seeds"),
        ("costs", "units", "unit"),
        ("costs.prices.llm", "usd_per_hours", "usd_per_hour"),
        ("evaluate.posts", "bootstrp", "bootstrap"),
    ],
)
def test_an_unknown_key_at_any_depth_names_the_known_ones_and_the_near_miss(tmp_path, path, key, meant):
    message = error_of(tmp_path, path, **{key: 1})
    known = message.split("Known: ")[1].split(". Did")[0].split(", ")
    assert message == (
        f"Unknown key '{key}'. Known: {', '.join(known)}. Did you mean '{meant}'? "
        f"(at {path + '.' if path else ''}{key})"
    )
    assert set(section_at(MINIMAL, path)) <= set(known)


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        ("base", {"tasks": "posts"}, "base.tasks: must be a list. Got 'posts'."),
        (
            "tasks.posts",
            {"classes": [0, "1"]},
            'tasks.posts.classes.0: got 0, which is no text: it is a number. Quote them, as in ["no", "yes"].',
        ),
        (
            "tasks.posts",
            {"positive": "2"},
            "tasks.posts: positive class '2' is not one of ['0', '1'].",
        ),
        (
            "tasks.posts",
            {"classes": ["1", "1"]},
            "tasks.posts: classes ['1', '1'] must be two or more different labels.",
        ),
        (
            "tasks.posts.split",
            {"valid": 0.3},
            "tasks.posts.split: train + valid + test is 1.1, not 1.",
        ),
        (
            "tasks.posts.split",
            {"valid": -0.2},
            "tasks.posts.split.valid: Input should be greater than or equal to 0. Got -0.2.",
        ),
        (
            "tasks.posts.source",
            {"rows": 0},
            "tasks.posts.source.rows: Input should be greater than or equal to 1. Got 0.",
        ),
        ("experts", {"llm": None}, "experts.llm: Input should be a valid dictionary. Got None."),
        (
            "train.posts",
            {"seeds": []},
            "train.posts.seeds: Tuple should have at least 1 item after validation, not 0. Got [].",
        ),
        ("costs", {"unit": "eur"}, "costs.unit: Input should be 'usd', 'seconds' or 'tokens'. Got 'eur'."),
        (
            "costs.prices.llm",
            {"usd_per_hour": -1},
            "costs.prices.llm.usd_per_hour: Input should be greater than or equal to 0. Got -1.",
        ),
        (
            "costs.prices.llm",
            {"usd_per_hour": float("nan")},
            "costs.prices.llm.usd_per_hour: Input should be a finite number. Got nan.",
        ),
        (
            "costs.prices",
            {"llm": 3},
            "costs.prices.llm: must be a section of keys (usd_per_1m_prompt_tokens, "
            "usd_per_1m_completion_tokens, usd_per_hour, usd_per_1k_answers, usd_per_1m_cached_tokens, "
            "usd_per_1m_cache_write_tokens, usd_per_1m_reasoning_tokens, batch, source, cost). Got 3.",
        ),
        (
            "evaluate.posts",
            {"sweep": "many"},
            "evaluate.posts.sweep: Input should be a valid integer, unable to parse string as an integer. Got 'many'.",
        ),
        ("evaluate.posts", {"sweep": 2}, "evaluate.posts.sweep: Input should be greater than or equal to 3. Got 2."),
        (
            "evaluate.posts",
            {"budgets": [0.1, 2]},
            "evaluate.posts.budgets.1: Input should be less than or equal to 1. Got 2.",
        ),
        (
            "tasks.posts",
            {"quality": "acc"},
            "tasks.posts: quality 'acc' is none of kind 'classification' (accuracy, macro_f1, f1_positive).",
        ),
        (
            "tasks.posts",
            {"judge": "llm"},
            "tasks.posts: quality 'accuracy' with judge 'llm': an expert's score needs both.",
        ),
        (
            "tasks.posts",
            DOCUMENTS | {"classes": ["0", "1"], "positive": "1"},
            "tasks.posts: classes ['0', '1'] and positive '1' belong to kind 'classification'; "
            "kind 'summarisation' has none: remove them.",
        ),
        (
            "tasks.posts",
            DOCUMENTS | {"positive": "1"},
            "tasks.posts: classes [] and positive '1' belong to kind 'classification'; "
            "kind 'summarisation' has none: remove them.",
        ),
        (
            "tasks.posts",
            DOCUMENTS | {"max_chars": 0},
            "tasks.posts.max_chars: Input should be greater than or equal to 1. Got 0.",
        ),
        (
            "tasks.posts",
            DOCUMENTS | {"kind": "translation"},
            "tasks.posts.kind: Input should be 'classification' or 'summarisation'. Got 'translation'.",
        ),
        (
            "tasks.posts",
            DOCUMENTS | {"quality": "judge"},
            "tasks.posts: quality 'judge' with judge None: an expert's score needs both.",
        ),
        (
            "tasks.posts",
            DOCUMENTS | {"kind": "classification", "quality": "accuracy"},
            "tasks.posts: classes [] must be two or more different labels.",
        ),
        ("base", {"tasks": ["post"]}, "Unknown task 'post'. Known: posts. Did you mean 'posts'? (at base.tasks)"),
        (
            "tasks.posts",
            {"classes": [False, "yes"]},
            "tasks.posts.classes.0: got false, which is no text: YAML reads yes, no, on, off without quotes as true or "
            'false. Quote them, as in ["no", "yes"].',
        ),
        (
            "tasks.posts",
            {"vectors": None},
            "2 things are wrong.\n- train.posts.small: 'small' reads word vectors, and tasks.posts.vectors names none. "
            "Name some, or take another.\n- train.posts.teams: 'team' reads word vectors, and tasks.posts.vectors "
            "names none. Name some, or take another.",
        ),
        ("tasks.posts", {"prompt": "posts"}, f"Unknown prompt 'posts'. Known: {BUILT_IN}. (at tasks.posts.prompt)"),
        ("experts.llm", {"prompt": "posts"}, f"Unknown prompt 'posts'. Known: {BUILT_IN}. (at experts.llm.prompt)"),
        (
            "tasks.posts",
            {"source": {"kind": "csv", "path": "own.csv"}},
            "tasks.posts.prompt: 'olhs' asks \"Is the following post hate speech or offensive language? Ans...\", and "
            'the texts are your own. Write what is to be asked, such as prompt: {question: "What is this text about?", '
            'descriptions: {"0": ..., "1": ...}}.',
        ),
        (
            "tasks.posts",
            {"prompt": {}},
            "tasks.posts.prompt.descriptions: classes 0, 1 tell an LLM nothing. Say what each is: "
            '{"0": ..., "1": ...}.',
        ),
        (
            "tasks.posts",
            {"prompt": {"qestion": "?"}},
            "Unknown key 'qestion'. Known: descriptions, examples, question, reply, system, template, words. Did you "
            "mean 'question'? (at tasks.posts.prompt.qestion)",
        ),
        (
            "tasks.posts",
            {"prompt": {"template": "Which?", "words": {"0": "no", "1": "yes"}}},
            "tasks.posts.prompt.template: has no {text}, so that every item would be asked alike. Put {text} where it "
            "stands.",
        ),
        (
            "tasks.posts",
            {"prompt": {"words": {"0": "no", "1": "No", "2": "x"}}},
            "2 things are wrong.\n- tasks.posts.prompt.words: class '2' is none of the task's (0, 1).\n"
            "- tasks.posts.prompt.words: ['no', 'no'] must be different, and none empty.",
        ),
        ("tasks.posts", {"llms": ["llm", "l"]}, "Unknown LLM of base.llms 'l'. Known: llm. (at tasks.posts.llms)"),
        (
            "tasks.posts",
            {"llms": {"llm": {"backend": "openai", "model": "other"}}},
            "tasks.posts.llms.llm: 'llm' is described elsewhere too, and differently. Allowed: each name once. Leave "
            "out one of the two (`name: null` takes the other's), or rename it.",
        ),
        (
            "train",
            {"pots": None},
            "train.pots: must be a section of keys (seeds, small, baselines, llms, teams, folds, distil). Got None.",
        ),
        ("policies", {"pots": {}}, "Unknown task 'pots'. Known: posts. Did you mean 'posts'? (at policies)"),
        (
            "train.posts",
            {"llms": ["lm"]},
            "Unknown expert 'lm'. Known: llm, small. Did you mean 'llm'? (at train.posts.llms)",
        ),
        (
            "train.posts.teams",
            {"team": {"llms": ["x"]}},
            "Unknown expert 'x'. Known: llm, small. (at train.posts.teams.team.llms)",
        ),
        ("evaluate.posts", {"reference": "x"}, "Unknown expert 'x'. Known: llm, small. (at evaluate.posts.reference)"),
        (
            "evaluate.posts",
            {"headline": "tema"},
            "Unknown policy 'tema'. Known: auto, random, team. Did you mean 'team'? (at evaluate.posts.headline)",
        ),
        (
            "",
            {"generate": {"runner": "rey"}},
            "generate: Unknown runner 'rey'. Known: ray, threads. Did you mean 'ray'?",
        ),
        ("", {"generate": {"runner": "dask"}}, "generate: Unknown runner 'dask'. Known: ray, threads."),
        (
            "",
            {"generate": {"shard_rows": 0}},
            "generate.shard_rows: Input should be greater than or equal to 1. Got 0.",
        ),
        (
            "",
            {"generate": {"shard_rows": "many"}},
            "generate.shard_rows: Input should be a valid integer, unable to parse string as an integer. Got 'many'.",
        ),
        ("", {"generate": {"workers": 0}}, "generate.workers: Input should be greater than or equal to 1. Got 0."),
        ("", {"generate": {"report_seconds": 0}}, "generate.report_seconds: Input should be greater than 0. Got 0."),
        (
            "",
            {"generate": {"address": "head:6379"}},
            "generate: runner 'threads' with address 'head:6379' and gpus_per_task 0: both are of runner 'ray'. "
            "Set runner: ray, or remove them.",
        ),
        (
            "",
            {"generate": {"runner": "ray", "gpus_per_task": 1.5}},
            "generate: gpus_per_task 1.5 must be a share of one GPU or a whole number.",
        ),
        (
            "",
            {"generate": {"shard_row": 5}},
            "Unknown key 'shard_row'. Known: address, ask_above_usd, gpus_per_task, max_usd, "
            "report_seconds, runner, shard_rows, "
            "workers. Did you mean 'shard_rows'? (at generate.shard_row)",
        ),
        ("costs", {"xyz": 1}, "Unknown key 'xyz'. Known: prices, unit. (at costs.xyz)"),
        (
            "tasks.posts",
            DOCUMENTS,
            "train.posts.teams: got team; teams learn classes. Allowed for summaries: none. "
            "Put a policy of kind summary_gain into policies.posts.",
        ),
        (
            "experts",
            {"team-network": {"backend": "mlp"}},
            "team 'team' answers with a network of its own, 'team-network', and an expert has that name. Allowed: each "
            "name once. Rename one of the two.",
        ),
        *(
            ("tasks.posts", {"prompt": {"descriptions": {"0": "a", "1": "b"}, "examples": given}}, message)
            for given, message in (
                ({"draw": 0}, "tasks.posts.prompt.examples.draw: Input should be greater than or equal to 1. Got 0."),
                ([{"text": "x"}], "tasks.posts.prompt.examples.0.label: Field required."),
                ("three", "tasks.posts.prompt.examples: must be a list. Got 'three'."),
                (
                    [{"text": "x", "label": "1", "note": ""}],
                    "Unknown key 'note'. Known: label, text. (at tasks.posts.prompt.examples.0.note)",
                ),
                (
                    {"draw": 3, "sed": 1},
                    "Unknown key 'sed'. Known: balanced, draw, seed. Did you mean 'seed'? "
                    "(at tasks.posts.prompt.examples.sed)",
                ),
            )
        ),
        ("train.posts", {"folds": 1}, "train.posts.folds: Input should be greater than or equal to 2. Got 1."),
    ],
)
def test_a_wrong_value_says_where_what_is_allowed_and_what_was_got(tmp_path, path, changes, message):
    assert error_of(tmp_path, path, **changes) == message


def test_who_reads_sentences_needs_no_word_vectors(tmp_path):
    given = copy.deepcopy(MINIMAL)
    given["tasks"]["posts"]["vectors"] = None
    given["experts"]["small"]["features"] = given["train"]["posts"]["teams"]["team"]["features"] = "encoder"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(given))
    assert config.load(tmp_path / "params.yaml").task("posts").vectors is None


def test_several_wrong_values_are_told_at_once(tmp_path):
    message = error_of(tmp_path, "evaluate.posts", sweep=1, confidence=2)
    assert message == (
        "2 things are wrong.\n- evaluate.posts.sweep: Input should be greater than or equal to 3. Got 1.\n"
        "- evaluate.posts.confidence: Input should be less than 1. Got 2."
    )
    assert error_of(tmp_path, "base", llms=["gpt"]).splitlines()[:2] == [
        "3 things are wrong.",
        "- Unknown expert 'gpt'. Known: llm, small. (at base.llms)",
    ]


@pytest.mark.parametrize("left_out", [(), ("classes",), ("classes", "positive")])
def test_a_task_of_summaries_has_no_classes(tmp_path, left_out):
    tree = copy.deepcopy(MINIMAL)
    task = tree["tasks"]["posts"] | DOCUMENTS | {"max_chars": 8000}
    tree["train"]["posts"]["teams"], tree["evaluate"]["posts"]["headline"] = {}, "random"
    tree["tasks"]["posts"] = {key: value for key, value in task.items() if key not in left_out}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    task = config.load(tmp_path / "params.yaml").task("posts")
    assert (task.kind, task.classes, task.positive, task.max_chars) == ("summarisation", (), "", 8000)
    assert (task.empty_text, task.checks.summary_chars_max) == ("error", 2000)


@pytest.mark.parametrize(("section", "key"), [("", "base"), ("base", "llms"), ("tasks.posts", "source")])
def test_a_missing_key_is_named(tmp_path, section, key):
    tree = copy.deepcopy(MINIMAL)
    del section_at(tree, section)[key]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path / "params.yaml")
    where = f"{section}.{key}" if section else key
    assert str(error.value) == f"{tmp_path}/params.yaml: {where}: Field required."


@pytest.mark.parametrize(
    ("path", "changes", "where", "allowed"),
    [
        ("train.posts", {"llms": ["small"]}, "train.posts.llms", "llm"),
        ("train.posts.teams", {"team": {"llms": ["small"]}}, "train.posts.teams.team.llms", "llm"),
        ("", {"base": {"tasks": ["posts"], "llms": []}}, "train.posts.llms", ""),
        ("train.posts", {"small": "llm", "llms": []}, "policies.posts.pair.experts", "llm"),
    ],
)
def test_an_llm_whose_answers_no_stage_makes_is_refused(tmp_path, path, changes, where, allowed):
    tree = copy.deepcopy(MINIMAL)
    tree["policies"]["posts"]["pair"] = {"experts": ["small", "llm"]}
    section_at(tree, path).update(changes)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    expert = "llm" if not allowed else "small"
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path / "params.yaml")
    assert (
        f"{where} asks '{expert}', whose answers no stage makes. Allowed: {allowed or 'none'}. "
        "Add it to base.llms, or name another."
    ) in str(error.value)


def test_asking_for_an_unknown_task_or_expert_lists_the_known_ones(tmp_path):
    params = load_with(tmp_path, "")
    with pytest.raises(ConfigError) as error:
        params.task("pots")
    assert str(error.value) == "Unknown task 'pots'. Known: posts. Did you mean 'posts'?"
    with pytest.raises(ConfigError) as error:
        params.expert("smal")
    assert str(error.value) == "Unknown expert 'smal'. Known: llm, small. Did you mean 'small'?"


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path / "params.yaml")
    assert str(error.value) == (f"{tmp_path}/params.yaml: no such file. Run from the project's root or pass the path.")


def test_a_folder(tmp_path):
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path)
    assert str(error.value) == f"{tmp_path}: Is a directory. Pass the path of a readable YAML file."


@pytest.mark.parametrize("content", [b"base: [", b"\xff\xfe\x00", b"a:\n\t- b"])
def test_what_is_not_yaml(tmp_path, content):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path / "params.yaml")
    assert str(error.value).startswith(f"{tmp_path}/params.yaml is not YAML: ")


@pytest.mark.parametrize(("content", "got"), [("", "None"), ("[1]", "[1]"), ("word", "'word'")])
def test_what_is_no_section(tmp_path, content, got):
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path / "params.yaml")
    assert str(error.value) == (
        f"{tmp_path}/params.yaml: the file: must be a section of keys "
        f"(base, tasks, experts, train, policies, costs, evaluate, promote, monitor, generate, prompts). Got {got}."
    )


def test_the_projects_own_parameters_load():
    params = config.load(Path(__file__).parents[1] / "params.yaml")
    assert params.base.tasks
    assert set(params.base.llms) <= set(params.experts)


def test_the_network_of_a_team_costs_what_deciding_costs_unless_it_is_priced(tmp_path):
    def price(**prices):
        return load_with(tmp_path, "costs", prices=prices).costs.prices["team-network"]

    assert price() == config.Price()
    assert price(decider={"usd_per_hour": 2.0}) == config.Price(usd_per_hour=2.0)
    own = {"usd_per_1k_answers": 0.5}
    assert price(**{"team-network": own, "decider": {"usd_per_hour": 2.0}}) == config.Price(usd_per_1k_answers=0.5)
