"""What two bundles are compared on, how each decides there, and what cannot be."""

import json
import shutil

import numpy as np
import pytest

from askless import schema
from askless.bundles.bundle import Bundle
from askless.errors import ConfigError, DataError
from askless.registry import versions as registry
from askless.registry.held_out import HeldOut, Side, StoppedClock, _seconds, decide_both
from tests.pipeline import working_in
from tests.registry_data import kept, project, settings_of


@pytest.fixture(scope="module")
def olhs(tmp_path_factory):
    return project(tmp_path_factory.mktemp("olhs"))


@pytest.fixture(scope="module")
def long(olhs):
    return kept(olhs, "long")


@pytest.fixture(scope="module")
def board(olhs):
    return HeldOut.of("olhs", settings_of(olhs), olhs / "data")


def changed(folder, to, **values):
    """A copy of a bundle that says something else of itself."""
    shutil.copytree(folder, to)
    about = json.loads((to / "bundle.json").read_text())
    about["facts"] |= values.pop("facts", {})
    (to / "bundle.json").write_text(json.dumps(about | values))
    return to


def test_without_a_share_the_one_in_the_facts_or_the_own_rule_decides(tmp_path, board, long):
    known = changed(long, tmp_path / "b", facts={"budget": 0.4})
    own, fact, given = decide_both([Side.of("A", long), Side.of("B", known), Side.of("C", known, 0.2)], board)
    lengths = np.array([len(text) for text in board.items["text"].to_pylist()], float)
    alone = Bundle.load(long).policy.threshold(None).share(-lengths)
    assert own.deferred.ravel().tolist() == alone.tolist()
    assert (fact.deferred.mean(), given.deferred.mean()) == (0.4, 0.2)


def test_no_stopwatch_makes_a_difference(built):
    with working_in(built):
        folder, board = registry.resolve("models:/askless-olhs@challenger"), HeldOut.of("olhs", settings_of(built))
        other = built / "models/olhs/teams/team/seed-68"
        runs = decide_both([Side.of("A", folder, 0.1), Side.of("B", folder, 0.1), Side.of("C", other, 0.1)], board)
    assert (runs[0].cost == runs[1].cost).all()
    kept_for = [set(run.cost[~run.deferred].tolist()) for run in runs]
    assert kept_for[0] == kept_for[1] == kept_for[2]
    assert len(kept_for[0]) == 1
    assert min(kept_for[0]) > 0


def test_small_experts_of_two_makes_keep_their_own_time():
    said = [
        schema.table("predictions", {"id": ["a"], "expert": ["e"], "label": ["0"], "seconds": [s]}) for s in (1.0, 3.0)
    ]
    one, other = (
        {"backend": "mlp", "hidden": 50, "random_state": 1},
        {"backend": "mlp", "hidden": 50, "random_state": 2},
    )
    assert _seconds([one, other], said) == [2.0, 2.0]
    assert _seconds([one, {**other, "hidden": 99}], said) == [1.0, 3.0]
    assert _seconds([one, None], [said[0], None]) == [1.0, 0.0]


def test_a_stopped_clock_counts_a_given_time_and_no_other():
    said = schema.table("predictions", {"id": ["a"], "expert": ["e"], "label": ["0"], "seconds": [9.0]})
    clock = StoppedClock("seconds", {}, {"small": 2.0})
    assert clock.price(said, "small").tolist() == [2.0]
    assert clock.price(said, "large").tolist() == [9.0]
    assert clock.compute(5.0) == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"facts": {"task": "xsum"}}, "B: a model of task 'xsum'. Allowed: of task 'olhs'. Give one of this task."),
        ({"classes": ["a", "b"]}, "B: a model of the classes ['a', 'b']. Allowed: ['0', '1'], those of the task."),
        (
            {"format": 99},
            "B: bundle format 99. Allowed: format 7. Plan or train it again; register a registered model again.",
        ),
        ({"experts": ["majority", "gone"]}, "no answers on record of an expert that is asked"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path, board, long, values, said):
    with pytest.raises(DataError) as caught:
        decide_both([Side.of("A", long, 0.4), Side.of("B", changed(long, tmp_path / "b", **values), 0.4)], board)
    assert said in str(caught.value)


def test_an_empty_test_split_and_an_unknown_task_are_named(tmp_path, olhs):
    examples = schema.read(olhs / "data/prepared/olhs/examples.parquet", "examples")
    path = tmp_path / "prepared/olhs/examples.parquet"
    schema.write(schema.rows_in(examples, "train"), path, "examples")
    with pytest.raises(DataError, match="no test items. Allowed: one or more"):
        HeldOut.of("olhs", settings_of(olhs), tmp_path)
    with pytest.raises(ConfigError, match="Unknown task 'news'"):
        HeldOut.of("news", settings_of(olhs), tmp_path)
