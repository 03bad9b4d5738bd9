"""What the LLM has said of the different texts of a file, asked behind the ledger and never twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from askless import schema
from askless.arrays import Bools, Floats, Ints
from askless.panel import NO_LABEL, class_indices
from askless.spending.billing import LIMIT, PAUSED, code_of
from askless.spending.guard import GuardedExpert

# Texts that are asked about together: after each such batch a run can stop, and says how far it is.
BATCH = 256
# All that a run pays for is one part of the ledger, so that a row has the same cost after a kill.
PART = 1


class AskedTexts:
    """The answers to texts so far; a kept answer costs nothing and is there at once.

    Parameters
    ----------
    expert
        The LLM behind its ledger.
    ids, texts
        Of each different text.
    report
        Called after each batch.

    Attributes
    ----------
    together : int
        Texts that are asked about at once: all of them where the LLM is asked by batches, each of which takes hours.
    label : array, shape (texts,)
        Class index, -1 where none was read.
    answered, failed : array, shape (texts,)
        Which texts have a reply, readable or not, and which were put to the LLM without getting one.
    cost : array, shape (texts,)
        Dollars that were paid for each.
    stated : array, shape (texts,)
        Probability that the LLM states of its label, NaN where it states none.
    """

    def __init__(
        self,
        expert: GuardedExpert,
        ids: Sequence[str],
        texts: Sequence[str],
        report: Callable[[], None] = lambda: None,
    ) -> None:
        self.expert = expert
        self.classes = expert.expert.setting.classes
        self.by_batches = bool(getattr(expert.expert, "batches", False))
        self.together = max(1, len(ids)) if self.by_batches else BATCH
        self.ids = ids
        self.texts = texts
        self.report = report
        self.label = np.full(len(ids), NO_LABEL)
        self.answered = np.zeros(len(ids), bool)
        self.failed = np.zeros(len(ids), bool)
        self.cost: Floats = np.zeros(len(ids))
        self.stated: Floats = np.full(len(ids), np.nan)
        self.errors: dict[int, str] = {}

    @property
    def done(self) -> Bools:
        """Which texts were put to the LLM, (texts,)."""
        return self.answered | self.failed

    @property
    def unasked(self) -> Bools:
        """Which texts may still be put to the LLM, (texts,): new ones, and those for which no money was left."""
        unpaid = [at for at in np.flatnonzero(self.failed).tolist() if code_of(self.errors[at]) in (LIMIT, PAUSED)]
        return ~self.done | np.isin(np.arange(len(self.ids)), unpaid)

    @property
    def mean_cost(self) -> float:
        """Dollars of a text that was paid for; where all were kept before, which is free, of some at their price.

        0 where there is neither.
        """
        paid = self.cost[self.cost > 0]
        if len(paid):
            return float(paid.mean())
        each = [self.expert.expert.keys(self.texts[at]) for at in np.flatnonzero(self.answered)[:BATCH].tolist()]
        if not each:
            return 0.0
        kept = self.expert.kept.get_many(key for keys in each for key in keys)
        return sum(usd or 0.0 for usd in self.expert.price.paid(kept).values()) / len(each)

    @property
    def labelled(self) -> Ints:
        """Places of the texts that have a label."""
        return np.flatnonzero(self.label != NO_LABEL)

    def ask(self, places: Ints) -> None:
        """Put the texts at these places to the LLM, in this order, but for those that were put to it before."""
        new = places[~self.done[places]]
        for at in range(0, len(new), self.together):
            self._ask(new[at : at + self.together])
            self.report()
        while self.by_batches and 0 < len(rest := new[self.unasked[new]]) < len(new):
            # A batch is paid for beforehand at the most it can cost: what it did not cost is there for another.
            vars(self.expert.expert).pop("failed_in_batches", None)
            self._ask(new := rest)
            self.report()

    def examples(self, places: Ints, labels: bool = False) -> pa.Table:
        """The texts at these places as a table of examples, the LLM's labels as their gold where asked for."""
        columns: dict[str, Any] = {"id": [self.ids[at] for at in places], "text": [self.texts[at] for at in places]}
        if labels:
            columns["label"] = [self.classes[self.label[at]] for at in places]
        return schema.table("examples", {**columns, "split": ["train"] * len(places)})

    def answer(self, examples: pa.Table) -> pa.Table:
        """What the LLM said of texts, as predictions: at no further cost, for a policy to learn from."""
        place = {name: at for at, name in enumerate(self.ids)}
        at = [place[name] for name in examples["id"].to_pylist()]
        n = len(at)
        columns: dict[str, Any] = {"id": examples["id"].combine_chunks(), "expert": [self.expert.name] * n}
        columns |= {"label": [self.classes[self.label[i]] if self.label[i] != NO_LABEL else None for i in at]}
        columns |= {"error": [None if self.label[i] != NO_LABEL else "no answer" for i in at]}
        zero = np.zeros(n, np.int32)
        columns |= {"cost_usd": self.cost[at], "prompt_tokens": zero, "completion_tokens": zero}
        return schema.table("predictions", {**columns, "seconds": np.zeros(n, np.float32)})

    def unreadable(self, most: int = 5) -> list[tuple[str, int]]:
        """The commonest reasons for which a reply had no label, and how often each came."""
        found = Counter(self.errors[at] for at in np.flatnonzero(self.answered & (self.label == NO_LABEL)).tolist())
        return found.most_common(most)

    def _ask(self, places: Ints) -> None:
        table = self.expert.answer(self.examples(places), PART)
        label = class_indices(table["label"], self.classes)
        mute = places[label == NO_LABEL]
        keys = {int(at): self.expert.expert.keys(self.texts[at]) for at in mute}
        replied = self.expert.kept.get_many(key for each in keys.values() for key in each)
        failed = np.array([at for at, each in keys.items() if not replied.keys() >= set(each)], np.int64)
        self.label[places] = label
        if "proba" in table.column_names:
            spread = zip(table["proba"].to_pylist(), label.tolist(), strict=True)
            self.stated[places] = [np.nan if each is None or at == NO_LABEL else each[at] for each, at in spread]
        self.cost[places] = table["cost_usd"].to_numpy()
        self.answered[places], self.failed[places] = True, False
        self.answered[failed], self.failed[failed] = False, True
        errors = table["error"].to_pylist()
        for at in places.tolist():
            self.errors.pop(at, None)
        self.errors |= {int(at): why or "no answer" for at, why in zip(places, errors, strict=True) if why}
