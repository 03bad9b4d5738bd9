"""What expensive experts share: each different prompt is asked once, and answers are kept as they come."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from askless.errors import ConfigError, ExpertError, MissingExtra
from askless.experts.answer_store import AnswerStore, PaidAnswers, Row, without_reply
from askless.experts.base import Expert, Setting
from askless.experts.faults import REPEATED, Fault
from askless.prompts import PROMPTS, TEMPLATE, Prompt
from askless.schema import PREDICTIONS, surely_valid

Wording = str | Prompt | Mapping[str, Any] | None
logger = logging.getLogger(__name__)
PROGRESS_DELAY_S = 3
# Marks a kept row that is a prediction: its columns, as they were read where the reply was.
AS_READ, _ELSEWHERE = "as_read", ("id", "expert", "quality")
# No token is shorter than a byte; a server's chat template adds some of its own.
TEMPLATE_TOKENS = 256


class BillingHook(Protocol):
    """Pays for calls to a server: asked before each call, and called with its answer or its fault."""

    halted: str
    on_wait: Callable[[str], None]

    def turn(self, key: str, stop: threading.Event) -> AbstractContextManager[Row | None]:
        """Wait until nobody else asks for the answer of a key; gives it where it is kept by then."""

    def before_call(self, key: str, text: str, stop: threading.Event) -> None:
        """Set money aside for a call about `text`; raises `Refused` where none is left, and once `stop` is set."""

    def before_batch(self, work: Mapping[str, str]) -> dict[str, str]:
        """Set money aside for calls about all texts that it is enough for; returns why not for the keys of others."""

    def on_fault(self, key: str, found: Fault) -> Fault:
        """Settle a call that failed; returns what is made of the fault."""

    def on_answer(self, key: str, row: Row) -> Row:
        """Keep the row of a call that was answered, and pay for it; returns it, or one that says why it failed."""


class CallTrace(Protocol):
    """Is told of each call to a server."""

    def begin(self, key: str, text: str) -> None:
        """The call for the answer of a key, which is about `text`, is made."""

    def end(self, key: str, row: Row | None, why: str = "") -> None:
        """It has ended: with this row of its reply, or without one of use, and why."""

    def close(self) -> None:
        """Nothing more is told for now."""


class PaidExpert(Expert):
    """Answers through a store, so that a killed run goes on where it was and ends in the same table.

    A subclass says what determines an answer (`key`), how to get the missing ones (`ask`), what one takes at most
    (`most_tokens`) and how kept rows read as prediction columns (`columns`). Rows hold what was observed; what it means
    is worked out when it is read, so that a better parser asks nothing again.

    Parameters
    ----------
    setting
        What the task tells the expert; `answers` is where rows are kept.
    model
        The model's name.
    prompt
        An entry of `askless.prompts`, entries by the task's prompt that they replace, or a whole `Prompt`, also as
        plain values with a `template`; None is the task's own.

    Attributes
    ----------
    counts
        Whether the tokens of a prompt that `most_tokens` gives are exact.
    billing
        What pays for each call, or refuses it, where `hosted`.
    trace
        What is told of each call, where `hosted`.
    quiet
        Whether to show no progress.
    live
        Whether somebody waits for each answer, so that none is asked for by batches (`mode: batch`).
    private
        Whether to keep nothing of a server's reply but its label, since it may repeat the text; not of a summary.
    replies
        How many replies an answer is made of, each a call of its own.
    payer
        The environment variable of the key that pays for calls, where there is one.
    """

    counts = False
    billing: BillingHook | None = None
    trace: CallTrace | None = None
    quiet = False
    live = False
    private = False
    replies = 1
    payer: str | None = None

    def __init__(self, setting: Setting, *, model: str, prompt: Wording = None) -> None:
        super().__init__(setting)
        self.model = model
        self.prompt = prompt

    @abstractmethod
    def validate(self) -> None:
        """Raise `ConfigError` or `ExpertError` for an option that cannot be meant."""

    @abstractmethod
    def key(self, text: str) -> str:
        """The store's key of the answer to one text."""

    def keys(self, text: str) -> list[str]:
        """The store's keys of all `replies` that the answer to one text is made of."""
        return [self.key(text)]

    def joined(self, rows: Sequence[Row]) -> Row:
        """The row of an answer that is made of these."""
        return rows[0]

    @abstractmethod
    def ask(self, work: Mapping[str, str], kept: Mapping[str, Row]) -> Generator[dict[str, Row]]:
        """Yield rows for the keys of `work` (key -> text) that are not `kept`, batch by batch.

        A row that says `failed` is used but not kept: it is asked for again by the next run.
        """

    @abstractmethod
    def most_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """The most tokens that prompt and reply of each text can have; raises `ConfigError` where there is no most."""

    def fewest_tokens(self) -> int:
        """The fewest tokens that any reply has."""
        return 0

    @abstractmethod
    def columns(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Prediction columns of these rows."""

    def columns_of(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Prediction columns of kept rows, also of those that are predictions of another machine (`as_read`)."""
        own = [row for row in rows if AS_READ not in row]
        if len(own) == len(rows):
            return self.columns(rows)
        read = {name: iter(values) for name, values in (self.columns(own) if own else {}).items()}
        return {
            name: [row.get(name) if AS_READ in row else next(read[name]) if name in read else None for row in rows]
            for name in PREDICTIONS.names
            if name not in _ELSEWHERE
        }

    def answer(self, examples: pa.Table) -> pa.Table:
        """One prediction row for each example; texts that are equal are asked once."""
        self.validate()
        texts = examples["text"].to_pylist()
        keys = [self.keys(text) for text in texts]
        work = {key: text for these, text in zip(keys, texts, strict=True) for key in these}
        with self.opened_store() as store:
            rows = store.get_many(work)
            if len(rows) == len(work) and (table := self._all_kept(examples, keys, rows)) is not None:
                return table
            if broken := self._unreadable(rows):
                rows = {key: row for key, row in rows.items() if key not in broken} | self._mended(store, rows, broken)
            if len(rows) < len(work):
                self._ask_missing(work, rows, store)
        return self._table(examples, keys, rows)

    def check_access(self) -> None:
        """Raise `ExpertError` or `MissingExtra` where it is known before any call that none can go well."""

    def let_go(self) -> None:
        """Close what is held open between runs."""

    @property
    def batches(self) -> bool:
        """Whether a server is asked by batches, which it answers within a day for less."""
        return False

    def under_way(self) -> set[str]:
        """Keys that a server is answering in batches of earlier runs."""
        return set()

    def store(self, *, make: bool = True) -> AnswerStore:
        """The file of kept answers in the setting's folder; in memory where it names none.

        Unless it is to be made, so is one that is not there.
        """
        folder = self.setting.answers
        path = folder / f"{self.name}.sqlite" if isinstance(folder, Path) else None
        return AnswerStore(path if path is not None and (make or path.is_file()) else None)

    def template(self) -> Prompt:
        """The prompt: the expert's own, what it says instead of the task's, else the task's.

        Raises `ConfigError` for an unknown name.
        """
        prompt, asked = self.prompt, self.setting.prompt
        if isinstance(prompt, Prompt):
            return prompt
        if isinstance(prompt, Mapping) and TEMPLATE in prompt:
            return self._own
        instead = prompt if isinstance(prompt, Mapping) else {}
        used: Any = prompt if prompt and not instead else instead.get(asked, asked)
        for name in (*instead, *instead.values(), used):
            if not isinstance(name, str) or name not in PROMPTS:
                raise ConfigError.unknown(f"prompt of expert '{self.name}'", str(name), PROMPTS)
        return PROMPTS[used]

    def words(self) -> dict[str, str]:
        """The word that stands for each class of the task, none where answers are summaries.

        Raises `ExpertError` for a prompt that asks for something else.
        """
        words, classes = self.template().words, self.setting.classes
        if missing := [name for name in classes if name not in words]:
            raise ExpertError(
                f"Expert '{self.name}': its prompt has no word for class '{missing[0]}'. Allowed: a prompt with a word "
                f"for each of {list(classes)}. Add it, or name another prompt."
            )
        if words and not classes:
            raise ExpertError(
                f"Expert '{self.name}': its prompt asks for one of {list(words.values())}, and task "
                f"'{self.setting.task}' has no classes. Allowed: a prompt without label words. Leave out the expert's "
                "prompt and the task's is used."
            )
        return {name: words[name] for name in classes}

    def prompt_sha(self) -> str:
        """SHA-256 of all that the prompt says."""
        return self.template().sha

    @cached_property
    def _own(self) -> Prompt:
        """The prompt that its options say in plain values."""
        assert isinstance(self.prompt, Mapping)
        return Prompt.of(self.prompt, f"prompt of expert '{self.name}'")

    def _table(self, examples: pa.Table, keys: Sequence[list[str]], rows: Mapping[str, Row]) -> pa.Table:
        return self.predictions(examples, self.columns_of([self.joined([rows[key] for key in each]) for each in keys]))

    def _all_kept(self, examples: pa.Table, keys: Sequence[list[str]], rows: Mapping[str, Row]) -> pa.Table | None:
        """The answers that kept rows are, None where one of them cannot be read."""
        try:
            return self._table(examples, keys, rows)
        except (ConfigError, ExpertError, MissingExtra):
            raise
        except Exception:
            return None

    def _unreadable(self, rows: Mapping[str, Row]) -> list[str]:
        """Keys of the kept rows that make no valid prediction, whoever wrote them."""
        try:
            self.check_rows(list(rows.values()))
        except (ConfigError, ExpertError, MissingExtra):
            raise
        except Exception:
            if len(rows) == 1:
                return list(rows)
            items = list(rows.items())
            half = len(items) // 2
            return self._unreadable(dict(items[:half])) + self._unreadable(dict(items[half:]))
        return []

    def _mended(self, store: PaidAnswers, rows: Mapping[str, Row], broken: Sequence[str]) -> dict[str, Row]:
        """Broken rows, read again of the replies that are kept beside them; the others are set aside."""
        read = {key: self.read_again(reply, rows[key]) for key, reply in store.replies(broken).items()}
        mended = {key: row for key, row in read.items() if row is not None and not self._unreadable({key: row})}
        if mended:
            store.mend(mended)
        if lost := [key for key in broken if key not in mended]:
            store.set_aside(lost)
        return mended

    def read_again(self, reply: str, row: Row) -> Row | None:
        """The row of a kept reply, in the place of one that cannot be read; None where that cannot be told."""
        return None

    def check_rows(self, rows: Sequence[Row]) -> None:
        """Raise where rows make no valid predictions."""
        columns = self.columns_of(rows)
        told = {name: each for name, each in columns.items() if each is not None}
        if len(rows) == 1 and surely_valid({name: one for name, [one] in told.items()}, self.setting.classes):
            return
        examples = pa.table({"id": pa.chunked_array([pa.array(map(str, range(len(rows))), pa.string())])})
        self.predictions(examples, columns)

    def opened_store(self) -> AbstractContextManager[PaidAnswers]:
        """What keeps its answers."""
        answers = self.setting.answers
        return self.store() if answers is None or isinstance(answers, Path) else nullcontext(answers)

    def _ask_missing(self, work: Mapping[str, str], rows: dict[str, Row], store: PaidAnswers) -> None:
        from tqdm import tqdm

        logger.info("%s: %d answers are kept, %d are asked for", self.name, len(rows), len(work) - len(rows))
        total = len(work) - len(rows)
        # What stands before a file of answers counts them, and shows the progress of all shards at once.
        hidden = self.quiet or not isinstance(store, AnswerStore)
        shown = {"total": total, "desc": self.name, "unit": " answers", "delay": PROGRESS_DELAY_S, "disable": hidden}
        with tqdm(**shown, dynamic_ncols=True) as progress, closing(self.ask(work, dict(rows))) as batches:
            for fresh in batches:
                others = store.put_many({key: row for key, row in fresh.items() if "failed" not in row})
                rows |= {key: without_reply(row) for key, row in fresh.items()}
                rows |= dict.fromkeys(others, failed(REPEATED))
                progress.update(len(fresh))


def failed(why: str, seconds: float = 0.0) -> Row:
    """The row of a call that no answer came of, and that was not billed as far as is known."""
    return {"failed": why, "prompt_tokens": 0, "completion_tokens": 0, "replies": 0, "seconds": seconds}


def as_read(prediction: Row) -> Row | None:
    """The row to keep of a prediction that was made elsewhere; None where its call failed, which kept no reply."""
    if prediction["replies"] == 0:
        return None
    return {AS_READ: True, **{name: value for name, value in prediction.items() if name not in _ELSEWHERE}}
