"""The dial of a version set anew, so that on the rows of now it keeps what it kept on those it was calibrated on.

A version decides at the share of rows that its bundle names as `budget`, met exactly where it was calibrated. On other
rows the same thresholds defer another share. What is set anew is that one number, whatever the policy: its thresholds
follow from it, and a person can read the difference.
"""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deferral import bundle, monitoring, schema, shift
from deferral.assign import assign
from deferral.errors import DataError
from deferral.guarantees import Certificate, certify_quality
from deferral.panel import Bools
from deferral.policies.base import Budget

CALIBRATION = "calibration.parquet"
STEPS = 12
DIALS = 21


@dataclass(frozen=True)
class Recalibration:
    """A new dial, and why.

    `goal` is "agreement" where the audited rows certify that the small expert answers wrongly, by the reference, no
    more often than it did, else "share". `before` is the dial as it was (None: the policy's own rule), `after` as
    proposed; `kept` the share deferred at calibration, `drifted` that of the rows of now by the dial before, `held` by
    the one after. `certificate` is what the audited rows said, None where there were too few or none can say.
    """

    goal: str
    before: float | None
    after: float
    kept: float
    drifted: float
    held: float
    rows: int
    certificate: Certificate | None


def budget_of(facts: Mapping[str, Any]) -> Budget | None:
    """The operating point that a bundle's facts name, a share of the rows; None: the policy decides by its own rule."""
    share = facts.get("budget")
    return None if share is None else Budget(share=float(share))


def recalibrate(
    loaded: bundle.Loaded,
    facts: Mapping[str, Any],
    calibration: pa.Table,
    window: pa.Table,
    audits: pa.Table,
    texts: Mapping[str, str],
    *,
    margin: float,
    confidence: float,
) -> Recalibration:
    """The dial that keeps, on the rows of `window`, the share deferred at calibration, or where audits allow the agreement.

    `texts` are those of the rows by id. The agreement is kept where, with `confidence`, the share of rows that the small
    expert answers other than the reference is at most `margin` above that at calibration. Nobody dear is asked. Raises
    `DataError` where texts are missing, `ConfigError` for a policy that must hear a dear expert before it decides.
    """
    told = [texts[name] for name in window["id"].to_pylist() if name in texts]
    if len(told) < max(shift.FEWEST, 0.9 * window.num_rows):
        got = f"the texts of {len(told)} of {window.num_rows} rows"
        raise DataError("window", got, "those of nine in ten", "Keep data/answered until the monitor has run.")
    kept = float(monitoring.asked(calibration).mean())
    before = budget_of(facts)
    share = dial(loaded, told, kept)
    certificate, safe = agreement(loaded, calibration, audits, texts, margin, confidence)
    after = share if safe is None else safe
    drifted, held = (float(deferred(loaded, told, b).mean()) for b in (before, Budget(share=after)))
    goal = "share" if safe is None else "agreement"
    return Recalibration(
        goal, before.value if before else None, after, kept, drifted, held, len(told), certificate
    )


def deferred(loaded: bundle.Loaded, texts: Sequence[str], budget: Budget | None) -> Bools:
    """Which texts would go to a dear expert, shape (texts,)."""
    small = loaded.policy.experts[0]
    return np.array([name != small for name in assign(loaded, list(texts), budget).expert])


def dial(loaded: bundle.Loaded, texts: Sequence[str], share: float) -> float:
    """The nominal share at which as near as can be to `share` of these texts is deferred, by bisection."""
    tried: dict[float, float] = {}

    def off(at: float) -> float:
        tried[at] = float(deferred(loaded, texts, Budget(share=at)).mean()) - share
        return tried[at]

    low, high = 0.0, 1.0
    if off(low) < 0 < off(high):
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if off(middle) < 0 else (low, middle)
    return min(tried, key=lambda at: (abs(tried[at]), at))


def agreement(
    loaded: bundle.Loaded,
    calibration: pa.Table,
    audits: pa.Table,
    texts: Mapping[str, str],
    margin: float,
    confidence: float,
) -> tuple[Certificate | None, float | None]:
    """What the audited rows certify of a row of dials, from everybody deferred on, and the cheapest that passed.

    A row is lost that is kept although the two experts disagree on it. Nothing is said of summaries, on which to
    disagree is no fault.
    """
    audits = audits.filter(pc.is_valid(audits["agree"]))
    audits = audits.filter(pc.is_in(audits["id"], pa.array(list(texts), pa.string())))
    rows = calibration.filter(pc.is_valid(calibration["agree"]))
    if not loaded.classes or min(audits.num_rows, rows.num_rows) < shift.FEWEST:
        return None, None
    lost = float((~_agree(rows) & ~monitoring.asked(rows)).mean())
    told = [texts[name] for name in audits["id"].to_pylist()]
    dials = np.linspace(1, 0, DIALS)
    sent = np.stack([deferred(loaded, told, Budget(share=float(at))) for at in dials])
    good = sent | _agree(audits)
    eps = min(lost + margin, 1 - 1e-9)
    if eps <= 0:
        return None, None
    certificate = certify_quality(good, np.ones(len(told)), sent.astype(float), eps, confidence)
    return certificate, None if certificate.index is None else float(dials[certificate.index])


def propose(
    folder: Path, champion: Path, found: Recalibration, rows: pa.Table, loaded: bundle.Loaded, reasons: str
) -> Path:
    """Write the proposal into `folder`, all of it or nothing: the new bundle, the difference to the old, the reasons.

    `rows` are the window's, with their texts: they become what the new version is held against.
    """
    with schema.replacing_folder(folder) as part:
        new = shutil.copytree(champion, part / "bundle")
        old = (champion / bundle.ABOUT).read_text(encoding="utf-8")
        about = json.loads(old)
        about["facts"] |= {"budget": round(found.after, 6), "recalibrated_on": folder.name}
        text = json.dumps(about, indent=1, sort_keys=True) + "\n"
        schema.write_text(new / bundle.ABOUT, text)
        write_calibration(new, redecided(loaded, rows, Budget(share=found.after)), read_calibration(champion))
        schema.write_text(part / "bundle.diff", difference(old, text))
        schema.write_text(part / "reasons.md", reasons)
    return folder


def difference(old: str, new: str) -> str:
    """The unified difference of two texts of bundle.json."""
    lines = [text.splitlines(keepends=True) for text in (old, new)]
    return "".join(difflib.unified_diff(*lines, "champion/bundle.json", "proposed/bundle.json"))


def redecided(loaded: bundle.Loaded, rows: pa.Table, budget: Budget) -> pa.Table:
    """Rows of the log, with their texts, as `budget` would have had them decided: who would be asked, by which score."""
    assigned = assign(loaded, rows["text"].to_pylist(), budget)
    small = loaded.policy.experts[0]
    columns = {
        "expert": pa.array(assigned.expert, pa.string()),
        "asked": pa.array([[] if name == small else [name] for name in assigned.expert], rows["asked"].type),
        "score": pa.array(assigned.score, pa.float64()),
    }
    for name, values in columns.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


def write_calibration(folder: Path, rows: pa.Table, like: pa.Table | None = None) -> Path:
    """Put the rows that later ones are held against into a bundle's folder, with the metadata of `like`."""
    rows = rows.drop_columns("text").append_column("text", pa.nulls(rows.num_rows, pa.string()))
    meta = schema.meta_of(rows if like is None else like)
    with schema.replacing(folder / CALIBRATION) as part:
        pq.write_table(schema.with_meta(rows, "calibration", meta), part, compression="zstd")
    return folder / CALIBRATION


def read_calibration(folder: Path) -> pa.Table | None:
    """The rows that a bundle was calibrated on, as the log has them; None where none are with it."""
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(path, f"unreadable ({error})", "the file as it was written", "Register the model again.") from error


def _agree(rows: pa.Table) -> Bools:
    return np.asarray(rows["agree"].to_numpy(zero_copy_only=False), bool)
