"""A task of summaries beside the small setting of the pipeline's tests."""

from __future__ import annotations

from typing import Any

from tests.pipeline import small_params

TASK, DOCUMENTS = "news", 300


def document_params(**changes: Any) -> dict[str, Any]:
    """`small_params` with a task of generated documents called `news`; `changes` are keys of that task."""
    params = small_params()
    params["tasks"][TASK] = {
        "kind": "summarisation",
        "source": {"kind": "demo-documents", "rows": DOCUMENTS, "seed": 3},
        "vectors": {"kind": "demo", "rows": 500, "seed": 4, "dim": 20},
        "split": {"train": 0.6, "valid": 0.15, "test": 0.25},
        "prompt": "demo-xsum",
        "max_chars": 8000,
        "empty_text": "drop",
        "checks": {"rows_min": 100, "summary_chars_max": 200},
        **changes,
    }
    return params
