"""A reply of a server in pieces as they come, kept and paid for like any other."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any

from askless.experts.answer_store import Row, without_reply
from askless.experts.faults import REPEATED, Fault
from askless.experts.paid import failed
from askless.experts.remote.openai import OpenAiExpert
from askless.experts.remote.retrying import Failed, persist


def stream(expert: OpenAiExpert, text: str) -> Generator[str, None, Row]:
    """Yield the reply to `text` in pieces and return its row; what was kept comes in one piece.

    A row that says `failed` is not kept: no piece, or not all of them, came.
    """
    expert.validate()
    key, billing = expert.key(text), expert.billing

    def halted() -> bool:
        return billing is not None and bool(billing.halted)

    with expert.store() as store, store.turn(key, halted) as kept:
        if kept is not None:
            yield kept["text"] or ""
            return kept
        row = yield from _pieces(expert, key, text)
        if "failed" not in row:
            answered = expert.on_answer(key, row)
            if "failed" not in answered and store.put_many({key: answered}):
                return failed(REPEATED)
            return without_reply(answered)
    return row


def _pieces(expert: OpenAiExpert, key: str, text: str) -> Generator[str, None, Row]:
    start, stop = time.perf_counter(), threading.Event()
    tokens, tries, on_fault = expert.about(text), expert.max_retries + 1, partial(expert.on_fault, key)
    with expert.client() as client:

        def call() -> Any:
            return expert.call(client, stop, key, text, stream=True, stream_options={"include_usage": True})

        opened = persist(call, expert.pace, stop, tries, on_fault, tokens)
        if isinstance(opened, Fault):
            return _failed(opened, start)
        try:
            with opened:
                whole = yield from _read(opened)
            row = expert.read(whole, key, time.perf_counter() - start, text)
        except Failed as broken:
            return _failed(on_fault(replace(broken.found, then="give up")), start)
        except GeneratorExit:
            on_fault(Fault("give up", "whoever read the reply went away", sent=True))
            raise
        except Exception as error:
            why = f"it broke off ({expert.fault(error, text).why})"
            return _failed(on_fault(Fault("give up", why, sent=True)), start)
        if (used := row["prompt_tokens"]) is not None:
            expert.pace.settle(tokens, used + (row["completion_tokens"] or 0))
        if wrong := expert.another(whole):
            return _failed(on_fault(Fault("give up", wrong, sent=True)), start)
    return row


def _read(chunks: Any) -> Generator[str, None, dict[str, Any]]:
    from openai.lib.streaming.chat import ChatCompletionStreamState

    whole = ChatCompletionStreamState()
    for chunk in chunks:
        whole.handle_chunk(chunk)
        if chunk.choices and (piece := chunk.choices[0].delta.content):
            yield piece
    reply = whole.get_final_completion()
    if reply.choices[0].finish_reason is None:
        raise EOFError("the reply does not say that it has ended")
    return dict(reply.model_dump(warnings=False))


def _failed(found: Fault, start: float) -> Row:
    return failed(found.why, time.perf_counter() - start)
