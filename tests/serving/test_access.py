"""Keys, hosts and what an error may say."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from askless.errors import ConfigError
from askless.hosts import is_local
from askless.serving.access import VARIABLE, Bodies, Keys
from askless.serving.messages import ChatRequest, Refusal, read


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_this_machine_alone_needs_no_key(host, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert is_local(host) and Keys.of_environment(host).keys == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "localhost.evil.example", "example.org", ""])
def test_other_machines_need_one(host, monkeypatch):
    monkeypatch.setenv(VARIABLE, " , ")
    with pytest.raises(ConfigError) as error:
        Keys.of_environment(host)
    assert str(error.value) == (
        f"--host {host} lets other machines ask, and ASKLESS_SERVE_KEY is not set. Allowed without a key: 127.0.0.1. "
        "Export a key in ASKLESS_SERVE_KEY, or serve on this machine alone."
    )
    monkeypatch.setenv(VARIABLE, "one, two")
    assert Keys.of_environment(host).keys == (b"one", b"two")


@pytest.mark.parametrize("key", ["two words", "schlüssel", "tab\tbed"])
def test_a_key_that_no_client_can_send_is_refused(key, monkeypatch):
    monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(ConfigError) as error:
        Keys.of_environment("127.0.0.1")
    assert str(error.value).endswith("has blanks or letters beyond ASCII. Allowed: printable ASCII.")
    assert key not in str(error.value)


def test_bodies_that_are_read_at_once_have_bounded_memory():
    """Four clients that send half of a body and stop there fill the room of two; it is theirs until they go."""

    async def tried():
        bodies, go = Bodies(2**20), asyncio.Event()
        bodies.room = 2**20

        def asks():
            parts = [{"type": "http.request", "body": b" " * 2**19, "more_body": more} for more in (True, False)]

            async def receive():
                if len(parts) == 1:
                    await go.wait()
                return parts.pop(0)

            scope = {"type": "http", "headers": [(b"content-type", b"application/json")]}
            return asyncio.create_task(bodies.read(Request(scope, receive)))

        held = [asks(), asks()]
        await asyncio.sleep(0)
        refused = await asyncio.gather(asks(), asks(), return_exceptions=True)
        assert [(each.status, each.body["error"]["code"]) for each in refused] == [(429, "overloaded")] * 2
        assert bodies.held == 2**20
        held.pop().cancel()
        await asyncio.sleep(0)
        go.set()
        assert len(await held.pop()) == 2**20 and not bodies.held

    asyncio.run(tried())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_refusal(body):
    try:
        assert isinstance(read(body), ChatRequest)
    except Refusal as refusal:
        assert refusal.status == 400


SECRET = "geheimnis"
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.just(SECRET),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.just(SECRET) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = ("model", "messages", "stream", "n", "tools", "askless", "stream_options", "response_format", "modalities")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_a_refusal_quotes_nothing(body):
    import json

    try:
        chat = read(json.dumps(body).encode())
        chat.text()
        chat.budget()
    except Refusal as refusal:
        assert refusal.status == 400 and SECRET not in str(refusal.body)
