"""Prefect's and MLflow's own pages over this project, until interrupted: `python -m flows.ui`.

Ports 4200 and 5000, or those of PREFECT_SERVER_API_PORT and MLFLOW_PORT.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from askless.registry.versions import store
from flows.server import PORT, chosen_port, prefect_command, running, warn_of_plain

MLFLOW_PORT = 5000
LOOK_SECONDS = 1.0
OPEN = (
    "No password is asked: everybody who has an account on this machine can use them. Share them by a proxy that asks."
)


def mlflow_command(port: int) -> tuple[list[str], str, dict[str, str]]:
    """Command, health address and environment of an MLflow server, as `running` takes them."""
    kept = os.environ.get("MLFLOW_BACKEND_STORE_URI") or store()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--serve-artifacts"]
    # Not among the words of the command, which everybody on the machine can read: it may hold a password.
    environment = {"MLFLOW_BACKEND_STORE_URI": kept, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return command, f"http://127.0.0.1:{port}/health", environment


def main() -> None:
    """Start both servers, print where they are, stop them at Ctrl-C; exit 1 where one of them ends by itself."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    warn_of_plain("MLFLOW_TRACKING_URI", store())
    ports = chosen_port("PREFECT_SERVER_API_PORT", PORT), chosen_port("MLFLOW_PORT", MLFLOW_PORT)
    with (
        suppress(KeyboardInterrupt),
        running(*prefect_command(ports[0])) as prefect,
        running(*mlflow_command(ports[1])) as mlflow,
    ):
        pages = [f"http://127.0.0.1:{port}" for port in ports]
        sys.stdout.write(f"Prefect: {pages[0]}\nMLflow:  {pages[1]}\n{OPEN}\nCtrl-C stops both.\n")
        sys.stdout.flush()
        while prefect.poll() is None and mlflow.poll() is None:
            time.sleep(LOOK_SECONDS)
        ended = "MLflow" if prefect.poll() is None else "Prefect"
        raise SystemExit(f"The {ended} server ended by itself, so both are stopped. Nothing is lost: start them again.")


if __name__ == "__main__":
    main()
