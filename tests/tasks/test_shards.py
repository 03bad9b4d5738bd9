"""What shards read and write: kept answers, counts, parts that are what they say."""

from contextlib import closing

import pytest

from askless import schema
from askless.config import Price
from askless.experts.answer_store import AnswerStore
from tasks.shards import Counts, ShardAnswers, Shards, ShardStopped, digest_of, examples_of, part_of
from tests.experts.tiny_models import examples, texts

ROW = {"prompt_tokens": 100, "completion_tokens": 10, "seconds": 0.5}


@pytest.fixture
def shards(tmp_path):
    prices = {"llm": Price(usd_per_1m_prompt_tokens=1.0, usd_per_1m_completion_tokens=10.0)}
    with closing(Shards(str(tmp_path / "work"), str(tmp_path / "a.sqlite"), "llm", prices)) as made:
        yield made


def answers(rows):
    table = examples(texts(rows))
    return schema.table("predictions", {"id": table["id"], "expert": ["llm"] * rows, "label": ["0"] * rows})


def test_answers_are_kept_counted_and_priced(shards, tmp_path):
    one = ShardAnswers(shards, 1)
    assert one.get_many(["a", "b"]) == {}
    one.put_many({"a": ROW, "b": ROW})
    assert shards.counts() == Counts(2, 2, 220, pytest.approx(0.0004))
    assert ShardAnswers(shards, 2).get_many(iter(["a", "c"])) == {"a": ROW}
    assert shards.counts() == Counts(3, 2, 220, pytest.approx(0.0004))
    assert (shards.done(1), shards.done(2), shards.done(3)) == (2, 1, 0)
    with AnswerStore(tmp_path / "a.sqlite") as kept:
        assert len(kept) == 2


def test_answers_of_several_replies_are_counted_as_answers(tmp_path):
    with closing(Shards(str(tmp_path / "work"), str(tmp_path / "a.sqlite"), "llm", {}, replies=3)) as made:
        made.keep(0, {key: ROW for key in "abcdefg"})
        assert made.counts() == Counts(2, 3, 770, None), "of the third there is one reply"
        made.make(0, answers(3), "x")
        assert made.counts().done == 3


def test_each_kind_of_token_and_batches_are_priced(tmp_path):
    price = Price(usd_per_1m_prompt_tokens=1.0, usd_per_1m_cached_tokens=0.1, batch=Price(usd_per_1m_prompt_tokens=0.5))
    with closing(Shards(str(tmp_path / "work"), str(tmp_path / "a.sqlite"), "llm", {"llm": price})) as made:
        made.keep(0, {"a": {**ROW, "cached_tokens": 100}, "b": {**ROW, "batched": True}})
        assert made.counts().usd == pytest.approx(0.00001 + 0.00005)


def test_a_shard_that_begins_again_is_counted_once(shards):
    one = ShardAnswers(shards, 0)
    one.put_many({"a": ROW})
    one.get_many(["a", "b", "c"])
    one.put_many({"b": ROW})
    assert shards.counts() == Counts(2, 2, 220, pytest.approx(0.0004))
    shards.make(0, answers(3), "x")
    assert shards.counts().done == 3


@pytest.mark.parametrize(("expert", "row"), [("other", ROW), ("llm", {"prompt_tokens": None})])
def test_what_has_no_price_makes_the_dollars_unknown(tmp_path, expert, row):
    prices = {"llm": Price(usd_per_1m_prompt_tokens=1.0)}
    with closing(Shards(str(tmp_path), str(tmp_path / "a.sqlite"), expert, prices)) as made:
        made.keep(0, {"a": row})
        made.keep(0, {"b": {**ROW, "cost_usd": 2.0}})
        assert made.counts().usd is None


def test_a_billed_price_wins(shards):
    shards.keep(0, {"a": {**ROW, "cost_usd": 2.0}})
    assert shards.counts().usd == 2.0


def test_a_stopped_shard_keeps_what_it_paid_for_and_begins_nothing(shards):
    shards.stop()
    with pytest.raises(ShardStopped, match="What was answered is kept"):
        shards.keep(0, {"a": ROW})
    with pytest.raises(ShardStopped):
        shards.kept(0, ["a"])
    assert shards.counts().asked == 1


def test_a_part_is_made_of_what_its_digest_says(shards, tmp_path):
    assert not shards.made(7, "x")
    shards.make(7, answers(3), "x")
    path = part_of(tmp_path / "work", 7)
    assert digest_of(path) == "x"
    assert shards.made(7, "x")
    assert not shards.made(7, "y")
    path.write_bytes(path.read_bytes()[:-20])
    assert not shards.made(7, "x"), "torn"


def test_the_examples_of_a_shard(shards, tmp_path):
    table = examples(texts(4))
    schema.write(table, examples_of(tmp_path / "work", 0), "examples")
    assert shards.examples(0).equals(table)


def test_an_answer_that_broke_is_set_aside_and_the_new_one_is_kept(shards):
    own = ShardAnswers(shards, 0)
    own.put_many({"a": ROW, "b": ROW})
    own.set_aside(["a"])
    assert list(own.get_many(["a", "b"])) == ["b"] and shards.done(0) == 1
    own.put_many({"a": {**ROW, "seconds": 9.0}})
    assert own.get_many(["a"])["a"]["seconds"] == 9.0
