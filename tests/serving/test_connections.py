"""Clients that hold connections, or say nothing on them: the server goes on answering, and they are let go."""

import logging
import signal
import socket
import threading
import time
from contextlib import ExitStack

import httpx
import pytest

from askless.serving import connections
from askless.serving.connections import Phase
from askless.serving.server import DRAIN_S, MOST_OF_PEER, RECORDS, Sparing
from tests.registry_data import MODEL
from tests.serving.house import WAIT_S, house, until

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\ncontent-length: 99\r\n\r\n{"
)


@pytest.fixture
def home(kept_llm, empty_store, tmp_path):
    with house(tmp_path, empty_store, kept_llm.url) as made:
        yield made


def opened(stack, home, sent=b""):
    made = stack.enter_context(socket.create_connection(home.socket.getsockname()[:2], timeout=WAIT_S))
    made.sendall(sent)
    return made


@pytest.mark.parametrize("count", [MOST_OF_PEER + 44, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sent", [b"", HEALTH[:-2], POST], ids=["idle", "half a head", "half a body"])
def test_sockets_that_wait_do_not_stop_it(home, count, sent):
    with ExitStack() as stack:
        for _ in range(count):
            opened(stack, home, sent)
        for _ in range(5):
            start = time.monotonic()
            assert httpx.get(f"{home.root}/healthz", timeout=WAIT_S).json()["status"] == "ok"
            print(f"{count} sockets: /healthz after {time.monotonic() - start:.3f} s")
        assert home.metric("askless_connections") <= MOST_OF_PEER
        assert home.metric("askless_cut_total") >= count - MOST_OF_PEER
    until(lambda: home.metric("askless_connections") <= 2)


@pytest.mark.parametrize(("sent", "phase"), [(b"", Phase.HEAD), (b"GET /he", Phase.HEAD), (POST, Phase.BODY)])
def test_who_is_late_is_let_go(home, monkeypatch, sent, phase):
    with ExitStack() as stack:
        with monkeypatch.context() as hasty:
            hasty.setitem(connections.MOST_S, phase, 0.1)
            late = opened(stack, home, sent)
            try:
                assert late.recv(100) == b""
            except ConnectionResetError:
                pass
        assert home.metric("askless_cut_total") == 1


def test_an_answer_under_way_gives_way_to_nobody(home, kept_llm):
    go = threading.Event()
    before = kept_llm.reply
    kept_llm.reply = lambda request, seen: before(request, seen) if go.wait(WAIT_S) else None
    with ExitStack() as stack:
        found = []
        asking = threading.Thread(target=lambda: found.append(home.say("A long text. " + "y" * 190)))
        asking.start()
        until(lambda: home.service.busy)
        for _ in range(MOST_OF_PEER + 20):
            opened(stack, home)
        go.set()
        asking.join(WAIT_S)
        assert found and found[0].choices[0].message.content


def test_who_has_connected_when_it_ends_is_answered(home, monkeypatch):
    monkeypatch.setattr(connections, "LAST_S", WAIT_S)
    with ExitStack() as stack:
        early = [opened(stack, home) for _ in range(50)]
        until(lambda: home.metric("askless_connections") >= 50)
        home.server.handle_exit(signal.SIGTERM, None)
        for made in early:
            made.sendall(HEALTH)
        assert all(made.recv(1000).startswith(b"HTTP/1.1 503") for made in early)


def test_a_body_that_says_it_is_far_too_long_is_not_read(home):
    with ExitStack() as stack:
        made = opened(stack, home, POST.replace(b"length: 99", b"length: 99999999999"))
        assert made.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_log_has_so_many_records_of_a_kind():
    sparing = Sparing()
    records = [logging.makeLogRecord({"name": "uvicorn.error", "msg": "Invalid HTTP request received."})] * 1000
    assert sum(map(sparing.filter, records)) == RECORDS
    assert sparing.filter(logging.makeLogRecord({"name": "uvicorn.error", "msg": "another"}))


@pytest.mark.parametrize("seconds", [DRAIN_S, pytest.param(0.0, id="over before its first turn")])
def test_who_waits_in_the_queue_when_it_ends_is_answered(home, monkeypatch, seconds):
    monkeypatch.setattr("askless.serving.server.DRAIN_S", seconds)
    held, go, tick = threading.Event(), threading.Event(), home.server.on_tick

    async def hold(counter):
        held.set()
        go.wait(WAIT_S)
        return await tick(counter)

    monkeypatch.setattr(home.server, "on_tick", hold)
    assert held.wait(WAIT_S)
    with ExitStack() as stack:
        waiting = [opened(stack, home, HEALTH) for _ in range(200)]
        home.server.handle_exit(signal.SIGTERM, None)
        go.set()
        assert all(made.recv(1000).startswith(b"HTTP/1.1 503") for made in waiting)


def test_no_more_are_taken_in_at_once_than_are_counted(home):
    assert home.server.config.backlog < MOST_OF_PEER


@pytest.mark.parametrize("where", ["askless.serving.messages.read", "askless.serving.app._headers"])
def test_what_a_fault_says_is_in_no_log(home, monkeypatch, caplog, where):
    def fails(*_):
        raise RuntimeError("the-text-itself")

    monkeypatch.setattr(where, fails)
    assert home.post({"model": MODEL["olhs"], "messages": [{"role": "user", "content": "x"}]}).status_code == 500
    until(lambda: "RuntimeError at test_connections.py" in caplog.text)
    assert "the-text-itself" not in caplog.text
