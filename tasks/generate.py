"""An expert's answers to every example: cut into shards, answered shard by shard, merged in input order."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

import askless
from askless import config, experts, schema
from askless.errors import ConfigError, DataError
from askless.evaluation.summary_quality import measured
from askless.experts.answer_store import AnswerStore, answer_key
from askless.experts.asked import expert_of
from askless.experts.paid import PaidExpert, as_read
from askless.experts.recorded import RecordedExpert
from askless.spending.judging import quality_of, refuse_unasked
from tasks import worth_a_retry
from tasks.options import counts_seconds, reproducible
from tasks.shards import ShardAnswers, Shards, examples_of, part_of

Options = dict[str, Any]
# Counted in each shard; all other metadata must be the same in all of them.
COUNTED = ("truncated",)
# Metadata of predictions: the key of the answer to an empty text, which is made of all that was asked but the texts.
ASKED = "asked"
_LOADING = threading.Lock()


def asked(settings: config.Params, name: str, expert: str) -> experts.Expert:
    """The expert as the task asks it, with nothing loaded and nowhere to keep its answers yet."""
    built = expert_of(settings, name, expert)
    if not isinstance(built, PaidExpert | RecordedExpert):
        raise ConfigError(
            f"base.llms: expert '{expert}' of backend {settings.expert(expert)['backend']} is not one that stage "
            f"generate asks. Allowed: LLMs and recorded answers. Name it in train.{name}.small or .baselines."
        )
    return built


@task(cache_policy=NO_CACHE)
def unread_replies(name: str, expert: str, params: str, examples: str, answers: str) -> list[str]:
    """Keys of the kept replies of which no answer can be read."""
    asked, rows = expert_of(config.load(params), name, expert, Path(answers)), schema.read(examples, "examples")
    if not isinstance(asked, PaidExpert):
        return []
    keys = [key for text in rows["text"].to_pylist() for key in asked.keys(text)]
    with asked.store(make=False) as store:
        kept = store.get_many(dict.fromkeys(keys))
    found = asked.columns_of(list(kept.values()))
    answered = found["label"] if asked.setting.classes else [None if e else "" for e in found["error"]]
    return [key for key, label in zip(kept, answered, strict=True) if label is None]


@task(cache_policy=NO_CACHE)
def seed_answers(name: str, expert: str, params: str, examples: str, answers: str, predictions: str) -> int:
    """Keep the answers of predictions that another machine paid for, where they are to what is asked now; how many.

    Left are votes of several replies and inputs that lost their end, which predictions do not have whole, and answers
    of which cost wants the seconds and none are told.
    """
    settings, path = config.load(params), Path(predictions)
    asked = expert_of(settings, name, expert, Path(answers))
    if not isinstance(asked, PaidExpert) or asked.replies > 1 or not path.exists():
        return 0
    meta = schema.meta_of(pq.read_schema(path).empty_table())
    if meta.get(ASKED) != asked.key("") or meta.get("truncated"):
        return 0
    table = schema.read(path, "predictions")
    if counts_seconds(settings, expert) and table["seconds"].null_count:
        return 0
    texts = schema.read(examples, "examples").select(["id", "text"]).to_pydict()
    text_of = dict(zip(texts["id"], texts["text"], strict=True))
    rows = {
        asked.key(text_of[each["id"]]): row
        for each in table.to_pylist()
        if each["id"] in text_of and (row := as_read(each)) is not None
    }
    with asked.store() as store:
        before = len(store)
        store.put_many(rows)
        return len(store) - before


@task(cache_policy=NO_CACHE)
def set_aside(expert: str, answers: str, keys: list[str]) -> None:
    """Set kept replies aside, so that they are asked for again."""
    with AnswerStore(Path(answers, f"{expert}.sqlite")) as store:
        store.set_aside(keys)


@task(cache_policy=NO_CACHE)
def cut_examples(name: str, expert: str, params: str, examples: str, folder: str) -> list[int]:
    """Cut the examples into shards of `generate.shard_rows` rows, in `folder`; returns the rows of each.

    Parts of an earlier run stay. An expert that is not paid answers in an instant, and one that is asked by batches
    within a day, however many there are: its examples stay in one shard.
    """
    settings = config.load(params)
    classes, rows = settings.task(name).classes, settings.generate.shard_rows
    whole = schema.check_keys(examples, "examples")
    answers = asked(settings, name, expert)
    if not isinstance(answers, PaidExpert) or answers.batches:
        rows = max(whole, 1)
    shutil.rmtree(Path(folder) / "examples", ignore_errors=True)
    shards: list[int] = []
    for shard in schema.slices(examples, "examples", rows, classes=classes):
        schema.write(shard, examples_of(folder, len(shards)), "examples")
        shards.append(shard.num_rows)
    return shards


@task(
    task_run_name="{setting.name} shard {number}",
    tags={"gpu"},
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=10,
    retry_condition_fn=worth_a_retry,
)
def answer_shard(number: int, setting: experts.Setting, options: Options, shards: Shards) -> int:
    """Ask an expert about the examples of a shard and write its part, unless that is there; returns its rows.

    Each paid answer is kept as it comes. A Prefect concurrency limit on a tag of this task makes shards take turns.
    """
    return _answered(number, setting, options, shards)


@task(cache_policy=NO_CACHE)
def write_unasked(path: str) -> str:
    """A table without rows in the place of answers: DVC pairs all tasks with all of base.llms, and wants a file."""
    schema.write(schema.table("predictions", {}), path, "predictions")
    return path


@task(cache_policy=NO_CACHE)
def merge_parts(
    name: str, expert: str, params: str, folder: str, shards: int, answers: str, candidate: str, vectors: str = ""
) -> str:
    """Put the parts together in input order; summaries get their quality. The folder of shards is removed.

    `vectors`, the folder of the task's word vectors, is opened where that quality is `embedding`, and nowhere else.
    """
    settings = config.load(params)
    quality = quality_of(name, settings, vectors, answers) if settings.task(name).kind == "summarisation" else None

    def parts() -> Iterator[pa.Table]:
        for number in range(shards):
            part = schema.read(part_of(folder, number), "predictions")
            if quality is not None:
                part = measured(schema.read(examples_of(folder, number), "examples"), part, quality)
            yield reproducible(settings, expert, part)

    answered = asked(settings, name, expert)
    told = {ASKED: answered.key("")} if isinstance(answered, PaidExpert) else {}
    schema.write_pieces(parts(), candidate, "predictions", _meta(expert, folder, shards) | told)
    shutil.rmtree(folder)
    return candidate


def _answered(number: int, setting: experts.Setting, options: Options, shards: Shards) -> int:
    # A function of its own: Ray ships a task by value, and this by name, with what its module holds in each process.
    rows = shards.examples(number)
    with _LOADING:
        expert, turn = _of_this_process(shards.run, setting, json.dumps(options, sort_keys=True))
    with turn:
        digest = _digest(expert, options, rows)
        if digest is not None and shards.made(number, digest):
            return int(rows.num_rows)
        if isinstance(expert, PaidExpert) and expert.hosted:
            # Whoever asks a server runs in the process of the stage.
            shards.bill(expert)
        expert.setting = replace(setting, answers=ShardAnswers(shards, number))
        predictions = expert.answer(rows)
    schema.check_answers(rows, predictions, f"predictions of {expert.name}")
    refuse_unasked(expert.name, predictions)
    shards.make(number, predictions, digest or "")
    return int(rows.num_rows)


@lru_cache(maxsize=1)
def _of_this_process(run: str, setting: experts.Setting, options: str) -> tuple[experts.Expert, threading.Lock]:
    """The expert of a run, one for each process, and the lock that lets its shards take turns.

    Its model is loaded once; what a server is asked in parallel, and how often a minute, holds for all shards.
    """
    return experts.build(setting, json.loads(options)), threading.Lock()


def forget_expert() -> None:
    """Let go of the expert that this process has loaded, and of its memory."""
    _of_this_process.cache_clear()


def _digest(expert: experts.Expert, options: Options, rows: pa.Table) -> str | None:
    """What the part of these examples is made of: they, the expert's model, prompt and options, and this code.

    None for an expert that is not paid: it is asked again.
    """
    if not isinstance(expert, PaidExpert):
        return None
    expert.validate()
    asked_about = [rows["id"].to_pylist(), rows["text"].to_pylist()]
    setting = [expert.name, expert.setting.task, expert.setting.classes]
    # The key of the answer to an empty text is made of all that determines an answer, but for the text.
    return answer_key(asked_about, setting, options, expert.key(""), _code())


@cache
def _code() -> str:
    root, digest = Path(askless.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _meta(expert: str, folder: str, shards: int) -> dict[str, Any]:
    """The metadata of all parts as one; raises `DataError` where they were not made by one model."""
    merged: dict[str, Any] = {}
    for number in range(shards):
        meta = schema.meta_of(pq.read_schema(part_of(folder, number)).empty_table())
        del meta["digest"]
        for key, value in meta.items():
            if key in COUNTED and key in merged:
                merged[key] += value
            elif merged.setdefault(key, value) != value:
                raise DataError(
                    f"predictions of {expert}",
                    f"shards answered by different models: {key} is {merged[key]!r} and {value!r}",
                    "one model, dtype and device for all shards",
                    f"Set {key} in experts.{expert} of params.yaml and run again: kept answers are not asked again.",
                )
    return merged
