"""The registered model: a bundle that answers texts, or says who should (MLflow models from code)."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

ANSWERS = "ASKLESS_ANSWERS"
COLUMNS = ("expert", "score", "cost", "reason", "small_answer", "small_confidence")
NUMBERS = {"score": float, "cost": float, "small_confidence": float}


class ServedPolicy(PythonModel):
    """Predicts `label` (or `summary`), `expert`, `score`, `cost`, `reason`, ... for a frame with a `text` column.

    A request says how much it may cost: `max_usd` dollars, below 0 without a limit. By default that is nothing: then
    nobody expensive is asked, `expert` is who should answer, and a row that goes beyond the small one has no answer.
    What the small expert was not asked, or does not state, is missing (None, NaN). Paid answers are kept in the folder
    that the environment variable ASKLESS_ANSWERS names, else as long as the process lives.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle, its networks too: the first request should not wait for them."""
        from askless.bundles.bundle import Bundle

        self.folder = Path(context.artifacts["bundle"])
        self.bundle = Bundle.load(self.folder)
        self.policy = self.bundle.policy
        self.experts: dict[str, Any] = {}
        self.lock = threading.Lock()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answers within `share` of rows or `per_1000` items' cost (negative: the policy's own rule), and `max_usd`.

        What is wrong with a request is MLflow's own error, so that a server says it with HTTP 400 in one sentence.
        """
        from askless.errors import AsklessError

        try:
            return self._told(model_input["text"].tolist(), dict(params or {}))
        except AsklessError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from error

    def _told(self, texts: list[str], given: dict[str, Any]) -> pd.DataFrame:
        from askless.bundles.decide import decide
        from askless.policies.base import Budget

        most = given.pop("max_usd", 0.0)
        given = {k: v for k, v in given.items() if v >= 0}
        budget = Budget(**given) if given else None
        told = {name: list(values) for name, values in vars(decide(self.bundle, texts, budget)).items()}
        stays = [name == self.bundle.experts[0] for name in told["expert"]]
        told["answer"] = [said if kept else None for said, kept in zip(told["small_answer"], stays, strict=True)]
        told |= {"cost": [0.0] * len(texts), "reason": ["kept" if kept else "deferred" for kept in stays]}
        if most:
            with self.lock:
                told |= self._answered(texts, budget, None if most < 0 else most)
        name = "label" if self.bundle.classes else "summary"
        told[name] = told.pop("answer")
        frame = {c: pd.Series(told[c], dtype=NUMBERS.get(c, object)) for c in (name, *COLUMNS)}
        return pd.DataFrame(frame)

    def _answered(self, texts: list[str], budget: Any, most: float | None) -> dict[str, Any]:
        """What was answered, by whom, at which cost and why, the expensive experts asked within `most` dollars."""
        from askless.bundles.terms import Terms
        from askless.costs import CostModel
        from askless.data.stream import Chunk
        from askless.labelling.label import DeployedBundle, Labeller
        from askless.spending.guard import GuardedExpert
        from askless.spending.ledger import Ledger

        terms = Terms.read(self.folder)
        version = DeployedBundle(str(self.folder), "0", self.bundle, terms)
        names = version.bundle.experts[1:]
        if not self.experts:
            kept = Path(os.environ.get(ANSWERS) or tempfile.mkdtemp(prefix="askless-"))
            self.experts = {name: terms.expert(name, kept) for name in names}
        with Ledger(limit=most) as ledger:
            expensive = {name: GuardedExpert(self.experts[name], CostModel.of(terms.costs), ledger) for name in names}
            rows = Labeller(version, budget, expensive).rows(Chunk(0, 1, [None] * len(texts), list(texts)))
        return {name: rows[name].to_pylist() for name in ("answer", "expert", "score", "cost", "reason")}


mlflow.models.set_model(ServedPolicy())
