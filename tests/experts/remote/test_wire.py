"""A server that answers each request twice on its connection: the second time is nobody's answer."""

import contextlib
import json
import re
import socketserver
import threading
import time

import pytest

from tests.experts.chat_server import chat
from tests.spending.guarded import hosted, items


class Twice(socketserver.StreamRequestHandler):
    """Keeps the connection whatever the client says, and answers "yes" to texts that have an x."""

    def handle(self):
        while head := self._head():
            length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE).group(1))
            asked = json.loads(self.rfile.read(length))["messages"][-1]["content"]
            body = json.dumps(chat("yes" if "x" in asked else "no")).encode()
            reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.wfile.write(2 * (reply + body))

    def _head(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return b""
            head += line
        return head


class Server(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address, block_on_close = True, True, False


@pytest.fixture
def twice():
    with Server(("127.0.0.1", 0), Twice) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def test_each_text_has_its_own_answer(tmp_path, twice):
    texts = [f"{'x' if n % 3 else 'o'} {n}" for n in range(60)]
    table = hosted(tmp_path, twice, concurrency=4).answer(items(*texts))
    assert table["label"].to_pylist() == ["1" if n % 3 else "0" for n in range(60)]


class Drip(Twice):
    """Sends its reply a byte at a time, so that no wait for the next is long."""

    def handle(self):
        self._head()
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10000\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b" ")
                time.sleep(0.05)


def test_a_reply_that_drips_in_holds_nobody(tmp_path):
    with Server(("127.0.0.1", 0), Drip) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        table = hosted(tmp_path, url, timeout=2.0, max_retries=0).answer(items("x"))
        server.shutdown()
    assert (
        table["label"].to_pylist() == [None] and "a reply that takes more than 2 seconds" in table["error"][0].as_py()
    )
