"""Rows leave files of every kind; what stays is the same, and a file keeps its rights."""

import json
import os
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from askless.data import forgetting
from askless.data.forgetting import Forgotten, forget, texts_of
from askless.errors import DataError
from askless.experts.answer_store import AnswerStore
from askless.files import locked
from askless.monitoring.decision_log import DecisionLog, log_rows
from askless.spending.ledger import Ledger
from tests.log_data import row

WHO = "Theodora Quillfeather, 5 Elm Street"
ITEM = Forgotten(frozenset({"n7"}), frozenset({WHO}), frozenset({"k1"}))


def found(folder, what=ITEM, **options):
    return {each.path.name: (each.what, each.rows) for each in forget([folder], what, **options)}


@pytest.mark.parametrize(
    ("name", "before", "after", "rows"),
    [
        ("a.jsonl", b'{"id": "n7"}\n{"id":  "n8"}\r\n\nno json\n{"text": " %s "}' % WHO.encode(),
         b'{"id":  "n8"}\r\n\nno json\n', 2),
        ("a.csv", b'\xef\xbb\xbfid;post\r\nn7;x\r\n"n8";"of\r\ntwo\xff lines"\r\n\r\nn9;"\'%s"\r\n' % WHO.encode(),
         b'\xef\xbb\xbfid;post\r\n"n8";"of\r\ntwo\xff lines"\r\n\r\n', 2),
        ("a.tsv", f"post\nno\n{WHO}\n".encode(), b"post\nno\n", 1),
        ("a.txt", f"one\n  {WHO}  \ntwo".encode(), b"one\ntwo", 1),
    ],
)  # fmt: skip
def test_lines_about_the_item_go_and_all_others_stay_to_the_byte(tmp_path, name, before, after, rows):
    path = tmp_path / name
    path.write_bytes(before)
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18))
    assert found(tmp_path, dry_run=True) == {name: ("rows", rows)} and path.read_bytes() == before
    assert found(tmp_path) == {name: ("rows", rows)}
    assert path.read_bytes() == after
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime_ns) == (0o640, 10**18)
    assert found(tmp_path) == {}


def test_rows_of_parquet_go_and_what_its_file_says_of_itself_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(forgetting, "ROWS", 3)
    table = pa.table({"id": [f"n{i}" for i in range(20)], "post": [WHO if i == 11 else "other" for i in range(20)]})
    pq.write_table(table.replace_schema_metadata({"model": "m"}), tmp_path / "a.parquet", row_group_size=4)
    assert found(tmp_path) == {"a.parquet": ("rows", 2)}
    left = pq.read_table(tmp_path / "a.parquet")
    assert left["id"].to_pylist() == [f"n{i}" for i in range(20) if i not in (7, 11)]
    assert left.schema.metadata == {b"model": b"m"}


def test_an_id_that_is_a_number_is_one_in_every_kind_of_file(tmp_path):
    pq.write_table(pa.table({"id": [6, 7], "text": ["a", "b"]}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"id": 6}\n{"id": 7}\n{"id": null}\n{}\n')
    (tmp_path / "a.csv").write_text("id,text\n6,a\n7,b\n")
    assert found(tmp_path, Forgotten(frozenset({"7", "None"}))) == dict.fromkeys(
        ("a.csv", "a.jsonl", "a.parquet"), ("rows", 1)
    )
    assert texts_of([tmp_path], frozenset({"6"})) == {"a"}


def test_kept_answers_go_and_a_ledger_keeps_what_was_paid(tmp_path):
    with AnswerStore(tmp_path / "llm.sqlite") as store:
        store.put_many({"k1": {"text": WHO}, "k2": {"text": "1"}})
    with Ledger(tmp_path / "ledger.sqlite", 1.0) as ledger:
        ledger.reserve("llm", [("k1", 0.1), ("k2", 0.1)])
        ledger.settle({"k1": 0.05, "k2": 0.05})
    assert found(tmp_path, dry_run=True) == found(tmp_path) == {"ledger.sqlite": ("rows", 1), "llm.sqlite": ("rows", 1)}
    assert all(WHO.encode() not in path.read_bytes() for path in tmp_path.iterdir()), "not in free pages either"
    with AnswerStore(tmp_path / "llm.sqlite") as store:
        assert list(store.get_many(["k1", "k2"])) == ["k2"]
    with Ledger(tmp_path / "ledger.sqlite", 1.0) as ledger:
        assert ledger.spent == pytest.approx(0.1) and ledger.paid(["k1"]) == [0.0]
    assert found(tmp_path) == {}


def test_a_page_goes_whole_and_what_can_be_neither_is_told(tmp_path):
    (tmp_path / "report.html").write_text("<p>Theodora Quillfeather, 5 Elm Street</p>")
    (tmp_path / "other.html").write_text("<p>nobody</p>")
    (tmp_path / "list.json").write_text(json.dumps([{"text": WHO}]))
    (tmp_path / "a.parquet").write_text("none")
    assert found(tmp_path) == {"report.html": ("file", 0), "list.json": ("left", 0), "a.parquet": ("left", 0)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "list.json", "other.html"]


def test_a_bundle_is_left_whole(tmp_path):
    (tmp_path / "bundle/small").mkdir(parents=True)
    (tmp_path / "bundle/bundle.json").write_text("{}")
    (tmp_path / "bundle/small/items.txt").write_text(WHO)
    (left,) = forget([tmp_path], ITEM)
    assert (left.what, left.rows) == ("left", 0) and "train or register it anew" in left.why
    assert (tmp_path / "bundle/small/items.txt").read_text() == WHO


def test_a_file_that_is_only_linked_to_is_told_and_its_link_stays(tmp_path):
    """As `data/sources` links to what a task reads."""
    own, links = tmp_path / "mine/items.txt", tmp_path / "data/sources"
    own.parent.mkdir()
    links.mkdir(parents=True)
    own.write_text(f"{WHO}\nanother one\n")
    (links / "prepare-0-items.txt").symlink_to(own)
    (left,) = forget([tmp_path / "data"], ITEM)
    assert (left.path, left.what, left.rows) == (own, "left", 0)
    assert left.why == "only linked to from these folders: take it out of this file yourself, or name its folder"
    assert [each[:3] for each in forget([tmp_path / "data", tmp_path / "mine"], ITEM)] == [(own, "rows", 1)]
    assert (links / "prepare-0-items.txt").is_symlink() and own.read_text() == "another one\n"


def test_what_an_expert_replied_is_no_text_of_an_item(tmp_path):
    """A reply of one word stands in a column `text` too, and the same word in labels everywhere."""
    posts = [f"post {n} of somebody" for n in range(10)]
    ids, labels = [f"n{n}" for n in range(10)], ["0", "1"] * 5
    pq.write_table(pa.table({"id": ids, "text": posts, "label": labels}), tmp_path / "examples.parquet")
    answers = {"id": ids, "expert": ["llm"] * 10, "label": labels, "text": labels}
    pq.write_table(pa.table(answers), tmp_path / "llm.parquet")
    (tmp_path / "posts.csv").write_text("post,hateful\n" + "".join(map("{},{}\n".format, posts, labels)))
    rows = [dict(zip(answers, row, strict=True)) for row in zip(*answers.values(), strict=True)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = texts_of([tmp_path], frozenset({"n7"}))
    assert texts == {"post 7 of somebody"}
    names = ("answers.jsonl", "examples.parquet", "llm.parquet", "posts.csv")
    assert found(tmp_path, Forgotten(frozenset({"n7"}), texts)) == dict.fromkeys(names, ("rows", 1))


def test_a_text_as_short_as_a_label_is_looked_for_among_texts_alone(tmp_path):
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["yes", "no"], "label": ["no", "yes"]}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("id,text,label\na,yes,no\nb,no,yes\n")
    (tmp_path / "c.csv").write_text("id,expert,text\na,llm,yes\n")
    assert found(tmp_path, Forgotten(texts=frozenset({"yes"}))) == dict.fromkeys(("a.parquet", "b.csv"), ("rows", 1))


def test_an_item_named_by_its_id_is_known_by_its_text(tmp_path):
    (tmp_path / "in.csv").write_text(f'text,id\n" {WHO}\t",n7\nother,n8\n')
    (tmp_path / "in.jsonl").write_text('{"source_id": "n7", "text": "one more"}\n')
    assert texts_of([tmp_path], frozenset({"n7"})) == {WHO, "one more"}


def test_nothing_is_changed_while_another_process_is_there_and_a_wrong_path_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(forgetting, "WAIT_S", 0.05)
    (tmp_path / "a.txt").write_text(WHO)
    with locked(tmp_path / ".serve.sqlite.lock"), pytest.raises(DataError, match="another process is at this folder"):
        found(tmp_path)
    assert (tmp_path / "a.txt").read_text() == WHO
    with pytest.raises(DataError, match="no such file or folder"):
        found(tmp_path / "none")


def test_what_is_older_goes_from_logs_answers_and_runs(tmp_path):
    old, now = datetime.now(UTC) - timedelta(days=100), datetime.now(UTC)
    place = DecisionLog(tmp_path / "log")
    rows = log_rows(row(f"n{n}", "1", False) for n in range(6))
    at = rows.schema.get_field_index("time")
    for times in ([old] * 6, [old] * 2 + [now] * 4):
        place.append(rows.set_column(at, rows.schema.field(at), pa.array(times, rows.schema.field(at).type)))
    own = tmp_path / "posts.parquet"
    pq.write_table(place.read(), own)
    with AnswerStore(tmp_path / "llm.sqlite") as store:
        store.put_many({"k1": {}, "k2": {}, "broken": {}})
        with store._db as db:
            db.execute("UPDATE answers SET day = '2020-01-01' WHERE key != 'k2'")
        store.set_aside(["broken"])
    for name in ("old", "new"):
        run = tmp_path / f"{name}.jsonl.run"
        run.mkdir()
        (run / "run.json").write_text("{}")
        os.utime(run / "run.json", (old.timestamp(),) * 2) if name == "old" else None
    what = Forgotten(before=now - timedelta(days=90))
    dry = found(tmp_path, what, dry_run=True)
    assert dry == found(tmp_path, what) and len(dry) == 4
    assert dry["llm.sqlite"] == ("rows", 2) and dry["old.jsonl.run"] == ("file", 0)
    assert place.read().num_rows == 4 and len(place.parts()) == 1
    assert pq.read_table(own).num_rows == 12, "what is no log is nobody's to shorten"
    assert not (tmp_path / "old.jsonl.run").exists() and (tmp_path / "new.jsonl.run").exists()
    with AnswerStore(tmp_path / "llm.sqlite") as store:
        assert list(store.get_many(["k1", "k2"])) == ["k2"]
    assert found(tmp_path, what) == {}
