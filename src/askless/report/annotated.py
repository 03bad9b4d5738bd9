"""The page of a file that was annotated: the promise, the bill, how it came about, where the two disagreed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from askless.files import write_text
from askless.report.report import environment

PAGE = "report.html"
WIDTH, HEIGHT = 640.0, 200.0


def write_page(folder: Path, facts: Mapping[str, Any], sentences: Sequence[str]) -> Path:
    """Write `report.html` into a run's folder; `facts` and `sentences` are those that the terminal has."""
    page = (
        environment("usd")
        .get_template("annotated.html.j2")
        .render(a=facts, sentences=sentences, curve=curve(facts["rounds"]))
    )
    return write_text(folder / PAGE, page)


def curve(rounds: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """The points of the small model's agreement over the texts asked, in the picture's own units."""
    most = max((each["asked"] for each in rounds), default=1)
    return [(WIDTH * each["asked"] / most, HEIGHT * (1 - each["agreement"])) for each in rounds]
