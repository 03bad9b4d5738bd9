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

ANSWERS, CEILING = "ASKLESS_ANSWERS", "ASKLESS_MAX_USD"
COLUMNS = ("expert", "score", "cost", "reason", "small_answer", "small_confidence")
NUMBERS = {"score": float, "cost": float, "small_confidence": float}


class ServedPolicy(PythonModel):
    """Predicts `label` (or `summary`), `expert`, `score`, `cost`, `reason`, ... for a frame with a `text` column.

    A request says how much it may cost: `max_usd` dollars, below 0 without a limit. By default that is nothing: then
    nobody expensive is asked, `expert` is who should answer, and a row that goes beyond the small one has no answer.
    All requests of a process together pay at most ASKLESS_MAX_USD dollars, an environment variable, whatever they say.
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
        self.lock, self.spent = threading.Lock(), 0.0

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answers within `share` of rows or `per_1000` items' cost (negative: as the bundle was set), and `max_usd`.

        What is wrong with a request is MLflow's own error, so that a server says it with HTTP 400 in one sentence.
        """
        from askless.errors import AsklessError

        try:
            return self._answer(model_input["text"].tolist(), dict(params or {}))
        except AsklessError as error:
            raise mlflow.MlflowException.invalid_parameter_value(str(error)) from error

    def _answer(self, texts: list[str], given: dict[str, Any]) -> pd.DataFrame:
        from askless.bundles.decide import decide
        from askless.policies.base import Budget

        limit = given.pop("max_usd", 0.0)
        given = {k: v for k, v in given.items() if v >= 0}
        budget = Budget(**given) if given else self.bundle.budget()
        columns = {name: list(values) for name, values in vars(decide(self.bundle, texts, budget)).items()}
        stays = [name == self.bundle.experts[0] for name in columns["expert"]]
        columns["answer"] = [own if kept else None for own, kept in zip(columns["small_answer"], stays, strict=True)]
        columns |= {"cost": [0.0] * len(texts), "reason": ["kept" if kept else "deferred" for kept in stays]}
        if limit:
            with self.lock:
                if limit := self._allowed(limit):
                    columns |= self._asked(texts, budget, None if limit < 0 else limit)
        name = "label" if self.bundle.classes else "summary"
        columns[name] = columns.pop("answer")
        return pd.DataFrame({c: pd.Series(columns[c], dtype=NUMBERS.get(c, object)) for c in (name, *COLUMNS)})

    def _allowed(self, limit: float) -> float:
        """What a request may pay of the dollars that it asks for, below 0 for no limit."""
        from askless.errors import ConfigError

        given = os.environ.get(CEILING, "").strip()
        try:
            left = max(float(given) - self.spent, 0.0) if given else -1.0
        except ValueError:
            allowed = "Allowed: dollars, such as 5. Correct it on the server."
            raise ConfigError(f"{CEILING} is {given!r}. {allowed}") from None
        return limit if left < 0 else left if limit < 0 else min(limit, left)

    def _asked(self, texts: list[str], budget: Any, limit: float | None) -> dict[str, Any]:
        """Answers, who gave them, at which cost and why, the expensive experts asked within `limit` dollars."""
        from askless.bundles.terms import of_bundle
        from askless.costs import CostModel
        from askless.labelling.answerer import Answerer, DeployedBundle
        from askless.spending.guard import GuardedExpert
        from askless.spending.ledger import Ledger

        version = DeployedBundle(str(self.folder), "0", self.bundle, of_bundle(self.bundle, None))
        if not self.experts:
            # They outlast the request, so that a model run here is loaded once.
            kept = Path(os.environ.get(ANSWERS) or tempfile.mkdtemp(prefix="askless-"))
            self.experts = {name: version.terms.expert(name, kept, live=True) for name in self.bundle.expensive}
        costs = CostModel.of(version.terms.costs)
        with Ledger(limit=limit) as ledger:
            expensive = {name: GuardedExpert(expert, costs, ledger) for name, expert in self.experts.items()}
            try:
                rows = Answerer(version, expensive, budget).answer(texts).rows
            finally:
                self.spent += ledger.spent + ledger.doubted
        return {name: rows[name].to_pylist() for name in ("answer", "expert", "score", "cost", "reason")}


mlflow.models.set_model(ServedPolicy())
