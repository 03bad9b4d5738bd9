"""Measures the demo's LLMs, its small model and what could be won by choosing between them.

    python benchmarks/demo_models.py

Prints the tables of docs/demo.md: means over evaluation seeds, with the standard error of that mean. Every
seed is a fresh test set of posts or documents; the small model and the allocator are trained once.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier, MLPRegressor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from askless.data.demo.documents import documents
from askless.data.demo.posts import Post, Templates, posts
from askless.data.demo.vectors import write_vectors
from askless.prompts import PROMPTS
from tasks.demo_models import MODELS, SIZES

SHARE = 0.4


class Small:
    """The demo's small model: an MLP (50, 50) on the mean of the demo's word vectors, from 8,000 posts."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            unlabeled = (post["text"] for post in posts(20_000, [2, 0]))
            lines = write_vectors(unlabeled, Path(folder) / "vectors.txt").read_text().splitlines()
        rows = (line.split(" ") for line in lines)
        self.vectors = {word: np.array(values, dtype=np.float32) for word, *values in rows}
        self.train = posts(8_000, [2, 1])
        x, y = self.features(self.train), gold(self.train)
        network = MLPClassifier((50, 50), early_stopping=True, max_iter=200, random_state=0)
        self.held = cross_val_predict(network, x, y, cv=4, method="predict_proba")[:, 1]
        self.network = network.fit(x, y)

    def features(self, sample: list[Post]) -> np.ndarray:
        """The mean vector of each post."""
        zero = np.zeros(100, dtype=np.float32)
        return np.array([np.mean([self.vectors.get(w, zero) for w in p["text"].split()], 0) for p in sample])

    def proba(self, sample: list[Post]) -> np.ndarray:
        """The probability that each post is offensive."""
        return self.network.predict_proba(self.features(sample))[:, 1]


class Llm:
    """One of the shipped checkpoints, in float32 on the CPU."""

    def __init__(self, size: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(MODELS / size)
        self.model = AutoModelForCausalLM.from_pretrained(MODELS / size, dtype=torch.float32).eval()

    @torch.inference_mode()
    def log_odds(self, sample: list[Post], batch: int = 64) -> np.ndarray:
        """Log-probability of " yes" less that of " no", read from the last position."""
        prompt = PROMPTS["demo-olhs"]
        no, yes = (self.tokenizer.encode(prompt.words[c])[0] for c in "01")
        out = np.zeros(len(sample))
        order = sorted(range(len(sample)), key=lambda i: len(sample[i]["text"]))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            inputs = self._batch([prompt.fill(sample[i]["text"]) for i in rows])
            logprobs = self.model(**inputs, logits_to_keep=1).logits[:, -1].log_softmax(-1)
            out[rows] = (logprobs[:, yes] - logprobs[:, no]).numpy()
        return out

    @torch.inference_mode()
    def summaries(self, texts: list[str], batch: int = 50) -> list[str]:
        """Greedy one-sentence summaries."""
        out: list[str] = []
        for start in range(0, len(texts), batch):
            inputs = self._batch([PROMPTS["demo-xsum"].fill(text) for text in texts[start : start + batch]])
            reply = self.model.generate(**inputs, max_new_tokens=48, do_sample=False)
            out += self.tokenizer.batch_decode(reply[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return out

    def _batch(self, prompts: list[str]) -> dict[str, Any]:
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True)
        return {key: inputs[key] for key in ("input_ids", "attention_mask")}


def gold(sample: list[Post]) -> np.ndarray:
    """The labels as numbers."""
    return np.array([int(post["label"]) for post in sample])


def show(values: list[float]) -> str:
    """Mean and standard error over the seeds."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


def allocator(x: np.ndarray, gain: np.ndarray) -> MLPRegressor:
    """A regression of what the LLM would gain on an item."""
    return MLPRegressor(hidden_layer_sizes=(50,), early_stopping=True, max_iter=200, random_state=0).fit(x, gain)


def team(gain: np.ndarray, small: np.ndarray, llm: np.ndarray) -> float:
    """Accuracy when the LLM answers the share of the items where the allocator expects most."""
    asked = np.zeros(len(gain), dtype=bool)
    asked[np.argsort(-gain)[: int(SHARE * len(gain))]] = True
    return float(np.where(asked, llm, small).mean())


def measure(llm: Llm, small: Small, seeds: int, items: int) -> dict[str, Any]:
    """All figures of one LLM on the posts, a list over seeds for each."""
    found: dict[str, Any] = defaultdict(list)
    x, p = small.features(small.train), small.held
    gain = ((llm.log_odds(small.train) > 0) == gold(small.train)).astype(float)
    gain -= (p > 0.5) == gold(small.train)
    before, after = allocator(x, gain), allocator(np.c_[x, p, np.abs(p - 0.5)], gain)
    for seed in range(seeds):
        wordings: Templates
        for wordings in ("held-out", "seen"):
            sample = posts(items, [3, seed], templates=wordings)
            y, start = gold(sample), time.perf_counter()
            odds = llm.log_odds(sample)
            found["seconds"].append((time.perf_counter() - start) * 1000 / items)
            right = (odds > 0) == y
            found[wordings].append(right.mean())
            if wordings == "seen":
                continue
            p_test, x_test = small.proba(sample), small.features(sample)
            small_right = (p_test > 0.5) == y
            found["auroc"].append(roc_auc_score(right, np.abs(odds)))
            found["small"].append(small_right.mean())
            found["oracle"].append((right | small_right).mean())
            found["input"].append(team(before.predict(x_test), small_right, right))
            seen_p = np.c_[x_test, p_test, np.abs(p_test - 0.5)]
            found["with p"].append(team(after.predict(seen_p), small_right, right))
            for kind in {post["kind"] for post in sample}:
                rows = [i for i, post in enumerate(sample) if post["kind"] == kind]
                found[f"llm {kind}"].append(right[rows].mean())
                found[f"small {kind}"].append(small_right[rows].mean())
    return found


def rouge(llm: Llm | None, seeds: int, items: int) -> tuple[list[float], float]:
    """ROUGE-L per seed of the LLM, or of the first sentence, and the seconds for 100 documents."""
    scorer, scores, start = RougeScorer(["rougeL"]), [], time.perf_counter()
    for seed in range(seeds):
        sample = documents(items, [3, seed])
        texts = [doc["text"] for doc in sample]
        answers = llm.summaries(texts) if llm else [text.split(". ")[0] for text in texts]
        pairs = zip(sample, answers, strict=True)
        scores.append(np.mean([scorer.score(d["reference"], a)["rougeL"].fmeasure for d, a in pairs]))
    return scores, (time.perf_counter() - start) * 100 / seeds / items


def main(seeds: int = 5, items: int = 2000, docs: int = 100) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    small, kinds = Small(), {}
    head = f"margin AUROC | oracle with small | {SHARE:.0%} LLM calls, input only | the same, with small's p"
    print(f"| model | parameters | held-out wordings | seen wordings | {head} | s / 1,000 posts |")
    print("|---" * 9 + "|")
    for size in tqdm(SIZES, desc="posts", leave=False):
        llm = Llm(size)
        found = kinds[size] = measure(llm, small, seeds, items)
        columns = (show(found[k]) for k in ("held-out", "seen", "auroc", "oracle", "input", "with p"))
        count = sum(p.numel() for p in llm.model.parameters())
        print(f"| {size} | {count:,} | {' | '.join(columns)} | {min(found['seconds']):.2f} |")
    print(f"\nSmall model, held-out wordings: {show(kinds['xs']['small'])}\n")
    names = sorted({key.split(" ")[1] for key in kinds["xs"] if key.startswith("llm ")})
    print(f"| accuracy by kind | {' | '.join(names)} |\n{'|---' * (len(names) + 1)}|")
    for row, found, who in [(s, kinds[s], "llm") for s in SIZES] + [("small", kinds["xs"], "small")]:
        cells = " | ".join(format(np.mean(found[f"{who} {name}"]), ".3f") for name in names)
        print(f"| {row} | {cells} |")
    print("\n| documents | ROUGE-L | s / 100 documents |\n|---|---|---|")
    for name in [*SIZES, "first sentence"]:
        scores, seconds = rouge(Llm(name) if name in SIZES else None, seeds, docs)
        print(f"| {name} | {show(scores)} | {seconds:.2f} |")


if __name__ == "__main__":
    typer.run(main)
