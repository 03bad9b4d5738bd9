"""The files in examples/ are parameters of the pipeline, under DVC too once they are copied over params.yaml."""

import itertools
from pathlib import Path

import pytest
import yaml

from askless import config

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_has_every_parameter_that_dvc_tracks(path):
    config.load(path)
    given = yaml.safe_load(path.read_text("utf-8"))
    for stage in STAGES.values():
        names = {key: given["base"][f"{key}s"] for key in stage["matrix"]}
        for values in itertools.product(*names.values()):
            for parameter in (each for each in stage["params"] if isinstance(each, str)):
                for key, value in zip(names, values, strict=True):
                    parameter = parameter.replace(f"${{item.{key}}}", value)
                assert found(given, parameter), parameter


def found(given, parameter):
    """Whether DVC finds a parameter: it takes each dot for a level."""
    for key in parameter.split("."):
        if not isinstance(given, dict) or key not in given:
            return False
        given = given[key]
    return True
