"""Bundles of somebody who means harm: each is refused in a sentence; nothing is run, sent or written elsewhere."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from askless.bundles import trust
from askless.bundles.bundle import Bundle
from askless.bundles.terms import Terms, of_bundle
from askless.cli import app, main
from askless.commands.options import say
from askless.config import Costs, Price, check_name, load
from askless.errors import ConfigError, DataError
from askless.files import sha256_of
from askless.labelling.answerer import DeployedBundle
from askless.policies.two_tier import TwoTier
from tests.bundles.test_bundle import PAIR, boards, changed, fitted, small  # noqa: F401  fixtures
from tests.plans.test_evaluate import CLASSES

THEIRS = "https://collector.example/v1"
REMOTE = ("llm", "vllm", "openai", "recorded")
OPENAI = {"backend": "openai", "model": "m"}
PRICE = Price(usd_per_1k_answers=1.0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user who agreed to nothing yet, outside any project, with a secret in the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path


@pytest.fixture(scope="module")
def honest(tmp_path_factory, boards, small):  # noqa: F811
    policy = fitted(TwoTier, PAIR, boards)
    return Bundle.of(policy, CLASSES, {"task": "study"}, small).save(tmp_path_factory.mktemp("honest") / "p").folder


def with_terms(honest, home, price=PRICE, **options):
    """A copy of the bundle whose expensive expert is asked with these options."""
    folder = shutil.copytree(honest, home / "theirs", dirs_exist_ok=True)
    Terms("study", CLASSES, "olhs", {"e2": {**OPENAI, **options}}, Costs("usd", {"e2": price})).write(folder)
    return Bundle.load(folder)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"api_key_env": "AWS_SECRET_ACCESS_KEY"}, "would send what the variable 'AWS_SECRET_ACCESS_KEY' holds"),
        ({"api_key_env": "X_API_KEY\n"}, "would send what the variable"),
        ({"api_key_env": ["OPENAI_API_KEY"]}, "would send what the variable"),
        ({"base_url": "http://127.0.0.1:1/v1", "api_key_env": "HOME"}, "would send what the variable 'HOME' holds"),
        ({"backend": "llm", "trust_remote_code": True}, "has trust_remote_code, which runs code that came along"),
        ({"backend": "llm", "trust_remote_code": "yes"}, "has trust_remote_code, which runs code that came along"),
        ({"base_url": THEIRS}, f"texts would be sent to 'e2' at '{THEIRS}' with the key in OPENAI_API_KEY"),
        ({"base_url": "http://127.0.0.1@collector.example/v1"}, "texts would be sent to"),
        ({"base_url": "http://collector.example\\@127.0.0.1/v1"}, "texts would be sent to"),
        ({"base_url": "http://127.0.0.1.collector.example/v1"}, "texts would be sent to"),
        ({"base_url": "http://localhost:80@collector.example/v1"}, "texts would be sent to"),
        (
            {"backend": "llm", "model": "theirs/model"},
            "the model of 'e2' would be fetched from the hub: model 'theirs/model'",
        ),
    ],
)
def test_terms_that_reach_what_nobody_agreed_to_are_refused(honest, home, options, sentence):
    bundle = with_terms(honest, home, **options)
    with pytest.raises(ConfigError) as error:
        of_bundle(bundle, None)
    assert sentence in str(error.value) and "Allowed" in str(error.value) and "--params" in str(error.value)
    assert not trust.remembered_in().exists()


def test_a_server_is_shown_as_it_is_spelt(honest, home, capsys, monkeypatch):
    """An option could wipe the line with the address off a terminal, or write another sentence in its place."""
    model = "m\x1b[2K\x1b[1A\r\u202e is asked here.\nAllowed: everything."
    with_terms(honest, home, base_url=THEIRS, model=model)
    monkeypatch.setattr("sys.argv", ["askless", "label", "in.jsonl", "--model", str(home / "theirs"), "-o", "o.jsonl"])
    (home / "empty" / "in.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().err
    assert THEIRS in shown and repr(model) in shown and shown.count("\n") == 1 and shown[:-1].isprintable()
    say("a\x1b[2Jb\u202e\tc")
    assert capsys.readouterr().err == "a\\x1b[2Jb\\u202e\\tc\n"


@pytest.mark.parametrize("url", ["http://localhost:8000/v1", "http://127.0.0.1/v1", "https://[::1]:8/v1"])
def test_this_machine_needs_no_agreement(honest, home, url):
    assert of_bundle(with_terms(honest, home, base_url=url), None).experts["e2"]["base_url"] == url


@pytest.mark.parametrize("url", [None, THEIRS])
def test_an_agreement_is_remembered_until_an_option_or_a_price_changes(honest, home, monkeypatch, url):
    with pytest.raises(
        ConfigError, match="model 'm'; its price: usd_per_1k_answers 1.0. Allowed: servers, models and prices that"
    ):
        of_bundle(with_terms(honest, home, base_url=url), None)
    of_bundle(with_terms(honest, home, base_url=url), None, agreed=True)
    of_bundle(with_terms(honest, home, base_url=url), None)
    for other in (
        {"base_url": THEIRS + "/x"},
        {"api_key_env": "OTHER_API_KEY"},
        {"model": "the-dearest"},
        {"extra": {"n": 100}},
        {"max_tokens": 100_000},
        {"price": Price(usd_per_1k_answers=0.001)},
        {"price": Price(usd_per_1k_answers=1.0, cost="server")},
    ):
        bundle = with_terms(honest, home, **{"base_url": url, **other})
        with pytest.raises(ConfigError, match="texts would be sent to") as error:
            of_bundle(bundle, None)
        mark = str(error.value).split(f"{trust.VARIABLE}=")[1].split()[0]
        monkeypatch.setenv(trust.VARIABLE, f"another,{mark}")
        of_bundle(bundle, None)
    trust.remembered_in().write_text("{")
    monkeypatch.delenv(trust.VARIABLE)
    with pytest.raises(ConfigError, match="texts would be sent to"):
        of_bundle(with_terms(honest, home, base_url=url), None)


@pytest.mark.parametrize("options", [{"api_key_env": "AWS_SECRET_ACCESS_KEY"}, {"base_url": THEIRS}])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_label_sends_nothing(honest, home, options, more):
    with_terms(honest, home, **options)
    (home / "in.jsonl").write_text('{"text": "item 0.11"}\n{"text": "item 0.52"}\n')
    words = ["label", str(home / "in.jsonl"), "--model", str(home / "theirs"), "-o", str(home / "out.jsonl"), *more]
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0 and isinstance(done.exception, ConfigError)
    assert not (home / "out.jsonl").exists() and not (home / "out.jsonl.run").exists()


def test_a_small_expert_of_another_backend_runs_nothing(honest, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil"}))
    (code / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    options = {"model": str(code), "trust_remote_code": True}
    for backend, sentence in (
        ("seq2seq", "has trust_remote_code, which would run code of a bundle"),
        *((backend, f"backend {backend}, which no bundle can keep. Allowed: .*linear") for backend in REMOTE),
    ):
        bundle = Bundle.load(changed(honest, tmp_path / "p", small={"backend": backend, **options}, classes=[]))
        with pytest.raises(ConfigError, match=sentence):
            assert bundle.small
    assert not (tmp_path / "ran").exists()


def test_terms_without_the_name_of_a_backend_are_none(tmp_path):
    for backend in ([0], None, {}):
        Terms("study", CLASSES, "olhs", {"e2": {**OPENAI, "backend": backend}}, Costs("usd", {})).write(tmp_path)
        with pytest.raises(DataError, match="not the terms of experts"):
            Terms.read(tmp_path)


NAMES = ["../../../x", "/etc/x", "a/b", "a\\b", ".hidden", "", "a\nb", "a\0b", "x" * 101]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_paths_are_refused(honest, name, tmp_path):
    with pytest.raises(DataError, match="Got the name"):
        Bundle.load(changed(honest, tmp_path / "p", experts=["e0", name]))
    if name:
        with pytest.raises(DataError, match="Got the name"):
            Bundle.load(changed(honest, tmp_path / "p", facts={"task": name}))
    for task, expert in ((name, "e2"), ("study", name)):
        Terms(task, CLASSES, "olhs", {expert: OPENAI}, Costs("usd", {})).write(tmp_path)
        with pytest.raises(DataError, match="not the terms of experts"):
            Terms.read(tmp_path)
    with pytest.raises(ConfigError, match="Got the name"):
        check_name(name)


@pytest.mark.parametrize("name", ["gpt-4o-mini", "Qwen1.5 (7B)", "org:model@2", "größer", "_x"])
def test_names_that_people_give_are_kept(name):
    check_name(name)


@pytest.mark.parametrize("classes", [[None], [2**63, "B"], [["A"], "B"]])
def test_classes_that_are_no_texts_are_refused(honest, classes, tmp_path):
    with pytest.raises(DataError, match="'classes' in bundle.json is"):
        Bundle.load(changed(honest, tmp_path / "p", classes=classes))


def test_files_that_are_not_those_that_were_saved_are_not_read(honest, tmp_path):
    digests = json.loads((honest / "bundle.json").read_text())["digests"]
    with pytest.raises(DataError, match="small.safetensors is not the file that was saved"):
        assert Bundle.load(changed(honest, tmp_path / "p", digests={})).policy
    (changed(honest, tmp_path / "p") / "allocator.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="allocator.safetensors is not the file that was saved"):
        assert Bundle.load(tmp_path / "p").policy
    assert {"small.safetensors", "vectors/vectors.safetensors"} <= set(digests)
    for part in digests:
        folder = changed(honest, tmp_path / "p")
        (folder / part).write_bytes((folder / part).read_bytes() + b" ")
        with pytest.raises(DataError, match=f"{part} is not the file that was saved"):
            assert Bundle.load(folder).policy
    (tmp_path / "secret").write_text("x")
    with pytest.raises(DataError, match="is not the file that was saved"):
        assert Bundle.load(changed(honest, tmp_path / "p", digests={**digests, "../secret": "0"})).policy
    (folder := changed(honest, tmp_path / "p")).joinpath("small.safetensors").unlink()
    (folder / "small.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="is not the file that was saved"):
        assert Bundle.load(folder).policy


def redigested(folder):
    """The bundle of somebody who can write all of it."""
    about = json.loads((folder / "bundle.json").read_text())
    about["digests"] = {name: sha256_of(folder / name) for name in about["digests"]}
    (folder / "bundle.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("small.safetensors", lambda state: {**state, "weights.1": np.full_like(state["weights.1"], np.nan)}),
        ("small.safetensors", lambda state: {**state, "weights.0": np.zeros((1, 1, 200_000), np.float32)}),
        ("small.safetensors", lambda state: {"weights.0": state["weights.0"]}),
        ("vectors/vectors.safetensors", lambda state: {"vectors": np.full_like(state["vectors"], np.inf)}),
    ],
    ids=["no number", "far too wide", "not all there", "infinite vectors"],
)
def test_weights_that_are_none_are_refused_before_anything_is_made_of_them(honest, tmp_path, name, made):
    folder = shutil.copytree(honest, tmp_path / "p")
    save_file(made(load_file(folder / name)), folder / name)
    tracemalloc.start()
    with pytest.raises(DataError) as error:
        assert Bundle.load(redigested(folder)).policy
    assert tracemalloc.get_traced_memory()[1] < 2**26 and name.split("/")[0] in str(error.value)
    tracemalloc.stop()


DEEP = "[" * 200_000


def test_files_nested_without_end_are_refused(honest, home):
    with_terms(honest, home)
    (home / "theirs" / "terms.json").write_text(DEEP)
    with pytest.raises(DataError, match="nested too deep"):
        of_bundle(Bundle.load(home / "theirs"), None)
    (home / "theirs" / "bundle.json").write_text(DEEP)
    with pytest.raises(DataError, match="nested too deep"):
        Bundle.load(home / "theirs")
    (home / "plan.yaml").write_text(DEEP)
    with pytest.raises(ConfigError, match="nested too deep"):
        load(home / "plan.yaml")


def test_a_run_that_came_along_does_not_say_who_answers(home, monkeypatch):
    asked_for = []

    def at(address, *_):
        asked_for.append(address)
        raise DataError(address, "nobody", "somebody", "Stop.")

    monkeypatch.setattr(DeployedBundle, "at", at)
    (home / "in.jsonl").write_text('{"text": "item 0.11"}\n')
    (home / "out.jsonl.run").mkdir()
    asked = "models:/askless-olhs@champion"
    theirs = [str(home), "models:/other/1", "models:/askless-olhs/../x", ["models:/askless-olhs/1"], asked, None]
    for model in (*theirs, "models:/askless-olhs/12"):
        (home / "out.jsonl.run" / "run.json").write_text(json.dumps({"asked": asked, "model": model}))
        CliRunner().invoke(app, ["label", str(home / "in.jsonl"), "--model", asked, "-o", str(home / "out.jsonl")])
    assert asked_for == [asked] * len(theirs) + ["models:/askless-olhs/12"]
    (home / "out.jsonl.run" / "run.json").write_text(DEEP)
    CliRunner().invoke(app, ["label", str(home / "in.jsonl"), "--model", asked, "-o", str(home / "out.jsonl")])
    assert asked_for[-1] == asked


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": {"olhs": ["olhs"]}}, "prompt"),
        ({"extra": "x"}, "extra"),
        ({"extra": {"n": 100}, "max_tokens": 16}, "extra"),
        ({"extra": {"max_completion_tokens": 10**6}}, "extra"),
        ({"extra": {"messages": []}}, "extra"),
    ],
)
def test_options_that_change_what_is_billed_are_refused(honest, home, options, said, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    terms = of_bundle(with_terms(honest, home, **options), None, agreed=True)
    with pytest.raises(ConfigError, match=said):
        terms.expert("e2", home / "answers").validate()
