"""An expensive expert within a limit: never more, never twice, and whatever its server does a row comes back."""

import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from askless.costs import CostModel
from askless.errors import DataError, ExpertError
from askless.experts import Setting
from askless.experts.answer_store import AnswerStore
from askless.experts.local.causal_lm import LlmExpert
from askless.spending.billing import DOUBT, FAULT, LIMIT, PAUSED, FaultHandling, code_of
from askless.spending.breaker import Breaker
from askless.spending.guard import GuardedExpert, within_limits
from askless.spending.key_limits import KeyLimits, kept_in, key_limit
from askless.spending.ledger import Ledger
from tests.experts.chat_server import Answer, chat, problem
from tests.serving.writing_llm import WORDS, WritingLlm
from tests.spending.guarded import ANSWERS, TOKENS, close_all, errors, hosted, items

TEXTS = [f"item {n}" for n in range(20)]


def test_each_answer_costs_what_was_paid_for_it_and_a_kept_one_nothing(tmp_path, server):
    llm = hosted(tmp_path, server.url)
    first = llm.answer(items(*TEXTS[:3]))
    assert first["cost_usd"].to_pylist() == [0.001] * 3
    assert llm.answer(items(*TEXTS[:3]))["cost_usd"].to_pylist() == [0.001] * 3, "the same part costs the same"
    llm.part = 1
    assert llm.answer(items(*TEXTS[:4]))["cost_usd"].to_pylist() == [0.0, 0.0, 0.0, 0.001]
    assert llm.ledger.spent == pytest.approx(0.004) and len(server.requests) == 4
    assert first["label"].to_pylist() == ["1"] * 3


def test_the_call_that_would_pass_the_limit_is_not_made(tmp_path, server):
    llm = hosted(tmp_path, server.url, limit=0.0075)
    table = llm.answer(items(*TEXTS))
    assert len(server.requests) == 7 == table["label"].null_count * -1 + 20
    assert llm.ledger.spent == pytest.approx(0.007)
    limited = [error for error in errors(table) if error]
    assert set(limited) == {"limit: the spend limit of $0.0075 is reached"} and code_of(limited[0]) == LIMIT
    assert sum(table["cost_usd"].to_pylist()) == pytest.approx(llm.ledger.spent)


@pytest.mark.parametrize(
    ("reply", "code", "why"),
    [
        (Answer(problem("no"), status=503), FAULT, "HTTP 503, 2 tries"),
        *(
            (Answer(problem("no"), status=late), DOUBT, f"in doubt: HTTP {late}; it may")
            for late in (500, 502, 520, 522, 524)
        ),
        (Answer(problem("slow down"), status=429), FAULT, "HTTP 429, 2 tries"),
        (Answer(problem("bad words"), status=400), FAULT, "HTTP 400: bad words"),
        (Answer(problem("who"), status=401), FAULT, "HTTP 401: the key was refused"),
        (Answer(problem("where"), status=404), FAULT, "HTTP 404: no such model or no such path"),
        (Answer(b"rubbish"), DOUBT, "in doubt: unreadable reply"),
        (Answer({"choices": []}), DOUBT, "in doubt: unreadable reply"),
        (Answer(problem("late"), status=504), DOUBT, "in doubt: HTTP 504; it may have been billed"),
        (None, DOUBT, "in doubt: timed out; it may have been billed"),
    ],
)
def test_whatever_a_server_does_a_row_comes_back_with_the_reason(tmp_path, server, reply, code, why):
    ended = threading.Event()
    server.reply = lambda request, before: reply or Answer(chat("yes" if ended.wait(300) else "no"))
    llm = hosted(tmp_path, server.url, limit=1.0, timeout=300.0 if reply else 0.3)
    table = llm.answer(items(TEXTS[0]))
    ended.set()
    assert table["label"].to_pylist() == [None] and why in errors(table)[0] and code_of(errors(table)[0]) == code
    assert llm.ledger.spent == 0 and table["cost_usd"].to_pylist() == [0.0]
    assert llm.ledger.doubted == (0.001 if code == DOUBT else 0)


def test_a_call_that_may_have_been_billed_is_not_made_again_not_by_a_later_run_either(tmp_path, server):
    server.reply = lambda request, before: Answer(b"rubbish" if request.text == "Say item 0" else chat("yes"))
    for _ in range(3):
        llm = hosted(tmp_path, server.url, limit=1.0, max_retries=5)
        table = llm.answer(items(*TEXTS[:3]))
        llm.ledger.close()
    assert Counter(server.asked()) == dict.fromkeys(["Say item 0", "Say item 1", "Say item 2"], 1)
    assert errors(table)[0].startswith("in doubt: asked once, and no answer came") and errors(table)[1:] == [None] * 2


def test_in_doubt_is_asked_again_where_that_is_wanted(tmp_path, server):
    server.reply = lambda request, before: Answer(b"rubbish" if not before else chat("yes"))
    llm = hosted(tmp_path, server.url, limit=1.0, handling=FaultHandling(ask_in_doubt=True))
    assert llm.answer(items(TEXTS[0]))["label"].to_pylist() == ["1"]
    assert (llm.ledger.spent, llm.ledger.doubted) == (0.001, 0.001), "both may be on the bill"


def test_what_was_open_when_a_process_died_is_taken_up(tmp_path, server):
    llm = hosted(tmp_path, server.url, limit=1.0)
    llm.answer(items(TEXTS[0]))
    llm.ledger.close()
    answered, unanswered = (llm.expert.key(text) for text in TEXTS[:2])
    with Ledger(tmp_path / "second.sqlite", 1.0) as dead:
        assert dead.reserve("llm", [(answered, 0.002), (unanswered, 0.002)]) == 2
    after = hosted(tmp_path, server.url, ledger=Ledger(tmp_path / "second.sqlite", 1.0))
    assert (after.ledger.spent, after.ledger.doubted) == (0.001, 0.002)
    table = after.answer(items(*TEXTS[:2]))
    assert table["label"].to_pylist() == ["1", None] and code_of(errors(table)[1]) == DOUBT
    assert len(server.requests) == 1


def test_after_repeated_faults_the_server_is_left_alone_and_then_tried_again(tmp_path, server):
    server.reply = lambda request, before: Answer(problem("no"), status=503)
    now = [0.0]
    breaker = Breaker(after=3, pause=15, clock=lambda: now[0])
    llm = hosted(tmp_path, server.url, concurrency=1, max_retries=0, breaker=breaker)
    table = llm.answer(items(*TEXTS))
    assert len(server.requests) == 3
    assert [code_of(error) for error in errors(table)] == [FAULT] * 3 + [PAUSED] * 17
    assert errors(table)[-1] == "paused: no call for 15 s after repeated faults, the last: HTTP 503"
    server.reply = lambda request, before: Answer(chat("no"))
    now[0] = 15.0
    assert llm.answer(items(*TEXTS))["label"].to_pylist() == ["0"] * 20
    assert len(server.requests) == 23


def test_a_server_is_tried_again_where_the_call_on_trial_could_not_be_written_down(tmp_path, server, monkeypatch):
    """As where the disk was full for a while."""
    server.reply = lambda request, before: Answer(problem("no"), status=503)
    now = [0.0]
    breaker = Breaker(after=1, pause=15, clock=lambda: now[0])
    llm = hosted(tmp_path, server.url, concurrency=1, max_retries=0, breaker=breaker)
    assert errors(llm.answer(items(TEXTS[0])))[0].startswith("HTTP 503")
    server.reply, now[0] = lambda request, before: Answer(chat("no")), 15.0

    def full(*about):
        raise llm.ledger._unusable("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(llm.ledger, "reserve", full)
        with pytest.raises(DataError, match="disk is full"):
            llm.answer(items(TEXTS[0]))
    assert llm.answer(items(TEXTS[0]))["label"].to_pylist() == ["0"]


def test_items_wait_where_that_is_wanted_until_the_server_is_back(tmp_path, server):
    server.reply = lambda request, before: (
        Answer(problem("no"), status=503) if len(server.requests) < 6 else Answer(chat("yes"))
    )
    waits = []
    # Its clock goes on when it is looked at: a busy machine does not sleep through the pause.
    breaker = Breaker(after=2, pause=0.05, clock=itertools.count(0.0, 0.01).__next__)
    llm = hosted(tmp_path, server.url, handling=FaultHandling(waits=True), breaker=breaker, max_retries=9)
    llm.billing.on_wait = waits.append
    assert llm.answer(items(*TEXTS))["label"].to_pylist() == ["1"] * 20
    assert "the last: HTTP 503" in waits[0]


@pytest.mark.parametrize("reply", [Answer(problem("who"), status=401), Answer(problem("no"), status=503)])
def test_waiting_ends_where_it_is_no_use_and_loses_nothing(tmp_path, server, reply):
    server.reply = lambda request, before: Answer(chat("yes")) if len(server.requests) <= 5 else reply
    handling, breaker = FaultHandling(waits=True, patience=0.3), Breaker(after=2, pause=0.1, longest=0.1)
    llm = hosted(tmp_path, server.url, handling=handling, breaker=breaker, concurrency=1, max_retries=50)
    with pytest.raises(ExpertError, match="stopped asking 'm' at"):
        llm.answer(items(*TEXTS))
    with AnswerStore(tmp_path / "llm.sqlite") as store:
        assert len(store) == 5
    assert llm.ledger.spent == pytest.approx(0.005)


def test_a_dead_server_is_borne(tmp_path, server):
    url = server.url
    server.close()
    llm = hosted(tmp_path, url, limit=1.0, max_retries=0)
    table = llm.answer(items(*TEXTS))
    assert table["label"].null_count == 20 and llm.ledger.doubted == 0
    assert {code_of(error) for error in errors(table)} == {FAULT, PAUSED}
    assert "the server cannot be reached" in errors(table)[0]
    server.__init__()


def test_halted_it_finishes_what_is_under_way_and_keeps_it(tmp_path, server):
    llm = hosted(tmp_path, server.url, concurrency=2)

    def reply(request, before):
        if len(server.requests) == 6:
            llm.halt("interrupted")
        return Answer(chat("yes"), delay=0.02)

    server.reply = reply
    with pytest.raises(ExpertError, match="interrupted"):
        llm.answer(items(*TEXTS))
    with AnswerStore(tmp_path / "llm.sqlite") as store:
        assert len(store) == len(server.requests) < 20
    assert llm.ledger.spent == pytest.approx(0.001 * len(server.requests)) and llm.ledger.open_calls("llm") == []


def test_one_text_asked_by_many_at_once_is_paid_once(tmp_path, server):
    server.reply = lambda request, before: Answer(chat("yes"), delay=0.05)
    llm = hosted(tmp_path, server.url)
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(lambda n: llm.answer(items(f"text {n % 2}")), range(16)))
    assert [table["label"].to_pylist() for table in tables] == [["1"]] * 16
    assert len(server.requests) == 2 and len(llm._turns) == 0


def local(folder, tiny, limit=None, price=TOKENS):
    from tests.experts.tiny_models import PROMPT

    setting = Setting("llm", "olhs", ("0", "1"), answers=folder)
    expert = LlmExpert(setting, model=str(tiny), prompt=PROMPT, batch_size=4)
    return GuardedExpert(expert, CostModel("usd", {"llm": price}), Ledger(folder / "ledger.sqlite", limit))


def test_a_model_run_here_answers_the_first_rows_that_the_limit_allows(tmp_path, tiny):
    plenty = local(tmp_path / "plenty", tiny, limit=5.0).answer(items(*TEXTS))
    costs = plenty["cost_usd"].to_pylist()
    assert plenty["label"].null_count == 0 and all(cost > 0 for cost in costs)
    llm = local(tmp_path / "little", tiny, limit=sum(costs[:8]) + 1e-9)
    little = llm.answer(items(*TEXTS))
    assert little["label"].to_pylist()[:8] == plenty["label"].to_pylist()[:8]
    assert [code_of(e or "") for e in errors(little)][8:] == [LIMIT] * 12 and errors(little)[:8] == [None] * 8
    assert llm.ledger.spent == pytest.approx(sum(costs[:8]), abs=1e-8)
    llm.part = 1
    again = llm.answer(items(*TEXTS))
    assert again["label"].to_pylist() == little["label"].to_pylist() and set(again["cost_usd"].to_pylist()) == {0.0}


def test_a_model_run_here_that_died_under_way_is_asked_again_and_what_it_kept_is_paid(tmp_path, tiny):
    llm = local(tmp_path, tiny, limit=5.0)
    kept = llm.expert.answer(items(*TEXTS[:2]))
    assert kept["label"].null_count == 0
    llm.ledger.reserve("llm", [(llm.expert.key(text), 0.5) for text in TEXTS[:4]])
    llm.ledger.close()
    after = local(tmp_path, tiny, limit=5.0)
    assert after.ledger.open_calls("llm") == [] and after.ledger.doubted == 0
    paid = after.ledger.spent
    assert 0 < paid < 1.0
    table = after.answer(items(*TEXTS[:4]))
    assert table["label"].null_count == 0 and sum(table["cost_usd"].to_pylist()) == pytest.approx(after.ledger.spent)
    assert after.ledger.spent > paid


def test_a_reply_that_came_before_is_no_answer_to_another_text(tmp_path, server):
    first = []

    def reply(request, before):
        first.append(chat("yes"))
        first[0]["id"] = f"chatcmpl-{0:032x}"
        return Answer(first[0])

    server.reply = reply
    llm = hosted(tmp_path, server.url, concurrency=1, max_retries=1)
    assert llm.answer(items("item a"))["label"].to_pylist() == ["1"]
    table = llm.answer(items("item b"))
    assert table["label"].to_pylist() == [None] and code_of(errors(table)[0]) == DOUBT
    assert "the reply had come before, to another request" in errors(table)[0]


def test_a_reply_of_any_length_is_read_only_so_far(tmp_path, server, monkeypatch):
    monkeypatch.setattr("askless.experts.remote.wire.LONGEST", 2000)
    server.reply = lambda request, before: Answer(chat("yes" + " " * 5000))
    llm = hosted(tmp_path, server.url, max_retries=0)
    table = llm.answer(items("item"))
    assert code_of(errors(table)[0]) == DOUBT and "a reply of more than 2,000 bytes" in errors(table)[0]


def test_a_kept_row_that_makes_no_answer_is_asked_again_and_ends_nothing(tmp_path, server, caplog):
    llm = hosted(tmp_path, server.url)
    poison = {"text": "yes", "finish": "stop", "top": [["1", 7.0]], "logprob": float("inf"), "prompt_tokens": "many"}
    llm.kept.put_many({llm.expert.key("item 1"): poison})
    assert llm.answer(items("item 0", "item 1"))["label"].to_pylist() == ["1", "1"]
    assert "1 kept answers are not valid. They were set aside" in caplog.text
    assert llm.answer(items("item 1"))["label"].to_pylist() == ["1"] and len(server.requests) == 2


def test_what_is_asked_without_a_ledger_heeds_the_limit_of_its_key(tmp_path, server, monkeypatch):
    """As `try` and `forecast --sample` do."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-nobody")
    asked, costs = hosted(tmp_path, server.url, concurrency=1).expert, CostModel("usd", {"llm": ANSWERS})
    asked.billing = None
    with within_limits(asked, costs):
        assert errors(asked.answer(items("a"))) == [None], "it has none"
    with closing(KeyLimits(kept_in())) as limits:
        limits.set("OPENAI_API_KEY", None, 0.0025)
    with within_limits(asked, costs):
        told = errors(asked.answer(items("a", "b", "c", "d")))
    assert told == [None] * 3 + ["limit: the limit of $0.0025 in all for OPENAI_API_KEY is reached"]
    assert len(server.requests) == 3 and key_limit("OPENAI_API_KEY").paid == pytest.approx(0.002)
    assert asked.billing is None


def test_two_that_share_answers_and_no_ledger_at_all_ask_once_too(server, tmp_path):
    """One of them is `generate` without a limit."""
    server.reply = lambda request, before: Answer(chat("yes"), delay=0.2)
    unbilled = hosted(tmp_path, server.url).expert
    unbilled.billing = None
    both = [unbilled, hosted(tmp_path, server.url)]
    with ThreadPoolExecutor(2) as pool:
        tables = [*pool.map(lambda each: each.answer(items("one", "two", "three")), both)]
    assert [table["label"].to_pylist() for table in tables] == [["1"] * 3] * 2 and len(server.requests) == 3


def test_two_that_are_written_the_same_summary_ask_once_and_both_get_it(tmp_path):
    llm = WritingLlm()
    llm.go.clear()
    both = [hosted(tmp_path, llm.url, classes=(), ledger=Ledger(tmp_path / f"{n}.sqlite")) for n in range(2)]
    heard: list[list[str]] = [[], []]

    def ask(n):
        return both[n].answer(items("one"), piece=heard[n].append)

    try:
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(ask, n) for n in range(2)]
            while not any(heard):
                time.sleep(0.01)
            llm.go.set()
            tables = [each.result() for each in asked]
        assert [table["text"].to_pylist() for table in tables] == [["".join(WORDS)]] * 2
        assert ["".join(each) for each in heard] == ["".join(WORDS)] * 2 and llm.requests == 1
    finally:
        close_all()
        llm.close()


def test_two_that_share_answers_and_not_a_ledger_ask_once_and_both_get_it(server, tmp_path):
    server.reply = lambda request, before: Answer(chat("yes"), delay=0.2)
    both = [hosted(tmp_path, server.url, ledger=Ledger(tmp_path / f"{n}.sqlite", 1.0)) for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        tables = [*pool.map(lambda each: each.answer(items("one", "two", "three")), both)]
    assert [table["label"].to_pylist() for table in tables] == [["1"] * 3] * 2
    assert len(server.requests) == 3 and sum(each.ledger.spent for each in both) == pytest.approx(0.003)
