"""Decide, item by item, whether a small model or an LLM answers.

>>> from askless import Goal, evaluate, load, make_plan, read_study
>>> study = read_study("items.csv", ["answers.csv"])  # doctest: +SKIP
>>> summary = evaluate(study, out="out")  # doctest: +SKIP
>>> plan = make_plan(study, Goal(floor=0.97))  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from askless.bundles.bundle import Bundle
    from askless.costs import CostModel
    from askless.data.recorded import load as read_study
    from askless.estimator import AskLess
    from askless.experts.base import Expert
    from askless.panel import Panel
    from askless.plans.evaluate import evaluate
    from askless.plans.plan import Goal
    from askless.plans.planner import make_plan
    from askless.policies.base import Budget, Policy

__version__ = "0.1.0"
__all__ = [
    "AskLess",
    "Budget",
    "CostModel",
    "Expert",
    "Goal",
    "Panel",
    "Policy",
    "evaluate",
    "load",
    "make_plan",
    "read_study",
]
# Where each is, imported when it is first asked for: `import askless` costs nothing.
_PLACES = {
    "AskLess": "askless.estimator:AskLess",
    "Budget": "askless.policies.base:Budget",
    "CostModel": "askless.costs:CostModel",
    "Expert": "askless.experts.base:Expert",
    "Goal": "askless.plans.plan:Goal",
    "Panel": "askless.panel:Panel",
    "Policy": "askless.policies.base:Policy",
    "evaluate": "askless.plans.evaluate:evaluate",
    "make_plan": "askless.plans.planner:make_plan",
    "read_study": "askless.data.recorded:load",
}


def load(address: Path | str) -> Bundle:
    """What decides about texts, ready to decide.

    Parameters
    ----------
    address
        A plan (`plan.yaml`), the folder of a bundle (`models/olhs/teams/team/seed-67`), or a registered version
        (`models:/askless-olhs@champion`, `models:/askless-olhs/3`).

    Returns
    -------
    Bundle
        Its policy, and its small expert where that is with it.

    Raises
    ------
    DataError
        Where nothing is there, or what is there is damaged.
    """
    from askless.bundles.bundle import Bundle
    from askless.registry import versions

    return Bundle.load(versions.resolve(str(address)))


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'askless' has no attribute '{name}'. It has: {', '.join(__all__)}")
    module, _, attribute = _PLACES[name].partition(":")
    found = globals()[name] = getattr(import_module(module), attribute)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
