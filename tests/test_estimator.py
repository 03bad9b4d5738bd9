"""A small model and an LLM as one classifier: scikit-learn's own checks, and what is particular to it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

from askless import AskLess, Goal, load
from askless.bundles.decide import decide
from askless.errors import ConfigError, DataError
from askless.plans import small

WORDS = {"0": ("calm", "kind", "warm"), "1": ("rude", "vile", "mean")}


@pytest.fixture(autouse=True)
def few_folds(monkeypatch):
    monkeypatch.setattr(small, "FOLDS", 2)


class OfNumbers(AskLess):
    """The same over rows of numbers, for the checks have no texts: each row is written in words."""

    def fit(self, X, y, llm_answers=None):  # noqa: N803
        X, y = validate_data(self, X, y)  # noqa: N806
        return super().fit(self._texts(X), y, llm_answers)

    def predict(self, X):  # noqa: N803
        return super().predict(self._texts(validate_data(self, X, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = False, True
        return tags

    def _texts(self, X):  # noqa: N803
        return [" ".join(f"f{at}is{value:.0f}" for at, value in enumerate(row)) for row in X]


class Silent:
    """Has no answer; named without its address, for the names of tests have to be the same in every process."""

    def __call__(self, texts):
        return [None] * len(texts)

    def __repr__(self):
        return "silent"


@parametrize_with_checks([OfNumbers("linear", Silent())])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def items(n, seed=0, unclear=0.3):
    """Texts and labels; a small model can tell all but the unclear ones, which have a word of each class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(str)
    others = [rng.choice(list("01")) if rng.random() < unclear else label for label in labels]
    words = [sorted(rng.choice(WORDS[each]) for each in pair) for pair in zip(labels, others, strict=True)]
    return [f"{one} {other} {n}" for n, (one, other) in enumerate(words)], labels


def learnt(n):
    """The first of the items that `fitted` has."""
    texts, labels = items(600)
    return texts[:n], labels[:n]


class Llm:
    """Right of every text that it knows; counts what it is asked."""

    def __init__(self, texts, labels):
        self.known, self.asked = dict(zip(texts, labels, strict=True)), []

    def __call__(self, texts):
        self.asked += texts
        return [self.known.get(text) for text in texts]

    def __deepcopy__(self, memo):
        return self


@pytest.fixture(scope="module")
def fitted():
    texts, labels = items(600)
    llm = Llm(texts, labels)
    return AskLess("linear", llm, 0.2).fit(texts[:400], labels[:400], labels[:400]), llm, texts[400:], labels[400:]


def test_the_llm_is_asked_about_what_the_plan_leaves_to_it_alone(fitted):
    model, llm, texts, labels = fitted
    assert not llm.asked, "its answers were given"
    goes = model.deferred(texts)
    assert not llm.asked and 0.1 < goes.mean() < 0.3
    found = model.predict(texts + texts[:50])
    assert llm.asked == [text for text, one in zip(texts, goes, strict=True) if one], "equal texts once"
    alone = clone(model).set_params(budget=0.0).fit(*learnt(400), llm_answers=learnt(400)[1])
    assert found[:200].tolist() + found[:50].tolist() == found.tolist()
    assert model.score(texts, labels) > alone.score(texts, labels) + 0.02
    assert [model.predict([text])[0] for text in texts[:20]] == found[:20].tolist(), "alone as together"


def test_where_the_llm_has_no_label_the_small_model_s_stands(fitted):
    model, _, texts, _ = fitted
    silent = clone(model).set_params(llm=Silent())
    silent.__dict__ |= {name: value for name, value in vars(model).items() if name.endswith("_")}
    found = silent.predict(texts)
    assert set(found) == {"0", "1"}
    silent.llm = lambda texts: ["neither"] * len(texts)
    assert silent.predict(texts).tolist() == found.tolist()


@pytest.mark.parametrize("kind", [int, float, bool, str])
def test_labels_keep_their_type(kind):
    texts, labels = items(80, unclear=0.0)
    y = np.array([kind(int(label)) for label in labels])
    model = AskLess("linear", budget=0.0).fit(texts, y, list(y))
    found = model.predict(texts)
    assert found.dtype == y.dtype and model.score(texts, y) == 1.0 and model.classes_.tolist() == sorted(set(y))


def test_it_is_validated_and_cloned_as_any_classifier():
    texts, labels = items(150)
    llm = Llm(texts, labels)
    model = AskLess("linear", llm, 0.3)
    assert cross_val_score(model, texts, labels, cv=3).min() > 0.8
    again = clone(model)
    assert again.get_params() == model.get_params() and not hasattr(again, "plan_")
    assert len(set(llm.asked)) == len(texts), "without answers it is asked about all in fit"


def test_a_floor_is_certified_by_labels_that_taught_nobody():
    texts, labels = items(800)
    model = AskLess("linear", budget=Goal(floor=0.9)).fit(texts, labels, labels)
    assert model.plan_.certify == "split" and "llm" in model.plan_.reference
    assert any("certif" in words.lower() or "promise" in words.lower() for words in model.plan_.words())


def test_it_is_written_as_a_plan_that_decides_alike(fitted, tmp_path):
    model, _, texts, _ = fitted
    bundle = load(model.save(tmp_path / "plan.yaml"))
    assert bundle.experts == ("linear", "llm")
    share = np.mean([who == "llm" for who in decide(bundle, texts, bundle.budget(None)).expert])
    assert share == pytest.approx(model.deferred(texts).mean(), abs=0.05)


@pytest.mark.parametrize(
    ("act", "error", "sentence"),
    [
        (lambda m: m.fit("one text", ["0"]), DataError, "X: one text. Allowed: a list of texts"),
        (lambda m: m.fit(["a", None], ["0", "1"]), DataError, "X: NoneType None. Allowed"),
        (lambda m: m.fit([], []), DataError, "X: none. Allowed"),
        (lambda m: m.fit(["a", "b"], ["0", "1"]), ConfigError, "2 texts go to the LLM, and llm is None. Allowed"),
        (lambda m: m.fit(["a", "b"], ["0", "0"], ["0", "0"]), ValueError, "y has one class, '0'. Allowed: two"),
        (
            lambda m: m.set_params(llm=lambda texts: ["0"]).fit(["a", "b"], ["0", "1"]),
            DataError,
            "1 answers to 2 texts",
        ),
        (lambda m: m.set_params(small="openai").fit(*items(40), items(40)[1]), ConfigError, "which learns nothing"),
    ],
)
def test_what_is_wrong_is_told(act, error, sentence):
    with pytest.raises(error, match=sentence):
        act(AskLess("linear"))


def test_the_notebook_says_what_it_shows(monkeypatch, capsys):
    """Each cell is run; words are those that stand there, and figures, but for what another machine rounds."""
    monkeypatch.undo()
    folder = Path(__file__).parents[1] / "examples"
    monkeypatch.chdir(folder)
    number, said = re.compile(r"\d+(\.\d+)?"), {}
    for cell in json.loads((folder / "quickstart.ipynb").read_text("utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), said)
        shown = "".join("".join(each.get("text", "")) for each in cell["outputs"])
        found = capsys.readouterr().out
        assert number.sub("#", found) == number.sub("#", shown)
        figures = [[float(each[0]) for each in number.finditer(text)] for text in (found, shown)]
        assert figures[0] == pytest.approx(figures[1], rel=0.03, abs=0.03)
