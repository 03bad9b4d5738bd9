"""What experts answered, from a file that anybody wrote, as predictions of the data contract.

A file has columns `id`, `label` and, unless one expert's name is given for all of it, `expert`; it may have `proba`
(a list) or `proba_<class>`, `logprob`, `cost_usd`, `prompt_tokens` (of them `cached_tokens`), `completion_tokens`,
`seconds`, `text`, `error` and `sample`. Where answers were judged already, `correct` (true or false) or `quality` (0 to
1) stands for the label. A column `confidence`, where one is named so, is how likely an answer is, from 0 to 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.data import tables
from askless.data.columns import counted, listed, numbers, refuse, strings
from askless.data.recorded import batch_files, probabilities
from askless.data.tables import Wanted
from askless.errors import ConfigError, DataError

CONFIDENCE = "confidence"
TOKENS = tuple(name for name in schema.PREDICTIONS.names if name.endswith("_tokens"))
NUMBERS = ("logprob", "mass", "quality", "cost_usd", *TOKENS, "batched", "replies", "seconds")
TEXTS = ("id", "expert", "label", "text", "error", "sample")
WIDE = "proba_"
CORRECT = {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}
MOST_EXPERTS = 200
ROUNDING = 1e-6


@dataclass(frozen=True)
class ExpertAnswers:
    """One expert's answers in their file's order.

    Parameters
    ----------
    expert, where
        Its name, and the file, for messages.
    table
        The columns that the file has, as text and float64.
    stated
        The classes that the file names, in the order of its probabilities; None where it names none.
    notes
        What was assumed or changed.
    max_tokens
        The longest that a reply could be, where the file says it.
    """

    expert: str
    where: Path
    table: pa.Table
    stated: tuple[str, ...] | None
    notes: tuple[str, ...] = field(default=())
    max_tokens: int | None = None

    def has(self, column: str) -> bool:
        """Whether a column is there and says anything."""
        return column in self.table.column_names and self.table[column].null_count < len(self.table)


@dataclass(frozen=True)
class Layout:
    """What a person says of files of answers, beyond what their columns say themselves.

    Parameters
    ----------
    columns
        Our names of columns to the files'.
    wide
        Expert to the column of its labels, in a file that has one for each; columns that are called so with `_logprob`,
        `_cost_usd`, ... behind it are that expert's too.
    pattern
        A regular expression that finds the label in a reply: its first group where it has one, of its last match.
    spelt
        Labels as they are written to the classes that they mean.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    wide: Mapping[str, str] = field(default_factory=dict)
    pattern: str | None = None
    spelt: Mapping[str, str] = field(default_factory=dict)

    def label(self, table: pa.Table) -> pa.Table:
        """The table with what the pattern finds in its labels; one in which it finds nothing stays."""
        if self.pattern is None:
            return table
        try:
            pattern = re.compile(self.pattern)
        except re.error as error:
            raise ConfigError(f"The pattern '{self.pattern}' is no regular expression: {error}. Correct it.") from None
        distinct = pc.unique(table["label"]).drop_null()
        found = [_last(pattern, text) for text in distinct.to_pylist()]
        label = pc.take(pa.array(found, pa.string()), pc.index_in(table["label"], distinct))
        return table.set_column(table.column_names.index("label"), "label", label)


AS_IT_IS = Layout()


def _last(pattern: re.Pattern[str], text: str) -> str:
    matches = list(pattern.finditer(text))
    return text if not matches else str(matches[-1][1 if pattern.groups else 0] or "")


def read(path: Path, expert: str | None = None, layout: Layout = AS_IT_IS) -> dict[str, ExpertAnswers]:
    """Each expert's answers in a file; with `expert` that one's only, or the whole file's where it names none.

    The results of a batch (`batch_files`) are known by their keys; columns that are named win over these. Raises
    `DataError` for what is missing or is no number, for a log-prob above 0 and a cost below it.
    """
    if layout.wide:
        if shared := sorted({*NUMBERS, "proba", "error"} & set(layout.columns)):
            raise ConfigError(
                f"Got --column {shared[0]}=... with --wide: it does not say whose it is. Allowed with --wide: a column "
                f"LABELS_{shared[0]} beside the expert's column LABELS. Rename it in the file."
            )
        return {name: _of_column(path, name, column, layout) for name, column in layout.wide.items()}
    if batch_files.is_batch(path, replies=bool(layout.columns)):
        name, answers, notes = batch_files.read(path, expert, layout.columns)
        return {name: ExpertAnswers(name, path, layout.label(answers), None, notes)}
    raw = tables.read(path, Wanted(("id",), _others, layout.columns, "--column", ("label", "correct", "quality")))
    meta = schema.meta_of(raw)
    table, stated = _typed(raw, path, meta.get("classes"))
    table, changed = _checked(layout.label(table), path)
    if meta.get(schema.OUT_OF_FOLD, {}) is None:
        changed.append(
            f"{path}: answers of a trained model, not out of fold. A policy that is fitted on rows which the model has "
            "learnt from trusts it too much (docs/policies.md, What a policy is fitted on)."
        )
    if "expert" not in table.column_names:
        name = expert or path.stem
        unnamed = () if expert else (f"{path} names no expert: its answers are taken as those of '{name}'.",)
        return {name: ExpertAnswers(name, path, table, stated, (*changed, *unnamed))}
    return {
        name: replace(
            one,
            table=_sampled(one.table, meta.get(schema.SAMPLES, {}).get(name)),
            max_tokens=meta.get(schema.MAX_TOKENS),
        )
        for name, one in _by_expert(table, path, expert, stated, changed).items()
    }


def _of_column(path: Path, expert: str, column: str, layout: Layout) -> ExpertAnswers:
    """The answers of one expert in a file that has a column of labels for each."""
    own = {name: f"{column}_{name}" for name in (*NUMBERS, "proba", "error")}
    ids = layout.columns.get("id", "id")
    raw = tables.read(path, Wanted((ids, column), set(own.values()).__contains__))
    called = {ids: "id", column: "label", **{theirs: ours for ours, theirs in own.items()}}
    table, _ = _typed(raw.rename_columns([called[name] for name in raw.column_names]), path, None)
    table, changed = _checked(layout.label(table), path)
    return ExpertAnswers(expert, path, table, None, tuple(changed))


def _sampled(table: pa.Table, samples: float | None) -> pa.Table:
    """With the number of samples behind each answer, where a file that was imported says it."""
    return table if samples is None else table.append_column("samples", pa.array([float(samples)] * len(table)))


def joined(one: ExpertAnswers, other: ExpertAnswers) -> ExpertAnswers:
    """One expert's answers from two files."""
    if one.stated != other.stated and "proba" in one.table.column_names and "proba" in other.table.column_names:
        raise DataError(
            other.where,
            f"'{other.expert}' has probabilities of {other.stated}, in {one.where} of {one.stated}",
            "the same classes in the same order",
            "Import both with the same classes.",
        )
    table = pa.concat_tables([one.table, other.table], promote_options="default")
    longest = one.max_tokens and other.max_tokens and max(one.max_tokens, other.max_tokens)
    notes = (*one.notes, *other.notes)
    return replace(one, table=table, stated=one.stated or other.stated, notes=notes, max_tokens=longest)


def _others(name: str) -> bool:
    return name in (*NUMBERS, *TEXTS, "proba") or name.startswith(WIDE)


def _typed(raw: pa.Table, path: Path, stated: Sequence[str] | None) -> tuple[pa.Table, tuple[str, ...] | None]:
    """The columns as text and float64, wide probabilities as lists."""
    columns = {name: strings(raw[name], name, path) for name in TEXTS if name in raw.column_names}
    columns |= {name: numbers(raw[name], name, path) for name in NUMBERS if name in raw.column_names}
    if CONFIDENCE in raw.column_names:
        columns["logprob"] = _logprob(numbers(raw[CONFIDENCE], CONFIDENCE, path), path)
    columns.setdefault("label", pa.chunked_array([pa.nulls(len(raw), pa.string())]))
    if "correct" in raw.column_names:
        if "quality" in columns and columns["quality"].null_count < len(raw):
            raise DataError(path, "both 'correct' and 'quality'", "one of them", "Drop or rename the other.")
        columns["quality"] = _correct(raw["correct"], path)
    wide = [name for name in raw.column_names if name.startswith(WIDE)]
    if wide and "proba" not in raw.column_names:
        stated = [name.removeprefix(WIDE) for name in wide]
        columns["proba"] = probabilities.from_columns([numbers(raw[name], name, path) for name in wide])
    elif "proba" in raw.column_names:
        columns["proba"] = probabilities.from_lists(raw["proba"], path)
    return pa.table(columns), tuple(stated) if stated else None


def _logprob(confidence: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    """The logarithm of how likely an answer is, by its expert."""
    outside = pc.or_(pc.less(confidence, 0), pc.greater(confidence, 1 + ROUNDING))
    refuse(confidence, outside, CONFIDENCE, path, "how likely the answer is, a number from 0 to 1")
    return pc.ln(confidence)


def _correct(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    """Whether answers are right as a quality of 1 or 0, null where nobody said."""
    text = pc.utf8_lower(pc.utf8_trim_whitespace(strings(column, "correct", path)))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    at = pc.index_in(text, pa.array(list(CORRECT)))
    refuse(text, pc.and_(pc.is_valid(text), pc.is_null(at)), "correct", path, "true or false (yes or no, 1 or 0)")
    return pc.take(pa.array(list(CORRECT.values())), at)


def _checked(table: pa.Table, path: Path) -> tuple[pa.Table, list[str]]:
    """The same table with NaN as null and log-probs of at most 0, and what was changed."""
    notes = []
    refuse(table["id"], pc.is_null(table["id"]), "id", path, "an id in every row")
    if "expert" in table.column_names:
        nameless = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(table["expert"]), ""), True)
        refuse(table["expert"], nameless, "expert", path, "a name in every row")
    for name in (n for n in NUMBERS if n in table.column_names):
        column = table[name]
        nan = pc.fill_null(pc.is_nan(column), False)
        if count := pc.sum(nan).as_py():
            notes.append(f"{path}: {name} is NaN in {counted(count, 'row')}, taken as not given.")
            column = pc.if_else(nan, pa.scalar(None, pa.float64()), column)
        if name == "logprob":
            refuse(column, pc.greater(column, ROUNDING), name, path, "a natural logarithm of at most 0")
            column = pc.min_element_wise(column, 0.0, skip_nulls=False)
        else:
            bad = pc.or_(pc.less(column, 0), pc.invert(pc.is_finite(column)))
            refuse(column, bad, name, path, "a finite number of at least 0")
        if name == "quality":
            refuse(column, pc.greater(column, 1.0), name, path, "a number from 0 to 1")
        if name.endswith("tokens"):
            bad = pc.or_(pc.not_equal(column, pc.floor(column)), pc.greater(column, 2**31 - 1))
            refuse(column, bad, name, path, "a whole number below 2^31")
        table = table.set_column(table.column_names.index(name), name, column)
    return table, notes


def _by_expert(
    table: pa.Table, path: Path, expert: str | None, stated: tuple[str, ...] | None, notes: list[str]
) -> dict[str, ExpertAnswers]:
    names = sorted(pc.unique(table["expert"]).to_pylist())
    if len(names) > MOST_EXPERTS:
        got = f"{len(names):,} experts ({listed(names, 3)})"
        raise DataError(path, got, f"at most {MOST_EXPERTS}", "Name the column of experts: --column expert=ITS_NAME.")
    if expert is not None and expert not in names:
        got = f"no answers of '{expert}'"
        raise DataError(path, got, f"one of {', '.join(names)}", "Correct the expert, or leave it out for all.")
    found = {}
    for name in names if expert is None else [expert]:
        mine = table if len(names) == 1 else table.filter(pc.equal(table["expert"], name))
        found[name] = ExpertAnswers(name, path, mine.drop_columns("expert"), stated, tuple(notes))
        notes = []
    return found
