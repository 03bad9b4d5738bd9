"""Replaying a table: the right rows, fast, or one clear error."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deferral import schema
from deferral.errors import ConfigError, DataError
from deferral.experts.recorded import RecordedExpert
from tests.experts.tiny_models import examples, setting


def recorded(ids: list[str], experts: str | list[str] = "gpt", **meta: Any) -> pa.Table:
    names = [experts] * len(ids) if isinstance(experts, str) else experts
    labels = [str(i % 2) for i in range(len(ids))]
    proba = [[0.25, 0.75] if label == "1" else None for label in labels]
    seconds = [float(i) for i in range(len(ids))]
    columns = {"id": ids, "expert": names, "label": labels, "proba": proba, "seconds": seconds}
    return schema.table("predictions", columns, {"classes": ["0", "1"], **meta})


def asked(ids: list[str]) -> pa.Table:
    return schema.table("examples", {"id": ids, "text": ["x"] * len(ids), "split": ["test"] * len(ids)})


def test_rows_are_found_by_id_in_the_asked_order_under_the_experts_name() -> None:
    expert = RecordedExpert(setting(), table=recorded(["a", "b", "c", "d"], model="gpt-3.5"))
    answers = expert.answer(asked(["d", "a", "b"]))
    assert answers["id"].to_pylist() == ["d", "a", "b"]
    assert answers["expert"].to_pylist() == ["tiny"] * 3
    assert answers["seconds"].to_pylist() == [3.0, 0.0, 1.0]
    assert answers["proba"].to_pylist() == [[0.25, 0.75], None, [0.25, 0.75]]
    assert schema.meta_of(answers)["model"] == "gpt-3.5"
    schema.check(answers, "predictions")
    assert expert.answer(asked([])).num_rows == 0


def test_from_a_file(tmp_path: Path) -> None:
    path = schema.write(recorded(["a", "b"]), tmp_path / "p.parquet", "predictions")
    for given in (path, str(path)):
        assert RecordedExpert(setting(), path=given).answer(asked(["b"]))["label"].to_pylist() == ["1"]


def test_of_several_experts_the_one_of_this_name() -> None:
    table = recorded(["a", "b", "a", "b"], ["tiny", "tiny", "other", "other"])
    assert RecordedExpert(setting(), table=table).answer(asked(["a", "b"]))["seconds"].to_pylist() == [0.0, 1.0]
    with pytest.raises(DataError, match=r"no answers of 'third'. Allowed: answers of \['other', 'tiny'\]"):
        RecordedExpert(setting(name="third"), table=table).answer(asked(["a"]))


def test_an_example_without_an_answer_is_an_error() -> None:
    expert = RecordedExpert(setting(), table=recorded(["a", "b"]))
    with pytest.raises(DataError, match=r"no answer to 2 of 3 examples \(first id y\)"):
        expert.answer(asked(["a", "y", "z"]))


def test_answers_about_other_classes_are_an_error() -> None:
    table = schema.with_meta(recorded(["a"]), "predictions", {"classes": ["1", "0"]})
    with pytest.raises(DataError, match=r"answers about the classes \['1', '0'\]. Allowed: \['0', '1'\]"):
        RecordedExpert(setting(), table=table).answer(asked(["a"]))
    other = schema.table("predictions", {"id": ["a"], "expert": ["e"], "label": ["2"]})
    with pytest.raises(DataError, match="label outside the classes: '2'"):
        RecordedExpert(setting(), table=other).answer(asked(["a"]))


def test_one_of_path_and_table(tmp_path: Path) -> None:
    for options in ({}, {"path": tmp_path, "table": recorded(["a"])}):
        with pytest.raises(ConfigError, match="give either path or table"):
            RecordedExpert(setting(), **options).answer(asked(["a"]))
    with pytest.raises(DataError, match="no such file"):
        RecordedExpert(setting(), path=tmp_path / "none.parquet").answer(asked(["a"]))


def test_a_sweep_of_thousands_of_asks_takes_seconds() -> None:
    ids = [f"id{i}" for i in range(10_000)]
    expert, everything = RecordedExpert(setting(), table=recorded(ids)), examples(["x"] * 10_000)
    expert.answer(everything)
    rng, rounds = np.random.default_rng(0), 200
    subsets = [everything.take(pa.array(rng.permutation(10_000)[:500])) for _ in range(rounds)]
    start = time.perf_counter()
    for subset in subsets:
        expert.answer(subset)
    assert (time.perf_counter() - start) / rounds < 0.01
