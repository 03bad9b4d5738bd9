"""A worker for the deployments, until interrupted: `python -m flows.worker [pool] [--grace SECONDS]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.states import Cancelling, Crashed, State
from prefect.workers.process import ProcessWorker

from askless.errors import AsklessError
from flows.deploy import POOL, check_pool, client

# compose.yaml and the like let a container stop within ten minutes.
GRACE, CANCEL_SECONDS = 480, 90
PROCESS, LOOK_SECONDS = "process", 0.2


def main() -> None:
    """Work for a pool that is there; exit 1 with one paragraph where none or no server is."""
    parser = argparse.ArgumentParser(prog="python -m flows.worker", description=__doc__)
    parser.add_argument("pool", nargs="?", default=POOL)
    parser.add_argument("--grace", type=float, default=GRACE, help=f"seconds for runs to end in (default: {GRACE})")
    arguments = parser.parse_args()
    try:
        with client() as server:
            kind = check_pool(server, arguments.pool, "worker")
            os.environ["PREFECT_API_URL"] = str(server.api_url).rstrip("/")
    except AsklessError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
    if kind != PROCESS:
        # Its runs are containers, which outlive it.
        words = ["-m", "prefect", "worker", "start", "--pool", arguments.pool, "--type", kind]
        os.execv(sys.executable, [sys.executable, *words])
    asyncio.run(work(arguments.pool, arguments.grace))


async def work(pool: str, grace: float) -> None:
    """Run what is due, each run a process of its own, until the first SIGTERM or SIGINT.

    Then no run is begun any more, and those under way have `grace` seconds to end. What has not ended by then, or by a
    second signal, is cancelled, its stage with it. Prefect's own command ends at once, and leaves runs as Running.
    """
    worker, under_way, told = ProcessWorker(work_pool_name=pool), set[UUID](), list[int]()
    begin, run = worker.get_and_submit_flow_runs, worker.run

    async def begun() -> list[Any]:
        return [] if told else await begin()

    async def ran(flow_run: Any, *words: Any, **named: Any) -> Any:
        under_way.add(flow_run.id)
        try:
            return await run(flow_run, *words, **named)
        finally:
            under_way.discard(flow_run.id)

    def at_work() -> set[UUID]:
        # Those that are being begun, too: left there they would be Pending for good.
        return under_way | worker._submitting_flow_run_ids

    worker.get_and_submit_flow_runs, worker.run = begun, ran  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.append, number)
    working = asyncio.create_task(worker.start(printer=_say))
    while not told and not working.done():
        await asyncio.sleep(LOOK_SECONDS)
    if told:
        _say(f"Stopping: no run is begun any more; {len(at_work())} under way, with {grace:g} s to end.")
        await _ended(at_work, grace, lambda: len(told) > 1)
        why = (
            f"the worker was stopped, and this did not end within {grace:g} s. The next run goes on from what is kept."
        )
        await _put(at_work(), Cancelling(message=f"Cancelled: {why}"))
        await _ended(at_work, CANCEL_SECONDS)
        await _put(at_work(), Crashed(message=f"Crashed: {why}"))
        working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def _ended(at_work: Callable[[], set[UUID]], seconds: float, hurry: Callable[[], bool] = lambda: False) -> None:
    end = time.monotonic() + seconds
    while at_work() and not hurry() and time.monotonic() < end:
        await asyncio.sleep(LOOK_SECONDS)


async def _put(runs: set[UUID], state: State[Any]) -> None:
    async with get_client() as server:
        for run in runs:
            await server.set_flow_run_state(run, state, force=True)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
