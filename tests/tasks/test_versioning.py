"""Which data and code a run was made from."""

import hashlib
import subprocess
import sys
from pathlib import Path

from tasks.versioning import versions
from tests.pipeline import commit_all

STAGES = "stages:\n  copy:\n    cmd: cp raw data/out\n    deps: [raw]\n    outs: [data/out]\n"


def dvc(folder, *words):
    subprocess.run([Path(sys.executable).with_name("dvc"), "-q", *words], cwd=folder, check=True)


def test_commit_lock_and_data_are_named_and_a_change_is_seen(tmp_path):
    (tmp_path / "raw").write_text("hello")
    (tmp_path / "data").mkdir()
    (tmp_path / "dvc.yaml").write_text(STAGES)
    dvc(tmp_path, "init", "--no-scm")
    dvc(tmp_path, "repro")
    commit = commit_all(tmp_path)
    lock = (tmp_path / "dvc.lock").read_bytes()
    assert versions(tmp_path) == {
        "git_commit": commit,
        "git_dirty": "false",
        "dvc_lock_sha256": hashlib.sha256(lock).hexdigest(),
        "data.data/out": hashlib.md5(b"hello").hexdigest(),
    }
    (tmp_path / "raw").write_text("other")
    assert versions(tmp_path)["git_dirty"] == "true"


def test_what_is_not_to_be_had_is_left_out(tmp_path):
    assert versions(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text("")
    assert versions(tmp_path) == {"dvc_lock_sha256": hashlib.sha256(b"").hexdigest()}
