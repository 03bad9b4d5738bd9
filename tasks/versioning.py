"""Which data and which code a run was made from; the only file that deals with DVC."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import yaml


def versions(root: Path = Path()) -> dict[str, str]:
    """The git commit, whether more than dvc.lock was changed since, the hash of dvc.lock and of the outputs in it.

    A value that is not to be had (no git, no lock file yet) is left out.
    """
    found: dict[str, str] = {}
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        found["git_commit"] = commit
        found["git_dirty"] = str(
            bool(_git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock"))
        ).lower()
    lock = root / "dvc.lock"
    if lock.exists():
        text = lock.read_bytes()
        found["dvc_lock_sha256"] = hashlib.sha256(text).hexdigest()
        for out in _outs(yaml.safe_load(text) or {}):
            found[f"data.{out['path']}"] = out.get("md5", "")
    return found


def _outs(lock: dict[str, object]) -> list[dict[str, str]]:
    stages = lock.get("stages", {})
    assert isinstance(stages, dict)
    return [out for stage in stages.values() for out in stage.get("outs", []) if out["path"].startswith("data/")]


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
