"""A real HTTP server on this machine that speaks enough of the chat API, with faults to order."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server sends: a status, headers, a body (JSON, or bytes as they are), after a delay."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Request:
    """What the server got."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    number: int = 0

    @property
    def text(self) -> str:
        """The user's turn."""
        return str(self.body["messages"][-1]["content"])


def chat(content: str | None, top: dict[str, float] | None = None, **usage: Any) -> dict[str, Any]:
    """A chat completion of whatever model was asked; `top` maps alternatives of the first token to probabilities."""
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": "stop" if content is not None else "content_filter",
        "message": {"role": "assistant", "content": content},
        "logprobs": None,
    }
    if top:
        alternatives = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in top.items()]
        choice["logprobs"] = {"content": [{**alternatives[0], "top_logprobs": alternatives}]}
    counted = {"prompt_tokens": 11, "completion_tokens": 1, "total_tokens": 12, **usage}
    return {"id": "x", "object": "chat.completion", "created": 0, "choices": [choice], "usage": counted}


def problem(message: str, code: str | None = None) -> dict[str, Any]:
    """An error's body."""
    return {"error": {"message": message, "type": "some_error", "code": code, "param": None}}


class ChatServer:
    """Answers each POST by `reply(request, times this text was asked before)`."""

    def __init__(self) -> None:
        self.reply: Callable[[Request, int], Answer] = lambda request, before: Answer(chat("0"))
        self.requests: list[Request] = []
        self._lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

        for name, do in self.handlers().items():
            setattr(Handler, name, do)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # With the library's five connections that wait to be taken, more at once lose some in the middle.
            request_queue_size = 128

            def handle_error(self, *args: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def handlers(self) -> dict[str, Any]:
        """What is done at each HTTP method."""
        return {"do_POST": lambda handler: self._answer(handler)}

    def asked(self) -> list[str]:
        """The texts that were asked, in order of arrival."""
        return [request.text for request in self.requests]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers["content-length"]))
        request = Request(
            handler.path, json.loads(raw), {k.lower(): v for k, v in handler.headers.items()}, time.monotonic()
        )
        with self._lock:
            before = self.asked().count(request.text)
            self.requests.append(request)
            request.number = len(self.requests)
        answer = self.reply(request, before)
        time.sleep(answer.delay)
        if isinstance(answer.body, dict) and "choices" in answer.body:
            answer.body = {"model": request.body.get("model"), **answer.body}
        self.send(handler, answer)

    def send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        """Write an answer."""
        payload = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        with suppress(OSError):
            handler.send_response(answer.status)
            for name, value in {"content-type": "application/json", **answer.headers}.items():
                handler.send_header(name, value)
            handler.send_header("content-length", str(len(payload)))
            handler.end_headers()
            handler.wfile.write(payload)
