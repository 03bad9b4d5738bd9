"""The files in examples/ are parameters of the pipeline, under DVC too once they are copied over params.yaml."""

from pathlib import Path

import pytest

from askless import config
from tasks import sources
from tasks.settings import write_settings

ROOT = Path(__file__).parents[1]
PARAMS = [path for path in sorted((ROOT / "examples").glob("*.yaml")) if not path.name.endswith(".prefect.yaml")]


@pytest.mark.parametrize("path", PARAMS, ids=lambda path: path.stem)
def test_an_example_gives_every_stage_its_settings(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = config.load(path)
    for task in params.base.tasks:
        for file in (file for files in sources.read_by(params, task).values() for file in files.values()):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        folder = Path(write_settings.fn(task, str(path), str(tmp_path / task)))
        assert {file.stem for file in folder.rglob("*.json")} >= {
            "prepare",
            "embed",
            "train",
            "evaluate",
            *params.llms(task),
        }
