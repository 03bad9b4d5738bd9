"""Replies by transformers' own continuous batching: a reply that ends makes room for the next prompt at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from askless.errors import ExpertError
from askless.experts.local.decoding import Generated, ends_of
from askless.experts.local.forward import Tokens
from askless.experts.local.memory import CPU_TOKENS

# Tokens of a page of the cache on a CPU, where transformers' own choice would take all the memory there is.
PAGE = 32
POLL_S = 1.0


def replies(
    network: Any, prompts: Sequence[Tokens], new_tokens: int, pad: int, rows: int, tokens: int
) -> Iterator[tuple[int, Generated]]:
    """Greedy replies with the number of their prompt, as they end: at most `rows` at once, `tokens` read at once.

    Raises `ExpertError` where this transformers or this network has no continuous batching, and where it fails.
    """
    if not getattr(network, "_supports_attention_backend", False):
        # With attention of its own a network answers, and wrongly.
        raise _unable(network, "its attention cannot be paged")
    ends = ends_of(network)
    with _running(network, prompts, new_tokens, pad, rows, tokens) as batching:
        asked = batching.add_requests([list(prompt) for prompt in prompts], max_new_tokens=new_tokens)
        place = {name: at for at, name in enumerate(asked)}
        while place:
            found = batching.get_result(timeout=POLL_S)
            if found is None and batching.is_running():
                continue
            if found is None or found.error is not None:
                raise _unable(network, "it stopped" if found is None else found.error)
            said = list(found.generated_tokens)
            ended = bool(said) and said[-1] in ends
            yield place.pop(found.request_id), Generated(said, float(np.mean(found.logprobs)), ended)


def _running(network: Any, prompts: Sequence[Tokens], new_tokens: int, pad: int, rows: int, tokens: int) -> Any:
    """The context in which transformers writes in a thread of its own."""
    from transformers import GenerationConfig

    try:
        from transformers import ContinuousBatchingConfig

        config: Any = ContinuousBatchingConfig
        how = config(
            return_logprobs=True, max_requests_per_batch=rows, **_room(network, prompts, new_tokens, rows, tokens)
        )
        greedy: Any = GenerationConfig
        plain = greedy(eos_token_id=ends_of(network) or None, pad_token_id=pad, do_sample=False)
        return network.continuous_batching_context_manager(plain, continuous_batching_config=how)
    except (ImportError, AttributeError, TypeError) as error:
        raise _unable(network, str(error)) from error


def _room(network: Any, prompts: Sequence[Tokens], new_tokens: int, rows: int, tokens: int) -> dict[str, int]:
    if network.device.type != "cpu":
        return {}
    pages = -(-(max(map(len, prompts)) + new_tokens) // PAGE)
    return {
        "page_size": PAGE,
        "num_blocks": min(rows, len(prompts)) * pages + 1,
        "max_batch_tokens": min(tokens, CPU_TOKENS),
    }


def _unable(network: Any, got: str) -> ExpertError:
    import transformers

    return ExpertError(
        f"Continuous batching of transformers {transformers.__version__} cannot write with {type(network).__name__}: "
        f"{got}. Allowed: a model and a version that have it, and memory for both. Set continuous: false."
    )
