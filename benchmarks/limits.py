"""How far label scoring and writing are from what the device can do; run by `benchmarks.generation --gpu`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import pyarrow as pa

from askless import schema
from askless.errors import ExpertError
from askless.experts.base import Setting
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.checkpoint import Checkpoint
from askless.experts.local.decoding import Decoding
from askless.experts.local.workload import Workload
from askless.prompts import PROMPTS
from benchmarks.label_scoring import CLASSES, posts

PROMPT, MODEL = "olhs", "demo:l"
SIZES = {
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
    | {"num_key_value_heads": 4, "vocab_size": 152_064, "max_position_embeddings": 32_768},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "vocab_size": 2000, "max_position_embeddings": 1024},
}
Timed = Callable[[], Any]


def different(rows: int) -> pa.Table:
    """So many posts, no two alike: equal ones would be asked once and counted twice."""
    import pyarrow.compute as pc

    texts = pc.unique(posts(rows + rows // 50 + 1)["text"]).slice(0, rows)
    ids = [str(i) for i in range(len(texts))]
    return schema.table("examples", {"id": ids, "text": texts, "split": ["test"] * len(texts)})


def expert(checkpoint: Checkpoint | None = None, **options: Any) -> LlmExpert:
    """The llm expert with the published prompt, and nothing kept; `checkpoint` stands in for the one it names."""
    made = LlmExpert(Setting("bench", "olhs", CLASSES, PROMPT), **{"model": MODEL, **options})
    if checkpoint is not None:
        vars(made)["checkpoint"] = checkpoint
    return made


def clocked(run: Timed) -> float:
    """Seconds of one run, the device's work included."""
    import torch

    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def stand_in(size: str) -> Checkpoint:
    """A random-weight Qwen2 on the GPU in bfloat16 (`tiny` without one: float32 on the CPU), the demo's tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and size != "tiny":
        raise ExpertError(f"Size '{size}' on a machine without a GPU. Allowed here: tiny. Run it where there is CUDA.")
    dtype = "float32" if device == "cpu" else "bfloat16"
    config = Qwen2Config(**SIZES[size], tie_word_embeddings=False, bos_token_id=None, eos_token_id=None)
    with torch.device(device):
        network = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    network.generation_config.update(eos_token_id=None, pad_token_id=1)
    part = Checkpoint(MODEL, None, dtype, device, False)
    vars(part).update(tokenizer=part.tokenizer, network=network, config=config, revision="random weights")
    return part


def ceilings(part: Checkpoint) -> tuple[float, float]:
    """Flop/s of a large matrix product and bytes/s of a large copy, read and written, in the network's own type."""
    import torch

    side, numbers = (8192, 2**31) if part.device == "cuda" else (1024, 2**25)
    like = {"device": part.device, "dtype": part.network.dtype}
    a, b = torch.randn(side, side, **like), torch.randn(side, side, **like)
    source = torch.ones(numbers, **like)
    target = torch.empty_like(source)
    for run in (lambda: a @ b, lambda: target.copy_(source)):
        clocked(run)
    product = median(clocked(lambda: [a @ b for _ in range(10)]) for _ in range(5)) / 10
    copied = median(clocked(lambda: target.copy_(source)) for _ in range(5))
    return 2 * side**3 / product, 2 * source.numel() * source.element_size() / copied


def prefill(part: Checkpoint, options: argparse.Namespace, peak: float) -> Iterator[str]:
    """Lines of the label-scoring table; the share counts the prompts' tokens that were run, padding not."""
    examples, network = different(options.rows), part.network
    head = network.lm_head.weight.numel()
    body = sum(p.numel() for p in network.model.layers.parameters())
    yield "| label scoring | items/s, all | items/s, model | tokens/item run | share of matrix peak | peak memory |"
    yield "|---|---|---|---|---|---|"
    for share in (False, True):
        asked = expert(part, share_prefix=share, batch_size=4096, batch_tokens=options.batch_tokens)
        asked.answer(examples.slice(0, max(1, examples.num_rows // 10)))
        reset_memory()
        start = time.perf_counter()
        table = asked.answer(examples)
        seconds = time.perf_counter() - start
        inside = sum(table["seconds"].to_pylist())
        common = len(asked._load.common)
        tokens = sum(table["prompt_tokens"].to_pylist()) - common * (table.num_rows - 1)
        done = 2 * (tokens * body + table.num_rows * head)
        name, rows = "shared prefix" if share else "plain", table.num_rows
        row = f"| {name} | {rows / seconds:.0f} | {rows / inside:.0f} | {tokens / rows:.0f}"
        yield f"{row} | {done / inside / peak:.0%} | {memory()} |"


def writing(part: Checkpoint, options: argparse.Namespace, bandwidth: float) -> Iterator[str]:
    """Lines of the writing table: a step is what a longer reply costs more than one of a single token.

    The limit is that of reading, in each step, all weights and of each row the keys and values that it has so far.
    """
    network, prompt = part.network, PROMPTS[PROMPT]
    item = network.lm_head.weight.element_size()
    weights = (sum(p.numel() for p in network.model.layers.parameters()) + network.lm_head.weight.numel()) * item
    config = network.config
    head_size = config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size * item
    yield "| writing: batch | tokens/s | with reading | ms a step | share of the bandwidth limit | peak memory |"
    yield "|---|---|---|---|---|---|"
    for size in options.batches:
        prompts = part.encode([part.render(prompt, text) for text in different(size)["text"].to_pylist()])
        reset_memory()
        first, whole = (reply_seconds(part, prompts, n) for n in (1, options.reply_tokens + 1))
        step = (whole - first) / options.reply_tokens
        held = size * kept * (sum(map(len, prompts)) / size + options.reply_tokens / 2)
        row = f"| {size} | {size / step:.0f} | {size * (options.reply_tokens + 1) / whole:.0f} | {step * 1e3:.1f}"
        yield f"{row} | {(weights + held) / bandwidth / step:.0%} | {memory()} |"


def reply_seconds(part: Checkpoint, prompts: Sequence[list[int]], tokens: int) -> float:
    """Seconds of one batch of replies of exactly `tokens` tokens, the least of three after two that warm up."""
    size = len(prompts)
    load = Workload(part.network, part.pad, prompts, size, size * 4096, new_tokens=tokens)
    taken = [clocked(lambda: load.write(prompts, Decoding(tokens, 0.0, 1.0), 0)) for _ in range(5)]
    return min(taken[2:])


def reset_memory() -> None:
    """Begin a new peak."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def memory() -> str:
    """The GPU memory's peak."""
    import torch

    return f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if torch.cuda.is_available() else "not measured"


def limits(options: argparse.Namespace) -> Iterator[str]:
    """Lines of the GPU report."""
    part = stand_in(options.gpu)
    count = sum(p.numel() for p in part.network.parameters())
    yield (
        f"{part.device}, {part.dtype}, {count / 1e9:.3g} billion random weights, the demo's tokenizer stands in: "
        "only the speeds mean something"
    )
    peak, bandwidth = ceilings(part)
    yield f"measured ceilings: {peak / 1e12:.3g} Tflop/s, {bandwidth / 1e9:.0f} GB/s\n"
    yield from prefill(part, options, peak)
    yield ""
    yield from writing(part, options, bandwidth)
