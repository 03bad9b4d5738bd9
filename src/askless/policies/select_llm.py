"""The published subset by text: ask the models that a classifier says are right, and weigh their votes by its chances.

Source: SelectLLM (Maurya et al. 2025, Findings of ACL, arXiv 2408.08545), the weighted policy; TF-IDF with logistic
regression stands for the fine-tuned encoder.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import ConfigError
from askless.panel import NO_LABEL, Panel
from askless.policies.base import Budget, Decisions, Policy, Step, billed, some_rows
from askless.policies.planned.votes import counted
from askless.policies.text_chances import TextChances

LIKELY = 0.5


class SelectLLM(Policy):
    """Asks every expert whose chance of being right, read off the text, is above a half; else the likeliest one.

    Each vote weighs that chance. Of classes with the same weight the one that the costliest stands for wins. What is
    learnt is as wide as the vocabulary and is not kept in bundles.

    Parameters
    ----------
    experts
        Names of two or more, by rising cost.
    strength
        C of the logistic regressions, > 0: the larger, the less their weights are shrunk.
    most
        Of more rows to learn from, so many are drawn.
    random_state
        Seed of the rows drawn.
    """

    title = "Subset by text, published"
    about = "Reads the text, asks all models that are likely to be right, and weighs their votes."
    reads_text = True
    budgets = ()
    kept = False
    fallback = False
    chances_: TextChances

    def __init__(
        self, experts: tuple[str, ...], *, strength: float = 1.0, most: int = 20_000, random_state: int = 0
    ) -> None:
        self.experts = tuple(experts)
        self.strength = strength
        self.most = most
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn from train's texts who is right; nothing is set on `valid`."""
        super().fit(train, valid)
        self._require(train, experts=2, most=1)
        if not self.strength > 0:
            raise ConfigError(f"{type(self).__name__} got strength {self.strength:g}. Allowed: a number > 0.")
        rows = some_rows(len(train), self.most, self.random_state)
        right = np.stack([train.quality(train.ask(name, rows)) == 1 for name in self.experts], axis=1)
        texts = [train.text[row] for row in rows]
        self.chances_ = TextChances(self.strength).fit(texts, np.full(len(rows), NO_LABEL), right)
        return self

    def look(self, panel: Panel) -> Floats:
        """Each expert's chance of being right, (rows, experts), its compute billed to the panel."""
        with billed(panel):
            return self.chances_.predict(panel.text, np.full(len(panel), NO_LABEL))

    def decide(self, panel: Panel, budget: Budget | None = None, seen: Floats | None = None) -> Decisions:
        """Ask those who are likely to be right, and count their votes."""
        chance = self.look(panel) if seen is None else seen
        n, row = len(panel), np.arange(len(panel))
        wanted = chance > LIKELY
        wanted[row, chance.argmax(axis=1)] = True
        label: Ints = np.full(chance.shape, NO_LABEL)
        for j, name in enumerate(self.experts):
            label[wanted[:, j], j] = panel.ask(name, wanted[:, j]).label
        best, _ = counted(label, chance)
        expert = np.where(best < 0, wanted.argmax(axis=1), best)
        # Somebody beyond the first is asked where one of them is likely to be right, or likelier than the first.
        beyond, least = chance[:, 1:].max(axis=1), np.minimum(chance[:, 0], LIKELY)
        steps = (Step("", row, -beyond, -least),)
        asked, unstated = panel.asked_of(self.experts), np.full(n, np.nan)
        return Decisions(self.experts, expert, label[row, expert], -beyond, panel.spent, asked, unstated, steps)
