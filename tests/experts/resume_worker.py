"""Runs of experts, to be killed."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.vllm import VllmExpert
from askless.experts.remote.openai import OpenAiExpert
from askless.prompts import Prompt
from tests import forks
from tests.experts import vllm_double
from tests.experts.tiny_models import PROMPT, examples, make_model, setting, texts

BATCH, ITEMS, REQUESTS = 8, 480, 120
PACE_S = 0.004
MODES: dict[str, dict[str, Any]] = {
    "label": {"prompt": PROMPT},
    "text": {"prompt": Prompt("{text}\nSummary:"), "max_new_tokens": 4, "temperature": 1.0},
}


def local(folder: str, answers: str, log: str, out: str, mode: str, items: int = ITEMS, backend: str = "llm") -> None:
    """Generate, noting in `log` the keys of each batch that is really run; then write the table to `out`."""
    asked = setting(Path(answers), ("0", "1") if mode == "label" else ())
    expert: Any
    if backend == "vllm":
        vllm_double.install(pytest.MonkeyPatch())
        expert = VllmExpert(asked, model=folder, batch_size=BATCH, **MODES[mode])
    else:
        expert = LlmExpert(asked, model=folder, batch_size=BATCH, **MODES[mode])
    run, journal = expert._run, os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def noted(*given: Any) -> Any:
        batch = given[backend == "vllm"]
        os.write(journal, (json.dumps([key for key, _, _ in batch]) + "\n").encode())
        time.sleep(PACE_S)
        return run(*given)

    expert._run = noted
    pq.write_table(expert.answer(examples(texts(items, seed=7, longest=12))), out + ".part")
    os.replace(out + ".part", out)


def openai(url: str, answers: str, out: str) -> None:
    """Ask the server about all items and write the table to `out`."""
    prompt = Prompt("{text}", {"0": "0", "1": "1"})
    expert = OpenAiExpert(setting(Path(answers)), model="m", base_url=url, prompt=prompt, concurrency=4)
    pq.write_table(expert.answer(examples(texts(REQUESTS, seed=7))), out + ".part")
    os.replace(out + ".part", out)


def main() -> None:
    """Import and run everything once, then fork for each job."""
    import openai as _  # noqa: F401
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = make_model(Path(name) / "model")
        for mode in MODES:
            local(str(folder), f"{name}/{mode}", f"{name}/log", f"{name}/out", mode, items=2)
    forks.serve(lambda job: {"local": local, "openai": openai}[job.pop("run")](**job))


if __name__ == "__main__":
    main()
