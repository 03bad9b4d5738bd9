"""The one way to see an answer is to ask for it, and asking is billed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.arrays import Bools, Floats, Floats32, Ints
from askless.costs import CostModel
from askless.errors import AsklessError, ConfigError, DataError

T = TypeVar("T")
NO_LABEL = -1
CONTRADICTED = (
    "'%s': in %s of %s answers another class has a higher stated probability than the label. Such an answer counts as "
    "no surer than its label is likely. If most are so, correct the order of the probabilities: it is not the classes'."
)
_TOLD: set[str] = set()
logger = logging.getLogger(__name__)


class Answering(Protocol):
    """Anything that answers examples in the prediction contract: a live model or a Parquet file."""

    def answer(self, examples: pa.Table) -> pa.Table:
        """One prediction row for each row of `examples`, in the same order."""


class Featuring(Protocol):
    """Anything that turns texts into a matrix: word vectors, an encoder."""

    def __call__(self, texts: list[str]) -> tuple[Floats32, Floats]:
        """Features (texts, dim), and the seconds (texts,) that kept ones spared."""


class BlindError(AsklessError):
    """Gold labels were read where a decision is being made."""


@dataclass(frozen=True)
class Answers:
    """What one expert answered to some rows of a panel.

    Parameters
    ----------
    expert
        Its name.
    rows
        Indices of the rows in the panel, shape (n,).
    label
        Class indices, shape (n,); `NO_LABEL` where the expert gave none.
    proba
        Probability of each class, shape (n, classes), 0 to 1; NaN where not given.
    logprob
        Log-probability of the answer in nats, shape (n,); of a summary the mean over its tokens; NaN where not given.
    mass
        Total probability of the label words before normalising, shape (n,), 0 to 1; NaN where not given.
    cost
        What these answers cost in the cost model's unit, shape (n,).
    _rows_of
        Gives these answers' rows in the prediction contract when `table` is read.
    """

    expert: str
    rows: Ints
    label: Ints
    proba: Floats
    logprob: Floats
    mass: Floats
    cost: Floats
    _rows_of: Callable[[], pa.Table]

    @property
    def table(self) -> pa.Table:
        """These answers' rows in the prediction contract."""
        return self._rows_of()


class _Given:
    """What one expert has said about a panel's rows: `at` (rows,) is a row's place among the answers, -1 if unsaid.

    What was stated of no row takes no memory, however many they are.
    """

    def __init__(self, rows: int) -> None:
        self.at = np.full(rows, -1, np.int64)
        self.cost = np.zeros(rows)
        self._label = np.full(rows, NO_LABEL)
        self._stated: dict[str, Floats] = {}
        self._parts: list[pa.Table] = []
        self._count = 0

    def add(self, rows: Ints, table: pa.Table, cost: Floats, classes: tuple[str, ...]) -> None:
        """Take in the answers to `rows`."""
        self.at[rows] = np.arange(self._count, self._count + len(rows))
        self._count += len(rows)
        self.cost[rows] = cost
        self._label[rows] = class_indices(table["label"], classes)
        stated = {"proba": proba_matrix(table["proba"], len(classes))}
        stated |= {name: _floats(table[name]) for name in ("logprob", "mass")}
        for name, column in stated.items():
            if not np.isnan(column).all():
                empty = np.full((len(self.at), *column.shape[1:]), np.nan)
                self._stated.setdefault(name, empty)[rows] = column
        self._parts.append(table.replace_schema_metadata(None))

    def table(self, rows: Ints) -> pa.Table:
        """The predictions about `rows`."""
        if len(self._parts) > 1:
            self._parts = [pa.concat_tables(self._parts).combine_chunks()]
        return (self._parts[0] if self._parts else schema.table("predictions", {})).take(pa.array(self.at[rows]))

    def answers(self, expert: str, rows: Ints, classes: tuple[str, ...]) -> Answers:
        """The answers to `rows`, all of which have been given."""

        def stated(name: str, *width: int) -> Floats:
            column = self._stated.get(name)
            return np.broadcast_to(np.nan, (len(rows), *width)) if column is None else column[rows]

        proba, mine = stated("proba", len(classes)), partial(self.table, rows)
        return Answers(expert, rows, self._label[rows], proba, stated("logprob"), stated("mass"), self.cost[rows], mine)

    def take(self, rows: Ints) -> _Given:
        """What has been said about `rows`; what is added to it later is not added here."""
        taken = _Given(len(rows))
        taken.at, taken.cost, taken._label = self.at[rows], self.cost[rows], self._label[rows]
        taken._stated = {name: column[rows] for name, column in self._stated.items()}
        taken._parts, taken._count = list(self._parts), self._count
        return taken


class Panel:
    """Some examples, and the experts that may be asked about them.

    `ask` is the only way to an answer, and it records the call and its cost, once for each (expert, row).

    Parameters
    ----------
    examples
        A table of examples (`askless.schema`), a row for each item.
    experts
        Name to expert, or to anything that answers examples with predictions.
    cost
        What answers cost.
    classes
        Names of the classes, in the order of class indices; none for summaries.
    blind
        A panel on which decisions are made: it refuses to show gold labels and qualities.
    """

    def __init__(
        self,
        examples: pa.Table,
        experts: Mapping[str, Answering],
        cost: CostModel,
        classes: Sequence[str],
        *,
        blind: bool = False,
    ) -> None:
        self.classes = tuple(classes)
        self.cost_model = cost
        self._examples = examples
        self._questions = _without_gold(examples)
        self._experts = dict(experts)
        self._blind = blind
        self._given: dict[str, _Given] = {}
        self._asked = {name: np.zeros(len(self), bool) for name in experts}
        self._bill = {name: np.zeros(len(self)) for name in experts}
        self._charges = np.zeros(len(self))
        self._features: dict[int, tuple[object, Floats32, Floats]] = {}
        self._draws: dict[int, Floats] = {}

    def __len__(self) -> int:
        return int(self._examples.num_rows)

    @cached_property
    def ids(self) -> list[str]:
        """The id of each row."""
        return list(self._examples["id"].to_pylist())

    @cached_property
    def text(self) -> list[str]:
        """The text of each row."""
        return list(self._examples["text"].to_pylist())

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts that may be asked."""
        return tuple(self._experts)

    @property
    def gold(self) -> Ints:
        """Class index of each row's gold label, shape (rows,).

        Raises `BlindError` on a blind panel, `DataError` where a row has no label among the classes.
        """
        if self._blind:
            raise BlindError("Gold labels are not shown while decisions are made: fit on another panel.")
        return gold_indices(self._examples["label"], self.classes)

    @property
    def graded(self) -> bool:
        """Whether answers have a quality from 0 to 1 rather than a gold label to be held against."""
        return int(self._examples["label"].null_count) == len(self)

    @property
    def groups(self) -> list[str | None]:
        """The group of each row, None where it has none; nothing that a decision may look at."""
        return list(self._examples["group"].to_pylist())

    @property
    def spent(self) -> Floats:
        """What each row has cost so far, every ask and charge, shape (rows,)."""
        total = self._charges.copy()
        for bill in self._bill.values():
            total += bill
        return total

    @property
    def total(self) -> float:
        """Everything spent on this panel."""
        return float(self.spent.sum())

    def features(self, reads: Featuring) -> Floats32:
        """Each row's text as a vector, shape (rows, dim), worked out once; seconds that kept vectors spared are billed.

        The seconds that it takes now are the caller's to bill.
        """
        if id(reads) not in self._features:
            self._features[id(reads)] = (reads, *reads(self.text))
        _, features, spared = self._features[id(reads)]
        self.charge(spared * self.cost_model.compute(1.0))
        return features

    def draws(self, seed: int) -> Floats:
        """A draw from [0, 1) for each row that depends on its id and `seed` alone, shape (rows,)."""
        if seed not in self._draws:
            self._draws[seed] = draws(self.ids, seed)
        return self._draws[seed]

    def asked(self, expert: str) -> Bools:
        """Which rows `expert` has been asked, shape (rows,)."""
        return self._known(expert, self._asked).copy()

    def asked_of(self, experts: Sequence[str]) -> Bools:
        """Who of `experts` has been asked about each row, shape (rows, experts)."""
        return np.stack([self._known(name, self._asked) for name in experts], axis=1)

    def bill(self, expert: str) -> Floats:
        """What each row's call of `expert` cost, 0 where it was not asked, shape (rows,)."""
        return self._known(expert, self._bill).copy()

    def ask(self, expert: str, rows: Ints | Bools | None = None, *, texts: Mapping[int, str] | None = None) -> Answers:
        """Answers of `expert` to `rows` (all by default; indices or a mask), billing those not yet asked.

        `texts` is what it reads in place of the text of a row. Raises `ConfigError` for an unknown expert and
        `DataError` if it answers other rows than were asked.
        """
        asked = self._known(expert, self._asked)
        index = self._index(rows)
        fresh = _distinct(index[~asked[index]], len(self))
        if len(fresh):
            self._call(expert, fresh, texts)
        given = self._given.get(expert) or _Given(len(self))
        answers = given.answers(expert, index, self.classes)
        return replace(answers, _rows_of=lambda: _without_quality(given.table(index))) if self._blind else answers

    def quality(self, answers: Answers) -> Floats:
        """Quality of answers in [0, 1], shape (n,): 1 where the label is gold, or what the predictions' `quality` says.

        An error in the place of a text has 0. Raises `BlindError` on a blind panel, `DataError` where neither a gold
        label nor a quality is known.
        """
        if self._blind:
            raise BlindError("The quality of answers is not shown while decisions are made: fit on another panel.")
        if not self.graded:
            return np.asarray(answers.label == self.gold[answers.rows], np.float64)
        table = answers.table
        missing = pc.and_(table["text"].is_null(), table["error"].is_valid())
        quality = pc.if_else(missing, pa.scalar(0.0, pa.float32()), table["quality"])
        if quality.null_count:
            raise DataError(
                f"answers of '{answers.expert}'",
                f"{quality.null_count} of {len(quality)} have neither a gold label nor a quality",
                "a quality from 0 to 1 for each",
                "Measure them against the references.",
            )
        return _floats(quality)

    def join(self, name: str, expert: Answering) -> None:
        """Put a model of the policy's own on the panel; its answers are billed like any other's.

        Raises `ConfigError` where the panel has another expert of that name.
        """
        if self._experts.get(name) is expert:
            return
        if name in self._experts:
            raise ConfigError(f"Expert '{name}' is on this panel already. Give the new one a name of its own.")
        self._experts[name] = expert
        # What another copy's model of that name has said is not shared.
        self._given = {known: given for known, given in self._given.items() if known != name}
        self._asked[name] = np.zeros(len(self), bool)
        self._bill[name] = np.zeros(len(self))

    def copy(self, *, blind: bool = False) -> Panel:
        """A panel in the same state, from which asks go on apart: one look, then many budgets.

        The copies share what experts have said, so that none is called twice about a row, but not what was asked:
        each pays for all it sees.
        """
        twin = copy.copy(self)
        twin._blind = self._blind or blind
        twin._experts = dict(self._experts)
        twin._asked = {name: asked.copy() for name, asked in self._asked.items()}
        twin._bill = {name: bill.copy() for name, bill in self._bill.items()}
        twin._charges = self._charges.copy()
        return twin

    def take(self, rows: Ints | Bools, *, blind: bool = False) -> Panel:
        """A panel of these rows alone, nothing asked yet: a fold, a split. What experts have said is shared."""
        index = self._index(rows)
        part = Panel(
            self._examples.take(pa.array(index)),
            self._experts,
            self.cost_model,
            self.classes,
            blind=self._blind or blind,
        )
        part._given = {name: given.take(index) for name, given in self._given.items()}
        return part

    def charge(self, amount: float | Floats, rows: Ints | Bools | None = None) -> None:
        """Bill `amount` for each row, in the cost model's unit, for what is no answer: the decider itself."""
        _refuse_cost("panel.charge", amount)
        self._charges[self._index(rows)] += amount

    def _call(self, expert: str, fresh: Ints, texts: Mapping[int, str] | None) -> None:
        given = self._given.setdefault(expert, _Given(len(self)))
        new = fresh[given.at[fresh] < 0]
        if len(new):
            self._collect(expert, given, new, texts)
        self._asked[expert][fresh] = True
        self._bill[expert][fresh] = given.cost[fresh]

    def _collect(self, expert: str, given: _Given, new: Ints, texts: Mapping[int, str] | None) -> None:
        subset, where = self._questions.take(pa.array(new)), f"answers of '{expert}'"
        if texts is not None:
            at = subset.schema.get_field_index("text")
            subset = subset.set_column(at, subset.schema.field(at), pa.array([texts[row] for row in new.tolist()]))
        table = self._experts[expert].answer(subset)
        if not table["id"].combine_chunks().equals(subset["id"].combine_chunks()):
            schema.check_answers(subset, table, where)
            raise DataError(
                where,
                f"{table.num_rows} rows for {len(new)} asked, or another order",
                "one row for each asked, in the asked order",
                "Sort by id and remove duplicates.",
            )
        schema.check_classes(table, self.classes, where)
        cost = self.cost_model.price(table, expert)
        _refuse_cost(where, cost)
        # Nothing above may fail once the rows count as asked, or they could be seen without being billed.
        given.add(new, table, cost, self.classes)
        answers = given.answers(expert, new, self.classes)
        _tell_contradicted(expert, answers.label, answers.proba)

    def _index(self, rows: Ints | Bools | None) -> Ints:
        if rows is None:
            return np.arange(len(self))
        index = np.asarray(rows, dtype=None if len(rows) else np.int64)
        if index.dtype == bool and index.shape == (len(self),):
            return np.flatnonzero(index)
        if index.dtype.kind not in "iu" or ((index < 0) | (index >= len(self))).any():
            raise DataError(
                "panel rows",
                f"{index.dtype} of shape {index.shape}",
                f"a mask of {len(self)} rows, or indices from 0 to {len(self) - 1}",
                "Give rows of this panel.",
            )
        return index.astype(np.int64)

    def _known(self, expert: str, of: dict[str, T]) -> T:
        if expert not in self._experts:
            raise ConfigError.unknown("expert", expert, self._experts)
        return of[expert]


def _tell_contradicted(expert: str, label: Ints, proba: Floats) -> None:
    """Say once for each expert that its probabilities speak against its labels."""
    count = int(contradicted(label, proba).sum())
    if count and expert not in _TOLD:
        _TOLD.add(expert)
        logger.warning(CONTRADICTED, expert, f"{count:,}", f"{len(label):,}")


def _distinct(index: Ints, rows: int) -> Ints:
    """The indices among `rows`, ascending, each once; many are marked rather than sorted."""
    if len(index) * 64 < rows:
        return np.unique(index)
    mask = np.zeros(rows, bool)
    mask[index] = True
    return np.flatnonzero(mask)


def draws(ids: Sequence[str], seed: int) -> Floats:
    """A draw from [0, 1) for each id, the same on every machine and in every batch, shape (ids,)."""
    from pandas.util import hash_array

    # The key is the field's word, not the product's name: it decides ties and draws, and may not change.
    hashed = hash_array(np.asarray(ids, dtype=object), hash_key=f"deferral{seed % 10**8:08d}", categorize=False)
    return np.asarray(hashed >> np.uint64(11), np.float64) / 2.0**53


def class_indices(labels: pa.ChunkedArray, classes: Sequence[str]) -> Ints:
    """Index of each label among `classes`, `NO_LABEL` for null or any other, shape (rows,)."""
    index = pc.fill_null(pc.index_in(labels, pa.array(list(classes), pa.string())), NO_LABEL)
    return np.asarray(index.to_numpy(), dtype=np.int64)


def gold_indices(labels: pa.ChunkedArray, classes: Sequence[str]) -> Ints:
    """`class_indices` of gold labels; raises `DataError` where one is null or none of the classes."""
    gold = class_indices(labels, classes)
    if (gold == NO_LABEL).any():
        raise DataError(
            "gold labels",
            f"{(gold == NO_LABEL).sum()} of {len(gold)} rows have none",
            f"one of {list(classes)} in every row",
            "Label these rows or leave them out.",
        )
    return gold


def proba_matrix(column: pa.ChunkedArray, k: int) -> Floats:
    """The list column as an array (rows, k), NaN rows where null."""
    if column.null_count == len(column):
        return np.broadcast_to(np.nan, (len(column), k))
    proba = np.full((len(column), k), np.nan)
    present = column.is_valid().to_numpy()
    flat = pc.list_flatten(column.filter(pc.is_valid(column)))
    proba[present] = np.asarray(flat.to_numpy(), dtype=np.float64).reshape(-1, k)
    return proba


def of_label(label: Ints, proba: Floats) -> Floats:
    """The probability of the label given (rows,), from `proba` (rows, classes); NaN where either is not stated."""
    named = proba[np.arange(len(label)), np.maximum(label, 0)] if proba.shape[1] else np.full(len(label), np.nan)
    return np.where(label == NO_LABEL, np.nan, named)


def contradicted(label: Ints, proba: Floats) -> Bools:
    """Where another class is likelier, by the probabilities stated, than the label given, shape (rows,)."""
    if not proba.shape[1]:
        return np.zeros(len(label), bool)
    return np.asarray(of_label(label, proba) < proba.max(axis=1))


def _without_quality(table: pa.Table) -> pa.Table:
    """What may be seen before the right answer is."""
    at = table.schema.get_field_index("quality")
    return table.set_column(at, table.schema.field(at), pa.nulls(len(table), pa.float32()))


def _floats(column: pa.ChunkedArray) -> Floats:
    if len(column) and column.null_count == len(column):
        return np.broadcast_to(np.nan, len(column))
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _without_gold(examples: pa.Table) -> pa.Table:
    """What an expert is shown: the examples, but for everything that tells the right answer."""
    for name in ("label", "reference", "group"):
        at = examples.schema.get_field_index(name)
        examples = examples.set_column(at, examples.schema.field(at), pa.nulls(len(examples), pa.string()))
    return examples


def _refuse_cost(where: str, cost: float | Floats) -> None:
    bad = ~(np.isfinite(cost) & (np.asarray(cost) >= 0))
    if np.any(bad):
        raise DataError(
            where,
            f"cost {np.atleast_1d(cost)[np.atleast_1d(bad)][0]:g}",
            "a finite number >= 0",
            "Measure it again.",
        )
