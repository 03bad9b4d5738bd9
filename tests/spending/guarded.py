"""An expensive expert behind a real server on this machine, or run here, within a limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from askless import schema
from askless.config import Price
from askless.costs import CostModel
from askless.experts import Setting
from askless.experts.remote.openai import OpenAiExpert
from askless.prompts import Prompt
from askless.spending.billing import FaultHandling
from askless.spending.breaker import Breaker
from askless.spending.guard import GuardedExpert
from askless.spending.ledger import Ledger

CLASSES = ("0", "1")
PROMPT = Prompt("Say {text}", {"0": "no", "1": "yes"})
TOKENS = Price(usd_per_1m_prompt_tokens=100.0, usd_per_1m_completion_tokens=1000.0)
OPENED: list[GuardedExpert] = []
ANSWERS = Price(usd_per_1k_answers=1.0)


def items(*texts: str) -> pa.Table:
    return schema.table(
        "examples", {"id": [f"i{n}" for n in range(len(texts))], "text": list(texts), "split": ["test"] * len(texts)}
    )


def hosted(
    folder: Path,
    url: str,
    limit: float | None = None,
    price: Price = ANSWERS,
    *,
    handling: FaultHandling | None = None,
    breaker: Breaker | None = None,
    ledger: Ledger | None = None,
    classes: tuple[str, ...] = CLASSES,
    **options: Any,
) -> GuardedExpert:
    """The expert `llm` at `url`: each answer costs a tenth of a cent, unless another price is given."""
    setting = Setting("llm", "olhs", classes, answers=folder)
    prompt = PROMPT if classes else Prompt("Sum up {text}")
    given = {"concurrency": 4, "timeout": 60.0, "max_retries": 1, **options}
    expert = OpenAiExpert(setting, model="m", base_url=url, prompt=prompt, **given)
    ledger = ledger or Ledger(folder / "ledger.sqlite", limit)
    made = GuardedExpert(expert, CostModel("usd", {"llm": price}), ledger, handling, breaker)
    OPENED.append(made)
    return made


def errors(table: pa.Table) -> list[str | None]:
    """What went wrong with each row."""
    return list(table["error"].to_pylist())


def close_all() -> None:
    """Let go of all clients and ledgers."""
    while OPENED:
        made = OPENED.pop()
        made.let_go()
        made.ledger.close()
