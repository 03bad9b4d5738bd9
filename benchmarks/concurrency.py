"""Requests in flight at once: the threads of backend `openai` against one thread of asyncio, on a server that waits.

    python -m benchmarks.concurrency [--requests 2000] [--delay 0.2] [--concurrency 8 64 256]

The server, a process of its own on this machine, answers each request after the same delay. Both sides use the openai
package, parse every reply and keep none; clients are made within the measured time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from askless import schema
from askless.data.replies import observed
from askless.experts.base import Setting
from askless.experts.remote.openai import OpenAiExpert
from askless.prompts import Prompt

REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "0"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def talk_after(delay: float) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What answers each request of a connection `delay` seconds after it came."""
    body = json.dumps(REPLY).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            length = 0
            while line not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
                line = await reader.readline()
            await reader.readexactly(length)
            await asyncio.sleep(delay)
            writer.write(head + body)
            await writer.drain()
        writer.close()

    return talk


async def serve(delay: float) -> None:
    """Answer each request on a free port, which is printed."""
    server = await asyncio.start_server(talk_after(delay), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def server(delay: float) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.concurrency", "--serve", "--delay", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


def expert(url: str, concurrency: int) -> OpenAiExpert:
    """The expert under test."""
    prompt = Prompt("{text}", {"0": "0", "1": "1"})
    setting = Setting("bench", "olhs", ("0", "1"))
    made = OpenAiExpert(setting, model="m", base_url=url, prompt=prompt, concurrency=concurrency, timeout=60)
    made.quiet = True
    return made


def threads(url: str, texts: list[str], concurrency: int) -> int:
    """Ask by the expert; returns how many answered."""
    ids = [str(i) for i in range(len(texts))]
    table = schema.table("examples", {"id": ids, "text": texts, "split": ["test"] * len(texts)})
    answers = expert(url, concurrency).answer(table)
    return int(answers.num_rows - answers["label"].null_count)


def coroutines(url: str, texts: list[str], concurrency: int) -> int:
    """Ask by AsyncOpenAI in one thread; returns how many answered."""
    import openai

    asked = expert(url, concurrency)

    async def run() -> int:
        free = asyncio.Semaphore(concurrency)
        async with openai.AsyncOpenAI(api_key="none", base_url=url, timeout=60, max_retries=0) as client:

            async def one(text: str) -> dict[str, Any]:
                async with free:
                    return observed((await client.chat.completions.create(**asked.request(text))).model_dump())

            rows = await asyncio.gather(*(one(text) for text in texts))
        return sum(row["text"] == "0" for row in rows)

    return asyncio.run(run())


def measured(ask: Callable[[], int]) -> tuple[float, float]:
    """Answers a second, and milliseconds of this process's time for each."""
    start, worked = time.perf_counter(), time.process_time()
    count = ask()
    return count / (time.perf_counter() - start), 1e3 * (time.process_time() - worked) / count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Threads against asyncio.")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds that the server takes")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.delay))
        return
    print(f"{options.requests} requests, {options.delay} s each, load {os.getloadavg()[0]:.1f}\n")
    print("| in flight | at most | threads: answers/s | ms of CPU each | asyncio: answers/s | ms of CPU each |")
    print("|---|---|---|---|---|---|")
    with server(options.delay) as url:
        for concurrency in options.concurrency:
            count = min(options.requests, 25 * concurrency)
            texts = [f"post {i}" for i in range(count)]
            sides: dict[str, list[tuple[float, float]]] = {"threads": [], "asyncio": []}
            for _ in range(options.rounds):
                sides["threads"].append(measured(lambda t=texts, c=concurrency: threads(url, t, c)))
                sides["asyncio"].append(measured(lambda t=texts, c=concurrency: coroutines(url, t, c)))
            cells = [f"{median(run[at] for run in runs):.3g}" for runs in sides.values() for at in (0, 1)]
            print(f"| {concurrency} | {concurrency / options.delay:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
