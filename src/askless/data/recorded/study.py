"""Anybody's labelled items and recorded answers as one study, with every assumption noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.data.columns import counted, shorten
from askless.data.recorded import answer_files, answer_tables
from askless.data.recorded.answer_files import ExpertAnswers, Layout
from askless.data.recorded.items import read_items
from askless.data.recorded.prices import cost_model
from askless.data.recorded.spelling import read_labels
from askless.errors import ConfigError, DataError


@dataclass(frozen=True)
class Study:
    """Labelled items and what each expert answered: everything a comparison needs.

    Parameters
    ----------
    examples
        The items, a table of `askless.schema.EXAMPLES`.
    answers
        Expert to its predictions, whose rows are in the order of `examples`.
    classes, experts
        Names of the classes, none where answers were judged already; and of the experts, rising in mean cost on train.
    cost
        What answers cost.
    has_text
        Whether the items have texts of their own.
    notes
        What was assumed or changed, a sentence each.
    judged
        By what answers were judged already: `correct` where each is right or wrong, else `quality`, from 0 to 1; empty
        where labels are held against gold ones. It is a column of `answers` that no policy is shown.
    ordered
        Whether `experts` are in an order that somebody gave, which policies keep, and not in that of cost.
    """

    examples: pa.Table
    answers: Mapping[str, pa.Table]
    classes: tuple[str, ...]
    experts: tuple[str, ...]
    cost: CostModel
    has_text: bool
    notes: tuple[str, ...]
    judged: str = ""
    ordered: bool = False


def load(
    items: Path | str,
    answers: Sequence[Path | str],
    *,
    intersect: bool = False,
    split_seed: int = 0,
    columns: Mapping[str, str] | None = None,
    wide: Mapping[str, str] | None = None,
    pattern: str | None = None,
    spelt: Mapping[str, str] | None = None,
    item_columns: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    prices: Mapping[str, Price] | None = None,
    unit: str | None = None,
    fit: bool = True,
    order: Sequence[str] | None = None,
) -> Study:
    """Read items and answers from files in Parquet, CSV or JSON lines.

    `columns` and `item_columns` map our names of columns to the files', `wide` experts to their columns of labels;
    `pattern` finds the label in a reply, and `spelt` says which class a label means (`Layout`). `intersect` keeps
    the items that every expert answered. `classes` are those of the labels where the files do not show all of them;
    `unit` is that of cost, by default dollars where they are known. `order` names the experts to ask, in that
    order. Without `fit` there need not be any train items; costs are then compared on all. Answers with a column
    `correct` or `quality`, and no gold labels to be held against, are judged already. Raises `DataError` for
    whatever cannot be read one way only, and for gold labels of one class.
    """
    layout = Layout(columns or {}, wide or {}, pattern, spelt or {})
    found = _gathered([Path(path) for path in answers], layout)
    read = read_items(Path(items), split_seed, item_columns, _labelled(found))
    notes = list(read.notes)
    classes = _classes(read.examples, found, classes, Path(items), notes) if read.labelled else ()
    if fit and read.labelled:
        _refuse_one_class(read.examples, Path(items))
    for expert in found:
        found[expert], changed = (
            answer_tables.settled(found[expert], classes, layout.spelt)
            if read.labelled
            else answer_tables.judged(found[expert])
        )
        notes += changed
    examples, places = _common(read.examples, found, intersect, Path(items), notes)
    train = _train(examples, fit, Path(items))
    tables = {e: answer_tables.predictions(found.pop(e), classes, places.pop(e)) for e in list(found)}
    cost, priced = cost_model(tables, prices, unit)
    examples = schema.with_meta(examples, "examples", {"classes": list(classes)})
    mean = {e: float(cost.price(tables[e].filter(train), e).mean()) for e in tables}
    experts = tuple(sorted(tables, key=lambda e: (mean[e], e)))
    notes += priced
    if order is not None:
        experts = _ordered(order, experts, notes)
    kept = {e: tables[e] for e in experts}
    return Study(
        examples,
        kept,
        classes,
        experts,
        cost,
        read.has_text,
        tuple(notes),
        _judged_by(kept, read.labelled),
        order is not None,
    )


def _ordered(order: Sequence[str], experts: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """The experts that are named, in that order."""
    for name in order:
        if name not in experts:
            raise ConfigError.unknown("expert", name, experts)
    if len(set(order)) < len(order) or not order:
        raise ConfigError(f"The order got {', '.join(order) or 'no expert'}. Allowed: each expert once, one or more.")
    if rest := [name for name in experts if name not in order]:
        notes.append(f"Left out, since the order does not name them: {', '.join(rest)}.")
    return tuple(order)


def _labelled(answers: Mapping[str, ExpertAnswers]) -> bool | None:
    """Whether answers have labels that need gold ones; None where they were judged as well and need none."""
    judged = [one.expert for one in answers.values() if one.has("quality")]
    unjudged = [one for one in answers.values() if not one.has("quality")]
    labelled = all(one.has("label") for one in answers.values())
    if judged and unjudged and not labelled:
        got = f"'{unjudged[0].expert}' has labels and '{judged[0]}' a judgement of its answers"
        raise DataError(unjudged[0].where, got, "the same of every expert", "Add correct or quality, or the labels.")
    return True if unjudged else None if labelled else False


def _refuse_one_class(examples: pa.Table, items: Path) -> None:
    """Where every answer is held against one label, any policy that sees answers sees which are right."""
    gold = pc.unique(examples["label"])
    if len(gold) == 1:
        raise DataError(
            items,
            f"every gold label is '{shorten(gold[0].as_py())}', so that answers show every policy which are right",
            "gold labels of two classes or more",
            "Where labels are judgements, say so and give no gold labels: --column correct=ITS_NAME (true or false) or "
            "--column quality=ITS_NAME (0 to 1).",
        )


def _judged_by(tables: Mapping[str, pa.Table], labelled: bool) -> str:
    if labelled:
        return ""
    marks = pa.chunked_array([chunk for table in tables.values() for chunk in table["quality"].chunks])
    return "correct" if pc.all(pc.is_in(marks.drop_null(), pa.array([0, 1], marks.type))).as_py() else "quality"


def _train(examples: pa.Table, fit: bool, items: Path) -> pa.ChunkedArray:
    """Which rows are train; all, where none is and none is needed."""
    train = pc.equal(examples["split"], "train")
    if pc.any(train).as_py():
        return train
    if fit:
        got = f"no item with split train among {counted(len(examples), 'item')}"
        raise DataError(items, got, "train, on which policies are fitted", "Leave the split out, or name one train.")
    return pc.is_valid(examples["id"])


def _gathered(paths: Sequence[Path], layout: Layout) -> dict[str, ExpertAnswers]:
    """Each expert's answers, over all files."""
    if not paths:
        raise DataError("answers", "no file", "at least one file of answers", "Add --answers FILE.")
    found: dict[str, ExpertAnswers] = {}
    for path in paths:
        for name, given in answer_files.read(path, None, layout).items():
            found[name] = answer_files.joined(found[name], given) if name in found else given
    return found


def _classes(
    examples: pa.Table,
    answers: Mapping[str, ExpertAnswers],
    given: Sequence[str] | None,
    items: Path,
    notes: list[str],
) -> tuple[str, ...]:
    """The classes given, or stated by the items' file, or seen in gold labels; and those stated with answers."""
    gold = _sorted(pc.unique(examples["label"]).to_pylist())
    known = tuple(given or schema.meta_of(examples).get("classes", ())) or gold
    if len(set(known)) < len(known):
        raise DataError("classes", ", ".join(known), "each class once", "Remove the repeated one.")
    strange = [label for label in gold if label not in known]
    if strange and given:
        got = f"{counted(len(strange), 'label')} outside the classes ({', '.join(map(shorten, strange[:3]))})"
        raise DataError(items, got, f"one of {', '.join(known)}", "Correct --classes or the labels.")
    known = gold if strange else known
    if given:
        return known
    _note_spellings(gold, notes)
    stated = {name for one in answers.values() for name in one.stated or ()}
    order = sorted(stated)
    read = read_labels(pa.chunked_array([order], pa.string()), known).label.to_pylist()
    more = [name for name, as_class in zip(order, read, strict=True) if as_class is None]
    return _sorted([*known, *more]) if more else known


def _note_spellings(gold: Sequence[str], notes: list[str]) -> None:
    """Note classes that differ by case or space only: they may be one, and are taken as several."""
    alike: dict[str, list[str]] = {}
    for name in gold:
        alike.setdefault("".join(name.split()).casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            which = " and ".join(f"'{name}'" for name in names)
            notes.append(f"The classes {which} differ by case or space only: to merge them, spell the labels alike.")


def _sorted(names: Sequence[Any]) -> tuple[str, ...]:
    """In order; by value where all are whole numbers."""
    whole = all(name.removeprefix("-").isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if whole else 0, name)))


def _common(
    examples: pa.Table, answers: Mapping[str, ExpertAnswers], intersect: bool, items: Path, notes: list[str]
) -> tuple[pa.Table, dict[str, pa.Array]]:
    """The items that are kept, all or with `intersect` those that all answered, and each expert's rows for them."""
    places = {expert: _places(examples["id"], one, items, notes) for expert, one in answers.items()}
    lacks = {expert: place.null_count for expert, place in places.items() if place.null_count}
    if not lacks:
        return examples, places
    every = np.logical_and.reduce([place.is_valid().to_numpy(zero_copy_only=False) for place in places.values()])
    total, lacking = counted(len(examples), "item"), ", ".join(f"'{e}' lacks {n:,}" for e, n in lacks.items())
    if not intersect or not every.any():
        remedy = f"keep the {every.sum():,} that all answered with --intersect" if every.any() else "none has them all"
        got = f"the experts answered different items: of {total}, {lacking}"
        raise DataError("answers", got, "an answer of every expert to every item", f"Record the rest; or {remedy}.")
    kept = pa.array(every)
    rest = examples.filter(kept)
    sizes = ((split, pc.sum(pc.equal(rest["split"], split)).as_py()) for split in schema.SPLITS)
    by_split = ", ".join(f"{n:,} {split}" for split, n in sizes if n)
    notes.append(f"Of {total} the {len(rest):,} that every expert answered are kept ({by_split}): {lacking}.")
    return rest, {expert: place.filter(kept) for expert, place in places.items()}


def _places(ids: pa.ChunkedArray, one: ExpertAnswers, items: Path, notes: list[str]) -> pa.Array:
    """The row of each item's answer, null where there is none."""
    theirs = one.table["id"].combine_chunks()
    place = pc.index_in(ids, theirs).combine_chunks()
    met = len(place) - place.null_count
    if not met:
        got = f"no answer of '{one.expert}' is to an item of {items} (ids such as '{theirs[0]}', not '{ids[0]}')"
        remedy = "Name the column of ids: --column id=ITS_NAME of the answers, --item-column id=ITS_NAME of the items."
        raise DataError(one.where, got, "ids of the items", remedy)
    if met < len(theirs):
        answer_tables.refuse_twice(one)
        notes.append(f"{counted(len(theirs) - met, 'answer')} of '{one.expert}' to no item of {items}: left out.")
    return place
