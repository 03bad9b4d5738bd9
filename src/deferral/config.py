"""`params.yaml` as frozen dataclasses; nothing else holds a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from deferral.errors import ConfigError

strict = dataclass(frozen=True, config=ConfigDict(extra="forbid"))
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Options = dict[str, Any]


@strict
class Base:
    """What is run: the tasks, the LLMs whose answers are generated, and the folders."""

    tasks: tuple[str, ...]
    llms: tuple[str, ...]
    data: Path = Path("data")
    models: Path = Path("models")
    reports: Path = Path("reports")


@strict
class Source:
    """Where raw rows come from; `kind` names a reader in `deferral.datasets`."""

    kind: str
    path: Path | None = None
    url: str | None = None
    sha256: str | None = None
    rows: Count | None = None
    seed: int = 0


@strict
class Vectors:
    """Where word vectors come from: `demo`, or `glove` text (plain or zipped) from a path or URL."""

    kind: Literal["demo", "glove"]
    dim: Count = 100
    path: Path | None = None
    url: str | None = None
    sha256: str | None = None
    member: str | None = None
    lower: bool = False
    rows: Count | None = None
    seed: int = 0


@strict
class Split:
    """Shares of the stratified hash split."""

    train: Share
    valid: Share
    test: Share
    salt: str = "deferral"

    def __post_init__(self) -> None:
        if abs(self.train + self.valid + self.test - 1) > 1e-9:
            raise ValueError(f"train + valid + test is {self.train + self.valid + self.test:g}, not 1")


@strict
class Checks:
    """What Great Expectations holds a table to."""

    rows_min: Count = 100
    rows_change_max: Share = 0.3
    minority_share_min: Share = 0.02
    balance_change_max: Share = 0.1
    text_chars_max: Count = 10_000
    summary_chars_max: Count = 2_000
    unparsed_share_max: Share = 0.2


@strict
class Task:
    """One data set and what is asked about it: the class of a text, or its summary.

    Texts of more than `max_chars` characters are left out and counted. `empty_text` says what becomes of an empty text,
    and of an empty reference summary.
    """

    kind: Literal["classification", "summarisation"]
    source: Source
    vectors: Vectors
    split: Split
    prompt: str
    classes: tuple[str, ...] = ()
    positive: str = ""
    max_chars: Count | None = None
    empty_text: Literal["error", "drop"] = "error"
    checks: Checks = field(default_factory=Checks)

    def __post_init__(self) -> None:
        if self.kind == "summarisation":
            if self.classes or self.positive:
                got = f"classes {list(self.classes)} and positive {self.positive!r}"
                raise ValueError(f"{got} belong to kind 'classification'; kind 'summarisation' has none: remove them")
            return
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise ValueError(f"classes {list(self.classes)} must be two or more different labels")
        if self.positive not in self.classes:
            raise ValueError(f"positive class {self.positive!r} is not one of {list(self.classes)}")


@strict
class Train:
    """How the small expert and the teams are trained."""

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    small: str
    baselines: tuple[str, ...]
    llms: tuple[str, ...]
    teams: Mapping[str, Options]


@strict
class Price:
    """What an expert charges, in US dollars; a hosted API bills tokens, a machine of your own bills hours."""

    usd_per_1m_prompt_tokens: Amount = 0.0
    usd_per_1m_completion_tokens: Amount = 0.0
    usd_per_hour: Amount = 0.0
    usd_per_1k_answers: Amount = 0.0


@strict
class Costs:
    """The unit in which cost is counted, and each expert's price."""

    unit: Literal["usd", "seconds", "tokens"]
    prices: Mapping[str, Price]


@strict
class Evaluate:
    """How the report is made: operating points, the sweep of the curve, the bootstrap."""

    reference: str
    quality: Literal["accuracy", "macro_f1", "f1_positive"]
    budgets: tuple[Share, ...]
    sweep: Annotated[int, Field(ge=3)]
    bootstrap: Annotated[int, Field(ge=20)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    margin: Share
    headline: str
    model: str


@strict
class Params:
    """The whole of `params.yaml`."""

    base: Base
    tasks: Mapping[str, Task]
    experts: Mapping[str, Options]
    train: Train
    policies: Mapping[str, Options]
    costs: Costs
    evaluate: Evaluate

    def task(self, name: str) -> Task:
        """The task called `name`, or a `ConfigError` that lists the known ones."""
        if name not in self.tasks:
            raise ConfigError.unknown("task", name, self.tasks)
        return self.tasks[name]

    def expert(self, name: str) -> Options:
        """The options of the expert called `name`, or a `ConfigError` that lists the known ones."""
        if name not in self.experts:
            raise ConfigError.unknown("expert", name, self.experts)
        return dict(self.experts[name])


def load(path: Path | str = "params.yaml") -> Params:
    """Read and validate a parameters file.

    Raises `ConfigError` naming the key, what was got and what is allowed.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Run from the project's root or pass the path.") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Pass the path of a readable YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    try:
        params = TypeAdapter(Params).validate_python(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(dict(e)) for e in error.errors()[:3])) from None
    _check_names(params, path)
    return params


def _check_names(params: Params, path: Path) -> None:
    """Raise `ConfigError` where a section names a task, expert or policy that no other section describes."""
    base, train, evaluate, named = params.base, params.train, params.evaluate, params.policies.items()
    uses: list[tuple[str, str, Iterable[str], Iterable[str]]] = [
        ("base.tasks", "task", base.tasks, params.tasks),
        ("base.llms", "expert", base.llms, params.experts),
        ("train.small", "expert", [train.small], params.experts),
        ("train.baselines", "expert", train.baselines, params.experts),
        ("train.llms", "expert", train.llms, params.experts),
        *((f"train.teams.{t}.llms", "expert", o.get("llms", ()), params.experts) for t, o in train.teams.items()),
        *((f"policies.{p}.experts", "expert", o.get("experts", ()), params.experts) for p, o in named),
        ("evaluate.reference", "expert", [evaluate.reference], params.experts),
        ("evaluate.headline", "policy", [evaluate.headline], [*train.teams, *params.policies]),
    ]
    for where, what, names, known in uses:
        for name in names:
            if name not in known:
                raise ConfigError(f"{path}: {ConfigError.unknown(what, name, known)} (at {where})")


def _explain(error: dict[str, Any]) -> str:
    loc = tuple(map(str, error["loc"]))
    where = ".".join(loc) or "the file"
    if error["type"] == "unexpected_keyword_argument":
        return f"{ConfigError.unknown('key', loc[-1], _keys_at(loc[:-1]))} (at {where})"
    if error["type"] == "dataclass_type":
        return f"{where}: must be a section of keys ({', '.join(_keys_at(loc))}). Got {error['input']!r}."
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}."
    got = "" if error["type"].startswith("missing") else f" Got {error['input']!r}."
    return f"{where}: {error['msg']}.{got}"


def _keys_at(path: tuple[str, ...]) -> list[str]:
    kind: Any = Params
    for part in path:
        if is_dataclass(kind):
            kind = {f.name: _resolved(kind, f.name) for f in fields(kind)}.get(part)
        elif get_origin(kind) is not None and get_args(kind):
            kind = get_args(kind)[-1]
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def _resolved(kind: Any, name: str) -> Any:
    from typing import get_type_hints

    return get_type_hints(kind)[name]
