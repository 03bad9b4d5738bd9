"""Whether new labels mean what those before did: the small expert that was trained last is asked about new rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from scipy.stats import fisher_exact

from askless import config, experts, schema
from askless.errors import AsklessError, DataError
from tasks.train import small_expert
from tasks.validation import last_of_same_source

FEWEST, MOST, LEVEL = 20, 2_000, 0.001


@task(cache_policy=NO_CACHE)
def check_labels(name: str, params: str, candidate: str, last_good: str, models: str, vectors: str) -> None:
    """Raise `DataError` where labels were flipped, shuffled or moved, against the last good examples of this source.

    Of rows that were there, more than `checks.agreement_fall_max` have another label; or the small expert that was
    trained last agrees with the labels of new rows so much less often than with those of the test rows before, and
    that is no chance (Fisher's exact test, one-sided, at .001); of more rows it is asked about 2,000. Summaries, fewer
    than 20 rows, and labels that the last ones had and that are no classes any more, are not looked at.
    """
    settings = config.load(params)
    about, most = settings.task(name), settings.task(name).checks.agreement_fall_max
    if most is None or about.kind == "summarisation" or last_of_same_source(candidate, last_good) is None:
        return
    now, before = schema.read(candidate, "examples", classes=about.classes), schema.read(last_good, "examples")
    if not set(before["label"].unique().to_pylist()) <= set(about.classes):
        return
    place = pc.index_in(now["id"], before["id"])
    there = now.filter(place.is_valid())
    moved = pc.sum(pc.not_equal(there["label"], before["label"].take(place.drop_null()))).as_py() or 0
    remedy = "Look at its labels. If they are right, set tasks.{}.checks.agreement_fall_max to null for this run."
    if there.num_rows >= FEWEST and moved > most * there.num_rows:
        got = f"other labels than before on {moved:,} of {there.num_rows:,} rows that were there"
        raise DataError(name, got, f"a share of {most:g} at most", remedy.format(name))
    new, judged = now.filter(place.is_null()), schema.rows_in(before, "test")
    model = _last_model(settings, name, models, vectors)
    if model is None or min(new.num_rows, judged.num_rows) < FEWEST:
        return
    (right, rows), (was, of) = (_agreement(model, table) for table in (new, judged))
    if fell(right, rows, was, of, most):
        got = (
            f"{model.name} agrees with {right / rows:.0%} of {rows:,} new labels, before with {was / of:.0%} of {of:,}"
        )
        raise DataError(name, got, f"a fall of {100 * most:g} points at most", remedy.format(name))


def fell(right: int, rows: int, was: int, of: int, most: float) -> bool:
    """Whether agreement fell by more than `most`, from `was` of `of` labels to `right` of `rows`, and not by chance."""
    return (
        was / of - right / rows > most
        and fisher_exact([[right, rows - right], [was, of - was]], alternative="less").pvalue < LEVEL
    )


def _agreement(model: experts.Expert, rows: pa.Table) -> tuple[int, int]:
    """With how many of the labels of how many rows an expert agrees."""
    # Rows lie in the order of their ids, which is one of chance.
    rows = rows.slice(0, MOST)
    same = pc.equal(model.answer(rows)["label"], rows["label"])
    return int(pc.sum(same).as_py() or 0), rows.num_rows


def _last_model(settings: config.Params, name: str, models: str, vectors: str) -> experts.Expert | None:
    """The small expert as the stage `train` left it; None where it left none that these parameters can read."""
    train = settings.train[name]
    folder = Path(models, name, train.small, f"seed-{train.seeds[0]}")
    if train.small in settings.llms(name) or not folder.is_dir():
        return None
    try:
        model = small_expert(settings, name, train.small, vectors, train.seeds[0])
        return model.load(folder) if isinstance(model, experts.TrainedExpert) else None
    except AsklessError as error:
        get_run_logger().info(f"labels are not held against the last small expert: {error}")
        return None
