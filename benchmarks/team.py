"""The published OLHS experiment, as it was first written and as it is here, side by side.

3 seeds x (alternating, joint, small alone) x 5 epochs with an evaluation after each, on OLHS-sized data. The
"per-row" side does what the first code does: a Python dictionary of word vectors, a Python loop over tokens, one
tensor a row, Python lists of disagreements, evaluation in batches of one. Both sides get the same vectors, posts,
labels and LLM answers (right with probability .85, seeded: this measures speed, and the accuracy of the one beside
the other).

    python benchmarks/team.py [--rows 24783] [--words 400000]

With ASKLESS_REALDATA set, the posts are the real OLHS tweets and the first word vectors the real ones.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.experts import Setting
from askless.experts.recorded import RecordedExpert
from askless.experts.small.mlp import MlpExpert
from askless.panel import Panel
from askless.policies.team.published import AlternatingTeam, JointTeam
from askless.text import embeddings

SEEDS = (67, 68, 69)
EPOCHS = 5


def texts_and_labels(rows: int) -> tuple[list[str], np.ndarray]:
    """Real OLHS tweets where there are any, else the demo's posts repeated."""
    folder = os.environ.get("ASKLESS_REALDATA")
    if folder:
        with open(Path(folder, "olhs", "labeled_data.csv"), encoding="utf-8") as file:
            found = [(r["tweet"], int(r["class"]) < 2) for r in csv.DictReader(file)][:rows]
    else:
        from askless.data.demo.posts import posts

        found = [(p["text"], p["label"] == "1") for p in posts(rows, 5)]
    return [t for t, _ in found], np.array([y for _, y in found], np.int64)


def write_glove(path: Path, texts: list[str], words: int) -> None:
    """A GloVe-sized text file: the real first lines where there are any, then the posts' words, then made-up ones."""
    rng = np.random.default_rng(0)
    folder = os.environ.get("ASKLESS_REALDATA")
    real = Path(folder, "glove", "glove.6B.100d.top2717.txt").read_text("utf-8").splitlines() if folder else []
    known = {line.split(" ", 1)[0] for line in real}
    own = [w for w in dict.fromkeys(w for t in texts for w in t.split()) if w not in known]
    rest = [*own, *(f"w{i}" for i in range(words))][: words - len(real)]
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in real)
        for start in range(0, len(rest), 10_000):
            block = rng.normal(0, 0.4, (len(rest[start : start + 10_000]), 100))
            for word, row in zip(rest[start : start + 10_000], block, strict=True):
                file.write(word + " " + " ".join(f"{v:.5f}" for v in row) + "\n")


class PerRow:
    """The experiment row by row."""

    def __init__(self, glove: Path, texts: list[str], labels: np.ndarray, llm: np.ndarray) -> None:
        vectors: dict[str, np.ndarray] = {}
        with glove.open(encoding="utf-8") as file:
            for line in file:
                word, *values = line.split()
                vectors[word] = np.array([float(v) for v in values])
        rows = []
        for text, label, answer in zip(texts, labels, llm, strict=True):
            found = [vectors[token] for token in text.split() if token in vectors]
            if found:
                rows.append((torch.from_numpy(np.mean(found, axis=0)).float(), int(label), int(answer)))
        cut = int(0.8 * len(rows))
        loader = torch.utils.data.DataLoader
        self.train = loader(rows[:cut], batch_size=128, shuffle=True, drop_last=True)
        self.test = loader(rows[cut:], batch_size=1)

    @staticmethod
    def network(outputs: int) -> nn.Module:
        """The paper's network."""
        return nn.Sequential(
            nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, outputs), nn.Softmax(dim=1)
        )

    def accuracy(self, small: nn.Module, allocator: nn.Module | None) -> float:
        """System accuracy on test, a row at a time."""
        right = []
        with torch.no_grad():
            for x, y, answer in self.test:
                asks = allocator is not None and int(allocator(x).argmax(1)) == 1
                right.append(int(answer) == int(y) if asks else int(small(x).argmax(1)) == int(y))
        return float(np.mean(right))

    def run(self, kind: str, seed: int) -> float:
        """Train and evaluate after each epoch; the last epoch's accuracy."""
        torch.manual_seed(seed)
        small, allocator = self.network(2), self.network(2)
        joined = [*small.parameters(), *allocator.parameters()] if kind == "joint" else list(small.parameters())
        adam = torch.optim.Adam(joined, lr=5e-3)
        other = torch.optim.Adam(allocator.parameters(), lr=5e-3)
        rates = [torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS * len(self.train)) for o in (adam, other)]
        loss_of, value = nn.CrossEntropyLoss(), 0.0
        for _ in range(EPOCHS):
            groups = []
            for x, y, answer in self.train:
                proba = small(x)
                if kind == "joint":
                    share = allocator(x)
                    mixed = share[:, :1] * proba + share[:, 1:] * torch.tensor(np.eye(2)[answer.numpy()])
                    loss = nn.functional.nll_loss(torch.log(mixed + 1e-7), y)
                else:
                    loss = loss_of(proba, y)
                adam.zero_grad()
                loss.backward()
                adam.step()
                rates[0].step()
                if kind == "alternating":
                    groups.append(self.disagreements(x, y, answer, proba))
            for inputs, targets in [g for _ in range(5) for g in groups]:
                loss = loss_of(allocator(inputs), targets)
                other.zero_grad()
                loss.backward()
                other.step()
                rates[1].step()
            value = self.accuracy(small, None if kind == "small" else allocator)
        return value

    @staticmethod
    def disagreements(x: torch.Tensor, y: torch.Tensor, answer: torch.Tensor, proba: torch.Tensor) -> tuple:
        """Rows on which exactly one of the two is right, gathered in Python lists."""
        inputs, targets = [x[0].tolist()], [0]
        said = proba.argmax(1).tolist()
        for features, guess, gold, other in zip(x.tolist(), said, y.tolist(), answer.tolist(), strict=True):
            if guess != other:
                inputs.append(features)
                targets.append(0 if guess == gold else 1)
        return torch.tensor(inputs), torch.tensor(targets)


def ours(vectors: embeddings.Vectors, folder: Path, texts: list[str], labels: np.ndarray, llm: np.ndarray) -> dict:
    """The same experiment with this package: features, training, choice of the epoch on valid, accuracy on test."""
    n = len(texts)
    split = np.where(np.arange(n) < 0.7 * n, "train", np.where(np.arange(n) < 0.8 * n, "valid", "test"))
    ids = [str(i) for i in range(n)]
    classes = ("0", "1")
    examples = schema.table(
        "examples", {"id": ids, "text": texts, "label": labels.astype(str).tolist(), "split": split.tolist()}
    )
    answers = schema.table(
        "predictions",
        {"id": ids, "expert": ["llm"] * n, "label": llm.astype(str).tolist(), "cost_usd": np.full(n, 1e-3)},
        {"classes": list(classes)},
    )
    expert = RecordedExpert(Setting("llm", "olhs", classes), table=answers)
    cost = CostModel("usd", {"network": Price()})
    out: dict[str, list[float]] = {"alternating": [], "joint": [], "small": []}
    for seed in SEEDS:
        panels = {
            s: Panel(schema.rows_in(examples, s), {"llm": expert}, cost, classes) for s in ("train", "valid", "test")
        }
        gold = panels["test"].gold
        for kind, team_class in (("alternating", AlternatingTeam), ("joint", JointTeam)):
            team = team_class(("network", "llm"), vectors, epochs=EPOCHS, random_state=seed)
            team.fit(panels["train"].copy(), panels["valid"].copy())
            out[kind].append(float((team.decide(panels["test"].copy()).label == gold).mean()))
        small = MlpExpert(Setting("small", "olhs", classes, vectors=folder), epochs=EPOCHS, random_state=seed)
        small.fit(schema.rows_in(examples, "train"), schema.rows_in(examples, "valid"))
        test = schema.rows_in(examples, "test")
        out["small"].append(
            float(
                np.mean(
                    [
                        a == b
                        for a, b in zip(small.answer(test)["label"].to_pylist(), test["label"].to_pylist(), strict=True)
                    ]
                )
            )
        )
    return out


def main() -> None:
    """Run both sides and print seconds, accuracies and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=24_783)
    parser.add_argument("--words", type=int, default=400_000)
    arguments = parser.parse_args()
    texts, labels = texts_and_labels(arguments.rows)
    rng = np.random.default_rng(1)
    llm = np.where(rng.random(len(labels)) < 0.85, labels, 1 - labels)
    with tempfile.TemporaryDirectory() as scratch:
        glove, folder = Path(scratch, "glove.txt"), Path(scratch, "vectors")
        write_glove(glove, texts, arguments.words)
        started = time.perf_counter()
        embeddings.build(glove, folder, dim=100)
        parse = time.perf_counter() - started
        ours(embeddings.Vectors.open(folder), folder, texts[:2000], labels[:2000], llm[:2000])
        started = time.perf_counter()
        result = ours(embeddings.Vectors.open(folder), folder, texts, labels, llm)
        warm = time.perf_counter() - started
        started = time.perf_counter()
        slow = PerRow(glove, texts, labels, llm)
        theirs = {k: [slow.run(k, s) for s in SEEDS] for k in ("alternating", "joint", "small")}
        per_row = time.perf_counter() - started
    print(f"{len(texts)} posts, {arguments.words} words, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{'':12} {'seconds':>8}   accuracy on test (mean of {len(SEEDS)} seeds)")
    for name, seconds, accuracies in (("per row", per_row, theirs), ("askless", warm, result)):
        print(f"{name:12} {seconds:8.1f}   " + ", ".join(f"{k} {np.mean(v):.4f}" for k, v in accuracies.items()))
    print(f"ratio {per_row / warm:.1f} (once more, to parse the word vectors: {parse:.1f} s)")


if __name__ == "__main__":
    main()
