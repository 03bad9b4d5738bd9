"""`params.yaml` as frozen dataclasses; nothing else holds a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from askless.errors import ConfigError

strict = dataclass(frozen=True, config=ConfigDict(extra="forbid"))
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Margin = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Options = dict[str, Any]
Use = tuple[str, str, Iterable[str], Iterable[str]]
BY_TASK = ("train", "policies", "evaluate")
RUNNERS = ("threads", "ray")
QUALITIES = {
    "classification": ("accuracy", "macro_f1", "f1_positive"),
    "summarisation": (
        "rouge1",
        "rouge2",
        "rougeL",
        "rouge1_stemmed",
        "rouge2_stemmed",
        "rougeL_stemmed",
        "embedding",
        "judge",
    ),
}


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
    """Where raw rows come from; `kind` names a reader in `askless.data.readers`."""

    kind: str
    path: Path | None = None
    url: str | None = None
    sha256: str | None = None
    rows: Count | None = None
    seed: int = 0


@strict
class VectorSource:
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
    """One data set, what is asked about it (the class of a text, or its summary), and which `quality` judges answers.

    The quality `judge` is the mark that the expert named `judge` gives. Texts of more than `max_chars` characters are
    left out and counted. `empty_text` says what becomes of an empty text, and of an empty reference summary. `note`
    goes into the model card: what a user of the data must know.
    """

    kind: Literal["classification", "summarisation"]
    source: Source
    vectors: VectorSource
    split: Split
    prompt: str
    quality: str
    judge: str | None = None
    classes: tuple[str, ...] = ()
    positive: str = ""
    max_chars: Count | None = None
    empty_text: Literal["error", "drop"] = "error"
    note: str = ""
    checks: Checks = field(default_factory=Checks)

    def __post_init__(self) -> None:
        if self.quality not in QUALITIES[self.kind]:
            allowed = ", ".join(QUALITIES[self.kind])
            raise ValueError(f"quality {self.quality!r} is none of kind '{self.kind}' ({allowed})")
        if (self.quality == "judge") != (self.judge is not None):
            raise ValueError(f"quality {self.quality!r} with judge {self.judge!r}: the mark of an expert needs both")
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
class Generate:
    """How the stage `generate` is run (docs/scale.md); nothing here determines an answer or the key it is kept under.

    The input is cut into shards of `shard_rows` examples, at most `workers` of them at once (None: one by threads; on
    Ray as many as its CPUs, or GPUs, allow). `address` is that of a Ray cluster (None: one on this machine, for the
    length of the stage), `gpus_per_task` what a shard takes of its GPUs. Progress is told every `report_seconds`. A run
    that may cost more than `ask_above_usd` dollars is asked about first.
    """

    shard_rows: Count = 20_000
    runner: str = "threads"
    workers: Count | None = None
    address: str | None = None
    gpus_per_task: Amount = 0.0
    report_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    ask_above_usd: Amount = 5.0

    def __post_init__(self) -> None:
        if self.runner not in RUNNERS:
            raise ValueError(str(ConfigError.unknown("runner", self.runner, RUNNERS)))
        if self.runner == "threads" and (self.address is not None or self.gpus_per_task):
            got = f"address {self.address!r} and gpus_per_task {self.gpus_per_task:g}"
            raise ValueError(f"runner 'threads' with {got}: both are of runner 'ray'. Set runner: ray, or remove them")
        if self.gpus_per_task > 1 and self.gpus_per_task % 1:
            raise ValueError(f"gpus_per_task {self.gpus_per_task:g} must be a share of one GPU or a whole number")


@strict
class Train:
    """The small expert of a task, the baselines beside it, and the teams that learn to defer to LLMs.

    The small expert also learns from what the LLM called `distil` was paid to say about new items.
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    small: str
    baselines: tuple[str, ...]
    llms: tuple[str, ...]
    teams: Mapping[str, Options]
    distil: str | None = None


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
    budgets: tuple[Share, ...]
    sweep: Annotated[int, Field(ge=3)]
    bootstrap: Annotated[int, Field(ge=20)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    margin: Share
    headline: str
    model: str


@strict
class Promote:
    """When a challenger takes the champion's place (docs/production.md): what it may lose, and how sure that must be.

    `quality_margin` is in quality, `cost_margin` a share of the champion's cost.
    """

    quality_margin: Margin = 0.005
    cost_margin: Margin = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


@strict
class Monitor:
    """How decisions in production are watched (docs/production.md).

    A look waits for `window` rows. `level` is the chance of a false alarm in a day, shared by at most `looks` of them.
    `audit_share` of new items are put to both experts whatever the decision. The log of a task takes `log_megabytes`,
    and has texts in it where `log_text`.
    """

    window: Annotated[int, Field(ge=20)] = 500
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    looks: Count = 24
    audit_share: Share = 0.02
    log_megabytes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 256.0
    log_text: bool = False


@strict
class Params:
    """The whole of `params.yaml`; `train`, `policies` and `evaluate` have a part for each task."""

    base: Base
    tasks: Mapping[str, Task]
    experts: Mapping[str, Options]
    train: Mapping[str, Train]
    policies: Mapping[str, Mapping[str, Options]]
    costs: Costs
    evaluate: Mapping[str, Evaluate]
    promote: Promote = field(default_factory=Promote)
    monitor: Monitor = field(default_factory=Monitor)
    generate: Generate = field(default_factory=Generate)

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
    base, tasks = params.base, params.tasks
    uses: list[Use] = [
        ("base.tasks", "task", base.tasks, tasks),
        ("base.llms", "expert", base.llms, params.experts),
        *((f"tasks.{name}.judge", "expert", [t.judge] if t.judge else [], params.experts) for name, t in tasks.items()),
        *((section, "task", getattr(params, section), tasks) for section in BY_TASK),
        *((f"tasks, and not in {section}", "task", tasks, getattr(params, section)) for section in BY_TASK),
        *(use for name in tasks for use in _of_task(params, name)),
    ]
    for where, what, names, known in uses:
        for name in names:
            if name not in known:
                raise ConfigError(f"{path}: {ConfigError.unknown(what, name, known)} (at {where})")
    for name in tasks:
        _check_listed(params, name, path)
    for name, task in tasks.items():
        if task.kind == "summarisation" and (teams := list(params.train[name].teams)):
            raise ConfigError(
                f"{path}: train.{name}.teams: got {', '.join(teams)}; teams learn classes. "
                f"Allowed for summaries: none. Put a policy of kind summary_gain into policies.{name}."
            )


def _of_task(params: Params, name: str) -> Iterator[Use]:
    """What the sections that have a part for each task name in that of `name`."""
    if not all(name in getattr(params, section) for section in BY_TASK):
        return
    train, evaluate, policies = params.train[name], params.evaluate[name], params.policies[name]
    for part, names in (("small", [train.small]), ("baselines", train.baselines), ("llms", train.llms)):
        yield f"train.{name}.{part}", "expert", names, params.experts
    yield f"train.{name}.distil", "expert", [train.distil] if train.distil else [], params.experts
    for team, options in train.teams.items():
        yield f"train.{name}.teams.{team}.llms", "expert", options.get("llms", ()), params.experts
    for policy, options in policies.items():
        yield f"policies.{name}.{policy}.experts", "expert", options.get("experts", ()), params.experts
    yield f"evaluate.{name}.reference", "expert", [evaluate.reference], params.experts
    yield f"evaluate.{name}.headline", "policy", [evaluate.headline], [*train.teams, *policies]


def _check_listed(params: Params, name: str, path: Path) -> None:
    """Raise `ConfigError` where a task asks an LLM that `base.llms` does not list: no stage makes its answers."""
    llms, train = params.base.llms, params.train[name]
    for where, _, names, _ in _of_task(params, name):
        if not where.endswith((".llms", ".experts", ".reference")):
            continue
        allowed = llms if where.endswith(".llms") else tuple(dict.fromkeys((train.small, *train.baselines, *llms)))
        for expert in names:
            if expert not in allowed:
                raise ConfigError(
                    f"{path}: {where} asks '{expert}', whose answers no stage makes. "
                    f"Allowed: {', '.join(allowed) or 'none'}. Add it to base.llms, or name another."
                )


def _explain(error: dict[str, Any]) -> str:
    loc = tuple(map(str, error["loc"]))
    where = ".".join(loc) or "the file"
    if error["type"] == "unexpected_keyword_argument":
        return f"{ConfigError.unknown('key', loc[-1], _keys_at(loc[:-1]))} (at {where})"
    if error["type"] == "dataclass_type":
        return f"{where}: must be a section of keys ({', '.join(_keys_at(loc))}). Got {error['input']!r}."
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}.".replace("?.", "?")
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
