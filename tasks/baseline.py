"""The baseline of a bundle that is about to be registered: what its decisions in production are held against."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from askless import config, schema
from askless.bundles import bundle
from askless.costs import CostModel
from askless.experts.checked_summaries import CheckedSummaries
from askless.monitoring import baseline
from askless.monitoring.recalibration import budget_at
from askless.panel import Answering, Panel
from askless.registry.held_out import HeldOut


def add_baseline(settings: config.Params, name: str, folder: Path, share: float | None) -> Path | None:
    """Decide the valid split by the bundle in `folder`, deferring `share`, and the answers on record; write that there.

    One that is there stays. None where the pipeline's data are not at hand, or have no valid split: then the first
    window of decisions will be the baseline.
    """
    data = settings.base.data
    examples = data / "prepared" / name / "examples.parquet"
    if (folder / baseline.FILE).exists():
        return folder / baseline.FILE
    loaded = bundle.load(folder)
    if loaded.small is None or not examples.exists():
        return None
    rows = schema.rows_in(schema.read(examples, "examples", classes=loaded.classes), "valid")
    if not rows.num_rows:
        return None
    small, *expensive = loaded.policy.experts
    own: Answering = loaded.small if loaded.classes else CheckedSummaries(loaded.small)
    held_out = HeldOut(name, settings, rows, data)
    pool: dict[str, Answering] = {small: own, **{expert: held_out.answers(expert) for expert in expensive}}
    panel = Panel(rows, pool, CostModel.of(settings.costs), loaded.classes)
    reference = settings.evaluate[name].reference
    found = baseline.baseline(
        loaded.policy,
        panel,
        budget_at(share, loaded.policy),
        reference if reference in expensive else expensive[-1],
        task=name,
        time=datetime.now(UTC),
    )
    return baseline.write(folder, found)
