"""How often a forecast's interval holds what the demo's LLMs really took, and what a forecast itself takes.

python -m benchmarks.forecast                    # 1,000 documents, 500 draws, 100,000 kept rows
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from scipy.stats import beta

from askless import schema
from askless.arrays import Floats
from askless.config import Price
from askless.data.demo.documents import documents
from askless.data.demo.posts import posts
from askless.experts import Setting
from askless.experts.answer_store import AnswerStore, answer_key
from askless.experts.local.causal_lm import LlmExpert
from askless.spending.forecast import Range, forecast
from askless.spending.pending import Pending, sizes_of, usage_of, used_by
from askless.spending.usage import Usage, byte_sizes

PRICE = Price(usd_per_1m_prompt_tokens=0.15, usd_per_1m_completion_tokens=0.6)
RATES = np.array([0.15, 0.6]) / 1e6
ROW = {"completion_tokens": 1, "cut": False, "logprobs": [-0.31, -1.32], "prompt_tokens": 117, "seconds": 0.0031234}


def expert(model: str, task: str, answers: Path | None = None) -> LlmExpert:
    """A demo LLM for posts or documents."""
    classes = ("0", "1") if task == "olhs" else ()
    return LlmExpert(Setting("demo", task, classes, f"demo-{task}", answers=answers), model=model, dtype="float32")


def held(usage: Usage, sizes: Floats, used: Floats, learnt_from: int, draws: int) -> list[int]:
    """Of so many draws of answers on record how many hold the prompt tokens, completion tokens, dollars of the rest."""
    hits = np.zeros(3, int)
    for seed in range(draws):
        order = np.random.default_rng([5, seed]).permutation(len(sizes))
        known, rest = order[:learnt_from], order[learnt_from:]
        found = forecast("demo", usage.learnt(sizes[known], used[known]), sizes[rest], price=PRICE)
        prompt, completion = used[rest, :2].sum(axis=0)
        true = (prompt, completion, float(RATES @ (prompt, completion)))
        hits += list(map(inside, (found.prompt_tokens, found.completion_tokens, found.usd), true))
    return hits.tolist()


def inside(range_: Range, value: float) -> bool:
    """Whether a range covers a value, but for the last digits."""
    return range_.low * (1 - 1e-9) <= value <= range_.high * (1 + 1e-9)


def exact(hits: int, draws: int) -> str:
    """A share with its exact 95 % interval (Clopper and Pearson)."""
    low = beta.ppf(0.025, hits, draws - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, draws - hits) if hits < draws else 1.0
    return f"{hits / draws:.3f} [{low:.3f}, {high:.3f}]"


def coverage(rows: int, draws: int) -> Iterator[str]:
    """Lines of the table: each demo LLM, known by its tokenizer or by the bytes of the texts."""
    texts = list(dict.fromkeys(row["text"] for row in documents(rows, 11)))
    for model in ("demo:xs", "demo:s", "demo:l"):
        with tempfile.TemporaryDirectory() as folder:
            asked = expert(model, "xsum", Path(folder))
            names = [str(at) for at in range(len(texts))]
            asked.answer(schema.table("examples", {"id": names, "text": texts, "split": ["test"] * len(texts)}))
            with asked.store() as store:
                kept = store.get_many(map(asked.key, texts))
            used = used_by([kept[asked.key(text)] for text in texts])
        ways = {
            "tokenizer": (usage_of(asked), sizes_of(asked, texts)),
            "bytes": (Usage.bound(99, 64), byte_sizes(texts)),
        }
        for learnt_from in (30, 64, 500):
            for way, (usage, sizes) in ways.items():
                shares = [exact(hits, draws) for hits in held(usage, sizes, used, learnt_from, draws)]
                yield f"| {model} | {way} | {learnt_from} | {' | '.join(shares)} |"


def rates(rows: int) -> Iterator[str]:
    """What a forecast takes for each text, and what the store of kept answers does for each row."""
    texts = [f"{row['text']} {at}" for at, row in enumerate(posts(rows, 7))]
    asked = expert("demo:xs", "olhs")
    Pending.of(asked, [texts[:9]])
    spent = time.perf_counter()
    Pending.of(asked, [texts[at : at + 4096] for at in range(0, rows, 4096)])
    yield f"texts looked through a second (key, prompt, tokens): {rows / (time.perf_counter() - spent):,.0f}"
    keys = [answer_key(at) for at in range(rows)]
    random.Random(0).shuffle(keys)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kept.sqlite")
        with AnswerStore(path) as store:
            spent = time.perf_counter()
            for at in range(0, rows, 256):
                store.put_many(dict.fromkeys(keys[at : at + 256], ROW))
            yield f"answers kept a second, 256 at a time: {rows / (time.perf_counter() - spent):,.0f}"
            spent = time.perf_counter()
            for at in range(0, rows, 4096):
                store.get_many(keys[at : at + 4096])
            yield f"answers found a second: {rows / (time.perf_counter() - spent):,.0f}"
        yield f"bytes of a kept answer: {path.stat().st_size / rows:.0f}"


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    print(f"{options.documents} documents, {options.draws} draws, stated .95")
    print("| model | known by | learnt from | prompt tokens | completion tokens | dollars |\n|---|---|---|---|---|---|")
    for line in chain(coverage(options.documents, options.draws), rates(options.rows)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
