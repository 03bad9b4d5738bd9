"""New files of items, answered by the version that serves, each once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, experts, schema
from askless.bundles.bundle import Bundle
from askless.costs import CostModel
from askless.data.incoming import ENDINGS, read_items
from askless.errors import ConfigError, DataError
from askless.experts.checked_summaries import CheckedSummaries
from askless.files import replacing, write_text
from askless.monitoring import baseline
from askless.monitoring.decide_and_log import ANSWERS, Audit, answer, loggable
from askless.monitoring.decision_log import ROWS, DecisionLog, locked
from askless.panel import Answering, Panel
from askless.registry import versions as registry
from tasks import worth_a_retry

ASIDE, PENDING = "aside", "pending"
ANSWERED = pa.schema(
    [pa.field("source_id", pa.string()), *(field.with_nullable(True) for field in ROWS), pa.field("answers", ANSWERS)]
)
Facts = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where the items of a task come in, and where its answers and its log are."""

    task: str
    data: str

    @property
    def incoming(self) -> Path:
        """New files."""
        return Path(self.data, "incoming", self.task)

    @property
    def answered(self) -> Path:
        """A Parquet file for each of them, once it is answered."""
        return Path(self.data, "answered", self.task)

    @property
    def logged(self) -> Path:
        """The log of decisions, with what belongs to it: locks, looks, outputs that are not in place yet."""
        return Path(self.data, "log", self.task)

    def log(self, settings: config.Monitor) -> DecisionLog:
        """The log of decisions."""
        return DecisionLog(self.logged, settings.log_megabytes)


@dataclass(frozen=True)
class Serving:
    """The version that serves: its number, its bundle's folder, the share of rows it defers (None: its own rule)."""

    version: str
    folder: str
    share: float | None


def serving(settings: config.Params, name: str) -> Serving:
    """The champion of a task's model; raises `DataError` where there is none, or where it is another task's."""
    classes, model = settings.task(name).classes, settings.evaluate[name].model
    found = registry.champion(model)
    if found is None:
        remedy = f"Compare and promote one: python -m flows.compare {name}."
        raise DataError(f"models:/{model}@champion", "no champion yet", "a version that serves", remedy)
    folder = registry.resolve(found.address)
    bundle = Bundle.load(folder)
    of = bundle.task or name
    if of != name or bundle.classes != classes:
        got = f"a model of task '{of}' with classes {list(bundle.classes)}"
        remedy = f"Correct evaluate.{name}.model in params.yaml, or promote another version."
        raise DataError(found.address, got, f"one of '{name}' with classes {list(classes)}", remedy)
    return Serving(str(found.number), str(folder), bundle.share(found.budget))


def new_files(place: Place) -> tuple[list[Path], list[Path]]:
    """The incoming files in order of their names, and those of a kind that is not read."""
    found = [path for path in sorted(place.incoming.glob("*")) if path.is_file() and not path.name.startswith(".")]
    known = [path for path in found if path.suffix.lower() in ENDINGS]
    return known, [path for path in found if path not in known]


@task(
    tags={"gpu"},
    task_run_name="answer {file}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=10,
    retry_condition_fn=worth_a_retry,
)
def answer_file(name: str, params: str, data: str, file: str, served: Facts) -> Facts:
    """Answer one incoming file of a task by the version `served`, unless it is answered; returns what came of it.

    The output is written aside, its rows are logged, then it is put in place: killed in between, the next run goes on
    there, and what was paid for is kept by the experts. A file that cannot be read is put aside with the reason. One
    run at a time answers files of a task: to another one they are busy.
    """
    settings, place, path = config.load(params), Place(name, data), Path(file)
    with locked(place.logged / ".answer.lock", wait=False) as mine:
        if not mine:
            return _came(path, "busy", "another run answers files of this task")
        if not path.exists():
            return _came(path, "gone", "it was taken away meanwhile")
        out = place.answered / f"{path.name}.parquet"
        if out.exists():
            return _done(place, path, out)
        try:
            sha = _sha(path)
            items = read_items(path, settings.task(name), name)
        except (DataError, OSError) as error:
            return _put_aside(place, path, str(error))
        rows = _finished(settings, place, Serving(**served), items, out, sha)
    return {**_came(path, "answered"), **figures(rows)}


def figures(rows: pa.Table) -> Facts:
    """What an answered file comes to: rows, those deferred, audited, in error, and what was spent."""
    asked = pc.fill_null(pc.greater(pc.list_value_length(rows["asked"]), 0), False)
    return {
        "rows": rows.num_rows,
        "deferred": int(pc.sum(asked).as_py() or 0),
        "errors": rows.num_rows - rows["error"].null_count,
        "cost": float(pc.sum(rows["cost"]).as_py() or 0.0),
        "audited": int(pc.sum(rows["audit"]).as_py() or 0),
        "audit_cost": float(pc.sum(rows["audit_cost"]).as_py() or 0.0),
    }


def _finished(settings: config.Params, place: Place, served: Serving, items: pa.Table, out: Path, sha: str) -> pa.Table:
    """Answer the items, or take up what an earlier run had answered; log them; put the output in place."""
    pending = place.logged / PENDING / out.name
    if not (pending.exists() and _meta(pending).get("sha256") == sha):
        rows = answered(settings, place, served, items)
        about = {"task": place.task, "sha256": sha, "version": served.version, "share": served.share}
        with replacing(pending) as part:
            pq.write_table(schema.with_meta(rows, "answered", about), part, compression="zstd")
    rows = pq.read_table(pending)
    key = hashlib.sha256(f"{out.name}\0{sha}".encode()).hexdigest()[:16]
    decided = rows.filter(pc.and_(pc.is_valid(rows["expert"]), _first_of(rows["id"])))
    classes = settings.task(place.task).classes
    place.log(settings.monitor).append(loggable(decided, classes, settings.monitor.log_text), key)
    out.parent.mkdir(parents=True, exist_ok=True)
    os.replace(pending, out)
    return rows


def answered(settings: config.Params, place: Place, served: Serving, items: pa.Table) -> pa.Table:
    """Every item with its answer, who gave it and what it cost; a text that comes again costs nothing again.

    An item that cannot be answered has the reason in `error`, and no `expert`.
    """
    first = _first_of(items["id"])
    good = items.filter(pc.and_(first, pc.is_null(items["fault"])))
    columns = {"id": good["id"].combine_chunks(), "text": good["text"].combine_chunks()}
    examples = schema.table("examples", {**columns, "split": ["test"] * good.num_rows})
    rows = _by_policy(settings, place, served, examples)
    at = pc.index_in(items["id"], rows["id"].combine_chunks())
    told = {name: rows[name].take(at) for name in rows.column_names}
    told |= {name: items[name] for name in ("id", "text", "source_id")}
    told["error"] = pc.coalesce(items["fault"], told["error"])
    for name in ("cost", "paid", "audit_cost"):
        told[name] = pc.if_else(first, told[name], pa.scalar(None if name == "paid" else 0.0, pa.float64()))
    return pa.table([told[name] for name in ANSWERED.names], schema=ANSWERED)


def _by_policy(settings: config.Params, place: Place, served: Serving, examples: pa.Table) -> pa.Table:
    bundle, agree_from = Bundle.load(served.folder), baseline.agree_from(baseline.read(Path(served.folder)))
    expensive = bundle.experts[1:]
    if bundle.small is None or not expensive:
        got = f"experts {list(bundle.experts)}{'' if bundle.small else ', the small one not with it'}"
        raise ConfigError(f"{served.folder}: {got}. Allowed: a bundle with its small expert and an expensive one.")
    reference = settings.evaluate[place.task].reference
    audit = Audit(reference if reference in expensive else expensive[-1], settings.monitor.audit_share, agree_from)
    about = {"task": place.task, "version": served.version, "time": datetime.now(UTC)}
    pool: dict[str, Any] = {bundle.experts[0]: bundle.small}
    pool |= {llm: _paid(settings, place, llm) for llm in expensive}
    answering: dict[str, Answering] = pool
    if not bundle.classes:
        answering = {expert: CheckedSummaries(each) for expert, each in pool.items()}
    panel = Panel(examples, answering, CostModel.of(settings.costs), bundle.classes, blind=True)
    return answer(bundle.policy, panel, bundle.budget(served.share), audit, **about)


def _paid(settings: config.Params, place: Place, llm: str) -> experts.Expert:
    """An LLM that keeps its answers where the stage `generate` does."""
    about = settings.task(place.task)
    kept = Path(place.data, "answers", place.task)
    setting = experts.Setting(name=llm, task=place.task, classes=about.classes, prompt=about.prompt, answers=kept)
    return experts.build(setting, settings.expert(llm))


def _first_of(names: pa.ChunkedArray) -> pa.Array:
    """Which rows are the first of their id."""
    values = np.array(names.to_pylist(), object).astype(str)
    mask = np.zeros(len(values), bool)
    mask[np.unique(values, return_index=True)[1]] = True
    return pa.array(mask)


def _came(path: Path, status: str, said: str = "") -> Facts:
    return {"file": path.name, "status": status, "said": said}


def _done(place: Place, path: Path, out: Path) -> Facts:
    """A file whose output is there: nothing to do, unless it holds something else than what was answered."""
    if path.stat().st_mtime_ns < out.stat().st_mtime_ns:
        return _came(path, "done before")
    if _meta(out).get("sha256") == _sha(path):
        os.utime(out)
        return _came(path, "done before")
    remedy = "Allowed: new content under a new name. Give it one."
    return _put_aside(place, path, f"{path}: a file of this name was answered, and it held something else. {remedy}")


def _sha(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put_aside(place: Place, path: Path, reason: str) -> Facts:
    """Move a file out of the way, with the reason beside it; what stands there already stays."""
    folder = place.incoming / ASIDE
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    if target.exists():
        target = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{path.name}"
    write_text(target.with_name(f"{target.name}.reason.txt"), f"{reason}\n")
    os.replace(path, target)
    return _came(path, "put aside", reason)


def _meta(path: Path) -> Facts:
    try:
        return schema.meta_of(pq.read_table(path, columns=["id"]))
    except (pa.ArrowException, OSError) as error:
        remedy = "Remove it: the file is answered again, and nothing is paid twice."
        raise DataError(path, f"unreadable ({error})", "the file as it was written", remedy) from error


def plain(served: Serving) -> Facts:
    """What a task of Prefect is told of the version that serves."""
    return asdict(served)
