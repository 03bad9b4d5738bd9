"""What uvicorn leaves open: how long a client may take over a request, and how many connections it and all may hold."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import time
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from askless.serving.access import BODY_SECONDS
from askless.serving.measures import Measures

FILES = 256
# Seconds in which who has connected may still ask when the server ends.
LAST_S = 1.0


class Phase(StrEnum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    READER = "reader"
    IDLE = "idle"
    CLOSING = "closing"


# Seconds that a phase may last. A late body is refused first; between two requests uvicorn's own time holds.
MOST_S = {Phase.HEAD: 10.0, Phase.BODY: BODY_SECONDS + 5.0, Phase.READER: 30.0, Phase.CLOSING: 5.0}


@dataclass
class _Seen:
    """Where a connection was found, and since when."""

    at: tuple[Any, ...]
    since: float


class Connections:
    """The open connections of a server: bounded in number, none waited for without end.

    Where a peer, or all, hold too many, the one that has kept the server waiting longest gives way: of that peer, or of
    the peer with most. What is being answered never does.

    Parameters
    ----------
    most, most_of_peer
        How many in all, and of one address (of IPv6 one network of 64 bits).
    measures
        What is counted.
    """

    def __init__(self, most: int, most_of_peer: int, measures: Measures) -> None:
        self.most = most
        self.most_of_peer = most_of_peer
        self._measures = measures
        self._peers: defaultdict[str, dict[Connection, _Seen]] = defaultdict(dict)
        self._count = 0

    def enter(self, connection: Connection) -> None:
        """Take in a connection, in the place of another where there is no room."""
        own = self._peers[connection.peer]
        own[connection] = _Seen((), time.monotonic())
        self._count += 1
        self._measures.connections.set(self._count)
        if len(own) > self.most_of_peer:
            self._give_way(own, connection)
        elif self._count > self.most:
            self._give_way(max(self._peers.values(), key=len), connection)

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        own = self._peers[connection.peer]
        del own[connection]
        if not own:
            del self._peers[connection.peer]
        self._count -= 1
        self._measures.connections.set(self._count)

    def look(self) -> None:
        """Cut those that have been in their phase for too long; to be called every second."""
        now = time.monotonic()
        for connection, seen in [each for own in self._peers.values() for each in own.items()]:
            phase, at = connection.phase, connection.at
            if seen.at != at:
                self._peers[connection.peer].pop(connection)
                # The last to change is the last in turn.
                self._peers[connection.peer][connection] = _Seen(at, now)
            elif now - seen.since > MOST_S.get(phase, float("inf")):
                self._cut(connection, phase)

    def _give_way(self, own: dict[Connection, _Seen], newest: Connection) -> None:
        waiting = (each for each in own if each.phase not in (Phase.ANSWER, Phase.CLOSING))
        self._cut(next(waiting, newest), "room")

    def _cut(self, connection: Connection, why: str) -> None:
        self._measures.cut.labels(why).inc()
        connection.transport.abort()


class Connection(H11Protocol):
    """Uvicorn's connection, that is counted and looked at.

    Parameters
    ----------
    connections
        Where it belongs.
    **uvicorn
        As uvicorn makes it.
    """

    def __init__(self, connections: Connections, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._all = connections
        self.peer = ""
        self._ends = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        super().connection_made(transport)
        self.peer = _network(self.client[0] if self.client else "")
        self._all.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._all.leave(self)

    def shutdown(self) -> None:
        """End when nothing is under way; who has connected may still ask for a moment, and is told."""
        if self.phase in (Phase.HEAD, Phase.BODY) and not self._ends:
            self._ends = True
            self.loop.call_later(LAST_S, self.shutdown)
        else:
            super().shutdown()

    @property
    def phase(self) -> Phase:
        """What it waits for."""
        if self.transport.is_closing():
            return Phase.CLOSING
        if self.flow.write_paused:
            return Phase.READER
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.cycle is not None and not self.cycle.response_complete:
            return Phase.ANSWER
        return Phase.IDLE if self.timeout_keep_alive_task is not None else Phase.HEAD

    @property
    def at(self) -> tuple[Any, ...]:
        """Its phase, its request, and what is still to be written: where none of these changes nothing goes on."""
        return self.phase, id(self.cycle), self.transport.get_write_buffer_size()


def room_for(most: int) -> int:
    """How many connections there can be, at most `most`: this process may open more files from now on, if it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(most, max(soft - FILES, soft // 2))


def _network(host: str) -> str:
    """The address of a client, of IPv6 its network."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False).network_address
    return str(address)
