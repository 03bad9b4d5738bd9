"""Looks taken one after another, their rows used once; on drift a proposal, and nothing changed by itself."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from askless import config
from askless.bundles.bundle import Bundle
from askless.errors import ConfigError, DataError
from askless.monitoring import baseline
from askless.registry import aliases as moves
from askless.registry import versions as registry
from tasks.answering import plain, serving
from tasks.monitoring import look_at_log, propose, read_looks, remember
from tasks.registration import register_proposal
from tests.pipeline import small_params, write_params
from tests.production_data import chat_server, in_service, odd, production, texts
from tests.registry_data import LLM, MODEL, kept

CALM, DRIFT = texts(120), texts(120, 101, 200)


@pytest.fixture(scope="module")
def server():
    with chat_server() as running:
        yield running


@pytest.fixture
def shop(tmp_path, empty_store, server):
    with production(tmp_path, empty_store, server.url, window=100) as made:
        yield made


def looked(shop, **changes):
    return look_at_log.fn(shop.task, shop.params, shop.data, "reports", {**shop.served, **changes})


def proposed(shop, found, again=False):
    return propose.fn(shop.task, shop.params, shop.data, "reports", shop.served, found, again)


def taken(shop, found, **more):
    remember.fn(shop.task, shop.params, shop.data, shop.served, {**found, **more})


def change(shop, **monitor):
    settings = yaml.safe_load(Path(shop.params).read_text())
    settings["monitor"] |= monitor
    write_params(shop.folder, settings)


def test_too_few_rows_wait_for_more(shop):
    assert looked(shop)["status"] == "waiting"
    shop.answer(shop.comes("a.jsonl", CALM[:60]))
    found = looked(shop)
    assert (found["status"], found["message"]) == ("waiting", "60 of 100 rows by version 1: too few for a look.")
    shop.answer(shop.comes("b.jsonl", CALM[60:]))
    assert looked(shop)["status"] != "waiting"


def test_the_same_texts_again_are_no_more_rows(shop):
    for name in ("a.jsonl", "b.jsonl"):
        shop.answer(shop.comes(name, CALM[:60]))
    assert looked(shop)["message"] == "60 of 100 rows by version 1: too few for a look."


def test_a_calm_window_is_no_drift_and_is_looked_at_once(shop):
    shop.answer(shop.comes("a.jsonl", CALM))
    found = looked(shop)
    assert found["status"] == "no drift", found["message"]
    about = json.loads(Path("reports/olhs/monitor/look.json").read_text())
    assert (about["rows"], about["version"], about["alarm"]) == (120, "1", False)
    assert Path("reports/olhs/monitor/look.md").read_text() == found["page"]
    taken(shop, found)
    (one,) = read_looks(shop.place)
    assert (one["status"], one["proposal"], one["parts"]) == ("no drift", "", [p.name for p in shop.log.parts()])
    assert looked(shop)["status"] == "waiting"


def test_a_killed_look_is_taken_again_and_finds_the_same(shop):
    shop.answer(shop.comes("a.jsonl", DRIFT))
    first, second = looked(shop), looked(shop)
    assert first == second and first["status"] == "drift"


@pytest.mark.slow
def test_longer_texts_are_drift_in_score_and_share(shop):
    shop.answer(shop.comes("a.jsonl", DRIFT))
    found = looked(shop)
    assert found["status"] == "drift"
    assert {"the scores", "the share deferred"} <= set(found["moved"])
    assert found["message"].startswith(
        "Drift: 120 rows of version 1 differ from those it was calibrated on. The scores: "
    )


def test_rows_of_another_version_are_not_its_own(shop):
    shop.answer(shop.comes("a.jsonl", DRIFT))
    shop.promote(kept(shop.folder, "other", budget=0.5))
    assert looked(shop)["message"] == "0 of 100 rows by version 2: too few for a look."


def test_a_days_looks_share_its_level_and_then_rows_wait(shop):
    change(shop, looks=2)
    path, now = shop.log.folder / "looks.json", datetime.now(UTC)
    looks = [
        {
            "time": (now - ago).isoformat(),
            "version": "1",
            "status": "no drift",
            "message": "",
            "parts": [],
            "proposal": "",
        }
        for ago in (timedelta(hours=30), timedelta(hours=20), timedelta(hours=1))
    ]
    shop.answer(shop.comes("a.jsonl", CALM))
    path.write_text(json.dumps(looks))
    found = looked(shop)
    assert found["status"] == "put off"
    assert found["message"] == "2 looks in the last 24 hours, all that share the day's level: these rows wait."
    path.write_text(json.dumps(looks[:2]))
    assert looked(shop)["status"] == "no drift"


@pytest.mark.slow
def test_audits_of_earlier_windows_count_and_no_more_parts_are_read_than_hold_enough(shop, monkeypatch):
    for name, items in (("a.jsonl", CALM), ("b.jsonl", texts(120, name="b")), ("c.jsonl", texts(120, name="c"))):
        shop.answer(shop.comes(name, items))
        before = looked(shop)
        taken(shop, before)
    shop.answer(shop.comes("d.jsonl", texts(120, name="d")))
    every = shop.log.read()
    found = looked(shop)
    count = sum(every["audit"].to_pylist())
    assert "| the agreement of small expert and reference | 0.6 (200) | " in found["page"]
    assert f"({count}) |" in found["page"] and count > sum(every["audit"].to_pylist()[-120:]) > 0
    read, reading = [], type(shop.log).read
    monkeypatch.setattr("tasks.monitoring.AUDITS", 5)
    monkeypatch.setattr(
        "askless.monitoring.decision_log.DecisionLog.read", lambda log, p=None: (read.append(p), reading(log, p))[1]
    )
    looked(shop)
    assert len({part for parts in read for part in parts}) == 1


def test_looks_are_remembered_as_long_as_their_rows_or_for_a_month(shop):
    path, now = shop.log.folder / "looks.json", datetime.now(UTC)
    shop.answer(shop.comes("a.jsonl", CALM))
    (part,) = (part.name for part in shop.log.parts())
    looks = [
        {"time": (now - timedelta(days=days)).isoformat(), "version": "1", "status": status, "parts": parts}
        for days, status, parts in ((50, "long gone", ["gone"]), (40, "old", ["gone", part]), (10, "late", ["gone"]))
    ]
    path.write_text(json.dumps([{**one, "message": "", "proposal": ""} for one in looks]))
    assert looked(shop)["status"] == "waiting"
    taken(shop, {"status": "no drift", "message": "", "parts": []})
    kept = [(one["status"], one["parts"]) for one in read_looks(shop.place)]
    assert kept == [("old", [part]), ("late", []), ("no drift", [])]


@pytest.mark.slow
def test_without_a_baseline_the_first_window_is_that(shop):
    shop.promote(kept(shop.folder, "bare"), budget="0.4")
    shop.answer(shop.comes("a.jsonl", CALM))
    found = looked(shop)
    said = "Version 2 came without a baseline: its first 120 rows are that from now on."
    assert (found["status"], found["message"]) == ("first window", said)
    taken(shop, found)
    # It tested nothing, so that it takes no part of the day's level.
    change(shop, looks=1)
    shop.answer(shop.comes("b.jsonl", DRIFT))
    assert looked(shop)["status"] == "drift"


def test_drift_is_met_with_one_proposal_and_no_more(shop):
    shop.answer(shop.comes("a.jsonl", DRIFT))
    found = looked(shop)
    first = proposed(shop, found)
    folder = Path(first["proposal"])
    assert folder.parent == Path("reports/olhs/proposals") and folder.name.startswith("version-1-")
    assert first["message"] == f"An operating point is proposed, and nothing was changed: {folder / 'reasons.md'}."
    about = Bundle.load(folder / "bundle").facts
    assert 0 < about["budget"] < 0.4 and about["recalibrated_on"] == folder.name
    diff = (folder / "bundle.diff").read_text()
    assert '-  "budget": 0.4,' in diff and f'+  "budget": {about["budget"]},' in diff
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert proposed(shop, found)["message"] == f"There is a proposal already: {folder / 'reasons.md'}."
    taken(shop, found, **first)
    shop.answer(shop.comes("b.jsonl", texts(120, 121, 200)))
    later = looked(shop)
    assert later["status"] == "drift"
    assert proposed(shop, later)["proposal"] == str(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    again = proposed(shop, later, again=True)
    assert again["proposal"] != str(folder) and Path(again["proposal"]).is_dir()
    assert registry.champion(MODEL["olhs"]).number == 1


@pytest.mark.slow
def test_what_no_dial_would_mend_is_not_met_with_one(shop):
    shop.answer(shop.comes("a.jsonl", DRIFT))
    found = proposed(shop, {**looked(shop), "moved": ["the share of errors"]})
    assert found == {
        "message": "No other operating point would mend that: look at the expensive experts.",
        "proposal": "",
    }


@pytest.mark.slow
def test_where_texts_are_gone_it_is_said_why_there_is_no_proposal(shop):
    shop.answer(shop.comes("a.jsonl", DRIFT))
    shutil.rmtree(shop.place.answered)
    found = proposed(shop, looked(shop))
    assert found["proposal"] == ""
    assert found["message"] == (
        "No operating point can be proposed: window: the texts of 0 of 120 rows. Allowed: those of nine in ten. "
        "Keep the answered files until they are looked at."
    )


@pytest.mark.slow
def test_a_recalibrated_version_that_serves_finds_the_new_rows_normal(shop):
    shop.answer(shop.comes("a.jsonl", DRIFT))
    folder = Path(proposed(shop, looked(shop))["proposal"])
    share = Bundle.load(folder / "bundle").facts["budget"]
    placed = shop.folder / "models" / "new" / "artifacts" / "bundle"
    shutil.copytree(folder / "bundle", placed)
    shop.promote(placed)
    assert serving(shop.settings, "olhs").share == share
    shop.answer(shop.comes("b.jsonl", texts(120, 101, 200, name="n")))
    found = looked(shop)
    assert found["status"] == "no drift", found["message"]
    assert "| the share deferred | 0.4" in found["page"]


def test_a_damaged_file_of_looks_is_named(shop):
    shop.answer(shop.comes("a.jsonl", CALM))
    path = shop.log.folder / "looks.json"
    path.write_text("[{")
    with pytest.raises(DataError) as error:
        looked(shop)
    assert str(error.value).startswith(f"{path}: unreadable (")
    assert str(error.value).endswith("Remove it: rows that were looked at are looked at again.")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("window", 5, "monitor.window: Input should be greater than or equal to 20. Got 5."),
        ("level", 0, "monitor.level: Input should be greater than 0. Got 0."),
        ("level", 1.5, "monitor.level: Input should be less than 1. Got 1.5."),
        ("looks", 0, "monitor.looks: Input should be greater than or equal to 1. Got 0."),
        ("audit_share", 2, "monitor.audit_share: Input should be less than or equal to 1. Got 2."),
        ("log_megabytes", 0, "monitor.log_megabytes: Input should be greater than 0. Got 0."),
        ("windwo", 5, "Unknown key 'windwo'. Known: "),
    ],
)
def test_values_that_cannot_be_meant_are_named(tmp_path, key, value, said):
    settings = small_params()
    settings["monitor"] = {key: value}
    with pytest.raises(ConfigError) as error:
        config.load(write_params(tmp_path, settings))
    assert said in str(error.value)


@pytest.fixture(scope="module")
def registered(built, tmp_path_factory):
    with in_service(built, tmp_path_factory.mktemp("registered")) as made:
        yield made


def test_a_registered_version_carries_its_baseline(registered):
    folder = Path(registered.served["folder"])
    rows = baseline.read(folder)
    assert registered.served["share"] == 0.4
    assert rows.num_rows == 105
    assert sum(bool(each) for each in rows["asked"].to_pylist()) == 42
    assert rows["audit"].to_pylist() == [True] * 105


def test_a_proposal_is_registered_once_for_a_person_to_decide(registered):
    registered.answer(registered.comes("odd.jsonl", odd(150)))
    found = looked(registered)
    assert found["status"] == "drift"
    folder = proposed(registered, found)["proposal"]
    numbers = [register_proposal.fn("olhs", registered.params, folder, 1) for _ in range(2)]
    assert numbers == ["2", "2"]
    new, old = (registry.find(MODEL["olhs"], number) for number in (2, 1))
    assert (new.proposed_by, new.aliases, old.aliases) == ("monitor", ("challenger",), ("champion",))
    share = Bundle.load(Path(folder, "bundle")).facts["budget"]
    assert new.budget == share and (new.quality, new.cost_per_1k) == (None, None)
    assert new.headline == f"Not evaluated: version 1 deferring {share:g}, set anew on rows of production."
    assert len(registry.versions(MODEL["olhs"])) == 2
    made = registry.resolve(new.address)
    assert baseline.read(made).num_rows == 150
    assert plain(serving(registered.settings, "olhs"))["version"] == "1"
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=registry.store(), registry_uri=registry.store())
    assert client.get_model_version(MODEL["olhs"], "2").tags["proposal"] == folder
    assert {a.path for a in client.list_artifacts(new.run_id)} == {"bundle.diff", "metrics.json", "reasons.md"}
    # One that is promoted by hand can itself be set anew: it has the evaluation with it.
    moves.promote(MODEL["olhs"], 2, expected=1, reason="by hand")
    again = Path(folder).with_name("version-2-again")
    shutil.copytree(folder, again)
    about = json.loads((again / "bundle/bundle.json").read_text())
    about["facts"] |= {"recalibrated_on": again.name}
    (again / "bundle/bundle.json").write_text(json.dumps(about))
    assert register_proposal.fn("olhs", registered.params, str(again), 2) == "3"
    assert LLM in registry.find(MODEL["olhs"], 3).experts
