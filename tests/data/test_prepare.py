import json
import random
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from askless import schema
from askless.config import Source, Split, Task
from askless.data import prepare as preparing
from askless.data import readers
from askless.data.prepare import clean, ids, prepare, split
from askless.errors import DataError

SHARES = Split(train=0.7, valid=0.1, test=0.2)
visible = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1)
names = st.lists(st.from_regex(r"[0-9a-f]{16}", fullmatch=True), unique=True, max_size=200)


def task(classes=("0", "1"), empty_text="error", shares=SHARES, **options):
    return Task("classification", Source(kind="csv"), split=shares, classes=classes, empty_text=empty_text, **options)


def documents_task(**options):
    return Task("summarisation", Source(kind="csv"), split=SHARES, **options)


def raw_documents(texts, references):
    return readers.raw_table(text=texts, reference=references)


def raw(texts, labels, groups=None):
    return readers.raw_table(text=texts, label=labels, group=groups or [None] * len(texts))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("  a\t\n b\u00a0\u2003c ", "a b c"),
        ("e\u0301", "\u00e9"),
        ("@You RT: &amp; LOUD!!", "@You RT: &amp; LOUD!!"),
        ("\u3000 \x85", ""),
    ],
)
def test_clean(given, wanted):
    assert clean(given) == wanted


def test_an_id_that_stands_on_two_texts_is_refused_and_a_row_that_comes_twice_is_one():
    def given_ids(*ids):
        return readers.raw_table(text=["a", "b", "a ", "c"], label=["0", "1", "0", "1"], source_id=ids)

    assert prepare(given_ids("1", "2", "1", None), task(), "x")[0].num_rows == 3
    with pytest.raises(DataError, match=r"one id for two texts, in rows 1 and 2 \(2 such rows in all\)"):
        prepare(given_ids("1", "1", "1", "1"), task(), "x")


@given(st.text())
def test_clean_is_idempotent(text):
    assert clean(clean(text)) == clean(text)


def test_ids_are_what_they_were():
    assert ids("olhs", ["a b", "é"]) == ["f1bc5d9a02099298", "d9b94386143bdbd6"]
    assert len(set(ids("one", ["a"]) + ids("two", ["a"]) + ids("one", ["b"]))) == 3


def test_examples_and_summary():
    table, summary = prepare(
        raw(["b  b", "a", "b b ", "", "c", "c", "b b"], list("1010010"), list("stuvwxy")),
        task(empty_text="drop"),
        "src",
    )
    schema.check(table, "examples", classes=["0", "1"])
    assert schema.meta_of(table)["source"] == "src" and schema.meta_of(table)["classes"] == ["0", "1"]
    rows = {row["text"]: row for row in table.to_pylist()}
    assert {t: (r["label"], r["group"]) for t, r in rows.items()} == {
        "a": ("0", "t"),
        "b b": ("1", "s"),
        "c": ("0", "w"),
    }
    assert all(row["id"] == ids("src", [text])[0] for text, row in rows.items())
    assert table["id"].to_pylist() == sorted(table["id"].to_pylist())
    counts = summary.pop("splits")
    assert sum(sum(part.values()) for part in counts.values()) == 3
    assert summary == {
        "source": "src",
        "raw_rows": 7,
        "empty_dropped": 1,
        "too_long_dropped": 0,
        "duplicates_dropped": 3,
        "conflicting_labels": 2,
        "tied_labels": 1,
        "examples": 3,
    }


def test_majority_takes_the_group_of_its_first_row():
    table, summary = prepare(raw(["a", "a", "a"], list("100"), ["hate", "neither", "neither"]), task(), "s")
    assert table["label"].to_pylist() == ["0"] and table["group"].to_pylist() == ["neither"]
    assert summary["conflicting_labels"] == 1 and summary["tied_labels"] == 0


@pytest.mark.parametrize("empty", ["", " \n", None])
def test_empty_text(empty):
    table = raw(["a", empty, "b", empty], list("0101"))
    with pytest.raises(DataError, match=r"s: empty text in row 2 \(2 rows in all\).*set empty_text to 'drop'"):
        prepare(table, task(), "s")
    assert prepare(table, task(empty_text="drop"), "s")[1]["empty_dropped"] == 2


@pytest.mark.parametrize(("label", "got"), [("2", "label '2'"), (None, "no label"), (" 1", "label ' 1'")])
def test_label_outside_the_classes(label, got):
    with pytest.raises(DataError, match=rf"s: {got} in row 3 \(1 rows in all\). Allowed: one of \['0', '1'\]"):
        prepare(raw(["a", "b", "c"], ["0", "1", label]), task(), "s")


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_nothing_left(texts):
    with pytest.raises(DataError, match="none with a text"):
        prepare(raw(texts, ["0"] * len(texts)), task(empty_text="drop"), "s")


def test_same_content_same_bytes_in_any_order(tmp_path):
    rows = [(f"text {i}", str(i % 2), f"g{i % 5}") for i in range(300)]
    written = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        table, summary = prepare(raw(*map(list, zip(*rows, strict=True))), task(), "s")
        path = schema.write(table, tmp_path / f"{seed}.parquet", "examples")
        written.append((path.read_bytes(), json.dumps(summary)))
    assert written[0] == written[1] == written[2]


@given(st.lists(st.tuples(visible, st.sampled_from("01")), min_size=1, max_size=60), st.randoms())
def test_order_leaves_no_trace_and_preparing_again_changes_nothing(rows, rng):
    labels = {}
    for text, label in rows:
        labels.setdefault(clean(text), []).append(label)
    assume("" not in labels and all(Counter(found)["0"] * 2 != len(found) for found in labels.values()))
    one, summary = prepare(raw(*map(list, zip(*rows, strict=True))), task(), "s")
    rng.shuffle(rows)
    other, _ = prepare(raw(*map(list, zip(*rows, strict=True))), task(), "s")
    assert one == other
    again, second = prepare(one.append_column("source_id", one["id"]), task(), "s")
    assert again == one and second["duplicates_dropped"] == 0 and summary["examples"] == len(labels)


@given(names, st.data(), st.sampled_from([SHARES, Split(0.5, 0.5, 0), Split(0, 0, 1), Split(0.34, 0.33, 0.33)]))
def test_each_class_is_cut_at_the_shares(found, data, shares):
    labels = [data.draw(st.sampled_from("abc")) for _ in found]
    parts = Counter(zip(labels, split(found, labels, shares), strict=True))
    for label, count in Counter(labels).items():
        first, both = parts[label, "train"], parts[label, "train"] + parts[label, "valid"]
        assert abs(first - count * shares.train) <= 0.5 + 1e-6
        assert abs(both - count * (shares.train + shares.valid)) <= 0.5 + 1e-6
        assert shares.test or not parts[label, "test"]


@given(names, st.from_regex(r"[0-9a-f]{16}", fullmatch=True))
def test_a_new_row_moves_at_most_two(found, new):
    assume(new not in found)
    before = split(found, ["a"] * len(found), SHARES)
    after = split([*found, new], ["a"] * (len(found) + 1), SHARES)
    assert sum(x != y for x, y in zip(before, after[:-1], strict=True)) <= 2


def test_salt_changes_the_split_and_nothing_else():
    found = ids("s", map(str, range(200)))
    one = split(found, ["a"] * 200, SHARES)
    other = split(found, ["a"] * 200, Split(0.7, 0.1, 0.2, salt="pepper"))
    assert one != other and Counter(one) == Counter(other) == {"train": 140, "valid": 20, "test": 40}


def test_class_counts_name_every_class():
    table, summary = prepare(raw(["a", "b"], ["0", "0"]), task(("0", "1", "2")), "s")
    assert summary["splits"]["train"] == {"0": 1, "1": 0, "2": 0}
    assert preparing.class_counts(table, ["0"]) == {"train": {"0": 1}, "valid": {"0": 1}, "test": {"0": 0}}


def test_documents_keep_their_cleaned_reference_and_have_no_label():
    table, summary = prepare(raw_documents(["b  b", "a"], [" two\twords ", "e\u0301"]), documents_task(), "src")
    schema.check(table, "examples")
    rows = {row["text"]: (row["id"], row["reference"], row["label"]) for row in table.to_pylist()}
    assert rows == {
        "b b": (*ids("src", ["b b"]), "two words", None),
        "a": (*ids("src", ["a"]), "\u00e9", None),
    }
    assert {part: set(counts) for part, counts in summary["splits"].items()} == dict.fromkeys(
        schema.SPLITS, {"documents"}
    )


def test_what_is_left_out_of_documents_is_counted():
    raw_rows = raw_documents(
        ["kept", "", None, "no summary", "blank", "x" * 21, "x" * 20, "kept ", "kept", "tie", "tie"],
        ["one", "two", "three", None, " ", "long", "short", "other", "other", "first", "second"],
    )
    table, summary = prepare(raw_rows, documents_task(max_chars=20, empty_text="drop"), "s")
    assert sum(counts.pop("documents") for counts in summary.pop("splits").values()) == 3
    assert summary == {
        "source": "s",
        "raw_rows": 11,
        "empty_dropped": 2,
        "empty_references_dropped": 2,
        "too_long_dropped": 1,
        "duplicates_dropped": 3,
        "conflicting_references": 2,
        "tied_references": 1,
        "examples": 3,
    }
    golds = dict(zip(table["text"].to_pylist(), table["reference"].to_pylist(), strict=True))
    assert golds == {"kept": "other", "x" * 20: "short", "tie": "first"}


def test_an_empty_reference_is_an_error_where_an_empty_text_is():
    with pytest.raises(DataError) as caught:
        prepare(raw_documents(["a", "b", "c"], ["r", "", None]), documents_task(), "s")
    assert str(caught.value) == (
        "s: empty reference in row 2 (2 rows in all). Allowed: at least one visible character. "
        "Correct the raw file, or set empty_text to 'drop'."
    )


@pytest.mark.parametrize("empty_text", ["error", "drop"])
def test_rows_without_any_reference_are_of_another_task(empty_text):
    with pytest.raises(DataError, match=r"s: no reference in any of 2 rows. Allowed: a column 'reference'"):
        prepare(raw(["a", "b"], ["0", "1"]), documents_task(empty_text=empty_text), "s")
    with pytest.raises(DataError, match=r"s: no label in row 1 \(2 rows in all\)"):
        prepare(raw_documents(["a", "b"], ["r", "s"]), task(), "s")


def test_a_document_of_100_000_words_is_left_out_and_counted():
    texts = ["word " * 100_000, "short"]
    assert prepare(raw_documents(texts, ["r", "s"]), documents_task(), "s")[1]["too_long_dropped"] == 0
    summary = prepare(raw_documents(texts, ["r", "s"]), documents_task(max_chars=8000), "s")[1]
    assert (summary["too_long_dropped"], summary["examples"]) == (1, 1)
    with pytest.raises(DataError, match="s: 1 rows, none with a text of at most 8000 characters and a reference"):
        prepare(raw_documents(texts[:1], ["r"]), documents_task(max_chars=8000), "s")


def test_long_posts_are_left_out_too():
    table, summary = prepare(raw(["a" * 5, "b"], ["0", "1"]), task(max_chars=4), "s")
    assert table["text"].to_pylist() == ["b"] and summary["too_long_dropped"] == 1


@given(
    st.lists(st.tuples(visible, visible), min_size=1, max_size=60, unique_by=lambda row: clean(row[0])), st.randoms()
)
def test_documents_are_split_as_one_stratum_in_any_order(rows, rng):
    one, summary = prepare(raw_documents(*map(list, zip(*rows, strict=True))), documents_task(), "s")
    rng.shuffle(rows)
    other, _ = prepare(raw_documents(*map(list, zip(*rows, strict=True))), documents_task(), "s")
    assert one == other
    assert abs(summary["splits"]["train"]["documents"] - len(rows) * SHARES.train) <= 0.5 + 1e-6
    assert split(one["id"].to_pylist(), ["same"] * len(rows), SHARES) == one["split"].to_pylist()


def test_a_sample_is_the_same_in_any_order_and_a_new_row_moves_one_other_at_most():
    raw = readers.raw_table(text=[f"post {i}" for i in range(60)], label=[str(i % 2) for i in range(60)])
    examples, summary = prepare(raw, task(max_rows=20), "s")
    assert (examples.num_rows, summary["examples"], summary["sampled_of"]) == (20, 20, 60)
    assert set(examples["split"].to_pylist()) == set(schema.SPLITS)
    backwards = prepare(raw.take(list(range(59, -1, -1))), task(max_rows=20), "s")[0]
    assert backwards.equals(examples)
    one_more = pa.concat_tables([raw, readers.raw_table(text=["new"], label=["0"])])
    others = set(prepare(one_more, task(max_rows=20), "s")[0]["text"].to_pylist()) - set(examples["text"].to_pylist())
    assert len(others) <= 1
    assert prepare(raw, task(max_rows=60), "s")[1] == prepare(raw, task(), "s")[1]
