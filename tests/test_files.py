"""Files that are whole or as they were, whatever happens while they are written."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from askless.errors import DataError
from askless.files import locked, opened, replacing, replacing_folder, write_text

TABLES = "CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY)"


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_an_unwritable_folder_is_the_same_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError) as error:
        write_text(tmp_path / "file" / "x.json", "{}")
    assert str(error.value) == (
        f"{tmp_path}/file/x.json: could not be written ({os.strerror(errno.EEXIST)}). "
        "Allowed: a writable folder with room for the file. "
        "Free some space or change the path; the previous file, if any, is untouched."
    )


def test_a_bug_while_writing_is_no_data_error_and_leaves_the_old_file(tmp_path):
    path = write_text(tmp_path / "x.json", "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["x.json"]


HALF_WRITTEN = """
import sys
from concurrent.futures import ThreadPoolExecutor
from askless.files import replacing
with replacing(sys.argv[1]) as part:
    part.write_text("half")
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_kill_while_writing_leaves_the_old_file_and_the_next_write_clears_up(tmp_path):
    path = write_text(tmp_path / "x[1].json", "old")
    other = write_text(tmp_path / "x1.json", "other")
    command = [sys.executable, "-c", HALF_WRITTEN, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "half\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(left_in(tmp_path)) == 3
    write_text(path, "new")
    assert (path.read_text(), other.read_text()) == ("new", "other")
    assert left_in(tmp_path) == ["x1.json", "x[1].json"]


def test_a_reader_of_the_old_file_goes_on_reading_it(tmp_path):
    path = write_text(tmp_path / "x.json", "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_text_is_written_as_utf8_into_new_folders(tmp_path):
    path = write_text(tmp_path / "a" / "b" / "x.json", json.dumps("é", ensure_ascii=False))
    assert path.read_bytes() == '"é"'.encode()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_lock_is_held_by_one_and_ends_with_its_holder(tmp_path):
    path = tmp_path / "new" / ".lock"
    with locked(path) as mine, locked(path, wait=0) as second:
        assert (mine, second) == (True, False)
    code = f"import fcntl, os; fcntl.flock(open({str(path)!r}, 'a'), fcntl.LOCK_EX); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with locked(path, wait=0) as mine:
        assert mine


def test_of_two_writers_the_last_wins(tmp_path):
    path = tmp_path / "x.json"
    with replacing(path) as first:
        with replacing(path) as second:
            second.write_text("second")
        first.write_text("first")
    assert (path.read_text(), left_in(tmp_path)) == ("first", ["x.json"])
    with replacing_folder(tmp_path / "f") as first, replacing_folder(tmp_path / "f") as second:
        (second / "b").write_text("second")
        (first / "a").write_text("first")
    assert left_in(tmp_path / "f") == ["a"] and left_in(tmp_path) == ["f", "x.json"]


def test_writers_in_many_threads_all_end(tmp_path):
    def write(name):
        for n in range(20):
            write_text(tmp_path / "x.json", f"{name} {n}")
            with replacing_folder(tmp_path / "f") as part:
                (part / "a").write_text(f"{name} {n}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert left_in(tmp_path) == ["f", "x.json"] and left_in(tmp_path / "f") == ["a"]


KILLED_AT_A_RENAME = """
import os, sys
from pathlib import Path
from askless import files
folder, at, can = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "can"
if not can:
    files._exchange = lambda one, other: False
renames = 0
def count(event, args):
    global renames
    if event == "os.rename":
        renames += 1
        if renames == at:
            os._exit(9)
sys.addaudithook(count)
with files.replacing_folder(folder) as part:
    (part / "a").write_text("new")
"""


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("can", ["can", "cannot"])
def test_a_folder_is_never_lost_by_a_kill_between_two_renames(tmp_path, at, can):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a").write_text("old")
    subprocess.run([sys.executable, "-c", KILLED_AT_A_RENAME, str(folder), str(at), can], check=False)
    if can == "can":
        assert (folder / "a").read_text() == ("old" if at == 1 else "new")
    with pytest.raises(ZeroDivisionError), replacing_folder(folder):
        1 / 0  # noqa: B018
    assert (folder / "a").read_text() in ("old", "new"), "where folders cannot change places the next writer finds it"
    assert left_in(tmp_path) == ["f"]


def test_a_link_to_a_folder_is_replaced_and_what_it_names_stays(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a").write_text("far")
    (tmp_path / "f").symlink_to(tmp_path / "far")
    with replacing_folder(tmp_path / "f") as part:
        (part / "a").write_text("new")
    assert [(tmp_path / name / "a").read_text() for name in ("f", "far")] == ["new", "far"]
    assert left_in(tmp_path) == ["f", "far"]


def test_a_database_of_another_program_is_left_as_it_is(tmp_path):
    """The ledger of a run that came along may be a link to one."""
    theirs, link = tmp_path / "theirs.sqlite", tmp_path / "ledger.sqlite"
    with sqlite3.connect(theirs) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()
    before = theirs.read_bytes()
    link.symlink_to(theirs)
    with pytest.raises(sqlite3.DatabaseError, match="table bookmarks in it is none that askless makes"):
        opened(link, TABLES)
    assert theirs.read_bytes() == before and [each.name for each in tmp_path.glob("theirs*")] == [theirs.name]


COUNTS = f"""
import sys
from pathlib import Path
from askless.files import opened
db = opened(Path(sys.argv[1]), {TABLES!r})
print(db.execute("SELECT count(*) FROM calls").fetchone()[0])
db.close()
"""


def test_a_database_that_somebody_writes_before_it_is_written_ahead_is_waited_for(tmp_path):
    """So it is where several threads ask for the first answer of all at once; SQLite itself would not wait."""
    with closing(sqlite3.connect(tmp_path / "a.sqlite", check_same_thread=False, isolation_level=None)) as other:
        other.execute(TABLES)
        other.execute("BEGIN IMMEDIATE")
        ends = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        ends.start()
        with closing(opened(tmp_path / "a.sqlite", TABLES)) as db:
            assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        ends.join()


def test_a_database_that_a_process_opens_twice_is_still_its_own(tmp_path):
    """Else another process folds its log away beneath it, and what it writes from then on is nowhere."""
    path = tmp_path / "a.sqlite"
    another = [sys.executable, "-c", COUNTS, str(path)]
    with closing(opened(path, TABLES)) as db, closing(opened(path, TABLES)):
        for n in range(3):
            with db:
                db.execute("INSERT INTO calls VALUES (NULL)")
            assert int(subprocess.check_output(another)) == n + 1


def test_a_database_is_read_by_its_owner_alone(tmp_path):
    with closing(opened(tmp_path / "a.sqlite", TABLES)):
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
