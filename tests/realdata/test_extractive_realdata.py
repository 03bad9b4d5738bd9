"""The sentence ranker on real articles: better than the lead by more than chance, and it knows how good it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from askless import schema
from askless.data.demo.documents import documents
from askless.evaluation.metrics import bootstrap_weights, weighted_sums
from askless.experts import Setting
from askless.experts.small.extractive import ExtractiveExpert
from askless.experts.small.lead import LeadExpert
from askless.text import embeddings
from benchmarks.extractive import NONE, examples, marks, nearest, real
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def folder():
    found = real_folder()
    return Path(found)


@pytest.fixture(scope="module")
def ranker(folder, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("vectors") / "glove"
    vectors = embeddings.build(folder / "glove" / "glove.6B.100d.top2717.txt", scratch, 100)
    return ExtractiveExpert(Setting("extractive", "xsum", (), vectors=vectors)).fit(
        examples(real(folder, "train300")), NONE
    )


@pytest.mark.parametrize(("file", "rows", "least"), [("test1000", 1000, 0.016), ("zeroshot500", 499, 0.012)])
def test_it_beats_the_first_sentence(folder, ranker, file, rows, least):
    test = examples(real(folder, file))
    answers, lead = ranker.answer(test), LeadExpert(Setting("lead", "xsum", ())).answer(test)
    got, first = marks(answers, test, False), marks(lead, test, False)
    draws = weighted_sums(bootstrap_weights(rows, 1000, 0), (got - first)[:, None])[:, 0] / rows
    assert np.quantile(draws, 0.025) > least
    assert first.mean() < got.mean() < nearest(test, False).mean()
    expected = np.exp(answers["logprob"].to_numpy())
    assert expected.mean() == pytest.approx(got.mean(), abs=0.006)
    assert np.corrcoef(expected, got)[0, 1] > 0.1


@pytest.mark.slow
def test_generated_documents_among_those_to_learn_from_do_no_harm(folder, ranker):
    made = [(document["text"], document["reference"]) for document in documents(300, 0)]
    both = ExtractiveExpert(ranker.setting).fit(examples(real(folder, "train300") + made), NONE)
    test = examples(real(folder, "test1000"))
    lead = marks(LeadExpert(Setting("lead", "xsum", ())).answer(test), test, False)
    gain = marks(both.answer(test), test, False) - lead
    draws = weighted_sums(bootstrap_weights(1000, 1000, 0), gain[:, None])[:, 0] / 1000
    assert np.quantile(draws, 0.025) > 0.012


def test_what_is_learnt_is_a_page_of_json(ranker, tmp_path):
    path = ranker.save(tmp_path) / "extractive.json"
    assert path.stat().st_size < 3_000
    assert json.loads(path.read_text())["vectors"] == {"words": 2717, "dim": 100}


def test_the_one_article_that_is_longer_than_what_is_read_is_counted(folder, ranker):
    assert schema.meta_of(ranker.answer(examples(real(folder, "test1000"))))["truncated"] == 1
