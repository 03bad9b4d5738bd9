"""The routes: OpenAI's chat completions and models, health, and what Prometheus reads."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from askless import __version__
from askless.labelling.learning import Label
from askless.serving import messages
from askless.serving.access import Bodies, Keys
from askless.serving.feedback import Learner
from askless.serving.measures import FORMAT
from askless.serving.messages import ChatRequest, ErrorBody, FeedbackRequest, Refusal, ResponseBody
from askless.serving.service import Case, Reply, Service

DECISION_MS = "x-askless-decision-ms"
STATUSES = (400, 401, 403, 404, 408, 413, 415, 429, 500, 503)
EVENTS = "text/event-stream"
logger = logging.getLogger(__name__)


class Unspoken:
    """An application whose faults leave in the log where they were, never what they say, which may hold a text.

    Starlette raises a fault again once it is answered, and a server would log it whole.

    Parameters
    ----------
    app
        The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            logger.error("%s at %s:%s", type(error).__name__, Path(last.filename).name, last.lineno)


def build(service: Service, keys: Keys) -> FastAPI:
    """The ASGI application of a service that is started and closed by whoever made it."""
    app = FastAPI(title="askless", version=__version__, docs_url=None, redoc_url=None)
    created, bodies = int(time.time()), Bodies(service.limits.kilobytes * 1024)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _no_such_path)
    app.add_exception_handler(Exception, _fault)
    errors: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in STATUSES}

    def check(request: Request) -> None:
        keys.check_host(request)
        keys.check(request)

    @app.get("/healthz", responses={503: {"description": "It is ending."}})
    async def healthz() -> JSONResponse:
        """Whether it serves, and which version."""
        about = {"model": service.watch.model, "version": service.watch.current.version.deciding}
        status = "ending" if service.draining else "ok"
        return JSONResponse({"status": status, **about}, 503 if service.draining else 200)

    @app.get(
        "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **_some(errors, 401, 403)}
    )
    async def metrics(request: Request) -> Response:
        """What is counted and timed, in Prometheus's text format."""
        check(request)
        service.watch.tell()
        return Response(service.measures.page(), headers={"content-type": FORMAT})

    @app.get("/v1/models", responses=_some(errors, 401, 403))
    async def models(request: Request) -> JSONResponse:
        """The one model."""
        check(request)
        return JSONResponse(messages.models(service.watch.model, created))

    @app.get("/v1/models/{model}", responses=_some(errors, 401, 403, 404))
    async def model(request: Request, model: str) -> JSONResponse:
        """The model of that name."""
        check(request)
        if model != service.watch.model:
            raise Refusal(404, f"No such model. Served: {service.watch.model}.", "model_not_found", "model")
        return JSONResponse(messages.models(model, created)["data"][0])

    @app.post(
        "/v1/chat/completions",
        response_class=JSONResponse,
        responses={200: {"content": {"application/json": {}, EVENTS: {}}}, **errors},
        openapi_extra=_takes(ChatRequest),
    )
    async def complete(request: Request) -> Response:
        """The answer to the last user message: a label or a summary, by the expert that the model chooses."""
        check(request)
        start = time.perf_counter()
        case, chat, field = await _begun(service, request, bodies)
        assert case.task is not None
        case.task.add_done_callback(lambda _: service.measures.request.observe(time.perf_counter() - start))
        body = ResponseBody(service.watch.model)
        if chat.stream:
            await case.begun.wait()
            if case.task.done() and case.task.exception() is not None:
                await case.task
            usage = bool(chat.stream_options and chat.stream_options.include_usage)
            return StreamingResponse(_events(case, body, usage, field), media_type=EVENTS, headers=_headers(case))
        found = await _shielded(case)
        return JSONResponse(body.whole(_in(field, found.answer), found.usage, found.facts()), headers=_headers(case))

    _takes_feedback(app, service, bodies, check, errors)
    return app


def _takes_feedback(
    app: FastAPI,
    service: Service,
    bodies: Bodies,
    check: Callable[[Request], None],
    errors: dict[int | str, dict[str, Any]],
) -> None:
    """The route by which a model is told what was right."""

    @app.post(
        "/v1/feedback",
        responses=_some(errors, 400, 401, 403, 404, 408, 413, 415, 500),
        openapi_extra=_takes(FeedbackRequest),
    )
    async def feedback(request: Request) -> JSONResponse:
        """True labels of what was answered, for a model that learns from them."""
        check(request)
        return JSONResponse(await asyncio.to_thread(_learnt, service.learner, await bodies.read(request)))


def _learnt(learner: Learner | None, body: bytes) -> dict[str, Any]:
    """What became of the labels in a body; raises `Refusal` where none could be taken in."""
    if learner is None:
        raise Refusal(404, "This model does not learn. Allowed: one that `askless learn` made.", "does_not_learn")
    given = messages.read_feedback(body).labels
    told = learner.take([Label(each.id, each.text, each.label) for each in given])
    if len(told.refused) == len(given):
        raise Refusal(400, f"Nothing was learnt: {told.refused[0][1]}.", "refused", "labels")
    counts = {"new": told.new, "again": told.again, "corrected": told.corrected}
    return {"object": "feedback", **counts, "refused": [{"at": at, "why": why} for at, why in told.refused]}


async def _begun(service: Service, request: Request, bodies: Bodies) -> tuple[Case, ChatRequest, str | None]:
    """A request read, let in, and on its way; it holds its place until its answer is found."""
    body = await bodies.read(request)
    service.admit()
    try:
        chat = messages.read(body)
        field = chat.field(service.watch.current.version.terms.classes)
        case = service.begin(chat.model, chat.text(), chat.budget(), bool(chat.stream))
    except BaseException:
        service.release()
        raise
    assert case.task is not None
    case.task.add_done_callback(lambda _: service.release())
    return case, chat, field


async def _events(case: Case, body: ResponseBody, usage: bool, field: str | None) -> AsyncIterator[str]:
    """The answer in chunks, as they come, JSON in one; who goes away in between leaves an answer that is logged."""
    assert case.task is not None
    yield body.opening()
    sent = False
    while (piece := await case.pieces.get()) is not None:
        if field is None:
            sent = True
            yield body.piece(piece)
    try:
        reply = await _shielded(case)
    except Refusal as refusal:
        yield messages.broken(refusal)
        return
    if not sent or case.closed:
        yield body.piece(_in(field, reply.answer))
    yield body.closing(reply.usage if usage else None, reply.facts())


async def _shielded(case: Case) -> Reply:
    """The reply to a case, which goes on although whoever waits is gone."""
    assert case.task is not None
    return await asyncio.shield(case.task)


def _in(field: str | None, answer: str) -> str:
    """An answer in a field of a JSON object, where one is wanted."""
    return answer if field is None else json.dumps({field: answer}, ensure_ascii=False)


def _headers(case: Case) -> dict[str, str]:
    return {DECISION_MS: f"{1000 * case.decided:.3f}"}


def _takes(kind: type[BaseModel]) -> dict[str, Any]:
    """A body of JSON by a schema, whole."""
    found = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schema = dict(_inlined(found, found.pop("$defs", {})))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(value: Any, parts: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_inlined(each, parts) for each in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(parts[value["$ref"].rpartition("/")[2]], parts)
    return {key: _inlined(each, parts) for key, each in value.items()}


def _some(errors: dict[int | str, dict[str, Any]], *statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: errors[status] for status in statuses}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse(error.body, error.status, headers=error.headers)


async def _no_such_path(request: Request, error: Exception) -> Response:
    """404 and 405, in the form of all errors."""
    assert isinstance(error, HTTPException)
    return JSONResponse(Refusal(error.status_code, f"{error.detail}.").body, error.status_code, headers=error.headers)


async def _fault(request: Request, error: Exception) -> Response:
    """A fault of ours, which `Unspoken` writes into the log."""
    return JSONResponse(Refusal(500, "The server failed at this request.", "internal").body, 500)
