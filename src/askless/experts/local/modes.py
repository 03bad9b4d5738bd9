"""How a language model that runs here answers: by scoring label words, or by writing."""

from __future__ import annotations

from askless.errors import ExpertError
from askless.experts.base import Expert

MODES = ("auto", "label", "text")


def mode_of(expert: Expert) -> str:
    """`label` or `text`: as the expert's `mode` says, where it is `auto` by whether the task has classes."""
    asked: str = expert.mode  # type: ignore[attr-defined]
    automatic = "label" if expert.setting.classes else "text"
    return automatic if asked == "auto" else asked


def check_mode(expert: Expert) -> None:
    """Raise `ConfigError` for an unknown mode, `ExpertError` for labels that the task has not."""
    asked: str = expert.mode  # type: ignore[attr-defined]
    expert.require("mode", asked in MODES, ", ".join(MODES))
    if asked == "label" and not expert.setting.classes:
        raise ExpertError(
            f"Expert '{expert.name}': mode label got a task without classes. Allowed there: mode: auto or text. "
            "Change the mode, or leave it out."
        )
