"""What language models that run here share: how they answer, what their options may be, what their rows say."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from askless.errors import ExpertError
from askless.experts.answer_store import Row, answer_key
from askless.experts.base import Setting, number, whole
from askless.experts.local.checkpoint import DTYPES, Checkpoint
from askless.experts.local.decoding import Generated
from askless.experts.paid import PaidExpert

MODES = ("auto", "label", "text")
COUNTED = ("prompt_tokens", "completion_tokens", "seconds")
# Key, the prompt's tokens, and whether its text lost its end.
Item = tuple[str, list[int], bool]


@dataclass(eq=False, repr=False)
class LocalExpert(PaidExpert):
    """A language model that runs here.

    Parameters
    ----------
    setting, model, revision, dtype, batch_size, max_new_tokens, temperature, top_p, seed, trust_remote_code
        As of `LlmExpert`.

    Attributes
    ----------
    whole_options, limits : tuple of str
        The options that are whole numbers of 1 or more, and those that are so or None.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    whole_options: ClassVar[tuple[str, ...]] = ("batch_size", "max_new_tokens")
    limits: ClassVar[tuple[str, ...]] = ("max_input_tokens",)
    mode = "auto"
    _truncated = 0

    setting: Setting
    _: KW_ONLY
    model: str
    revision: str | None = None
    dtype: str = "auto"
    batch_size: int = 256
    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    trust_remote_code: bool = False

    @property
    @abstractmethod
    def checkpoint(self) -> Checkpoint:
        """The model's parts."""

    def validate(self) -> None:
        """Raise `ConfigError` or `ExpertError` for an option that cannot be meant."""
        self.require("mode", self.mode in MODES, ", ".join(MODES))
        if self.mode == "label" and not self.setting.classes:
            raise ExpertError(
                f"Expert '{self.name}': mode label got a task without classes. Allowed there: mode: auto or text. "
                "Change the mode, or leave it out."
            )
        if self.labelling and self.template().reply != "words":
            raise ExpertError(
                f"Expert '{self.name}': its prompt asks for JSON, and mode label scores words. Allowed: reply: words, "
                "or mode: text. Change one of the two."
            )
        self.require("dtype", self.dtype in DTYPES, ", ".join(DTYPES))
        for option in self.whole_options:
            self.require(option, whole(getattr(self, option)), "a whole number >= 1")
        for option in self.limits:
            value = getattr(self, option)
            self.require(option, value is None or whole(value), "null or a whole number >= 1")
        self.require("temperature", number(self.temperature), "0 for greedy, or a number > 0")
        self.require("top_p", number(self.top_p, 1e-6, 1), "a share > 0, up to 1")
        self.checkpoint.check()

    def meta(self) -> dict[str, Any]:
        """Model, revision, prompt, dtype, batch size and device, and how many inputs were too long."""
        part = self.checkpoint
        return {
            "model": self.model,
            "revision": part.revision,
            "prompt_sha": self.prompt_sha(),
            "dtype": part.dtype,
            "batch_size": self.batch_size,
            "device": part.device,
            "truncated": self._truncated,
        }

    @property
    def labelling(self) -> bool:
        """Whether it scores label words; it writes where it does not."""
        return self.mode == "label" or (self.mode == "auto" and bool(self.setting.classes))

    @property
    def _mode(self) -> str:
        return "label" if self.labelling else "text"

    def _where(self) -> list[str]:
        """Of an answer's key, the model: a folder is known by the digest of its files alone."""
        return [self.model if self.checkpoint.folder is None else "", self.checkpoint.revision]

    def _drawn(self) -> list[Any]:
        """Of an answer's key, how replies are drawn: nothing where they are not."""
        return [self.top_p, self.seed] if self.temperature else []

    def _batch_seed(self, items: Sequence[Item]) -> int:
        return int(answer_key(self.seed, [key for key, _, _ in items])[:15], 16)

    def _replies(self, replies: Sequence[Generated]) -> list[Row]:
        texts = self.checkpoint.tokenizer.batch_decode([r.tokens for r in replies], skip_special_tokens=True)
        return [
            {"text": text, "logprob": reply.logprob, "completion_tokens": len(reply.tokens), "ended": reply.ended}
            for text, reply in zip(texts, replies, strict=True)
        ]

    def _counted(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        """The columns of what was counted; inputs that were too long are counted here."""
        self._truncated = sum(row["cut"] for row in rows)
        return {name: [row[name] for row in rows] for name in COUNTED}


def timed(rows: Sequence[Row], items: Sequence[Item], start: float) -> list[Row]:
    """The rows of a batch that began at `start`, each with its share of the seconds and what its prompt took."""
    seconds = (time.perf_counter() - start) / len(items)
    return [
        {**row, "seconds": seconds, "prompt_tokens": len(ids), "cut": cut}
        for row, (_, ids, cut) in zip(rows, items, strict=True)
    ]
