"""Summaries written by the demo's LLMs: in batches by the llm expert, and one `generate` a document.

    python -m benchmarks.summaries

Both sides write the same greedy summaries of generated documents in float32, tokenizer and decoding included, in turn;
each figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin on a busy machine skew all sides

import pyarrow as pa

from askless import schema
from askless.data.demo.documents import documents
from askless.experts.base import Setting
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.checkpoint import Checkpoint
from askless.prompts import PROMPTS
from benchmarks.generation import spent

MODELS, PROMPT, MOST, SEED = ("demo:xs", "demo:s", "demo:l"), "demo-xsum", 64, 11
HEAD = "| model | alone: tokens/s | documents/s | batches: tokens/s | documents/s | ratio | in processor time | same |"


def news(rows: int) -> pa.Table:
    """Generated documents."""
    found = documents(rows, SEED)
    columns = {"id": [str(i) for i in range(rows)], "text": [document["text"] for document in found]}
    return schema.table("examples", {**columns, "split": ["test"] * rows})


def one_at_a_time(part: Checkpoint, texts: Sequence[str]) -> list[str]:
    """`generate` for each document alone, as the papers' scripts do."""
    said = []
    for text in texts:
        ids = part.tokenizer([part.render(PROMPTS[PROMPT], text)], return_tensors="pt")["input_ids"]
        written = part.network.generate(input_ids=ids, max_new_tokens=MOST, do_sample=False)
        said.append(part.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True))
    return said


def compare(model: str, options: argparse.Namespace) -> str:
    """One line of the table."""
    examples = news(options.rows)
    expert = LlmExpert(Setting("bench", "news", (), PROMPT), model=model, dtype="float32", max_new_tokens=MOST)
    alone = list(range(0, options.rows, options.every))
    texts = examples["text"].take(alone).to_pylist()
    table, said = expert.answer(examples), one_at_a_time(expert.checkpoint, texts)
    same = sum(a == b for a, b in zip(table["text"].take(alone).to_pylist(), said, strict=True))
    tokens = [sum(counts) / len(counts) for counts in (_tokens(table.take(alone)), _tokens(table))]
    rounds = [
        (
            spent(lambda: one_at_a_time(expert.checkpoint, texts), len(texts)),
            spent(lambda: expert.answer(examples), options.rows),
        )
        for _ in range(options.rounds)
    ]
    cells = []
    for side, length in enumerate(tokens):
        speed = median(1 / taken[side][0] for taken in rounds)
        cells += [f"{speed * length:.0f}", f"{speed:.0f}"]
    for clock in (0, 1):
        ratios = sorted(one[clock] / many[clock] * tokens[1] / tokens[0] for one, many in rounds)
        cells.append(f"{median(ratios):.1f} ({ratios[0]:.1f} - {ratios[-1]:.1f})")
    return f"| {model} | {' | '.join(cells)} | {same} of {len(said)} |"


def _tokens(table: pa.Table) -> list[int]:
    return list(table["completion_tokens"].to_pylist())


def lines(options: argparse.Namespace) -> Iterator[str]:
    """The table, a line for each model."""
    yield HEAD
    yield "|---" * HEAD.count(" |") + "|"
    for model in options.models:
        yield compare(model, options)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description="Summaries in batches and one at a time.")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="as in params.yaml")
    parser.add_argument("--rows", type=int, default=512, help="documents of a round in batches")
    parser.add_argument("--every", type=int, default=16, help="every so-manieth of them is written alone, too")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args(given)


def main() -> None:
    """Print the table."""
    import torch

    options = arguments()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, float32, {options.threads} thread(s), {options.rows} documents\n")
    for line in lines(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
