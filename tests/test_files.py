"""Files that are whole or as they were, whatever happens while they are written."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from askless.errors import DataError
from askless.files import locked, replacing, write_text


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
