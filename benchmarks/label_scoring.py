"""Batched label scoring against one-at-a-time generation, the same model and prompts, in one run.

    python -m benchmarks.label_scoring [--models demo:xs demo:s demo:l] [--rows 2000] [--single-rows 300] [--threads 1]

One-at-a-time is how the papers' scripts ask: for each post its own `generate` with a batch of one and up to three new
tokens, then decode and parse. Ours is the `llm` expert as the pipeline runs it, keeping its answers included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin on a busy machine skew both sides

import pyarrow as pa

from askless import schema
from askless.experts.base import Setting
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.replies import parse
from askless.prompts import PROMPTS

CLASSES = ("0", "1")
PROMPT = "demo-olhs"


def posts(rows: int) -> pa.Table:
    """The demo's posts as examples."""
    from askless.data.demo.posts import posts as generate

    made = generate(rows, 0)
    columns = {"id": [str(i) for i in range(rows)], "text": [post["text"] for post in made], "split": ["test"] * rows}
    return schema.table("examples", columns)


def batched(
    model: str, examples: pa.Table, answers: Path, batch_size: int, dtype: str
) -> tuple[float, list[str | None]]:
    """Items per second and labels of the llm expert; loading is not counted, keeping the answers is."""
    setting = Setting("bench", "olhs", CLASSES, PROMPT, answers=answers)
    expert = LlmExpert(setting, model=model, batch_size=batch_size, dtype=dtype)
    expert.answer(examples.slice(0, 1))
    start = time.perf_counter()
    table = expert.answer(examples)
    return examples.num_rows / (time.perf_counter() - start), table["label"].to_pylist()


def one_at_a_time(model: str, examples: pa.Table, new_tokens: int, dtype: str) -> tuple[float, list[str | None]]:
    """Items per second and labels of `generate` for each post alone; loading is not counted."""
    expert = LlmExpert(Setting("bench", "olhs", CLASSES, PROMPT), model=model, dtype=dtype)
    part, prompt = expert.checkpoint, PROMPTS[PROMPT]
    tokenizer, network = part.tokenizer, part.network

    def ask(text: str) -> str | None:
        ids: Any = tokenizer([part.render(prompt, text)], return_tensors="pt")
        written = network.generate(
            input_ids=ids["input_ids"],
            attention_mask=ids["attention_mask"],
            max_new_tokens=new_tokens,
            do_sample=False,
        )
        reply = tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        return parse(reply.split()[0] if reply.split() else "", prompt.words)

    texts = examples["text"].to_pylist()
    ask(texts[0])
    start = time.perf_counter()
    labels = [ask(text) for text in texts]
    return len(texts) / (time.perf_counter() - start), labels


def compare(model: str, options: argparse.Namespace) -> str:
    """One line of the table: both speeds, their ratio, and how often both give the same label."""
    examples = posts(options.rows)
    with tempfile.TemporaryDirectory() as folder:
        fast, labels = batched(model, examples, Path(folder), options.batch_size, options.dtype)
    slow, single = one_at_a_time(model, examples.slice(0, options.single_rows), options.new_tokens, options.dtype)
    same = sum(a == b for a, b in zip(labels, single, strict=False)) / len(single)
    return f"| {model} | {fast:.0f} | {slow:.0f} | {fast / slow:.1f}x | {same:.1%} |"


def main() -> None:
    """Print both speeds and their ratio for each model."""
    import torch

    parser = argparse.ArgumentParser(description="Batched label scoring against one-at-a-time generation.")
    parser.add_argument("--models", nargs="+", default=["demo:xs", "demo:s", "demo:l"], help="as in params.yaml")
    parser.add_argument("--rows", type=int, default=2000, help="posts for the batched side")
    parser.add_argument("--single-rows", type=int, default=300, help="posts for the one-at-a-time side")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.dtype}, {options.threads} thread(s), batches of {options.batch_size}, torch {torch.__version__}\n")
    print("| model | batched, items/s | one at a time, items/s | ratio | same label |\n|---|---|---|---|---|")
    for model in options.models:
        print(compare(model, options), flush=True)


if __name__ == "__main__":
    main()
