"""A log that any number of processes add to, that stays within its limit, and that says what it dropped."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.data.prepare import ids
from askless.errors import ConfigError, DataError
from askless.monitoring.decision_log import ROWS, DecisionLog, checked
from tests.log_data import simple


@pytest.fixture
def log(tmp_path):
    return DecisionLog(tmp_path / "log")


def names(table):
    return table["id"].to_pylist()


def test_rows_come_back_in_the_order_of_their_parts(log):
    first, second = log.append(simple(3, "a")), log.append(simple(2, "b"))
    assert log.parts() == [first, second]
    assert names(log.read()) == ["a0", "a1", "a2", "b0", "b1"]
    assert log.read([second]).equals(simple(2, "b"))
    assert log.read().schema == ROWS
    assert log.dropped() == {"parts": 0, "rows": 0}


def test_an_empty_log_has_no_rows(log):
    assert (log.parts(), log.read().num_rows, log.append(simple(0))) == ([], 0, None)
    assert not log.folder.exists()


def test_what_is_added_under_a_key_is_added_once(log):
    first = log.append(simple(3), "0123456789abcdef")
    assert first.name.endswith("-0123456789abcdef.parquet")
    assert log.append(simple(3), "0123456789abcdef") is None
    assert log.append(simple(3), "another") is not None
    assert log.append(simple(3)) is not None
    assert log.read().num_rows == 9


def test_columns_that_may_be_null_may_be_absent_and_others_are_named(log):
    rows = simple(3)
    log.append(rows.drop_columns(["score", "text"]))
    assert log.read()["score"].null_count == 3
    for table, message in (
        (rows.drop_columns(["expert"]), f"{log.folder}: no column 'expert'. Allowed: the columns "),
        (rows.append_column("mood", pa.array(["good"] * 3)), f"{log.folder}: unknown column 'mood'. Allowed: "),
    ):
        with pytest.raises(DataError) as error:
            log.append(table)
        assert str(error.value).startswith(message)
    with pytest.raises(DataError) as error:
        log.append(rows.set_column(1, "id", pa.array(["a", None, "c"])))
    assert str(error.value) == f"{log.folder}: 1 nulls in 'id'. Allowed: a value in every row. Fill it."
    with pytest.raises(DataError) as error:
        log.append(rows.set_column(7, "cost", pa.array(["free"] * 3)))
    assert str(error.value) == f"{log.folder}: column 'cost' is string. Allowed: double. Convert it."
    assert log.read().num_rows == 3


@pytest.mark.parametrize("megabytes", [0, -1, float("inf"), float("nan")])
def test_a_limit_that_cannot_be_meant_is_refused(megabytes):
    with pytest.raises(ConfigError, match=r"A decision log of .* megabytes. Allowed: a finite number above 0\."):
        DecisionLog("log", megabytes)


def test_the_oldest_parts_are_dropped_beyond_the_limit_and_counted(log):
    first = log.append(simple(50))
    size = first.stat().st_size
    small = DecisionLog(log.folder, 3.5 * size / 1e6)
    made = [first, *(small.append(simple(50, str(i))) for i in range(5))]
    assert small.parts() == made[-3:]
    assert small.dropped() == {"parts": 3, "rows": 150}
    assert sum(part.stat().st_size for part in small.parts()) <= 3.5 * size


def test_the_newest_part_stays_however_large(tmp_path):
    log = DecisionLog(tmp_path, 1e-5)
    kept = [log.append(simple(10, name)) for name in "abc"][-1]
    assert log.parts() == [kept]
    assert log.dropped() == {"parts": 2, "rows": 20}


@settings(max_examples=20)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 60))
def test_no_row_is_lost_uncounted(tmp_path_factory, sizes, kilobytes):
    log = DecisionLog(tmp_path_factory.mktemp("log"), kilobytes / 1000)
    for i, size in enumerate(sizes):
        log.append(simple(size, f"p{i}-"))
    assert log.read().num_rows + log.dropped()["rows"] == sum(sizes)
    assert len(log.parts()) + log.dropped()["parts"] == len(sizes)


def test_a_kill_between_counting_and_dropping_counts_nothing_twice(log, monkeypatch):
    first = log.append(simple(30))
    tight = DecisionLog(log.folder, 1e-5)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self, **_: killed() if self == first else None)
        with pytest.raises(KeyboardInterrupt):
            tight.append(simple(20, "b"))
    assert tight.dropped() == {"parts": 1, "rows": 30}
    tight.append(simple(10, "c"))
    assert tight.dropped() == {"parts": 2, "rows": 50}
    assert names(tight.read()) == [f"c{i}" for i in range(10)]


def test_half_a_part_that_a_killed_writer_left_is_not_read(log):
    kept = log.append(simple(3))
    (log.folder / f".{kept.name}.abc.part").write_bytes(kept.read_bytes()[:100])
    (log.folder / ".hidden.parquet").write_bytes(b"half")
    assert log.read().num_rows == 3


def test_a_part_that_was_dropped_meanwhile_has_no_rows_and_a_damaged_one_is_named(log):
    kept, gone = log.append(simple(3)), log.append(simple(2))
    gone.unlink()
    assert log.read([kept, gone]).num_rows == 3
    kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(DataError) as error:
        log.read()
    assert str(error.value).startswith(f"{kept}: unreadable (")
    assert str(error.value).endswith("Move it away: the rest of the log is whole.")


def test_a_file_of_another_program_is_named(log):
    log.append(simple(3))
    pq.write_table(pa.table({"x": [1]}), log.folder / "mine.parquet")
    with pytest.raises(DataError, match=r"mine\.parquet: unknown column 'x'"):
        log.read()


WRITER = """
import sys
from askless.monitoring.decision_log import DecisionLog
from tests.log_data import simple
log = DecisionLog(sys.argv[1], float(sys.argv[3]))
for i in range(int(sys.argv[4])):
    log.append(simple(7, f"{sys.argv[2]}-{i}-"))
    log.append(simple(5, "shared"), f"shared-{i}")
"""


@pytest.mark.parametrize("megabytes", [256.0, 0.1])
def test_many_writers_at_once_lose_nothing_and_double_nothing(log, megabytes):
    writers, each = 4, 8
    command = [sys.executable, "-c", WRITER, str(log.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [subprocess.Popen([*command, str(w), str(megabytes), str(each)], env=environment) for w in range(writers)]
    assert [process.wait() for process in running] == [0] * writers
    found = names(log.read())
    own = [name for name in found if not name.startswith("shared")]
    assert len(own) == len(set(own))
    if megabytes == 256.0:
        assert len(own) == 7 * writers * each
        assert found.count("shared0") == each
        assert log.dropped() == {"parts": 0, "rows": 0}
    else:
        assert log.dropped()["parts"] > 0
        assert sum(part.stat().st_size for part in log.parts()) <= megabytes * 1e6


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "log").write_text("a file")
    with pytest.raises(DataError) as error:
        DecisionLog(tmp_path / "log").append(simple(3))
    assert str(error.value) == (
        f"{tmp_path}/log/.lock: cannot be locked (File exists). Allowed: a folder that can be written. "
        "Correct the path or its rights."
    )


def test_checked_keeps_whole_numbers_as_floats():
    rows = simple(2)
    given = rows.set_column(6, "score", pa.array([1, 2]))
    assert checked(given, "here")["score"].to_pylist() == [1.0, 2.0]


def test_an_item_is_called_by_the_secret_of_its_log_and_not_by_its_text(tmp_path, monkeypatch):
    monkeypatch.delenv("ASKLESS_SECRET", raising=False)
    own = ids("olhs", ["a text that somebody guesses", "another"])
    log, other = DecisionLog(tmp_path / "a"), DecisionLog(tmp_path / "b")
    names = log.names(own)
    assert len({*names, *own, *other.names(own)}) == 6 and {len(name) for name in names} == {16}
    assert DecisionLog(tmp_path / "a").names(own) == names, "the same for every process"
    assert DecisionLog(tmp_path / "a-shadow", beside=tmp_path / "a").names(own) == names
    secret = tmp_path / "a/.secret"
    assert secret.stat().st_mode & 0o777 == 0o600 and len(secret.read_bytes()) == 64
    secret.unlink()
    assert DecisionLog(tmp_path / "a").names(own) != names, "without it nobody can tell"
    monkeypatch.setenv("ASKLESS_SECRET", "given")
    given = DecisionLog(tmp_path / "c").names(own)
    assert given == DecisionLog(tmp_path / "a").names(own) != names and not (tmp_path / "c").exists()
