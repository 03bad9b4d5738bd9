"""Files of one's own: whose stage is re-run when one changes, and what holds where one is not at hand."""

import json
import shutil

import pytest

from askless.errors import DataError
from tasks.settings import write_settings
from tests.pipeline import small_params, write_params

GIVEN = {"posts.csv": "prepare", "glove.txt": "embed", "gpt.parquet": "generate/gpt", "mine.parquet": "train"}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes the settings of a task whose data are all files of one's own; returns what changed since the last time."""
    monkeypatch.chdir(tmp_path)
    params = small_params(llms=["gpt"], source={"kind": "csv", "path": "posts.csv"})
    params["tasks"]["olhs"]["vectors"] = {"kind": "glove", "path": "glove.txt"}
    params["experts"] |= {name: {"backend": "recorded", "path": f"{name}.parquet"} for name in ("gpt", "mine")}
    params["costs"]["prices"] = {"gpt": {}}
    params["train"]["olhs"].update(small="mine", baselines=["majority"])
    for name in GIVEN:
        (tmp_path / name).write_text("1")
    before = {}

    def write(**train):
        params["train"]["olhs"].update(train)
        folder = tmp_path / write_settings.fn("olhs", write_params(tmp_path, params), "data")
        now = {str(path.relative_to(folder).with_suffix("")): path.read_bytes() for path in folder.rglob("*.json")}
        changed = {stage for stage in now if now[stage] != before.get(stage)}
        before.update(now)
        return changed

    write()
    return write


def test_a_file_that_changes_is_seen_through_its_link_and_concerns_its_own_stage(written, tmp_path):
    links = list((tmp_path / "data/sources/olhs/files").glob("[!.]*"))
    assert {link.resolve() for link in links} == {tmp_path / name for name in GIVEN}
    for name, stage in GIVEN.items():
        (tmp_path / name).touch()
        assert written() == set()
        (tmp_path / name).write_text("2")
        assert written() == {stage}


def test_a_file_that_is_not_here_counts_as_the_one_that_was_and_one_that_never_was_is_refused(written, tmp_path):
    (tmp_path / "posts.csv").unlink()
    assert written() == set()
    (tmp_path / "posts.csv").write_text("2")
    assert written() == {"prepare"}
    (tmp_path / "posts.csv").unlink()
    shutil.rmtree(tmp_path / "data/settings")
    with pytest.raises(DataError, match=r"^posts\.csv: no such file\. Allowed: a file that exists\."):
        written()


def test_the_file_in_the_mirror_is_the_one_that_counts(written, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/posts.csv").write_text("3")
    monkeypatch.setenv("ASKLESS_MIRROR", "mirror")
    assert written() == {"prepare"}


def test_answered_items_concern_training_only_where_it_learns_from_them(written, tmp_path):
    folder, seen = tmp_path / "data/answered/olhs", tmp_path / "data/sources/olhs/answered"
    folder.mkdir(parents=True)
    (folder / "a.parquet").write_text("1")
    assert written() == set() and not seen.is_symlink()
    assert written(distil="gpt") == {"train", "evaluate"} and seen.resolve() == folder
    (folder / "b.parquet").write_text("2")
    assert written() == {"train"}
    assert "answered" in json.loads((tmp_path / "data/settings/olhs/train.json").read_text())
    assert written(distil=None) == {"train", "evaluate"} and seen.is_file() and folder.is_dir()
