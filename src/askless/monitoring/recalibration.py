"""A version's operating point set anew, so that it keeps on the rows of now what it kept where it was calibrated.

A version decides at the share of rows that its bundle names as `budget`, met exactly where it was calibrated. On other
rows the same thresholds defer another share. What is set anew is that one number, whatever the policy: its thresholds
follow from it, and a person can read the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless.arrays import Bools
from askless.bundles.bundle import Bundle
from askless.bundles.decide import decide
from askless.errors import DataError
from askless.monitoring.drift import asked
from askless.policies.base import Budget
from askless.stats import shift
from askless.stats.guarantees import Certificate, certify_quality

STEPS, POINTS = 12, 21
DIGITS = 4
ENOUGH_TEXTS = 0.9


@dataclass(frozen=True)
class Recalibration:
    """A new operating point, and why.

    Parameters
    ----------
    goal
        "agreement" where the audited rows certify how often the small expert answers other than the reference, else
        "share".
    before, after
        The budget, a share of items from 0 to 1, as it is (None: the policy's own rule) and as proposed.
    for_share
        The one that keeps the share deferred.
    kept, drifted, held
        The share deferred at calibration, and of the `rows` of now at the budget before and after.
    rows
        How many rows of now were decided.
    lost
        The share of rows at calibration that stayed with the small expert and on which the reference disagrees.
    audited, certificate
        How many rows of now tell of that, and what they certify; None where they are too few.
    """

    goal: str
    before: float | None
    after: float
    for_share: float
    kept: float
    drifted: float
    held: float
    rows: int
    lost: float
    audited: int
    certificate: Certificate | None


def recalibrate(
    bundle: Bundle,
    budget: Budget | None,
    baseline: pa.Table,
    window: pa.Table,
    texts: Mapping[str, str],
    *,
    margin: float,
    confidence: float,
) -> Recalibration:
    """The share that keeps on `window` what was deferred at calibration, or where audits allow their agreement.

    Nobody expensive is asked.

    Parameters
    ----------
    bundle
        The version in service.
    budget
        At which it works now; None: its own rule.
    baseline, window
        Rows of the log at calibration and of now.
    texts
        Those of the window's rows, by id.
    margin
        Agreement is kept where the share of rows that stay with the small expert though the reference disagrees is at
        most so much above that at calibration, 0 to 1.
    confidence
        With which that must be certain, 0.5 to below 1.

    Returns
    -------
    Recalibration
        The share to defer from now on, and on what grounds.

    Raises
    ------
    DataError
        Where texts are missing.
    ConfigError
        For a policy that decides by what expensive experts answer.
    """
    given = [texts[name] for name in window["id"].to_pylist() if name in texts]
    if len(given) < max(shift.FEWEST, ENOUGH_TEXTS * window.num_rows):
        got = f"the texts of {len(given)} of {window.num_rows} rows"
        raise DataError("window", got, "those of nine in ten", "Keep the answered files until they are looked at.")
    kept = float(asked(baseline).mean())
    for_share = share_for(bundle, given, kept)
    lost, audits = _lost(baseline), _labelled(window, texts)
    certificate, safe = certified(bundle, audits, texts, lost + margin, confidence)
    after = for_share if safe is None else safe
    drifted, held = (float(deferred(bundle, given, b).mean()) for b in (budget, Budget(share=after)))
    return Recalibration(
        goal="share" if safe is None else "agreement",
        before=budget.share if budget else None,
        after=after,
        for_share=for_share,
        kept=kept,
        drifted=drifted,
        held=held,
        rows=len(given),
        lost=lost,
        audited=audits.num_rows,
        certificate=certificate,
    )


def deferred(bundle: Bundle, texts: Sequence[str], budget: Budget | None) -> Bools:
    """Which texts would go to an expensive expert, shape (texts,)."""
    small = bundle.experts[0]
    return np.array([name != small for name in decide(bundle, list(texts), budget).expert], bool)


def share_for(bundle: Bundle, texts: Sequence[str], share: float) -> float:
    """The budget at which as near as can be to `share` of these texts is deferred, found by bisection."""
    tried: dict[float, float] = {}

    def below(at: float) -> bool:
        tried[at] = float(deferred(bundle, texts, Budget(share=at)).mean()) - share
        return tried[at] < 0

    low, high = 0.0, 1.0
    if below(low) and not below(high):
        for _ in range(STEPS):
            middle = round((low + high) / 2, DIGITS)
            low, high = (middle, high) if below(middle) else (low, middle)
    return min(tried, key=lambda at: (abs(tried[at]), at))


def certified(
    bundle: Bundle, audits: pa.Table, texts: Mapping[str, str], limit: float, confidence: float
) -> tuple[Certificate | None, float | None]:
    """What audited rows certify of ever lower budgets, from everybody deferred on; the lowest of which they do.

    A row is lost that is kept although the two experts disagree on it; at most a share of `limit` may be. Of summaries
    nothing is certified, for to disagree is no fault there.
    """
    if not bundle.classes or audits.num_rows < shift.FEWEST or not 0 < limit < 1:
        return None, None
    given = [texts[name] for name in audits["id"].to_pylist()]
    points = np.linspace(1, 0, POINTS).round(DIGITS)
    sent = np.stack([deferred(bundle, given, Budget(share=float(at))) for at in points])
    found = certify_quality(sent | _agree(audits), np.ones(len(given)), sent.astype(float), limit, confidence)
    return found, None if found.index is None else float(points[found.index])


def _lost(baseline: pa.Table) -> float:
    rows = baseline.filter(pc.is_valid(baseline["agree"]))
    return float((~_agree(rows) & ~asked(rows)).mean()) if rows.num_rows else 0.0


def _labelled(rows: pa.Table, texts: Mapping[str, str]) -> pa.Table:
    """The audited rows on which both experts answered and whose text is at hand."""
    at_hand = pc.is_in(rows["id"], pa.array(list(texts), pa.string()))
    return rows.filter(pc.and_(pc.is_valid(rows["agree"]), at_hand))


def _agree(rows: pa.Table) -> Bools:
    return np.asarray(rows["agree"].to_numpy(zero_copy_only=False), bool)
