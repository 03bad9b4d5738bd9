"""Items and recorded answers of any origin, as one study."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askless import schema
from askless.config import Price
from askless.data.recorded import load
from askless.data.recorded.imported import read as read_answers
from askless.data.recorded.prices import read_prices
from askless.errors import ConfigError, DataError
from tests.data.test_tables import written

GOLD = ["A", "B", "C", "A", "B", "C"]
SPLIT = ["train", "train", "train", "test", "test", "test"]
IDS = [f"q{k}" for k in range(6)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def write(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def items(folder, **columns):
    given = {"id": IDS, "label": GOLD, "split": SPLIT, **columns}
    return write(folder / "items.parquet", **{k: v for k, v in given.items() if v is not None})


def answers(folder, name="small", **columns):
    count = len(columns.get("id", IDS))
    given = {"id": IDS, "expert": [name] * count, "label": GOLD, "cost_usd": [0.1] * count, **columns}
    return write(folder / f"{name}.parquet", **{k: v for k, v in given.items() if v is not None})


def fault(*words, **options):
    with pytest.raises(DataError) as caught:
        load(*words, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_study_keeps_the_contract_and_the_order_of_the_items(folder):
    shuffled = [IDS[k] for k in (3, 1, 5, 0, 2, 4)]
    said = ["x", "A", "C", "A", "B", "b"]
    study = load(
        items(folder, text=[f"post {k}" for k in range(6)], group=["g"] * 6),
        [answers(folder, "large", cost_usd=[0.5] * 6), answers(folder, id=shuffled, label=said)],
    )
    assert (study.classes, study.experts, study.has_text) == (("A", "B", "C"), ("small", "large"), True)
    assert study.cost.unit == "usd"
    schema.check(study.examples, "examples")
    for expert in study.experts:
        schema.check(study.answers[expert], "predictions", classes=study.classes)
        assert study.answers[expert]["id"].to_pylist() == IDS
    small = study.answers["small"].to_pydict()
    assert small["label"] == ["A", "A", "B", None, "B", "C"]
    assert (small["text"][3], small["error"][3]) == ("x", "label outside the classes")
    assert study.notes == (
        "1 label of 'small' in another spelling: read as the class meant.",
        "1 label of 'small' outside the classes: no answer, which counts as wrong: 'x' (1). To say what one means: "
        "--map THEIRS=CLASS.",
    )


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_every_kind_of_file_gives_the_same_study(folder, kind):
    rows = [{"id": k, "expert": "e", "label": g, "logprob": -k / 2, "cost_usd": 0.1} for k, g in enumerate(GOLD)]
    gold = [{"id": k, "label": g, "split": s} for k, g, s in zip(range(6), GOLD, SPLIT, strict=True)]
    wanted, got = (load(written(folder, k, gold, "items"), [written(folder, k, rows, "e")]) for k in ("parquet", kind))
    assert got.examples.equals(wanted.examples)
    assert got.answers["e"].equals(wanted.answers["e"])
    assert got.has_text is False
    assert got.examples["text"].to_pylist() == [str(k) for k in range(6)]


def test_one_file_of_several_experts_and_one_expert_in_several_files(folder):
    both = write(
        folder / "both.parquet",
        id=IDS + IDS[:3],
        expert=["a"] * 6 + ["b"] * 3,
        label=GOLD + GOLD[:3],
        cost_usd=[0.1] * 9,
    )
    rest = write(folder / "rest.csv.parquet", id=IDS[3:], expert=["b"] * 3, label=GOLD[3:], cost_usd=[0.1] * 3)
    study = load(items(folder), [both, rest])
    assert study.experts == ("a", "b")
    assert study.answers["b"]["label"].to_pylist() == GOLD


def test_a_file_that_names_no_expert_has_its_own_name(folder):
    study = load(items(folder), [answers(folder, "gpt-4o", expert=None)])
    assert study.experts == ("gpt-4o",)
    assert study.notes == (f"{folder / 'gpt-4o.parquet'} names no expert: its answers are taken as those of 'gpt-4o'.",)


def test_whole_numbers_are_classes_in_their_own_order(folder):
    study = load(items(folder, label=[10, 9, 10, 9, 10, 9]), [answers(folder, label=[10.0, 9.0, 10.0, 9.0, None, 9.0])])
    assert study.classes == ("9", "10")
    assert study.answers["small"]["label"].to_pylist() == ["10", "9", "10", "9", None, "9"]
    assert study.answers["small"]["error"].to_pylist()[4] == "no answer is recorded"


def test_classes_that_no_gold_label_shows_can_be_named(folder):
    one = items(folder, label=["A"] * 5 + ["B"])
    path = answers(folder, label=["C"] * 5 + ["A"])
    assert fault(one, [path]) == (
        f"{path}: 5 of 6 labels of 'small' are none of the classes: 'C' (5). Allowed: labels among 'A', 'B'. "
        "Say what they mean (--map THEIRS=CLASS), where in a reply the label stands (--pattern 'Answer: (.*)'), which "
        "column holds it (--column label=ITS_NAME), or all the classes (--classes A,B,C)."
    )
    study = load(one, [path], classes=["A", "B", "C"])
    assert study.answers["small"]["label"].to_pylist() == ["C"] * 5 + ["A"]
    assert fault(items(folder), [path], classes=["A", "B"]) == (
        f"{folder / 'items.parquet'}: 1 label outside the classes (C). Allowed: one of A, B. "
        "Correct --classes or the labels."
    )


def test_gold_of_one_class_shows_policies_which_answers_are_right(folder):
    """A recording of who was right, given as labels that are all held against "True"."""
    gold = items(folder, label=["True"] * 6)
    path = answers(folder, label=["True", "False"] * 3)
    for classes in (None, ["True", "False"]):
        assert fault(gold, [path], classes=classes) == (
            f"{gold}: every gold label is 'True', so that answers show every policy which are right. Allowed: "
            "gold labels of two classes or more. Where labels are judgements, say so and give no gold labels: "
            "--column correct=ITS_NAME (true or false) or --column quality=ITS_NAME (0 to 1)."
        )
    # To decide or to explain, one item is enough.
    assert load(gold, [path], classes=["True", "False"], fit=False).classes == ("True", "False")
    judged = load(gold, [path], columns={"correct": "label"})
    assert (judged.judged, judged.classes) == ("correct", ())
    assert judged.answers["small"]["quality"].to_pylist() == [1, 0] * 3
    assert judged.answers["small"]["label"].null_count == judged.examples["label"].null_count == 6
    assert judged.notes == (f"The gold labels of {gold} do not count: the answers were judged already.",)


JUDGED = [
    ([True, False, True, True, False, True], "correct", [1, 0, 1, 1, 0, 1]),
    (["True", " no", "YES", "1", "0", "false"], "correct", [1, 0, 1, 1, 0, 0]),
    ([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], "correct", [1, 0, 1, 1, 0, 1]),
    ([0.5, 0.25, 1.0, 0.0, 0.5, 1.0], "quality", [0.5, 0.25, 1, 0, 0.5, 1]),
]


@pytest.mark.parametrize(("said", "by", "quality"), JUDGED)
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_answers_that_were_judged_already(folder, said, by, quality, kind):
    gold = items(folder, label=None)
    path = answers(folder, label=None, **{by: said}, proba=None)
    if kind == "jsonl":
        path = folder / "small.jsonl"
        rows = [{"id": i, "expert": "small", by: value, "cost_usd": 0.1} for i, value in zip(IDS, said, strict=True)]
        path.write_text("\n".join(map(json.dumps, rows)))
    study = load(gold, [path])
    assert (study.judged, study.classes, study.notes) == (by, (), ())
    assert study.answers["small"]["quality"].to_pylist() == quality
    assert study.answers["small"]["error"].null_count == 6


def test_a_judged_answer_keeps_what_was_said_and_what_is_missing(folder):
    path = answers(
        folder,
        label=["a", "b", None, "c", None, "d"],
        quality=[1.0, 0.5, None, 0.0, 0.25, 1.0],
        error=[None, None, "a time-out", None, None, None],
        proba=[[0.5, 0.5]] * 6,
    )
    study = load(items(folder, label=None), [path])
    small = study.answers["small"]
    assert small["text"].to_pylist() == ["a", "b", None, "c", None, "d"]
    assert small["error"].to_pylist() == [None, None, "a time-out", None, None, None]
    assert (small["label"].null_count, small["proba"].null_count) == (6, 6)
    assert study.notes == ("'small': proba is of classes, which judged answers have none of; logprob counts.",)


def test_labels_are_held_against_gold_ones_where_there_are_some(folder):
    """A file of a benchmark has both the answer and whether it was right."""
    study = load(items(folder), [answers(folder, correct=[False] * 6)])
    assert (study.judged, study.classes) == ("", ("A", "B", "C"))
    assert study.answers["small"]["quality"].null_count == 6
    assert study.notes == ("'small': correct or quality does not count, for labels are held against gold ones.",)


def test_judgements_that_cannot_be_meant(folder):
    gold = items(folder, label=None)

    def refused(**columns):
        return fault(gold, [answers(folder, **{"label": None, **columns})])

    assert "correct is maybe in row 2 of the data" in refused(correct=["true", "maybe", "no", "no", "no", "no"])
    assert "quality is 1.5 in row 1 of the data (1 row in all). Allowed: a number from 0 to 1." in refused(
        quality=[1.5] + [0.5] * 5
    )
    assert "Allowed: a finite number of at least 0." in refused(quality=[-0.5] + [0.5] * 5)
    assert "Allowed: a judgement of every answer, or its error." in refused(quality=[None] + [0.5] * 5)
    assert "both 'correct' and 'quality'. Allowed: one of them." in refused(quality=[0.5] * 6, correct=[True] * 6)
    assert "Allowed: one judged answer to an item." in refused(
        id=[IDS[0]] * 2, correct=[True] * 2, sample=[0, 1], cost_usd=[0.1] * 2, expert=["small"] * 2
    )
    assert (
        "no column 'label' or 'correct' or 'quality' (its columns are id, expert, cost_usd). Allowed: one of them. "
        "Add it, or say which column holds it: --column label=ITS_NAME."
    ) in refused()
    both = [answers(folder, label=None, correct=[True] * 6), answers(folder, "large")]
    assert "'large' has labels and 'small' a judgement of its answers" in fault(gold, both)


@pytest.mark.parametrize("imported", [False, True])
def test_a_flat_price_is_billed_for_each_sample(folder, imported):
    """Four samples of GPT-4 were once billed as one answer."""
    path = answers(
        folder,
        id=[name for name in IDS for _ in range(4)],
        label=[g for g in GOLD for _ in range(4)],
        sample=list(range(4)) * 6,
        cost_usd=None,
        prompt_tokens=[10] * 24,
    )
    if imported:
        found = read_answers(path, classes=["A", "B", "C"])
        assert schema.meta_of(found.predictions)["samples"] == {"small": 4.0}
        path = schema.write(found.predictions, folder / "imported.parquet", "predictions")
    prices = {"small": Price(usd_per_1k_answers=12.0, usd_per_1m_prompt_tokens=100.0)}
    study = load(items(folder), [path], prices=prices)
    assert study.cost.price(study.answers["small"], "small") == pytest.approx([4 * (0.012 + 10 * 1e-4)] * 6)
    billed = answers(folder, "billed", id=[i for i in IDS for _ in "ab"], label=[g for g in GOLD for _ in "ab"],
                     expert=["small"] * 12, sample=[0, 1] * 6, cost_usd=[0.1] * 12)  # fmt: skip
    study = load(items(folder), [billed], prices=prices)
    assert study.cost.price(study.answers["small"], "small") == pytest.approx([0.2] * 6)


def test_how_long_a_reply_can_be_is_known_of_answers_that_say_it(folder):
    columns = {"id": list(IDS), "expert": ["llm"] * 6, "label": list(GOLD), "cost_usd": [0.1] * 6}
    for name, meta in (("known", {"max_tokens": 64}), ("unknown", {})):
        path = schema.write(schema.table("predictions", columns, meta), folder / f"{name}.parquet", "predictions")
        assert schema.meta_of(load(items(folder), [path]).answers["llm"]).get("max_tokens") == meta.get("max_tokens")


def test_the_order_of_experts_as_given(folder):
    files = [answers(folder, name, cost_usd=[cost] * 6) for name, cost in (("a", 0.3), ("b", 0.1), ("c", 0.2))]
    assert (load(items(folder), files).experts, load(items(folder), files).ordered) == (("b", "c", "a"), False)
    study = load(items(folder), files, order=["a", "b"])
    assert (study.experts, study.ordered) == (("a", "b"), True)
    assert set(study.answers) == {"a", "b"}
    assert study.notes == ("Left out, since the order does not name them: c.",)
    with pytest.raises(ConfigError, match="Unknown expert 'd'. Known: a, b, c."):
        load(items(folder), files, order=["d"])
    with pytest.raises(ConfigError, match="The order got a, a. Allowed: each expert once, one or more."):
        load(items(folder), files, order=["a", "a"])


def test_one_item(folder):
    study = load(write(folder / "i.parquet", id=[7], label=[1]), [answers(folder, id=[7], label=[1])], fit=False)
    assert study.examples["split"].to_pylist() == ["train"]


def test_labels_that_are_mostly_no_classes_are_shown_shortened(folder):
    said = ["I think that it is rather long", "I\ncannot", "A", "perhaps", "who knows", "no"]
    told = fault(items(folder), [answers(folder, label=said)])
    assert "classes: 'I think that it is rather long' (1), 'I cannot' (1), 'perhaps' (1), " in told


def test_an_expert_that_never_answers_is_legal(folder):
    study = load(items(folder), [answers(folder, label=pa.nulls(6, pa.string()))])
    assert study.notes == ("'small' gave no label at all.",)


# Splits.


def test_without_a_split_each_class_is_split_by_a_hash_that_is_told(folder):
    ids, gold = [f"i{k}" for k in range(50)], ["A"] * 40 + ["B"] * 10
    path = items(folder, id=ids, label=gold, split=None)
    said = answers(folder, id=ids, label=gold)
    study = load(path, [said])
    assert study.notes == (
        f"{path} has no split: each class was split by a hash of its ids (seed 0): 30 train, 20 test.",
    )
    split = np.array(study.examples["split"].to_pylist())
    assert [(split[np.array(gold) == c] == "train").sum() for c in "AB"] == [24, 6]
    assert load(path, [said]).examples.equals(study.examples)
    assert not load(path, [said], split_seed=1).examples.equals(study.examples)


def test_other_names_of_splits(folder):
    study = load(items(folder, split=["Train", "train", "dev", "validation", "val", "test"]), [answers(folder)])
    assert study.examples["split"].to_pylist() == ["train", "train", "valid", "valid", "valid", "test"]
    assert study.notes == tuple(f"Split '{name}' is taken as valid." for name in ("validation", "val", "dev"))


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (
            ["train", "holdout"] * 3,
            "split is holdout in row 2 of the data (3 rows in all). Allowed: train, valid or test in every ",
        ),
        (
            [None, "train"] * 3,
            "split is None in row 1 of the data (3 rows in all). Allowed: train, valid or test in every row, ",
        ),
        (["test"] * 6, "no item with split train among 6 items. Allowed: train, on which policies are fitted. "),
    ],
)
def test_splits_that_cannot_be_used(folder, split, said):
    path = items(folder, split=pa.array(split))
    assert fault(path, [answers(folder)]).startswith(f"{path}: {said}")


# Items.


def test_items_without_a_label_are_left_out_and_texts_that_are_empty_replaced(folder):
    path = items(folder, label=["A", "B", None, " ", "A ", "C"], text=["x", " ", "y", "z", None, "v"])
    study = load(path, [answers(folder)])
    assert study.examples["id"].to_pylist() == ["q0", "q1", "q4", "q5"]
    assert study.examples["text"].to_pylist() == ["x", "q1", "q4", "v"]
    assert study.examples["label"].to_pylist() == ["A", "B", "A", "C"]
    assert study.notes == (
        f"2 of 6 items of {path} without a label: left out.",
        "2 items with an empty text: the id stands for it.",
        f"2 answers of 'small' to no item of {path}: left out.",
    )


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": ["q0"] * 6}, "1 id more than once (first 'q0'). Allowed: one row for each id. Remove the duplicates."),
        (
            {"id": [None, *IDS[1:]]},
            "id is None in row 1 of the data (1 row in all). Allowed: an id in every row. Correct it, ",
        ),
        ({"label": pa.nulls(6)}, "6 items, none with a label. Allowed: at least one. Label some items."),
    ],
)
def test_items_that_cannot_be_used(folder, columns, said):
    path = items(folder, **columns)
    assert fault(path, [answers(folder)]).startswith(f"{path}: {said}")


# Which items were answered.


def test_experts_that_answered_different_items(folder):
    path = items(folder)
    small, large = answers(folder, id=IDS[:4], label=GOLD[:4]), answers(folder, "large", id=IDS[1:], label=GOLD[1:])
    assert fault(path, [small, large]) == (
        "answers: the experts answered different items: of 6 items, 'small' lacks 2, 'large' lacks 1. "
        "Allowed: an answer of every expert to every item. "
        "Record the rest; or keep the 3 that all answered with --intersect."
    )
    study = load(path, [small, large], intersect=True)
    assert study.examples["id"].to_pylist() == IDS[1:4]
    assert [study.answers[e]["id"].to_pylist() for e in study.experts] == [IDS[1:4]] * 2
    assert study.notes == (
        "Of 6 items the 3 that every expert answered are kept (2 train, 1 test): 'small' lacks 2, 'large' lacks 1.",
    )


def test_experts_that_share_no_item(folder):
    small, large = answers(folder, id=IDS[:3], label=GOLD[:3]), answers(folder, "large", id=IDS[3:], label=GOLD[3:])
    assert fault(items(folder), [small, large], intersect=True).endswith("Record the rest; or none has them all.")


def test_answers_to_other_items_altogether(folder):
    path = answers(folder, id=[f"Q{k}" for k in range(6)])
    assert fault(items(folder), [path]) == (
        f"{path}: no answer of 'small' is to an item of {folder / 'items.parquet'} (ids such as 'Q0', not 'q0'). "
        "Allowed: ids of the items. Name the column of ids: --column id=ITS_NAME of the answers, --item-column "
        "id=ITS_NAME of the items."
    )


def test_an_id_that_is_answered_twice(folder):
    path = answers(folder, id=[*IDS, "q1"], label=[*GOLD, "C"])
    assert fault(items(folder), [path]) == (
        f"{path}: 'small' answers 1 id more than once (first 'q1'). Allowed: one answer of an expert to an item. "
        "Remove the duplicates, or number sampled answers in a column 'sample'."
    )


def test_the_same_file_twice(folder):
    path = answers(folder)
    assert "'small' answers 6 ids more than once" in fault(items(folder), [path, path])


def test_no_file_of_answers(folder):
    assert fault(items(folder), []) == "answers: no file. Allowed: at least one file of answers. Add --answers FILE."


def test_a_column_of_experts_that_is_none(folder):
    ids = [f"q{k}" for k in range(300)]
    path = answers(folder, id=ids, expert=ids, label=["A"] * 300)
    assert fault(items(folder), [path]) == (
        f"{path}: 300 experts (q0, q1, q10, ...). Allowed: at most 200. "
        "Name the column of experts: --column expert=ITS_NAME."
    )


# Numbers.


def test_log_probs_may_be_minus_infinity_or_missing(folder):
    given = [-math.inf, None, math.nan, -0.5, 1e-9, 0.0]
    study = load(items(folder), [answers(folder, logprob=pa.array(given))])
    assert study.answers["small"]["logprob"].to_pylist() == [-math.inf, None, None, -0.5, 0.0, 0.0]
    assert study.notes == (f"{folder / 'small.parquet'}: logprob is NaN in 1 row, taken as not given.",)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"logprob": [0.5] * 6},
            "logprob is 0.5 in row 1 of the data (6 rows in all). Allowed: a natural logarithm of at most 0. ",
        ),
        (
            {"cost_usd": [1, 1, -2, 1, 1, 1]},
            "cost_usd is -2.0 in row 3 of the data (1 row in all). Allowed: a finite number of at ",
        ),
        (
            {"seconds": [math.inf] * 6},
            "seconds is inf in row 1 of the data (6 rows in all). Allowed: a finite number of at least ",
        ),
        (
            {"prompt_tokens": [1.5] * 6},
            "prompt_tokens is 1.5 in row 1 of the data (6 rows in all). Allowed: a whole number below ",
        ),
        (
            {"proba": [[0.5, 0.5]] * 6},
            "proba is [0.5, 0.5] in row 1 of the data (6 rows in all). Allowed: 3 values, for A, B, C. ",
        ),
        ({"proba": [[0.5, 0.5, 0.5]] * 6}, "proba [0.5, 0.5, 0.5] in column 'proba', row 0 (6 rows in all). Allowed: "),
        ({"proba": [1.0] * 6}, "column 'proba' is double. Allowed: lists of numbers, one for each class. Or give "),
        (
            {"expert": ["e", " "] * 3},
            "expert is empty in row 2 of the data (3 rows in all). Allowed: a name in every row. ",
        ),
        (
            {"expert": ["e", None] * 3},
            "expert is None in row 2 of the data (3 rows in all). Allowed: a name in every row. ",
        ),
    ],
)
def test_numbers_that_cannot_be(folder, columns, said):
    path = answers(folder, **columns)
    assert fault(items(folder), [path]).startswith(f"{path}: {said}")


def test_probabilities_in_lists_texts_and_columns(folder):
    lists = [[0.2, 0.3, 0.5]] * 5 + [None]
    a = answers(folder, "a", proba=pa.array(lists, pa.list_(pa.float64())))
    b = answers(
        folder, "b", proba=["[0.2, 0.3, 0.5]", "0.2 0.3 0.5", "(0.2;0.3;0.5)", " 0.2,0.3,0.5", "[.2,.3,.5]", ""]
    )
    wide = {"proba_C": [0.5] * 5 + [None], "proba_A": [0.2] * 5 + [None], "proba_b": [0.3] * 5 + [None]}
    study = load(items(folder), [a, b, answers(folder, "c", **wide)])
    for expert in "abc":
        found = study.answers[expert]["proba"].to_pylist()
        assert found[5] is None
        assert found[:5] == [pytest.approx([0.2, 0.3, 0.5])] * 5


def test_probabilities_of_stated_classes_add_those_that_gold_does_not_show(folder):
    wide = {"proba_A": [0.2] * 6, "proba_D": [0.8] * 6}
    study = load(items(folder), [answers(folder, **wide, label=["D"] * 6)])
    assert study.classes == ("A", "B", "C", "D")
    assert study.answers["small"]["proba"].to_pylist()[0] == pytest.approx([0.2, 0, 0, 0.8])
    assert study.answers["small"]["label"].to_pylist() == ["D"] * 6


@given(order=st.permutations(["A", "B", "C", "D"]), seed=st.integers(0, 99))
def test_probabilities_follow_their_class_whatever_the_order(tmp_path_factory, order, seed):
    folder = tmp_path_factory.mktemp("proba")
    proba = np.random.default_rng(seed).dirichlet(np.ones(4), 6)
    wide = {f"proba_{name}": proba[:, "ABCD".index(name)] for name in order}
    study = load(items(folder, label=["A", "B", "C", "D", "A", "B"]), [answers(folder, **wide)])
    assert np.allclose(study.answers["small"]["proba"].to_pylist(), proba, atol=1e-6)


def test_sampled_answers_are_put_to_the_vote(folder):
    said = [label for gold in GOLD for label in (gold, gold.lower(), "C")]
    path = answers(
        folder, id=np.repeat(IDS, 3), label=said, sample=[0, 1, 2] * 6, cost_usd=[0.1] * 18, logprob=[-1.0] * 18
    )
    study = load(items(folder), [path])
    table = study.answers["small"].to_pydict()
    assert table["label"] == GOLD
    assert table["proba"][0] == pytest.approx([2 / 3, 0, 1 / 3])
    assert table["cost_usd"] == pytest.approx([0.3] * 6)
    assert table["logprob"] == [None] * 6
    assert "'small': 18 sampled answers to 6 items put to the vote." in study.notes


def test_a_sample_that_comes_twice(folder):
    path = answers(folder, id=np.repeat(IDS, 2), label=np.repeat(GOLD, 2), sample=[0, 0] * 6)
    assert fault(items(folder), [path]).startswith(
        f"{path}: 6 answers of 'small' with an id and sample that came before. Allowed: one answer for each id and sa"
    )


# Costs.


def test_experts_rise_in_cost_on_train(folder):
    expensive_on_test = [0.1] * 3 + [9.0] * 3
    study = load(
        items(folder),
        [
            answers(folder, "b", cost_usd=[0.2] * 6),
            answers(folder, "c", cost_usd=expensive_on_test),
            answers(folder, "a"),
        ],
    )
    assert study.experts == ("a", "c", "b")


@pytest.mark.parametrize(
    ("columns", "unit"),
    [
        ({"prompt_tokens": [5] * 6, "completion_tokens": [1] * 6, "seconds": [0.5] * 6}, "tokens"),
        ({"seconds": [0.5] * 6}, "seconds"),
    ],
)
def test_without_dollars_cost_is_what_was_measured_and_that_is_told(folder, columns, unit):
    study = load(items(folder), [answers(folder, cost_usd=None, **columns)])
    assert study.cost.unit == unit
    assert study.notes == (f"No answer has a cost in dollars: cost is counted in {unit}.",)


def test_prices_make_dollars_of_tokens(folder):
    prices = folder / "costs.yaml"
    prices.write_text("costs:\n  prices:\n    small: {usd_per_1m_prompt_tokens: 2.0}\n    large: {}\n")
    small = answers(folder, cost_usd=None, prompt_tokens=[500_000] * 6)
    study = load(items(folder), [small, answers(folder, "large")], prices=read_prices(prices))
    assert study.experts == ("large", "small")
    assert study.cost.price(study.answers["small"], "small").tolist() == [1.0] * 6
    assert study.notes == (
        "Priced by the prices given: small.",
        "The billed cost_usd counts, not the price given: large.",
    )


def test_no_cost_at_all_says_the_three_ways(folder):
    bare = answers(folder, cost_usd=None)
    assert fault(items(folder), [bare, answers(folder, "large")]) == (
        "cost: unknown for 6 of 6 answers of 'small'. Allowed: a cost_usd in every answer, or a price (--prices "
        "costs.yaml) of the expert, or tokens (or seconds) in every answer of every expert. Add one of the three."
    )


def test_a_price_of_something_that_was_not_measured(folder):
    prices = {"small": Price(usd_per_hour=1.0)}
    assert "predictions of small: 'seconds', which cost is counted by, is null in 3 of 3 rows" in fault(
        items(folder), [answers(folder, cost_usd=None)], prices=prices
    )


def test_free_and_equal_costs_are_fine(folder):
    study = load(items(folder), [answers(folder, "b", cost_usd=[0.0] * 6), answers(folder, "a", cost_usd=[0.0] * 6)])
    assert study.experts == ("a", "b")
    assert study.cost.unit == "usd"


def test_a_named_unit(folder):
    assert load(items(folder), [answers(folder, seconds=[1.0] * 6)], unit="seconds").cost.unit == "seconds"
    with pytest.raises(ConfigError, match="Unknown cost unit 'euro'"):
        load(items(folder), [answers(folder)], unit="euro")


def test_classes_that_differ_by_case_are_noted(folder):
    gold = ["Yes", "yes", "No"] * 2
    study = load(items(folder, label=gold), [answers(folder, label=gold)])
    assert study.classes == ("No", "Yes", "yes")
    assert study.notes == (
        "The classes 'Yes' and 'yes' differ by case or space only: to merge them, spell the labels alike.",
    )


def test_columns_under_other_names(folder):
    gold = write(folder / "g.parquet", key=IDS, truth=GOLD, prompt=["x"] * 6, split=SPLIT)
    said = write(folder / "s.parquet", key=IDS, model=["m"] * 6, label=["?"] * 6, reply=GOLD, cost_usd=[1] * 6)
    study = load(
        gold,
        [said],
        columns={"id": "key", "expert": "model", "label": "reply"},
        item_columns={"id": "key", "label": "truth", "text": "prompt"},
    )
    assert study.answers["m"]["label"].to_pylist() == GOLD
    assert study.has_text


def test_answers_of_a_model_to_rows_that_it_learnt_from_are_told(folder):
    """As any expert that learns writes them; out of fold, or where nothing was learnt, there is nothing to say."""
    columns = {"id": IDS, "expert": ["small"] * 6, "label": GOLD, "cost_usd": [0.1] * 6}
    paths, path, told = [items(folder), answers(folder, "large")], folder / "small.parquet", {}
    for how, meta in (("in sample", {"out_of_fold": None}), ("out of fold", {"out_of_fold": {"folds": 5}}), ("", {})):
        table = schema.table("predictions", columns, {"classes": ["A", "B", "C"], **meta})
        schema.write(table, path, "predictions")
        told[how] = load(paths[0], [path, paths[1]]).notes
    assert told["out of fold"] == told[""] == ()
    (note,) = told["in sample"]
    assert note == (
        f"{path}: answers of a trained model, not out of fold. A policy that is fitted on rows which "
        "the model has learnt from trusts it too much (docs/policies.md, What a policy is fitted on)."
    )
