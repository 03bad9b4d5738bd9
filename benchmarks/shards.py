"""Peak memory of the stage `generate` over many examples, step by step, each in a process of its own.

    python -m benchmarks.shards                     # 100,000, 300,000 and 1,000,000 posts
    python -m benchmarks.shards --rows 20000

Every step is the stage's own: cut, answer by threads (with Prefect, MLflow and the file of kept answers), merge,
Great Expectations. The expert is a stand-in of this script that computes nothing, so that what is seen is the stage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flows  # noqa: F401  sets the quiet environment

ROWS = (100_000, 300_000, 1_000_000)
STEPS = ("import", "cut", "answer", "merge", "validate")
TASK, EXPERT = "olhs", "instant"
BATCH = 256


def stand_in() -> None:
    """Register a paid expert that answers at once, in batches, by the length of a text."""
    from askless.experts import EXPERTS
    from askless.experts.answer_store import Row, answer_key
    from askless.experts.paid import PaidExpert
    from askless.experts.replies import scored

    class Instant(PaidExpert):
        def validate(self) -> None:
            pass

        def key(self, text: str) -> str:
            return answer_key("instant", text)

        def ask(self, work: Mapping[str, str], known: Mapping[str, Row]) -> Generator[dict[str, Row]]:
            missing = [key for key in work if key not in known]
            for at in range(0, len(missing), BATCH):
                yield {key: row(work[key]) for key in missing[at : at + BATCH]}

        def columns(self, rows: Sequence[Row]) -> Mapping[str, Any]:
            import numpy as np

            names = ("prompt_tokens", "completion_tokens", "seconds")
            logprobs = np.array([row["logprobs"] for row in rows])
            return {**{n: [row[n] for row in rows] for n in names}, **scored(self.setting.classes, logprobs, 0.0)}

    def row(text: str) -> Row:
        odd = len(text) % 2
        return {"logprobs": [-0.1 - odd, -1.1 + odd], "prompt_tokens": 113, "completion_tokens": 1, "seconds": 1e-3}

    globals()["Instant"] = Instant
    EXPERTS["instant"] = f"{__name__}:Instant"


def posts(rows: int) -> Iterator[Any]:
    """Generated posts, each with a number of its own, 50,000 at a time."""
    from askless import schema
    from askless.data.demo.posts import posts as generated

    texts = [post["text"] for post in generated(50_000, 1)]
    for at in range(0, rows, len(texts)):
        some = range(at, min(at + len(texts), rows))
        columns = {"id": [f"{i:016x}" for i in some], "text": [f"{texts[i - at]} {i}" for i in some]}
        columns |= {"label": [str(i % 2) for i in some], "split": [schema.SPLITS[i % 3] for i in some]}
        yield schema.table("examples", columns)


def prepare(folder: Path, rows: int, shard_rows: int) -> None:
    """Examples in one file and one row group, and the parameters."""
    import pyarrow.parquet as pq
    import yaml

    params = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    params["experts"][EXPERT] = {"backend": "instant", "model": "none"}
    params["costs"]["prices"][EXPERT] = {"usd_per_1k_answers": 0.1}
    params["generate"] = {"shard_rows": shard_rows, "workers": 2}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    import pyarrow as pa

    pq.write_table(pa.concat_tables(posts(rows)), folder / "examples.parquet", row_group_size=rows)


def step(name: str, folder: Path) -> None:
    """Do one step in `folder` and print its peak memory and seconds."""
    stand_in()
    from flows.generate import answer_shards
    from tasks.generate import cut_examples, merge_parts
    from tasks.validation import validate_predictions

    os.chdir(folder)
    start, work, answers = time.perf_counter(), "work", "answers"
    if name == "cut":
        Path("rows.json").write_text(
            json.dumps(cut_examples.fn(TASK, EXPERT, "params.yaml", "examples.parquet", work)), "utf-8"
        )
    elif name == "answer":
        from prefect import flow

        from askless import config

        rows = json.loads(Path("rows.json").read_text("utf-8"))
        flow(answer_shards, name="answer", validate_parameters=False)(
            TASK, EXPERT, config.load("params.yaml"), work, answers, rows
        )
    elif name == "merge":
        rows = json.loads(Path("rows.json").read_text("utf-8"))
        merge_parts.fn(TASK, EXPERT, "params.yaml", work, len(rows), answers, "out.parquet")
    elif name == "validate":
        validate_predictions.fn(TASK, EXPERT, "params.yaml", "out.parquet", "reports")
    sys.stdout.write(json.dumps({"mb": peak(), "seconds": time.perf_counter() - start}) + "\n")


def peak() -> float:
    """The largest resident memory of this process, in MB; `getrusage` would count the process that started it too."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure every step at every size; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--shard-rows", type=int, default=20_000)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step(given.step[0], Path(given.step[1]))
        return
    print("rows        " + "".join(f"{name:>20}" for name in STEPS))
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as name:
            prepare(Path(name), rows, given.shard_rows)
            cells = [measured(each, name) for each in STEPS]
        print(
            f"{rows:<12,}" + "".join(f"{cell['mb']:>9,.0f} MB{cell['seconds']:>6,.0f} s " for cell in cells), flush=True
        )


def measured(name: str, folder: str) -> dict[str, float]:
    """What a step says of itself."""
    command = [sys.executable, "-m", "benchmarks.shards", "--step", name, folder]
    environment = {**os.environ, "PREFECT_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
