"""The challenger decides a share of the requests too, answers nobody, and its log stands beside the champion's."""

import threading

import pytest

from askless.data.prepare import clean, ids
from askless.monitoring.decision_log import DecisionLog
from askless.monitoring.shadow_log import beside, live
from askless.panel import draws
from askless.serving import shadow as module
from askless.serving.shadow import SEED, Shadow
from tests.production_data import production
from tests.registry_data import LLM, MODEL, PRICE, kept, register
from tests.serving.house import WAIT_S, House, service, until

CHALLENGER = f"models:/{MODEL['olhs']}@challenger"
TEXTS = [f"A {'long' if n > 120 else 'short'} text. {'x' * n}" for n in range(1, 200, 12)]


@pytest.fixture
def project(tmp_path, empty_store, llm):
    with production(tmp_path, empty_store, llm.url) as made:
        register(made.client, kept(tmp_path, "second", budget=0.8))
        yield made


def shadow_rows(folder):
    return DecisionLog(beside(folder / "log")).read().to_pylist()


def test_what_it_would_do_is_logged_and_nobody_is_asked_for_it(project, llm):
    with service(project.folder, shadow=CHALLENGER) as made, House(made) as home:
        told = [home.say(text).model_extra["askless"] for text in TEXTS]
        assert {each["version"] for each in told} == {"1"}
    rows = shadow_rows(project.folder)
    assert len(rows) == len(TEXTS) and {row["version"] for row in rows} == {"2"}
    sent = [row for row in rows if row["asked"]]
    asked = sum(bool(each["asked"]) for each in told)
    assert len(llm.requests) == asked < len(sent)
    assert all((r["expert"], r["asked"], r["paid"], r["answer"]) == (LLM, [LLM], None, None) for r in sent)
    assert {row["id"] for row in rows} == {row["id"] for row in home.rows()}
    found = live(project.folder / "log", ("1", "2"), {LLM: PRICE}, confidence=0.95, draws=100)
    assert found.items == len(TEXTS)
    assert found.deferral_rate["champion"]["value"] == pytest.approx(asked / len(TEXTS))
    assert found.deferral_difference["value"] == pytest.approx((len(sent) - asked) / len(TEXTS))


def test_a_share_of_the_items_is_drawn_by_their_ids(project):
    with service(project.folder, shadow=CHALLENGER, share=0.3) as made, House(made) as home:
        for text in TEXTS:
            home.say(text)
    drawn = [name for name in ids("olhs", [clean(text) for text in TEXTS]) if draws([name], SEED)[0] < 0.3]
    due = set(made.log.log.names(drawn))
    assert {row["id"] for row in shadow_rows(project.folder)} == due <= {row["id"] for row in home.rows()}
    assert 0 < len(due) < len(TEXTS)


def test_a_challenger_that_is_slow_or_fails_costs_no_answer_and_is_counted(project, monkeypatch):
    monkeypatch.setattr(module, "WAITING", 2)
    with service(project.folder, shadow=CHALLENGER) as made:
        calls, go = [], threading.Event()

        def slow(batch):
            go.wait(WAIT_S)
            calls.append(len(batch))

        monkeypatch.setattr(made.shadow, "_decide", slow)
        with House(made) as home:
            answers = [home.say(text).choices[0].message.content for text in TEXTS[:16]]
            assert len(answers) == 16
            dropped = home.metric("askless_shadow_dropped_total")
            go.set()
        assert dropped + sum(calls) == 16 and dropped > 0


def test_what_it_fails_at_is_said_once(project, monkeypatch, caplog):
    def broken(*_):
        raise ValueError("A secret text.")

    with service(project.folder, shadow=CHALLENGER) as made:
        monkeypatch.setattr(module, "decided", broken)
        with House(made) as home:
            for n, text in enumerate(TEXTS[:3], 1):
                home.say(text)
                until(lambda n=n: home.metric("askless_errors_total") == n)
    said = [record.getMessage() for record in caplog.records if "challenger" in record.getMessage()]
    assert said == ["The challenger cannot decide (ValueError)."]
    assert isinstance(made.shadow, Shadow) and shadow_rows(project.folder) == []
