"""Experts are built for what a task asks of them."""

from pathlib import Path

import pytest

from askless.errors import ConfigError
from askless.experts import LABELLERS, SUMMARISERS, Setting, build


@pytest.mark.parametrize("backend", LABELLERS)
def test_what_knows_classes_only_cannot_summarise(backend):
    with pytest.raises(ConfigError) as error:
        build(Setting("mine", "news", ()), {"backend": backend})
    assert str(error.value) == (
        f"Expert 'mine': backend {backend} cannot answer with summaries. "
        "Allowed there: llm, vllm, openai, seq2seq, extractive, lead, recorded."
    )


@pytest.mark.parametrize("backend", SUMMARISERS)
def test_what_summarises_cannot_give_classes(backend):
    with pytest.raises(ConfigError) as error:
        build(Setting("mine", "posts", ("0", "1"), vectors=Path("vectors")), {"backend": backend})
    assert str(error.value) == (
        f"Expert 'mine': backend {backend} cannot answer with classes ['0', '1']. "
        "Allowed there: llm, vllm, openai, mlp, linear, majority, recorded."
    )
