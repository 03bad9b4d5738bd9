"""A worker for the deployments, until interrupted: `python -m flows.worker [pool]`."""

from __future__ import annotations

import os
import sys

from askless.errors import AsklessError
from flows.deploy import POOL, check_pool, client


def main() -> None:
    """Become `prefect worker` for a pool that is there; exit 1 with one paragraph where none or no server is."""
    pool = sys.argv[1] if len(sys.argv) > 1 else POOL
    try:
        with client() as server:
            check_pool(server, pool, "worker")
            url = str(server.api_url).rstrip("/")
    except AsklessError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
    os.environ["PREFECT_API_URL"] = url
    os.execv(sys.executable, [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"])


if __name__ == "__main__":
    main()
