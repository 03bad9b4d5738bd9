"""A process with everything imported that forks for each `deferral label ...`, so that a start costs milliseconds.

Each line of standard input is a job: the arguments of a command and the folder to run it in. For each the child's pid
is printed, and its exit status once it is gone.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Import what a run needs, then fork for each job."""
    import openai  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from deferral import cli
    from deferral.experts import baselines, llm, openai  # noqa: F401, F811
    from deferral.live import label, terms  # noqa: F401
    from deferral.policies import baselines as policies  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid:
            os.chdir(job["folder"])
            out = os.open("label.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.argv = ["deferral", *job["words"]]
            code = 1
            try:
                cli.main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
