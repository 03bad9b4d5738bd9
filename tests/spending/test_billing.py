"""Many runs with prices, sizes, faults and kills drawn at random: what the provider bills never passes the limit."""

import json
import random
import threading
from types import SimpleNamespace

import httpx2
import openai
import pytest

from askless.config import Price
from askless.costs import CostModel
from askless.errors import AsklessError
from askless.experts import Setting
from askless.experts.remote import retrying
from askless.experts.remote.openai import OpenAiExpert
from askless.spending.billing import FaultHandling
from askless.spending.breaker import Breaker
from askless.spending.guard import GuardedExpert
from askless.spending.ledger import Ledger
from tests.spending.guarded import CLASSES, PROMPT, items

LIES = (
    {"prompt_tokens": None, "completion_tokens": None},
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": -5, "completion_tokens": -1},
    {"prompt_tokens": 2**31, "completion_tokens": 2**31},
    {"prompt_tokens": float("nan"), "completion_tokens": "many"},
    {"cost": 0},
    {"cost": -1.0},
    {"cost": float("nan")},
)
REQUEST = httpx2.Request("POST", "http://127.0.0.1/")


class Killed(BaseException):
    """The process ends here: nothing after this is written down."""


class Provider:
    """What a provider does with calls, and what it puts on the bill, whether or not we hear of it."""

    def __init__(self, rng: random.Random, price: Price) -> None:
        self.rng, self.price, self.billed, self.asked = rng, price, 0.0, []
        self.faults = rng.choice([0.0, 0.1, 0.5])
        self.duplicates = rng.choice([0.0, 0.0, 0.1])
        self.lies = rng.choice([None, None, *LIES])
        self.given, self.sent, self.delivered = 0, {}, []

    def complete(self, messages, max_tokens, extra_headers, **_):
        self.asked.append(extra_headers["Idempotency-Key"])
        size = sum(len(turn["content"].encode()) for turn in messages)
        prompt, written = self.rng.randint(1, size + 50), self.rng.randint(0, max_tokens)
        kind = self.rng.choice(["timeout", "dropped", "rubbish", "500", "429", "400", "refused", "504", "520"])
        if self.rng.random() < self.faults:
            return self._fault(kind, prompt, written)
        self._bill(prompt, written)
        self.given += 1
        content = "yes" if "1" in messages[-1]["content"].split()[1] else "no"
        usage = {"prompt_tokens": prompt, "completion_tokens": written, **(self.lies or {})}
        choice = {"message": {"content": content}, "finish_reason": "stop"}
        reply = {"id": f"chatcmpl-{self.given:032x}", "choices": [choice], "usage": usage, "model": "m"}
        # What has come once may come again, to anybody, after a restart too.
        if self.rng.random() < self.duplicates and self.delivered:
            reply = self.rng.choice(self.delivered)
        return SimpleNamespace(content=json.dumps(reply).encode(), reply=reply)

    def deliver(self, answer):
        """The reply has come, and when this thread asks again it has been read."""
        if reply := self.sent.pop(threading.get_ident(), None):
            self.delivered.append(reply)
        if hasattr(answer, "reply"):
            self.sent[threading.get_ident()] = answer.reply
        return answer

    def restarted(self):
        self.delivered += self.sent.values()
        self.sent.clear()

    def _bill(self, prompt, written):
        price = self.price
        tokens = prompt * price.usd_per_1m_prompt_tokens + written * price.usd_per_1m_completion_tokens
        self.billed += tokens / 1e6 + price.usd_per_1k_answers / 1e3

    def _fault(self, kind, prompt, written):
        if kind in ("429", "400"):
            response = httpx2.Response(int(kind), request=REQUEST)
            raise openai.APIStatusError("no", response=response, body=None)
        if kind == "refused":
            self.wire._on_step("connection.connect_tcp.started", None)
            raise openai.APIConnectionError(request=REQUEST) from httpx2.ConnectError("refused")
        if self.rng.random() < 0.7:
            self._bill(prompt, written)
        if kind.isdigit():
            raise openai.APIStatusError("late", response=httpx2.Response(int(kind), request=REQUEST), body=None)
        if kind == "rubbish":
            return SimpleNamespace(content=self.rng.choice([b"{}", b"<html>", b'{"choices": [{', b"[NaN]"]))
        error = (
            openai.APITimeoutError(request=REQUEST) if kind == "timeout" else openai.APIConnectionError(request=REQUEST)
        )
        raise error from httpx2.ReadError("gone")


class Client:
    def __init__(self, provider, rng, kill):
        raw = SimpleNamespace(create=self._create)
        self.chat = SimpleNamespace(completions=SimpleNamespace(with_raw_response=raw))
        self._provider, self._rng, self._kill = provider, rng, kill

    def _create(self, **request):
        before, after = (self._rng.random() < self._kill for _ in range(2))
        if before:
            raise Killed
        reply = self._provider.complete(**request)
        if after:
            raise Killed
        return self._provider.deliver(reply)

    def close(self):
        pass


def one_run(seed, folder):
    """A run that is killed and gone on with; returns its limit, its provider and the last tables."""
    rng = random.Random(seed)
    price = Price(
        usd_per_1m_prompt_tokens=rng.choice([0.0, 0.15, rng.uniform(0, 1000)]),
        usd_per_1m_completion_tokens=rng.choice([0.0, 0.6, rng.uniform(0, 5000)]),
        usd_per_1k_answers=rng.choice([0.0, rng.uniform(0, 50)]),
    )
    texts = [f"{n} " + "ä" * rng.randint(0, 60) for n in range(rng.randint(1, 30))]
    chunk, provider = rng.randint(1, 30), Provider(rng, price)
    kill = rng.choice([0.0, 0.0, 0.05])
    limit = rng.uniform(1e-6, 2.0) * max(1e-6, len(texts) * 300 * price.usd_per_1m_prompt_tokens / 1e6 + 0.01)
    handling = FaultHandling(waits=rng.random() < 0.2, patience=0.0)
    for _ in range(6):
        setting = Setting("llm", "olhs", CLASSES, answers=folder)
        expert = OpenAiExpert(
            setting,
            model="m",
            base_url="http://127.0.0.1/",
            prompt=PROMPT,
            concurrency=rng.randint(1, 3),
            max_retries=rng.randint(0, 2),
        )
        provider.wire = expert.wire
        provider.restarted()
        expert._lasting = Client(provider, rng, kill)
        with Ledger(folder / "ledger.sqlite", limit) as ledger:
            llm = GuardedExpert(expert, CostModel("usd", {"llm": price}), ledger, handling, Breaker(3, 1e-3, 2e-3))
            tables = []
            try:
                for part, at in enumerate(range(0, len(texts), chunk)):
                    llm.part = part
                    tables.append(llm.answer(items(*texts[at : at + chunk])))
            except (Killed, AsklessError):
                continue
        break
    return limit, provider, tables, texts, chunk


@pytest.mark.parametrize("block", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
def test_the_bill_never_passes_the_limit_in_a_thousand_random_runs(tmp_path, monkeypatch, block):
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 1e-4)
    calls = refused = 0
    for seed in range(100 * block, 100 * block + 100):
        folder = tmp_path / str(seed)
        limit, provider, tables, texts, chunk = one_run(seed, folder)
        assert provider.billed <= limit, seed
        calls += len(provider.asked)
        for part, table in enumerate(tables):
            for row in filter(lambda row: row["label"] is not None, table.to_pylist()):
                assert row["label"] == str(int("1" in texts[part * chunk + int(row["id"][1:])].split()[0])), seed
        refused += sum("the spend limit" in (e or "") for t in tables for e in t["error"].to_pylist())
    assert calls > 100 and refused > 100, "the runs do spend, and do come to their limits"
