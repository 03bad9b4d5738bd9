"""A Prefect server that lives as long as a command."""

import os
import socket
import subprocess
import sys
import urllib.request

import pytest

from flows import server


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def no_server_given(monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.mark.slow
def test_a_command_finds_a_server_and_nothing_is_left_of_it(tmp_path, monkeypatch, no_server_given):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    started = []

    class Popen(subprocess.Popen):
        """The real one, remembered."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    code = (
        "import os, sys, urllib.request as u; url = os.environ['PREFECT_API_URL'];"
        "open(sys.argv[1], 'w').write(url + ' ' + u.urlopen(url + '/health').read().decode()); sys.exit(7)"
    )
    assert server.main([sys.executable, "-c", code, str(tmp_path / "said")]) == 7
    url, health = (tmp_path / "said").read_text().split()
    assert health == "true"
    serving = started[0]
    assert serving.returncode is not None
    assert not alive(serving.pid)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{url}/health", timeout=2)
    assert "PREFECT_API_URL" not in os.environ


def test_a_server_that_is_given_is_used_and_none_started(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr(subprocess, "Popen", None)
    with server.prefect_server() as url:
        assert url == "http://127.0.0.1:9/api"


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://prefect.example:4200/api", True),
        ("http://user:secret@10.0.0.7/api", True),
        ("https://prefect.example/api", False),
        ("http://localhost:4200/api", False),
        ("sqlite:////tmp/mlflow.db", False),
    ],
)
def test_a_server_of_another_machine_without_encryption_is_warned_of(monkeypatch, capsys, url, warned):
    monkeypatch.setenv("PREFECT_API_URL", url)
    with server.prefect_server():
        said = capsys.readouterr().err
    assert ("Warning: PREFECT_API_URL is http://" in said) == warned and "secret" not in said


def test_no_page_of_another_site_may_ask_the_server():
    from prefect.settings import PREFECT_SERVER_CORS_ALLOWED_ORIGINS as ALLOWED
    from prefect.settings import temporary_settings

    _, _, environment = server.prefect_command(4321)
    with temporary_settings({ALLOWED: environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]}):
        assert ALLOWED.value().split(",") == ["http://127.0.0.1:4321", "http://localhost:4321"]


def test_a_server_that_ends_at_once_is_an_error_that_says_so():
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(SystemExit, match="ended with code 3"), server.running(command, "http://127.0.0.1:9/", {}):
        raise AssertionError("entered without a server")


def test_a_server_that_never_answers_is_stopped(monkeypatch, tmp_path):
    monkeypatch.setattr(server, "START_SECONDS", 0.5)
    mark = tmp_path / "pid"
    code = "import os, sys, threading; open(sys.argv[1], 'w').write(str(os.getpid())); threading.Event().wait()"
    with (
        pytest.raises(SystemExit, match=r"did not answer within 0\.5 s"),
        server.running([sys.executable, "-c", code, str(mark)], "http://127.0.0.1:9/", {}),
    ):
        raise AssertionError("entered without a server")
    # It may have been stopped before it wrote its number.
    number = mark.read_text() if mark.exists() else ""
    assert not number or not alive(int(number))


def test_a_free_port_can_be_listened_on():
    port = server.free_port()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
