"""A model that learns while it answers, as a folder: its bundle and terms in `model`, `learning.sqlite` beside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from askless import experts
from askless.bundles import trust
from askless.bundles.bundle import OF_RUN, Bundle
from askless.bundles.terms import FILE as TERMS_FILE
from askless.bundles.terms import Terms
from askless.costs import CostModel
from askless.errors import BudgetError, ConfigError, DataError
from askless.experts.paid import PaidExpert
from askless.labelling.known import Known
from askless.labelling.learning import FILE, Learning, Version
from askless.labelling.live_bandit import as_of, cold
from askless.policies.bandit.bandit import Bandit
from askless.policies.base import Budget
from askless.spending.call_price import CallPrice

# A text by which calls are compared.
USUAL = "x" * 1000
REFERENCE, JUDGE = "reference", "judge"


class Teacher(NamedTuple):
    """Who says what is right where no labels come, and of which share of the items, from 0 to 1.

    By its role a reference, whose answers are taken for true, or a judge, who reads what the others answered.
    """

    role: str
    expert: str
    share: float


def make(
    folder: Path,
    terms: Terms,
    budget_usd: float,
    teacher: Teacher | None = None,
    known: Known | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Make the model of a folder, or change that which is there: its experts, their prices, its budget.

    Parameters
    ----------
    folder
        Of the model.
    terms
        Its experts, in the words of whoever makes it, who agrees to them by that.
    budget_usd
        Dollars for 1,000 items.
    teacher
        Who says what is right where no labels come; a judge is one of the terms' experts too, and answers nothing.
    known
        Labelled answers to begin with.
    seed
        Of what is drawn.

    Returns
    -------
    dict
        `path`, `experts` by rising price but for the judge, `new` whether it is, `came` and `left` experts, `words`,
        and `notes` on what may not be meant.

    Raises
    ------
    ConfigError
        For less than two experts, one without a most for a call, other classes than it had, an unknown reference, or a
        share that is none.
    BudgetError
        For a budget that no call can be paid from.
    DataError
        For a folder that has something else.
    """
    prices = {name: _usual(terms, name) for name in terms.experts}
    if teacher is not None and teacher.role == JUDGE:
        prices.pop(teacher.expert)
    rising, new = tuple(sorted(prices, key=lambda name: (prices[name], name))), not (folder / FILE).exists()
    _check(folder, rising, teacher, new, known)
    _check_budget(rising[0], terms, budget_usd)
    facts = {"task": terms.task, "unit": "usd", "learns": True, "seed": seed}
    facts["budget"] = {Budget(per_1000=budget_usd).kind: budget_usd}
    if teacher is not None:
        facts[teacher.role] = {"expert": teacher.expert, "share": teacher.share}
    before, factors = (rising, dict[str, float]()) if new else _changes(folder, terms, prices)
    bandit = _begun(prices, rising, terms, known, seed)

    def change(version: Version | None) -> tuple[tuple[str, ...], Any]:
        made = as_of(bandit, version)
        for name, factor in factors.items():
            made.told(name, factor)
        made = made if made.experts == rising else made.hiring(rising, bandit.ceilings)
        return made.experts, made.state()

    with Learning(folder / FILE, terms.task) as learning:
        Bundle.of(bandit, terms.classes, facts).save(folder / OF_RUN)
        terms.write(folder / OF_RUN)
        trust.check(terms.experts, terms.costs, str(folder / OF_RUN / TERMS_FILE), agreed=True)
        if new or rising != before or factors:
            learning.replace(change)
    came, left = ([name for name in one if name not in other] for one, other in ((rising, before), (before, rising)))
    words = _words(rising, budget_usd, new, known, came, left)
    if teacher is not None and teacher.role == JUDGE:
        part = f"{100 * teacher.share:g} % of the items, within the same budget"
        words.append(f"{teacher.expert} judges the answers to {part}.")
    notes = _tight(rising[0], prices[rising[0]], budget_usd)
    about: dict[str, Any] = {"came": came, "left": left, "words": words, "notes": notes}
    return {"path": str(folder), "experts": list(rising), "new": new, **about}


def _check(
    folder: Path,
    rising: tuple[str, ...],
    teacher: Teacher | None,
    new: bool,
    known: Known | None,
) -> None:
    if len(rising) < 2:
        raise ConfigError(f"--llm got {', '.join(rising) or 'none'}. Allowed: two or more, each once.")
    if teacher is not None and teacher.role == REFERENCE and teacher.expert not in rising:
        raise ConfigError.unknown("reference", teacher.expert, rising)
    if teacher is not None and not 0 < teacher.share <= 1:
        raise ConfigError(f"--{teacher.role}-share got {teacher.share:g}. Allowed: above 0, up to 1.")
    if new and folder.exists() and any(folder.iterdir()):
        raise DataError(folder, "something else", "a new folder, or one that learn made", "Give another --output.")
    if not new and known is not None:
        raise ConfigError(f"{folder} has begun. Allowed with --examples or --plan: a new --output.")


def _check_budget(cheapest: str, terms: Terms, usd: float) -> None:
    """Raise `BudgetError` for no amount, and for less than 1,000 answers take that have a price each."""
    least = terms.costs.prices[cheapest].usd_per_1k_answers
    if not 0 < usd < math.inf:
        raise BudgetError(f"--budget-usd got {usd:g}. Allowed: dollars for 1,000 items, above 0.")
    if usd < least * (1 - 1e-9):
        raise BudgetError(
            f"--budget-usd got {usd:g}. 1,000 answers of {cheapest}, the cheapest, take ${least:.4g}. Allowed: that "
            "or more. Give it, or a cheaper --llm."
        )


def _tight(cheapest: str, most: float, usd: float) -> list[str]:
    """What to say where a call can cost more than an item may."""
    if 1000 * most <= usd * (1 + 1e-9):
        return []
    return [
        f"An item may take ${usd / 1000:.4g}. A call of {cheapest}, the cheapest, about a text of {len(USUAL):,} "
        f"characters takes ${most:.4g} at most: where calls do come to more than the budget, rows have no answer, for "
        f"the reason limit. --budget-usd {1000 * most:.4g} is surely enough for one call an item."
    ]


def _changes(folder: Path, terms: Terms, prices: Mapping[str, float]) -> tuple[tuple[str, ...], dict[str, float]]:
    """The experts that a model had, and of those whose price has changed how many times what it was it is now."""
    old, known = Bundle.load(folder), Terms.read(folder / OF_RUN)
    if old.classes != terms.classes:
        raise ConfigError(
            f"{folder} knows the classes {', '.join(old.classes)}. Allowed: the same. Give another --output."
        )
    were = {name: _usual(known, name) for name in old.experts if name in prices}
    factors = {name: prices[name] / was if was else math.inf for name, was in were.items() if prices[name] != was}
    return old.experts, factors


def _begun(
    prices: Mapping[str, float], rising: tuple[str, ...], terms: Terms, known: Known | None, seed: int
) -> Bandit:
    """A bandit that has learnt from the answers on record, if there are any."""

    def cold_one(names: tuple[str, ...]) -> Bandit:
        return cold(Bandit(names, ceilings=[prices[name] for name in names], random_state=seed), terms.classes)

    if known is None:
        return cold_one(rising)
    there = tuple(name for name in rising if name in known.rounds.experts)
    if len(there) < 2:
        lacking = next(name for name in rising if name not in there)
        raise ConfigError.unknown("expert", lacking, known.rounds.experts)
    bandit = known.taught(cold_one(there))
    return bandit if there == rising else bandit.hiring(rising, [prices[name] for name in rising])


def _usual(terms: Terms, name: str) -> float:
    """The most dollars that a call about a text of 1,000 characters can cost."""
    expert = experts.build(experts.Setting(name, terms.task, terms.classes), terms.experts[name])
    if not isinstance(expert, PaidExpert):
        raise ConfigError(f"Expert '{name}' of backend {terms.experts[name].get('backend')} cannot be asked live.")
    return expert.replies * CallPrice(expert, CostModel.of(terms.costs), limited=True).most([USUAL])[0]


def _words(
    rising: tuple[str, ...], usd: float, new: bool, known: Known | None, came: list[str], left: list[str]
) -> list[str]:
    who = f"It asks {', '.join(rising)}, the cheapest first, at no more than ${usd:g} for 1,000 items."
    if new:
        began = "with nothing: the first hundreds of items explore"
        began = began if known is None else f"with the labelled answers of {len(known.gold):,} items"
        return [f"{who} It begins {began}."]
    changes = [f"New: {', '.join(came)}."] if came else []
    changes += [f"Gone: {', '.join(left)}."] if left else []
    others = "of the others " if changes else ""
    return [who, " ".join([*changes, f"What was learnt {others}stays. Servers that answer by it: start them again."])]
