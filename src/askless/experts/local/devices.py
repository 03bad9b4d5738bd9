"""The devices of this machine: whether one is there, what memory it has left, and how to tell that it ran out."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from askless.errors import ExpertError

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_MEMINFO = Path("/proc/meminfo")


def check_device(device: str) -> None:
    """Raise `ExpertError` for a device that this machine or this build of torch has not."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        if out_of_memory(error):
            raise
        here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        here += ["mps"] if torch.backends.mps.is_available() else []
        built = "" if torch.version.cuda else f" This torch {torch.__version__} was built without CUDA."
        raise ExpertError(
            f"Device '{device}' is not on this machine. Allowed here: auto, {', '.join(here)}.{built} "
            "Set device: auto, or run where there is one."
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, on whatever device."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error).lower() for sign in _NO_MEMORY)


def release() -> None:
    """Give back what is no longer used."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free(device: str) -> int | None:
    """Bytes that `device` has left, None where it does not say."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if kind != "cpu" or not _MEMINFO.is_file():
        return None
    lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    available = lines.get("MemAvailable", "").split()
    return int(available[0]) * 1024 if available else None


def check_room(name: str, network: Any, device: str) -> None:
    """Raise `ExpertError` unless the weights of `network` (on the meta device) fit what `device` has left."""
    needed, left = sum(p.numel() * p.element_size() for p in network.parameters()), free(device)
    if left is not None and needed > left:
        raise no_room(name, device, f"its weights take {needed / 1e9:.3g} GB and {left / 1e9:.3g} GB are free")


def no_room(name: str, device: str, got: str) -> ExpertError:
    """The error of a model that does not fit its device."""
    return ExpertError(
        f"Model '{name}' does not fit on device '{device}': {got}. Allowed: weights that fit with room to spare. "
        "Set dtype: bfloat16, choose a smaller model or a larger device, or serve it and use backend: openai."
    )
