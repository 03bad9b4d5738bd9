"""`askless serve` under load: a steady rate, one that is too high, and the steady one again.

The server is a process of its own, and so is the LLM behind it, which answers every request after `--delay` seconds.
Requests arrive at their times whether or not earlier ones are answered (open loop), each with another text. Everything
is on the loopback.

    python -m benchmarks.serve [--rate 50] [--seconds 60] [--over 200] [--over-seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
from fastapi import Request

from askless import config
from askless.bundles.terms import Terms
from askless.config import Price
from askless.data.demo.posts import posts
from benchmarks.decisions import CLASSES, LLM, SHARE, team

PRICES = {
    "mlp": Price(),
    "decider": Price(),
    LLM: Price(usd_per_1m_prompt_tokens=0.15, usd_per_1m_completion_tokens=0.6),
}


def stub(port: int, delay: float) -> None:
    """An LLM that always says 1."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> dict[str, object]:
        await request.body()
        await asyncio.sleep(delay)
        message = {"role": "assistant", "content": "1"}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}
        usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
        return {**head, "choices": [choice], "usage": usage}

    uvicorn.run(app, port=port, log_level="warning")


@contextmanager
def running(command: list[str], cwd: Path, found: str) -> Iterator[str]:
    """A process, once it said what `found` finds, which is yielded; ended by SIGTERM, which must give exit code 0."""
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = next(match[1] for line in process.stderr if (match := re.search(found, line)))
        yield said
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.communicate()[1]
        print(f"  it ended with exit code {process.returncode}: {rest.strip() or 'silent'}")


@dataclass
class Phase:
    """What came of the requests of one phase; seconds, and milliseconds of the decision."""

    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    request_s: list[float] = field(default_factory=list)
    decision_ms: list[float] = field(default_factory=list)
    late_s: float = 0.0

    def tell(self, name: str) -> None:
        """Print it."""
        total = sum(self.statuses.values())
        others = {status: n for status, n in self.statuses.items() if status not in (200, 429)}
        print(
            f"{name}: {total:,} requests, {self.statuses[200]:,} answered, {self.statuses[429]:,} shed, others {others}"
        )
        print(f"  reasons {dict(self.reasons)}; sent at most {1e3 * self.late_s:.0f} ms late")
        for what, values, unit in (("decision", self.decision_ms, 1), ("request", self.request_s, 1e3)):
            if values:
                p50, p95, p99 = unit * np.quantile(values, [0.5, 0.95, 0.99])
                print(f"  {what}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms")


async def load(url: str, model: str, texts: Sequence[str], rate: float) -> Phase:
    """Requests about `texts`, `rate` a second, at even times."""
    phase, start = Phase(), time.perf_counter()
    # Not httpx: its pool looks through all connections for each request, and thousands may be open here.
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:

        async def one(at: int, text: str) -> None:
            due = start + at / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            begun = time.perf_counter()
            phase.late_s = max(phase.late_s, begun - due)
            body = {"model": model, "messages": [{"role": "user", "content": text}]}
            try:
                async with client.post(f"{url}/chat/completions", json=body) as reply:
                    told = await reply.json()
            except (aiohttp.ClientError, TimeoutError) as error:
                phase.statuses[0] += 1
                phase.reasons[type(error).__name__] += 1
                return
            phase.statuses[reply.status] += 1
            if reply.status == 200:
                phase.request_s.append(time.perf_counter() - begun)
                phase.decision_ms.append(float(reply.headers["x-askless-decision-ms"]))
                phase.reasons[told["askless"]["reason"]] += 1

        await asyncio.gather(*(one(at, text) for at, text in enumerate(texts)))
    return phase


def main() -> None:
    """Run the three phases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--over", type=float, default=200)
    parser.add_argument("--over-seconds", type=float, default=20)
    parser.add_argument("--delay", type=float, default=0.3)
    parser.add_argument("--port", type=int, default=18_411)
    parser.add_argument("--stub", action="store_true")
    options = parser.parse_args()
    if options.stub:
        return stub(options.port, options.delay)
    counts = [int(options.rate * options.seconds), int(options.over * options.over_seconds), int(options.rate * 10)]
    texts = list(dict.fromkeys(f"{p['text']} {n}" for n, p in enumerate(posts(sum(counts), 7))))
    with tempfile.TemporaryDirectory() as name:
        folder = team(Path(name), "small")
        llm = {"backend": "openai", "model": "m", "base_url": f"http://127.0.0.1:{options.port}/v1"}
        llm |= {"top_logprobs": 0, "max_retries": 0}
        Terms("olhs", CLASSES, "olhs", {LLM: llm}, config.Costs("usd", PRICES)).write(folder)
        own = [
            sys.executable,
            "-m",
            "benchmarks.serve",
            "--stub",
            "--port",
            str(options.port),
            "--delay",
            str(options.delay),
        ]
        server = [sys.executable, "-c", "from askless.cli import main; main()", "serve", str(folder), "--port", "0"]
        behind = subprocess.Popen(own)
        try:
            with running(server, Path(name), r"at (http://\S+/v1)") as url:
                asyncio.run(load(url, "askless-olhs", [f"warm up {n}" for n in range(20)], 20))
                at = 0
                for what, rate, count in (
                    (f"{options.rate:g} a second", options.rate, counts[0]),
                    (f"{options.over:g} a second", options.over, counts[1]),
                    (f"{options.rate:g} a second again", options.rate, counts[2]),
                ):
                    asyncio.run(load(url, "askless-olhs", texts[at : at + count], rate)).tell(what)
                    at += count
        finally:
            behind.terminate()
            behind.wait()
    print(f"load {os.getloadavg()[0]:.1f}; {SHARE:.0%} deferred to an LLM that takes {options.delay:g} s")


if __name__ == "__main__":
    main()
