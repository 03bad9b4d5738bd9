"""A judge of summaries is paid as any other expert: within generate.max_usd and what its key may pay."""

from contextlib import closing
from dataclasses import replace

import pytest

from askless.config import Price
from askless.errors import BudgetError
from askless.spending.judging import quality_of
from askless.spending.key_limits import KeyLimits, kept_in, key_limit
from askless.spending.ledger import Ledger
from tests.evaluation.test_summary_quality import params
from tests.experts.chat_server import Answer, chat

ANSWER = Price(usd_per_1k_answers=1.0)


@pytest.mark.parametrize("limited", ["max_usd", "key"])
def test_a_judge_is_paid_within_the_limits_of_any_call(limited, tmp_path, server, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    server.reply = lambda request, before: Answer(chat("3"))
    settings = params("judge", backend="openai", model="m", base_url=server.url, concurrency=1)
    settings = replace(settings, costs=replace(settings.costs, prices={"marker": ANSWER}))
    texts = ["a", "b", "c", "d"], ["r"] * 4, ["d"] * 4

    def marks(usd):
        of = usd if limited == "max_usd" else None
        with closing(KeyLimits(kept_in())) as limits:
            limits.set("OPENAI_API_KEY", None, usd if limited == "key" else 100)
        given = replace(settings, generate=replace(settings.generate, max_usd=of))
        return quality_of("news", given, tmp_path, tmp_path / "answers")(*texts).tolist()

    with pytest.raises(BudgetError, match=r"marker: 1 of 4 items were not asked about \(limit: the .*limit of \$0.003"):
        marks(0.003)
    assert len(server.requests) == 3
    assert marks(1.0) == [0.5] * 4 and len(server.requests) == 4, "what was paid is not asked again"
    assert key_limit("OPENAI_API_KEY").paid == pytest.approx(0.004)
    with Ledger(tmp_path / "answers" / "marker.ledger.sqlite") as ledger:
        assert ledger.spent == pytest.approx(0.004)
