"""An expert as options and files: what comes back with them. That every kept one answers the same: `test_contract`."""

import json
import shutil
from types import SimpleNamespace

import numpy as np

from askless.experts import Setting, build
from askless.experts.local.seq2seq import Seq2SeqExpert
from askless.experts.small.linear import LinearExpert
from askless.experts.small.mlp import MlpExpert
from askless.experts.small.persistence import as_expert, keep, restored
from askless.text.embeddings import Vectors
from tests.experts.tiny_models import make_summariser
from tests.helpers import examples
from tests.summaries_data import SMALL, news, vectors_in

CLASSES = ("0", "1")


def posts(n):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["storm", "river", "music", "garden", "was", "the"], 6)) for _ in range(n)]
    return examples([CLASSES["storm" in text] for text in texts], text=texts)


def test_options_come_back(tmp_path):
    expert = build(Setting("linear", "t", CLASSES), {"backend": "linear", "ngrams": 1, "strengths": [1.0]})
    assert isinstance(expert, LinearExpert)
    options = keep(expert.fit(posts(60), posts(30)), tmp_path)
    again = restored(tmp_path, "linear", CLASSES, options)
    assert isinstance(again, LinearExpert)
    assert (again.ngrams, again.strengths, again.min_df) == (1, [1.0], 2)


def test_an_encoder_decoder_in_a_folder_travels_whole(tmp_path):
    home = make_summariser(tmp_path / "home", "t5")
    setting = Setting(SMALL, "demo", ())
    expert = Seq2SeqExpert(setting, model=str(home), prefix="Say: ", max_new_tokens=4, device="cpu")
    rows = news(3, 3)
    before = expert.answer(rows)
    (tmp_path / "k").mkdir()
    options = json.loads(json.dumps(keep(expert, tmp_path / "k")))
    assert str(tmp_path) not in json.dumps(options)
    shutil.rmtree(home)
    (tmp_path / "k").rename(tmp_path / "elsewhere")
    after = restored(tmp_path / "elsewhere", SMALL, (), options).answer(rows)
    assert after["text"].equals(before["text"])
    assert after["logprob"].equals(before["logprob"])


def test_of_an_encoder_decoder_on_the_hub_name_and_commit_are_kept(tmp_path):
    expert = Seq2SeqExpert(Setting(SMALL, "demo", ()), model="some/summariser", max_new_tokens=9)
    expert.__dict__["checkpoint"] = SimpleNamespace(folder=None, revision="b" * 40)
    options = keep(expert, tmp_path)
    assert (options["model"], options["revision"], options["max_new_tokens"]) == ("some/summariser", "b" * 40, 9)
    assert list(tmp_path.iterdir()) == []
    again = restored(tmp_path, SMALL, (), options)
    assert isinstance(again, Seq2SeqExpert)
    assert (again.model, again.revision) == ("some/summariser", "b" * 40)


def test_a_network_of_its_own_is_an_expert(tmp_path):
    setting = Setting(SMALL, "t", CLASSES, vectors=vectors_in(tmp_path))
    expert, rows = MlpExpert(setting).fit(posts(60), posts(30)), posts(20)
    made = as_expert(expert.model_)
    assert isinstance(made, MlpExpert)
    assert (made.name, made.setting.classes) == (SMALL, CLASSES)
    assert made.answer(rows)["proba"].equals(expert.answer(rows)["proba"])
    assert as_expert(expert) is expert
    assert isinstance(made.vectors, Vectors)
