"""vLLM's offline engine, started or refused with a reason."""

from __future__ import annotations

from typing import Any

from askless.errors import ExpertError, MissingExtra
from askless.experts.local.devices import no_room, out_of_memory


def started(expert: str, **options: Any) -> Any:
    """The `vllm.LLM` of these options.

    Raises `MissingExtra` without vLLM, `ExpertError` without CUDA and where the model cannot be started.
    """
    try:
        import vllm
    except ImportError as error:
        raise MissingExtra("vllm", "vllm") from error
    import torch

    if not torch.cuda.is_available():
        raise ExpertError(
            f"Expert '{expert}': backend vllm needs CUDA, and this machine has none. Allowed here: backend: llm "
            "on the CPU. Run it where there is a GPU, or serve the model there and use backend: openai."
        )
    try:
        return vllm.LLM(**options)
    except Exception as error:
        if out_of_memory(error):
            raise no_room(options["model"], "cuda", "memory ran out while vLLM started") from error
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ExpertError(
            f"Expert '{expert}': vLLM did not start model '{options['model']}' ({reason}). Allowed: a model that vLLM "
            "knows and that fits. What it printed above says more; try max_model_len, gpu_memory_utilization, "
            "tensor_parallel_size or another dtype."
        ) from error
