"""The entries of params.yaml for the papers' models and a current one: each builds its expert, up to the download."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from askless import config
from askless.errors import ExpertError
from askless.experts import EXPERTS, Setting, build, resolve
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.seq2seq import Seq2SeqExpert
from askless.experts.local.vllm import VllmExpert
from askless.experts.paid import PaidExpert
from askless.experts.remote.openai import OpenAiExpert
from askless.prompts import PROMPTS
from tests.experts import vllm_double
from tests.experts.chat_server import Answer, chat
from tests.experts.tiny_models import examples

ROOT = Path(__file__).parents[2]
LOCAL = {"qwen1.5-7b-chat": "Qwen/Qwen1.5-7B-Chat", "qwen2.5-0.5b-instruct": "Qwen/Qwen2.5-0.5B-Instruct"}
OFFLINE = {
    "qwen1.5-7b-chat-vllm": "Qwen/Qwen1.5-7B-Chat",
    "chatglm3-6b-vllm": "zai-org/chatglm3-6b",
    "internlm2-chat-7b-vllm": "internlm/internlm2-chat-7b",
}
SUMMARISERS = {"t5-small": "Falconsai/text_summarization"}
HERE = ("extractive", "lead")
SERVED = {"chatglm3-6b": "zai-org/chatglm3-6b", "internlm2-chat-7b": "internlm/internlm2-chat-7b"}


def options(name):
    return config.load(ROOT / "params.yaml").expert(name)


def asked(name, task):
    """What a task of params.yaml tells the expert."""
    found = config.load(ROOT / "params.yaml").task(task)
    return Setting(name, task, found.classes, found.prompt)


@pytest.mark.parametrize("task", ["olhs", "xsum"])
@pytest.mark.parametrize("name", ["demo-xs", "demo-s", "demo-l", *LOCAL, *OFFLINE, *SERVED])
def test_one_entry_serves_both_tasks_each_with_its_own_prompt(name, task):
    expert = build(asked(name, task), options(name))
    assert isinstance(expert, PaidExpert)
    assert expert.template() is PROMPTS[f"demo-{task}" if name.startswith("demo-") else task]
    assert set(expert.words()) == ({"0", "1"} if task == "olhs" else set())


@pytest.mark.parametrize(("name", "repository"), [*LOCAL.items(), *SUMMARISERS.items()])
def test_an_entry_that_runs_here_asks_the_hub_for_its_commit(name, repository, monkeypatch):
    commits = []

    def download(repo_id, filename, *, revision, **_):
        commits.append((repo_id, str(revision)))
        raise ConnectionError("no download in a test")

    monkeypatch.setattr("transformers.utils.hub.hf_hub_download", download)
    expert = build(asked(name, "xsum"), options(name))
    assert isinstance(expert, Seq2SeqExpert if name in SUMMARISERS else LlmExpert)
    with pytest.raises(ExpertError, match=f"model '{repository}' at revision .*no download in a test"):
        expert.answer(examples(["a post"]))
    assert set(commits) == {(repository, options(name)["revision"])}
    assert re.fullmatch("[0-9a-f]{40}", options(name)["revision"])


@pytest.mark.parametrize(("name", "model"), SERVED.items())
def test_an_entry_that_is_served_asks_for_its_model(name, model, server):
    server.reply = lambda request, before: Answer(chat("1", {"1": 0.9, "0": 0.1}))
    assert re.fullmatch(r"http://localhost:\d+/v1", options(name)["base_url"])
    expert = build(asked(name, "olhs"), options(name) | {"base_url": server.url})
    assert isinstance(expert, OpenAiExpert)
    assert expert.answer(examples(["a post"]))["label"].to_pylist() == ["1"]
    assert server.requests[0].body["model"] == model
    assert "a post" in server.requests[0].text
    assert "Answer with one digit only" in server.requests[0].text


@pytest.mark.parametrize(("name", "repository"), OFFLINE.items())
def test_an_entry_of_vllm_starts_its_pinned_model(name, repository, tiny, monkeypatch):
    vllm_double.install(monkeypatch)
    told = {}

    def start(**asked):
        told.update(asked)
        return vllm_double.LLM(str(tiny))

    monkeypatch.setattr(sys.modules["vllm"], "LLM", start)
    expert = build(asked(name, "xsum"), options(name) | {"max_new_tokens": 2})
    assert isinstance(expert, VllmExpert)
    assert expert.answer(examples(["a post"])).num_rows == 1
    assert (told["model"], told["max_model_len"], told["enable_prefix_caching"]) == (repository, 4096, True)
    assert told["revision"] == told["code_revision"] == options(name)["revision"]
    assert re.fullmatch("[0-9a-f]{40}", told["revision"])


def test_the_page_on_experts_shows_the_same_entries():
    page = (ROOT / "docs" / "experts.md").read_text(encoding="utf-8")
    shown = {}
    for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.S):
        shown |= {name: each for name, each in yaml.safe_load(block).items() if "backend" in each}
    assert set(shown) == {*LOCAL, *OFFLINE, *SERVED, *SUMMARISERS, *HERE}
    assert {name: options(name) for name in shown} == shown


def test_the_table_of_backends_says_what_each_class_says_of_itself():
    page = (ROOT / "docs" / "experts.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in row.strip("|").split(" |")] for row in page.splitlines() if " | [`" in row]
    assert [row[0].strip("`") for row in rows] == list(EXPERTS)
    for (_, where, _, *said), backend in zip(rows, EXPERTS, strict=True):
        kind = resolve(backend)
        assert where == f"[`{kind.__name__}`][{kind.__module__}.{kind.__name__}]"
        answers = ["yes" if able else "no" for able in (kind.labels, kind.summarises, kind.kept)]
        assert said == [*answers, ", ".join(kind.packages)]
