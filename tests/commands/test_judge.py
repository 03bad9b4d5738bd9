"""A model that learns from a judge, who reads an item and the answers given, and says which class is right."""

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from askless.labelling.learning import Learning
from askless.serving.service import Limits
from tests.commands import test_learn as learning
from tests.commands.test_learn import CENTS, OPENING, bill, feedback, killed, label, learn, run, say
from tests.experts.chat_server import Answer, chat, problem
from tests.serving.house import WAIT_S, served, until

here = learning.here
SHARE = 0.3


def judged_by_large(server, *words, share=SHARE, usd=1.0, **options):
    return learn(server, "--judge", f"large=large@{server.url}", "--judge-share", share, *words, usd=usd, **options)


def facts():
    return json.loads(run("feedback", "--model", "live", "--json").stdout)


def verdicts(server):
    """What the judge was asked."""
    return [request.text for request in server.requests if request.body["model"] == "large"]


def number(text):
    return int(text.split("number ")[1].split()[0])


def why(text):
    return json.loads(run("explain", "live", "--text", text, "--json").stdout)


def test_its_verdicts_teach_within_the_budget_and_a_label_takes_their_place(here):
    """It sees the classes that were named, in their order, not by whom; each row's cost has its own."""
    server, _ = here
    assert "large judges the answers to 30 % of the items, within the same budget." in judged_by_large(server).stdout
    rows = label(0, 200)
    asked = verdicts(server)
    assert 20 <= len(asked) <= 80 and len(set(asked)) == len(asked)
    said = {}
    for request in server.requests:
        if request.body["model"] != "large":
            answer = say(request, 0).body["choices"][0]["message"]["content"]
            said.setdefault(number(request.text), set()).add(answer)
    for text in asked:
        given = ", ".join(name for name in ("yes", "no") if name in said[number(text)])
        assert text.endswith(f"\n\nAnswers given: {given}\nAnswer:") and "mini" not in text and "tiny" not in text
    assert any(text.endswith("given: yes, no\nAnswer:") for text in asked)
    found = facts()
    assert found["labels"] == len(asked) and 20 <= found["versions"][-1]["labels"] <= len(asked)
    assert found["spent_usd"] == pytest.approx(bill(server)) and bill(server) <= 1.0 * (200 + OPENING) / 1000
    assert sum(row["cost"] for row in rows) == pytest.approx(bill(server))
    told = why(next(row["text"] for row in rows if number(row["text"]) == number(asked[0])))
    right = ("yes", "no")[number(asked[0]) % 2]
    assert (told["label"], told["judged"]) == (right, {"expert": "large", "label": right, "cost": 0.001})
    page = run("feedback", "--model", "live", "--page", "live.html")
    assert f"${bill(server):.6g}" in page.stdout + page.stderr
    assert feedback(rows, wrong=200)["corrected"] == len(asked), "it is always right here, and these are all wrong"
    again = json.loads(judged_by_large(server, "--json").stdout)
    assert again["experts"] == ["tiny", "mini"] and not again["came"] and not again["left"]


def test_it_may_name_a_class_that_nobody_gave(here):
    server, _ = here

    def reply(request, before):
        return Answer(chat("maybe")) if request.body["model"] == "large" else say(request, before)

    server.reply = reply
    judged_by_large(server, "--classes", "yes,no,maybe")
    rows = label(0, 200)
    state = Learning(Path("live/learning.sqlite")).version().state
    assert set(state["gold_"]) == {2} and {row["answer"] for row in rows} <= {"yes", "no"}
    item = next(row["text"] for row in rows if number(row["text"]) == number(verdicts(server)[0]))
    said = " ".join(run("explain", "live", "--text", item).stdout.split())
    assert "large judged the answers and called 'maybe' right, for $0.001." in said
    assert said.endswith("the label that came is 'maybe'.")


def test_what_it_says_beside_the_classes_is_paid_and_no_label(here):
    server, _ = here

    def reply(request, before):
        return Answer(chat("a hard one")) if request.body["model"] == "large" else say(request, before)

    server.reply = reply
    judged_by_large(server)
    rows = label(0, 200)
    found, asked = facts(), verdicts(server)
    assert len(asked) >= 20 and (found["labels"], found["waiting"]) == (0, 200) and all(row["answer"] for row in rows)
    assert found["spent_usd"] == pytest.approx(bill(server)) == sum(row["cost"] for row in rows)
    item = next(row["text"] for row in rows if number(row["text"]) == number(asked[0]))
    assert "large judged the answers and named no class" in run("explain", "live", "--text", item).stdout
    label(0, 200)
    assert verdicts(server) == asked, "what was paid is not asked again"


@pytest.mark.parametrize("status", [401, 503])
def test_while_it_is_down_items_are_answered_and_labels_go_on(here, status):
    server, _ = here

    def reply(request, before):
        return Answer(problem("not now"), status) if request.body["model"] == "large" else say(request, before)

    server.reply = reply
    judged_by_large(server)
    rows = label(0, 100)
    assert all(row["answer"] for row in rows) and feedback(rows)["new"] == 100
    found = facts()
    assert found["reserved_usd"] == 0 and found["spent_usd"] <= 1.0 * (100 + OPENING) / 1000
    server.reply = say
    label(100, 200)
    assert facts()["labels"] > 100


def test_a_budget_that_it_does_not_fit_in_goes_to_the_answers(here):
    """An item has money for its cheapest answer and little more: of that it is asked now and then, or never."""
    server, _ = here
    judged_by_large(server, usd=0.03)
    rows = [*label(0, 150), *label(150, 300)]
    found = facts()
    assert sum(row["answer"] is not None for row in rows) > 290 and len(verdicts(server)) <= 3
    assert found["spent_usd"] == pytest.approx(bill(server)) and bill(server) <= 0.03 * (300 + OPENING) / 1000


@pytest.mark.parametrize(("kills", "usd"), [((2,), 1.0), ((2, 3), 1.0), ((2,), 0.3)])
def test_a_verdict_that_was_paid_before_a_kill_is_kept_however_the_item_is_answered_then(here, monkeypatch, kills, usd):
    """Also where the killed turn left no money for another."""
    server, _ = here
    judged_by_large(server, usd=usd)
    for _ in killed(monkeypatch, kills, 0, 200):
        # What was answered before may be answered otherwise now, and shown to the judge.
        with sqlite3.connect("out-0.jsonl.run/answers/mini.sqlite") as kept:
            kept.execute("UPDATE answers SET row = replace(replace(row, '\"yes\"', '\"?\"'), '\"no\"', '\"yes\"')")
    label(0, 200)
    found, asked = facts(), [number(text) for text in verdicts(server)]
    assert len(asked) == len(set(asked)) == found["labels"] and found["items"] == 200
    assert found["spent_usd"] == pytest.approx(bill(server)) and found["reserved_usd"] == 0


def test_going_back_takes_its_labels_back(here):
    server, _ = here
    judged_by_large(server)
    label(0, 200)
    run("feedback", "--model", "live", "--roll-back", "1")
    assert facts()["labels"] == 0 and Learning(Path("live/learning.sqlite")).version().state["gold_"] == []
    label(200, 400)
    assert facts()["labels"] >= 20


def test_it_judges_behind_http_and_is_forgotten_with_the_item(here):
    server, folder = here
    judged_by_large(server, share=1.0, usd=4.0)
    with served("live", folder / "served") as made:
        said = [made.say(f"number {n} is even", "askless-live").model_extra["askless"] for n in range(20)]
        until(lambda: made.metric("askless_dollars_total") == pytest.approx(bill(server)))
        dollars = {name: made.metric(f'askless_dollars_total{{expert="{name}",version="learning"}}') for name in CENTS}
    asked = verdicts(server)
    assert len(asked) >= 10 and facts()["labels"] == len(asked)
    answers = sum(each["cost_usd"] for each in said)
    assert answers + CENTS["large"] / 1000 * len(asked) == pytest.approx(bill(server)) == facts()["spent_usd"]
    for name, usd in CENTS.items():
        paid = usd / 1000 * sum(request.body["model"] == name for request in server.requests)
        assert dollars[name] == pytest.approx(paid)
    item = f"number {number(asked[0])} is even"
    gone = json.loads(run("forget", "live", "served", "--text", item, "--json").stdout)["files"]
    assert "served/answers/large.sqlite" in [each["path"] for each in gone]


def test_nobody_waits_for_its_verdict_behind_http(here):
    """The answer is there before; what the verdict takes is billed, logged and counted when it comes."""
    server, folder = here
    judged_by_large(server, share=1.0, usd=4.0)
    ready = threading.Event()

    def slow(request, before):
        if request.body["model"] == "large":
            assert ready.wait(WAIT_S)
        return say(request, before)

    server.reply = slow
    with served("live", folder / "served", Limits(grace=WAIT_S, patience=60.0)) as made:
        for n in range(6):
            told = made.say(f"number {n} is even", "askless-live").model_extra["askless"]
            assert told["expert"] in ("mini", "tiny") and told["error"] is None and told["version"] == "1"
            asked = [each.body["model"] for each in server.requests if number(each.text) == n]
            assert told["cost_usd"] == pytest.approx(sum(CENTS[name] for name in asked if name != "large") / 1000)
        until(lambda: made.service.busy == len(verdicts(server)) > 1)
        assert facts()["labels"] == 0
        ready.set()
        until(lambda: facts()["labels"] == len(verdicts(server)))
        until(lambda: made.metric("askless_dollars_total") == pytest.approx(bill(server)))
        assert facts()["spent_usd"] == pytest.approx(bill(server))
        streamed = list(made.say("number 7 is even", "askless-live", stream=True))
        assert "".join(each.choices[0].delta.content or "" for each in streamed) in ("yes", "no")
    assert sum(row["cost"] for row in made.rows()) == pytest.approx(bill(server)) and len(made.rows()) == 7
    assert {row["small_answer"] for row in made.rows()} == {"yes", "no"}, "of the cheapest, which was asked about all"


def test_what_cannot_be_meant_of_a_judge_is_one_sentence(here):
    server, _ = here
    both = judged_by_large(server, "--reference", "mini", fails=True)
    assert both.startswith("Got both --reference and --judge. Give one of them")
    assert judged_by_large(server, share=0, fails=True) == "--judge-share got 0. Allowed: above 0, up to 1."
    one = learn(server, "--judge", f"mini=mini@{server.url}", fails=True)
    assert one.startswith("--judge got mini, which is one of --llm. Allowed: another name; or --reference mini")
    assert "--judge got 'large'" in learn(server, "--judge", "large", fails=True)
    lacking = learn(server, "--judge", f"big=big@{server.url}", fails=True)
    assert lacking.startswith("The list of prices does not know the models of big.") and not Path("live").exists()
