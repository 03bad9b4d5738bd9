"""Every ordered chain of some experts on recorded answers, by the published rules: which order is worth asking in?

Source: LLM Chain Ensembles for Scalable and Accurate Data Annotation (package chain-ensembles, its simulation). Chains
that begin alike share that beginning and scores are ordered once for each expert, so that a chain costs a few passes
over the rows that reach its last link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from askless.arrays import Floats, Ints
from askless.errors import ConfigError, DataError


@dataclass(frozen=True)
class Levels:
    """Scores as whole numbers in the same order: 0 where nothing is stated, then 1 for the lowest score.

    Any rows of `code` can be counted without sorting them again.

    Parameters
    ----------
    value, code
        The scores that occur, rising, after NaN, (levels,); and the place of each row's among them, (rows,).
    """

    value: Floats
    code: Ints

    @classmethod
    def of(cls, score: Floats) -> Levels:
        """The levels of scores (rows,), NaN where none is stated."""
        known = ~np.isnan(score)
        value, place = np.unique(score[known], return_inverse=True)
        code = np.zeros(len(score), np.int64)
        code[known] = place + 1
        return cls(np.concatenate([[np.nan], value]), code)


def counted(code: Ints, levels: int) -> Ints:
    """How many of the rows are at each level or below it, shape (levels,); those that state nothing are left out."""
    at = np.bincount(code, minlength=levels)
    at[0] = 0
    return np.asarray(np.cumsum(at))


def lowest_kept(upto: Ints, rows: int, links: int) -> int:
    """The level of the k-th largest score, k = rows // links, by `counted`: this one and those above are kept.

    `links` are those left, this one among them; the last keeps every row. With k = 0 no row is kept.
    """
    if links == 1:
        return 0
    k = rows // links
    return max(int(np.searchsorted(upto, upto[-1] - k, side="right")), 1) if k else len(upto)


def rank_table(upto: Ints, value: Floats) -> Floats:
    """Each level's rank among the counted rows, ties to the highest, over their number; -inf where none is stated."""
    table = upto / max(int(upto[-1]), 1)
    table[0] = -np.inf
    return np.asarray(table)


def min_max_table(upto: Ints, value: Floats) -> Floats:
    """Each level's score between the least and largest finite one of the counted rows; all -inf where these are one."""
    counts = np.flatnonzero((np.diff(upto, prepend=0) > 0) & np.isfinite(value))
    low, high = (value[counts[0]], value[counts[-1]]) if len(counts) else (0.0, 0.0)
    if not low < high:
        return np.full(len(value), -np.inf)
    table = (value - low) / (high - low)
    table[0] = -np.inf
    return np.asarray(table)


ENSEMBLES: dict[str, Callable[[Ints, Floats], Floats]] = {"rank": rank_table, "min_max": min_max_table}
RULES = ("forward", *ENSEMBLES, "random")


@dataclass(frozen=True)
class Run:
    """What one chain reached by one rule.

    `chain` indexes the experts in the order asked; `cost` is the mean of all asked for a row; `kept` counts the rows
    that each link keeps. An answer without a label is wrong; a class neither present nor answered counts 0 in
    `macro_f1`.
    """

    chain: tuple[int, ...]
    rule: str
    accuracy: float
    macro_f1: float
    cost: float
    kept: tuple[int, ...]


@dataclass(frozen=True)
class _Recorded:
    """The answers as the walk needs them, each an array for each expert; `pair` is gold and label in one number."""

    levels: list[Levels]
    pair: list[Ints]
    cost: list[Floats]
    classes: int
    rules: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Where the chains with one beginning stand.

    `rows` go on; `best` and `said` are, by rule, the highest standing so far of each and the answer that has it;
    `tables` are, by rule, how often each class was answered for each gold class in the rows kept so far.
    """

    chain: tuple[int, ...]
    rows: Ints
    best: dict[str, Floats] = field(default_factory=dict)
    said: dict[str, Ints] = field(default_factory=dict)
    tables: dict[str, Ints] = field(default_factory=dict)
    spent: float = 0.0
    kept: tuple[int, ...] = ()


def simulate(
    confidence: Floats,
    label: Ints,
    gold: Ints,
    cost: Floats,
    length: int,
    *,
    rules: tuple[str, ...] = RULES,
    trials: int = 1,
    random_state: int = 0,
) -> list[Run]:
    """A `Run` for every ordered chain of `length` different experts and each of `rules`, chain by chain.

    `confidence`, `label`, `cost` are (rows, experts), `gold` (rows,); labels are class indices, -1 for none, confidence
    NaN where none is stated. The random control is the mean of `trials` splits drawn by `random_state`, the same for
    all chains. Raises `DataError` for arrays that do not fit together, `ConfigError` for an impossible length or rule.
    """
    _check(confidence, label, gold, cost, length, rules)
    classes = int(max(gold.max(), label.max())) + 1
    recorded = _Recorded(
        [Levels.of(column) for column in confidence.T],
        [gold * (classes + 1) + column + 1 for column in label.T],
        list(np.ascontiguousarray(cost.T, np.float64)),
        classes,
        tuple(rule for rule in rules if rule != "random"),
    )
    found = {(run.chain, run.rule): run for run in _walk(recorded, _Part((), np.arange(len(gold))), length)}
    if "random" in rules:
        found |= {(run.chain, "random"): run for run in _by_chance(recorded, len(gold), length, trials, random_state)}
    return [found[chain, rule] for chain in permutations(range(label.shape[1]), length) for rule in rules]


def _walk(recorded: _Recorded, part: _Part, length: int) -> Iterator[Run]:
    """The runs of all chains that begin as `part` does."""
    rows = len(recorded.pair[0])
    if len(part.chain) == length:
        for rule in recorded.rules:
            yield Run(part.chain, rule, *_quality(part.tables[rule]), part.spent / rows, part.kept)
        return
    for expert in range(len(recorded.pair)):
        if expert not in part.chain:
            yield from _walk(recorded, _ask(recorded, part, expert, length), length)


def _ask(recorded: _Recorded, part: _Part, expert: int, length: int) -> _Part:
    """`part` with one more link."""
    levels, rows = recorded.levels[expert], part.rows
    code, pair = levels.code[rows], recorded.pair[expert][rows]
    upto = counted(code, len(levels.value))
    lowest = lowest_kept(upto, len(code), length - len(part.chain))
    keep = np.flatnonzero(code >= lowest)
    on = np.flatnonzero(code < lowest)
    best, said, tables = {}, {}, {}
    for rule in recorded.rules:
        now = pair
        if rule in ENSEMBLES:
            standing, now = _stronger(ENSEMBLES[rule](upto, levels.value)[code], pair, part, rule)
            best[rule], said[rule] = standing[on], now[on]
        new = _table(now[keep], recorded.classes)
        tables[rule] = part.tables[rule] + new if part.chain else new
    spent = part.spent + float(recorded.cost[expert][rows].sum())
    return _Part((*part.chain, expert), rows[on], best, said, tables, spent, (*part.kept, len(keep)))


def _stronger(standing: Floats, pair: Ints, part: _Part, rule: str) -> tuple[Floats, Ints]:
    """Of the best so far and a new link the one that stands higher, the earlier on a tie unless it says nothing."""
    if rule not in part.best:
        return standing, pair
    old = part.best[rule]
    newer = (standing > old) | np.isneginf(old)
    return np.where(newer, standing, old), np.where(newer, pair, part.said[rule])


def _by_chance(recorded: _Recorded, rows: int, length: int, trials: int, seed: int) -> Iterator[Run]:
    """The control: a shuffle's first rows stay with the first link, the next with the second, and so on."""
    kept, left = [], rows
    for link in range(length):
        kept.append(left // (length - link))
        left -= kept[-1]
    experts = range(len(recorded.pair))
    tables = np.zeros((trials, length, len(experts), recorded.classes, recorded.classes + 1), np.int64)
    spent = np.zeros((trials, length, len(experts)))
    for trial in range(trials):
        order = np.random.default_rng([seed, trial]).permutation(rows)
        start = 0
        for link, count in enumerate(kept):
            block = order[start : start + count]
            for j in experts:
                tables[trial, link, j] = _table(recorded.pair[j][block], recorded.classes)
                spent[trial, link, j] = recorded.cost[j][order[start:]].sum()
            start += count
    links = np.arange(length)
    for chain in permutations(experts, length):
        quality = [_quality(table[links, chain].sum(axis=0)) for table in tables]
        accuracy, macro_f1 = np.mean(quality, axis=0)
        cost = spent[:, links, chain].sum(axis=1).mean() / rows
        yield Run(chain, "random", float(accuracy), float(macro_f1), float(cost), tuple(kept))


def _table(pair: Ints, classes: int) -> Ints:
    """Rows of each gold class answered with none and with each class, shape (classes, classes + 1)."""
    return np.bincount(pair, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def _quality(table: Ints) -> tuple[float, float]:
    """Accuracy and macro-F1 of a table of gold against answers."""
    hits, gold, said = np.diagonal(table[:, 1:]), table.sum(axis=1), table[:, 1:].sum(axis=0)
    f1 = 2 * hits / np.maximum(gold + said, 1)
    return float(hits.sum() / table.sum()), float(f1.mean())


def _check(confidence: Floats, label: Ints, gold: Ints, cost: Floats, length: int, rules: tuple[str, ...]) -> None:
    shapes = {"confidence": confidence.shape, "label": label.shape, "cost": cost.shape}
    if label.ndim != 2 or len(set(shapes.values())) > 1 or gold.shape != label.shape[:1] or not len(gold):
        raise DataError(
            "chain simulation",
            ", ".join(f"{name} {shape}" for name, shape in {**shapes, "gold": gold.shape}.items()),
            "confidence, label and cost of one shape (rows, experts), gold (rows,), at least one row",
            "Give every expert's answer to the same rows.",
        )
    if not 1 <= length <= label.shape[1]:
        raise ConfigError(f"Chains of {length} links from {label.shape[1]} experts. Allowed: 1 to {label.shape[1]}.")
    for rule in rules:
        if rule not in RULES:
            raise ConfigError.unknown("rule of a chain", rule, RULES)
