"""The quality of a task's summaries where a judge is paid for its marks: within the limits that any other call has."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from askless.config import Params
from askless.costs import CostModel
from askless.errors import BudgetError
from askless.evaluation.summary_quality import Judge, SummaryQuality, of_task
from askless.experts.answer_store import asking
from askless.experts.paid import PaidExpert
from askless.spending.billing import LIMIT, code_of
from askless.spending.guard import within_limits


def quality_of(task: str, params: Params, vectors: Path | str, answers: Path | str | None = None) -> SummaryQuality:
    """The quality that a task names (`of_task`); a judge is paid within `generate.max_usd` and what its key may pay."""
    quality = of_task(task, params, vectors, answers)
    if not isinstance(quality, Judge) or not isinstance(quality.expert, PaidExpert):
        return quality
    folder = None if answers is None else Path(answers)
    return replace(
        quality, expert=_PaidJudge(quality.expert, CostModel.of(params.costs), folder, params.generate.max_usd)
    )


def refuse_unasked(expert: str, answers: pa.Table) -> None:
    """Raise `BudgetError` where a limit left rows without an answer: all of them are wanted."""
    if over := [why for why in answers["error"].to_pylist() if why and code_of(why) == LIMIT]:
        raise BudgetError(
            f"{expert}: {len(over):,} of {answers.num_rows:,} items were not asked about ({over[0]}). Allowed: a "
            "higher limit. Raise generate.max_usd, or that of the key, and run again: what was answered is kept, not "
            "asked again."
        )


@dataclass(frozen=True)
class _PaidJudge:
    expert: PaidExpert
    costs: CostModel
    folder: Path | None
    max_usd: float | None

    def answer(self, examples: pa.Table) -> pa.Table:
        """The marks of all examples; raises `BudgetError` where a limit does not allow them."""
        path, name = self.folder and self.folder / f"{self.expert.name}.ledger.sqlite", self.expert.name
        with ExitStack() as stack:
            if self.folder is not None:
                stack.enter_context(asking(self.folder, [name]))
            stack.enter_context(within_limits(self.expert, self.costs, path, self.max_usd))
            marks = self.expert.answer(examples)
        refuse_unasked(name, marks)
        return marks
