"""What decisions of a version are held against: those on the rows it was calibrated on, kept with its bundle."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from askless import schema
from askless.errors import DataError
from askless.files import replacing
from askless.monitoring.decide_and_log import Audit, answer, likeness, loggable
from askless.monitoring.decision_log import checked
from askless.panel import Panel
from askless.policies.base import Budget, Policy, some_rows

FILE = "baseline.parquet"
MOST = 20_000


def baseline(
    policy: Policy, panel: Panel, budget: Budget | None, reference: str, *, task: str, time: datetime
) -> pa.Table:
    """How a policy decides the rows that it was calibrated on, as rows of the log, all of them audited.

    Its ids are numbers of rows.

    Parameters
    ----------
    policy
        Fitted.
    panel
        Those rows, with recorded answers; of more than 20,000 so many are drawn.
    budget
        At which it is to work; None: by its own rule.
    reference
        The expensive expert of the audits.
    task, time
        As the log has them.

    Returns
    -------
    pa.Table
        Its metadata hold `agree_from`, the ROUGE-L from which two summaries agree: the median over these rows; None for
        labels.
    """
    panel = panel.take(some_rows(len(panel), MOST, 0), blind=True)
    median = None
    if not panel.classes:
        found = likeness(panel.copy(), policy.experts[0], reference, np.arange(len(panel)))
        median = None if np.isnan(found).all() else float(np.nanmedian(found))
    rows = answer(policy, panel, budget, Audit(reference, 1.0, median), task=task, version="", time=time)
    # A bundle goes to others: a hash of a text would tell whoever guesses the text that it was there.
    numbered = loggable(rows, panel.classes, False, lambda ids: [str(row) for row in range(len(ids))])
    return schema.with_meta(numbered, "baseline", {"agree_from": median})


def write(folder: Path, rows: pa.Table) -> Path:
    """Put a baseline into a bundle's folder."""
    with replacing(folder / FILE) as part:
        pq.write_table(rows, part, compression="zstd")
    return folder / FILE


def read(folder: Path) -> pa.Table | None:
    """The baseline in a bundle's folder, None where none is with it; raises `DataError` for a file that is none."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        rows = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        remedy = "Register the model again."
        raise DataError(path, f"unreadable ({error})", "the file as it was written", remedy) from error
    return checked(rows, path).replace_schema_metadata(rows.schema.metadata)


def agree_from(rows: pa.Table | None) -> float | None:
    """From which ROUGE-L on two summaries agree, None where it was not measured."""
    found = None if rows is None else schema.meta_of(rows).get("agree_from")
    return None if found is None else float(found)


def audit_price(rows: pa.Table | None, share: float) -> float | None:
    """About what it will cost to audit a share of 1,000 items, None without a baseline that tells.

    Only an item that would have stayed with the small expert costs more: the mean of what expensive answers cost.
    """
    paid = None if rows is None else pc.mean(rows["paid"]).as_py()
    if rows is None or paid is None:
        return None
    return 1000 * share * float(paid) * int(rows["paid"].null_count) / int(rows.num_rows)
