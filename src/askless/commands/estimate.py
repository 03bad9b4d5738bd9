"""`askless estimate`: shares and means of what people would say, from an LLM's labels and a few human ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from askless.commands.options import AsJson, note, print_json, tell

if TYPE_CHECKING:
    import pyarrow as pa

    from askless.arrays import Bools, Ints
    from askless.stats.prediction_powered import MeanEstimate

FEW, ROW = 30, "row"

Labelled = Annotated[Path, typer.Argument(metavar="LABELLED", help="What `annotate` wrote, or any file with labels.")]
Gold = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Rows that people labelled, drawn by chance.", show_default=False)
]


def estimate(
    labelled: Labelled,
    gold: Gold = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="What both files name rows by.", show_default="id, else the row's number"),
    ] = None,
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The LLM's labels.")] = "label",
    gold_column: Annotated[str, typer.Option(metavar="COLUMN", help="The human labels.")] = "gold",
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help="Also for each of its values.")] = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals, 0.5 to below 1.")] = 0.95,
    suggest: Annotated[int, typer.Option(min=0, help="Draw so many rows for people to label next.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Where the drawn rows go: .csv, .jsonl, .parquet."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say how large each class really is, with an interval, where an LLM labelled all rows and people a few.

    An LLM's labels are biased, and so is their count. A few human labels, of rows drawn by chance, correct it (PPI++).

    Example: askless estimate labelled.parquet --suggest 300 -o todo.csv, then, with the column gold filled in,
    askless estimate labelled.parquet --gold todo.csv
    """
    import numpy as np

    from askless.annotating.people import PEOPLE
    from askless.annotating.run import NEW
    from askless.errors import ConfigError

    if not 0.5 <= confidence < 1:
        raise ConfigError(f"A confidence of {confidence:g}. Allowed: 0.5 or more and less than 1.")
    if (out is None) != (not suggest) or (gold is None and not suggest):
        raise ConfigError("Give --gold FILE for an estimate, --suggest 300 -o FILE for rows to label first, or both.")
    rows, places, key, told = _labelled(labelled, key, label, by)
    people: list[str | None] = [None] * rows.num_rows
    if gold is not None:
        people = _people(gold, key, gold_column, rows["key"].to_pylist(), told)
    if suggest and out is not None:
        unlabelled = places[[each is None for each in people] & (rows["who"].to_numpy() != PEOPLE)]
        drawn = np.random.default_rng(seed).permutation(unlabelled)[:suggest]
        # What would tell a person what was said before, under the prefix that `annotate` was given.
        hidden = {name.removesuffix("label") + each for name in ("label", label) for each in NEW}
        _write(labelled, out, {*drawn.tolist()}, key, {*hidden, label, gold_column}, gold_column)
        told.append(f"{len(drawn):,} rows to label are in {out}: fill in the column {gold_column}.")
    found = [] if gold is None else _estimates(rows, people, by, confidence)
    if as_json:
        print_json({"estimates": [vars(each.pop("found")) | each for each in found], "notes": told})
        return
    for each in found:
        tell(_words(**each, confidence=confidence))
    note(told)


def _labelled(path: Path, key: str | None, label: str, by: str | None) -> tuple[pa.Table, Ints, str, list[str]]:
    """Key, label and group of the rows that have a label, their places, the key's name, and what is said of others."""
    import numpy as np
    import pyarrow as pa

    from askless.data.columns import counted, refuse_repeated, strings
    from askless.data.tables import Wanted, read

    names = {"label": label, **({} if by is None else {"by": by}), **({} if key is None else {"key": key})}
    answered_by = f"{label.removesuffix('label')}answered_by"
    wanted = ("id", answered_by) if key is None else (answered_by,)
    table = read(path, Wanted(("label",), lambda name: name in wanted, names))
    if key is None and "id" in table.column_names:
        key, names["key"] = "id", "id"
        table = table.rename_columns(["key" if name == "id" else name for name in table.column_names])
    found = {name: strings(table[name], names[name], path) for name in names}
    who = answered_by in table.column_names
    found["who"] = table[answered_by] if who else pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    if key is None:
        key, found["key"] = ROW, pa.chunked_array([pa.array([*map(str, range(1, table.num_rows + 1))])])
    table = pa.table(found)
    refuse_repeated(table["key"], path, f"each {key} once", "Name another column with --key.")
    places = np.array([at for at, text in enumerate(table["label"].to_pylist()) if text and text.strip()], np.int64)
    without = table.num_rows - len(places)
    told = [f"{counted(without, 'row')} without a label left out."] if without else []
    return table.take(pa.array(places)), places, key, told


def _people(path: Path, key: str, column: str, keys: list[str], told: list[str]) -> list[str | None]:
    """The human label of each row, None where it has none; raises `DataError` for keys that no row has."""
    from askless.data.columns import counted, refuse_repeated, strings
    from askless.data.tables import Wanted, read
    from askless.errors import DataError

    table = read(path, Wanted(("key", "gold"), names={"key": key, "gold": column}))
    names, labels = strings(table["key"], key, path), strings(table["gold"], column, path).to_pylist()
    refuse_repeated(names, path, f"each {key} once")
    given = {name: text.strip() for name, text in zip(names.to_pylist(), labels, strict=True) if text and text.strip()}
    if empty := table.num_rows - len(given):
        told.append(f"{counted(empty, 'row')} of {path} without a human label left out.")
    if unknown := [name for name in given if name not in set(keys)]:
        got = f"{counted(len(unknown), key)} that no labelled row has (first '{unknown[0]}')"
        raise DataError(path, got, "rows of the labelled file", "Name the common column with --key.")
    if len(given) < 2:
        got = counted(len(given), "human label")
        raise DataError(path, got, "two or more, better some hundred", "Label rows drawn by --suggest.")
    if len(given) < FEW:
        told.append(f"{len(given)} human labels are few: the intervals are rough below {FEW}.")
    return [given.get(name) for name in keys]


def _estimates(rows: pa.Table, people: list[str | None], by: str | None, confidence: float) -> list[dict[str, Any]]:
    import numpy as np

    from askless.annotating.people import PEOPLE

    said, human = np.array(rows["label"].to_pylist(), object), np.array(people, object)
    known = rows["who"].to_numpy() == PEOPLE
    groups = np.array(rows["by"].to_pylist(), object) if by is not None else np.full(len(said), None, object)
    parts: list[tuple[str | None, Bools]] = [(None, np.ones(len(said), bool))]
    if by is not None:
        parts += [(str(name), groups == name) for name in sorted({str(each) for each in groups if each is not None})]
    return [
        found
        for name, part in parts
        for found in _of_part(name, said[part & ~known], human[part & ~known], said[part & known], confidence)
    ]


def _of_part(group: str | None, said: Any, human: Any, known: Any, confidence: float) -> Iterator[dict[str, Any]]:
    """Of the rows of a group; `known` is what people said of rows that they were shown for nobody was sure of them."""
    import numpy as np

    from askless.stats.prediction_powered import powered_mean

    given = np.array([each is not None for each in human], bool)
    if given.sum() < 2:
        return
    classes = sorted({*said.tolist(), *human[given].tolist(), *known.tolist()})
    for name in classes:
        gold, model = (human[given] == name).astype(float), (said == name).astype(float)
        found = powered_mean(gold, model[given], model[~given], confidence)
        yield {"group": group, "what": name, "found": found.beside((known == name).astype(float))}
    if len(classes) > 2 and all(_number(each) for each in classes):
        gold, model = human[given].astype(float), said.astype(float)
        found = powered_mean(gold, model[given], model[~given], confidence)
        yield {"group": group, "what": None, "found": found.beside(known.astype(float))}


def _number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _words(group: str | None, what: str | None, found: MeanEstimate, confidence: float) -> str:
    share = what is not None
    scale, unit = (100.0, " %") if share else (1.0, "")
    off = scale * (found.raw - found.value)
    points = "points " if share else ""
    apart = f"{abs(off):.1f} {points}too {'high' if off > 0 else 'low'}" if abs(off) >= 0.05 else "right to a tenth"
    where = "" if group is None else f"{group}: "
    named = f"'{what}'" if share else "mean"
    return (
        f"{where}{named} {scale * found.value:.1f}{unit} ({scale * found.low:.1f} to {scale * found.high:.1f}{unit}, "
        f"{100 * confidence:g} % interval; by the {found.labels:,} human labels alone {scale * found.alone[0]:.1f} to "
        f"{scale * found.alone[1]:.1f}{unit}). Of all {found.rows:,} labels {scale * found.raw:.1f}{unit}: {apart}."
    )


def _write(labelled: Path, out: Path, places: set[int], key: str, hidden: set[str], gold_column: str) -> None:
    """Write the rows at these places, without what the LLM said, and an empty column for the people."""
    import pyarrow as pa

    from askless.data.tables import TableFile
    from askless.labelling.outputs import write_output

    every = enumerate(row for _, row in TableFile.of(labelled, lists=True).rows())
    rows = ({**({ROW: at + 1} if key == ROW else {}), **row} for at, row in every if at in places)
    shown = [{name: value for name, value in row.items() if name not in hidden} | {gold_column: ""} for row in rows]
    table = pa.Table.from_pylist(shown)
    write_output(out, iter([table]), table.schema, {})
