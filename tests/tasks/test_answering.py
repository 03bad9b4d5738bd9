"""Files of new items: answered once, paid once, logged once, whatever happens in between."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from askless import config, schema
from askless.bundles.terms import Terms
from askless.data.prepare import ids
from askless.errors import ConfigError, DataError, ExpertError
from askless.evaluation.distillation import lessons
from askless.experts.answer_store import AnswerStore
from askless.experts.remote import batches
from askless.files import locked
from askless.spending.ledger import Ledger
from tasks import answering
from tasks.answering import ANSWERED, Place, answer_file, brought, new_files, news_of_spending, plain, serving
from tests.experts.batch_server import batch_server
from tests.experts.chat_server import Answer, chat
from tests.labelling.label_data import shop as label_shop
from tests.labelling.label_data import write_items
from tests.pipeline import ROOT, write_params
from tests.production_data import LLM, SHARE, chat_server, production, said, texts
from tests.registry_data import MODEL, PRICE, kept, project, register, registry_in


@pytest.fixture
def server():
    with chat_server() as running:
        yield running


@pytest.fixture
def shop(tmp_path, empty_store, server):
    with production(tmp_path, empty_store, server.url) as made:
        yield made


def test_a_file_is_answered_by_batches_at_their_price(tmp_path, empty_store, monkeypatch):
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.001)
    with batch_server() as server, production(tmp_path, empty_store, server.url) as shop:
        settings = yaml.safe_load(Path("params.yaml").read_text())
        settings["experts"][LLM]["mode"] = "batch"
        settings["costs"]["prices"][LLM]["batch"] = {"usd_per_1k_answers": 500 * PRICE}
        write_params(tmp_path, settings)
        found = shop.answer(shop.comes("a.jsonl", texts(40)))
        rows = output(shop).to_pylist()
        assert all(row["answer"] == str(int("A long" in row["text"])) for row in rows if row["expert"] == LLM)
        assert not server.requests and server.answered.total() == sum(
            bool(row["asked"]) or row["audit"] for row in rows
        )
        assert found["cost"] + found["audit_cost"] == pytest.approx(PRICE / 2 * server.answered.total())


def output(shop, name="a.jsonl"):
    return pq.read_table(shop.place.answered / f"{name}.parquet")


def logged(shop):
    return shop.log.read()


def test_a_file_is_answered_row_by_row_and_logged(shop, server):
    items = texts(100)
    found = shop.answer(shop.comes("a.jsonl", items))
    rows = output(shop)
    assert rows.schema.equals(ANSWERED)
    assert rows["text"].to_pylist() == items
    assert rows["source_id"].to_pylist() == [f"a.jsonl-{i}" for i in range(100)]
    assert rows["id"].to_pylist() == ids("olhs", items)
    deferred = np.array([bool(each) for each in rows["asked"].to_pylist()])
    assert deferred.mean() == pytest.approx(SHARE, abs=0.05)
    assert deferred[-30:].all() and not deferred[:30].any()
    said = ["1" if put and "A long" in text else "0" for put, text in zip(deferred, items, strict=True)]
    assert rows["answer"].to_pylist() == said
    assert rows["expert"].to_pylist() == [LLM if d else "majority" for d in deferred]
    audited = np.array(rows["audit"].to_pylist())
    assert 0 < audited.sum() < 30
    assert len(server.requests) == (deferred | audited).sum()
    both = [row for row in rows.to_pylist() if row["audit"]]
    assert all(row["agree"] == (row["small_answer"] == row["answers"][0]["answer"]) for row in both)
    assert found == {
        "file": "a.jsonl",
        "status": "answered",
        "reason": "",
        "rows": 100,
        "deferred": deferred.sum(),
        "errors": 0,
        "cost": pytest.approx(sum(rows["cost"].to_pylist())),
        "audited": audited.sum(),
        "audit_cost": pytest.approx(sum(rows["audit_cost"].to_pylist())),
    }
    assert found["audit_cost"] > 0
    log = logged(shop)
    assert log["id"].to_pylist() == shop.place.log(shop.settings.monitor).names(rows["id"].to_pylist())
    assert not set(log["id"].to_pylist()) & set(rows["id"].to_pylist())
    assert log["text"].null_count == 100 and log["answer"].null_count == 0
    assert set(log["version"].to_pylist()) == {"1"}
    assert schema.meta_of(rows)["version"] == "1"


def test_a_file_that_is_done_is_left_alone_and_nothing_is_asked(shop, server):
    path = shop.comes("a.jsonl", texts(60))
    shop.answer(path)
    asked, out, log = len(server.requests), (shop.place.answered / "a.jsonl.parquet").read_bytes(), logged(shop)
    for touch in (False, True):
        if touch:
            os.utime(path)
        assert shop.answer(path) == {"file": "a.jsonl", "status": "done before", "reason": ""}
    assert len(server.requests) == asked
    assert (shop.place.answered / "a.jsonl.parquet").read_bytes() == out
    assert logged(shop).equals(log)


def test_texts_that_were_paid_for_are_not_paid_for_again_in_another_file(shop, server):
    items = texts(60)
    shop.answer(shop.comes("a.jsonl", items))
    asked = len(server.requests)
    found = shop.answer(shop.comes("b.csv.jsonl", items, ids=False))
    assert found["status"] == "answered" and len(server.requests) == asked
    assert output(shop, "b.csv.jsonl")["answer"].equals(output(shop)["answer"])
    assert logged(shop).num_rows == 120


def test_beyond_the_limit_of_a_day_the_small_expert_answers(shop, server):
    items = texts(60)
    shop.answer(shop.comes("a.jsonl", items[:30]), max_usd_per_day=5.5 * PRICE)
    shop.answer(shop.comes("b.jsonl", items[30:]), max_usd_per_day=5.5 * PRICE)
    rows = [*output(shop).to_pylist(), *output(shop, "b.jsonl").to_pylist()]
    assert len(server.requests) == 5 and sum(row["cost"] + row["audit_cost"] for row in rows) == pytest.approx(
        5 * PRICE
    )
    beyond = [row for row in rows if row["reason"] == "limit"]
    assert len(beyond) > 10 and {row["expert"] for row in beyond} == {"majority"}
    assert beyond[0]["error"] == f"{LLM}: limit: the spend limit of $0.0055 is reached"


def test_what_was_paid_in_a_month_is_told_once(shop, server):
    place = Place("olhs", "data")
    assert news_of_spending(place, 0.0) == ""
    shop.answer(shop.comes("a.jsonl", texts(30)))
    assert news_of_spending(place, None) == news_of_spending(place, 1e6) == ""
    with Ledger(place.logged / "answer.sqlite") as ledger:
        budget = ledger.spent * 1.25
    assert news_of_spending(place, budget, 0.81) == ""
    said = news_of_spending(place, budget, 0.79)
    assert said.startswith("Experts were paid $") and "for olhs, more than 79 % of the $" in said
    assert news_of_spending(place, 0.0) == ""


def test_a_text_twice_in_a_file_is_decided_and_billed_once_and_answered_twice(shop, server):
    items = texts(40)
    rows_of = shop.answer(shop.comes("a.jsonl", [*items, *items[::-1]]))
    rows = output(shop)
    assert rows["answer"].to_pylist()[:40] == rows["answer"].to_pylist()[:39:-1]
    assert logged(shop).num_rows == 40
    assert sum(rows["cost"].to_pylist()) == pytest.approx(sum(logged(shop)["cost"].to_pylist()))
    assert rows_of["rows"] == 80 and max(Counter(server.asked()).values()) == 1


def test_what_experts_answered_teaches_the_small_expert(shop):
    shop.answer(shop.comes("a.jsonl", texts(100)))
    rows = output(shop)
    asked = sum(bool(each) for each in rows["answers"].to_pylist())
    learnt = lessons(shop.place.answered, LLM, schema.table("examples", {}), ("0", "1"))
    assert learnt.num_rows == asked > 40


def bad_files(shop):
    """Every way in which a file cannot be read, and a good one after all of them."""
    folder = shop.place.incoming
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.csv").write_text("")
    (folder / "half.parquet").write_bytes(b"PAR1 and no more")
    (folder / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    (folder / "line.jsonl").write_text('{"text": "fine"}\n{"text":\n')
    (folder / "other.csv").write_text("tweet\nfine\n")
    (folder / "twice.csv").write_text("id,text\n1,one\n1,two\n")
    (folder / "void.csv").write_text('text\nfine\n"  "\n')
    shop.comes("zgood.jsonl", texts(30))


def test_a_bad_file_is_put_aside_with_the_reason_and_the_others_go_on(shop):
    bad_files(shop)
    found = [shop.answer(path) for path in new_files(shop.place)[0]]
    assert [one["status"] for one in found] == ["put aside"] * 7 + ["answered"]
    aside = shop.place.incoming / "aside"
    assert sorted(p.name for p in shop.place.incoming.iterdir()) == ["aside", "zgood.jsonl"]
    for one in found[:-1]:
        assert (aside / one["file"]).exists()
        assert (aside / f"{one['file']}.reason.txt").read_text() == f"{one['reason']}\n"
        assert one["file"] in one["reason"] and "Allowed: " in one["reason"]
    assert "an empty text in row 1" in found[6]["reason"]
    assert sorted(p.name for p in shop.place.answered.glob("*.parquet")) == ["zgood.jsonl.parquet"]
    shop.place.incoming.joinpath("empty.csv").write_text("")
    shop.answer(shop.place.incoming / "empty.csv")
    assert len(list(aside.glob("*empty.csv"))) == 2


def test_other_content_under_a_name_that_was_answered_is_put_aside(shop):
    shop.answer(shop.comes("a.jsonl", texts(40)))
    before = output(shop)
    path = shop.comes("a.jsonl", texts(40, name="more "))
    os.utime(path, (time.time() + 60,) * 2)
    found = shop.answer(path)
    assert found["status"] == "put aside"
    assert found["reason"].endswith(
        "a.jsonl: a file of this name was answered, and it held something else. "
        "Allowed: new content under a new name. Give it one."
    )
    assert output(shop).equals(before)


def test_files_of_other_kinds_and_hidden_ones_are_left_alone(shop):
    shop.comes("a.jsonl", texts(3))
    for name in (".half.csv", "notes.txt", "b.csv.part"):
        (shop.place.incoming / name).write_text("text\nfine\n")
    known, unknown = new_files(shop.place)
    assert [p.name for p in known] == ["a.jsonl"]
    assert [p.name for p in unknown] == ["b.csv.part", "notes.txt"]


def test_a_second_run_finds_the_file_busy(shop):
    path = shop.comes("a.jsonl", texts(30))
    with locked(shop.place.logged / ".answer.lock"):
        found = shop.answer(path)
    assert found == {"file": "a.jsonl", "status": "busy", "reason": "another run answers files of this task"}
    assert logged(shop).num_rows == 0
    assert shop.answer(path)["status"] == "answered"
    path.unlink()
    assert shop.answer(path)["status"] == "gone"


@pytest.mark.parametrize("where", ["log", "replace"])
def test_a_run_that_dies_between_two_writes_is_gone_on_with(shop, server, monkeypatch, where):
    path = shop.comes("a.jsonl", texts(60))

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "log":
            patch.setattr(answering, "loggable", dies)
        else:
            patch.setattr(answering, "os", SimpleNamespace(replace=dies))
        with pytest.raises(KeyboardInterrupt):
            shop.answer(path)
    assert not (shop.place.answered / "a.jsonl.parquet").exists()
    assert logged(shop).num_rows == (0 if where == "log" else 60)
    asked = len(server.requests)
    # Another version serves by now: what was decided stays decided.
    shop.promote(kept(shop.folder, "other", budget=0.9))
    assert shop.answer(path)["status"] == "answered"
    assert len(server.requests) == asked
    assert logged(shop).num_rows == 60
    assert set(output(shop)["version"].to_pylist()) == set(logged(shop)["version"].to_pylist()) == {"1"}
    assert list((shop.place.logged / "pending").iterdir()) == []


RUN = """
import sys
import flows
from tasks.answering import answer_file, plain, serving
from askless import config
path = sys.argv[1]
served = plain(serving(config.load("params.yaml"), "olhs"))
print(answer_file.fn("olhs", "params.yaml", "data", path, served)["status"])
"""


def process(shop, path):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", RUN, str(path)]
    return subprocess.Popen(command, cwd=shop.folder, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_while_it_asks_it_goes_on_and_pays_nothing_twice(shop, server):
    path, items = shop.comes("a.jsonl", texts(120)), texts(120)
    killed = threading.Event()

    def reply(request, before):
        """Nobody gets to the end before it is killed."""
        assert request.number < 15 or killed.wait(300)
        return Answer(said(request, before).body, delay=0.02)

    server.reply = reply
    kills = 0
    for goal in (15, 10**6):
        running = process(shop, path)
        while running.poll() is None and len(server.requests) < goal:
            time.sleep(0.002)
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
            kills += 1
        killed.set()
        status = running.communicate()[0]
    assert kills == 1 and status == "answered\n"
    asked = Counter(server.asked())
    assert max(asked.values()) == 1, "what may have been billed is not asked again"
    rows = output(shop)
    assert rows["text"].to_pylist() == items
    assert logged(shop).num_rows == 120
    # Of what was under way when it was killed, two at a time, and perhaps had not left yet.
    doubtful = sum(reason == "in doubt" for reason in rows["reason"].to_pylist())
    assert doubtful <= 2 * kills
    with AnswerStore(shop.folder / f"data/answers/olhs/{LLM}.sqlite") as store:
        assert len(asked) - doubtful <= len(store) <= len(asked)


@pytest.mark.slow
def test_two_processes_on_one_file_log_it_once(shop, server):
    server.reply = lambda request, before: Answer(said(request, before).body, delay=0.05)
    path = shop.comes("a.jsonl", texts(80))
    both = [process(shop, path) for _ in range(2)]
    status = sorted(running.communicate()[0].strip() for running in both)
    assert status in (["answered", "busy"], ["answered", "done before"])
    assert logged(shop).num_rows == 80
    assert max(Counter(server.asked()).values()) == 1


def test_a_provider_that_is_down_stops_the_file_and_keeps_what_was_paid(shop, server):
    path = shop.comes("a.jsonl", texts(60))
    server.reply = lambda request, before: Answer({"error": {"message": "no such key"}}, status=401)
    with pytest.raises(ExpertError):
        shop.answer(path)
    assert path.exists() and logged(shop).num_rows == 0
    server.reply = said
    assert shop.answer(path)["status"] == "answered"


def test_an_answer_that_cannot_be_parsed_is_an_error_and_the_small_expert_answers(shop, server):
    server.reply = lambda request, before: Answer(chat("I would rather not say"))
    found = shop.answer(shop.comes("a.jsonl", texts(50)))
    rows = output(shop)
    assert found["errors"] >= found["deferred"] > 10
    assert set(rows["expert"].to_pylist()) == {"majority"}
    assert all(error.startswith(f"{LLM}: ") for error in rows["error"].to_pylist() if error)
    assert [row["agree"] for row in rows.to_pylist() if row["audit"]].count(None) == found["audited"]


def test_rows_that_cannot_be_answered_say_why_and_are_not_logged(tmp_path, empty_store):
    with production(tmp_path, empty_store, task="xsum") as shop:
        items = [" ".join(f"word{i} thing{j}." for j in range(30)) for i in range(6)]
        found = shop.answer(shop.comes("a.jsonl", [*items, "", "x" * 9000]))
        rows = output(shop)
        assert found["rows"] == 8 and found["errors"] >= 2
        assert rows["error"].to_pylist()[-2:] == ["empty text", "longer than 8,000 characters"]
        assert rows["expert"].to_pylist()[-2:] == [None, None]
        log = logged(shop)
        assert log.num_rows == 6
        assert log["answer"].null_count == log["small_answer"].null_count == log["text"].null_count == 6
        assert rows["answer"].null_count <= 4


def test_a_file_of_nothing_but_empty_texts_is_answered_by_nobody(tmp_path, empty_store):
    with production(tmp_path, empty_store, task="xsum") as shop:
        found = shop.answer(shop.comes("a.jsonl", ["", " "]))
        assert (found["rows"], found["errors"], found["deferred"]) == (2, 2, 0)
        assert logged(shop).num_rows == 0


def test_without_a_champion_it_is_said_what_to_do(tmp_path, empty_store):
    project(tmp_path)
    with registry_in(tmp_path, empty_store) as client:
        settings = config.load("params.yaml")
        with pytest.raises(ConfigError, match="Unknown registered model 'askless-olhs'"):
            serving(settings, "olhs")
        register(client, kept(tmp_path, "long"))
        with pytest.raises(DataError) as error:
            serving(settings, "olhs")
        assert str(error.value) == (
            "models:/askless-olhs@champion: no champion yet. Allowed: a version that serves. "
            "Compare and promote one: python -m flows.compare olhs."
        )
        with pytest.raises(ConfigError, match="Unknown task 'olsh'"):
            serving(settings, "olsh")


def test_a_champion_that_cannot_serve_is_named(shop):
    settings = shop.settings
    stranger = kept(shop.folder, "stranger")
    about = json.loads((stranger / "bundle.json").read_text())
    (stranger / "bundle.json").write_text(json.dumps(about | {"facts": {**about["facts"], "task": "xsum"}}))
    shop.promote(stranger)
    with pytest.raises(DataError) as error:
        serving(settings, "olhs")
    assert "a model of task 'xsum' with classes ['0', '1']. Allowed: one of 'olhs'" in str(error.value)
    newer = kept(shop.folder, "newer")
    shop.promote(newer)
    about = json.loads((newer / "bundle.json").read_text())
    (newer / "bundle.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(DataError, match="bundle format 99"):
        serving(settings, "olhs")


def test_the_share_of_the_bundle_goes_before_that_of_the_registry(shop):
    assert serving(shop.settings, "olhs").share == SHARE
    shop.promote(kept(shop.folder, "plain"), budget="0.25")
    assert serving(shop.settings, "olhs").share == 0.25
    shop.promote(kept(shop.folder, "own"))
    assert serving(shop.settings, "olhs").share is None


def test_a_deleted_champion_is_named(shop):
    number = shop.promote(kept(shop.folder, "more", budget=SHARE))
    shop.client.delete_model_version(MODEL["olhs"], str(number))
    with pytest.raises(DataError, match="models:/askless-olhs@champion"):
        serving(shop.settings, "olhs")


def test_an_unreadable_output_is_named(shop):
    path = shop.comes("a.jsonl", texts(30))
    shop.answer(path)
    out = shop.place.answered / "a.jsonl.parquet"
    out.write_bytes(b"half")
    os.utime(path, (time.time() + 60,) * 2)
    with pytest.raises(DataError, match=r"a\.jsonl\.parquet: unreadable .* nothing is paid twice\."):
        shop.answer(path)


def test_a_bundle_answers_files_on_the_terms_that_it_brings(tmp_path, server, monkeypatch):
    for new in ("made", "data/incoming/posts"):
        (tmp_path / new).mkdir(parents=True)
    folder = label_shop(tmp_path / "made", server.url)
    Terms.of(config.load(tmp_path / "made/params.yaml"), "olhs", (LLM,)).write(folder)
    monkeypatch.chdir(tmp_path)
    served = brought(str(folder))
    assert served == answering.Serving("0", str(folder), SHARE, own=True)
    path = write_items(tmp_path / "data/incoming/posts/a.jsonl", texts(40))
    found = answer_file.fn("posts", "params.yaml", "data", str(path), plain(served), 5.5 * PRICE)
    rows = pq.read_table("data/answered/posts/a.jsonl.parquet").to_pylist()
    assert found["status"] == "answered" and [row["source_id"] for row in rows] == [f"own-{n}" for n in range(40)]
    assert found["deferred"] >= len(server.requests) == 5 and sum(row["paid"] or 0 for row in rows) <= 5.5 * PRICE
    assert answer_file.fn("posts", "params.yaml", "data", str(path), plain(served))["status"] == "done before"
