"""The fast path of local LLMs: shared prefix, batches, one at a time; and how far a GPU is from its limits.

    python -m benchmarks.generation                # ratios on a CPU: demo:l and the published prompt
    python -m benchmarks.generation --gpu 7b       # speeds and shares of the limits on a GPU; --gpu tiny runs anywhere

One at a time is how the papers' scripts ask: for each post its own `generate` with a batch of one, then parse. The
GPU side runs a Qwen2 architecture with random weights and the demo's tokenizer: speed does not depend on the weights,
the answers mean nothing. It has so far run on CPUs only, at size tiny.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin on a busy machine skew all sides

import pyarrow as pa

from askless.experts.local.checkpoint import Checkpoint
from askless.prompts import PROMPTS
from benchmarks.label_scoring import posts
from benchmarks.limits import PROMPT, SIZES, Timed, expert, limits


def one_at_a_time(part: Checkpoint, examples: pa.Table, tokens: int) -> None:
    """`generate` for each post alone, as the papers' scripts do, a reply of so many tokens."""
    for text in examples["text"].to_pylist():
        ids = part.tokenizer([part.render(PROMPTS[PROMPT], text)], return_tensors="pt")["input_ids"]
        written = part.network.generate(input_ids=ids, min_new_tokens=tokens, max_new_tokens=tokens)
        part.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)


def ratios(options: argparse.Namespace) -> Iterator[str]:
    """Lines of the CPU table: items per second of three ways to ask the same questions, in turn, medians of rounds."""
    examples = posts(options.rows)
    part = expert(dtype="float32").checkpoint
    sizes = {"batch_size": options.batch_size, "batch_tokens": 2**20, "dtype": "float32"}
    few = examples.slice(0, options.single_rows)
    tables: dict[str, pa.Table] = {}

    def ask(name: str, share: bool) -> None:
        tables[name] = expert(part, share_prefix=share, **sizes).answer(examples)

    def alone(tokens: int) -> Timed:
        return lambda: one_at_a_time(part, few, tokens)

    ways: dict[str, tuple[int, Timed]] = {
        **{f"one at a time, replies of {n} tokens": (few.num_rows, alone(n)) for n in options.new_tokens},
        "plain batches": (examples.num_rows, lambda: ask("plain", False)),
        "shared prefix": (examples.num_rows, lambda: ask("shared", True)),
    }
    for _, run in ways.values():
        run()
    rounds = [{name: spent(run, rows) for name, (rows, run) in ways.items()} for _ in range(options.rounds)]
    yield "| way | items/s | plain batches are faster by | shared prefix by | in processor time | |"
    yield "|---|---|---|---|---|---|"
    for name in ways:
        speed = median(1 / taken[name][0] for taken in rounds)
        times = [
            f"{median(taken[name][clock] / taken[fast][clock] for taken in rounds):.1f}"
            for clock in (0, 1)
            for fast in ("plain batches", "shared prefix")
        ]
        yield f"| {name} | {speed:.0f} | {' | '.join(times)} |"
    plain, shared = (tables[name].select(["label", "logprob"]).to_pylist() for name in ("plain", "shared"))
    pairs = list(zip(plain, shared, strict=True))
    same = sum(a["label"] == b["label"] for a, b in pairs)
    apart = max(abs(a["logprob"] - b["logprob"]) for a, b in pairs)
    yield f"\nsame label: {same} of {len(pairs)}; log-probabilities at most {apart:.0e} apart"


def spent(run: Timed, rows: int) -> tuple[float, float]:
    """Seconds a row by the clock, and of the processors: the second do not depend on what else runs."""
    start, worked = time.perf_counter(), time.process_time()
    run()
    return (time.perf_counter() - start) / rows, (time.process_time() - worked) / rows


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description="The fast path of local LLMs, and its limits.")
    parser.add_argument("--gpu", choices=sorted(SIZES), help="measure a random-weight model of this size instead")
    parser.add_argument(
        "--rows", type=int, help="posts to label in batches: 240, and 20,000 for a large model on a GPU"
    )
    parser.add_argument("--single-rows", type=int, default=16, help="posts for the one-at-a-time side")
    parser.add_argument("--new-tokens", type=int, nargs="+", default=[3, 32], help="of the one-at-a-time side")
    parser.add_argument("--batch-size", type=int, default=16, help="of both batched sides")
    parser.add_argument("--batch-tokens", type=int, default=16_384, help="of the label-scoring batches on a GPU")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64, 256], help="sizes of the writing side")
    parser.add_argument("--reply-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(given)
    if options.rows is None:
        options.rows = 20_000 if options.gpu not in (None, "tiny") else 240
    return options


def main() -> None:
    """Print one report."""
    import torch

    options = arguments()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), {options.rows} posts\n")
    for line in limits(options) if options.gpu else ratios(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
