"""Who may ask, from where, and how much: keys, hosts, and a body that is read only so far."""

from __future__ import annotations

import asyncio
import hmac
import os
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from askless.errors import ConfigError
from askless.hosts import is_local
from askless.serving.messages import Refusal

VARIABLE = "ASKLESS_SERVE_KEY"
BODY_SECONDS = 30.0
DRAINED = 16
# Bytes of bodies that are being read, or the bodies that so many requests may have, if that is more.
ROOM, ROOM_FOR = 128 * 2**20, 16


@dataclass(frozen=True)
class Keys:
    """The keys that clients may show; without any, everybody on this machine may ask.

    Parameters
    ----------
    keys
        As bytes.
    """

    keys: tuple[bytes, ...]

    @classmethod
    def of_environment(cls, host: str) -> Keys:
        """Those in `ASKLESS_SERVE_KEY`, with commas between them.

        Raises `ConfigError` where there is none and `host` is more than this machine, and for a key with blanks.
        """
        given = [key.strip() for key in os.environ.get(VARIABLE, "").split(",") if key.strip()]
        if not given and not is_local(host):
            raise ConfigError(
                f"--host {host} lets other machines ask, and {VARIABLE} is not set. Allowed without a key: 127.0.0.1. "
                f"Export a key in {VARIABLE}, or serve on this machine alone."
            )
        if any(not key.isascii() or not key.isprintable() or " " in key for key in given):
            raise ConfigError(f"A key in {VARIABLE} has blanks or letters beyond ASCII. Allowed: printable ASCII.")
        return cls(tuple(key.encode() for key in given))

    def check(self, request: Request) -> None:
        """Raise `Refusal` (401) unless the request shows a key; every key is compared, each in constant time."""
        if not self.keys:
            return
        shown = next((value for name, value in request.headers.raw if name.lower() == b"authorization"), b"")
        kind, _, key = shown.partition(b" ")
        right = [hmac.compare_digest(key.strip(), each) for each in self.keys]
        if kind.lower() != b"bearer" or not any(right):
            message = "Wrong or missing API key. Send it as 'Authorization: Bearer KEY'."
            raise Refusal(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    def check_host(self, request: Request) -> None:
        """Without keys, refuse what a page of some other site made a browser send here under that site's name."""
        name = request.url.hostname or ""
        if not self.keys and not is_local(name):
            raise Refusal(403, "Without a key, requests must be for localhost.", "wrong_host")


class Bodies:
    """Reads the bodies of requests, all of them together in bounded memory.

    Parameters
    ----------
    most
        Bytes of one.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.room = max(ROOM, ROOM_FOR * most)
        self.held = 0

    async def read(self, request: Request) -> bytes:
        """The body of a request; raises `Refusal`: 415 for another type than JSON, 413, 408, 429 without room for it.

        A longer body is read on, and thrown away, up to sixteen times that, so that the client gets to read why;
        nothing is read of one that says that it is longer still.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, "The Content-Type must be application/json.", "unsupported_media_type")
        too_long = Refusal(
            413, f"The body has more than {self.most // 1024} KB.", "too_large", headers={"Connection": "close"}
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > DRAINED * self.most:
            raise too_long
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    size += len(part)
                    if size > DRAINED * self.most:
                        break
                    if size <= self.most:
                        self._make_room(len(part))
                        parts.append(part)
        except TimeoutError:
            raise too_long if size > self.most else Refusal(408, "The body did not come in time.", "timeout") from None
        except ClientDisconnect:
            raise Refusal(400, "The body was cut off.", "cut_off") from None
        finally:
            self.held -= sum(map(len, parts))
        if size > self.most:
            raise too_long
        return b"".join(parts)

    def _make_room(self, more: int) -> None:
        if self.held + more > self.room:
            message = f"Bodies of {self.room >> 20} MB are being read. Try again."
            raise Refusal(429, message, "overloaded", headers={"Connection": "close", "Retry-After": "1"})
        self.held += more
