"""`askless label` on a million generated posts: peak memory, rows a second, and that the limit held.

Posts are written to a file, then labelled by a model of the pipeline as a process of its own, as a person would; its
peak is what the kernel says of that process. The demo's LLM answers what is deferred, until its money is spent.
Run after `make repro`: python -m benchmarks.label [--rows 1000000] [--model ADDRESS] [--max-usd 0.2]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from askless.data.demo.posts import posts

BLOCK = 50_000


def write(path: Path, rows: int) -> None:
    """Posts as JSON lines; the same for the same number."""
    with open(path, "w", encoding="utf-8") as file:
        for block, start in enumerate(range(0, rows, BLOCK)):
            some = posts(min(BLOCK, rows - start), [5, block])
            file.writelines(
                json.dumps({"id": start + n, "text": f"{p['text']} {start + n}"}) + "\n" for n, p in enumerate(some)
            )


def main() -> None:
    """Write, label, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--model", default="models:/askless-olhs@challenger")
    parser.add_argument("--max-usd", default="0.2")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        items, out = Path(name, "posts.jsonl"), Path(name, "labelled.jsonl")
        write(items, given.rows)
        print(f"{given.rows:,} posts, {items.stat().st_size / 1e6:.0f} MB")
        words = [str(items), "--model", given.model, "-o", str(out), "--max-usd", given.max_usd, "--json"]
        start = time.perf_counter()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("askless")), "label", *words],
            check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"},
        )  # fmt: skip
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        told = json.loads(done.stdout)
        with open(out, encoding="utf-8") as file:
            ids = [json.loads(line)["id"] for line in file]
        assert ids == [str(n) for n in range(given.rows)], "complete and in order"
        print(f"{seconds:.0f} s, {given.rows / seconds:,.0f} rows/s, peak {peak:.2f} GB resident")
        print(f"{told['reasons']}, paid ${told['paid_usd']:.4f} of ${told['limit_usd']}")


if __name__ == "__main__":
    main()
