"""The recorded XSum files through `prepare`: what is left out is counted."""

from pathlib import Path

import pytest

from askless import schema
from askless.config import Source, Split, Task, VectorSource
from askless.data import readers
from askless.data.prepare import prepare
from askless.evaluation.summary_quality import measured, summary_quality
from askless.experts import Setting
from askless.experts.recorded import RecordedExpert
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
TASK = Task(
    kind="summarisation",
    source=Source(kind="summaries"),
    vectors=VectorSource(kind="demo"),
    split=Split(0.7, 0.1, 0.2),
    prompt="xsum",
    quality="rougeL_stemmed",
    max_chars=8000,
    empty_text="drop",
)


@pytest.mark.parametrize(
    ("file", "raw", "empty", "long", "twice", "left"),
    [
        ("xsum_test1000.jsonl", 1000, 0, 10, 2, 988),
        ("xsum_train300.jsonl", 300, 0, 3, 0, 297),
        ("xsum_zeroshot500.jsonl", 500, 1, 2, 0, 497),
    ],
)
def test_documents_are_prepared_and_what_is_left_out_is_counted(file, raw, empty, long, twice, left):
    folder = real_folder()
    table = readers.read(Source(kind="summaries"), Path(folder) / "xsum" / file)
    examples, summary = prepare(table, TASK, "xsum")
    found = [summary[k] for k in ("raw_rows", "empty_dropped", "too_long_dropped", "duplicates_dropped", "examples")]
    assert found == [raw, empty, long, twice, left]
    counts = (examples.num_rows, examples["reference"].null_count, examples["label"].null_count)
    assert counts == (left, 0, left)


@pytest.mark.parametrize(
    ("file", "key", "wanted", "left_out"),
    [
        ("xsum_test1000.jsonl", None, 0.4006, (10, 2)),
        ("xsum_test1000.jsonl", "nn_generation", 0.2510, (10, 2)),
        ("xsum_zeroshot500.jsonl", "t0", 0.3585, (3, 0)),
    ],
)
def test_recorded_summaries_are_matched_and_measured_as_published(file, key, wanted, left_out):
    path = Path(real_folder()) / "xsum" / file
    examples, _ = prepare(readers.read(Source(kind="summaries"), path), TASK, "xsum")
    expert = RecordedExpert(Setting("system", "xsum", ()), path=path, key=key, seconds=1.44)
    answers = measured(examples, expert.answer(examples), summary_quality(TASK.quality))
    meta = schema.meta_of(answers)
    assert (meta["unmatched"], meta.get("repeated", 0)) == left_out
    assert sum(answers["quality"].to_pylist()) / len(answers) == pytest.approx(wanted, abs=5e-5)
    assert answers["seconds"].to_pylist() == pytest.approx([1.44] * len(answers))
