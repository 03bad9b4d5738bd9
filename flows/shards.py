"""Shards given to workers, as many at a time as they are, until all are answered."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import Any

from prefect import Task, get_run_logger
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture
from prefect.states import Crashed

from askless.errors import ExpertError
from tasks.progress import Reporter
from tasks.runners import Workers

LOOK_SECONDS = 0.1
# So often in a row may the workers of a shard die before one of them keeps an answer more.
DEATHS = 3


class ShardRun:
    """The shards of a generation, at work and waiting.

    Parameters
    ----------
    workers
        Who answers the shards.
    task
        The Prefect task that answers one of them.
    parameters
        Those of `task`, but for a shard's `number`.
    shards
        How many there are, numbered from 0.
    """

    def __init__(self, workers: Workers, task: Task[..., Any], parameters: dict[str, Any], shards: int) -> None:
        self._workers, self._task, self._parameters = workers, task, parameters
        self._waiting = deque(range(shards))
        self._at_work: dict[int, PrefectFuture[Any]] = {}
        self._deaths: dict[int, tuple[int, int]] = {}
        self._failed: BaseException | None = None

    def work(self, reporter: Reporter) -> None:
        """Until all shards are answered, or one fails for good: then no other begins a batch, and its error is raised.

        A shard whose worker died goes to another one, which goes on where that was.
        """
        while self._at_work or (self._waiting and self._failed is None):
            while self._waiting and self._failed is None and len(self._at_work) < self._workers.at_once:
                number = self._waiting.popleft()
                self._at_work[number] = self._workers.submit(self._task, {**self._parameters, "number": number})
            time.sleep(LOOK_SECONDS)
            for number, future in list(self._at_work.items()):
                self._look(number, future)
            if reporter.due():
                reporter.report(self._workers.shards.counts())
        if self._failed is not None:
            raise self._failed
        reporter.report(self._workers.shards.counts())

    def _look(self, number: int, future: PrefectFuture[Any]) -> None:
        try:
            found = future.result(timeout=0, raise_on_failure=False)
        except TimeoutError:
            return
        except self._workers.lost as error:
            self._died(number, future, error)
            return
        except Exception as error:
            found = error
        del self._at_work[number]
        if isinstance(found, BaseException):
            self._fail(found)

    def _died(self, number: int, future: PrefectFuture[Any], error: Exception) -> None:
        """Report it, also to Prefect, which the worker cannot reach; and let another one go on, or give up."""
        why, done = str(error).splitlines()[0], self._workers.shards.done(number)
        get_run_logger().warning("shard %d: its worker died after %d answers (%s)", number, done, why)
        del self._at_work[number]
        with suppress(Exception), get_client(sync_client=True) as client:
            client.set_task_run_state(future.task_run_id, Crashed(message=why), force=True)
        before, times = self._deaths.get(number, (-1, 0))
        self._deaths[number] = done, times + 1 if done == before else 1
        if self._deaths[number][1] <= DEATHS:
            self._waiting.appendleft(number)
            return
        self._fail(
            ExpertError(
                f"Shard {number}: {DEATHS + 1} workers in a row died over it without an answer ({why}). Allowed: a "
                "model and a batch that fit a worker's memory. Set a smaller batch_tokens, dtype or generate.workers "
                "and run again: what was answered is kept and not asked again."
            )
        )

    def _fail(self, error: BaseException) -> None:
        self._failed = self._failed or error
        self._workers.shards.stop()
