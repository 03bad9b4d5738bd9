"""The published allocator of summaries, which reads both of them before it decides and so saves nothing."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from askless.arrays import Floats, Ints
from askless.panel import Panel
from askless.policies.base import Budget, Chooser, Step, billed
from askless.policies.summaries.features import vector_sums
from askless.text.embeddings import Vectors


class PublishedSummary(Chooser):
    """Sums the word vectors of both experts' summaries, and a support-vector machine says whose is to be kept.

    PCA, then SVC(rbf); the target is 0 where the costlier expert's quality is the larger, else 1. Its feature needs
    both summaries, so that both experts are asked, and paid, for every row: the decision costs more than asking the
    costlier one alone. No budget is taken.

    Parameters
    ----------
    experts
        Names of two: the small one and the large one.
    vectors
        The word vectors.
    components, strength
        Dimensions that the PCA keeps, and C of the machine, as published.
    random_state
        Seed of both.

    References
    ----------
    Enhanced Cost Efficiency, the summarisation part.
    """

    title = "Picks of two summaries, published"
    about = "Has both summaries written, pays for both, and keeps the one that looks better."
    pair = True
    reads_text = True
    labels = False
    graded = True
    studied = False
    budgets = ()
    kept = False
    # The one target that train has.
    always_: int | None

    def __init__(
        self,
        experts: tuple[str, ...],
        vectors: Vectors,
        *,
        components: int = 50,
        strength: float = 0.1,
        random_state: int = 67,
    ) -> None:
        self.experts = tuple(experts)
        self.vectors = vectors
        self.components = components
        self.strength = strength
        self.random_state = random_state

    def fit(self, train: Panel, valid: Panel) -> Self:
        """Learn from `train`; nothing is chosen on `valid`."""
        from sklearn.decomposition import PCA
        from sklearn.svm import SVC

        super().fit(train, valid)
        self._require(train)
        small, large = (train.quality(train.ask(name)) for name in self.experts)
        target = np.where(large > small, 0, 1)
        self.always_ = int(target[0]) if target.min() == target.max() else None
        if self.always_ is None:
            x = self._features(train)
            self.reduce_: Any = PCA(min(self.components, *x.shape), random_state=self.random_state).fit(x)
            self.classify_: Any = SVC(C=self.strength, kernel="rbf", random_state=self.random_state)
            self.classify_.fit(self.reduce_.transform(x), target)
        return self

    def look(self, panel: Panel) -> Floats:
        """The distance from the machine's border, above 0 where the small one's summary is to be kept, (rows,).

        All that it asks and computes is billed to the panel.
        """
        for name in self.experts:
            panel.ask(name)
        with billed(panel):
            x = self._features(panel)
            if self.always_ is not None or not len(panel):
                return np.full(len(panel), 2.0 * (self.always_ or 0) - 1)
            return np.asarray(self.classify_.decision_function(self.reduce_.transform(x)), np.float64)

    def choose(self, seen: Floats, budget: Budget | None) -> Ints:
        """1, the costlier one, below the border, else 0; no budget changes that."""
        return (seen < 0).astype(np.int64)

    def steps(self, seen: Floats, budget: Budget | None) -> tuple[Step, ...]:
        """The look at both summaries."""
        return (Step(self.experts[-1], np.arange(len(seen)), seen, np.zeros(len(seen))),)

    def _features(self, panel: Panel) -> Floats:
        """The summed word vectors of both summaries, shape (rows, dim)."""
        return sum(
            (vector_sums(panel.ask(name).table["text"], self.vectors) for name in self.experts),
            np.zeros((len(panel), self.vectors.dim)),
        )
