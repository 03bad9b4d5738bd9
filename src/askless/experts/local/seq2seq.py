"""A summariser of transformers' encoder-decoders run here (T5, BART, Pegasus, ...), in resumable batches."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from askless.errors import ExpertError
from askless.experts import replies
from askless.experts.answer_store import Row, answer_key
from askless.experts.base import whole
from askless.experts.local.batches import Backoff, answered, in_batches
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.local.decoding import Decoding, Generated, written
from askless.experts.local.forward import Tokens
from askless.experts.local.local_expert import Item, LocalExpert, timed
from askless.prompts import Prompt

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1024
KEPT = "checkpoint"


class Seq2SeqCheckpoint(Checkpoint):
    """An encoder-decoder: its first tokens are the model's own, its beams and penalties are habits.

    Parameters
    ----------
    model, revision, dtype, device, remote_code, gguf_file, template_options
        As of `Checkpoint`.
    """

    auto = "AutoModelForSeq2SeqLM"
    keeps = ("decoder_start_token_id", "forced_bos_token_id")

    @cached_property
    def longest(self) -> int:
        """Most tokens that the encoder reads: what configuration or tokenizer say, `LIMIT` where neither does."""
        said = (self.limit, self.tokenizer.model_max_length)
        return min((size for size in said if size and size < 1 << 20), default=LIMIT)

    @property
    def start(self) -> int:
        """How many tokens the model's answers begin with that it does not choose."""
        return 1 if self.network.generation_config.forced_bos_token_id is None else 2


@dataclass(eq=False, kw_only=True, repr=False)
class Seq2SeqExpert(LocalExpert):
    """Answers with the summary that an encoder-decoder of transformers writes (T5, BART, Pegasus, ...), run here.

    `logprob` is the mean over the summary's tokens, its end included, under the model. The Team paper's T5-small wrote
    greedily with max_length 388 and min_length 30, which count the start: `max_new_tokens` 387 and `min_new_tokens` 29.

    Parameters
    ----------
    setting
        What the task tells the expert.
    model
        A folder with a transformers checkpoint, or a repository of the hub.
    revision, dtype, device, top_p, seed, trust_remote_code
        As of `LlmExpert`.
    prefix
        What stands before each document: T5 wants its task named.
    batch_size
        Most rows at once, 1 or more.
    batch_tokens
        Most tokens at once, 1 or more, padding and what is to be written included.
    max_new_tokens
        Most tokens of a summary, 1 or more.
    min_new_tokens
        Fewest tokens of a summary, 0 to `max_new_tokens` - 1: it does not end before.
    temperature
        0 is greedy, more draws. A checkpoint's own beams and penalties are not used.
    max_input_tokens
        Most tokens of a document, 1 or more; None is what the model can read, 1,024 where neither configuration nor
        tokenizer say. A longer one loses its end; metadata `truncated` counts them.
    """

    labels = False
    prompt = None
    kept = True
    whole_options = ("batch_size", "batch_tokens", "max_new_tokens")
    counts = True

    prefix: str = ""
    batch_size: int = 64
    batch_tokens: int = 16_384
    device: str = "auto"
    min_new_tokens: int = 0
    max_input_tokens: int | None = None

    def validate(self) -> None:
        """Raise `ConfigError` or `ExpertError` for an option that cannot be meant."""
        super().validate()
        self.require("prefix", isinstance(self.prefix, str), "a text, which may be empty")
        fits = whole(self.min_new_tokens, 0) and self.min_new_tokens < self.max_new_tokens
        self.require("min_new_tokens", fits, f"a whole number from 0 to max_new_tokens - 1 ({self.max_new_tokens - 1})")
        if not getattr(self.checkpoint.config, "is_encoder_decoder", False):
            kind = self.checkpoint.config.model_type
            raise ExpertError(
                f"Model '{self.model}' is a {kind}. Allowed for backend seq2seq: an encoder-decoder such as T5, BART "
                "or Pegasus. Use backend: llm with mode: text for a causal model."
            )

    def template(self) -> Prompt:
        """The prefix and the document: the task's prompt is for models that follow instructions."""
        return Prompt(f"{self.prefix}{{text}}")

    @cached_property
    def checkpoint(self) -> Seq2SeqCheckpoint:
        """The model's parts."""
        return Seq2SeqCheckpoint(self.model, self.revision, self.dtype, self.device, self.trust_remote_code)

    def key(self, text: str) -> str:
        """The store's key of the answer to one text."""
        part, size = self.checkpoint, [self.max_new_tokens, self.min_new_tokens, self._limit]
        how = [size, self.temperature, self._drawn(), part.dtype]
        return answer_key("seq2seq", *self._where(), self.prefix + text, *how)

    def ask(self, work: Mapping[str, str], kept: Mapping[str, Row]) -> Generator[dict[str, Row]]:
        """Yield rows batch by batch; batches are made of all of `work`, the same in a resumed run."""
        keys, items = list(work), self._encoded(list(work.values()))
        self._warm_up()
        backoff = Backoff[Item](lambda rows: len(rows) * max(self._size(ids) for _, ids, _ in rows))
        batches = in_batches([self._size(ids) for ids, _ in items], self.batch_size, self.batch_tokens)
        keyed = [(key, *item) for key, item in zip(keys, items, strict=True)]
        yield from answered(batches, keyed, kept, backoff, self._run)

    def most_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """The document's own tokens, and those of the longest summary with its end."""
        return [(len(ids), self.max_new_tokens + 1) for ids, _ in self._encoded(texts)]

    def columns(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Prediction columns of these rows."""
        return {**self._counted(rows), **replies.written(rows, {})}

    def keep(self, folder: Path) -> dict[str, Any]:
        """Copy the files of a model in a folder into `folder`; of one on the hub the name and the commit are kept."""
        home = self.checkpoint.folder
        if home is None:
            return {**self.options(), "revision": self.checkpoint.revision}
        shutil.copytree(home, folder / KEPT)
        return {**self.options(), "model": KEPT, "revision": None}

    def restore(self, folder: Path) -> Self:
        """Answer with the files that `keep` copied, where it did."""
        if (folder / KEPT).is_dir():
            self.model = str(folder / KEPT)
        return self

    def meta(self) -> dict[str, Any]:
        """What every local model says, and most tokens at once and of a document."""
        return {**super().meta(), "batch_tokens": self.batch_tokens, "max_input_tokens": self._limit}

    @property
    def _decoding(self) -> Decoding:
        return Decoding(self.max_new_tokens, self.temperature, self.top_p, self.min_new_tokens)

    @property
    def _limit(self) -> int:
        longest = self.checkpoint.longest
        return longest if self.max_input_tokens is None else min(longest, self.max_input_tokens)

    def _size(self, ids: Tokens) -> int:
        return len(ids) + self.max_new_tokens

    def _encoded(self, texts: Sequence[str]) -> list[tuple[list[int], bool]]:
        """Token ids of prefix and document, and whether the document lost its end; what closes a text is kept."""
        tokenizer, limit = self.checkpoint.tokenizer, self._limit
        tokenizer.truncation_side = "right"
        whole_texts = [self.prefix + text for text in texts]
        found = tokenizer(whole_texts, verbose=False)["input_ids"] if texts else []
        return [
            (list(tokenizer(text, truncation=True, max_length=limit)["input_ids"]), True)
            if len(ids) > limit
            else (list(ids) or [self.checkpoint.pad], False)
            for text, ids in zip(whole_texts, found, strict=True)
        ]

    def _warm_up(self) -> None:
        """One short answer, so that what the first one costs extra is on no item's clock."""
        self._written([[self.checkpoint.pad] * 8] * 2, Decoding(2, 0.0, 1.0), 0)

    def _written(self, rows: Sequence[Tokens], how: Decoding, seed: int) -> list[Generated]:
        start = self.checkpoint.start
        how = how._replace(max_new_tokens=how.max_new_tokens + start - 1)
        return written(self.checkpoint.network, self._read(rows), start, how, seed)

    def _read(self, rows: Sequence[Tokens]) -> dict[str, Tensor]:
        """Ids padded on the right, where positions count from the left, and their mask."""
        import torch

        width, device = max(map(len, rows)), self.checkpoint.network.device
        ids = torch.tensor([[*row, *[self.checkpoint.pad] * (width - len(row))] for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        return {"input_ids": ids, "attention_mask": mask}

    def _run(self, items: Sequence[Item]) -> list[Row]:
        start = time.perf_counter()
        replied = self._written([ids for _, ids, _ in items], self._decoding, self._batch_seed(items))
        return timed(self._replies(replied), items, start)
