"""Who answers shards, and what cannot be had is one clear paragraph."""

import socket
import sys

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from askless.config import Generate
from askless.errors import ConfigError, MissingExtra
from tasks.runners import _room, workers

ABOUT = ("shards", "answers/demo-xs.sqlite", "demo-xs", {})


@pytest.fixture
def a_server_is_there():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4200/api"}):
        yield


def said(**how):
    with pytest.raises((ConfigError, MissingExtra)) as error, workers(Generate(runner="ray", **how), False, *ABOUT):
        pass
    return str(error.value)


@pytest.mark.parametrize(
    ("how", "kept_to_threads", "at_once"),
    [({}, False, 1), ({"workers": 3}, False, 3), ({"runner": "ray", "workers": 2}, True, 2)],
)
def test_threads_of_this_process(tmp_path, how, kept_to_threads, at_once):
    about = (str(tmp_path / "shards"), str(tmp_path / "a.sqlite"), "demo-xs", {})
    with workers(Generate(**how), kept_to_threads, *about) as found:
        assert found.at_once == at_once
        assert found.lost == ()
    assert not (tmp_path / "a.sqlite").exists(), "nothing was asked"


def test_an_address_where_nobody_listens(a_server_is_there):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        assert said(address=address) == (
            f"generate.address: no Ray cluster at '{address}' ([Errno 111] Connection refused). Allowed: host:port as "
            "`ray start --head` prints it, auto for the cluster that this machine is in, or null for one on this "
            "machine alone. Start it, join it with `ray start --address=host:port`, set RAY_AUTH_MODE=token if it "
            "wants its token, or correct the address; kept answers are not asked again."
        )


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "head:port", "1.2.3.4:99999999"])
def test_what_is_no_address(a_server_is_there, address):
    assert said(address=address).startswith(f"generate.address: no Ray cluster at '{address}' (")


def test_without_ray_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert said() == "'prefect-ray' is not installed. Run: pip install 'askless[ray]'"


def test_without_a_server_of_prefect():
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert said() == (
            "generate.runner is 'ray', whose workers are processes of their own, and there is no Prefect server for "
            "them. Allowed: one that they reach. Set PREFECT_API_URL, or put before the command: python -m flows.server"
        )


@pytest.mark.parametrize(
    ("how", "at_once"),
    [({}, 8), ({"workers": 3}, 3), ({"gpus_per_task": 1}, 2), ({"gpus_per_task": 0.5}, 4), ({"gpus_per_task": 2}, 1)],
)
def test_as_many_at_once_as_the_cluster_has_room_for(how, at_once):
    assert _room({"CPU": 8.0, "GPU": 2.0}, Generate(runner="ray", **how)) == at_once


def test_a_gpu_where_there_is_none():
    with pytest.raises(ConfigError) as error:
        _room({"CPU": 2.0}, Generate(runner="ray", gpus_per_task=1))
    assert str(error.value) == (
        "generate.gpus_per_task is 1 and the Ray cluster at 'local' has 0 GPUs. Allowed: up to 0. "
        "Set gpus_per_task: 0 for models on CPUs, or add GPUs."
    )


def test_a_cluster_without_a_cpu():
    with pytest.raises(ConfigError, match="the cluster at 'head:1' has 0 CPUs. Allowed: one for each shard at work"):
        _room({}, Generate(runner="ray", address="head:1"))
