"""The registered model: a bundle that says who should answer each text (MLflow models from code)."""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedPolicy(PythonModel):
    """Predicts `expert`, `small_answer`, `small_confidence`, `score` for a frame with a `text` column.

    What the small expert was not asked, or does not state, is missing (None, NaN).
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle."""
        from deferral import bundle

        self.policy = bundle.load(context.artifacts["bundle"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Who should answer, within `share` of rows or `per_1000` items' cost (negative: the policy's own rule)."""
        from deferral.assign import assign
        from deferral.policies.base import Budget

        given = {k: v for k, v in (params or {}).items() if v >= 0}
        assigned = assign(self.policy, model_input["text"].tolist(), Budget(**given) if given else None)
        return pd.DataFrame(vars(assigned)).astype({"small_confidence": float, "score": float})


mlflow.models.set_model(ServedPolicy())
