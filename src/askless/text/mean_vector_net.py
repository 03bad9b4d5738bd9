"""The small model as people use it: a text as one vector into the paper's network."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from askless import schema
from askless.text.networks import Stack, predict
from askless.text.sentence_vectors import TextVectors


@dataclass(frozen=True)
class MeanVectorNet:
    """A trained network over what it reads of a text, able to answer examples.

    Parameters
    ----------
    name, classes
        The expert's name in tables, and the names of the classes.
    stack
        The network, of one member or of several that are averaged.
    reads
        What of a text goes into it.
    """

    name: str
    classes: tuple[str, ...]
    stack: Stack
    reads: TextVectors

    def proba(self, texts: list[str]) -> torch.Tensor:
        """Class probabilities, shape (texts, classes)."""
        return predict(self.stack, torch.from_numpy(self.reads(texts)[0]))

    def answer(self, examples: pa.Table) -> pa.Table:
        """One prediction row for each example; seconds are the batch's time over its rows, that of kept vectors too."""
        start = time.perf_counter()
        x, spared = self.reads(examples["text"].to_pylist())
        proba = predict(self.stack, torch.from_numpy(x)).numpy()
        seconds = spared + (time.perf_counter() - start) / max(len(proba), 1)
        return schema.table(
            "predictions",
            {
                "id": examples["id"].combine_chunks(),
                "expert": [self.name] * len(proba),
                **schema.labelled(self.classes, proba),
                "mass": np.ones(len(proba), np.float32),
                "prompt_tokens": np.zeros(len(proba), np.int32),
                "completion_tokens": np.zeros(len(proba), np.int32),
                "seconds": seconds.astype(np.float32),
            },
            {"classes": list(self.classes), "model": f"{self.reads} + network"},
        )
