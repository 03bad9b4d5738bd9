"""Where shards are answered: by threads of this process, or by the workers of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ThreadPoolTaskRunner

from askless import id_key
from askless.config import Generate
from askless.errors import ConfigError, MissingExtra
from tasks.shards import Shards

OBJECT_STORE_BYTES = 256 << 20
CONNECT_SECONDS = 5
# Of the environment, what nodes elsewhere get too.
FORWARDED = ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "OMP_WAIT_POLICY", "PREFECT_API_URL", "TOKENIZERS_PARALLELISM")
# What Ray says of a task whose process or machine is gone; what a task itself raised is nothing of the kind.
LOST = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ObjectLostError", "LocalRayletDiedError")
Submit = Callable[[Any, dict[str, Any]], PrefectFuture[Any]]


@dataclass(frozen=True)
class Workers:
    """Whoever answers shards.

    Parameters
    ----------
    submit
        Gives them a task with its parameters; returns its future.
    at_once
        How many tasks run together.
    shards
        What they read and write.
    lost
        The errors that mean that a worker died.
    """

    submit: Submit
    at_once: int
    shards: Shards | ShardsOnRay
    lost: tuple[type[Exception], ...] = ()


@contextmanager
def workers(settings: Generate, by_threads: bool, *about: Any) -> Iterator[Workers]:
    """The workers that `settings` ask for, and `Shards(*about)` where they reach it; stopped when the block ends.

    Paths must be absolute: on Ray another process opens them. `by_threads` keeps to threads whatever the runner. Raises
    `ConfigError` for a cluster that cannot be reached or has not what a shard takes, `MissingExtra` where Ray is not
    installed.
    """
    if settings.runner == "ray" and not by_threads:
        with _ray_workers(settings, *about) as found:
            yield found
        return
    shards, at_once = Shards(*about), settings.workers or 1
    with _closing(shards), ThreadPoolTaskRunner(max_workers=at_once) as runner, _stopping(shards):
        yield Workers(runner.submit, at_once, shards)


@contextmanager
def _ray_workers(settings: Generate, *about: Any) -> Iterator[Workers]:
    try:
        import ray
        from prefect_ray import RayTaskRunner
        from prefect_ray.context import remote_options
    except ImportError as error:
        raise MissingExtra("prefect-ray", "ray") from error
    if PREFECT_API_URL.value() is None:
        raise ConfigError(
            "generate.runner is 'ray', whose workers are processes of their own, and there is no Prefect server for "
            "them. Allowed: one that they reach. Set PREFECT_API_URL, or put before the command: "
            "python -m flows.server"
        )
    with _cluster(ray, settings):
        at_once = _room(ray.cluster_resources(), settings)
        shards = ShardsOnRay(_actor(ray).remote(*about))
        # A worker that held a GPU would else end after one shard, and its model be loaded again for the next.
        takes = {"num_cpus": 1, "num_gpus": settings.gpus_per_task, "max_calls": 0, "max_retries": 0}
        with _closing(shards), RayTaskRunner() as runner, remote_options(**takes), _stopping(shards):
            yield Workers(runner.submit, at_once, shards, tuple(getattr(ray.exceptions, name) for name in LOST))


@contextmanager
def _stopping(shards: Shards) -> Iterator[None]:
    """Whatever ends the block: no worker begins another batch."""
    try:
        yield
    finally:
        shards.stop()


@contextmanager
def _closing(shards: Shards) -> Iterator[None]:
    try:
        yield
    finally:
        shards.close()


@contextmanager
def _cluster(ray: Any, settings: Generate) -> Iterator[None]:
    """A connection to the cluster at `address`, or a cluster of this machine's own; one that is there is used."""
    if ray.is_initialized():
        yield
        return
    about: dict[str, Any] = {"namespace": "askless", "log_to_driver": False, "logging_level": logging.ERROR}
    if settings.address is None:
        about |= {"address": "local", "num_cpus": settings.workers, "include_dashboard": False}
        about |= {"object_store_memory": OBJECT_STORE_BYTES}
        about |= {"runtime_env": {"env_vars": key}} if (key := id_key.forwarded()) else {}
    else:
        _check_address(settings.address)
        about |= {"address": settings.address, "runtime_env": _code()}
    try:
        ray.init(**about)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(settings.address or "local", str(error).splitlines()[0]) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise `ConfigError` unless somebody listens at host:port; Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()) or "://" in address:
        raise _unreachable(address, "that is no host:port")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, why: str) -> ConfigError:
    return ConfigError(
        f"generate.address: no Ray cluster at '{address}' ({why}). Allowed: host:port as `ray start --head` prints it, "
        "auto for the cluster that this machine is in, or null for one on this machine alone. Start it, join it with "
        "`ray start --address=host:port`, set RAY_AUTH_MODE=token if it wants its token, or correct the address; kept "
        "answers are not asked again."
    )


def _code() -> dict[str, Any]:
    """What nodes elsewhere are sent: this project's code, that of the flow they work for too, and its environment."""
    import askless

    here = Path(__file__).parent
    packages = [Path(askless.__file__).parent, here, here.with_name("flows")]
    return {
        "py_modules": list(map(str, packages)),
        "env_vars": {n: os.environ[n] for n in FORWARDED if n in os.environ} | id_key.forwarded(),
    }


def _room(has: Mapping[str, float], settings: Generate) -> int:
    """How many shards the cluster answers at once; raises `ConfigError` where it is none."""
    cpus, gpus, takes = has.get("CPU", 0), has.get("GPU", 0), settings.gpus_per_task
    if takes > gpus:
        raise ConfigError(
            f"generate.gpus_per_task is {takes:g} and the Ray cluster at '{settings.address or 'local'}' has "
            f"{gpus:g} GPUs. Allowed: up to {gpus:g}. Set gpus_per_task: 0 for models on CPUs, or add GPUs."
        )
    most = min(cpus, gpus // takes) if takes else cpus
    if most < 1:
        raise ConfigError(
            f"generate.runner is 'ray' and the cluster at '{settings.address or 'local'}' has {cpus:g} CPUs. "
            "Allowed: one for each shard at work. Add machines with CPUs."
        )
    return int(min(most, settings.workers or most))


def _actor(ray: Any) -> Any:
    """`Shards` as an actor on this machine, whose disk has the files; one that dies is started again."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(Shards)


class ShardsOnRay:
    """`Shards` on the machine that runs the stage, for workers anywhere: the same calls, through Ray."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.run = uuid.uuid4().hex

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name == "actor":
            raise AttributeError(name)
        import ray

        method = getattr(self.actor, name)

        def call(*arguments: Any) -> Any:
            try:
                return ray.get(method.remote(*arguments))
            except ray.exceptions.RayTaskError as error:
                # As it was raised there, without what Ray writes around it.
                raise error.cause from None

        return call
