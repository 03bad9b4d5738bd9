"""ROUGE of recorded summaries of real articles, against rouge-score and against the published figures."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from askless.text.rouge import KINDS, rouge
from askless.text.summary_faults import LONGER, LOOP, faults
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
# Mean ROUGE-L F x 100 without and with Porter's stemmer; published with it: GPT-3 20.5, Pegasus 39.5.
FIGURES = {
    ("xsum_test1000", "generation"): (39.153, 39.992),
    ("xsum_test1000", "nn_generation"): (24.605, 25.180),
    ("xsum_zeroshot500", "generation"): (19.810, 20.481),
    ("xsum_zeroshot500", "nn_generation"): (38.620, 39.516),
    ("xsum_zeroshot500", "t0"): (34.794, 35.751),
    ("xsum_zeroshot500", "brio"): (40.077, 40.991),
}
# Each was looked at: the articles are empty or a line long, the loops are loops.
FOUND = {
    ("xsum_test1000", "ground_truth"): {},
    ("xsum_test1000", "generation"): {},
    ("xsum_test1000", "nn_generation"): {LOOP: 7},
    ("xsum_test1000", "topic_convs2s"): {LOOP: 6},
    ("xsum_test1000", "ptgen"): {LOOP: 7},
    ("xsum_zeroshot500", "ground_truth"): {LONGER: 2},
    ("xsum_zeroshot500", "generation"): {LONGER: 1},
    ("xsum_zeroshot500", "nn_generation"): {LONGER: 1},
    ("xsum_zeroshot500", "t0"): {LONGER: 2},
    ("xsum_zeroshot500", "brio"): {LONGER: 1, LOOP: 1},
}


@pytest.fixture(scope="module")
def columns():
    """For each file its columns of texts."""
    folder = real_folder()
    read = {}
    for name in ("xsum_test1000", "xsum_zeroshot500"):
        lines = Path(folder, "xsum", f"{name}.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        read[name] = {key: [row[key] for row in rows] for key in rows[0]}
    return read


@pytest.mark.parametrize("case", FIGURES, ids="-".join)
def test_the_mean_is_the_published_one_with_the_stemmer(columns, case):
    file, who = case
    summaries, references = columns[file][who], columns[file]["ground_truth"]
    means = [100 * rouge(summaries, references, stemmer=stemmer).mean() for stemmer in (False, True)]
    assert means == pytest.approx(FIGURES[case], abs=0.0006)


@pytest.mark.parametrize("stemmer", [False, True])
def test_every_row_is_rouge_scores(columns, stemmer):
    table = columns["xsum_zeroshot500"]
    texts = table["generation"] + table["t0"] + table["input"][:100]
    pairs = list(zip(texts, table["ground_truth"] * 2 + table["ground_truth"][:100], strict=True))
    scorer = RougeScorer(list(KINDS), use_stemmer=stemmer)
    scores = [scorer.score(wanted, said) for said, wanted in pairs]
    for kind in KINDS:
        got = rouge([said for said, _ in pairs], [wanted for _, wanted in pairs], kind, stemmer)
        np.testing.assert_array_equal(got, [score[kind].fmeasure for score in scores])


@pytest.mark.parametrize("case", FOUND, ids="-".join)
def test_faults_are_found_and_none_where_there_is_none(columns, case):
    file, who = case
    found = Counter(faults(columns[file][who], columns[file]["input"]))
    del found[None]
    assert found == FOUND[case]


def test_t0_and_pegasus_leave_the_headroom_that_is_published(columns):
    """Published: T0 better on 38.6 %, the better of the two 43.8; the latter holds without the empty article."""
    table = columns["xsum_zeroshot500"]
    t0, pegasus = (rouge(table[who], table["ground_truth"], stemmer=True) for who in ("t0", "nn_generation"))
    assert (t0 > pegasus).mean() == 0.386
    best, said = np.maximum(t0, pegasus), np.array([bool(text.strip()) for text in table["input"]])
    assert [100 * best.mean(), 100 * best[said].mean()] == pytest.approx([43.745, 43.794], abs=0.0006)
