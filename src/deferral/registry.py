"""A `models:/name@alias` address into a local bundle folder."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path("mlruns")
BUNDLE = Path("artifacts/bundle")


def store() -> str:
    """Where runs and models are kept: what MLFLOW_TRACKING_URI says, else `mlruns/` of the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(FOLDER / 'mlflow.db').absolute()}"


def resolve(address: str) -> Path:
    """The bundle folder that `address` names: a `models:/` address of the registry, or a folder as it is.

    Raises `DataError` where the registry has no such model.
    """
    if not address.startswith("models:/"):
        return Path(address)
    import mlflow  # noqa: TID251  the one exception: reading an address, never writing

    from deferral.errors import DataError

    mlflow.set_tracking_uri(store())
    try:
        folder = mlflow.artifacts.download_artifacts(artifact_uri=address)
    except mlflow.exceptions.MlflowException as error:
        raise DataError(
            address, str(error).splitlines()[0], "models:/<name>@<alias> or models:/<name>/<version>", "Register it."
        ) from error
    return Path(folder) / BUNDLE
