"""An LLM's server that writes its reply a word at a time, and breaks off or waits where it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("What ", "it ", "says.")


class WritingLlm:
    """Writes `words`, the first at once, the others when `go` is set; `breaks` after so many of them."""

    def __init__(self) -> None:
        self.words, self.breaks, self.requests = WORDS, -1, 0
        self.go = threading.Event()
        self.go.set()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                owner.requests += 1
                self.send_response(200)
                self.send_header("content-type", "text/event-stream" if asked.get("stream") else "application/json")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                with suppress(OSError):
                    owner._write(self.wfile, bool(asked.get("stream")))

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _write(self, file: Any, stream: bool) -> None:
        head = {"id": "x", "created": 0, "model": "m"}
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        if not stream:
            message = {"role": "assistant", "content": "".join(self.words)}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            file.write(json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode())
            return
        head["object"] = "chat.completion.chunk"

        def send(told: Any) -> None:
            file.write(f"data: {told if isinstance(told, str) else json.dumps(told)}\n\n".encode())
            file.flush()

        for at, word in enumerate(self.words):
            if at == self.breaks:
                return
            if at:
                self.go.wait(300)
            send({**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}]})
        send({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        send({**head, "choices": [], "usage": usage})
        send("[DONE]")


@contextmanager
def writing_llm() -> Iterator[WritingLlm]:
    made = WritingLlm()
    try:
        yield made
    finally:
        made.close()
