"""A model that learns while it answers, as a person types it: made, asked, told what was right, changed, gone back."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from askless.bundles.bundle import Bundle
from askless.bundles.terms import Terms
from askless.cli import app
from askless.data.prepare import ids
from askless.labelling.learning import Learning
from askless.labelling.live_course import live_course
from askless.serving.service import Limits
from askless.spending.ledger import Ledger
from tests.experts.chat_server import Answer, chat, problem
from tests.labelling.label_data import read_rows, write_items
from tests.pipeline import working_in
from tests.serving.house import WAIT_S, served, until

CENTS = {"tiny": 0.02, "mini": 0.1, "large": 1.0}
OPENING = 20


def say(request, before):
    """Even numbers are yes: `tiny` errs at every third, `mini` at every seventh."""
    number = int(request.text.split("number ")[1].split()[0])
    right, wrong = ("yes", "no") if number % 2 == 0 else ("no", "yes")
    errs = {"tiny": 3, "mini": 7}.get(request.body["model"])
    return Answer(chat(wrong if errs and number % errs == 0 else right))


@pytest.fixture
def here(server, tmp_path, monkeypatch):
    server.reply = say
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    priced = ", ".join(f"{name}: {{usd_per_1k_answers: {usd}}}" for name, usd in CENTS.items())
    (tmp_path / "costs.yaml").write_text(f"prices: {{{priced}}}")
    with working_in(tmp_path):
        yield server, tmp_path


def run(*words, fails=False):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert (done.exit_code != 0) == fails, (done.output, done.exception)
    return str(done.exception) if fails else done


def learn(server, *words, names=("mini", "tiny"), usd=0.4, **options):
    llms = [word for name in names for word in ("--llm", f"{name}={name}@{server.url}")]
    about = ("-o", "live", "--classes", "yes,no", "--budget-usd", usd, "--prices", "costs.yaml")
    return run("learn", *llms, *about, *words, **options)


def label(first, last, *words, **options):
    out = Path(f"out-{first}.jsonl")
    write_items(Path(f"new-{first}.jsonl"), [f"number {n} is even" for n in range(first, last)])
    done = run("label", f"new-{first}.jsonl", "--model", "live", "-o", out, "--max-usd", "5", *words, **options)
    return done if options else read_rows(out)


def feedback(rows, wrong=0):
    """What is told of rows, the first of them wrongly."""
    right = [("yes", "no")[int(row["text"].split()[1]) % 2] for row in rows]
    right[:wrong] = [{"yes": "no", "no": "yes"}[each] for each in right[:wrong]]
    lines = [json.dumps({"text": row["text"], "gold": each}) for row, each in zip(rows, right, strict=True)]
    Path("labels.jsonl").write_text("\n".join(lines))
    return json.loads(run("feedback", "labels.jsonl", "--model", "live", "--column", "label=gold", "--json").stdout)


def bill(server):
    """What the server itself bills for all that it was asked."""
    return sum(CENTS[request.body["model"]] for request in server.requests) / 1000


def test_it_answers_from_nothing_is_told_what_was_right_and_stays_within_its_budget(here):
    server, _ = here
    assert "It asks tiny, mini, the cheapest first, at no more than $0.4 for 1,000 items." in learn(server).stdout
    rows = label(0, 120)
    assert {row["answer"] for row in rows} == {"yes", "no"} and sum(r["cost"] for r in rows) == pytest.approx(
        bill(server)
    )
    facts = feedback(rows)
    assert (facts["new"], facts["again"], facts["corrected"], facts["refused"]) == (120, 0, 0, [])
    assert facts["spent_usd"] == pytest.approx(bill(server)) and facts["items"] == 120
    assert feedback(rows)["again"] == 120 and feedback(rows, wrong=2)["corrected"] == 2
    label(120, 240)
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    assert facts["spent_usd"] == pytest.approx(bill(server)) and bill(server) <= 0.4 * 240 / 1000
    assert (facts["waiting"], facts["labels"]) == (120, 120)
    assert [each["labels"] for each in facts["versions"]] == [0, 120, 120]
    assert "240 items so far took $" in run("feedback", "--model", "live").stdout


def test_experts_that_come_and_go_leave_what_was_learnt_of_the_others(here):
    server, _ = here
    learn(server)
    feedback(label(0, 100))
    late = label(300, 340)
    before = Learning(Path("live/learning.sqlite")).version()
    done = json.loads(learn(server, "--json", names=("tiny", "large"), usd=2.0).stdout)
    assert (done["new"], done["came"], done["left"]) == (False, ["large"], ["mini"])
    after = Learning(Path("live/learning.sqlite")).version()
    assert (before.experts, after.experts) == (["tiny", "mini"], ["tiny", "large"])
    assert len(after.state["gold_"]) == 100 and after.number == before.number + 1
    assert " changed at item " not in run("feedback", "--model", "live").stdout, "a new one is no other than before"
    server.requests.clear()
    rows = label(100, 200)
    assert {request.body["model"] for request in server.requests} == {"tiny", "large"}
    assert feedback(rows + late)["new"] == 140, "labels of items that the experts of before answered teach too"
    assert learn(server, "--classes", "a,b", fails=True).startswith(
        "live knows the classes yes, no. Allowed: the same."
    )


def test_that_an_expert_is_free_is_known_and_that_it_is_no_more(here):
    server, _ = here
    prices = Path("costs.yaml").read_text()
    Path("costs.yaml").write_text(prices.replace("tiny: {usd_per_1k_answers: 0.02}", "tiny: {}"))
    learn(server, usd=0.05)
    feedback(label(0, 100))
    with Learning(Path("live/learning.sqlite")) as learning:
        state = learning.version().state
    assert state["prices_"] == pytest.approx([0.0, CENTS["mini"] / 1000]) and state["rule_"] is not None
    server.requests.clear()
    label(100, 200)
    assert 30 < [request.body["model"] for request in server.requests].count("mini") <= 50 + OPENING / 2
    Path("costs.yaml").write_text(prices)
    learn(server, usd=0.05)
    with Learning(Path("live/learning.sqlite")) as learning:
        assert learning.version().state["prices_"][0] is None, "what it costs now is not known yet"


@pytest.mark.parametrize("status", [401, 503])
def test_a_server_that_is_down_stops_nothing_and_is_asked_again_when_it_is_back(here, status):
    """`mini` is asked most until its server is down, then `tiny` instead, and `mini` again once it answers."""
    server, _ = here
    learn(server, usd=0.12)
    feedback(label(0, 200))

    def down(request, before):
        return Answer(problem("not now"), status) if request.body["model"] == "mini" else say(request, before)

    server.reply = down
    server.requests.clear()
    rows = label(200, 300)
    assert all(row["answer"] for row in rows)
    asked = [request.body["model"] for request in server.requests]
    assert asked.count("tiny") > 90 and asked.count("mini") < 40
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    assert facts["spent_usd"] <= 0.12 * 300 / 1000 and facts["changed"] == {}
    feedback(rows)
    server.reply = say
    server.requests.clear()
    label(300, 450)
    assert [request.body["model"] for request in server.requests].count("mini") > 20


def test_an_expert_that_was_replaced_is_named(here):
    server, _ = here
    learn(server, usd=0.12)
    feedback(label(0, 200))

    def replaced(request, before):
        if request.body["model"] == "mini":
            number = int(request.text.split("number ")[1].split()[0])
            return Answer(chat(("no", "yes")[number % 2]))
        return say(request, before)

    server.reply = replaced
    feedback(label(200, 300))
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    assert list(facts["changed"]) == ["mini"] and 190 < facts["changed"]["mini"] < 240
    said = run("feedback", "--model", "live").stdout
    assert f"mini changed at item {facts['changed']['mini']}: what was learnt of it before is set aside." in said


def test_made_again_without_a_question_it_asks_what_it_asked(here):
    server, _ = here
    learn(server, "--question", "Is it even?")
    before = Terms.read(Path("live/model")).experts
    assert "Gone" not in (told := learn(server, usd=0.5).stdout) and "What was learnt stays." in told
    assert Terms.read(Path("live/model")).experts == before
    learn(server, "--question", "Is it odd?")
    assert "Is it odd?" in Terms.read(Path("live/model")).experts["tiny"]["prompt"]["template"]


def test_a_dry_run_says_the_most_that_its_budget_allows(here):
    server, _ = here
    learn(server)
    write_items(Path("new.jsonl"), [f"number {n} is even" for n in range(100)])
    asked = ("label", "new.jsonl", "--model", "live", "-o", "out.jsonl", "--dry-run", "--max-usd", "0.01")
    said = run(*asked).stdout
    assert "100 rows; nobody was asked." in said and "at most $0.04, by its budget" in said and not server.requests
    assert "A limit of $0.01 may not be enough" in said
    label(200, 260)
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    left = facts["allowed_usd"] - facts["spent_usd"]
    assert json.loads(run(*asked, "--json").stdout)["most_usd"] == pytest.approx(0.04 + left)


def test_a_budget_that_no_call_can_be_paid_from_is_refused_and_one_that_may_not_do_is_said(here):
    server, _ = here
    said = learn(server, usd=0.001, fails=True)
    assert said.startswith("--budget-usd got 0.001. 1,000 answers of tiny, the cheapest, take $0.02. Allowed: that or")
    assert "Allowed: dollars for 1,000 items, above 0." in learn(server, usd=0, fails=True)
    assert not Path("live").exists() and "may take" not in learn(server, usd=0.02).stderr
    Path("tokens.yaml").write_text("prices: {tiny: {usd_per_1m_prompt_tokens: 1}, mini: {usd_per_1m_prompt_tokens: 9}}")
    note = " ".join(learn(server, "--prices", "tokens.yaml", usd=0.02).stderr.split())
    assert note.startswith("Note: An item may take $2e-05. A call of tiny, the cheapest, about a text of 1,000")


def test_where_even_the_cheapest_is_too_dear_the_summary_does_not_say_that_it_answered(here):
    server, _ = here
    learn(server)
    write_items(Path("new.jsonl"), [f"number {n} is even" for n in range(30)])
    asked = ("label", "new.jsonl", "--model", "live", "-o", "out.jsonl", "--max-usd", "5", "--per-1000", "0.001")
    said = run(*asked).stdout
    assert "over the spend limit: tiny answered, or nobody" in said
    assert "Paid to LLMs: $" in said and "expensive expert" not in said


def test_going_back_to_what_was_learnt_before(here):
    server, _ = here
    learn(server)
    rows = label(0, 60)
    feedback(rows[:30])
    state = Learning(Path("live/learning.sqlite")).version().state
    feedback(rows[30:], wrong=30)
    run("feedback", "--model", "live", "--roll-back", "2")
    newest = Learning(Path("live/learning.sqlite")).version()
    assert (newest.number, newest.state) == (4, state) and Learning(Path("live/learning.sqlite")).facts()[
        "labels"
    ] == 30
    assert feedback(rows[30:])["new"] == 30, "told anew, and rightly"


def killed(monkeypatch, kills, first, last):
    """Label as often as it is killed, each time at the end of a turn, the `kills`-th in all; yields after each."""
    end, turns = Learning.end, iter(range(1, 100))

    def ended(self, *given):
        if next(turns) in kills:
            raise KeyboardInterrupt
        end(self, *given)

    monkeypatch.setattr(Learning, "end", ended)
    new, out = f"new-{first}.jsonl", f"out-{first}.jsonl"
    write_items(Path(new), [f"number {n} is even" for n in range(first, last)])
    for _ in kills:
        CliRunner().invoke(app, ["label", new, "--model", "live", "-o", out, "--max-usd", "5"])
        yield


@pytest.mark.parametrize("kills", [(1,), (2, 3), (1, 2, 3)])
def test_killed_between_answers_and_bill_it_counts_what_was_paid_once(here, monkeypatch, kills):
    """The same command goes on, and what was paid for answers its rows, though no money is left for more."""
    server, _ = here
    learn(server, usd=0.025)
    feedback(label(0, 60))
    for _ in killed(monkeypatch, kills, 60, 200):
        pass
    rows = label(60, 200)
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    assert len(rows) == 140 and len(server.requests) == len({(r.body["model"], r.text) for r in server.requests})
    assert bill(server) == pytest.approx(facts["spent_usd"]) and facts["reserved_usd"] == 0
    assert bill(server) <= 0.025 * (200 + OPENING) / 1000
    assert (facts["items"], facts["allowed_usd"]) == (200, pytest.approx(0.025 * 200 / 1000))
    paid = {request.text.split("number ")[1].split()[0] for request in server.requests}
    assert all(row["answer"] for row in rows if row["text"].split()[1] in paid)


def test_what_was_paid_until_a_server_refused_counts(here):
    server, _ = here
    learn(server)
    answered = iter(range(30))
    refused = Answer(problem("no such key"), 401)
    server.reply = lambda request, before: refused if next(answered, None) is None else say(request, before)
    assert "HTTP 401" in label(0, 60, fails=True)
    server.reply = say
    label(0, 60)
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    with Ledger(Path("out-0.jsonl.run/ledger.sqlite"), None) as ledger:
        assert (facts["spent_usd"], facts["reserved_usd"]) == (pytest.approx(ledger.spent), 0)


def test_the_answers_of_a_reference_teach_where_no_label_comes(here):
    """It is asked about its share within the budget; a label takes the place of its answer."""
    server, _ = here
    learn(server, "--reference", "large", "--reference-share", "0.3", names=("tiny", "mini", "large"), usd=1.0)
    rows = label(0, 200)
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    assert 20 <= facts["labels"] <= 80 and facts["versions"][-1]["labels"] >= 20
    assert facts["spent_usd"] == pytest.approx(bill(server)) and bill(server) <= 1.0 * (200 + OPENING) / 1000
    assert sum(row["cost"] for row in rows) == pytest.approx(bill(server))
    told = feedback(rows, wrong=200)
    assert told["corrected"] == facts["labels"], "the reference is always right here, and these labels are all wrong"
    assert "Unknown reference 'big'. Known: mini, tiny." in learn(server, "--reference", "big", fails=True)


def test_a_budget_of_its_own_that_became_too_small_is_no_fault_of_a_client(here):
    server, folder = here
    learn(server)
    feedback(label(0, 60))

    def dear(before):
        return before.experts, {**before.state, "prices_": [each * 1000 for each in before.state["prices_"]]}

    Learning(Path("live/learning.sqlite")).replace(dear)
    asked = len(server.requests)
    with served("live", folder / "served") as made:
        body = {"model": "askless-live", "messages": [{"role": "user", "content": "number 90 is even"}]}
        answer = made.post(body)
        told = answer.json()["error"]
        assert (answer.status_code, told["code"]) == (503, "limit"), told
        assert told["message"].endswith(
            "limit: A budget of 0.4 per 1,000 items is under the least cost, 20. Allowed: at least that."
        )
        refused = made.post({**body, "askless": {"per_1000": 0.001}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_budget"), refused.text
    assert len(server.requests) == asked and [row["error"] for row in made.rows()] != [None]


def test_a_text_that_comes_again_while_it_is_asked_about_leaves_no_money_reserved(here):
    """Who asked counts what that takes; another, whose budget it does not fit in, ends before and without it."""
    server, folder = here
    learn(server)
    ready = threading.Event()

    def slow(request, before):
        assert request.body["model"] == "tiny" or ready.wait(WAIT_S)
        return say(request, before)

    server.reply = slow
    with served("live", folder / "served", Limits(grace=WAIT_S)) as made, ThreadPoolExecutor(1) as pool:
        first = pool.submit(made.say, "number 1 is even", "askless-live")
        until(lambda: len(server.requests) == 2)
        again = made.say("number 1 is even", "askless-live", extra_body={"askless": {"per_1000": 0.03}})
        assert again.model_extra["askless"]["cost_usd"] == 0 and not first.done()
        ready.set()
        assert first.result().model_extra["askless"]["cost_usd"] == pytest.approx(bill(server))
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    assert facts["spent_usd"] == pytest.approx(bill(server)) and facts["reserved_usd"] == 0
    assert facts["items"] == 1, "the text has one budget"


def test_it_is_served_and_clients_tell_it_what_was_right(here):
    """Many requests at once stay within the budget; a label is there at once and learnt from at the end."""
    server, folder = here
    learn(server)
    with served("live", folder / "served") as made, ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda n: made.say(f"number {n} is even", "askless-live"), range(60)))
        names = [each.model_extra["askless"]["id"] for each in told]
        assert {each.choices[0].message.content for each in told} <= {"yes", "no"} and len(set(names)) == 60
        assert {each.model_extra["askless"]["version"] for each in told} == {"1"}
        assert bill(server) <= 0.4 * (60 + OPENING) / 1000

        def post(body):
            answer = httpx.post(f"{made.url}/feedback", json=body)
            return answer.status_code, answer.json()

        assert post({"id": names[0], "label": "yes"}) == (
            200,
            {"object": "feedback", "new": 1, "again": 0, "corrected": 0, "refused": []},
        )
        many = [{"id": name, "label": "no"} for name in names[:2]]
        status, body = post(
            {"labels": [*many, {"text": "number 2 is even", "label": "yes"}, {"id": "?", "label": "no"}]}
        )
        assert (status, body["new"], body["corrected"]) == (200, 2, 1)
        assert body["refused"] == [{"at": 3, "why": "no such item was answered"}]
        refused = [
            ({"id": names[0], "label": "maybe"}, "Nothing was learnt: the label is none of yes, no."),
            ({"id": names[0]}, "Field required."),
            ({"label": "yes"}, "Nothing was learnt: neither an id nor a text."),
            ({"id": names[0], "label": "no", "gold": 1}, "Unknown field. Allowed in a label: id, text, label."),
        ]
        for body, said in refused:
            status, answer = post(body)
            assert (status, answer["error"]["message"]) == (400, said)
        page = httpx.get(f"{made.root}/metrics").text
        assert 'askless_feedback_total{kind="new"} 3.0' in page and 'version="0"' not in page
        health = httpx.get(f"{made.root}/healthz").json()
        assert f'model="askless-live",role="champion",version="{health["version"]}"' in page
        assert int(health["version"]) >= 1 and 'reason="deferred",version="learning"' in page
    facts = json.loads(run("feedback", "--model", "live", "--json").stdout)
    assert [each["labels"] for each in facts["versions"]][-1] == 3 and facts["items"] == 60
    assert facts["spent_usd"] == pytest.approx(bill(server)) and facts["reserved_usd"] == 0


def test_it_says_why_an_item_cost_what_it_did(here):
    """From what it kept, and the version that decided: those asked blindly, those asked for more, the label."""
    server, _ = here
    learn(server, usd=2.0, names=("tiny", "mini", "large"))
    first = label(0, 60)
    blind = next(row for row in first if len(asked_of(row)) > 1)
    said = " ".join(run("explain", "live", "--text", blind["text"]).stdout.split())
    assert said.startswith("Decided on 20") and "by version 1, taught by 0 labels." in said
    assert "were asked at once, to learn what each is worth." in said
    feedback(first)
    rows = label(60, 160)
    whys = {row["text"]: json.loads(run("explain", "live", "--text", row["text"], "--json").stdout) for row in rows}
    for row in rows:
        why = whys[row["text"]]
        assert (why["version"], why["labels"], why["answer"], why["label"]) == (2, 60, row["answer"], None)
        assert sorted(each["expert"] for each in why["asked"]) == sorted(asked_of(row))
        assert sum(each["cost"] for each in why["asked"]) == pytest.approx(row["cost"])
        assert all(0 < each["before"] < 1 for each in why["asked"] if not each["blindly"])
    more = rows[0]["text"]
    feedback([row for row in rows if row["text"] == more])
    said = " ".join(run("explain", "live", "--text", more).stdout.split())
    assert "by version 2, taught by 60 labels." in said and "the label that came is '" in said
    assert run("explain", "live", "--id", ids("live", [more])[0]).stdout.split() == said.split()
    assert "no item 'nobody' was answered. Allowed: one of" in run("explain", "live", "--id", "nobody", fails=True)
    assert "Which item? Give --id" in run("explain", "live", fails=True)


def asked_of(row):
    """Whom a row was put to, by what it cost."""
    left, names = round(row["cost"] * 1e5), []
    for name in ("large", "mini", "tiny"):
        if left >= (usd := round(CENTS[name] * 100)):
            left, names = left - usd, [*names, name]
    return names


def test_an_item_is_forgotten_and_named_by_a_key(here):
    server, folder = here
    learn(server)
    rows = label(0, 20)
    facts = run("forget", "live", "--text", "number 3 is even", "--id", "own-4", "--json").stdout
    assert [(each["path"], each["rows"]) for each in json.loads(facts)["files"]] == [("live/learning.sqlite", 2)]
    said = json.loads(run("forget", "live", "out-0.jsonl", "--text", "number 5 is even", "--json").stdout)["files"]
    asked = {f"{model}.sqlite" for model in {r.body["model"] for r in server.requests if "number 5 is" in r.text}}
    assert asked | {"out-0.jsonl", "ledger.sqlite"} < {each["path"].rpartition("/")[2] for each in said}
    run("key", "live")
    told = feedback(rows)
    assert (told["new"], [each["row"] for each in told["refused"]]) == (17, ["line 4", "line 5", "line 6"])
    Path("own.csv").write_text("id,label\nown-7,yes\n")
    assert json.loads(run("feedback", "own.csv", "--model", "live", "--json").stdout)["corrected"] == 1


def test_what_cannot_be_meant_is_one_sentence(here):
    server, _ = here
    assert "--llm got tiny. Allowed: two or more" in learn(server, names=("tiny",), fails=True)
    assert "Got both --question and --prompt" in learn(server, "--question", "?", "--prompt", "x", fails=True)
    assert "Got one of --examples and --answers" in learn(server, "--examples", "x.csv", fails=True)
    Path("live").mkdir()
    Path("live/note.txt").write_text("mine")
    assert "Allowed: a new folder, or one that learn made" in learn(server, fails=True)
    Path("live/note.txt").unlink()
    learn(server)
    Path("costs.yaml").write_text("prices: {large: {}}")
    lacking = learn(server, names=("tiny", "mini", "large"), fails=True)
    assert lacking.startswith("The list of prices does not know the models of tiny, mini. Give --prices FILE with")
    assert run("feedback", "no.csv", "--model", "lively", fails=True).endswith("Correct the path.")
    Path("no.csv").write_text("name,gold\n1,yes\n")
    assert "--column label=ITS_NAME --column id=ITS_NAME." in run("feedback", "no.csv", "--model", "live", fails=True)
    Path("no.csv").write_text("id,gold\n1,yes\n")
    assert run("feedback", "no.csv", "--model", "live", fails=True).endswith(
        "Say which it is: --column label=ITS_NAME."
    )
    assert "Unknown column 'labl'" in run("feedback", "no.csv", "--model", "live", "--column", "labl=x", fails=True)
    assert "got a budget of share. Allowed: --per-1000" in label(9, 12, "--share", "0.2", fails=True)
    Path("live/learning.sqlite").unlink()
    assert "Put it back, or begin anew" in label(0, 3, fails=True)


def test_its_page_has_the_courses_of_what_was_asked_and_of_what_was_right(here):
    server, _ = here
    learn(server)
    rows = label(0, 80)
    run("feedback", "--model", "live", "--page", "before.html")
    bare = Path("before.html").read_text()
    assert "80 wait for a label" in bare and bare.count("<figure") == 1, "no label, no share of right ones"
    feedback(rows[:50])
    run("feedback", "--model", "live", "--page", "live.html")
    with Learning(Path("live/learning.sqlite")) as learning:
        course = live_course(Bundle.load(Path("live")), learning)
    right = [row["answer"] == ("yes", "no")[int(row["text"].split()[1]) % 2] for row in rows[:50]]
    spans = [at for at, share in enumerate(course["quality"]["mean"]) if share is not None]
    sizes = [min(50, course["item"][at]) - 20 * at for at in spans]
    assert sum(course["quality"]["mean"][at] * n for at, n in zip(spans, sizes, strict=True)) == pytest.approx(
        sum(right)
    )
    assert course["spent"]["mean"][-1] == pytest.approx(1000 * bill(server) / 80)
    assert list(course["asked"]) == ["tiny", "mini"] and course["asked"]["tiny"][0] == 1
    page = Path("live.html").read_text()
    assert page.count("<figure") == 2 and "80 items so far took $" in page and "number 1 " not in page
