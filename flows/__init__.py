"""One Prefect flow for each DVC stage, run as `python -m flows.<stage>`."""

from __future__ import annotations

import os
import sys
from importlib import util
from pathlib import Path

# An experiment in a folder of its own (`dvc exp run --temp`) runs that folder's code, not what is installed.
if (_own := Path(__file__).parents[1] / "src").is_dir():
    sys.path.insert(0, str(_own))

from askless.errors import MissingExtra  # noqa: E402

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # By its own 7 it would be silent for four minutes before it says that its server does not answer.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Threads that spin while they wait make tiny models many times slower where cores are shared.
    "OMP_WAIT_POLICY": "PASSIVE",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # By these the server sees that a run's process is gone (`flows.deploy`).
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_HOME": str(Path(".prefect").absolute()),
}
if util.find_spec("prefect") is None:
    raise MissingExtra("prefect", "pipeline")
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)
