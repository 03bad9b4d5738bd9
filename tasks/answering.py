"""New files of items, answered by the version that serves, each once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config, schema
from askless.bundles.bundle import Bundle
from askless.bundles.terms import of_bundle
from askless.data.incoming import ENDINGS, read_items
from askless.errors import DataError
from askless.files import locked, replacing, sha256_of, write_text
from askless.labelling import answerer
from askless.labelling.answerer import Answerer, DeployedBundle
from askless.monitoring import baseline
from askless.monitoring.decide_and_log import Audit, loggable
from askless.monitoring.decision_log import ROWS, DecisionLog
from askless.registry import versions as registry
from askless.spending.billing import FaultHandling
from askless.spending.ledger import Ledger
from tasks import worth_a_retry

ASIDE, PENDING = "aside", "pending"
ANSWERED = pa.schema([pa.field("source_id", pa.string()), *answerer.ANSWERED])
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
    """The version that serves: its number, its bundle's folder, the share of rows it defers (None: its own rule).

    `own`: on the terms that it brings, of a task that no parameters need to know.
    """

    version: str
    folder: str
    share: float | None
    own: bool = False


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


def brought(address: str) -> Serving:
    """The plan, the run of `annotate`, the bundle or the version at an address, on the terms that it brings."""
    found = registry.at(address)
    bundle = Bundle.load(registry.resolve(address))
    share = bundle.share(found.budget if found else None)
    return Serving(str(found.number) if found else "0", str(bundle.folder), share, own=True)


def settings_of(params: str, name: str, served: Serving) -> config.Params:
    """The parameters, of a version on its own terms those that it needs: its classes, and how it is watched."""
    if not served.own:
        return config.load(params)
    bundle, watched = Bundle.load(served.folder), config.Monitor()
    if Path(params).exists():
        watched = config.load(params).monitor
    kind = "classification" if bundle.classes else "summarisation"
    task = config.Task(kind, config.Source("jsonl"), classes=bundle.classes, empty_text="drop")
    costs = of_bundle(bundle, None).costs
    return config.Params(config.Base((name,), ()), {name: task}, {}, {}, {}, costs, {}, monitor=watched)


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
def answer_file(
    name: str, params: str, data: str, file: str, served: Facts, max_usd_per_day: float | None = None
) -> Facts:
    """Answer one incoming file of a task by the version `served`, unless it is answered; returns what came of it.

    The output is written aside, its rows are logged, then it is put in place: killed in between, the next run goes on
    there, and no call is made twice. Within `max_usd_per_day` (UTC) expensive experts are paid, then the small one
    answers. A file that cannot be read is put aside with the reason. One run at a time answers files of a task: to
    another one they are busy.
    """
    version = Serving(**served)
    settings, place, path = settings_of(params, name, version), Place(name, data), Path(file)
    with locked(place.logged / ".answer.lock", wait=0) as mine:
        if not mine:
            return outcome(path, "busy", "another run answers files of this task")
        if not path.exists():
            return outcome(path, "gone", "it was taken away meanwhile")
        out = place.answered / f"{path.name}.parquet"
        if out.exists():
            return _done(place, path, out)
        try:
            sha = sha256_of(path)
            items = read_items(path, settings.task(name), name)
        except (DataError, OSError) as error:
            return put_aside(place, path, str(error))
        pending = place.logged / PENDING / out.name
        if not (pending.exists() and _meta(pending).get("sha256") == sha):
            rows = _answered(settings, None if version.own else Path(params), place, version, items, max_usd_per_day)
            about = {"task": name, "sha256": sha, "version": version.version, "share": version.share}
            with replacing(pending) as part:
                pq.write_table(schema.with_meta(rows, "answered", about), part, compression="zstd")
        rows = _finished(settings, place, pending, out, sha)
    return {**outcome(path, "answered"), **figures(rows)}


def news_of_spending(place: Place, usd_per_month: float | None, above: float = 1.0) -> str:
    """What to say where experts were paid more than this share of a month's dollars; once a month, else nothing."""
    path, mark, month = place.logged / "answer.sqlite", place.logged / ".month", f"{datetime.now(UTC):%Y-%m}"
    if usd_per_month is None or not path.exists() or (mark.exists() and mark.read_text("ascii", "replace") == month):
        return ""
    with Ledger(path) as ledger:
        spent = ledger.spent_in(month)
    if spent <= above * usd_per_month:
        return ""
    write_text(mark, month)
    return (
        f"Experts were paid ${spent:,.2f} in {month} for {place.task}, more than {100 * above:g} % of the "
        f"${usd_per_month:,.2f} of a month."
    )


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


def _answered(
    settings: config.Params,
    params: Path | None,
    place: Place,
    served: Serving,
    items: pa.Table,
    limit: float | None,
) -> pa.Table:
    """Every item with its answer, who gave it and what that costs, whether it is paid now or was before."""
    bundle = Bundle.load(served.folder)
    budget = bundle.budget(served.share)
    version = DeployedBundle(served.folder, served.version, bundle, of_bundle(bundle, params), budget)
    expensive = bundle.expensive
    reference = expensive[-1] if served.own else settings.evaluate[place.task].reference
    agree_from = baseline.agree_from(baseline.read(Path(served.folder)))
    share = 0.0 if bundle.small is None else settings.monitor.audit_share  # of a small expert's answers
    audit = Audit(reference if reference in expensive else expensive[-1], share, agree_from)
    answers, waits = Path(place.data, "answers", place.task), FaultHandling(waits=True)
    with (
        Ledger(place.logged / "answer.sqlite", limit, daily=True) as ledger,
        version.guarded(ledger, answers, waits, kept_cost=True) as guarded,
    ):
        rows = Answerer(version, guarded, budget, audit).answer(items["text"].to_pylist()).rows
    return rows.add_column(0, ANSWERED.field("source_id"), items["source_id"]).cast(ANSWERED)


def _finished(settings: config.Params, place: Place, pending: Path, out: Path, sha: str) -> pa.Table:
    """Log the answered rows and put them in place, each once."""
    rows = pq.read_table(pending)
    key = hashlib.sha256(f"{out.name}\0{sha}".encode()).hexdigest()[:16]
    decided = rows.filter(pc.and_(pc.is_valid(rows["expert"]), _first_of(rows["id"]))).select(ROWS.names)
    classes = settings.task(place.task).classes
    log = place.log(settings.monitor)
    log.append(loggable(decided, classes, settings.monitor.log_text, log.names), key)
    out.parent.mkdir(parents=True, exist_ok=True)
    os.replace(pending, out)
    return rows


def _first_of(names: pa.ChunkedArray) -> pa.Array:
    """Which rows are the first of their id."""
    seen = dict(reversed([(name, at) for at, name in enumerate(names.to_pylist())]))
    return pa.array([at == seen[name] for at, name in enumerate(names.to_pylist())], pa.bool_())


def outcome(path: Path, status: str, reason: str = "") -> Facts:
    """What came of a file, and why."""
    return {"file": path.name, "status": status, "reason": reason}


def _done(place: Place, path: Path, out: Path) -> Facts:
    """A file whose output is there: nothing to do, unless it holds something else than what was answered."""
    if path.stat().st_mtime_ns < out.stat().st_mtime_ns:
        return outcome(path, "done before")
    if _meta(out).get("sha256") == sha256_of(path):
        os.utime(out)
        return outcome(path, "done before")
    remedy = "Allowed: new content under a new name. Give it one."
    return put_aside(place, path, f"{path}: a file of this name was answered, and it held something else. {remedy}")


def put_aside(place: Place, path: Path, reason: str) -> Facts:
    """Move a file out of the way, with the reason beside it; what stands there already stays."""
    folder = place.incoming / ASIDE
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    if target.exists():
        target = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{path.name}"
    write_text(target.with_name(f"{target.name}.reason.txt"), f"{reason}\n")
    os.replace(path, target)
    return outcome(path, "put aside", reason)


def _meta(path: Path) -> Facts:
    try:
        return schema.meta_of(pq.read_table(path, columns=["id"]))
    except (pa.ArrowException, OSError) as error:
        remedy = "Remove it: the file is answered again, and nothing is paid twice."
        raise DataError(path, f"unreadable ({error})", "the file as it was written", remedy) from error


def plain(served: Serving) -> Facts:
    """The version that serves as plain values, for a task of Prefect."""
    return asdict(served)
