"""The page of a model that learns while it answers: what it spent, how it did, whom it asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from askless.files import write_text
from askless.report import learning
from askless.report.report import environment


def write_page(
    path: Path, name: str, facts: Mapping[str, Any], sentences: Sequence[str], course: Mapping[str, Any]
) -> Path:
    """Write the page of the model `name`; `facts` and `sentences` are those that the terminal has.

    `course` is that of `askless.labelling.live_course`, with its `budget` of 1,000 items; nothing for none.
    """
    panel = learning.charts({name: course}, course["budget"], {}) if course else None
    items = course["item"][-1] if course else 0
    page = environment("usd").get_template("live.html.j2")
    shown = {"panel": panel, "items": items, "budget": course.get("budget")}
    return write_text(path, page.render(name=name, facts=facts, sentences=sentences, **shown))
