"""Telemetry off and one thread each before anything is imported, and reproducible property tests."""

import gc
import os
import ssl
import tempfile
from collections.abc import Iterator
from functools import cache

# Two test processes share two cores: threads of one would wait for those of the other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What the user at this machine agreed to, and their limits, are nothing to a test.
os.environ["XDG_CONFIG_HOME"] = os.path.join(tempfile.gettempdir(), f"askless-tests-{os.getpid()}")

import pytest
from hypothesis import settings

import flows  # noqa: F401  sets the quiet environment
from askless.spending import key_limits, ledger
from tests.experts.chat_server import ChatServer
from tests.pipeline import built as built
from tests.pipeline import empty_store as empty_store
from tests.pipeline import summarised as summarised

# Each HTTP client reads all authorities that this machine trusts, which takes 24 ms: tests open thousands of them.
ssl.create_default_context = cache(ssl.create_default_context)

# Two shared cores make any deadline a coin toss; derandomised, a failure is everybody's failure.
settings.register_profile("askless", deadline=None, derandomize=True, database=None, max_examples=40)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "askless"))


@pytest.fixture(scope="module", autouse=True)
def little_garbage() -> None:
    """What earlier files imported is looked at by no collection any more, of which some tests make many."""
    gc.freeze()


@pytest.fixture(autouse=True)
def one_day() -> Iterator[None]:
    """What a test may spend in a day is that of one day, also at midnight."""
    day = key_limits.today()
    with pytest.MonkeyPatch.context() as patch:
        for module in (key_limits, ledger):
            patch.setattr(module, "today", lambda: day)
        yield


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A server of chat completions on this machine."""
    running = ChatServer()
    yield running
    running.close()


# What takes longest, the longest first.
LONG = (
    "tests/flows/",
    "tests/registry/test_versions.py",
    "tests/realdata/",
    "tests/tasks/",
    "tests/plans/test_evaluate.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: one that begins last would be waited for by an idle core."""
    items.sort(key=lambda item: next((i for i, path in enumerate(LONG) if item.nodeid.startswith(path)), len(LONG)))
