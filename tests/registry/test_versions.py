"""A `models:/` address into a bundle folder, versions listed, aliases moved: one champion, whatever happens."""

import json
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import mlflow
import pytest
from sqlalchemy.exc import OperationalError

from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide
from askless.errors import ConfigError, DataError
from askless.registry import aliases as moves
from askless.registry import versions as registry
from askless.registry.versions import Unreachable
from tests.pipeline import MODEL, working_in
from tests.registry_data import register, registry_in


@pytest.fixture(scope="module")
def three_versions(tmp_path_factory, empty_store):
    """The database of a registry with three versions and no champion; tests begin with a copy of it."""
    folder = tmp_path_factory.mktemp("three")
    with registry_in(folder, empty_store) as client:
        for _ in range(3):
            register(client)
    return folder / "mlruns/mlflow.db"


@pytest.fixture
def client(tmp_path, three_versions):
    """A registry with three versions and no champion."""
    with registry_in(tmp_path, three_versions) as client:
        yield client


def aliases():
    return {alias: v.number for v in registry.versions(MODEL) for alias in v.aliases}


def first(number=1):
    return moves.promote(MODEL, number, expected=None, reason="the first")


def test_a_folder_is_itself():
    assert str(registry.resolve("models/olhs/teams/team/seed-67")) == "models/olhs/teams/team/seed-67"
    assert registry.at("models/olhs/teams/team/seed-67") is None


def test_the_store_is_where_the_environment_says_else_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert registry.store() == "http://tracking:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert registry.store() == f"sqlite:///{tmp_path}/mlruns/mlflow.db"


@pytest.mark.parametrize("address", [f"models:/{MODEL}@challenger", f"models:/{MODEL}/1"])
def test_an_address_is_a_bundle_that_decides(built, address):
    with working_in(built):
        folder = registry.resolve(address)
        assert Bundle.load(folder).facts["team"] == "team"
        assert len(decide(Bundle.load(folder), ["what a day"]).expert) == 1


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"models:/{MODEL}@champion", "no such alias. Allowed: a version that is there (1 = challenger). Put one in"),
        (f"models:/{MODEL}/9", "no such version. Allowed: a version that is there (1 = challenger). Correct it."),
        (f"models:/{MODEL}", "no address of a version. Allowed: models:/<name>@<alias> or models:/<name>/<version>."),
        ("models:/askles-olhs@challenger", "Known: askless-olhs. Did you mean 'askless-olhs'?"),
    ],
)
def test_an_unknown_address_is_named(built, address, said):
    with working_in(built), pytest.raises((DataError, ConfigError)) as caught:
        registry.resolve(address)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_files_of_a_version_that_are_gone_are_missed_by_its_name(client):
    with pytest.raises(DataError, match=rf"^models:/{MODEL}/2: .*Register it again\.$"):
        registry.resolve(f"models:/{MODEL}/2")


def test_versions_tell_what_was_written_down(tmp_path, empty_store):
    tags = {
        "kind": "team_gain",
        "experts": "mlp,demo-l",
        "seed": 68,
        "unit": "usd",
        "headline": "Same quality.",
        "threshold": "lambda 2",
        "quality": 0.875,
        "cost_per_1k": None,
        "budget": 0.3,
        "dvc_lock_sha256": "abc",
        "git_commit": "def",
        "run_id": "r",
    }
    with registry_in(tmp_path, empty_store) as client:
        register(client)
        register(client, **tags)
        newest, oldest = registry.versions(MODEL)
    assert (newest.number, newest.aliases, oldest.aliases) == (2, ("challenger",), ())
    assert newest.experts == ("mlp", "demo-l")
    assert (newest.quality, newest.cost_per_1k, newest.budget) == (0.875, None, 0.3)
    assert {k: getattr(newest, k) for k in ("kind", "unit", "headline", "threshold", "git_commit", "run_id")} == {
        k: tags[k] for k in ("kind", "unit", "headline", "threshold", "git_commit", "run_id")
    }
    assert newest.address == f"models:/{MODEL}/2"
    assert (oldest.experts, oldest.budget, oldest.verdict, oldest.replaced) == ((), None, "", None)
    assert json.loads(json.dumps(newest.as_dict()))["dvc_lock_sha256"] == "abc"


def test_what_the_pipeline_registers_tells_its_operating_point_and_what_it_was_made_from(built):
    with working_in(built):
        version = registry.find(MODEL, "challenger")
    summary = json.loads((built / "reports/olhs/metrics.json").read_text())
    head = summary["headline"]
    seeds = summary["policies"][head["policy"]]["seeds"]
    assert version.budget == head["budgets"][seeds.index(int(version.seed))]
    assert version.threshold.startswith("lambda ")
    assert (version.task, version.unit, version.cost_per_1k) == ("olhs", "usd", head["cost_per_1k"]["value"])
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=built, capture_output=True, text=True, check=True)
    assert version.git_commit == commit.stdout.strip()
    assert len(version.dvc_lock_sha256) == 64


def test_no_registry_is_one_sentence_and_makes_none(tmp_path):
    with working_in(tmp_path), pytest.raises(DataError, match="no such file. Allowed: a registry with a version"):
        registry.versions(MODEL)
    assert list(tmp_path.iterdir()) == []


def test_the_first_champion_replaces_nobody(client):
    assert registry.champion(MODEL) is None
    now = first()
    assert (now.number, now.verdict, now.reason, now.replaced) == (1, "promoted", "the first", None)
    assert aliases() == {"champion": 1, "challenger": 3}


def test_a_promotion_keeps_the_champion_before(client):
    first()
    now = moves.promote(MODEL, 3, expected=1, reason="better")
    assert (now.number, now.replaced, now.aliases) == (3, 1, ("challenger", "champion"))
    assert aliases() == {"champion": 3, "previous": 1, "challenger": 3}


def test_a_promotion_against_another_champion_names_the_winner(client):
    first()
    moves.promote(MODEL, 2, expected=1, reason="As good and cheaper")
    with pytest.raises(DataError) as caught:
        moves.promote(MODEL, 3, expected=1, reason="better")
    assert str(caught.value) == (
        f"models:/{MODEL}/3: version 2 is champion by now (As good and cheaper). Allowed: the champion that it was "
        "compared with. Compare the two and promote again."
    )
    assert aliases() == {"champion": 2, "previous": 1, "challenger": 3}
    assert registry.find(MODEL, 3).verdict == ""


def test_a_champion_that_comes_between_look_and_move_is_seen(client, monkeypatch):
    first()
    mark = moves._tag

    def overtaken(model, number, *rest, **more):
        mark(model, number, *rest, **more)
        client.set_registered_model_alias(MODEL, "champion", "2")

    monkeypatch.setattr(moves, "_tag", overtaken)
    with pytest.raises(DataError, match="version 2 is champion by now"):
        moves.promote(MODEL, 3, expected=1, reason="better")
    assert aliases()["champion"] == 2


def test_promoting_who_is_champion_changes_nothing(client):
    first()
    moves.promote(MODEL, 2, expected=1, reason="better")
    assert moves.promote(MODEL, 2, expected=1, reason="again").reason == "better"
    assert aliases() == {"champion": 2, "previous": 1, "challenger": 3}


def test_a_version_that_is_not_there_is_never_promoted(client):
    with pytest.raises(DataError, match="no such version"):
        moves.promote(MODEL, 9, expected=None, reason="x")
    assert aliases() == {"challenger": 3}


def test_a_refusal_is_a_mark_and_moves_nothing(client):
    first()
    moves.refuse(MODEL, 3, "Neither better nor cheaper.")
    version = registry.find(MODEL, 3)
    assert (version.verdict, version.reason) == ("refused", "Neither better nor cheaper.")
    assert version.decided.endswith(" UTC")
    assert aliases() == {"champion": 1, "challenger": 3}


def test_the_champion_is_not_refused(client):
    first()
    with pytest.raises(DataError, match=r"version 1 is champion by now \(the first\)"):
        moves.refuse(MODEL, 1, "worse")
    assert registry.find(MODEL, 1).verdict == "promoted"


def test_a_rollback_and_the_rollback_of_it(client):
    first()
    moves.promote(MODEL, 3, expected=1, reason="better")
    now = moves.rollback(MODEL, "complaints")
    assert (now.number, now.verdict, now.reason) == (1, "restored", "Version 3 was rolled back: complaints")
    assert aliases() == {"champion": 1, "previous": 3, "challenger": 3}
    undone = registry.find(MODEL, 3)
    assert (undone.verdict, undone.reason) == ("rolled back", "Version 3 was rolled back: complaints")
    assert moves.rolled_back(undone, now)
    assert not moves.rolled_back(registry.find(MODEL, 2), now)
    again = moves.rollback(MODEL)
    assert (again.number, again.verdict, again.replaced) == (3, "restored", 1)
    assert aliases() == {"champion": 3, "previous": 1, "challenger": 3}


def test_there_must_be_something_to_roll_back_to(client):
    with pytest.raises(DataError, match="no such alias"):
        moves.rollback(MODEL)
    first()
    with pytest.raises(DataError, match="the first champion. Allowed: one that followed another"):
        moves.rollback(MODEL)
    moves.promote(MODEL, 2, expected=1, reason="better")
    client.delete_model_version(MODEL, "1")
    with pytest.raises(DataError, match="no such version"):
        moves.rollback(MODEL)
    assert aliases() == {"champion": 2, "challenger": 3}


def test_a_deleted_champion_is_not_no_champion_yet(client):
    first()
    moves.promote(MODEL, 2, expected=1, reason="better")
    client.delete_model_version(MODEL, "2")
    assert registry.serving(MODEL) is None
    with pytest.raises(DataError) as caught:
        registry.champion(MODEL)
    assert str(caught.value) == (
        f"models:/{MODEL}@champion: no such alias. Allowed: a version that is there (3 = challenger, 1 = previous). "
        f"Put one in its place: askless promote {MODEL} VERSION --by-hand --reason TEXT."
    )
    assert moves.promote(MODEL, 1, expected=None, reason="by hand").number == 1


def test_an_alias_to_a_deleted_version_says_so(client, tmp_path):
    import sqlite3

    first()
    connection = sqlite3.connect(tmp_path / "mlruns/mlflow.db")
    with connection:
        connection.execute("UPDATE registered_model_aliases SET version = 7 WHERE alias = 'champion'")
    connection.close()
    with pytest.raises(DataError, match=r"@champion: it names version 7, which was deleted\. Allowed: .* \(3 = chall"):
        registry.champion(MODEL)
    assert moves.promote(MODEL, 2, expected=None, reason="by hand").number == 2


class Killed(BaseException):
    """As sudden as SIGKILL: nothing that handles errors handles it."""


def killed_at(monkeypatch, write):
    """Let the store die just before its `write`-th write from now."""
    from mlflow import MlflowClient

    count = iter(range(1_000))

    def mortal(write_it):
        def writing(self, *words):
            if next(count) == write:
                raise Killed
            return write_it(self, *words)

        return writing

    for name in ("set_model_version_tag", "set_registered_model_alias", "set_registered_model_tag"):
        monkeypatch.setattr(MlflowClient, name, mortal(getattr(MlflowClient, name)))


def consistent():
    """Who is champion; its tags are whole, and it followed whom its tags say."""
    now = registry.champion(MODEL)
    assert sum("champion" in v.aliases for v in registry.versions(MODEL)) == 1
    assert now.verdict in ("promoted", "restored")
    assert now.reason
    assert now.replaced != now.number
    return now


@pytest.mark.parametrize("write", range(9))
def test_a_promotion_killed_at_any_write_leaves_one_whole_champion(client, monkeypatch, write):
    first()
    moves.promote(MODEL, 2, expected=1, reason="better")
    with monkeypatch.context() as patched:
        killed_at(patched, write)
        with pytest.raises(Killed):
            moves.promote(MODEL, 3, expected=2, reason="cheaper")
    now = consistent()
    assert (now.number, now.replaced) == ((2, 1) if write < 7 else (3, 2))
    assert moves.promote(MODEL, 3, expected=2, reason="cheaper").number == 3
    assert aliases() == {"champion": 3, "previous": 2, "challenger": 3}
    assert moves.rollback(MODEL).number == 2


@pytest.mark.parametrize("write", range(12))
def test_a_rollback_killed_at_any_write_leaves_one_whole_champion(client, monkeypatch, write):
    first()
    moves.promote(MODEL, 3, expected=1, reason="better")
    with monkeypatch.context() as patched:
        killed_at(patched, write)
        with pytest.raises(Killed):
            moves.rollback(MODEL, "complaints")
    now = consistent()
    assert (now.number, now.replaced) == ((3, 1) if write < 6 else (1, 3))
    if write < 6:
        now = moves.rollback(MODEL, "complaints")
    assert moves.rolled_back(registry.find(MODEL, 3), now)
    moves.refuse(MODEL, 2, "the next command")
    assert aliases() == {"champion": 1, "previous": 3, "challenger": 3}
    assert registry.find(MODEL, 3).verdict == "rolled back"


def test_as_many_writes_as_the_tests_above_die_at(client, monkeypatch):
    first()
    with monkeypatch.context() as patched:
        killed_at(patched, 9)
        moves.promote(MODEL, 3, expected=1, reason="better")
    with monkeypatch.context() as patched:
        killed_at(patched, 12)
        moves.rollback(MODEL)


RACE = """
import multiprocessing, sys
from askless.registry import aliases as moves
from askless.errors import DataError
import mlflow

def run(number, gate, said):
    gate.wait()
    try:
        moves.promote(sys.argv[1], number, expected=1, reason=f"by process {number}")
        said.put(("won", number, ""))
    except DataError as error:
        said.put(("lost", number, str(error)))

# Each waits for all before it, however busy the machine is.
moves.LOCK_SECONDS = 600
context = multiprocessing.get_context("fork")
most = int(sys.argv[2])
gate, said = context.Barrier(most), context.Queue()
runs = [context.Process(target=run, args=(number, gate, said)) for number in range(2, 2 + most)]
for process in runs: process.start()
for _ in runs: print(*said.get(timeout=600), sep="|")
for process in runs: process.join()
"""


@pytest.mark.slow
@pytest.mark.parametrize("most", [3, 10])
def test_of_promotions_at_once_one_wins_and_the_others_are_told_who(tmp_path, empty_store, most):
    with registry_in(tmp_path, empty_store) as client:
        for _ in range(most + 1):
            register(client)
        first()
        command = [sys.executable, "-c", RACE, MODEL, str(most)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=None)
        assert done.returncode == 0, done.stderr[-2000:]
        told = [line.split("|") for line in done.stdout.splitlines()]
        ((_, winner, _),) = [line for line in told if line[0] == "won"]
        losers = [line for line in told if line[0] == "lost"]
        assert len(losers) == most - 1
        assert all(f"version {winner} is champion by now (by process {winner})" in line[2] for line in losers)
        assert aliases() == {"champion": int(winner), "previous": 1, "challenger": most + 1}
        assert [v.number for v in registry.versions(MODEL) if v.verdict == "promoted"] == [int(winner), 1]


def test_a_lock_that_is_never_let_go_is_an_error_that_names_it(client, tmp_path, monkeypatch):
    monkeypatch.setattr(moves, "LOCK_SECONDS", 0.1)
    code = (
        "import fcntl, sys, threading; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); threading.Event().wait()"
    )
    lock = tmp_path / "mlruns" / moves.LOCK
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataError, match=r"\.registry\.lock: held by another process for 0\.1 s"):
            first()
        holder.kill()
    assert first().number == 1


@pytest.mark.parametrize(
    ("scheme", "password"),
    [("http", "a-secret"), ("postgresql+psycopg2", "a-secret"), ("mysql", "a-secret"), ("postgresql", "a#5/secret?")],
)
def test_a_server_that_does_not_answer_is_one_sentence(tmp_path, monkeypatch, scheme, password):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with working_in(tmp_path):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://me:{password}@127.0.0.1:9/it")
        with pytest.raises(Unreachable) as caught:
            moves.rollback(MODEL)
    said = f"The registry at {scheme}://me:***@127.0.0.1:9/it did not do it: Connection refused. Try again."
    assert str(caught.value) == said


def test_a_rollback_whose_last_writes_fail_says_that_it_was_done(client, monkeypatch):
    first()
    moves.promote(MODEL, 3, expected=1, reason="better")

    def fails(model):
        raise Unreachable("The registry did not do it.")

    monkeypatch.setattr(moves, "_followed", fails)
    with pytest.raises(Unreachable, match=f"Version 1 is champion of {MODEL} again; do not roll back once more"):
        moves.rollback(MODEL)
    monkeypatch.undo()
    assert registry.serving(MODEL).number == 1


@pytest.mark.parametrize("tag", ["budget", "quality", "cost_per_1k", "replaced"])
def test_a_tag_that_is_no_number_is_named(client, tag):
    client.set_model_version_tag(MODEL, "2", tag, "half of them")
    with pytest.raises(DataError, match=f"models:/{MODEL}/2: its tag {tag} is 'half of them'"):
        registry.versions(MODEL)


@pytest.mark.parametrize("reason", ["Größer als zuvor. " * 400, '"\n' * 3000])
def test_a_decision_fits_into_the_column_of_a_tag(monkeypatch, reason):
    kept, client = {}, SimpleNamespace(set_registered_model_tag=lambda model, key, value: kept.update({key: value}))
    monkeypatch.setattr(registry, "asking", lambda model: nullcontext(client))
    when = "2026-11-29 17:00 UTC"
    version = SimpleNamespace(model="m", number=3, verdict="refused", decided=when, by="a@b", replaced=2, reason=reason)
    registry.record(version)
    (value,) = kept.values()
    assert len(value) <= 5000 and json.loads(value)["reason"] == reason[:2000]


def test_a_database_that_is_locked_is_said_in_one_paragraph(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")

    def locked(**_):
        raise OperationalError("SELECT 1", {}, Exception("database is locked"))

    monkeypatch.setattr(mlflow, "MlflowClient", locked)
    with pytest.raises(Unreachable, match=r"did not do it: \(builtins.Exception\) database is locked. Try again."):
        registry.versions(MODEL)
