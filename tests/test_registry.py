"""A `models:/` address into a bundle folder."""

import pytest

from deferral import bundle, registry
from deferral.assign import assign
from deferral.errors import DataError
from tests.pipeline import MODEL, working_in


def test_a_folder_is_itself():
    assert str(registry.resolve("models/olhs/teams/team/seed-67")) == "models/olhs/teams/team/seed-67"


def test_the_store_is_where_the_environment_says_else_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert registry.store() == "http://tracking:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert registry.store() == f"sqlite:///{tmp_path}/mlruns/mlflow.db"


@pytest.mark.parametrize("address", [f"models:/{MODEL}@challenger", f"models:/{MODEL}/1"])
def test_an_address_is_a_bundle_that_decides(built, address):
    with working_in(built):
        folder = registry.resolve(address)
        assert bundle.describe(folder)["facts"]["team"] == "team"
        assert len(assign(bundle.load(folder), ["what a day"]).expert) == 1


@pytest.mark.parametrize("address", [f"models:/{MODEL}@champion", f"models:/{MODEL}/9", "models:/other@challenger"])
def test_an_unknown_address_is_named(built, address):
    with working_in(built), pytest.raises(DataError, match=r"models:/<name>@<alias>") as caught:
        registry.resolve(address)
    assert str(caught.value).startswith(address)
    assert "\n" not in str(caught.value)
