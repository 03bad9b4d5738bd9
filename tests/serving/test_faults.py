"""Whatever the server of an expensive expert does, a request is answered and marked, and nothing is billed twice."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import openai
import pytest

from askless.serving.service import Limits, Service
from tests.experts.chat_server import Answer, chat, problem
from tests.production_data import said
from tests.registry_data import LLM, MODEL, PRICE
from tests.serving.house import LONG, WAIT_S, House, ask, house, service, until
from tests.serving.writing_llm import WORDS, writing_llm

DEFER = {"askless": {"share": 1.0}}
XSUM = MODEL["xsum"]
SHORT_S = 0.5


def told(completion):
    return completion.model_extra["askless"]


@pytest.fixture(scope="module")
def home(kept_llm, empty_store, tmp_path_factory):
    """A server that makes two calls at once."""
    limits = Limits(asking=2, grace=5.0)
    with house(tmp_path_factory.mktemp("faults"), empty_store, kept_llm.url, limits=limits) as made:
        yield made


@pytest.fixture
def impatient(home, kept_llm):
    """The server while it waits only briefly for an LLM that answers when `go` is set."""
    patient, go = home.service.limits, threading.Event()
    home.service.limits = replace(patient, patience=SHORT_S)
    kept_llm.reply = lambda request, before: Answer(chat("yes" if go.wait(WAIT_S) else "no"))
    yield home, go
    go.set()
    until(lambda: not home.service.busy)
    home.service.limits = patient


@pytest.fixture(autouse=True)
def closed_breaker(home, kept_llm):
    """Each test finds the server well and the circuit closed."""
    kept_llm.reply = said
    for guarded in home.service.watch.current.answerer.expensive.values():
        guarded.expert.max_retries = 0
        guarded.breaker.well()
    return None


FAULTS = {
    "overloaded": (Answer(problem("slow down"), 429), "fault", "HTTP 429"),
    "broken": (Answer(problem("oops"), 503), "fault", "HTTP 503"),
    "a gateway": (Answer(b"bad gateway", 502), "in doubt", "HTTP 502"),
    "rubbish": (Answer(chat("perhaps")), "fault", "unparsable reply"),
    "no JSON": (Answer(b"<html>"), "in doubt", "unreadable reply"),
    "another model": (Answer(problem("no such model"), 404), "fault", "no such model"),
    "a refused key": (Answer(problem("no"), 401), "fault", "the key was refused"),
}


@pytest.mark.parametrize(
    ("fault", "stream"), [*((name, False) for name in FAULTS), ("broken", True), ("no JSON", True)]
)
def test_the_small_experts_answer_is_given_and_says_why(home, kept_llm, fault, stream):
    answer, reason, words = FAULTS[fault]
    kept_llm.reply = lambda request, before: answer
    with home.client() as client:
        done = ask(client, f"{LONG} {fault} {stream}", stream=stream, extra_body=DEFER)
        facts = told(list(done)[-1] if stream else done)
    assert (facts["expert"], facts["asked"], facts["reason"]) == ("majority", [LLM], reason)
    assert words in facts["error"] and facts["error"].startswith(f"{LLM}: ")
    assert facts["cost_usd"] in (0.0, PRICE)


def test_a_dead_server_is_left_alone_after_repeated_faults(home, kept_llm):
    kept_llm.reply = lambda request, before: Answer(problem("oops"), 503)
    reasons = [told(home.say(f"{LONG} dead {n}", extra_body=DEFER))["reason"] for n in range(8)]
    assert reasons == ["fault"] * 5 + ["paused"] * 3
    assert sum("dead" in text for text in kept_llm.asked()) == 5
    assert home.metric("askless_errors_total") >= 8


def test_a_slow_server_is_not_waited_for_and_its_answer_is_kept_for_the_next_time(impatient, kept_llm):
    (home, go), text = impatient, f"{LONG} slow"
    paid = home.metric("askless_dollars_total")
    facts = told(home.say(text, extra_body=DEFER))
    assert (facts["expert"], facts["reason"], facts["error"]) == (
        "majority",
        "slow",
        f"{LLM}: slow: no answer within {SHORT_S:g} s",
    )
    go.set()
    until(lambda: home.metric("askless_dollars_total") == pytest.approx(paid + PRICE))
    home.service.limits = replace(home.service.limits, patience=WAIT_S)
    facts = told(home.say(text, extra_body=DEFER))
    assert (facts["expert"], facts["cost_usd"]) == (LLM, 0.0), "paid once, and there now"
    assert sum(text in asked for asked in kept_llm.asked()) == 1


def test_who_finds_nobody_free_in_time_learns_so_and_nothing_is_asked(impatient, kept_llm):
    home, go = impatient
    # As long as a busy machine may take to begin two threads.
    home.service.limits = replace(home.service.limits, patience=6 * SHORT_S)
    with ThreadPoolExecutor(6) as pool:
        done = pool.map(lambda n: told(home.say(f"{LONG} many {n}", extra_body=DEFER)), range(6))
        errors = sorted(facts["error"].partition(": slow: ")[2] for facts in done)
    within = f"within {6 * SHORT_S:g} s"
    assert errors == [f"no answer {within}"] * 2 + [f"nobody was free to ask it {within}"] * 4
    go.set()
    until(lambda: not home.service.busy)
    assert sum("many" in text for text in kept_llm.asked()) == 2


def test_over_the_limit_of_the_day_nobody_is_asked(tmp_path, empty_store, llm):
    with house(tmp_path, empty_store, llm.url, max_usd=2.5 * PRICE) as made:
        facts = [told(made.say(f"{LONG} {n}", extra_body=DEFER)) for n in range(4)]
        assert [each["reason"] for each in facts] == ["deferred", "deferred", "limit", "limit"]
        assert facts[-1]["error"] == f"{LLM}: limit: the spend limit of $0.0025 is reached"
        assert made.metric("askless_spend_left_dollars") == pytest.approx(0.5 * PRICE)
        assert made.metric("askless_dollars_total") == pytest.approx(2 * PRICE)
        assert len(llm.requests) == 2
    rows = made.rows()
    assert [row["error"] for row in rows] == [None, None, *[facts[-1]["error"]] * 2]
    assert sum(row["paid"] for row in rows) == pytest.approx(2 * PRICE)
    assert [row["asked"] for row in rows] == [[LLM]] * 4, "to whom it was deferred, asked or not"


def test_on_fault_fail_says_503_and_tells_the_small_experts_answer(tmp_path, empty_store, llm):
    llm.reply = lambda request, before: Answer(problem("no"), 400)
    with house(tmp_path, empty_store, llm.url, limits=Limits(fails=True, grace=5.0)) as made:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as failed:
                made.say(LONG, stream=stream, extra_body=DEFER)
            body = failed.value.body
            assert (failed.value.status_code, body["code"], body["type"]) == (503, "fault", "server_error")
            assert body["message"] == "The expert that should answer did not: HTTP 400: no."
            assert (body["askless"]["expert"], body["askless"]["answer"]) == ("majority", "0")
        assert made.metric("askless_in_flight") == 0
    assert len(made.rows()) == 2


@pytest.fixture(scope="module")
def summaries(empty_store, tmp_path_factory):
    with writing_llm() as llm, house(tmp_path_factory.mktemp("xsum"), empty_store, llm.url, "xsum") as made:
        yield made, llm


@pytest.fixture
def writer(summaries):
    """A server of summaries, and the LLM that writes them, which counts anew."""
    summaries[1].requests = 0
    return summaries


def summary(made, text, **more):
    return made.say(text, model=XSUM, extra_body=DEFER, **more)


def test_a_summary_is_passed_through_as_it_is_written(writer):
    made, llm = writer
    llm.go.clear()
    with made.client() as client:
        stream = ask(client, f"{LONG} written", XSUM, stream=True, extra_body=DEFER)
        pieces = [next(stream).choices[0].delta.content for _ in range(2)]
        assert pieces == ["", WORDS[0]], "the first word is here, and the others are not written yet"
        llm.go.set()
        rest = list(stream)
    assert [chunk.choices[0].delta.content for chunk in rest] == [*WORDS[1:], None]
    assert told(rest[-1]) | {"score": 0} == {
        "id": told(rest[-1])["id"],
        "expert": LLM,
        "cost_usd": PRICE,
        "score": 0,
        "reason": "deferred",
        "version": "1",
        "asked": [LLM],
        "error": None,
    }
    again = summary(made, f"{LONG} written")
    assert again.choices[0].message.content == "".join(WORDS) and told(again)["cost_usd"] == 0.0
    assert again.usage.total_tokens == 12 and llm.requests == 1


def test_the_small_experts_summary_streams_whole(writer):
    made, _ = writer
    with made.client() as client:
        chunks = list(ask(client, "A first one. A second.", XSUM, stream=True, extra_body={"askless": {"share": 0.0}}))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "A first one.", None]
    assert told(chunks[-1])["expert"] == "lead"


def test_a_summary_that_breaks_off_is_an_error_that_has_the_small_experts(writer):
    made, llm = writer
    llm.breaks = 2
    with made.client() as client, pytest.raises(openai.APIError) as broken:
        list(ask(client, "A first one. A second. Broken.", XSUM, stream=True, extra_body=DEFER))
    body = broken.value.body
    assert body["message"].startswith("The reply broke off: in doubt: ") and body["code"] == "in doubt"
    assert (body["askless"]["expert"], body["askless"]["answer"]) == ("lead", "A first one.")
    llm.breaks = -1
    facts = told(summary(made, "A first one. A second. Broken."))
    assert (facts["expert"], facts["reason"]) == ("lead", "in doubt"), "it may have been billed, and is not asked again"
    assert llm.requests == 1 and made.metric("askless_in_flight") == 0


def test_who_goes_away_while_it_is_written_leaves_an_answer_that_is_kept_and_logged(writer):
    made, llm = writer
    llm.go.clear()
    with made.client() as client:
        stream = ask(client, f"{LONG} left", XSUM, stream=True, extra_body=DEFER)
        next(stream)
        stream.close()
    llm.go.set()
    until(lambda: made.metric("askless_in_flight") == 0)
    assert told(summary(made, f"{LONG} left"))["cost_usd"] == 0.0
    made.service.log._write()
    rows = made.rows()[-2:]
    assert [row["paid"] for row in rows] == [PRICE, 0.0]
    assert {row["answer"] for row in rows} == {None}, "no summary is logged unless asked for"


def test_texts_are_logged_where_that_is_asked_for(tmp_path, empty_store):
    from tests.production_data import production

    with writing_llm() as llm, production(tmp_path, empty_store, llm.url, "xsum"):
        with service(tmp_path, "xsum", texts=True) as made, House(made) as home:
            summary(home, LONG)
        rows = home.rows()
    assert [(row["text"], row["answer"]) for row in rows] == [(LONG, "".join(WORDS))]


def test_a_stop_waits_for_what_is_written_for_nobody_any_more(tmp_path, empty_store, monkeypatch):
    """A client went away after the first word, another was told that it takes too long: both are kept and logged."""
    ended = Service._ended

    def late(*about):
        time.sleep(SHORT_S)
        ended(*about)

    monkeypatch.setattr(Service, "_ended", late)
    limits = Limits(patience=SHORT_S, grace=WAIT_S)
    with writing_llm() as llm, house(tmp_path, empty_store, llm.url, "xsum", limits=limits) as home:
        llm.go.clear()
        llm.words = ("", *WORDS)
        with pytest.raises(openai.InternalServerError, match="slow: no answer within"):
            summary(home, f"{LONG} slow", stream=True)
        home.service.limits, llm.words = replace(limits, patience=WAIT_S), WORDS
        with home.client() as client:
            stream = ask(client, f"{LONG} gone", XSUM, stream=True, extra_body=DEFER)
            assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", WORDS[0]]
            stream.close()
        end = threading.Timer(2 * SHORT_S, llm.go.set)
        end.start()
        assert home.stop()
        end.join()
        rows, (expert,) = home.rows(), home.service.watch.current.answerer.expensive.values()
        with expert.expert.store() as kept:
            assert len(kept) == len(rows) == 2 and [row["paid"] for row in rows] == [PRICE, PRICE]


def test_a_second_request_for_a_text_waits_for_the_first_and_pays_nothing(home, kept_llm):
    go = threading.Event()
    kept_llm.reply = lambda request, before: Answer(chat("yes" if go.wait(WAIT_S) else "no"))
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(home.say, f"{LONG} twin", extra_body=DEFER) for _ in range(2)]
        until(lambda: home.service.busy == 2)
        go.set()
        assert sorted(told(each.result())["cost_usd"] for each in done) == [0.0, PRICE]
    assert sum("twin" in text for text in kept_llm.asked()) == 1
