"""The cost-quality curve and the reliability plot as PNG pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = ("#1257c4", "#c2570c", "#0b8074", "#8b3fb5", "#b8235f", "#66750a")
GREY, INK = "#6b7480", "#20262e"
DPI = 150
UNSTATED = "No expert here states a probability of being right."


def curve(series: Sequence[Mapping[str, Any]], quality: str, unit: str) -> bytes:
    """The curves of `rows.curve_series` as a PNG: cost against quality x 100, the headline with its band.

    `quality` and `unit` are the words at the axes.
    """
    from matplotlib.figure import Figure

    picture = Figure(figsize=(8, 4.8), layout="constrained")
    axes = picture.add_subplot()
    coloured, shapes = iter(COLOURS * len(series)), iter("osD^vPX*" * len(series))
    top = 100 * max(p["quality"] for one in series for p in one["points"])
    ends = [one["points"][0] for one in series if one["role"] in ("small", "reference")]
    drawn = [p for one in series if one["line"] and one["shown"] for p in one["points"]] + ends
    floor = 100 * min(p["quality"] for p in drawn or [p for one in series for p in one["points"]])
    right = max(p["cost"] for one in series for p in one["points"])
    floor -= max(1.5, 0.08 * (top - floor))
    for one in series:
        if one["line"] and one["shown"]:
            _draw(axes, one, GREY if one["role"] == "bound" else next(coloured), right)
    if len(ends) == 2:
        xs, ys = zip(*((p["cost"], 100 * p["quality"]) for p in ends), strict=True)
        axes.plot(xs, ys, ":", color=GREY, linewidth=1, label="random mix")
    for one in series:
        if not one["line"]:
            x, y = one["points"][0]["cost"], 100 * one["points"][0]["quality"]
            name = _literal(one["label"]) + (f" ({y:.1f}, below)" if y < floor else "")
            axes.plot([x], [max(y, floor)], next(shapes), color=INK, label=name, clip_on=False, zorder=3)
    axes.set_ylim(floor, None)
    axes.set_xlabel(_literal(unit))
    axes.set_ylabel(_literal(quality))
    axes.spines[["top", "right"]].set_visible(False)
    picture.legend(frameon=False, fontsize=8, loc="outside right upper")
    return _png(picture)


def reliability(bins: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Stated confidence against accuracy, one small plot for each model, as a PNG.

    A model's bins are `confidence`, `accuracy`, `count` and `ece`; those of its calibrated confidence, where given
    under `after`, are drawn beside them. Without any model the picture says so.
    """
    from matplotlib.figure import Figure

    if not bins:
        picture = Figure(figsize=(5, 1))
        picture.text(0.5, 0.5, UNSTATED, ha="center", va="center", color=GREY, fontsize=9)
        return _png(picture)
    columns = min(4, len(bins))
    lines = math.ceil(len(bins) / columns)
    picture = Figure(figsize=(2.4 * columns + 0.6, 2.5 * lines + 0.3), layout="constrained")
    grid = picture.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(bins) :]:
        axes.set_axis_off()
    for axes, (name, one) in zip(grid, bins.items(), strict=False):
        shown = [one, one["after"]] if one.get("after") else [one]
        axes.plot([0, 100], [0, 100], ":", color=GREY, linewidth=1)
        for part, label, colour, symbol in zip(shown, ("stated", "calibrated"), COLOURS, "os", strict=False):
            _bins(axes, part, label, colour, symbol)
        if len(shown) == 2:
            axes.legend(frameon=False, fontsize=7, loc="upper left", borderpad=0.1, handletextpad=0.1)
        error = " → ".join(f"{100 * part['ece']:.1f}" for part in shown)
        axes.set_title(f"{_literal(name)}: ECE {error} %", fontsize=9)
        axes.set(aspect="equal", xlim=(-8, 108), ylim=(-8, 108), xticks=[0, 50, 100], yticks=[0, 50, 100])
        axes.tick_params(labelbottom=True)
    picture.supxlabel("stated confidence (%)", fontsize=9)
    picture.supylabel("accuracy (%)", fontsize=9)
    return _png(picture)


def _bins(axes: Any, one: Mapping[str, Any], label: str, colour: str, symbol: str) -> None:
    total = max(1, sum(one["count"]))
    axes.scatter(
        [100 * v for v in one["confidence"]],
        [100 * v for v in one["accuracy"]],
        s=[8 + 160 * n / total for n in one["count"]],
        label=label,
        color=colour,
        marker=symbol,
        alpha=0.75,
    )


def _draw(axes: Any, one: Mapping[str, Any], colour: str, right: float) -> None:
    points = one["points"]
    xs, ys = [p["cost"] for p in points], [100 * p["quality"] for p in points]
    main = one["role"] == "headline"
    style = "--" if one["role"] == "bound" else "-"
    if one["role"] == "bound":
        xs, ys = [*xs, max(right, xs[-1])], [*ys, ys[-1]]
    axes.plot(xs, ys, style, color=colour, linewidth=2.4 if main else 1.3, label=_literal(one["label"]))
    if main and all(p["low"] is not None for p in points):
        low, high = ([100 * p[side] for p in points] for side in ("low", "high"))
        axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)


def _literal(text: str) -> str:
    # A dollar sign would open a formula, and matplotlib hides a leading underscore from its legends.
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def _png(picture: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(picture)
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    picture.clear()
    return buffer.getvalue()
