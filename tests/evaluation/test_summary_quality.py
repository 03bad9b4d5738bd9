from contextlib import closing

import numpy as np
import pytest

from askless import schema
from askless.config import QUALITIES, Base, Costs, Params, Source, Split, Task
from askless.config import VectorSource as Wanted
from askless.errors import ConfigError, DataError, ExpertError
from askless.evaluation.summary_quality import SUMMARY_QUALITIES, Embedding, Judge, measured, of_task, summary_quality
from askless.text.embeddings import Vectors
from askless.text.rouge import KINDS, rouge
from askless.text.summary_faults import LONGER, LOOP
from askless.text.vocabulary import Vocabulary
from tests.experts.chat_server import Answer, ChatServer, chat

SAID = ["The cats sat down.", "", "a dog"]
WANTED = ["the cat sat", "nothing", "a dog"]
DOCUMENTS = ["the cats sat down on a mat", "nothing at all", "a dog and a cat"]
VECTORS = Vectors(
    np.array([[1, 0], [0.6, 0.8], [-1, 0], [0, 1]], np.float32), Vocabulary.of(["cat", "kitten", "anticat", "dog"])
)


class Marking:
    """An expert that marks what it is shown by a function, and remembers it."""

    def __init__(self, mark):
        self.mark, self.shown = mark, []

    def answer(self, examples):
        schema.check(examples, "examples")
        self.shown += examples["text"].to_pylist()
        labels = [self.mark(text) for text in examples["text"].to_pylist()]
        columns = {
            "id": examples["id"],
            "expert": ["judge"] * len(labels),
            "label": labels,
            "error": [None if label else "no mark" for label in labels],
        }
        return schema.table("predictions", columns)


class Silent:
    """An expert that answers nothing that it was asked."""

    def answer(self, examples):
        return schema.table("predictions", {"id": ["x"], "expert": ["judge"], "label": ["1"]})


OPTIONS = {"embedding": {"vectors": VECTORS}, "judge": {"expert": Marking(lambda text: "3")}}


@pytest.mark.parametrize("name", SUMMARY_QUALITIES)
def test_every_quality_gives_a_number_from_0_to_1_for_each_summary(name):
    quality = summary_quality(name, **OPTIONS.get(name, {}))
    values = quality(SAID, WANTED, DOCUMENTS)
    assert values.shape == (3,)
    assert values.dtype == np.float64
    assert ((values >= 0) & (values <= 1)).all()
    assert values[1] == 0
    assert quality([], [], []).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_rouge_is_rouge_with_its_stemmer(kind):
    plain, stemmed = summary_quality(kind), summary_quality(f"{kind}_stemmed")
    np.testing.assert_array_equal(plain(SAID, WANTED, DOCUMENTS), rouge(SAID, WANTED, kind))
    np.testing.assert_array_equal(stemmed(SAID, WANTED, DOCUMENTS), rouge(SAID, WANTED, kind, stemmer=True))
    assert stemmed(SAID, WANTED, DOCUMENTS)[0] > plain(SAID, WANTED, DOCUMENTS)[0]


def test_embedding_is_the_cosine_of_the_means_and_0_where_there_is_none():
    said = ["A cat!", "Kitten.", "anticat", "unknown", "cat, dog"]
    values = Embedding(VECTORS)(said, ["cat"] * 5, [""] * 5)
    assert values == pytest.approx([1, 0.6, 0, 0, 0.5**0.5])


def test_a_judge_reads_summary_reference_and_document_and_its_marks_are_even():
    marks = iter(["bad", "fair", "good"])
    judge = Marking(lambda text: next(marks))
    values = Judge(judge, scale=("bad", "fair", "good"))(["x", "y ", "z"], ["r", "", "t"], ["d", "e", "f"])
    assert values.tolist() == [0, 0.5, 1]
    assert judge.shown == [
        "Summary: x\n\nReference: r\n\nDocument: d",
        "Summary: y\n\nDocument: e",
        "Summary: z\n\nReference: t\n\nDocument: f",
    ]


def test_an_empty_summary_is_not_asked_about_and_a_missing_mark_is_nan():
    judge = Marking(lambda text: None if "mute" in text else "5")
    np.testing.assert_array_equal(Judge(judge)(["", "mute", " \n", "said"], ["r"] * 4, ["d"] * 4), [0, np.nan, 0, 1])
    assert len(judge.shown) == 2
    pending = Marking(lambda text: "1")
    assert Judge(pending)(["", ""], ["r", "r"], ["d", "d"]).tolist() == [0, 0]
    assert pending.shown == []


def test_a_mark_outside_the_scale_and_a_missing_answer_are_errors():
    with pytest.raises(ExpertError) as raised:
        Judge(Marking(lambda text: "7"))(["a"], ["b"], ["c"])
    assert str(raised.value) == "The judge gave '7'. Allowed: 1, 2, 3, 4, 5. Give it these classes."
    with pytest.raises(DataError, match=r"^the judge's answers: 1 of 1 examples have no answer"):
        Judge(Silent())(["a"], ["b"], ["c"])


@pytest.mark.parametrize("scale", [(), ("1",), ("1", "1"), "12345"])
def test_a_scale_has_two_different_labels(scale):
    with pytest.raises(ConfigError) as raised:
        Judge(Silent(), scale)
    expected = f"Quality 'judge': scale is {scale!r}. Allowed: at least two different labels, worst to best."
    assert str(raised.value) == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "rougel",
            {},
            "Unknown quality of summaries 'rougel'. Known: embedding, judge, rouge1, rouge1_stemmed, rouge2, "
            "rouge2_stemmed, rougeL, rougeL_stemmed. Did you mean 'rougeL'?",
        ),
        ("embedding", {}, "Quality 'embedding': missing a required argument: 'vectors'. Allowed: vectors."),
        ("judge", {"scale": "ab"}, "Quality 'judge': missing a required argument: 'expert'. Allowed: expert, scale."),
        ("rouge1", {"stem": 1}, "Quality 'rouge1': got an unexpected keyword argument 'stem'. Allowed: no options."),
    ],
)
def test_an_unknown_name_or_option_lists_what_is_known(name, options, message):
    with pytest.raises(ConfigError) as raised:
        summary_quality(name, **options)
    assert str(raised.value) == message


@pytest.mark.parametrize("name", SUMMARY_QUALITIES)
def test_lists_of_different_lengths_are_an_error(name):
    with pytest.raises(DataError) as raised:
        summary_quality(name, **OPTIONS.get(name, {}))(["a", "b"], ["c"], ["d", "e"])
    assert str(raised.value) == "references: 1 texts for 2 summaries. Allowed: 2. Give one for each."


def test_predictions_get_their_quality_and_what_is_wrong_with_them():
    loop = "cat " * 8
    documents = ["the cats sat down on a mat and then they slept all day long in the sun", "a dog", "no", "nothing"]
    ids = ["a", "b", "c", "d"]
    wanted = ["cats sat down", "a dog", "no", "nothing"]
    examples = schema.table("examples", {"id": ids, "text": documents, "reference": wanted, "split": ["test"] * 4})
    said = {
        "id": ids,
        "expert": ["s"] * 4,
        "text": [loop, "a dog", "no no never", None],
        "error": [None] * 3 + ["lost"],
    }
    found = measured(examples, schema.table("predictions", said), summary_quality("rougeL"))
    assert found["error"].to_pylist() == [LOOP, None, LONGER, "lost"]
    assert found["quality"].to_pylist()[:3] == pytest.approx(rouge([loop, "a dog", "no no never"], wanted[:3]).tolist())
    assert found["quality"].to_pylist()[3] == 0
    schema.check(found, "predictions")


def test_what_a_judge_gave_no_mark_has_no_quality():
    examples = schema.table("examples", {"id": ["a"], "text": ["d"], "reference": ["r"], "split": ["test"]})
    said = schema.table("predictions", {"id": ["a"], "expert": ["s"], "text": ["s"]})
    assert measured(examples, said, Judge(Marking(lambda text: None)))["quality"].to_pylist() == [None]


def params(quality, **options):
    """Parameters with one task of summaries, `news`, and an expert called `marker`."""
    judge, experts = ("marker", {"marker": options}) if options else (None, {})
    shares, words = Split(train=0.6, valid=0.15, test=0.25), Wanted(kind="demo")
    task = Task("summarisation", Source(kind="demo-documents"), words, shares, "demo-xsum", quality, judge)
    return Params(Base(("news",), ()), {"news": task}, experts, {}, {}, Costs("usd", {}), {})


def test_the_parameters_know_the_qualities_that_there_are():
    assert sorted(QUALITIES["summarisation"]) == sorted(SUMMARY_QUALITIES)


@pytest.mark.parametrize("name", sorted(set(SUMMARY_QUALITIES) - {"embedding", "judge"}))
def test_a_task_names_its_rouge(name, tmp_path):
    assert of_task("news", params(name), tmp_path / "none") == summary_quality(name)


def test_a_task_of_nearness_in_meaning_takes_its_word_vectors(tmp_path):
    VECTORS.save(tmp_path)
    quality = of_task("news", params("embedding"), tmp_path)
    assert quality(["Kitten!"], ["cat"], [""]) == pytest.approx([0.6])
    with pytest.raises(DataError, match="no vectors.npy. Allowed: a folder of word vectors. Run the stage"):
        of_task("news", params("embedding"), tmp_path / "none")


def test_a_task_names_the_expert_that_marks_and_no_mark_is_paid_for_twice(tmp_path):
    with closing(ChatServer()) as server:
        server.reply = lambda request, before: Answer(chat("4" if "Summary: good" in request.text else "2"))
        settings = params("judge", backend="openai", model="m", base_url=server.url)
        for _ in range(2):
            quality = of_task("news", settings, tmp_path / "none", tmp_path / "answers")
            assert quality(["good", "bad", ""], ["r", "r", "r"], ["d", "d", "d"]).tolist() == [0.75, 0.25, 0]
        assert len(server.requests) == 2
