"""`askless serve` as a process: it starts, says where it is, ends well, and refuses what cannot be meant."""

import os
import signal
import socket
import threading

import httpx
import openai
import pytest
from typer.testing import CliRunner

from askless.cli import app
from askless.errors import AsklessError
from askless.files import locked
from askless.monitoring.decision_log import DecisionLog
from tests.production_data import chat_server, production
from tests.registry_data import LLM, MODEL
from tests.serving.house import CHAMPION, LONG, SHORT, WAIT_S, Process, ask, until


@pytest.fixture(scope="module")
def project(empty_store, tmp_path_factory):
    """A folder with a champion, which is the working directory, and an LLM."""
    with chat_server() as llm, production(tmp_path_factory.mktemp("serve"), empty_store, llm.url) as made:
        yield made


def test_a_term_under_load_loses_no_request_that_was_taken_in(project):
    server = Process(CHAMPION, "--log", "log-term", "--grace", "20", ASKLESS_SERVE_KEY="k1,k2")
    answered, failed, ended = [], [], threading.Event()

    def asks(n):
        with openai.OpenAI(api_key="k2", base_url=server.url, max_retries=0, timeout=WAIT_S) as client:
            for i in range(10_000):
                try:
                    answered.append(ask(client, f"{LONG} {n} {i}").model_extra["askless"]["expert"])
                except (openai.APIConnectionError, openai.InternalServerError) as error:
                    failed.append(error)
                    return

    threads = [threading.Thread(target=asks, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(answered) >= 40)
    assert server.end() == 0, server.said
    ended.set()
    for thread in threads:
        thread.join()
    assert "Stopped. The log is written." in server.said[-1] and "Traceback" not in server.said[-1]
    rows = DecisionLog("log-term").read()
    assert rows.num_rows == len(answered) and set(answered) == {LLM}
    assert all(isinstance(error, openai.APIConnectionError) or error.status_code == 503 for error in failed)


@pytest.mark.slow
def test_an_interrupt_ends_it_and_nothing_of_a_text_or_a_key_is_said(project):
    server = Process(CHAMPION, "--log", "log-int", "--max-usd-per-day", "1", ASKLESS_SERVE_KEY="top-secret-key")
    with openai.OpenAI(api_key="top-secret-key", base_url=server.url) as client:
        assert ask(client, SHORT).choices[0].message.content == "0"
        for body in (b"{", b"\xff", b"[" * 400_000):
            httpx.post(f"{server.url}/chat/completions", content=body, headers={"authorization": "Bearer wrong"})
    assert server.end(signal.SIGINT) == 0
    said = "".join(server.said)
    assert "top-secret-key" not in said and SHORT not in said and "Traceback" not in said
    assert said.startswith(f"Serving {MODEL['olhs']} (version 1) at http://127.0.0.1:")


@pytest.mark.slow
def test_a_kill_loses_rows_of_the_log_and_nothing_that_was_paid(project):
    server = Process(CHAMPION, "--log", "log-kill", "--answers", "answers-kill")
    with openai.OpenAI(api_key="none", base_url=server.url) as client:
        told = ask(client, f"{LONG} killed").model_extra["askless"]
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    assert DecisionLog("log-kill").parts() == []
    again = Process(CHAMPION, "--log", "log-kill", "--answers", "answers-kill")
    with openai.OpenAI(api_key="none", base_url=again.url) as client:
        after = ask(client, f"{LONG} killed").model_extra["askless"]
    assert again.end() == 0
    assert (told["expert"], told["cost_usd"]) == (LLM, 0.001)
    assert (after["expert"], after["cost_usd"]) == (LLM, 0.0)


def refused(*arguments):
    """What `serve` says instead of serving."""
    error = CliRunner().invoke(app, ["serve", *arguments]).exception
    assert isinstance(error, AsklessError), error
    return str(error)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_who_lets_other_machines_ask_is_told_that_nothing_is_encrypted(project, monkeypatch, host, warned):
    monkeypatch.setenv("ASKLESS_SERVE_KEY", "k")
    monkeypatch.setattr("askless.serving.server.serve", lambda *given: True)
    monkeypatch.setattr("askless.commands.serve._tune", lambda: None)
    done = CliRunner().invoke(app, ["serve", CHAMPION, "--host", host, "--port", "0", "--log", f"log-{host}"])
    assert done.exit_code == 0, done.exception
    assert (f"Warning: --host {host} lets other machines ask without encryption" in done.stderr) == warned


def test_what_cannot_be_served_is_one_paragraph(project, monkeypatch, tmp_path):
    monkeypatch.delenv("ASKLESS_SERVE_KEY", raising=False)
    assert "--host 0.0.0.0 lets other machines ask, and ASKLESS_SERVE_KEY is not set." in refused(
        CHAMPION, "--host", "0.0.0.0"
    )
    assert "no such version" in refused("models:/askless-olhs/99")
    assert "Unknown registered model 'askless-nothing'" in refused("models:/askless-nothing@champion")
    assert "no bundle.json" in refused(str(tmp_path))
    assert "A spend limit of 0 dollars. Allowed: above 0" in refused(CHAMPION, "--max-usd-per-day", "0", "--port", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused(CHAMPION, "--port", str(taken.getsockname()[1]))
        assert "Address already in use. Allowed: an address of this machine and a free port." in said
    os.makedirs("log-held", exist_ok=True)
    with locked(project.folder / "log-held/.serve.sqlite.lock"):
        said = refused(CHAMPION, "--log", "log-held", "--port", "0")
    assert "log-held/serve.sqlite: another server writes down its calls there." in said
