"""The small model as people use it: the mean word vector of a text into the paper's network."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from askless import schema
from askless.text.embeddings import Vectors
from askless.text.networks import Stack, predict


@dataclass(frozen=True)
class SmallModel:
    """A trained network over mean word vectors, able to answer examples.

    Parameters
    ----------
    name, classes
        The expert's name in tables, and the names of the classes.
    stack
        The network, of one member or of several that are averaged.
    vectors
        The word vectors of its features.
    """

    name: str
    classes: tuple[str, ...]
    stack: Stack
    vectors: Vectors

    def proba(self, texts: list[str]) -> torch.Tensor:
        """Class probabilities, shape (texts, classes)."""
        return predict(self.stack, torch.from_numpy(self.vectors.mean(texts)))

    def answer(self, examples: pa.Table) -> pa.Table:
        """One prediction row for each example; seconds are the batch's time over its rows."""
        start = time.perf_counter()
        proba = self.proba(examples["text"].to_pylist()).numpy()
        seconds = (time.perf_counter() - start) / max(len(proba), 1)
        return schema.table(
            "predictions",
            {
                "id": examples["id"].combine_chunks(),
                "expert": [self.name] * len(proba),
                **schema.labelled(self.classes, proba),
                "mass": np.ones(len(proba), np.float32),
                "prompt_tokens": np.zeros(len(proba), np.int32),
                "completion_tokens": np.zeros(len(proba), np.int32),
                "seconds": np.full(len(proba), seconds, np.float32),
            },
            {"classes": list(self.classes), "model": "mean word vector + network"},
        )
