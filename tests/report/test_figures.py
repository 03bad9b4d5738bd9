from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from askless.report import figures
from askless.stats.calibration import transform
from askless.stats.reliability import Reliability, reliability


@pytest.fixture
def drawn(monkeypatch):
    """Titles and legends of every plot, taken down as they are drawn."""
    found = {"titles": [], "legends": []}

    def title(axes, text, **_):
        found["titles"].append(text)

    def legend(axes, **_):
        found["legends"].append(axes.get_legend_handles_labels()[1])

    monkeypatch.setattr(Axes, "set_title", title)
    monkeypatch.setattr(Axes, "legend", legend)
    return found


def bins(found: Reliability) -> dict[str, Any]:
    """Bins as the report's figures have them."""
    return {"confidence": found.confidence, "accuracy": found.accuracy, "count": found.count, "ece": found.ece}


def test_the_reliability_plot_shows_before_and_after_where_both_are_given(drawn):
    p = -np.expm1(-np.random.default_rng(0).exponential(3, 1000))
    right = np.random.default_rng(1).random(1000) < 1 / (1 + np.exp(1 - transform(p) / 2))
    found = [bins(reliability(each, right)) for each in (p, p**2)]
    before, after = (100 * each["ece"] for each in found)
    picture = figures.reliability({"both": {**found[0], "after": found[1]}, "one": found[0]})
    assert picture.startswith(b"\x89PNG")
    assert drawn["titles"] == [f"both: ECE {before:.1f} → {after:.1f} %", f"one: ECE {before:.1f} %"]
    assert drawn["legends"] == [["stated", "calibrated"]]


def test_a_picture_says_that_there_is_no_confidence_to_show(monkeypatch):
    said = []
    monkeypatch.setattr(Figure, "text", lambda _, x, y, text, **__: said.append(text))
    assert figures.reliability({}).startswith(b"\x89PNG")
    assert said == ["No expert here states a probability of being right."]


def test_the_axis_of_a_curve_is_named_as_given(monkeypatch):
    said = []
    monkeypatch.setattr(Axes, "set_ylabel", lambda _, text: said.append(text))
    point = {"cost": 1.0, "quality": 0.2, "low": None, "high": None, "rate": 0.0, "budget": 0.0}
    one = {"name": "a", "label": "a", "role": "other", "line": False, "shown": True, "points": [point]}
    figures.curve([one], "ROUGE-L F", "$ per 1,000 items")
    assert said == ["ROUGE-L F"]
