"""Rows are written together, by any number of servers into one folder, and what cannot be written is counted."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from askless.monitoring.decision_log import DecisionLog
from askless.serving import log_writer as module
from askless.serving.log_writer import LogWriter
from askless.serving.measures import Measures
from tests.log_data import row
from tests.serving.house import until

ROOT = Path(__file__).parents[2]


def writer(folder, seconds=3600.0, texts=False, classes=("0", "1")):
    made = LogWriter(DecisionLog(folder), classes, texts, seconds, Measures())
    made.start()
    return made


def count(made, name):
    return getattr(made._measures, name).labels(made.log.folder.name)._value.get()


def test_rows_wait_for_each_other_and_are_written_at_the_end(tmp_path):
    made = writer(tmp_path / "log")
    for n in range(5):
        made.put(row(f"i{n}", "1", False))
    assert made.log.parts() == []
    made.close()
    assert len(made.log.parts()) == 1
    assert made.log.read()["id"].to_pylist() == made.log.names(f"i{n}" for n in range(5))
    assert count(made, "log_rows") == 5


def test_many_rows_and_some_seconds_do_not_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MANY", 10)
    made = writer(tmp_path / "many")
    for n in range(25):
        made.put(row(f"i{n}", "1", False))
    until(lambda: count(made, "log_rows") >= 10)
    made.close()
    assert made.log.read().num_rows == 25
    soon = writer(tmp_path / "soon", seconds=0.05)
    soon.put(row("a", "1", False))
    until(lambda: soon.log.parts())
    soon.close()


@pytest.mark.parametrize(("classes", "seen"), [(("0", "1"), (None, "0")), ((), (None, None))])
def test_texts_and_summaries_are_left_out_unless_asked_for(tmp_path, classes, seen):
    for texts, found in ((False, seen), (True, ("secret", "0"))):
        made = writer(tmp_path / str(texts), texts=texts, classes=classes)
        made.put(row("a", "1", False, text="secret"))
        made.close()
        (one,) = made.log.read().to_pylist()
        assert (one["text"], one["answer"]) == found


def test_a_folder_that_cannot_be_written_is_tried_again_said_once_and_loses_nothing(tmp_path, caplog):
    (tmp_path / "log").write_text("a file")
    made = writer(tmp_path / "log", seconds=0.02)
    made.put(row("a", "1", False))
    until(lambda: made._measures.errors.labels("log")._value.get() >= 3)
    (tmp_path / "log").unlink()
    until(lambda: count(made, "log_rows") == 1)
    made.put(row("b", "1", False))
    made.close()
    assert made.log.read()["id"].to_pylist() == made.log.names(["a", "b"])
    assert sum("not written" in record.getMessage() for record in caplog.records) == 1


def test_a_row_that_is_none_is_left_out_and_counted_and_the_others_are_written(tmp_path, caplog):
    made = writer(tmp_path / "log", seconds=0.02)
    for n in range(5):
        made.put(replace(row(f"i{n}", "1", False), score="high") if n == 3 else row(f"i{n}", "1", False))
    until(lambda: count(made, "log_rows") == 4)
    made.put(row("later", "1", False))
    made.close()
    assert made.log.read().num_rows == 5 and count(made, "log_dropped") == 1
    assert "left out of the log of decisions" in caplog.text and "high" not in caplog.text


def test_rows_that_no_log_takes_are_bounded_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST", 7)
    (tmp_path / "log").write_text("a file")
    made = writer(tmp_path / "log")
    for n in range(10):
        made.put(row(f"i{n}", "1", False))
    assert count(made, "log_dropped") == 3
    made.close()
    assert count(made, "log_dropped") == 10


def test_rows_are_not_there_twice_where_only_what_came_after_failed(tmp_path, monkeypatch):
    made = LogWriter(DecisionLog(tmp_path / "log"), ("0", "1"), False, 3600.0, Measures())
    made.put(row("a", "1", False))
    drop, failing = DecisionLog._drop, [True]

    def fails(log):
        if failing.pop() if failing else False:
            raise module.AsklessError("no room")
        drop(log)

    monkeypatch.setattr(DecisionLog, "_drop", fails)
    made._write()
    made.put(row("b", "1", False))
    made._write()
    made._write()
    assert made.log.read()["id"].to_pylist() == made.log.names(["a", "b"])


WRITER = """
import sys
from askless.monitoring.decision_log import DecisionLog
from askless.serving.log_writer import LogWriter
from askless.serving.measures import Measures
from tests.log_data import row
made = LogWriter(DecisionLog(sys.argv[1]), ("0", "1"), False, 0.01, Measures())
made.start()
for n in range(200):
    made.put(row(f"{sys.argv[2]}-{n}", "1", False))
made.close()
"""


def test_several_writers_and_threads_write_one_log(tmp_path):
    writers = [writer(tmp_path / "log", seconds=0.01) for _ in range(3)]
    threads = [
        threading.Thread(target=lambda n=n: [writers[n % 3].put(row(f"t{n}-{i}", "1", False)) for i in range(100)])
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in writers:
        each.close()
    names = writers[0].log.read()["id"].to_pylist()
    assert len(names) == len(set(names)) == 600


@pytest.mark.slow
def test_several_processes_and_threads_write_one_log(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "log")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    others = [subprocess.Popen([*command, str(n)], env=environment) for n in range(2)]
    made = writer(tmp_path / "log", seconds=0.01)
    threads = [
        threading.Thread(target=lambda n=n: [made.put(row(f"t{n}-{i}", "1", False)) for i in range(100)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.close()
    assert [process.wait() for process in others] == [0, 0]
    names = made.log.read()["id"].to_pylist()
    assert len(names) == len(set(names)) == 800
