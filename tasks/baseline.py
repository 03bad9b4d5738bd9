"""The baseline of a bundle that is about to be registered: what its decisions in production are held against."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from askless import config, schema
from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.experts.checked_summaries import CheckedSummaries
from askless.monitoring import baseline
from askless.panel import Answering, Panel
from askless.registry.held_out import HeldOut


def add_baseline(settings: config.Params, bundle: Bundle, share: float | None) -> Path | None:
    """Decide the valid split by a bundle, deferring `share`, and the answers on record; write that into its folder.

    One that is there stays. None where the pipeline's data are not at hand, or have no valid split: then the first
    window of decisions will be the baseline.
    """
    folder, name, data = bundle.folder, bundle.task, settings.base.data
    assert folder is not None
    examples = data / "prepared" / name / "examples.parquet"
    if (folder / baseline.FILE).exists():
        return folder / baseline.FILE
    if bundle.small is None or not examples.exists():
        return None
    rows = schema.rows_in(schema.read(examples, "examples", classes=bundle.classes), "valid")
    if not rows.num_rows:
        return None
    small, *expensive = bundle.experts
    own: Answering = bundle.small if bundle.classes else CheckedSummaries(bundle.small)
    held_out = HeldOut(name, settings, rows, data)
    pool: dict[str, Answering] = {small: own, **{expert: held_out.answers(expert) for expert in expensive}}
    panel = Panel(rows, pool, CostModel.of(settings.costs), bundle.classes)
    reference = settings.evaluate[name].reference
    found = baseline.baseline(
        bundle.policy,
        panel,
        bundle.budget(share),
        reference if reference in expensive else expensive[-1],
        task=name,
        # Not the clock's: made again, it is the same.
        time=datetime.fromtimestamp(0, UTC),
    )
    return baseline.write(folder, found)
