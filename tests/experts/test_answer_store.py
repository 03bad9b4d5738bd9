"""The answer store: nothing lost, nothing half kept, one clear error."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
import time
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from askless.errors import DataError
from askless.experts import answer_store
from askless.experts.answer_store import _EARLIER, _SET_ASIDE, REPLY, REPLY_ID, AnswerStore, answer_key, asking, merged

LONG = json.dumps(["a long reply"] * 200)


def test_rows_come_back_as_they_were_to_the_last_bit(tmp_path: Path) -> None:
    row = {"logprobs": [-0.1 + 1e-17, math.pi, -math.inf], "text": "ünï\n\ud83d", "n": 3, "none": None}
    with AnswerStore(tmp_path / "deep" / "a.sqlite") as store:
        store.put_many({"k": row})
        assert store.get_many(["k", "absent"]) == {"k": row}
    with AnswerStore(tmp_path / "deep" / "a.sqlite") as store:
        assert store.get_many(["k"]) == {"k": row}
        assert len(store) == 1


def test_shared_answers_lose_nothing_of_who_works_with_them(tmp_path: Path) -> None:
    source, target = tmp_path / "source.sqlite", tmp_path / "shared" / "target.sqlite"
    with AnswerStore(source) as store:
        store.put_many({"theirs": {"v": 1, REPLY: LONG}, "broken": {"v": 2, REPLY: LONG}})
    with closing(sqlite3.connect(source)) as db, db:
        db.execute("UPDATE answers SET reply = x'00' WHERE key = 'broken'")
    target.parent.mkdir()
    with AnswerStore(tmp_path / "target.sqlite") as store:
        store.put_many({f"own {i}": {"v": i} for i in range(300)})
        store.note_batch("under way", {"of": 1})
        # As a kill leaves them: what was kept last is in the log.
        for path in tmp_path.glob("target.sqlite*"):
            shutil.copy(path, target.parent)
    assert merged(source, target) == 2
    with AnswerStore(target) as store:
        assert len(store) == 302 and store.get_many(["theirs", "broken"]) == {"theirs": {"v": 1}, "broken": {"v": 2}}
        assert store.replies(["theirs", "broken"]) == {"theirs": LONG}
        assert store.batches() == {"under way": {"of": 1}}, "paid for, and not answered yet"


def earlier_file(path: Path) -> None:
    """Answers as an earlier askless kept them: two with a reply, one of them from another year, and one without."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(f"{_EARLIER}; {_SET_ASIDE}")
        db.executemany("INSERT INTO answers VALUES (?, ?)", [(key, f'{{"v": "{key}"}}') for key in "abc"])
        reply = zlib.compress(LONG.encode())
        db.executemany("INSERT INTO replies VALUES (?, ?, ?)", [("a", "id of a", reply), ("b", None, reply)])
        db.execute("UPDATE days SET day = '2020-01-01' WHERE key = 'a'")
        db.execute("INSERT INTO set_aside VALUES ('e', '{half')")
        db.execute("INSERT INTO days VALUES ('e', '2020-01-01')")
        db.execute("PRAGMA journal_mode=WAL")


@pytest.mark.parametrize("opened", [True, False])
def test_answers_of_an_earlier_layout_are_kept_with_replies_and_days(tmp_path: Path, opened: bool) -> None:
    path = tmp_path / "earlier.sqlite"
    earlier_file(path)
    with AnswerStore(path if opened else tmp_path / "other.sqlite") as store:
        assert store.take(path) == (0 if opened else 3)
        assert store.get_many("abc") == {key: {"v": key} for key in "abc"}
        assert store.replies("abc") == {"a": LONG, "b": LONG}
        assert store.put_many({"d": {"v": 1, REPLY: LONG, REPLY_ID: "id of a"}}) == ["d"], "that reply was a's"
        days = dict(store._db.execute("SELECT key, day FROM answers"))
        assert days["a"] == "2020-01-01" < days["b"] == days["c"]
        tables = {name for (name,) in store._db.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")}
        assert tables == {"answers", "set_aside", "days", "batches"}
        aside = store._db.execute("SELECT key, day FROM days JOIN set_aside USING (key)").fetchall()
        assert aside == ([("e", "2020-01-01")] if opened else [])


def test_a_new_layout_that_cannot_be_made_leaves_the_earlier_one(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "earlier.sqlite"
    earlier_file(path)
    monkeypatch.setattr(answer_store, "_MOVED", (*answer_store._MOVED[:-1], "DROP TABLE none_such"))
    with pytest.raises(DataError, match="no such table"):
        AnswerStore(path)
    monkeypatch.undo()
    with AnswerStore(path) as store:
        assert len(store) == 3 and store.replies("a") == {"a": LONG}


def test_shared_answers_are_read_by_whoever_may_read_their_folder(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "source.sqlite") as store:
        store.put_many({"k": {"v": 1}})
    for rights in (0o770, 0o755, 0o700):
        folder = tmp_path / f"{rights:o}"
        folder.mkdir()
        folder.chmod(rights)
        merged(store.path, folder / "a.sqlite")
        assert (folder / "a.sqlite").stat().st_mode & 0o777 == rights & 0o666


def test_more_keys_than_sqlite_takes_at_once() -> None:
    rows = {f"k{i}": {"i": i} for i in range(3000)}
    with AnswerStore() as store:
        store.put_many(rows)
        assert store.get_many(iter(rows)) == rows


def test_the_first_answer_to_a_key_stays() -> None:
    with AnswerStore() as store:
        store.put_many({"k": {"v": 1}})
        store.put_many({"k": {"v": 2}, "other": {"v": 3}})
        assert store.get_many(["k", "other"]) == {"k": {"v": 1}, "other": {"v": 3}}


def test_a_batch_is_kept_whole_or_not_at_all() -> None:
    with AnswerStore() as store:
        with pytest.raises(TypeError):
            store.put_many({"good": {"v": 1}, "bad": {"v": object()}})
        assert len(store) == 0


def test_keys_depend_on_what_determines_an_answer() -> None:
    assert answer_key("llm", "m", [1, 0.5]) == answer_key("llm", "m", [1, 0.5])
    assert len({answer_key("llm", "m"), answer_key("llm", "n"), answer_key("llm", ["m"]), answer_key("llmm")}) == 4
    assert answer_key({"b": 1, "a": 2}) == answer_key({"a": 2, "b": 1})


def test_threads_share_a_store(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as store:

        def put(worker: int) -> None:
            for i in range(30):
                store.put_many({f"{worker}-{i}": {"v": i}})

        threads = [threading.Thread(target=put, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store) == 240


def test_two_processes_may_hold_it_open(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.sqlite") as one, AnswerStore(tmp_path / "a.sqlite") as two:
        one.put_many({"k": {"v": 1}})
        two.put_many({"k": {"v": 2}, "l": {"v": 3}})
        assert one.get_many(["k", "l"]) == {"k": {"v": 1}, "l": {"v": 3}}


def test_a_corrupt_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 100)
    with pytest.raises(DataError, match="not a file of kept answers .* Restore the file, or move it away"):
        AnswerStore(path)


def test_a_torn_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    rows = {f"k{i}": {"v": "x" * 500} for i in range(500)}
    with AnswerStore(path) as store:
        store.put_many(rows)
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with AnswerStore(path) as store, pytest.raises(DataError, match=r"a\.sqlite: .*malformed"):
        store.get_many(rows)


def test_a_row_that_is_no_json_is_set_aside_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.sqlite"
    with AnswerStore(path) as store:
        store.put_many({"good": {"n": 1}})
    db = sqlite3.connect(path)
    with db:
        db.execute("INSERT INTO answers (key, row) VALUES ('k', '{half'), ('l', '[1]')")
    with AnswerStore(path) as store:
        assert store.get_many(["k", "l", "good"]) == {"good": {"n": 1}}
        store.put_many({"k": {"n": 2}})
        assert store.get_many(["k"]) == {"k": {"n": 2}}, "asked again, it is kept"
    assert "2 kept answers are not valid. They were set aside" in caplog.text
    assert sorted(db.execute("SELECT key, row FROM set_aside")) == [("k", "{half"), ("l", "[1]")]
    db.close()


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with AnswerStore(path) as store:
        store.put_many({"first": {"v": 1}})
        store._db.execute("PRAGMA max_page_count=4")
        with pytest.raises(DataError, match="database or disk is full.* Free some space .* not asked again"):
            store.put_many({f"k{i}": {"v": "x" * 1000} for i in range(100)})
    with AnswerStore(path) as store:
        assert store.get_many(["first"]) == {"first": {"v": 1}}
        assert len(store) == 1


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="not a file of kept answers|could not be kept"):
        AnswerStore(tmp_path / "file" / "a.sqlite")


def _put_until_killed(path: Path, ready: multiprocessing.synchronize.Event) -> None:
    with AnswerStore(path) as store:
        for i in range(10**6):
            store.put_many({f"{i}-{j}": {"v": i} for j in range(7)})
            if i == 5:
                ready.set()


def test_kill_leaves_whole_batches_only(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    for attempt in range(3):
        path, ready = tmp_path / f"{attempt}.sqlite", context.Event()
        process = context.Process(target=_put_until_killed, args=(path, ready))
        process.start()
        assert ready.wait(600)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
        with AnswerStore(path) as store:
            assert len(store) >= 6 * 7
            assert len(store) % 7 == 0


def test_runs_that_ask_an_expert_with_the_same_answers_wait_for_each_other(tmp_path, caplog):
    order = []

    def other():
        with asking(tmp_path, ["b", "a"]):
            order.append("other")

    with asking(tmp_path, ["a"]):
        with asking(tmp_path, ["c"]):
            order.append("another expert")
        waiting = threading.Thread(target=other)
        waiting.start()
        while "asking 'a' with the answers in" not in caplog.text:
            assert waiting.is_alive()
            time.sleep(0.01)
        order.append("first")
    waiting.join()
    assert order == ["another expert", "first", "other"]
