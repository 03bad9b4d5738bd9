"""Tiny models and a chat server, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experts.tiny_models import CHAT, NO_SYSTEM, make_encoder, make_model, make_summariser


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama without a chat template."""
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with a chat template."""
    return make_model(tmp_path_factory.mktemp("chatty"), template=CHAT, seed=1)


@pytest.fixture(scope="session")
def systemless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose chat template refuses a system message."""
    return make_model(tmp_path_factory.mktemp("systemless"), template=NO_SYSTEM, seed=1)


@pytest.fixture(scope="session")
def positional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2, whose absolute positions a careless left padding would shift."""
    return make_model(tmp_path_factory.mktemp("positional"), kind="gpt2", seed=2)


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5."""
    return make_summariser(tmp_path_factory.mktemp("t5"), "t5")


@pytest.fixture(scope="session")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BART, whose first token is forced."""
    return make_summariser(tmp_path_factory.mktemp("bart"), "bart")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder."""
    return make_encoder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models run on one thread: two that wait for each other on a busy machine take a hundred times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
