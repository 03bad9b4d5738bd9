"""The real files, where ASKLESS_REALDATA names their folder.

Each assertion is about a number, a hash or a name made beforehand: pytest shows the values in a failed expression, and
the texts must not be shown.
"""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from askless import schema
from askless.config import Source, Split, Task, VectorSource
from askless.data import readers, sources
from askless.data.prepare import prepare
from askless.data.recorded.paper_files import dump, load, recorded_predictions
from askless.data.tables import read_records
from askless.text.embeddings import Vectors as WordVectors
from askless.text.embeddings import build
from tests.realdata import real_folder

CLASSES = ("0", "1")
KNOWN = 23356
SHARES = Split(0.7, 0.1, 0.2)
pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def real():
    folder = real_folder()
    return Path(folder)


def task(kind):
    return Task(
        "classification",
        Source(kind=kind),
        VectorSource(kind="demo"),
        SHARES,
        "olhs",
        "accuracy",
        classes=CLASSES,
        positive="1",
    )


def digest(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def totals(summary):
    return {label: sum(part[label] for part in summary["splits"].values()) for label in CLASSES}


@pytest.fixture(scope="module")
def tweets(real, tmp_path_factory):
    os.environ.pop("ASKLESS_MIRROR", None)
    source = Source(kind="olhs", path=real / "olhs" / "labeled_data.csv", sha256=sources.PUBLIC["olhs"].sha256)
    path = sources.obtain(source, tmp_path_factory.mktemp("raw"))
    return readers.read(source, path)


def test_the_mirror_serves_the_original_tweets(real, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKLESS_MIRROR", str(real / "olhs"))
    assert sources.obtain(Source(kind="olhs"), tmp_path).stat().st_size == 2_546_446


def test_olhs(tweets):
    groups = dict(Counter(tweets["group"].to_pylist()))
    assert groups == {"hate": 1430, "offensive": 19190, "neither": 4163}
    examples, summary = prepare(tweets, task("olhs"), "olhs")
    schema.check(examples, "examples", classes=CLASSES)
    found = {key: summary[key] for key in ("raw_rows", "duplicates_dropped", "conflicting_labels", "examples")}
    assert found == {"raw_rows": 24783, "duplicates_dropped": 1, "conflicting_labels": 0, "examples": 24782}
    assert totals(summary) == {"0": 4163, "1": 20619}
    assert summary["splits"]["test"] == {"0": 833, "1": 4124}


@pytest.mark.parametrize(
    ("file", "experts", "lines"),
    [
        ("hate/stormfront_gpt-3.5-turbo.json", ["gpt"], False),
        ("offensive/tweeteval_offensive_gpt-4.jsonl", ["gpt"], True),
        ("xsum/xsum_test1000.jsonl", ["large", "small"], True),
        ("xsum/xsum_train300.jsonl", [], True),
        ("xsum/xsum_zeroshot500.jsonl", ["large", "small"], True),
    ],
)
def test_recorded_files_come_back_whole(real, tmp_path, file, experts, lines):
    records, _ = read_records(real / file)
    found = load(real / file, experts, CLASSES, "src")
    answers = schema.read(schema.write(found.predictions, tmp_path / "a.parquet", "predictions"), "predictions")
    back, as_lines = read_records(dump(tmp_path / "back.json", found.rows, answers))
    counts = len(back), len(records), found.rows.num_rows
    assert as_lines == lines and len(set(counts)) == 1
    got, wanted = digest(back), digest(records)
    assert got == wanted


@pytest.mark.parametrize(
    ("kind", "file", "counts", "right"),
    [
        ("offline", "hate/stormfront_gpt-3.5-turbo.json", {"0": 9342, "1": 1192}, 0.8319),
        ("online", "offensive/tweeteval_offensive_gpt-4.jsonl", {"0": 611, "1": 237}, 0.8302),
    ],
)
def test_recorded_answers_meet_the_prepared_examples(real, kind, file, counts, right):
    examples, summary = prepare(readers.read(Source(kind=kind), real / file), task(kind), kind)
    answers = recorded_predictions(real / file, examples, "gpt", CLASSES)
    schema.check_answers(examples, answers)
    share = float(np.mean(np.array(examples["label"].to_pylist()) == np.array(answers["label"].to_pylist())))
    assert totals(summary) == counts
    assert share == pytest.approx(right, abs=5e-5)


def test_tweeteval_train(real):
    raw = readers.read(Source(kind="parquet"), real / "offensive" / "tweeteval_offensive_train.parquet")
    summary = prepare(raw, task("parquet"), "tweeteval")[1]
    assert (summary["raw_rows"], summary["examples"], summary["conflicting_labels"]) == (11916, 11881, 6)


def test_glove_lines_and_features_of_the_tweets(real, tmp_path, tweets):
    path = real / "glove" / "glove.6B.100d.top2717.txt"
    vectors = WordVectors.open(build(path, tmp_path / "v", 100))
    lines = [line.split(" ") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    table = {word: np.array([float(v) for v in values]) for word, *values in lines}
    same_words = vectors.vocabulary.words() == list(table)
    same_numbers = np.array_equal(vectors.matrix, np.array(list(table.values())).astype(np.float32))
    assert same_words and same_numbers and len(vectors) == 2717
    texts = tweets["text"].to_pylist()
    wanted = np.zeros((len(texts), 100))
    for row, text in enumerate(texts):
        if found := [table[token] for token in text.split() if token in table]:
            wanted[row] = np.mean(found, axis=0)
    off = float(np.abs(vectors.mean(texts) - wanted).max())
    known = int(np.abs(wanted).sum(axis=1).astype(bool).sum())
    assert off < 2e-6 and known == KNOWN
