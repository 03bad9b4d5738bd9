"""Requests made from the server's own OpenAPI page, right ones and wrong ones: never a 5xx, always as it is written."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from askless.serving.access import Keys
from askless.serving.app import build
from tests.production_data import production
from tests.serving.house import service

CHECKED = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
GETS = ("GET /healthz", "GET /metrics", "GET /v1/models", "GET /v1/models/{model}")
PATHS = (*GETS, "POST /v1/feedback", "POST /v1/chat/completions")

# There is no wrong way to ask for what has no parameters, nor a wrong name.
CASES = [*((path, GenerationMode.POSITIVE) for path in PATHS), (PATHS[-1], GenerationMode.NEGATIVE)]


@pytest.fixture(scope="module")
def page(kept_llm, empty_store, tmp_path_factory):
    """The page of an application without a socket, which it is asked by."""
    folder = tmp_path_factory.mktemp("fuzz")
    with production(folder, empty_store, kept_llm.url), service(folder) as made:
        made.start()
        yield schemathesis.openapi.from_asgi("/openapi.json", build(made, Keys(())))
        made.close()


def test_every_path_is_on_the_page(page):
    found = [result.ok() for result in page.get_all_operations()]
    assert sorted(f"{one.method.upper()} {one.path}" for one in found) == sorted(PATHS)


@pytest.mark.parametrize(("path", "mode"), CASES)
def test_the_page_holds(page, path, mode):
    method, where = path.split()

    @settings(max_examples=40 if method == "POST" else 5, suppress_health_check=list(HealthCheck))
    @given(page[where][method].as_strategy(mode))
    def holds(case):
        case.headers = {**(case.headers or {}), "host": "localhost"}
        reply = case.call()
        case.validate_response(reply, checks=CHECKED)
        assert "Traceback" not in reply.text
        if reply.status_code >= 400 and where != "/healthz":
            assert set(reply.json()["error"]) >= {"message", "type", "code", "param"}

    holds()


def test_right_requests_of_the_page_are_answered(page):
    """The strategy does reach answers: with the one model's name every text that is one gets its answer."""
    answered = []

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(page["/v1/chat/completions"]["POST"].as_strategy())
    def asks(case):
        if not isinstance(case.body, dict):
            return
        case.body["model"] = "askless-olhs"
        case.body["messages"] = [*case.body.get("messages", []), {"role": "user", "content": "A text."}]
        case.headers = {"host": "localhost"}
        reply = case.call()
        case.validate_response(reply, checks=CHECKED)
        answered.append(reply.status_code)

    asks()
    assert answered.count(200) > 3, answered
