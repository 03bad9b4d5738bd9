"""What happened to a request on its way: whether it was sent, and a reply that is no longer than any may be.

Each request has a connection of its own. On one that is used again a reply that a server sends twice, or too late,
would be read as the answer to the next request.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from askless.errors import AsklessError

LONGEST, LEAST = 16 * 2**20, 20
HEADERS = {"Connection": "close", "Accept-Encoding": "identity"}


class TooLong(AsklessError):
    """A reply of more bytes, or that takes longer, than any may."""


class Wire:
    """Follows the requests of an HTTP client by its event hooks; each thread makes one at a time.

    Parameters
    ----------
    seconds
        That the body of a reply may take, however it drips in; one that is streamed has no such end.
    longest
        Bytes of a reply; None for `LONGEST`.
    """

    def __init__(self, seconds: float, longest: int | None = None) -> None:
        self._seconds = seconds
        self._longest = longest or LONGEST
        self._now = threading.local()

    @property
    def hooks(self) -> dict[str, list[Any]]:
        """What an HTTP client (httpx) is made with as `event_hooks`."""
        return {"request": [self._on_request], "response": [self._bound]}

    def begin(self) -> None:
        """A request is going to be made by this thread."""
        self._now.sent = None

    @property
    def sent(self) -> bool:
        """Whether the last request of this thread may have reached its server: not where only connecting was tried."""
        return getattr(self._now, "sent", None) is not False

    def _on_request(self, request: Any) -> None:
        request.extensions = {**request.extensions, "trace": self._on_step}

    def _on_step(self, name: str, _: object) -> None:
        if ".send_request_" in name:
            self._now.sent = True
        elif name.startswith("connection.") and getattr(self._now, "sent", None) is None:
            self._now.sent = False

    def _bound(self, response: Any) -> None:
        """Let a reply be read up to so many bytes, as it was sent: unpacked it could be a thousand times as long."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise TooLong("a compressed reply, though none was asked for")
        httpx = sys.modules[type(response).__module__.partition(".")[0]]
        stream, seconds, longest = response.stream, self._seconds, self._longest
        streamed = response.headers.get("content-type", "").startswith("text/event-stream")

        class Bounded(httpx.SyncByteStream):  # type: ignore[name-defined,misc]
            def __iter__(self) -> Iterator[bytes]:
                left, until = longest, time.monotonic() + seconds
                for part in stream:
                    left -= len(part)
                    if left < 0:
                        raise TooLong(f"a reply of more than {longest:,} bytes")
                    if not streamed and time.monotonic() > until:
                        raise TooLong(f"a reply that takes more than {seconds:g} seconds")
                    yield part

            def close(self) -> None:
                stream.close()

        response.stream = Bounded()


class SeenReplies:
    """Whose answer each reply was in this process, by its id; any number of threads may use it.

    Those of earlier processes are with the kept answers.
    """

    MOST = 100_000

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._lock = threading.Lock()

    def another(self, reply: Any, key: str) -> bool:
        """Whether a reply of this id came before as the answer to another key than `key`; notes it where it did not."""
        if reply_id(reply) is None:
            return False
        with self._lock:
            if len(self._keys) >= self.MOST:
                del self._keys[next(iter(self._keys))]
            return self._keys.setdefault(reply, key) != key


def reply_id(given: Any) -> str | None:
    """The id by which a reply is known again.

    A short one says little (some servers draw one of a thousand): that two replies share it is no reason to doubt them.
    """
    return given if isinstance(given, str) and len(given) >= LEAST and given.isascii() else None
