"""What is held of a batch, read in parts and with rows let go, is what the network would hold of each row alone."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from askless.experts.local import memory
from askless.experts.local.memory import Memory
from askless.experts.local.prefix import SharedPrefix, shared_tokens
from tests.experts.local.networks import demo, documents_prompts


def after(rows):
    """Logits after each row, read alone and whole."""
    network = demo("xs").network
    with torch.inference_mode():
        return torch.stack([network(torch.tensor([list(row)])).logits[0, -1] for row in rows])


@pytest.mark.parametrize("most", [1, 150, 100_000])
@pytest.mark.parametrize("shared", [False, True])
def test_prompts_are_read_in_parts_and_keep_their_order(most, shared, monkeypatch):
    monkeypatch.setattr(memory, "CPU_TOKENS", most)
    network, prompts = demo("xs").network, documents_prompts(7)
    prefix = SharedPrefix.read(network, shared_tokens(prompts)) if shared else None
    with torch.inference_mode():
        first, held = Memory.read(network, prompts, 1, prefix, 2)
        torch.testing.assert_close(first, after(prompts), atol=1e-4, rtol=1e-4)
        second = held.on(torch.tensor([5] * 7))
    torch.testing.assert_close(second, after([[*prompt, 5] for prompt in prompts]), atol=1e-4, rtol=1e-4)
    assert held.end == max(map(len, prompts)) + 1
    assert held.mask.shape == (7, max(map(len, prompts)) + 2)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sets(st.integers(0, 5)), max_size=5), st.integers(1, 6))
def test_rows_that_are_let_go_leave_the_others_as_they_are(goes, room):
    network, rows = demo("xs").network, [list(prompt) for prompt in documents_prompts(6)]
    with torch.inference_mode(), patch.object(memory, "ROOM", room):
        _, held = Memory.read(network, rows, 1, None, len(goes) + 1)
        for step, go in enumerate([*goes, set()]):
            stay = [place for place in range(len(rows)) if place not in go]
            if not stay:
                break
            order = held.keep(stay)
            assert sorted(order) == stay
            assert all(order[row] == row for row in stay if row < len(stay)), "who can stay does not move"
            rows = [[*rows[row], 20 + step] for row in order]
            found = held.on(torch.tensor([row[-1] for row in rows]))
            torch.testing.assert_close(found, after(rows), atol=1e-4, rtol=1e-4)


def test_a_step_writes_into_the_room_that_is_there():
    network, prompts = demo("xs").network, documents_prompts(3)
    with torch.inference_mode():
        _, held = Memory.read(network, prompts, 1, None, 2)
        before = [buffer.data_ptr() for layer in held.held.layers for buffer in layer.buffers]
        held.on(torch.tensor([5, 6, 7]))
        held.keep([1])
        held.on(torch.tensor([5]))
    assert [buffer.data_ptr() for layer in held.held.layers for buffer in layer.buffers] == before
    assert [layer.keys.shape[0] for layer in held.held.layers] == [1, 1]
    assert [layer.keys.data_ptr() for layer in held.held.layers] == before[::2]
