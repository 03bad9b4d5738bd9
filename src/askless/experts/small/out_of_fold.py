"""What a small expert says of the rows it learns from, each row answered by a model that has not learnt from it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.experts.base import TrainedExpert
from askless.panel import class_indices
from askless.stats.calibration import stratified_folds


def out_of_fold(
    expert: TrainedExpert,
    train: pa.Table,
    valid: pa.Table,
    *,
    folds: int = 5,
    random_state: int = 0,
    lessons: pa.Table | None = None,
) -> pa.Table:
    """Answers to `train`, as a policy must see them that is fitted on these rows.

    What an expert says of rows that it has learnt from is surer and righter than it will ever be again. A policy that
    is fitted on that believes it.

    Parameters
    ----------
    expert
        Whose options are taken; what it has learnt itself is left alone.
    train, valid
        As of its `fit`. Each model learns from the other folds of `train` and chooses on the whole of `valid`.
    folds
        How many models, 2 or more; each class has its part in each fold.
    random_state
        Seed of the folds.
    lessons
        Rows that teach every model and are not answered.

    Returns
    -------
    pyarrow.Table
        Predictions in the order of `train`; metadata `out_of_fold` has `folds` and `random_state`.

    Raises
    ------
    ConfigError
        For fewer than two folds.
    DataError
        As `fit`, where the rest of a fold is too little to learn from.
    """
    fold = stratified_folds(class_indices(train["label"], expert.setting.classes), folds, random_state)
    parts = []
    for k in range(min(folds, train.num_rows)):
        learn = train.filter(pa.array(fold != k))
        learn = learn if lessons is None else pa.concat_tables([learn, lessons])
        model = expert.alike().fit(learn, valid)
        parts.append(model.answer(train.filter(pa.array(fold == k))))
    whole = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
    meta = {
        "task": expert.setting.task,
        "classes": list(expert.setting.classes),
        schema.OUT_OF_FOLD: {"folds": folds, "random_state": random_state},
    }
    return schema.with_meta(whole.take(pc.index_in(train["id"], whole["id"])), "predictions", meta)


def replaced(predictions: pa.Table, held: pa.Table) -> pa.Table:
    """`predictions` with the rows of `held`, which are out of fold, in the place of its own; metadata say so."""
    at = pc.index_in(predictions["id"], held["id"])
    own = pa.array(np.arange(held.num_rows, held.num_rows + predictions.num_rows, dtype=np.int32))
    whole = pa.concat_tables([table.replace_schema_metadata(None) for table in (held, predictions)])
    meta = {**schema.meta_of(predictions), schema.OUT_OF_FOLD: schema.meta_of(held)[schema.OUT_OF_FOLD]}
    return schema.with_meta(whole.take(pc.coalesce(at, own)), "predictions", meta)


def is_out_of_fold(predictions: pa.Schema) -> bool:
    """Whether a file of predictions with this schema says that its train rows are out of fold."""
    return bool(schema.meta_of(predictions.empty_table()).get(schema.OUT_OF_FOLD))
