"""A subset of experts who vote: who is asked, in which order, and when the votes in hand decide."""

from __future__ import annotations

from askless.policies.planned.planned import Planned


class Subset(Planned):
    """Asks the smallest subset of experts that is expected to suffice, and stops as soon as their votes decide.

    Each vote weighs what its calibrated confidence says. Other than SelectLLM it chooses the subset by the votes in
    hand rather than from the text, one or two experts at a time, and asks on only where that is worth the price: with a
    few hundred labels the text says nothing that confidences do not. What is promised was measured on rows that were
    not fitted on, as of `Planned`.

    Parameters
    ----------
    experts
        Names of one or more, in any order.
    folds
        How many folds qualities out of fold come from, 2 or more.
    most_rows
        Of more rows so many are drawn.
    random_state
        Seed of folds, of the rows drawn, and of the draws by which a budget is met.

    Attributes
    ----------
    order_, prices_, measures_, thresholds_
        As of `Planned`.
    rule_ : VoteSets
        What votes weigh, and whom to ask next at each operating point.

    References
    ----------
    SelectLLM (Maurya et al. 2025, arXiv 2408.08545): subsets and votes weighted by confidence; ThriftLLM (Huang et al.
    2025): a vote that can no longer change the answer is not asked for.
    """

    title = "Voting subset"
    about = "Asks a few models, cheapest first, until their votes, weighted by confidence, decide."

    def __init__(
        self, experts: tuple[str, ...], *, folds: int = 5, most_rows: int = 5_000, random_state: int = 0
    ) -> None:
        super().__init__(experts, method="subset", folds=folds, most_rows=most_rows, random_state=random_state)
