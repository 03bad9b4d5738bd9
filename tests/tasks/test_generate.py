"""An LLM's answers to every example, asked once."""

import shutil
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from askless import config, schema
from askless.config import Price
from askless.costs import CostModel
from askless.errors import BudgetError, ConfigError, DataError, ExpertError
from askless.experts.asked import expert_of, options_of
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.remote import batches
from askless.spending.key_limits import KeyLimits, kept_in
from askless.spending.ledger import Ledger
from askless.text.rouge import rouge
from tasks.data import obtain_raw, prepare_examples
from tasks.generate import (
    answer_shard,
    asked,
    cut_examples,
    forget_expert,
    merge_parts,
    seed_answers,
    set_aside,
    unread_replies,
    write_unasked,
)
from tasks.shards import Shards, part_of
from tasks.spending import forecast_spending
from tasks.vectors import build_vectors
from tests.document_params import TASK, document_params
from tests.experts.batch_server import batch_server
from tests.experts.chat_server import Answer, ChatServer, chat, problem
from tests.experts.tiny_models import examples, texts
from tests.pipeline import LLM, answer_examples, small_params, write_params

EXAMPLES = "data/prepared/olhs/examples.parquet"
ANSWERS = f"data/predictions/olhs/generated/{LLM}.parquet"


def test_every_example_has_one_measured_answer(built):
    examples = schema.read(built / EXAMPLES, "examples")
    predictions = schema.read(built / ANSWERS, "predictions", classes=("0", "1"))
    assert predictions["id"].to_pylist() == examples["id"].to_pylist()
    assert set(predictions["expert"].to_pylist()) == {LLM}
    assert all(len(p) == 2 and abs(sum(p) - 1) < 1e-3 for p in predictions["proba"].to_pylist())
    assert min(predictions["prompt_tokens"].to_pylist()) > 0
    right = sum(a == b for a, b in zip(predictions["label"].to_pylist(), examples["label"].to_pylist(), strict=True))
    assert right > 0.65 * examples.num_rows
    assert schema.meta_of(predictions)["classes"] == ["0", "1"]


def test_what_was_answered_is_not_asked_again_even_at_another_price(tmp_path, built):
    shutil.copytree(built / "data/answers/olhs", tmp_path / "answers")
    (kept,) = (tmp_path / "answers").glob(f"{LLM}*.sqlite")
    before = kept.read_bytes()
    settings = small_params()
    settings["costs"]["prices"][LLM] = {"usd_per_1m_prompt_tokens": 1000.0}
    params, out = write_params(tmp_path, settings), tmp_path / "out.parquet"
    answer_examples("olhs", LLM, params, str(built / EXAMPLES), str(tmp_path / "answers"), str(out))
    # Measured seconds are in the file: asked again, they would differ.
    assert out.read_bytes() == (built / ANSWERS).read_bytes()
    assert kept.read_bytes() == before


def test_an_unknown_llm_lists_the_known_ones(tmp_path, built):
    params = write_params(tmp_path, small_params())
    with pytest.raises(ConfigError, match=r"'demo-xxs'.*demo-xs"):
        answer_examples("olhs", "demo-xxs", params, str(built / EXAMPLES), str(tmp_path), str(tmp_path / "o"))
    assert not (tmp_path / "o").exists()


def test_an_llm_that_a_task_does_not_list_has_a_table_without_rows(tmp_path):
    path = write_unasked.fn(str(tmp_path / "generated" / "other.parquet"))
    assert schema.read(path, "predictions").num_rows == 0


PRICES = {"own": Price(usd_per_1k_answers=1.0)}


def test_replies_that_name_no_class_are_asked_again_and_no_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    server = ChatServer()
    server.reply = lambda request, before: Answer(chat("Hm" if "post 1" in request.text and not before else "0"))
    settings = small_params(llms=["own"])
    settings["experts"]["own"] = {"backend": "openai", "model": "m", "base_url": server.url, "prompt": "olhs"}
    params, rows = write_params(tmp_path, settings), examples([f"post {i}" for i in range(12)])
    schema.write(rows, "examples.parquet", "examples")
    expert = expert_of(config.load(params), "olhs", "own", tmp_path / "answers")
    first = expert.answer(rows)["label"].to_pylist()
    assert first.count(None) == 3
    where = ("olhs", "own", params, "examples.parquet", str(tmp_path / "answers"))
    again = unread_replies.fn(*where)
    forecast_spending.fn(*where, yes=True, again=again)
    assert "9 answers are kept already and free." in capsys.readouterr().err
    assert expert.answer(rows)["label"].to_pylist() == first, "until that is agreed to"
    set_aside.fn("own", str(tmp_path / "answers"), again)
    assert expert.answer(rows)["label"].to_pylist() == ["0"] * 12
    assert len(server.requests) == 15
    assert unread_replies.fn(*where) == []
    server.close()


def test_predictions_that_were_pulled_are_answers_that_are_paid_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    server, rows = ChatServer(), "examples.parquet"

    def reply(request, before):
        # One call fails, and one reply is billed and is no answer.
        other = {"model": "n"} if "post 5" in request.text else {}
        whole = Answer(chat("1", {"1": 0.8, "0": 0.1}) | other)
        return Answer(problem("no"), 400) if "post 3" in request.text else whole

    server.reply = reply
    settings = small_params(llms=["own", LLM])
    settings["experts"]["own"] = {"backend": "openai", "model": "m", "base_url": server.url, "prompt": "olhs"}
    settings["costs"]["prices"]["own"] = {"usd_per_1k_answers": 1.0}
    schema.write(examples([f"post {i}" for i in range(12)]), rows, "examples")
    params = write_params(tmp_path, settings)
    for llm, seeded in (("own", 10), (LLM, 12)):
        answer_examples("olhs", llm, params, rows, "here", f"{llm}.parquet")
        asked_before, pulled = len(server.requests), (rows, "there", f"{llm}.parquet")
        assert [seed_answers.fn("olhs", llm, params, *pulled) for _ in range(2)] == [seeded, 0]
        with monkeypatch.context() as without:
            without.setattr(Checkpoint, "network", property(lambda self: pytest.fail("asked again")))
            answer_examples("olhs", llm, params, rows, "there", "again.parquet")
        assert len(server.requests) - asked_before == 12 - seeded, "the calls that failed, and no others"
        assert Path("again.parquet").read_bytes() == Path(f"{llm}.parquet").read_bytes()
        asks = {**settings["experts"][llm], "prompt": {"template": "Bad? {text}", "words": {"0": "no", "1": "yes"}}}
        other = write_params(tmp_path, {**settings, "experts": {**settings["experts"], llm: asks}}, "other.yaml")
        assert seed_answers.fn("olhs", llm, other, rows, "elsewhere", f"{llm}.parquet") == 0
    server.close()


def test_batches_answer_all_items_at_once_and_a_run_after_it_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.001)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    rows = examples([f"A long text {i}" if i % 2 else f"post {i}" for i in range(12)])
    schema.write(rows, "examples.parquet", "examples")
    with batch_server() as server:
        settings = small_params(llms=["own"])
        settings["experts"]["own"] = {"backend": "openai", "model": "m", "base_url": server.url, "mode": "batch"}
        settings["experts"]["own"]["prompt"] = {"olhs": "demo-olhs"}
        settings["generate"]["shard_rows"] = 5
        settings["costs"]["prices"]["own"] = {"usd_per_1k_answers": 1.0, "batch": {"usd_per_1k_answers": 0.5}}
        params = write_params(tmp_path, settings)
        for out in ("first.parquet", "second.parquet"):
            answer_examples("olhs", "own", params, "examples.parquet", str(tmp_path), str(tmp_path / out))
        assert len(server.batches) == 1 and not server.requests and server.answered.total() == 12
    first, second = (schema.read(name, "predictions") for name in ("first.parquet", "second.parquet"))
    assert first.equals(second) and first["label"].to_pylist() == ["0", "1"] * 6
    assert CostModel.of(config.load(params).costs).price(first, "own").sum() == pytest.approx(12 * 0.0005)


@pytest.mark.parametrize("of_key", [False, True], ids=["of the stage", "of the key"])
def test_a_limit_ends_the_stage_and_what_was_answered_is_paid_for_once(tmp_path, monkeypatch, of_key):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    server, rows = ChatServer(), examples([f"post {i}" for i in range(12)])
    server.reply = lambda request, before: (
        Answer(problem("late"), 500) if request.text.count("post 7") and not before else Answer(chat("0"))
    )
    settings = small_params(llms=["own"])
    server_of = {"backend": "openai", "model": "m", "base_url": server.url, "prompt": "olhs", "concurrency": 1}
    settings["experts"]["own"] = server_of
    settings["costs"]["prices"]["own"] = {"usd_per_1k_answers": 1.0}
    params = write_params(tmp_path, settings)
    schema.write(rows, "examples.parquet", "examples")

    def generate(limit):
        if of_key:
            with closing(KeyLimits(kept_in())) as limits:
                limits.set("OPENAI_API_KEY", limit, None)
            limit = None
        cut = cut_examples.fn("olhs", "own", params, "examples.parquet", str(tmp_path / "work"))
        with closing(Shards(str(tmp_path / "work"), str(tmp_path / "own.sqlite"), "own", PRICES, limit)) as shards:
            for number in range(len(cut)):
                about = config.load(params)
                answer_shard.fn(number, asked(about, "olhs", "own").setting, options_of(about, "olhs", "own"), shards)
            return shards.counts()

    with pytest.raises(BudgetError, match=r"own: 7 of 12 items were not asked .* of \$0.0055 .*is reached"):
        generate(0.0055)
    assert len(server.requests) == 5
    assert generate(0.02).asked == 7
    with Ledger(tmp_path / "own.ledger.sqlite") as ledger:
        assert (round(ledger.spent, 9), round(ledger.doubted, 9)) == (0.012, 0.001), "what was in doubt is asked again"
    assert len(server.requests) == 13 == len({request.text for request in server.requests}) + 1
    server.close()


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    folder = tmp_path_factory.mktemp("news")
    settings = document_params(source={"kind": "demo-documents", "rows": 40, "seed": 3})
    params, examples, answers = write_params(folder, settings), folder / "examples.parquet", folder / "answers.parquet"
    raw = obtain_raw.fn(TASK, params, str(folder / "raw"))
    prepare_examples.fn(TASK, params, raw, str(examples))
    answer_examples(TASK, LLM, params, str(examples), str(folder / "paid"), str(answers))
    return folder, schema.read(examples, "examples"), schema.read(answers, "predictions")


def again(news, **task):
    """The same answers, which are paid for, under another setting of the task."""
    folder = news[0]
    params = write_params(folder, document_params(**task), "other.yaml")
    where = [str(folder / name) for name in ("examples.parquet", "paid", "again.parquet", "vectors")]
    answer_examples(TASK, LLM, params, *where)
    return schema.read(where[2], "predictions")


def test_summaries_are_written_and_measured_against_their_references(news):
    _, examples, predictions = news
    assert predictions["label"].null_count == predictions.num_rows == examples.num_rows
    assert min(map(len, predictions["text"].to_pylist())) > 0
    quality = rouge(predictions["text"].to_pylist(), examples["reference"].to_pylist())
    assert predictions["quality"].to_pylist() == pytest.approx(quality.tolist(), abs=1e-6)
    # The demo's smallest LLM copies facts: far above chance, and not perfect.
    assert 0.3 < quality.mean() < 0.99
    assert max(predictions["logprob"].to_pylist()) <= 0


@pytest.mark.parametrize(
    ("quality", "kind", "stems"), [("rouge2", "rouge2", False), ("rougeL_stemmed", "rougeL", True)]
)
def test_summaries_are_measured_by_the_quality_of_the_task(news, quality, kind, stems):
    predictions = again(news, quality=quality)
    wanted = rouge(predictions["text"].to_pylist(), news[1]["reference"].to_pylist(), kind, stems)
    assert predictions["quality"].to_pylist() == pytest.approx(wanted.tolist(), abs=1e-6)
    assert predictions["text"] == news[2]["text"]


def test_nearness_in_meaning_takes_the_vectors_of_the_task(news):
    with pytest.raises(DataError, match="no vectors.npy. Allowed: a folder of word vectors. Run the stage"):
        again(news, quality="embedding")
    params = write_params(news[0], document_params())
    build_vectors.fn(TASK, params, str(news[0] / "raw-vectors"), str(news[0] / "vectors"))
    quality = again(news, quality="embedding")["quality"].to_pylist()
    assert 0.8 < sum(quality) / len(quality) < 1
    assert quality != pytest.approx(news[2]["quality"].to_pylist())


def test_labels_cannot_be_scored_where_there_are_no_classes(news, tmp_path):
    settings = document_params()
    settings["experts"][LLM]["mode"] = "label"
    params = write_params(tmp_path, settings)
    schema.write(news[1], tmp_path / "examples.parquet", "examples")
    with pytest.raises(ExpertError, match="mode label got a task without classes"):
        answer_examples(TASK, LLM, params, str(tmp_path / "examples.parquet"), str(tmp_path), str(tmp_path / "o"))


def shard_params(folder, expert=None, **how):
    settings = small_params()
    settings["experts"][LLM] |= {"batch_size": 1, "share_prefix": False, **(expert or {})}
    settings["generate"] = how
    return write_params(folder, settings)


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """A file of examples."""
    path = tmp_path_factory.mktemp("some") / "examples.parquet"
    schema.write(examples(texts(20, seed=3, longest=8)), path, "examples")
    return str(path)


@pytest.mark.parametrize("rows", [1, 7, 20, 100])
def test_shards_of_any_size_make_the_same_file(tmp_path, some, rows):
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    answer_examples("olhs", LLM, shard_params(tmp_path), some, str(tmp_path / "paid"), str(whole))
    params = shard_params(tmp_path, shard_rows=rows)
    sizes = answer_examples("olhs", LLM, params, some, str(tmp_path / "paid"), str(cut))
    assert sizes == [min(rows, 20 - at) for at in range(0, 20, rows)]
    assert cut.read_bytes() == whole.read_bytes()
    said = schema.read(cut, "predictions", classes=("0", "1"))
    assert said["id"].to_pylist() == [f"id{i}" for i in range(20)]
    assert "digest" not in schema.meta_of(said)


def test_inputs_that_lost_their_end_are_counted_over_all_shards(tmp_path, some):
    params = shard_params(tmp_path, {"max_input_tokens": 11}, shard_rows=6)
    answer_examples("olhs", LLM, params, some, str(tmp_path / "paid"), str(tmp_path / "cut.parquet"))
    truncated = schema.meta_of(schema.read(tmp_path / "cut.parquet", "predictions"))["truncated"]
    params = shard_params(tmp_path, {"max_input_tokens": 11})
    answer_examples("olhs", LLM, params, some, str(tmp_path / "paid"), str(tmp_path / "whole.parquet"))
    assert truncated == schema.meta_of(schema.read(tmp_path / "whole.parquet", "predictions"))["truncated"] > 6
    assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


class Counting(Shards):
    """Shards that note which parts were really made."""

    def make(self, number, part, digest):
        self.__dict__.setdefault("makes", []).append(number)
        super().make(number, part, digest)


def make_parts(folder, some, params):
    """Cut and answer in `folder`, which is left as a killed run leaves it; returns which parts were made."""
    settings, work = config.load(params), str(folder / "work")
    rows = cut_examples.fn("olhs", LLM, params, some, work)
    with closing(Counting(work, str(folder / "paid.sqlite"), LLM, {})) as shards:
        for number in range(len(rows)):
            answer_shard.fn(number, asked(settings, "olhs", LLM).setting, settings.expert(LLM), shards)
        assert shards.counts().done == 20
        return shards.__dict__.get("makes", [])


def test_parts_that_are_there_are_not_made_again_unless_they_are_of_another_input_or_model(tmp_path, some):
    params = shard_params(tmp_path, shard_rows=6)
    assert make_parts(tmp_path, some, params) == [0, 1, 2, 3]
    assert make_parts(tmp_path, some, params) == []
    part_of(tmp_path / "work", 2).unlink()
    assert make_parts(tmp_path, some, params) == [2]
    changed = texts(20, seed=3, longest=8)
    changed[8] = "quite another text"
    other = tmp_path / "other.parquet"
    schema.write(examples(changed), other, "examples")
    assert make_parts(tmp_path, str(other), params) == [1]
    assert make_parts(tmp_path, some, shard_params(tmp_path, shard_rows=7)) == [0, 1, 2]
    assert make_parts(tmp_path, some, shard_params(tmp_path, {"prompt": "olhs"}, shard_rows=7)) == [0, 1, 2]
    options = {"prompt": "olhs", "model": "demo:s"}
    assert make_parts(tmp_path, some, shard_params(tmp_path, options, shard_rows=7)) == [0, 1, 2]


def test_the_model_of_a_run_is_loaded_once_for_all_its_shards(tmp_path, some, monkeypatch):
    loaded = []
    network = Checkpoint.__dict__["network"].func
    monkeypatch.setattr(Checkpoint.__dict__["network"], "func", lambda self: loaded.append(1) or network(self))
    params = shard_params(tmp_path, shard_rows=5)
    assert make_parts(tmp_path, some, params) == [0, 1, 2, 3]
    assert len(loaded) == 1
    forget_expert()


def test_parts_of_two_models_are_not_put_together(tmp_path, some):
    params = shard_params(tmp_path, shard_rows=10)
    make_parts(tmp_path, some, params)
    path = part_of(tmp_path / "work", 1)
    part = schema.read(path, "predictions")
    schema.write(
        schema.with_meta(part, "predictions", {**schema.meta_of(part), "dtype": "bfloat16"}), path, "predictions"
    )
    with pytest.raises(DataError) as error:
        merge_parts.fn("olhs", LLM, params, str(tmp_path / "work"), 2, "", str(tmp_path / "out.parquet"))
    assert str(error.value) == (
        f"predictions of {LLM}: shards answered by different models: dtype is 'float32' and 'bfloat16'. Allowed: one "
        f"model, dtype and device for all shards. Set dtype in experts.{LLM} of params.yaml and run again: kept "
        "answers are not asked again."
    )
    assert not (tmp_path / "out.parquet").exists()


def test_an_expert_that_is_not_paid_answers_in_one_shard(tmp_path, some):
    params = shard_params(tmp_path, shard_rows=5)
    answer_examples("olhs", LLM, params, some, str(tmp_path / "paid"), str(tmp_path / "said.parquet"))
    settings = small_params()
    settings["experts"][LLM] = {"backend": "recorded", "path": str(tmp_path / "said.parquet")}
    settings["generate"] = {"shard_rows": 5}
    params = write_params(tmp_path, settings)
    assert answer_examples("olhs", LLM, params, some, str(tmp_path / "no"), str(tmp_path / "again.parquet")) == [20]
    assert schema.read(tmp_path / "again.parquet", "predictions")["label"].null_count == 0
    assert not (tmp_path / "no").exists()


def test_an_id_that_two_shards_have_is_an_error_before_anything_is_asked(tmp_path):
    table = examples(texts(4))
    pq.write_table(pa.concat_tables([table, table]), tmp_path / "twice.parquet")
    params = shard_params(tmp_path, shard_rows=4)
    with pytest.raises(DataError, match="4 duplicate keys, the first 'id0' 2 times"):
        cut_examples.fn("olhs", LLM, params, str(tmp_path / "twice.parquet"), str(tmp_path / "work"))
    assert not (tmp_path / "work").exists()
