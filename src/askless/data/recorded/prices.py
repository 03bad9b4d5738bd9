"""In which unit recorded answers are priced, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import yaml
from pydantic import TypeAdapter, ValidationError

from askless.config import Price
from askless.costs import UNITS, CostModel
from askless.errors import ConfigError, DataError
from askless.files import read_yaml

MEASURED = {"tokens": ("prompt_tokens", "completion_tokens"), "seconds": ("seconds",)}
WAYS = (
    "a cost_usd in every answer, or a price (--prices costs.yaml) of the expert, or tokens (or seconds) in every answer"
    " of every expert"
)


def read_prices(path: Path | str) -> dict[str, Price]:
    """The `prices` of a YAML file, or of its section `costs`; raises `ConfigError` for what is no price."""
    path = Path(path)
    try:
        raw = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Pass the path of a readable YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    section = raw.get("costs", raw) if isinstance(raw, dict) else None
    if not isinstance(section, dict) or not isinstance(section.get("prices"), dict):
        raise ConfigError(f"{path} has no prices. Write `costs: {{prices: {{EXPERT: {{usd_per_1k_answers: 0.5}}}}}}`.")
    try:
        return TypeAdapter(dict[str, Price]).validate_python(section["prices"])
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: prices.{at}: {first['msg']}. Known: {', '.join(Price.__annotations__)}.") from None


def cost_model(
    tables: Mapping[str, pa.Table], prices: Mapping[str, Price] | None = None, unit: str | None = None
) -> tuple[CostModel, list[str]]:
    """The cost model for these answers, and what to say about it.

    Dollars where every answer has a billed cost or its expert a price; else tokens, or seconds, where every answer has
    them. Raises `DataError` that says these three ways where none is open.
    """
    prices = dict(prices or {})
    if unit is not None:
        if unit not in UNITS:
            raise ConfigError.unknown("cost unit", unit, UNITS)
        return CostModel(unit, prices), []
    unpriced = [e for e, table in tables.items() if e not in prices and table["cost_usd"].null_count]
    if not unpriced:
        return CostModel("usd", prices), _mixed(tables, prices)
    if len(unpriced) == len(tables) and all(t["cost_usd"].null_count == len(t) for t in tables.values()):
        for name, columns in MEASURED.items():
            if all(table[column].null_count == 0 for table in tables.values() for column in columns):
                return CostModel(name, prices), [f"No answer has a cost in dollars: cost is counted in {name}."]
    unknown = ", ".join(
        f"{tables[e]['cost_usd'].null_count:,} of {len(tables[e]):,} answers of '{e}'" for e in unpriced
    )
    raise DataError("cost", f"unknown for {unknown}", WAYS, "Add one of the three.")


def _mixed(tables: Mapping[str, pa.Table], prices: Mapping[str, Price]) -> list[str]:
    priced = [e for e, table in tables.items() if e in prices and table["cost_usd"].null_count]
    billed = [e for e in tables if e in prices and e not in priced]
    notes = [f"Priced by the prices given: {', '.join(priced)}."] if priced else []
    return notes + ([f"The billed cost_usd counts, not the price given: {', '.join(billed)}."] if billed else [])
