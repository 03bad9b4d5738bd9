"""A look at the log of decisions, and what is proposed where they drifted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from askless import config
from askless.bundles.bundle import Bundle
from askless.errors import ConfigError, DataError
from askless.files import write_text
from askless.monitoring import baseline, proposal
from askless.monitoring.decision_log import ROWS, DecisionLog
from askless.monitoring.drift import AUDITS, ERRORS, WindowCheck, distinct, look
from askless.monitoring.recalibration import recalibrate
from tasks.answering import Facts, Place, Serving

LOOKS = "looks.json"
# What a look may come to that takes its rows; until then they wait for the next one.
TAKEN = ("first window", "no drift", "drift")
DAY = timedelta(days=1)
# Whose drift says nothing of the operating point: an expensive expert that errs is no better at another one.
BESIDE = {ERRORS}
HISTORY = timedelta(days=30)


@dataclass(frozen=True)
class Window:
    """The parts of the log that no look has taken, and the rows of a version in them."""

    parts: tuple[str, ...]
    rows: pa.Table
    audits: pa.Table


@task(cache_policy=NO_CACHE)
def look_at_log(name: str, params: str, data: str, reports: str, served: Facts) -> Facts:
    """Hold what the version `served` decided since the last look against its baseline; returns what was found.

    `status` is "waiting" (for a window of rows), "put off" (a day's looks are spent), "first window" (it is the
    baseline from now on, for the version came without one), "no drift" or "drift".
    """
    settings, place, serving = config.load(params), Place(name, data), Serving(**served)
    window, looks = unseen(settings, place, serving), read_looks(place)
    rows = distinct(window.rows).num_rows
    if rows < settings.monitor.window:
        message = f"{rows:,} of {settings.monitor.window:,} rows by version {serving.version}: too few for a look."
        return _found("waiting", message, window)
    today = [one for one in looks if _age(one) < DAY and one["status"] != "first window"]
    if len(today) >= settings.monitor.looks:
        message = f"{len(today)} looks in the last 24 hours, all that share the day's level: these rows wait."
        return _found("put off", message, window)
    before = held_against(place, serving)
    if before is None:
        baseline.write(_first_window(place, serving), distinct(window.rows))
        message = f"Version {serving.version} came without a baseline: its first {rows:,} rows are that from now on."
        return _found("first window", message, window)
    found = _look(settings, before, window, serving)
    page = found.markdown(settings.costs.unit)
    folder = Path(reports, name, "monitor")
    write_text(folder / "look.json", json.dumps(found.as_dict(), indent=1) + "\n")
    write_text(folder / "look.md", page)
    status = "drift" if found.alarm else "no drift"
    return {**_found(status, found.words(), window), "page": page, "moved": list(found.moved)}


@task(cache_policy=NO_CACHE)
def propose(name: str, params: str, data: str, reports: str, served: Facts, found: Facts, again: bool = False) -> Facts:
    """Write a version whose operating point is set anew on the rows of a look; returns its folder in `proposal`.

    A version in service has one proposal, unless one more is wanted `again`: of the one that it has the folder is
    returned. Where none can be made `proposal` is empty, and `message` has the reason.
    """
    settings, place, serving = config.load(params), Place(name, data), Serving(**served)
    folders = Path(reports, name, "proposals")
    made = sorted(folders.glob(f"version-{serving.version}-*"), key=lambda folder: folder.stat().st_mtime)
    if made and not again:
        return _proposed(made[-1], "There is a proposal already")
    if not set(found["moved"]) - BESIDE:
        return _proposed(None, "No other operating point would mend that: look at the expensive experts")
    window = _taken(settings, place, serving, found["parts"])
    folder = folders / f"version-{serving.version}-{_key(serving, window)}"
    try:
        if not folder.exists():
            _write(settings, place, serving, window, folder)
    except (ConfigError, DataError) as error:
        return _proposed(None, f"No operating point can be proposed: {str(error).rstrip('.')}")
    return _proposed(folder, "An operating point is proposed, and nothing was changed")


@task(cache_policy=NO_CACHE)
def remember(name: str, params: str, data: str, served: Facts, found: Facts) -> None:
    """Write down that the parts of a look were looked at, and the outcome.

    Of earlier looks those are kept that are not older than 30 days or whose parts are in the log still.
    """
    place = Place(name, data)
    there = {part.name for part in place.log(config.load(params).monitor).parts()}
    one = {"time": datetime.now(UTC).isoformat(), "version": served["version"], "status": found["status"]}
    one |= {"message": found["message"], "parts": found["parts"], "proposal": found.get("proposal", "")}
    looks = [{**each, "parts": [part for part in each["parts"] if part in there]} for each in [*read_looks(place), one]]
    kept = [each for each in looks if each["parts"] or _age(each) < HISTORY]
    write_text(_looks(place), json.dumps(kept, indent=1) + "\n")


def read_looks(place: Place) -> list[Facts]:
    """The looks so far, oldest first; raises `DataError` for a file that is none."""
    path = _looks(place)
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        remedy = "Remove it: rows that were looked at are looked at again."
        raise DataError(path, f"unreadable ({error})", "the looks so far, in JSON", remedy) from error


def unseen(settings: config.Params, place: Place, serving: Serving) -> Window:
    """What was logged since the last look, and the audits of the version in service."""
    seen = {part for one in read_looks(place) for part in one["parts"]}
    parts = [part.name for part in place.log(settings.monitor).parts() if part.name not in seen]
    return _taken(settings, place, serving, parts)


def held_against(place: Place, serving: Serving) -> pa.Table | None:
    """The baseline that came with a version, else its first window, else None."""
    own = baseline.read(Path(serving.folder))
    return baseline.read(_first_window(place, serving)) if own is None else own


def _taken(settings: config.Params, place: Place, serving: Serving, parts: Sequence[str]) -> Window:
    log = place.log(settings.monitor)
    rows = _by(log.read([log.folder / name for name in parts]), serving)
    return Window(tuple(parts), rows, _last_audits(log, serving))


def _last_audits(log: DecisionLog, serving: Serving) -> pa.Table:
    """The audited rows of a version in the newest parts that have enough: the log may be larger than memory."""
    found = [ROWS.empty_table()]
    for part in reversed(log.parts()):
        rows = _by(log.read([part]), serving)
        found.append(rows.filter(rows["audit"]))
        if sum(each.num_rows for each in found) >= AUDITS:
            break
    return pa.concat_tables(found[::-1])


def _by(rows: pa.Table, serving: Serving) -> pa.Table:
    return rows.filter(pc.equal(rows["version"], serving.version))


def _look(settings: config.Params, before: pa.Table, window: Window, serving: Serving) -> WindowCheck:
    expensive = Bundle.load(serving.folder).expensive
    prices = [settings.costs.prices.get(name, config.Price()) for name in expensive]
    timed = settings.costs.unit == "seconds" or any(price.usd_per_hour for price in prices)
    level, looks = settings.monitor.level, settings.monitor.looks
    return look(before, window.rows, window.audits, level=level, looks=looks, timed=timed)


def _write(settings: config.Params, place: Place, serving: Serving, window: Window, folder: Path) -> None:
    bundle, before, rows = Bundle.load(serving.folder), held_against(place, serving), distinct(window.rows)
    assert before is not None
    texts = _texts(place, place.log(settings.monitor).names, set(rows["id"].to_pylist()))
    about = settings.evaluate[place.task]
    found = recalibrate(
        bundle,
        bundle.budget(serving.share),
        before,
        rows,
        texts,
        margin=about.margin,
        confidence=about.confidence,
    )
    page = proposal.reasons(_look(settings, before, window, serving), found, rows, about.model, settings.costs.unit)
    rows = rows.filter(pc.is_in(rows["id"], pa.array(list(texts), pa.string())))
    named = pa.array([texts[name] for name in rows["id"].to_pylist()], pa.string())
    rows = rows.set_column(rows.schema.get_field_index("text"), rows.schema.field("text"), named)
    proposal.write(folder, bundle, rows, found, page)


def _texts(place: Place, names: Callable[[list[str]], list[str]], wanted: set[str]) -> dict[str, str]:
    """The texts of these ids of the log, from the answered files; `names` is what the log calls their items."""
    found = {}
    for path in sorted(place.answered.glob("*.parquet")):
        try:
            table = pq.read_table(path, columns=["id", "text"])
        except (pa.ArrowException, OSError) as error:
            remedy = "Move it away."
            raise DataError(path, f"unreadable ({error})", "a file of answered items", remedy) from error
        own, texts = table["id"].to_pylist(), table["text"].to_pylist()
        # Rows that were logged before logs had names of their own have the item's.
        for called in (own, names(own)):
            found |= {name: text for name, text in zip(called, texts, strict=True) if name in wanted}
    return found


def _proposed(folder: Path | None, message: str) -> Facts:
    where = "" if folder is None else f": {folder / proposal.REASONS}"
    return {"message": f"{message}{where}.", "proposal": "" if folder is None else str(folder)}


def _key(serving: Serving, window: Window) -> str:
    return hashlib.sha256("\0".join([serving.version, *sorted(window.parts)]).encode()).hexdigest()[:8]


def _age(look: Facts) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(look["time"])


def _looks(place: Place) -> Path:
    return place.logged / LOOKS


def _first_window(place: Place, serving: Serving) -> Path:
    return _looks(place).with_name("baselines") / f"version-{serving.version}"


def _found(status: str, message: str, window: Window) -> Facts:
    return {"status": status, "message": message, "parts": list(window.parts), "page": message, "moved": []}
