"""Where models of this machine run."""

from __future__ import annotations


def chosen_device(asked: str) -> str:
    """The device that is asked for; `auto` is CUDA, else Apple's MPS, else the CPU."""
    import torch

    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
