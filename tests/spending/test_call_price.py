"""What a call can cost is known before it is made, or it is refused under a limit."""

import pytest

from askless.config import Price
from askless.costs import CostModel
from askless.errors import ConfigError
from askless.spending.guard import GuardedExpert
from askless.spending.ledger import Ledger
from tests.experts.chat_server import Answer, chat
from tests.spending.guarded import ANSWERS, TOKENS, errors, hosted, items

TEXT = "item 0"


def test_tokens_are_reserved_at_their_most_and_paid_as_they_are_used(tmp_path, server):
    llm = hosted(tmp_path, server.url, limit=0.15, price=TOKENS)
    most = llm.price.most([TEXT])[0]
    used = 11 * 100e-6 + 1 * 1000e-6
    assert most == pytest.approx((len("Say {text}item 0") + 256) * 100e-6 + 16 * 1000e-6) and most > used
    llm.answer(items(TEXT))
    assert llm.ledger.spent == pytest.approx(used)
    rest = int((0.15 - used - most) / used) + 1
    llm.answer(items(*[f"other {n:03}" for n in range(80)]))
    assert llm.ledger.spent <= 0.15
    assert len(server.requests) - 1 == pytest.approx(rest, abs=1), "what is left is less than the most of one call"


def test_a_server_that_does_not_say_what_it_used_is_paid_the_most(tmp_path, server):
    body = chat("yes")
    body["usage"] = None
    server.reply = lambda request, before: Answer(body)
    llm = hosted(tmp_path, server.url, limit=1.0, price=TOKENS)
    table = llm.answer(items(TEXT))
    assert table["cost_usd"].to_pylist() == [pytest.approx(llm.price.most([TEXT])[0])]


def test_a_bill_above_the_most_stops_all_paying(tmp_path, server):
    server.reply = lambda request, before: Answer(chat("yes", cost=0.4))
    llm = hosted(tmp_path, server.url, limit=1.0, concurrency=1)
    table = llm.answer(items(*[f"item {n}" for n in range(20)]))
    assert len(server.requests) <= 2, "the one that was under way when the bill came"
    assert sum(table["cost_usd"].to_pylist()) == pytest.approx(llm.ledger.spent) == 0.4 * len(server.requests)
    assert "a call was billed more than its price and its tokens allow" in errors(table)[-1]


@pytest.mark.parametrize(
    ("price", "options", "why"),
    [
        (Price(usd_per_hour=2.0), {}, "is priced by the hour, and how long a call will take is not known before"),
        (TOKENS, {"max_tokens": None}, "max_tokens is null, so that a reply has no longest"),
    ],
)
def test_a_price_that_sets_no_most_is_refused_under_a_limit_alone(tmp_path, server, price, options, why):
    with pytest.raises(ConfigError, match=why):
        hosted(tmp_path / "a", server.url, limit=1.0, price=price, **options)
    llm = hosted(tmp_path / "b", server.url, price=price, **options)
    assert llm.answer(items(TEXT))["label"].to_pylist() == ["1"]
    assert not server.requests or llm.ledger.spent > 0


def test_an_expert_without_a_price_is_refused_before_it_is_asked(tmp_path, server):
    llm = hosted(tmp_path, server.url)
    with pytest.raises(ConfigError, match=r"Expert 'llm' has no price\. Priced: none\. Add costs\.prices\.llm"):
        GuardedExpert(llm.expert, CostModel("usd", {}), llm.ledger)
    with pytest.raises(ConfigError, match="A spend limit is in dollars. Got costs in seconds"):
        GuardedExpert(llm.expert, CostModel("seconds", {"llm": ANSWERS}), Ledger(limit=1.0))


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 0},
        {"completion_tokens": 0},
        {"prompt_tokens": -5, "completion_tokens": 1},
        {"prompt_tokens": 2**31, "completion_tokens": 1},
        {"prompt_tokens": float("nan"), "completion_tokens": 1},
        {"prompt_tokens": "eleven", "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"cost": 0},
        {"cost": 1e-9},
    ],
)
def test_usage_that_cannot_be_believed_counts_as_the_most_and_is_told_once(tmp_path, server, usage, caplog):
    body = chat("yes")
    body["usage"] = {**body["usage"], **usage}
    server.reply = lambda request, before: Answer(body)
    llm = hosted(tmp_path, server.url, limit=1.0, price=TOKENS)
    table = llm.answer(items(TEXT, "item 1"))
    assert table["label"].to_pylist() == ["1", "1"], "the answer is kept all the same"
    assert llm.ledger.spent == pytest.approx(sum(llm.price.most([TEXT, "item 1"])))
    assert caplog.text.count("count as the most that they can cost") == 1


@pytest.mark.parametrize("stated", [-1.0, float("nan"), float("inf"), "free", None, [1]])
def test_a_cost_that_is_none_is_not_taken_for_one(tmp_path, server, stated):
    server.reply = lambda request, before: Answer(chat("yes", cost=stated))
    llm = hosted(tmp_path, server.url, limit=1.0, price=TOKENS)
    llm.answer(items(TEXT))
    assert llm.ledger.spent == pytest.approx(11 * 100e-6 + 1 * 1000e-6), "its tokens at their price"


def test_a_server_is_believed_that_it_bills_nothing_where_params_say_so(tmp_path, server):
    server.reply = lambda request, before: Answer(chat("yes", cost=0))
    llm = hosted(tmp_path, server.url, limit=1.0, price=Price(usd_per_1m_prompt_tokens=100.0, cost="server"))
    llm.answer(items(TEXT))
    assert llm.ledger.spent == 0.0
