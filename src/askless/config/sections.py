"""The sections of `params.yaml` as frozen dataclasses; nothing else holds a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from askless.errors import ConfigError
from askless.prompts import STRICT, PromptSpec

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Margin = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Options = dict[str, Any]
NAME = re.compile(r"\w[\w .+@:()-]{0,99}")
RUNNERS = ("threads", "ray")
AUTO = "auto"
# Sources whose texts anybody may have written: no prompt of askless is made for them.
TABLES = ("csv", "parquet", "jsonl")
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


@dataclass(frozen=True, config=STRICT)
class Base:
    """What is run: the tasks, the LLMs whose answers are generated, and the folders.

    Parameters
    ----------
    tasks
        Names in the section `tasks`, in the order in which they are run.
    llms
        LLMs that the stage `generate` asks: all that any task lists, names in `experts` or of a task's own `llms`.
    data, models, reports
        Folders, relative to where the pipeline is run.
    """

    tasks: tuple[str, ...]
    llms: tuple[str, ...]
    data: Path = Path("data")
    models: Path = Path("models")
    reports: Path = Path("reports")


@dataclass(frozen=True, config=STRICT)
class Source:
    """Where raw rows come from.

    Parameters
    ----------
    kind
        A reader in `askless.data.readers`.
    path
        A local file.
    url
        An address to download from; by default the public one of the kind, where it has one.
    sha256
        Checksum of the file in hexadecimal; a file with another is refused.
    rows
        How many rows are kept, the first ones, or made by the demo; 1 or more. None keeps all.
    seed
        Of the demo's rows.
    columns
        Of a table: `text`, `label`, `reference`, `group` or `id` to what the file calls it, where that differs. An
        `id` that stands on two texts is refused; `id: ""` where the file's column `id` is none of rows.
    """

    kind: str
    path: Path | None = None
    url: str | None = None
    sha256: str | None = None
    rows: Count | None = None
    seed: int = 0
    columns: Mapping[Literal["text", "label", "reference", "group", "id"], str] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class VectorSource:
    """Where word vectors come from.

    Parameters
    ----------
    kind
        `demo`, learnt from made texts, or `glove`, text of GloVe (plain or zipped).
    dim
        Numbers in a vector, 1 or more.
    path, url, sha256
        The file, as of `Source`.
    member
        Which file of a zip; by default the one of `dim`.
    lower
        Whether texts are put in lower case before their words are looked up.
    rows
        How many texts the demo learns from.
    seed
        Of the demo's vectors.
    """

    kind: Literal["demo", "glove"]
    dim: Count = 100
    path: Path | None = None
    url: str | None = None
    sha256: str | None = None
    member: str | None = None
    lower: bool = False
    rows: Count | None = None
    seed: int = 0


@dataclass(frozen=True, config=STRICT)
class Split:
    """Shares of the stratified hash split.

    Parameters
    ----------
    train, valid, test
        Shares of each class, 0 to 1, that sum to 1.
    salt
        Hashed with each id. Its default is the field's word, not the product's name: it decides who is in which
        split.
    """

    train: Share
    valid: Share
    test: Share
    salt: str = "deferral"

    def __post_init__(self) -> None:
        if abs(self.train + self.valid + self.test - 1) > 1e-9:
            raise ValueError(f"train + valid + test is {self.train + self.valid + self.test:g}, not 1")


@dataclass(frozen=True, config=STRICT)
class Checks:
    """What Great Expectations holds a table to.

    Parameters
    ----------
    rows_min
        Fewest examples.
    rows_change_max
        Largest change of their number since the last run, as a share, 0 to 1.
    minority_share_min
        Smallest share of the rarest class, 0 to 1.
    balance_change_max
        Largest change of a class's share since the last run, 0 to 1.
    text_chars_max, summary_chars_max
        Longest text and longest summary, in characters.
    unparsed_share_max
        Largest share of an expert's answers without a label, or with an error, 0 to 1.
    agreement_fall_max
        By how much less the last small expert may agree with the labels of new rows, and how many labels of old rows
        may be others, as shares, 0 to 1; None: not looked at.
    """

    rows_min: Count = 100
    rows_change_max: Share = 0.3
    minority_share_min: Share = 0.02
    balance_change_max: Share = 0.1
    text_chars_max: Count = 10_000
    summary_chars_max: Count = 2_000
    unparsed_share_max: Share = 0.2
    agreement_fall_max: Share | None = 0.2


@dataclass(frozen=True, config=STRICT)
class Task:
    """One data set, what is asked about it (the class of a text, or its summary), and how answers are judged.

    Parameters
    ----------
    kind
        `classification` or `summarisation`; in the file the first where it is left out.
    source
        Where its rows come from.
    vectors
        Where the word vectors of its features come from; None: it has none.
    split
        Shares of train, valid and test.
    prompt
        Name of the prompt that LLMs get, of the section `prompts` or of askless; in the file also what that section
        would say. Empty: one that is made of the classes.
    quality
        How answers are judged, one of `QUALITIES` of the kind; empty: accuracy, of summaries rougeL.
    judge
        The expert whose score from 1 to 5 is the quality `judge`.
    classes
        Names of the classes, two or more; none for summaries.
    positive
        The class that counts as positive in F1, by default the last; empty for summaries.
    max_rows
        Most examples, drawn by a hash of their ids, so that fewer answers are paid for; None keeps all.
    max_chars
        Longer texts are left out and counted, in characters after cleaning; None keeps all.
    empty_text
        What becomes of an empty text or reference summary: `error` stops, `drop` leaves it out.
    note
        What a user of the data must know; it goes into the model card.
    checks
        What its tables are held to.
    llms
        The LLMs that are asked, names in `base.llms`; in the file also each with its options and `price`. None: all.
    small
        The small expert, a name in `experts` or one that needs no options; None: what `train` says.
    """

    kind: Literal["classification", "summarisation"]
    source: Source
    vectors: VectorSource | None = None
    split: Split = Split(0.6, 0.15, 0.25)
    prompt: str = ""
    quality: str = ""
    judge: str | None = None
    classes: tuple[str, ...] = ()
    positive: str = ""
    max_chars: Count | None = None
    empty_text: Literal["error", "drop"] = "error"
    note: str = ""
    checks: Checks = field(default_factory=Checks)
    llms: tuple[str, ...] | None = None
    small: str | None = None
    max_rows: Count | None = None

    def __post_init__(self) -> None:
        if not self.quality:
            object.__setattr__(self, "quality", "accuracy" if self.kind == "classification" else "rougeL")
        if not self.positive and self.classes:
            object.__setattr__(self, "positive", self.classes[-1])
        if self.quality not in QUALITIES[self.kind]:
            allowed = ", ".join(QUALITIES[self.kind])
            raise ValueError(f"quality {self.quality!r} is none of kind '{self.kind}' ({allowed})")
        if (self.quality == "judge") != (self.judge is not None):
            raise ValueError(f"quality {self.quality!r} with judge {self.judge!r}: an expert's score needs both")
        if self.kind == "summarisation":
            if self.classes or self.positive:
                got = f"classes {list(self.classes)} and positive {self.positive!r}"
                raise ValueError(f"{got} belong to kind 'classification'; kind 'summarisation' has none: remove them")
            return
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise ValueError(f"classes {list(self.classes)} must be two or more different labels")
        if self.positive not in self.classes:
            raise ValueError(f"positive class {self.positive!r} is not one of {list(self.classes)}")


@dataclass(frozen=True, config=STRICT)
class Generate:
    """How the stage `generate` is run (docs/scale.md); nothing here determines an answer or the key it is kept under.

    Parameters
    ----------
    shard_rows
        Examples in a shard, 1 or more.
    runner
        `threads` or `ray`.
    workers
        Shards at once; None: one by threads, on Ray as many as its CPUs or GPUs allow.
    address
        Of a Ray cluster; None: one on this machine, for the length of the stage.
    gpus_per_task
        What a shard takes of Ray's GPUs: a share of one, or a whole number.
    report_seconds
        Seconds between two lines of progress, above 0.
    ask_above_usd
        A run that may cost more dollars is asked about first.
    max_usd
        Dollars that a server may be paid for one LLM's answers to a task, or a judge's marks, over all runs, above 0;
        None: no limit.
    """

    shard_rows: Count = 20_000
    runner: str = "threads"
    workers: Count | None = None
    address: str | None = None
    gpus_per_task: Amount = 0.0
    report_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    ask_above_usd: Amount = 5.0
    max_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def __post_init__(self) -> None:
        if self.runner not in RUNNERS:
            raise ValueError(str(ConfigError.unknown("runner", self.runner, RUNNERS)))
        if self.runner == "threads" and (self.address is not None or self.gpus_per_task):
            got = f"address {self.address!r} and gpus_per_task {self.gpus_per_task:g}"
            raise ValueError(f"runner 'threads' with {got}: both are of runner 'ray'. Set runner: ray, or remove them")
        if self.gpus_per_task > 1 and self.gpus_per_task % 1:
            raise ValueError(f"gpus_per_task {self.gpus_per_task:g} must be a share of one GPU or a whole number")


@dataclass(frozen=True, config=STRICT)
class Train:
    """What is trained for a task: its small expert, the baselines, and the teams that learn to defer to LLMs.

    Parameters
    ----------
    seeds
        One model is trained for each, one or more.
    small
        The small expert, a name in `experts`.
    baselines
        Experts that are trained beside it, to compare.
    llms
        LLMs whose answers are learnt from, names in `base.llms`.
    teams
        Name of a team to its options; it answers with a network of its own, `<team>-network`, or defers.
    folds
        How many more models answer the train split, each the part that it has not learnt from, for policies to be
        fitted on; 2 or more.
    distil
        The LLM from whose paid answers to new items the small expert learns too; None: from none.
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    small: str
    baselines: tuple[str, ...]
    llms: tuple[str, ...]
    teams: Mapping[str, Options]
    folds: Annotated[int, Field(ge=2)] = 5
    distil: str | None = None


@dataclass(frozen=True, config=STRICT)
class Price:
    """What an expert charges, in US dollars; a hosted API bills tokens, a machine of your own bills hours.

    Parameters
    ----------
    usd_per_1m_prompt_tokens, usd_per_1m_completion_tokens
        Dollars for a million tokens read and written, 0 or more.
    usd_per_hour
        Dollars for an hour of the seconds that answers took, 0 or more.
    usd_per_1k_answers
        Dollars for a thousand answers, 0 or more.
    usd_per_1m_cached_tokens
        Dollars for a million of the tokens read that a provider states to have had in its cache; None: as others.
    usd_per_1m_cache_write_tokens, usd_per_1m_reasoning_tokens
        The same of those that it states to have written into its cache, and to have thought; None: as others.
    batch
        What the answers of batches cost instead (`mode: batch`), 0 for what it does not name; None: as others.
    source
        What says so, where it is not the parameters.
    cost
        What is counted for a call: `price`, what its tokens cost at these prices, or what its server states where that
        is more; `server`, what it states, even if that is nothing.
    """

    usd_per_1m_prompt_tokens: Amount = 0.0
    usd_per_1m_completion_tokens: Amount = 0.0
    usd_per_hour: Amount = 0.0
    usd_per_1k_answers: Amount = 0.0
    usd_per_1m_cached_tokens: Amount | None = None
    usd_per_1m_cache_write_tokens: Amount | None = None
    usd_per_1m_reasoning_tokens: Amount | None = None
    batch: Price | None = None
    source: str = ""
    cost: Literal["price", "server"] = "price"

    @property
    def rates(self) -> tuple[tuple[float, str], ...]:
        """Dollars for one of each quantity that an answer takes, and the quantity's name."""
        return (
            (self.usd_per_1m_prompt_tokens / 1e6, "prompt_tokens"),
            (self.usd_per_1m_completion_tokens / 1e6, "completion_tokens"),
            (self.usd_per_hour / 3600, "seconds"),
        )

    @property
    def parts(self) -> tuple[tuple[float, str, str], ...]:
        """Dollars that a token of a kind costs more than its whole does, most of them below 0: the kind, the whole."""
        kinds = (
            (self.usd_per_1m_cached_tokens, self.usd_per_1m_prompt_tokens, "cached_tokens", "prompt_tokens"),
            (self.usd_per_1m_cache_write_tokens, self.usd_per_1m_prompt_tokens, "cache_write_tokens", "prompt_tokens"),
            (
                *(self.usd_per_1m_reasoning_tokens, self.usd_per_1m_completion_tokens),
                *("reasoning_tokens", "completion_tokens"),
            ),
        )
        return tuple(((own - others) / 1e6, kind, whole) for own, others, kind, whole in kinds if own is not None)

    @property
    def most(self) -> tuple[float, float]:
        """The most dollars that a token read, and one written, can cost, whatever kind it is."""
        read = (self.usd_per_1m_prompt_tokens, self.usd_per_1m_cached_tokens, self.usd_per_1m_cache_write_tokens)
        written = (self.usd_per_1m_completion_tokens, self.usd_per_1m_reasoning_tokens)
        return max(rate or 0.0 for rate in read) / 1e6, max(rate or 0.0 for rate in written) / 1e6

    def of(self, *, batch: bool) -> Price:
        """This, or that of answers of batches."""
        return self if not batch or self.batch is None else self.batch


@dataclass(frozen=True, config=STRICT)
class Costs:
    """The unit in which cost is counted, and each expert's price.

    Parameters
    ----------
    unit
        `usd`, `seconds` or `tokens`.
    prices
        Expert to its price; `decider` prices the seconds of deciding itself, and where it is not named the network
        `<team>-network` of a team.
    """

    unit: Literal["usd", "seconds", "tokens"]
    prices: Mapping[str, Price]


@dataclass(frozen=True, config=STRICT)
class Evaluate:
    """How the report is made: operating points, the sweep of the curve, the bootstrap.

    Parameters
    ----------
    reference
        The expert that the others are measured against; empty: the LLM of the highest price, of equal ones the last.
    budgets
        Shares of items deferred, 0 to 1, at which operating points are reported.
    sweep
        Points of a curve, 3 or more.
    bootstrap
        Resamples of the intervals, 20 or more.
    confidence
        Of the two-sided intervals, above 0.5 and below 1.
    margin
        By how much a quality may be lower and still be called as good, 0 to 1.
    model
        Name of the registered model.
    headline
        The policy of the headline, a team or a name in `policies`; or `auto`: of those that can be registered the one
        of the largest area under its curve on valid.
    items_per_month
        How many items are answered in a month, for the report's bill; 1 or more.
    """

    budgets: tuple[Share, ...]
    sweep: Annotated[int, Field(ge=3)]
    bootstrap: Annotated[int, Field(ge=20)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    margin: Share
    model: str
    headline: str = AUTO
    items_per_month: Annotated[int, Field(ge=1)] = 1_000_000
    reference: str = ""


@dataclass(frozen=True, config=STRICT)
class Promote:
    """When a challenger takes the champion's place (docs/production.md).

    Parameters
    ----------
    quality_margin
        What it may lose in quality, 0 or more and below 1.
    total_margin
        What all promotions together may lose, against the first champion or the last that a person put in place, 0 or
        more and below 1; None: each promotion may lose its own margin for ever.
    part_margin
        What it may lose in the mean within a class or a group in which it is worse for certain, 0 or more and below 1;
        None: only the whole counts.
    cost_margin
        What it may cost more, as a share of the champion's cost, 0 or more and below 1.
    confidence
        How sure that must be, above 0.5 and below 1.
    """

    quality_margin: Margin = 0.005
    total_margin: Margin | None = 0.02
    part_margin: Margin | None = 0.02
    cost_margin: Margin = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


@dataclass(frozen=True, config=STRICT)
class Monitor:
    """How decisions in production are watched (docs/production.md).

    Parameters
    ----------
    window
        Rows that a look waits for, 20 or more.
    level
        Chance of a false alarm in a day, 0 to 1, shared by its looks.
    looks
        Most looks in a day.
    audit_share
        Share of new items put to both experts whatever the decision, 0 to 1.
    log_megabytes
        What the log of a task may take.
    log_text
        Whether texts are in it.
    """

    window: Annotated[int, Field(ge=20)] = 500
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    looks: Count = 24
    audit_share: Share = 0.02
    log_megabytes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 256.0
    log_text: bool = False


@dataclass(frozen=True, config=STRICT)
class Params:
    """The whole of `params.yaml`.

    Parameters
    ----------
    base
        What is run, and where.
    tasks
        Name of a task to what it is.
    experts
        Name of an expert to its backend and options.
    train, policies, evaluate
        Name of a task to its part.
    costs
        Unit and prices.
    promote, monitor, generate
        How versions are promoted, production is watched, and answers are generated.
    prompts
        Name of a prompt to what it says.
    """

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
    prompts: Mapping[str, PromptSpec] = field(default_factory=dict)

    def task(self, name: str) -> Task:
        """The task called `name`, or a `ConfigError` that lists the known ones."""
        if name not in self.tasks:
            raise ConfigError.unknown("task", name, self.tasks)
        return self.tasks[name]

    def llms(self, task: str) -> tuple[str, ...]:
        """The LLMs whose answers a task asks for."""
        asked = self.task(task).llms
        return self.base.llms if asked is None else asked

    def expert(self, name: str) -> Options:
        """The options of the expert called `name`, or a `ConfigError` that lists the known ones."""
        if name not in self.experts:
            raise ConfigError.unknown("expert", name, self.experts)
        return dict(self.experts[name])


def network_of(team: str) -> str:
    """The name of the network of its own with which a team answers."""
    return f"{team}-network"


def name_of(model: str) -> str:
    """The name of the expert that is a model, by the model's own name.

    >>> name_of("openai/gpt-4o"), name_of("llama 3.1:8b"), name_of("...")
    ('openai-gpt-4o', 'llama 3.1:8b', 'llm')
    """
    return re.sub(r"[^\w .+@:()-]", "-", model).strip("-. ").lstrip("+@:()-")[:100] or "llm"


def check_name(name: str) -> None:
    """Raise `ConfigError` for a name of a task, expert or policy that could not be a file's."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"Got the name {name!r}. Allowed for tasks, experts and policies: up to 100 letters, digits and "
            "_ . + @ : ( ) - or spaces, a letter, digit or _ first. Rename it."
        )
