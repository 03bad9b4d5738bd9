"""The flows `answer` and `monitor` as Prefect runs them: files in, answers out, drift met with a proposal."""

import json
import subprocess
import sys

import pytest
import yaml
from prefect.client.orchestration import get_client

from askless.errors import ExpertError
from askless.files import locked
from askless.registry import versions as registry
from askless.registry.versions import Unreachable
from flows.answer import answer
from flows.monitor import monitor
from tests.experts.chat_server import Answer
from tests.pipeline import write_params
from tests.production_data import chat_server, in_service, odd, production, said, texts
from tests.registry_data import MODEL, project, registry_in

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(scope="module")
def server():
    with chat_server() as running:
        yield running


@pytest.fixture
def shop(tmp_path, empty_store, server):
    server.reply = said
    with production(tmp_path, empty_store, server.url, window=100) as made:
        yield made


def artifact(key):
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort

    named = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=named, sort=ArtifactSort.CREATED_DESC)
    return found[0] if found else None


def test_files_are_answered_bad_ones_are_put_aside_and_a_table_says_so(shop):
    shop.comes("a.jsonl", texts(60))
    (shop.place.incoming / "bad.csv").write_text("tweet\nfine\n")
    (shop.place.incoming / "notes.txt").write_text("not for us")
    shop.comes("c.jsonl", texts(60, name="c"))
    found = answer("olhs")
    assert [(one["file"], one["status"]) for one in found] == [
        ("a.jsonl", "answered"),
        ("bad.csv", "put aside"),
        ("c.jsonl", "answered"),
    ]
    assert sorted(p.name for p in shop.place.incoming.iterdir()) == ["a.jsonl", "aside", "c.jsonl", "notes.txt"]
    table = artifact("answered-olhs")
    assert [row["file"] for row in json.loads(table.data)] == ["a.jsonl", "bad.csv", "c.jsonl"]
    # Of 1,000 items a tenth is audited, 60 of them would have stayed with the small one, at a tenth of a cent each.
    assert (
        table.description == "By version 1; 10 % of the items are put to both experts, about 0.06 usd per 1,000 items."
    )
    assert shop.log.read().num_rows == 120
    assert [one["status"] for one in answer("olhs")] == ["done before"] * 2


@pytest.mark.slow
def test_where_one_file_fails_the_flow_fails_after_the_others(shop, server):
    shop.comes("a.jsonl", texts(60))
    shop.comes("b.jsonl", ["A short text. x"] * 3)
    server.reply = lambda request, before: Answer({"error": {"message": "no such key"}}, status=401)
    with pytest.raises(ExpertError):
        answer("olhs")
    assert [p.name for p in shop.place.answered.glob("*.parquet")] == ["b.jsonl.parquet"]
    server.reply = said
    assert [one["status"] for one in answer("olhs")] == ["answered", "done before"]


def test_no_files_are_nothing_to_do(shop):
    assert answer("olhs") == []


@pytest.fixture(scope="module")
def serving(ran, tmp_path_factory):
    with in_service(ran, tmp_path_factory.mktemp("serving")) as made:
        yield made


@pytest.mark.slow
def test_drift_is_proposed_and_registered_and_nothing_is_changed(serving, monkeypatch):
    assert monitor("olhs")["status"] == "waiting"
    serving.comes("odd.jsonl", odd(150))
    answer("olhs")

    def gone(*_):
        raise Unreachable("The registry at http://127.0.0.1:9 did not do it: no answer. Try again.")

    with monkeypatch.context() as patch, pytest.raises(Unreachable):
        patch.setattr("flows.monitor.register_proposal", gone)
        monitor("olhs")
    # What was written is gone on with, whatever came in since.
    serving.comes("odd-too.jsonl", odd(10, "thus"))
    answer("olhs")
    found = monitor("olhs")
    assert found["status"] == "drift"
    assert found["message"].endswith(f"There is a proposal already: {found['proposal']}/reasons.md. It is version 2.")
    assert {v.number: v.aliases for v in registry.versions(MODEL["olhs"])} == {2: ("challenger",), 1: ("champion",)}
    page = artifact("monitor-olhs")
    assert page.description == "drift" and found["proposal"] in page.data and "| the scores |" in page.data
    # The same rows are no new look, and later drift is no second proposal.
    assert monitor("olhs")["status"] == "waiting"
    serving.comes("odder.jsonl", odd(150, "hence"))
    answer("olhs")
    later = monitor("olhs")
    assert (later["status"], later["proposal"]) == ("drift", found["proposal"])
    assert len(registry.versions(MODEL["olhs"])) == 2
    assert len(list((serving.folder / "reports/olhs/proposals").iterdir())) == 1
    assert registry.champion(MODEL["olhs"]).number == 1


def test_a_second_run_of_the_monitor_is_told_so(shop):
    with locked(shop.place.logged / ".monitor.lock"):
        assert monitor("olhs")["status"] == "busy"


def command(folder, environment, flow, *words):
    return subprocess.run(
        [sys.executable, "-m", f"flows.{flow}", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["answer", "monitor"])
def test_without_a_champion_it_is_one_paragraph_and_exit_code_1(flow, tmp_path, empty_store, environment):
    project(tmp_path)
    with registry_in(tmp_path, empty_store):
        done = command(tmp_path, environment, flow, "olhs")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"{flow} failed: ")]
    assert "Unknown registered model 'askless-olhs'" in line


@pytest.mark.slow
def test_an_impossible_level_is_one_paragraph_and_exit_code_1(tmp_path, environment):
    settings = yaml.safe_load((project(tmp_path) / "params.yaml").read_text())
    write_params(tmp_path, {**settings, "monitor": {"level": 2}})
    done = command(tmp_path, environment, "monitor", "olhs")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "monitor.level: Input should be less than 1. Got 2." in done.stderr
