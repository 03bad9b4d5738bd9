"""Texts are named by the project's key where there is one; what another key named is never used in silence."""

import re

import pyarrow as pa
import pytest

from askless import id_key, schema
from askless.config import Source, Split, Task
from askless.data import readers
from askless.data.prepare import ids, plain_ids, prepare
from askless.data.rekeying import rekey
from askless.data.stream import Chunk
from askless.errors import ConfigError, DataError
from askless.experts.answer_store import AnswerStore, answer_key
from askless.spending.ledger import Ledger
from tasks.data import publish

KEY, OTHER = "k" * 32, "o" * 32
PLAIN = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4c72b9807785afee48bb"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.delenv(id_key.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def test_each_name_of_a_text_is_by_the_key_and_none_tells_of_another(monkeypatch):
    def names():
        return [*ids("olhs", ["a text"]), answer_key("a text"), Chunk(0, 1, [None], ["a text"]).digest]

    plain = names()
    assert list(id_key.keyed([PLAIN])) == [PLAIN] and plain[0] == plain_ids("olhs", ["a text"])[0]
    monkeypatch.setenv(id_key.VARIABLE, KEY)
    keyed = names()
    assert list(map(len, keyed)) == list(map(len, plain)) and keyed == names(), "and again"
    monkeypatch.setenv(id_key.VARIABLE, OTHER)
    assert len({*plain, *keyed, *names()}) == 9


def test_the_split_the_sample_and_the_order_do_not_depend_on_the_key(monkeypatch):
    raw = readers.raw_table(text=[f"text {n}" for n in range(60)], label=["0", "1"] * 30, group=[None] * 60)
    task = Task("classification", Source(kind="csv"), split=Split(0.6, 0.2, 0.2), classes=("0", "1"), max_rows=40)
    plain, _ = prepare(raw, task, "t")
    monkeypatch.setenv(id_key.VARIABLE, KEY)
    keyed, _ = prepare(raw, task, "t")
    assert keyed.drop_columns(["id"]) == plain.drop_columns(["id"])
    assert not set(keyed["id"].to_pylist()) & set(plain["id"].to_pylist())


def answers(path):
    with AnswerStore(path) as store:
        store.put_many({answer_key("a text"): {"label": "1"}})


def ledger(path):
    with Ledger(path, 1.0) as calls:
        calls.reserve("llm", [(answer_key("a text"), 0.1)])
        calls.settle({answer_key("a text"): 0.05})


def examples(path):
    rows = {"id": ids("t", ["a text"]), "text": ["a text"], "label": ["1"], "group": pa.nulls(1), "split": ["test"]}
    meta = {"source": "t", "classes": ["1"]} | ({"id_key": id_key.mark()} if id_key.mark() else {})
    schema.write(schema.table("examples", rows, meta), path.with_name("candidate.parquet"), "examples")
    publish.fn(str(path.with_name("candidate.parquet")), str(path))


@pytest.mark.parametrize("make", [answers, ledger, examples])
@pytest.mark.parametrize(
    ("then", "now", "refused"),
    [
        ("", "", None),
        (KEY, KEY, None),
        (KEY, OTHER, "names texts by a key that is not here"),
        (KEY, "", "names texts by a key that is not here"),
        ("", KEY, "names texts by plain hashes, and here is a key"),
    ],
)
def test_a_file_of_another_key_is_refused_and_stays_as_it_is(make, then, now, refused, tmp_path, monkeypatch):
    path = tmp_path / ("a.parquet" if make is examples else "a.sqlite")
    monkeypatch.setenv(id_key.VARIABLE, then)
    make(path)
    before = path.read_bytes()
    monkeypatch.setenv(id_key.VARIABLE, now)
    if refused is None or (make is examples and not then):
        make(path)
        return
    with pytest.raises(DataError, match=refused) as error:
        make(path)
    assert str(path) in str(error.value) and path.read_bytes() == before
    assert ("askless key" in str(error.value)) == (not then)


def test_a_key_that_anybody_can_guess_is_none(monkeypatch):
    monkeypatch.setenv(id_key.VARIABLE, "short")
    with pytest.raises(ConfigError, match=r"^ASKLESS_ID_KEY has 5 characters\. Allowed: 32 or more"):
        id_key.mark()


def test_a_key_is_made_once_and_read_by_its_owner_alone(tmp_path):
    assert id_key.make() == id_key.FILE and id_key.make() is None
    file = tmp_path / id_key.FILE
    assert file.stat().st_mode & 0o777 == 0o600 and len(file.read_text()) == 64
    assert (file.parent / ".gitignore").read_text() == "*\n", "no commit has it"
    assert id_key.forwarded() == {id_key.VARIABLE: file.read_text()}


def test_plain_names_are_replaced_once_and_what_was_paid_for_is_kept(tmp_path, monkeypatch):
    answers(tmp_path / "llm.sqlite")
    ledger(tmp_path / "ledger.sqlite")
    with AnswerStore(tmp_path / "batch.sqlite") as store:
        store.note_batch("b", {"keys": []})
    plain = answer_key("a text").encode()
    monkeypatch.setenv(id_key.VARIABLE, KEY)
    assert {(each.path.name, each.names, each.why[:23]) for each in rekey([tmp_path])} == {
        ("llm.sqlite", 1, ""), ("ledger.sqlite", 1, ""), ("batch.sqlite", 0, "a batch is under way: f")
    }  # fmt: skip
    assert not any(plain in path.read_bytes() for path in tmp_path.glob("l*")), "not in free pages either"
    with AnswerStore(tmp_path / "llm.sqlite") as store, Ledger(tmp_path / "ledger.sqlite", 1.0) as calls:
        assert store.get_many([answer_key("a text")]) == {answer_key("a text"): {"label": "1"}}
        assert calls.paid([answer_key("a text")]) == [0.05]
    assert [each.path.name for each in rekey([tmp_path])] == ["batch.sqlite"]
    monkeypatch.setenv(id_key.VARIABLE, OTHER)
    assert {each.why for each in rekey([tmp_path]) if re.match("l", each.path.name)} == {"its names are by another key"}
