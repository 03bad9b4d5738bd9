"""The tiny model of the experts' tests, and a server of chat completions."""

import pytest

from tests.experts.chat_server import Answer, ChatServer, chat
from tests.experts.conftest import tiny as tiny
from tests.spending.guarded import close_all


@pytest.fixture
def server():
    """A server that says yes."""
    running = ChatServer()
    running.reply = lambda request, before: Answer(chat("yes", {"yes": 0.9, "no": 0.1}))
    yield running
    close_all()
    running.close()
