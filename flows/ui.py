"""Prefect's and MLflow's own pages over this project, until interrupted: `python -m flows.ui`."""

from __future__ import annotations

import signal
import sys
import threading

from deferral.registry import store
from flows.server import free_port, prefect_server, running


def main() -> None:
    """Start both servers, say where they are, stop them at Ctrl-C."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store(), "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--serve-artifacts"]
    with prefect_server() as api, running(command, f"{url}/health", {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}):
        sys.stdout.write(f"Prefect: {api.removesuffix('/api')}\nMLflow:  {url}\nCtrl-C stops both.\n")
        sys.stdout.flush()
        stop = threading.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: stop.set())
        stop.wait()


if __name__ == "__main__":
    main()
