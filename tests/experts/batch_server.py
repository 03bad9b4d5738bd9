"""The chat server of these tests with files and batches, which it bills, and ends as it is told."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.experts.chat_server import Answer, ChatServer, Request, chat, problem

PRICE = 0.001
FAILED = {
    "failed": {"code": "model_not_found", "message": "The model m does not exist."},
    "full": {"code": "token_limit_exceeded", "message": "Enqueued token limit reached."},
}


class BatchServer(ChatServer):
    """Answers each line of a batch by `line(request)`; a batch ends after `looks` looks, its lines in any order.

    `how` says how a batch ends (`completed`, `expired`, ...), `share` how many of its lines it reaches. What it
    answers with status 200 it bills.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.line = lambda request: Answer(chat("1", top={"1": 0.9, "0": 0.1}))
        self.how, self.share, self.looks = (lambda number: "completed"), 1.0, 1
        self.files: dict[str, dict[str, Any]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.answered: Counter[str] = Counter()
        self.calls: list[str] = []
        self.before = lambda method, path: None
        self.after = lambda method, path: None

    @property
    def bill(self) -> float:
        """Dollars for all lines that were answered."""
        return PRICE * self.answered.total()

    def handlers(self) -> dict[str, Any]:
        return {f"do_{method}": self._do(method) for method in ("POST", "GET", "DELETE")}

    def _do(self, method: str) -> Any:
        def do(handler: BaseHTTPRequestHandler) -> None:
            if handler.path.startswith(("/v1/files", "/v1/batches")):
                raw = handler.rfile.read(int(handler.headers.get("content-length") or 0))
                with self._lock:
                    self.calls.append(f"{method} {handler.path}")
                    answer = self.before(method, handler.path)
                    if answer is None:
                        answer = self._api(method, handler, raw)
                        answer = self.after(method, handler.path) or answer
                self.send(handler, answer)
            else:
                self._answer(handler)

        return do

    def _api(self, method: str, handler: BaseHTTPRequestHandler, raw: bytes) -> Answer:
        parts = handler.path.partition("?")[0].strip("/").split("/")[1:]
        match method, parts:
            case "POST", ["files"]:
                return Answer(self._upload(handler, raw))
            case "GET", ["files"]:
                return Answer(
                    {"object": "list", "data": [_public(file) for file in self.files.values()], "has_more": False}
                )
            case "GET", ["files", name, "content"] if name in self.files:
                return Answer(self.files[name]["content"], headers={"content-type": "application/jsonl"})
            case "DELETE", ["files", name]:
                self.files.pop(name, None)
                return Answer({"id": name, "object": "file", "deleted": True})
            case "POST", ["batches"]:
                return Answer(self._begin(json.loads(raw)))
            case "GET", ["batches"]:
                return Answer({"object": "list", "data": list(self.batches.values())[::-1], "has_more": False})
            case "GET", ["batches", name] if name in self.batches:
                return Answer(self._looked_at(name))
            case "POST", ["batches", name, "cancel"] if name in self.batches:
                self.batches[name]["status"] = "cancelling"
                return Answer(self.batches[name])
        return Answer(problem("no such thing"), 404)

    def _upload(self, handler: BaseHTTPRequestHandler, raw: bytes) -> dict[str, Any]:
        head = f"content-type: {handler.headers['content-type']}\r\n\r\n".encode()
        fields = {
            part.get_param("name", header="content-disposition"): part
            for part in BytesParser().parsebytes(head + raw).get_payload()
        }
        assert fields["purpose"].get_payload().strip() == "batch"
        return _public(self._file(fields["file"].get_filename(), fields["file"].get_payload(decode=True)))

    def _file(self, filename: str, content: bytes) -> dict[str, Any]:
        name = f"file-{len(self.files)}-{self.rng.getrandbits(40):x}"
        about = {"object": "file", "purpose": "batch", "bytes": len(content), "created_at": 0, "status": "processed"}
        self.files[name] = {"id": name, "filename": filename, "content": content, **about}
        return self.files[name]

    def _begin(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"batch_{len(self.batches)}"
        lines = self.files[asked["input_file_id"]]["content"].splitlines()
        counts = {"total": len(lines), "completed": 0, "failed": 0}
        about = {"object": "batch", "created_at": 0, "status": "validating", "request_counts": counts}
        self.batches[name] = {
            "id": name,
            **asked,
            **about,
            "looks": 0,
            "requests": [json.loads(line) for line in lines],
        }
        return self.batches[name]

    def _looked_at(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        batch["looks"] += 1
        if batch["status"] == "cancelling":
            self._end(batch, "cancelled", self.share)
        elif batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if batch["looks"] > self.looks:
                how = self.how(list(self.batches).index(name))
                if how != "in_progress":
                    self._end(batch, how, 1.0 if how == "completed" else self.share)
        return {key: value for key, value in batch.items() if key != "requests"}

    def _end(self, batch: dict[str, Any], how: str, share: float) -> None:
        batch["status"] = "failed" if how in FAILED else how
        if how in FAILED:
            batch["errors"] = {"object": "list", "data": [FAILED[how]]}
            return
        lines: dict[str, list[Any]] = {"output": [], "error": []}
        requests = batch["requests"]
        self.rng.shuffle(requests)
        for at, request in enumerate(requests):
            record = {"id": f"r{at}", "custom_id": request["custom_id"], "response": None, "error": None}
            if at >= share * len(requests):
                late = {"code": f"batch_{how}", "message": f"This request could not be executed: {how}."}
                lines["error"].append(record | {"error": late})
                continue
            answer = self.line(Request(request["url"], request["body"], {}, 0.0))
            body = {"model": request["body"]["model"], **answer.body} if isinstance(answer.body, dict) else answer.body
            if answer.status == 200:
                self.answered[request["body"]["messages"][-1]["content"]] += 1
                body = {**body, "id": f"chatcmpl-{self.rng.getrandbits(120):030x}"}
            response = {"status_code": answer.status, "request_id": "q", "body": body}
            lines["output" if answer.status == 200 else "error"].append(record | {"response": response})
        for kind, records in lines.items():
            if records:
                content = b"".join(json.dumps(each).encode() + b"\n" for each in records)
                batch[f"{kind}_file_id"] = self._file(f"{kind}.jsonl", content)["id"]


@contextmanager
def batch_server() -> Iterator[BatchServer]:
    """One that says yes to long texts, live and by batches."""
    running = BatchServer()
    running.line = lambda request: Answer(chat("yes" if "A long text" in request.text else "no"))
    running.reply = lambda request, before: running.line(request)
    try:
        yield running
    finally:
        running.close()


def _public(file: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in file.items() if key != "content"}
