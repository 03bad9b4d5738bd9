"""A folder with a model that defers to an LLM behind HTTP, for commands that answer new items."""

import pytest

from tests.experts.chat_server import ChatServer
from tests.labelling.label_data import shop
from tests.production_data import said


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder, the bundle and the server, shared by the tests of a module."""
    server = ChatServer()
    server.reply = said
    folder = tmp_path_factory.mktemp("shop")
    bundle = shop(folder, server.url)
    yield folder, bundle, server
    server.close()
