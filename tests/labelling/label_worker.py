"""Runs of `askless label ...`, to be killed."""

from __future__ import annotations

import os
import sys

from tests import forks


def main() -> None:
    """Import what a run needs, then fork for each job."""
    import openai  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from askless import cli

    def run(job: forks.Job) -> None:
        os.chdir(job["folder"])
        out = os.open("label.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["askless", *job["words"]]
        cli.main()

    forks.serve(run)


if __name__ == "__main__":
    main()
