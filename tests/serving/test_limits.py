"""More than the server takes is turned away at once and taken later; an end finishes what is under way."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from askless.serving.service import Limits
from tests.experts.chat_server import Answer, chat
from tests.registry_data import LLM, PRICE
from tests.serving.house import LONG, SHORT, WAIT_S, house, until

DEFER = {"askless": {"share": 1.0}}


@pytest.fixture
def busy(tmp_path, empty_store, llm):
    """A server that takes three at once, with an LLM that answers when `go` is set."""
    go = threading.Event()

    def reply(request, before):
        go.wait(WAIT_S)
        return Answer(chat("yes"))

    llm.reply = reply
    with house(tmp_path, empty_store, llm.url, limits=Limits(waiting=3, asking=8, grace=WAIT_S)) as made:
        try:
            yield made, go
        finally:
            go.set()


def test_more_than_it_takes_get_429_at_once_and_it_recovers(busy):
    home, go = busy
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(home.say, f"{LONG} {n}", extra_body=DEFER) for n in range(3)]
        until(lambda: home.metric("askless_in_flight") == 3)
        with pytest.raises(openai.RateLimitError) as shed:
            home.say(SHORT)
        assert not any(done.done() for done in waiting), "at once, while the others wait for the LLM"
        assert shed.value.response.headers["retry-after"] == "1"
        assert shed.value.body == {
            "message": "3 requests are being answered. Try again.",
            "type": "rate_limit_error",
            "code": "overloaded",
            "param": None,
        }
        assert httpx.get(f"{home.root}/healthz").status_code == 200
        go.set()
        assert {done.result().model_extra["askless"]["expert"] for done in waiting} == {LLM}
    until(lambda: home.metric("askless_in_flight") == 0)
    assert home.say(SHORT).choices[0].message.content == "0"
    assert home.metric("askless_shed_total") == 1


def test_the_openai_client_tries_again_by_itself(busy):
    home, go = busy
    with ThreadPoolExecutor(4) as pool, home.client(retries=6) as client:
        waiting = [pool.submit(home.say, f"{LONG} {n}", extra_body=DEFER) for n in range(3)]
        until(lambda: home.metric("askless_in_flight") == 3)
        messages = [{"role": "user", "content": SHORT}]
        later = pool.submit(client.chat.completions.create, model="askless-olhs", messages=messages)
        until(lambda: home.metric("askless_shed_total") >= 1)
        go.set()
        assert later.result().choices[0].message.content == "0"
        assert all(done.result() for done in waiting)


def test_an_end_finishes_what_is_under_way_and_writes_the_log(busy):
    home, go = busy
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(home.say, f"{LONG} {n}", extra_body=DEFER) for n in range(3)]
        until(lambda: home.metric("askless_in_flight") == 3)
        ending = threading.Thread(target=home.stop)
        ending.start()
        until(lambda: home.service.draining)
        until(lambda: home.server.should_exit)
        assert not any(done.done() for done in waiting)
        go.set()
        ending.join()
        assert {done.result().model_extra["askless"]["cost_usd"] for done in waiting} == {PRICE}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{home.root}/healthz")
    assert len(home.rows()) == 3


def test_while_it_ends_nothing_more_is_taken_in(busy):
    home, go = busy
    go.set()
    with httpx.Client() as client:
        assert client.get(f"{home.root}/healthz").status_code == 200
        home.service.draining = True
        assert client.get(f"{home.root}/healthz").json()["status"] == "ending"
        reply = client.post(
            f"{home.url}/chat/completions", json={"model": "askless-olhs", "messages": [{"role": "user"}]}
        )
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "shutting_down")
        assert reply.headers["retry-after"] == "1"
