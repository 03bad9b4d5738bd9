"""A process with everything imported that forks for each job, and its killing: a start costs milliseconds, not seconds.

Each line of its standard input is a job; for each the child's pid is printed, and its exit status once it is gone.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.pipeline import ROOT

Worker = subprocess.Popen[bytes]
Job = dict[str, Any]


def serve(run: Callable[[Job], object]) -> None:
    """Within the worker: fork for each job and let the child `run` it."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                run(json.loads(line))
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


@contextmanager
def started(module: str, environment: dict[str, str] | None = None) -> Iterator[Worker]:
    """The worker whose `module`, run as a program, comes to `serve`."""
    command, pipe = [sys.executable, "-m", module], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, env=environment, cwd=ROOT) as worker:
        yield worker
        assert worker.stdin
        worker.stdin.close()


def until_done(worker: Worker, job: Job, progress: Callable[[], int], kills: int = 0, most: int = 0) -> int:
    """Run the job again and again, killing it at random moments up to `kills` times, until it ends by itself.

    A moment is a random number of steps on (0 to `most`) and some milliseconds more, in whatever it is doing.
    Returns how often it was killed.
    """
    assert worker.stdin
    rng, killed = random.Random(f"{most} {kills}"), 0
    while True:
        goal = progress() + rng.randint(0, most) if killed < kills else None
        worker.stdin.write((json.dumps(job) + "\n").encode())
        pid, status = int(_said(worker, 600)), b""
        while goal is not None and progress() < goal and not status:
            status = _said(worker, 0.001)
        if goal is not None:
            status = status or _said(worker, rng.uniform(0, 0.01))
            with suppress(ProcessLookupError):
                os.kill(pid, 0 if status else signal.SIGKILL)
        code = int(status or _said(worker, 600))
        if not os.WIFSIGNALED(code):
            assert code == 0, job
            return killed
        killed += 1


def _said(worker: Worker, seconds: float) -> bytes:
    """The worker's next line, or nothing if it says none in time."""
    assert worker.stdout
    return worker.stdout.readline() if select.select([worker.stdout], [], [], seconds)[0] else b""
