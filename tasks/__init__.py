"""Prefect tasks: thin adapters from paths and plain values to `deferral`, and back to paths."""

from __future__ import annotations

from typing import Any

from deferral.config import Task
from deferral.errors import ConfigError, DeferralError


def require_classes(name: str, task: Task, stage: str) -> None:
    """Raise `ConfigError` for a task of summaries at a stage that knows classes only."""
    if task.kind != "classification":
        raise ConfigError(
            f"Stage '{stage}' got task '{name}' of kind '{task.kind}'. Allowed so far: classification. "
            "Run prepare, embed and generate for it, and compare its summaries with the policies in Python."
        )


def worth_a_retry(task: Any, run: Any, state: Any) -> bool:
    """Whether a failed task run may do better again: not where the input itself is at fault."""
    try:
        state.result()
    except DeferralError:
        return False
    except Exception:
        return True
    return False
