"""A house over olhs with an LLM that tells long texts from short ones, shared by tests that leave it as it is."""

import pytest

from tests.production_data import chat_server
from tests.serving.house import house


@pytest.fixture
def llm():
    with chat_server() as server:
        yield server


@pytest.fixture(scope="module")
def kept_llm():
    with chat_server() as server:
        yield server


@pytest.fixture(scope="module")
def home(kept_llm, empty_store, tmp_path_factory):
    """A server that is asked with a key."""
    with house(tmp_path_factory.mktemp("home"), empty_store, kept_llm.url, keys=("first", "second")) as made:
        yield made
