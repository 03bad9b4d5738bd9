"""Where MLflow keeps the runs and traces of a task: a store, made where this machine has none, and an experiment."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from askless.registry.versions import FOLDER, check_database, store


def experiment(name: str) -> str:
    """The id of an experiment, which is made where it is not there; from now on MLflow uses our store."""
    import mlflow  # noqa: TID251
    from mlflow.exceptions import MlflowException  # noqa: TID251

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    address = make_store()
    mlflow.set_tracking_uri(address)
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # A server keeps artifacts where it is told to; a database of our own says where, beside itself.
    local = address.endswith(str((FOLDER / "mlflow.db").absolute()))
    where = (FOLDER / "artifacts" / name).absolute().as_uri() if local else None
    try:
        return str(mlflow.create_experiment(name, artifact_location=where))
    except MlflowException:
        # Another process or thread may have made it meanwhile.
        if (made := mlflow.get_experiment_by_name(name)) is None:
            raise
        return str(made.experiment_id)


def make_store() -> str:
    """Where runs and models are kept, MLflow's database of this machine made where it is not there.

    It is made beside its place and linked there: half of one would be of no use.
    """
    address = store()
    check_database(address)
    import mlflow  # noqa: TID251

    path = Path(address.removeprefix("sqlite:///"))
    if not address.startswith("sqlite:///") or path.exists():
        return address
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        mlflow.MlflowClient(f"sqlite:///{scratch}/{path.name}").search_experiments(max_results=1)
        # Another run may have made it meanwhile.
        with contextlib.suppress(FileExistsError):
            os.link(Path(scratch, path.name), path)
    return address
