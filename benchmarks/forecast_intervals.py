"""Whether the interval of a forecast is worth its lines: how often it holds the bill, beside that of a plain bootstrap.

    python -m benchmarks.forecast_intervals [--runs 500]

2,000 rows of a made world, of which some were answered and are on record; the bill is that of all others. One reply in
a hundred is as long as is allowed. The plain bootstrap draws answers on record again and takes percentiles of their
mean; beside it stand what a library has, BCa, and a line in the size of the text, with Student's t.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import bootstrap, linregress, t

from askless.arrays import Floats
from askless.config import Price
from askless.spending.forecast import forecast
from askless.spending.usage import Usage

ROWS, LONGEST = 2000, 128
PRICE = Price(usd_per_1m_prompt_tokens=1.0, usd_per_1m_completion_tokens=4.0)


def world(sizes: Floats, rng: np.random.Generator) -> Floats:
    """What an answer to a text of each size takes, as `forecast` learns it."""
    prompt = np.round(40 + 0.25 * sizes * rng.uniform(0.9, 1.1, ROWS))
    written = np.where(rng.random(ROWS) < 0.01, LONGEST, rng.integers(2, 8, ROWS))
    return np.column_stack([prompt, written, *[np.full(ROWS, np.nan)] * 2])


def both(sizes: Floats, kept: int, rng: np.random.Generator) -> list[tuple[bool, float]]:
    """Whether each interval holds the bill, and its width as a share of it: plain, BCa, line, `forecast`."""
    used, order = world(sizes, rng), rng.permutation(ROWS)
    usd, on_record, rest = used[:, :2] @ [1e-6, 4e-6], order[:kept], order[kept:]
    means = usd[on_record][rng.integers(0, kept, (1000, kept))].mean(axis=1)
    low, high = len(rest) * np.quantile(means, [0.025, 0.975])
    better = bootstrap((usd[on_record],), np.mean, n_resamples=999, random_state=rng).confidence_interval
    line = linregress(sizes[on_record], usd[on_record])
    middle, n = sizes[on_record].mean(), len(rest)
    spread = np.std(usd[on_record] - line.intercept - line.slope * sizes[on_record], ddof=2)
    off = np.hypot(line.stderr * (sizes[rest].mean() - middle), spread * np.sqrt(1 / kept + 1 / n))
    value = n * (line.intercept + line.slope * sizes[rest].mean())
    half = n * off * t.ppf(0.975, kept - 2)
    usage = Usage.bound(200, LONGEST).learnt(sizes[on_record], used[on_record])
    found = forecast("llm", usage, sizes[rest], price=PRICE).usd
    bill = usd[rest].sum()
    ends = ((low, high), (n * better.low, n * better.high), (value - half, value + half), (found.low, found.high))
    return [(a <= bill <= b, (b - a) / bill) for a, b in ends]


def main() -> None:
    """Print a line for each kind of sizes and number of answers on record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    runs, rng = parser.parse_args().runs, np.random.default_rng(0)
    for kind in ("even", "log-normal", "Pareto"):
        for kept in (30, 64, 500):
            found = []
            for _ in range(runs):
                draws = {
                    "even": rng.uniform(100, 900, ROWS),
                    "log-normal": 300 * rng.lognormal(size=ROWS),
                    "Pareto": 200 * (1 + rng.pareto(2.2, ROWS)),
                }
                found.append(both(draws[kind].round(), kept, rng))
            ways = zip(("plain", "BCa", "line", "forecast"), np.mean(found, axis=0), strict=True)
            print(f"{kind}, {kept}: " + ", ".join(f"{way} {held:.3f} (width {wide:.2f})" for way, (held, wide) in ways))


if __name__ == "__main__":
    main()
