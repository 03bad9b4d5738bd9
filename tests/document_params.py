"""The small setting of the pipeline's tests for a task of summaries."""

from __future__ import annotations

from typing import Any

from tests.pipeline import small_params

TASK, DOCUMENTS = "xsum", 300


def document_params(**changes: Any) -> dict[str, Any]:
    """`small_params` of the task of generated documents; `changes` are keys of that task."""
    params = small_params(TASK)
    params["tasks"][TASK] |= {
        "source": {"kind": "demo-documents", "rows": DOCUMENTS, "seed": 3},
        "vectors": {"kind": "demo", "rows": 500, "seed": 4, "dim": 20},
        "checks": {"rows_min": 100, "summary_chars_max": 200},
        **changes,
    }
    return params
