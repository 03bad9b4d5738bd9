"""Prefect tasks: thin adapters from paths and plain values to `askless`, and back to paths."""

from __future__ import annotations

from typing import Any

from askless.errors import AsklessError


def worth_a_retry(task: Any, run: Any, state: Any) -> bool:
    """Whether a failed task run may do better again: not where the input itself is at fault."""
    try:
        state.result()
    except AsklessError:
        return False
    except Exception:
        return True
    return False
