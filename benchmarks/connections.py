"""What a connection for each request costs: TLS, with one for each request and with connections that are used again.

    python -m benchmarks.connections [--requests 160] [--concurrency 8] [--rounds 3]

The server, a process of its own on this machine, has a certificate made for the run (TLS 1.3, P-256) and stands behind
a relay that holds every byte for half a round trip, and the first ones for a whole one more, as TCP would. Both sides
are the expert `openai`; they take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from unittest import mock

from askless.experts.remote import openai
from benchmarks.concurrency import measured, talk_after, threads

CASES = ((0.0, 0.0), (0.0, 0.3), (0.02, 0.3), (0.1, 0.3), (0.02, 1.0), (0.1, 1.0))
CERTIFICATE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"


async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float, first: float = 0.0) -> None:
    """Pass bytes on, each `delay` seconds after it came, none in the `first` ones."""
    loop = asyncio.get_running_loop()
    opened = loop.time() + first
    while data := await source.read(65536):
        loop.call_at(max(loop.time(), opened) + delay, sink.write, data)
    loop.call_at(max(loop.time(), opened) + 2 * delay, sink.close)


async def serve(folder: Path, trip: float, delay: float) -> None:
    """Answer over TLS on a free port, which is printed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    server = await asyncio.start_server(talk_after(delay), "127.0.0.1", 0, ssl=context, backlog=1024)
    port = server.sockets[0].getsockname()[1]

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ahead, back = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            await asyncio.gather(relay(reader, back, trip / 2, trip), relay(ahead, writer, trip / 2))

    front = server if not trip else await asyncio.start_server(between, "127.0.0.1", 0, backlog=1024)
    print(front.sockets[0].getsockname()[1], flush=True)
    await asyncio.gather(server.serve_forever(), front.serve_forever() if trip else asyncio.sleep(0))


@contextmanager
def server(folder: Path, trip: float, delay: float) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    options = ["--serve", str(folder), "--trip", str(trip), "--delay", str(delay)]
    command = [sys.executable, "-m", "benchmarks.connections", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield f"https://localhost:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="A connection for each request.")
    parser.add_argument("--requests", type=int, default=160)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--trip", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--delay", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.trip, options.delay))
        return
    print(f"{options.requests} requests, {options.concurrency} in flight, load {os.getloadavg()[0]:.1f}\n")
    print(
        "| round trip | server takes | a connection each: answers/s | ms of CPU each | used again: answers/s ", end=""
    )
    print("| ms of CPU each | ratio of answers/s (least, most) |\n|---|---|---|---|---|---|---|")
    texts = [f"post {i}" for i in range(options.requests)]
    again = {name: value for name, value in openai.HEADERS.items() if name != "Connection"}
    sides = {"each": openai.HEADERS, "again": again}
    with tempfile.TemporaryDirectory() as folder:
        made = f"{CERTIFICATE} -addext subjectAltName=DNS:localhost -out certificate.pem -keyout key.pem"
        subprocess.run(made.split(), cwd=folder, check=True, capture_output=True)
        os.environ["SSL_CERT_FILE"] = str(Path(folder, "certificate.pem"))
        for trip, delay in CASES:
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
            with server(Path(folder), trip, delay) as url:
                for _ in range(options.rounds):
                    for name, headers in sides.items():
                        with mock.patch.object(openai, "HEADERS", headers):
                            runs[name].append(measured(lambda u=url: threads(u, texts, options.concurrency)))
            ratios = sorted(a[0] / b[0] for a, b in zip(runs["again"], runs["each"], strict=True))
            cells = [f"{median(run[at] for run in side):.3g}" for side in runs.values() for at in (0, 1)]
            ratio = f"{median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
            print(f"| {1e3 * trip:.0f} ms | {1e3 * delay:.0f} ms | {' | '.join(cells)} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
