"""A recalibration as a person reviews it: the new bundle, the difference to the old one, a page of reasons."""

from __future__ import annotations

import difflib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.bundles.bundle import FILE, Bundle, as_json
from askless.bundles.decide import decide
from askless.files import replacing_folder, write_text
from askless.monitoring import baseline
from askless.monitoring.drift import WindowCheck, asked
from askless.monitoring.recalibration import Recalibration
from askless.policies.base import Budget

BUNDLE, DIFFERENCE, REASONS = "bundle", "bundle.diff", "reasons.md"
OUT_OF_REACH = 0.05


def write(folder: Path, champion: Bundle, rows: pa.Table, found: Recalibration, page: str) -> Path:
    """Write a proposal into `folder`, all of it or nothing, beside what stands there already.

    `champion` is the bundle of the version in service. `rows` are the window's, with their texts: what the new version
    is held against from now on.
    """
    assert champion.folder is not None
    with replacing_folder(folder) as part:
        new = Path(shutil.copytree(champion.folder, part / BUNDLE))
        old = (champion.folder / FILE).read_text(encoding="utf-8")
        text = changed(old, found.after, folder.name)
        write_text(new / FILE, text)
        meta = {"agree_from": baseline.agree_from(baseline.read(champion.folder))}
        kept = redecided(champion, rows, Budget(share=found.after))
        baseline.write(new, schema.with_meta(kept, "baseline", meta))
        # The operating point of the version in service may stand in the registry alone.
        write_text(part / DIFFERENCE, difference(changed(old, found.before), text))
        write_text(part / REASONS, page)
    return folder


def changed(text: str, share: float | None, on: str = "") -> str:
    """A text of bundle.json with this budget, and the rows it was set on."""
    about = json.loads(text)
    about["facts"] |= {"budget": share, **({"recalibrated_on": on} if on else {})}
    return as_json(about)


def difference(old: str, new: str) -> str:
    """The unified difference of two texts of bundle.json."""
    before, after = (text.splitlines(keepends=True) for text in (old, new))
    return "".join(difflib.unified_diff(before, after, f"champion/{FILE}", f"proposed/{FILE}"))


def redecided(bundle: Bundle, rows: pa.Table, budget: Budget) -> pa.Table:
    """Rows of the log, with their texts, as `budget` would have had them decided; the texts are taken out.

    Who is newly asked costs the mean of those who were; errors are those of the latter alone.
    """
    decided = decide(bundle, rows["text"].to_pylist(), budget)
    small, before = bundle.experts[0], asked(rows)
    now = np.array([name != small for name in decided.expert], bool)
    paid = np.array(rows["paid"].to_numpy(zero_copy_only=False), float)
    mean = float(np.nanmean(paid)) if before.any() else 0.0
    cost = rows["cost"].to_numpy() + np.where(now & ~before, mean, 0.0) - np.where(before & ~now, paid, 0.0)
    columns = {
        "expert": pa.array(decided.expert, pa.string()),
        "asked": pa.array(
            [[] if name == small else [name] for name in decided.expert], rows.schema.field("asked").type
        ),
        "score": pa.array(decided.score, pa.float64()),
        "cost": pa.array(np.maximum(cost, 0.0)),
        "text": pa.nulls(rows.num_rows, pa.string()),
    }
    for name, values in columns.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


def reasons(look: WindowCheck, found: Recalibration, window: pa.Table, model: str, unit: str) -> str:
    """One page for whoever decides on it: what was seen, what is proposed, what it costs, what to do."""
    more = 1000 * float(pc.mean(window["paid"]).as_py() or 0.0) * (found.held - found.drifted)
    before = "its own rule" if found.before is None else f"`{found.before:g}`"
    now = f"{_percent(found.drifted)} of these rows go to an expensive expert as it works now"
    return (
        f"# Version {look.version} of {model}: an operating point set anew\n\n"
        f"**Proposed: `budget` {before} -> `{found.after:g}`.** At calibration {_percent(found.kept)} of the rows were "
        f"deferred; {now}, {_percent(found.held)} by the one proposed: {abs(more):.3g} {unit} "
        f"{'more' if more > 0 else 'less'} per 1,000 items.\n\n"
        f"## What was seen\n\n{look.markdown(unit)}\n"
        f"## Why this operating point\n\n{_why(found)}\n\n"
        "## What it does not do\n\n"
        "It learns nothing: the small expert and the policy are those of the version in service. Items that changed "
        "may be harder, and the figures of the evaluation are of rows as they were. Label some of them and train "
        "again. The new version is held against these rows from then on: what is normal now raises no alarm.\n\n"
        "## To decide\n\n"
        f"Nothing was changed. The difference is in `{DIFFERENCE}`, the version in `{BUNDLE}` and the registry.\n\n"
        f"```\naskless models {model}\naskless promote {model} VERSION --by-hand --reason TEXT\n```\n"
    )


def _why(found: Recalibration) -> str:
    if found.goal == "share" and abs(found.held - found.kept) > OUT_OF_REACH:
        return (
            "**No operating point defers the share of calibration again:** the scores of too many rows lie beyond "
            "all that were seen at calibration. This one comes nearest. Train again."
        )
    share = f"A budget of `{found.for_share:g}` defers the share of calibration again"
    if found.certificate is None:
        few = f"There are {found.audited:,} audited rows, too few to go by what the two experts agree on"
        return f"{share}. {few}, or it tells nothing of quality, as with summaries."
    limit = (
        f"with {100 * found.certificate.confidence:g} % confidence, that at most {_percent(found.certificate.limit)} "
        "of the rows get the small expert's answer though the reference disagrees (at calibration "
        f"{_percent(found.lost)}, and the margin)"
    )
    if found.goal == "agreement":
        return (
            f"The {found.audited:,} audited rows promise, {limit}. {share}; it is not needed, or not enough, for that."
        )
    needed = f" It would take about {found.certificate.needed:,}." if found.certificate.needed else ""
    return f"The {found.audited:,} audited rows cannot promise, {limit}.{needed} {share}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
