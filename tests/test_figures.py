import numpy as np
import pytest
from matplotlib.axes import Axes

from deferral import figures
from deferral.calibration import transform
from deferral.reliability import before_after


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


def test_the_reliability_plot_shows_before_and_after_where_both_are_given(drawn):
    p = -np.expm1(-np.random.default_rng(0).exponential(3, 1000))
    right = np.random.default_rng(1).random(1000) < 1 / (1 + np.exp(1 - transform(p) / 2))
    found = before_after(p, right)
    before, after = (100 * found[part]["ece"] for part in ("before", "after"))
    picture = figures.reliability({"both": {**found["before"], "after": found["after"]}, "one": found["before"]})
    assert picture.startswith(b"\x89PNG")
    assert drawn["titles"] == [f"both: ECE {before:.1f} → {after:.1f} %", f"one: ECE {before:.1f} %"]
    assert drawn["legends"] == [["stated", "calibrated"]]
