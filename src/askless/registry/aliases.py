"""The moves of a model's aliases: promote, roll back, refuse.

`champion` serves, `challenger` was registered last, `previous` was champion before. One write makes a champion: the
move of that alias. The tags that a champion needs (`verdict`, `reason`, `decided`, `by`, `replaced`, the champion
before it, and `anchor`, from which losses are counted) are on the version by then, and what follows of it (alias
`previous`, the verdict on a version rolled back, the history) is made up for by the next command, should the process
die in between.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from askless.errors import DataError
from askless.files import locked
from askless.registry.versions import (
    CHAMPION,
    FOLDER,
    PROMOTED,
    REFUSED,
    RESTORED,
    ROLLED_BACK,
    Unreachable,
    Version,
    asking,
    find,
    record,
    serving,
    store,
    versions,
    when,
)

PREVIOUS = "previous"
LOCK = ".registry.lock"
LOCK_SECONDS = 60.0


def rolled_back(version: Version, now: Version) -> bool:
    """Whether `version` was taken out of service by hand, `now` being champion: then no rule brings it back."""
    undone = now.verdict == RESTORED and now.replaced == version.number
    return undone or version.verdict == ROLLED_BACK


def promote(model: str, number: int, *, expected: int | None, reason: str, anchor: int | None = None) -> Version:
    """Make version `number` the champion, provided `expected` still is (None: there is none).

    Losses are counted from version `anchor` on, None: from this one.
    One move at a time is made on this machine; on a server that several machines share, `expected` is looked up again
    just before the move. Where `number` is champion already, only what is missing of the move is made up for. Raises
    `DataError` that names the winner where another version was promoted meanwhile.
    """
    with one_at_a_time(model):
        now = serving(model)
        if now is None or now.number != number:
            _expect(model, number, expected)
            find(model, number)
            _tag(model, number, PROMOTED, reason, replaced=expected, anchor=anchor or number)
            _expect(model, number, expected)
            _move(model, CHAMPION, number)
        return _followed(model)


def rollback(model: str, reason: str = "") -> Version:
    """Put the champion before into service again; done twice, all is as it was. Returns who serves now.

    Raises `DataError` where there is no champion, none before it, or that one was deleted.
    """
    with one_at_a_time(model):
        now = find(model, CHAMPION)
        if now.replaced is None:
            raise DataError(now.address, "the first champion", "one that followed another", "Promote another version.")
        before = find(model, now.replaced)
        why = f"Version {now.number} was rolled back" + (f": {reason}" if reason else "")
        _tag(model, before.number, RESTORED, why, replaced=now.number)
        _move(model, CHAMPION, before.number)
        try:
            return _followed(model)
        except Unreachable as error:
            done = f"Version {before.number} is champion of {model} again; do not roll back once more."
            raise Unreachable(f"{done} The next command makes up for the rest. {error}") from error


def refuse(model: str, number: int, reason: str, against: str = "") -> None:
    """Write onto version `number` that it was not promoted, why, and `against` what; aliases stay as they are."""
    with one_at_a_time(model):
        now = serving(model)
        if now is not None and now.number == number:
            raise _lost(now, number)
        _tag(model, number, REFUSED, reason, against=against)
        record(find(model, number))
        if now is not None:
            _followed(model)


def _followed(model: str) -> Version:
    """What follows of who is champion, made so where it is not: alias `previous`, the verdict on one rolled back."""
    now = find(model, CHAMPION)
    before = next((version for version in versions(model) if version.number == now.replaced), None)
    if now.decided:
        record(now)
    if before is None:
        return now
    if PREVIOUS not in before.aliases:
        _move(model, PREVIOUS, before.number)
    if now.verdict == RESTORED and before.verdict != ROLLED_BACK:
        _tag(model, before.number, ROLLED_BACK, now.reason)
    return find(model, CHAMPION)


def _expect(model: str, number: int, expected: int | None) -> None:
    now = serving(model)
    if (None if now is None else now.number) != expected:
        raise _lost(now, number)


def _lost(now: Version | None, number: int) -> DataError:
    who = "there is no champion any more" if now is None else f"version {now.number} is champion by now ({now.reason})"
    where = f"version {number}" if now is None else f"models:/{now.model}/{number}"
    return DataError(where, who, "the champion that it was compared with", "Compare the two and promote again.")


def _tag(model: str, number: int, verdict: str, reason: str, **more: int | str | None) -> None:
    """Tags that tell the decision, the word for it last."""
    given = {key: "" if value is None else value for key, value in more.items()}
    tags = {"reason": reason, "decided": when(time.time()), "by": _who(), **given}
    for key, value in {**tags, "verdict": verdict}.items():
        with asking(model) as client:
            client.set_model_version_tag(model, str(number), key, str(value))


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _move(model: str, alias: str, number: int) -> None:
    with asking(model) as client:
        client.set_registered_model_alias(model, alias, str(number))


@contextmanager
def one_at_a_time(model: str) -> Iterator[None]:
    """One process of this machine changes the registry, by a lock that dies with its holder.

    Raises `DataError` after a minute of waiting.
    """
    address = store()
    folder = Path(address.removeprefix("sqlite:///")).parent if address.startswith("sqlite:///") else FOLDER
    with locked(folder / LOCK, LOCK_SECONDS) as mine:
        if not mine:
            got = f"held by another process for {LOCK_SECONDS:g} s"
            raise DataError(folder / LOCK, got, "one change at a time", "End that process.")
        yield
