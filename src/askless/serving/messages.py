"""What goes over the wire: requests, completions, chunks and errors in the form of OpenAI's chat API."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError, model_validator

from askless.errors import BudgetError
from askless.policies.base import Budget

INVALID, UNKNOWN = "invalid_request_error", "not_found_error"
KINDS = {401: "authentication_error", 404: UNKNOWN, 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
M = TypeVar("M", bound=BaseModel)
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Refusal(Exception):
    """A request that gets an error.

    Parameters
    ----------
    status
        Of HTTP.
    message, code
        For a person, and for a program.
    param
        The field that is wrong.
    headers
        Of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.body: dict[str, dict[str, Any]] = {
            "error": {"message": message, "type": KINDS.get(status, INVALID), "code": code, "param": param},
        }

    def add(self, **more: Any) -> None:
        """Put more into the body."""
        self.body["error"].update(more)


class ErrorDetail(BaseModel):
    """An error."""

    message: str
    type: str
    code: str | None
    param: str | None


class ErrorBody(BaseModel):
    """The body of every answer of status 400 and above."""

    error: ErrorDetail


class Spending(BaseModel):
    """What this request may spend: one of the two."""

    model_config = ConfigDict(extra="forbid")
    share: (
        Annotated[float, Field(strict=True, ge=0, le=1, description="Of items like this one, the share deferred.")]
        | None
    ) = None
    per_1000: (
        Annotated[Number, Field(description="What 1,000 items like this one may cost, in the policy's unit.")] | None
    ) = None


# Of a message with the text to answer, as the page has it.
BY_USER: dict[str, Any] = {"properties": {"role": {"const": "user"}}, "required": ["role"]}


class Message(BaseModel):
    """One message; the content of the last of role `user` is the text, of the others it is not looked at."""

    role: StrictStr
    content: Any = Field(None, description="A string, or a list of parts {type: text, text: ...}.")


class StreamOptions(BaseModel):
    """How a stream ends."""

    include_usage: StrictBool | None = None


class ChatRequest(BaseModel):
    """A request as OpenAI's clients make it. Fields that are not named here are accepted and have no effect."""

    model: StrictStr
    messages: Annotated[list[Message], Field(min_length=1, json_schema_extra={"contains": BY_USER})]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(strict=True)] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: StrictBool | None = None
    modalities: list[Any] | None = None
    askless: Spending | None = None

    def budget(self) -> Budget | None:
        """What it may spend, None where it does not say; raises `Refusal` where it says two things."""
        given = self.askless
        if given is None or (given.share is None and given.per_1000 is None):
            return None
        try:
            return Budget(share=given.share, per_1000=given.per_1000)
        except BudgetError as error:
            raise Refusal(400, str(error), "invalid_budget", "askless") from None

    def field(self, classes: Sequence[str]) -> str | None:
        """The field of a JSON object that the answer is wanted in, None for plain text.

        Raises `Refusal` for a schema that is not met by an object with one text, of all of the `classes`.
        """
        form = self.response_format or {}
        if form.get("type", "text") == "text":
            return None
        if form["type"] == "json_object":
            return "answer"
        described = form.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        fields = schema.get("properties") if isinstance(schema, dict) else None
        if form["type"] == "json_schema" and isinstance(fields, dict) and len(fields) == 1:
            (name, about), *_ = fields.items()
            allowed = about.get("enum", classes) if isinstance(about, dict) else ()
            texts = isinstance(about, dict) and about.get("type", "string") == "string"
            if texts and isinstance(allowed, list | tuple) and all(each in allowed for each in classes):
                return str(name)
        able = "text, json_object, or json_schema of an object with one string"
        able += ", which may be any class" if classes else ""
        raise Refusal(400, f"No such 'response_format' here. Allowed: {able}.", "unsupported", "response_format")

    def text(self) -> str:
        """What is to be decided about; raises `Refusal` where there is none, or something else than text in it."""
        asked = [message for message in self.messages if message.role == "user"]
        if not asked:
            raise Refusal(400, "No message of role 'user'. Its content is the text to answer.", None, "messages")
        content = asked[-1].content
        if isinstance(content, str):
            return content
        if not isinstance(content, list) or not content:
            raise Refusal(400, "The content of the last user message must be text.", None, "messages")
        return "".join(map(_part, content))


class GivenLabel(BaseModel):
    """The true label of an item that was answered, which is named by the id in its answer or by its text."""

    model_config = ConfigDict(extra="forbid")
    id: StrictStr | None = None
    text: StrictStr | None = None
    label: StrictStr


class FeedbackRequest(BaseModel):
    """Labels: one, or a list of them in `labels`."""

    labels: Annotated[list[GivenLabel], Field(min_length=1, max_length=1000)]

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, body: Any) -> Any:
        return {"labels": [body]} if isinstance(body, dict) and "labels" not in body else body


def read(body: bytes) -> ChatRequest:
    """The request in a body; raises `Refusal` (400) that names the first field that is wrong, and quotes nothing."""
    chat = _validated(body, ChatRequest, f"in 'askless': {', '.join(Spending.model_fields)}", "askless")
    _check_meaning(chat)
    return chat


def read_feedback(body: bytes) -> FeedbackRequest:
    """The labels in a body; raises as `read` does."""
    return _validated(body, FeedbackRequest, f"in a label: {', '.join(GivenLabel.model_fields)}", "labels")


def _validated(body: bytes, kind: type[M], allowed: str, param: str) -> M:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(400, f"The body is not UTF-8 (byte {error.start}).", "invalid_utf8") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise Refusal(400, "The body is not JSON.", "invalid_json") from None
        if first["type"] == "extra_forbidden":
            raise Refusal(400, f"Unknown field. Allowed {allowed}.", "unknown_field", param) from None
        raise Refusal(400, f"{first['msg']}.", first["type"], _where(first["loc"])) from None


@dataclass
class ResponseBody:
    """What every body about one request has in common.

    Parameters
    ----------
    model
        Its name.
    id, created
        Of the completion, and when it was, in seconds since 1970.
    """

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, content: str, usage: Mapping[str, int], askless: Mapping[str, Any]) -> dict[str, Any]:
        """A completion."""
        message = {"role": "assistant", "content": content, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {**self._head("chat.completion"), "choices": [choice], "usage": dict(usage), "askless": dict(askless)}

    def opening(self) -> str:
        """The first chunk of a stream: who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, content: str) -> str:
        """A chunk with a piece of the answer."""
        return self._chunk({"content": content})

    def closing(self, usage: Mapping[str, int] | None, askless: Mapping[str, Any]) -> str:
        """The last chunks of a stream: `askless`, the usage where it was asked for, and the end."""
        last = self._chunk({}, "stop", askless=dict(askless))
        if usage is not None:
            facts = {"choices": [], "usage": dict(usage), "askless": dict(askless)}
            last += _event({**self._head("chat.completion.chunk"), **facts})
        return f"{last}data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": dict(delta), "finish_reason": finish, "logprobs": None}
        return _event({**self._head("chat.completion.chunk"), "choices": [choice], **more})


def broken(refusal: Refusal) -> str:
    """The end of a stream that cannot be gone on with, as an error that clients raise."""
    return f"{_event(refusal.body)}data: [DONE]\n\n"


def models(name: str, created: int) -> dict[str, Any]:
    """The list of the one model."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": created, "owned_by": "askless"}]}


def _event(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def _part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    message = "A part of the last user message is no text. Allowed: {type: text, text: ...}; no images, no sound."
    raise Refusal(400, message, "unsupported_content", "messages")


def _check_meaning(chat: ChatRequest) -> None:
    """Refuse what would change what an answer is."""
    unsupported = {
        "n": chat.n not in (None, 1),
        "tools": bool(chat.tools),
        "functions": bool(chat.functions),
        "logprobs": bool(chat.logprobs),
        "modalities": chat.modalities not in (None, ["text"]),
    }
    for name, wanted in unsupported.items():
        if wanted:
            raise Refusal(
                400, f"'{name}' is not supported: an answer is one label or one summary.", "unsupported", name
            )


def _where(place: Sequence[int | str]) -> str | None:
    """The field that is wrong, without names that the client made up."""
    kinds: list[type[BaseModel]] = [ChatRequest, Message, Spending, StreamOptions, FeedbackRequest, GivenLabel]
    fields = {name for kind in kinds for name in kind.model_fields}
    return ".".join(str(each) for each in place if isinstance(each, int) or each in fields) or None
