"""A small model and an LLM as one classifier of scikit-learn's kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from askless import schema
from askless.arrays import Bools
from askless.bundles import plan_file
from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide_panel
from askless.config import Price
from askless.costs import CostModel
from askless.data.prepare import clean, ids
from askless.data.recorded import Study
from askless.errors import ConfigError, DataError
from askless.panel import NO_LABEL, Panel
from askless.plans.plan import Goal, Plan
from askless.plans.planner import make_plan
from askless.plans.small import with_small

LLM, TASK = "llm", "texts"
Labels = NDArray[Any]


class AskLess(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of texts that trains a small model, and asks an LLM where that is worth it.

    Parameters
    ----------
    small
        Backend of the small model: `auto` takes the best of those that learn labels from texts, out of fold; or the
        name of one, such as `linear`.
    llm
        Gives each of a list of texts a label, or None, when it is called or by its method `predict`. `predict` asks it
        about the texts that the plan leaves to it, equal ones once; `fit` about all, unless it is given the answers.
        None: refused where it is needed.
    budget
        The share of texts that may go to the LLM, 0 to 1; or a `Goal`, such as `Goal(floor=0.97)`.
    usd_per_1k_answers
        What 1,000 answers of the LLM cost in US dollars, for goals in dollars; above 0.
    policies
        Names of the policies that are tried; None for those that a plan tries.
    random_state
        Seed of the folds, of the small model and of ties.

    Attributes
    ----------
    classes_ : ndarray of shape (classes,)
        The labels.
    plan_ : Plan
        What was planned; `plan_.words()` says whom to ask, until which threshold, and what that promises.
    small_ : TrainedExpert
        The small model.

    Examples
    --------
    >>> from askless import AskLess
    >>> texts = [f"{word} {n}" for n in range(40) for word in ("good", "bad")]
    >>> labels = ["+", "-"] * 40
    >>> model = AskLess(small="linear", budget=0.0).fit(texts, labels, llm_answers=labels)
    >>> model.predict(["good again", "bad again"]).tolist()
    ['+', '-']
    """

    classes_: Labels
    plan_: Plan
    small_: Any

    def __init__(
        self,
        small: str = "auto",
        llm: Any = None,
        budget: float | Goal = 0.2,
        *,
        usd_per_1k_answers: float = 1.0,
        policies: Sequence[str] | None = None,
        random_state: int = 0,
    ) -> None:
        self.small = small
        self.llm = llm
        self.budget = budget
        self.usd_per_1k_answers = usd_per_1k_answers
        self.policies = policies
        self.random_state = random_state

    def fit(self, X: Sequence[str], y: Any, llm_answers: Any = None) -> Self:  # noqa: N803  scikit-learn's names
        """Train the small model and plan when to ask the LLM.

        Parameters
        ----------
        X
            Texts, (texts,).
        y
            Their true labels, (texts,).
        llm_answers
            What the LLM answered to each, a label or None, (texts,). Without them `llm` is asked about all texts.

        Returns
        -------
        AskLess
            Itself.

        Raises
        ------
        ValueError
            For what are no labels, not as many as texts, or all the same.
        DataError
            For what are no texts, and for too few to learn from.
        ConfigError
            For a small model or a policy that is unknown, and where there is neither an LLM nor its answers.
        """
        texts, y = _texts(X), column_or_1d(y)
        check_consistent_length(texts, y)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self._names[0]!r}. Allowed: two or more. Add texts of another.")
        said = self._ask(texts) if llm_answers is None else list(llm_answers)
        check_consistent_length(texts, said)
        examples = _examples(texts, [str(label) for label in y])
        goal = self.budget if isinstance(self.budget, Goal) else Goal(share=self.budget)
        answers = {LLM: self._answered(examples, said)}
        study = Study(examples, answers, self._names, (LLM,), self._cost, True, ())
        study, self.small_, certify = with_small(study, self.small, goal, None, self.random_state)
        self.plan_ = make_plan(
            study,
            goal,
            LLM,
            kinds=self.policies,
            certify=certify,
            learnt=(self.small_.name,),
            random_state=self.random_state,
        )
        return self

    def predict(self, X: Sequence[str]) -> Labels:  # noqa: N803
        """The label of each text, (texts,): the small model's, or the LLM's where the plan asks it and it has one.

        Raises `DataError` for what are no texts, `ConfigError` where the LLM is needed and there is none.
        """
        check_is_fitted(self, "plan_")
        texts = _texts(X)
        each = list(dict.fromkeys(texts))
        small, llm = self.small_.name, _Asked(self)
        panel = Panel(_examples(each), {small: self.small_, LLM: llm}, self._cost, self._names, blind=True)
        label = self.plan_.decide(panel).label.copy()
        none = np.flatnonzero(label == NO_LABEL)
        label[none] = panel.ask(small, none).label
        place = {text: row for row, text in enumerate(each)}
        return np.asarray(self.classes_[label[[place[text] for text in texts]]])

    def deferred(self, X: Sequence[str]) -> Bools:  # noqa: N803
        """About which texts `predict` would ask the LLM, (texts,); nobody is asked.

        Raises `DataError` for what are no texts, `ConfigError` for a policy that decides by what the LLM answers.
        """
        check_is_fitted(self, "plan_")
        texts, policy = _texts(X), self.plan_.policy
        if len(policy.experts) == 1:
            return np.full(len(texts), policy.experts == (LLM,))
        names = _examples(texts)["id"].to_pylist()
        bundle = Bundle.of(policy, self._names, {}, self.small_)
        _, decided = decide_panel(bundle, names, texts, self.plan_.budget, self._cost)
        return np.asarray(decided.asked[:, policy.experts.index(LLM)])

    def save(self, path: Path | str) -> Path:
        """Write the plan, with the small model, to `path` (`.yaml`): `askless label --model` answers files by it."""
        check_is_fitted(self, "plan_")
        plan_file.write(self.plan_, path, {"task": TASK, "seed": self.random_state}, self.small_)
        return Path(path)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(map(str, self.classes_))

    @property
    def _cost(self) -> CostModel:
        price = Price(usd_per_1k_answers=self.usd_per_1k_answers)
        return CostModel("usd", {LLM: price, **({self.small_.name: Price()} if hasattr(self, "small_") else {})})

    def _ask(self, texts: list[str]) -> list[Any]:
        if self.llm is None:
            raise ConfigError(
                f"{len(texts):,} texts go to the LLM, and llm is None. Allowed: what gives each of a list of "
                "texts a label. Give llm, or the answers (llm_answers of fit); budget=0.0 asks the small model alone."
            )
        said = list(getattr(self.llm, "predict", self.llm)(texts))
        if len(said) != len(texts):
            got = f"{len(said)} answers to {len(texts)} texts"
            raise DataError("llm", got, "one to each, None where there is none", "Correct what is given as llm.")
        return said

    def _answered(self, examples: pa.Table, said: Sequence[Any]) -> pa.Table:
        """Predictions of the LLM; a reply that is no label is none, with the reason."""
        replies = [None if each is None or each != each else str(each) for each in said]
        label = [reply if reply in self._names else None for reply in replies]
        error = [
            None if one is not None else "no label" if reply is None else f"not a label: {reply[:80]}"
            for one, reply in zip(label, replies, strict=True)
        ]
        columns = {"id": examples["id"].combine_chunks(), "expert": [LLM] * len(label), "label": label, "error": error}
        return schema.table("predictions", columns, {"classes": list(self._names)})


class _Asked:
    """The LLM of a classifier as an expert of a panel."""

    def __init__(self, classifier: AskLess) -> None:
        self._classifier = classifier

    def answer(self, examples: pa.Table) -> pa.Table:
        """A row for each example; asks about all of them at once."""
        said = self._classifier._ask(examples["text"].to_pylist()) if examples.num_rows else []
        return self._classifier._answered(examples, said)


def _texts(given: Sequence[str]) -> list[str]:
    """Texts as a list; raises `DataError` for anything else."""
    texts = [] if isinstance(given, str) else list(given)
    wrong = [each for each in texts if not isinstance(each, str)]
    if wrong or not texts:
        got = (
            "one text" if isinstance(given, str) else f"{type(wrong[0]).__name__} {wrong[0]!r:.60}" if wrong else "none"
        )
        raise DataError("X", got, "a list of texts, one or more", "Give the texts of the items.")
    return texts


def _examples(texts: Sequence[str], labels: Sequence[str] | None = None) -> pa.Table:
    """Examples of these texts; one that comes again has an id of its own."""
    seen: dict[str, int] = {}
    names = []
    for name in ids(TASK, map(clean, texts)):
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    columns = {"id": names, "text": list(texts), "split": ["test" if labels is None else "train"] * len(names)}
    return schema.table("examples", columns | ({} if labels is None else {"label": list(labels)}))
