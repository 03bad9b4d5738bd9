"""Experiments of MLflow that several processes may begin at once."""

import mlflow

from askless.registry.experiments import experiment
from tests.pipeline import with_store, working_in


def test_an_experiment_that_another_makes_meanwhile_is_the_same(tmp_path, empty_store, monkeypatch):
    with working_in(tmp_path):
        with_store(tmp_path, empty_store)
        first, look = experiment("olhs"), mlflow.get_experiment_by_name
        seen = iter([None])
        monkeypatch.setattr(mlflow, "get_experiment_by_name", lambda name: next(seen, look(name)))
        assert experiment("olhs") == first
