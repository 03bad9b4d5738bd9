"""What a server's refusal means, by its status and its words: try again, give up the item, or stop the run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from askless.data.problems import Problem
from askless.data.replies import said
from askless.experts.faults import NO_CONNECTION, Fault
from askless.experts.remote.retrying import retry_after
from askless.experts.remote.wire import TooLong

# What failed behind these may have been answered, and billed, all the same.
BILLED_ERRORS = (408, 500, 502, 504, 520, 522, 524)
LOST = "the connection broke before all of the reply had come"
_PASSING = (408, 409, 425, 429)
_BAD_GATEWAY = 502
_OF_TEXT = re.compile(
    r"content.?filter|was filtered|content.?(?:management.?)?polic|moderat|flagged|safety|responsible.?ai|"
    r"context.?length|context.?window|maximum.context|too.?long|(?:request|input|prompt).{0,30}too.?large|string_above_max"
)
_OF_ACCOUNT = re.compile(r"\b(?:account|api.?key|organi[sz]ation|ip address)\b")
_NO_MONEY = re.compile(
    r"insufficient.{0,12}(?:credit|balance|quota|fund)|balance is too low|out of credits|billing_hard_limit|"
    r"billing_not_active"
)
_NO_MODEL = re.compile(
    r"model.?not.?found|unknown.?model|invalid.?model|no such model|not a valid model|"
    r"model\b.{0,120}\b(?:does not exist|not found|not available|decommissioned|deprecated)"
)
_UNSUPPORTED = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not (?:allowed|permitted|available)|deprecated"
)
# The fields of a request without which a server may be asked as well.
OPTIONAL = ("max_tokens", "temperature", "top_p", "seed", "top_logprobs", "logprobs", "response_format")


def stated_fault(body: Any, secrets: Sequence[str], billed: Sequence[int] = BILLED_ERRORS) -> Fault:
    """What an error with status 200 means, by the status that it names itself."""
    found = Problem.of(body, secrets)
    status = int(found.code) if re.fullmatch(r"[45]\d\d", found.code) else None
    if status is None:
        status = 400 if _OF_TEXT.search(found.about) or _NO_MODEL.search(found.about) else _BAD_GATEWAY
    return of_status(status, found, None, billed, f"an error with status 200 ({found.words or status})")


def fault(
    error: Exception, secrets: Sequence[str] = (), sent: bool = True, billed: Sequence[int] = BILLED_ERRORS
) -> Fault:
    """What an exception of the openai client means, by what happened and not by its class.

    Parameters
    ----------
    error
        The exception; one with a `status_code` is a server's refusal, any other came before all of a reply had.
    secrets
        What is cut out of what the server said: the key, the item's text.
    sent
        Whether the request may have reached the server.
    billed
        Statuses after which it may have been billed.
    """
    status, response = getattr(error, "status_code", None), getattr(error, "response", None)
    if isinstance(status, int) and response is not None and 300 <= status < 400:
        # Not followed: the key would go to whom nobody named.
        place = said(response.headers.get("location", "").partition("?")[0], secrets)
        why = f"HTTP {status}: the server sends on to {place or 'another address'}, which base_url may name instead"
        return Fault("stop", why, status=status)
    if isinstance(status, int) and response is not None:
        return of_status(status, problem_of(error, secrets), retry_after(response.headers), billed)
    if not sent:
        return Fault("retry", NO_CONNECTION)
    long = next((each for each in (error, error.__cause__) if isinstance(each, TooLong)), None)
    if long is not None:
        return Fault("give up", str(long), sent=True)
    return Fault("retry", "timed out" if _is_timeout(error) else LOST, sent=True)


def problem_of(error: Exception, secrets: Sequence[str] = ()) -> Problem:
    """What the server said in an exception of the openai client."""
    found = Problem.of(getattr(error, "body", None), secrets)
    code = found.code or said(getattr(error, "code", None) or getattr(error, "type", None))
    return found._replace(code=code, about=f"{found.about} {code.casefold()}")


def of_status(
    status: int, found: Problem, wait: float | None = None, billed: Sequence[int] = BILLED_ERRORS, why: str = ""
) -> Fault:
    """What an error of this HTTP status means, `why` instead of the status where that is not what HTTP said."""
    words, about, called = found.words or found.code or "no reason given", found.about, why or f"HTTP {status}"
    refused = 400 <= status < 500
    of_text = status == 413 or (refused and _OF_TEXT.search(about) and not _OF_ACCOUNT.search(about))
    if refused and (end := _end(status, found)):
        return Fault("stop", f"{called}: {end.format(words)}", status=status)
    if of_text:
        return Fault("give up", f"{called}: {words}", sent=status in billed, status=status, of_text=True)
    if status == 403:
        return Fault("stop", f"{called}: the key was refused ({words})", status=status)
    if status in _PASSING or not refused:
        return Fault("retry", called, wait, status in billed, status)
    return Fault("give up", f"{called}: {words}", sent=status in billed, status=status)


def _end(status: int, found: Problem) -> str:
    """What ends the run, `{}` for the server's words; empty where that is only for this item, or passes."""
    if status == 401:
        return "the key was refused"
    if status == 429:
        used_up = found.code in ("insufficient_quota", "billing_hard_limit_reached") or _NO_MONEY.search(found.about)
        return "the account's quota is used up" if used_up else ""
    if status == 402 or _NO_MONEY.search(found.about):
        return "no credits are left ({})"
    if status == 404:
        return "no such model or no such path"
    return "no such model ({})" if status in (400, 422) and _NO_MODEL.search(found.about) else ""


def refused_field(found: Problem, request: Mapping[str, Any]) -> str | None:
    """The field of a request that a server does not take and that can be left out, None where there is none."""
    if not _UNSUPPORTED.search(found.about):
        return None
    named = [name for name in OPTIONAL if name == found.param or re.search(rf"\b{name}\b", found.about)]
    return next((name for name in named if name in request), None)


def _is_timeout(error: BaseException) -> bool:
    """Whether an exception, or what caused it, says that time was up."""
    causes = [each for each in (error, error.__cause__) if each is not None]
    return any("timeout" in kind.__name__.casefold() for each in causes for kind in type(each).__mro__)
