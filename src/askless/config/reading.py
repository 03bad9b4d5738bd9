"""`params.yaml` read: with its defaults, checked, and with what follows from others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from askless import price_list
from askless.config.checks import problems
from askless.config.defaults import filled
from askless.config.sections import Params, Price, network_of
from askless.errors import ConfigError
from askless.files import read_yaml
from askless.prompts import DRAWN, LISTED, Draw, Example, place_of

FREE = "none is named: what runs on a machine of your own counts as nothing"


def load(path: Path | str = "params.yaml") -> Params:
    """Read and validate a parameters file.

    Raises `ConfigError` naming the key, what was got and what is allowed.
    """
    path = Path(path)
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Run from the project's root or pass the path.") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Pass the path of a readable YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    inline = _inline_prompts(raw)
    try:
        params = TypeAdapter(Params).validate_python(filled(raw))
    except ValidationError as error:
        raise _refused(path, [_explain(dict(e), inline) for e in error.errors()]) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if wrong := list(problems(params, inline)):
        raise _refused(path, wrong)
    return _finished(params)


def _refused(path: Path, wrong: Sequence[str]) -> ConfigError:
    """All that is wrong, each once."""
    told = list(dict.fromkeys(wrong))
    if len(told) == 1:
        return ConfigError(f"{path}: {told[0]}")
    return ConfigError(f"{path}: {len(told)} things are wrong.\n" + "\n".join(f"- {each}" for each in told))


def _inline_prompts(raw: Any) -> set[str]:
    """The tasks that write their prompt themselves."""
    tasks = raw.get("tasks") if isinstance(raw, dict) else None
    if not isinstance(tasks, dict):
        return set()
    return {
        str(name) for name, task in tasks.items() if isinstance(task, dict) and isinstance(task.get("prompt"), dict)
    }


def _finished(params: Params) -> Params:
    """The parameters with what follows from others.

    Prices of experts that have none: a listed model's; of a small expert nothing; of a team's network the decider's. A
    reference where none is named.
    """
    listed = {
        name: Price(**found)
        for name, options in params.experts.items()
        if name not in params.costs.prices and options.get("backend") == "openai"
        if (found := price_list.listed(str(options.get("model")), options.get("base_url"))) is not None
    }
    own = params.costs.prices.get("decider", Price())
    teams = [team for train in params.train.values() for team in train.teams]
    small = {name for train in params.train.values() for name in (train.small, *train.baselines)}
    free = dict.fromkeys(small - {*params.base.llms}, Price(source=FREE))
    prices = {**free, **listed, **{network_of(team): own for team in teams}, **params.costs.prices}
    evaluate = {
        name: part if part.reference else replace(part, reference=_dearest(params.llms(name), prices))
        for name, part in params.evaluate.items()
    }
    return replace(params, costs=replace(params.costs, prices=prices), evaluate=evaluate)


def _dearest(llms: Sequence[str], prices: Mapping[str, Price]) -> str:
    """The LLM of the highest price, of equal ones the last; empty where there is none."""

    def price(place: int) -> tuple[float, int]:
        found = prices.get(llms[place], Price())
        return sum(rate for rate, _ in found.rates) + found.usd_per_1k_answers / 1000, place

    return llms[max(range(len(llms)), key=price)] if llms else ""


def _explain(error: dict[str, Any], inline: Collection[str]) -> str:
    loc = tuple(map(str, error["loc"]))
    written = ("tasks", loc[1], "prompt", *loc[2:]) if loc[:1] == ("prompts",) and loc[1] in inline else loc
    where = place_of(written) or "the file"
    if error["type"] == "string_type" and isinstance(got := error["input"], bool | int | float):
        why = (
            "YAML reads yes, no, on, off without quotes as true or false" if isinstance(got, bool) else "it is a number"
        )
        return f'{where}: got {str(got).lower()}, which is no text: {why}. Quote them, as in ["no", "yes"].'
    if error["type"] == "unexpected_keyword_argument":
        return f"{ConfigError.unknown('key', loc[-1], _keys_at(loc[:-1]))} (at {where})"
    if error["type"] == "dataclass_type":
        return f"{where}: must be a section of keys ({', '.join(_keys_at(loc))}). Got {error['input']!r}."
    if error["type"] == "tuple_type":
        return f"{where}: must be a list. Got {error['input']!r}."
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        return f"{where}: {message}" if message.endswith((".", "?")) else f"{where}: {message}."
    got = "" if error["type"].startswith("missing") else f" Got {error['input']!r}."
    return f"{where}: {error['msg']}.{got}"


def _keys_at(path: tuple[str, ...]) -> list[str]:
    kind: Any = Params
    for part in path:
        if part in (DRAWN, LISTED):
            kind = Draw if part == DRAWN else tuple[Example, ...]
        elif is_dataclass(kind):
            kind = get_type_hints(kind).get(part)
        elif get_args(kind):
            kind = get_args(kind)[0 if get_origin(kind) is tuple else -1]
        if get_origin(kind) is UnionType:
            kind = get_args(kind)[0]
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []
