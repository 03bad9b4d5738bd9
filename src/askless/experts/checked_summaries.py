"""A summariser whose faulty summaries count as none."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from askless.panel import Answering
from askless.text.summary_faults import faults


@dataclass(frozen=True)
class CheckedSummaries:
    """A summariser whose faulty summaries count as none, as they did where the policy was fitted.

    Parameters
    ----------
    expert
        The summariser.
    """

    expert: Answering

    def answer(self, examples: pa.Table) -> pa.Table:
        """Its summaries, what is wrong with one in `error`."""
        table = self.expert.answer(examples)
        wrong = faults(table["text"].to_pylist(), examples["text"].to_pylist())
        errors = [old or new for old, new in zip(table["error"].to_pylist(), wrong, strict=True)]
        at = table.schema.get_field_index("error")
        return table.set_column(at, table.schema.field(at), pa.array(errors, pa.string()))
