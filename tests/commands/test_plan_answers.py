"""A plan answers new items: from one LLM's recorded answers and labelled texts to labels of new texts."""

import json
import re
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import openai
import pytest
from typer.testing import CliRunner

from askless.bundles import trust
from askless.bundles.bundle import Bundle, files_of
from askless.bundles.terms import Terms, of_bundle
from askless.cli import app
from askless.errors import ConfigError
from askless.labelling.answerer import DeployedBundle
from askless.monitoring.decision_log import DecisionLog
from askless.serving.service import Limits
from askless.serving.versions import ExpertPool, load
from askless.spending.ledger import Ledger
from tests.experts.chat_server import Answer, chat
from tests.labelling.label_data import read_rows, write_items
from tests.pipeline import working_in
from tests.serving.house import served

WORDS = {"good news": "sunshine and roses", "bad news": "thunder and rain"}
RIDDLE = "who can say"
PROMPT = "Which news is it? Say good news or bad news.\n\n{text}\n"


def items(n):
    """(text, class): the words of two texts in three tell the class, those of the third do not."""
    classes = list(WORDS)
    return [(f"{RIDDLE if k % 3 == 2 else WORDS[classes[k % 2]]} {k}", classes[k % 2]) for k in range(n)]


def say(request, before):
    """The right class of a text, by its number; every fourth the mini one is unsure of."""
    number = int(request.text.split("\n\n")[1].split()[-1])
    right, wrong = list(WORDS)[number % 2], list(WORDS)[1 - number % 2]
    sure = 0.999 if number % 4 or "mini" not in request.body["model"] else 0.5
    return Answer(chat(right, {right: sure, wrong: 1 - sure}))


@pytest.fixture
def here(server, tmp_path, monkeypatch):
    """A folder with labelled texts, an LLM's answers, its prompt and new texts; what is agreed to is its own."""
    server.reply = say
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    rows = list(enumerate(items(240)))
    split = ["train", "train", "test", "train", "valid"]
    csv = [f"{k},{text},{label},{split[k // 2 % 5]}" for k, (text, label) in rows]
    (tmp_path / "items.csv").write_text("\n".join(["id,text,label,split", *csv]))
    for name, cost, wrong in (("large", 0.002, 20), ("mini", 0.001, 4)):
        said = [label if k % wrong else "bad news" for k, (_, label) in rows]
        took = [f"{k},{name},{answer},40,2,{cost},{-0.01 if k % wrong else -0.9}" for k, answer in enumerate(said)]
        columns = "id,expert,label,prompt_tokens,completion_tokens,cost_usd,logprob"
        (tmp_path / f"{name}.csv").write_text("\n".join([columns, *took]))
    (tmp_path / "prompt.txt").write_text(PROMPT)
    (tmp_path / "costs.yaml").write_text("prices: {large: {usd_per_1k_answers: 2}, mini: {usd_per_1k_answers: 1}}")
    write_items(tmp_path / "new.jsonl", [text for text, _ in items(60)])
    with working_in(tmp_path):
        yield server, tmp_path


def run(*words, fails=False):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert (done.exit_code != 0) == fails, (done.output, done.exception)
    return done


def planned(here, *words, answers=("large",), **options):
    given = [word for name in answers for word in ("--answers", f"{name}.csv")]
    return run("plan", "--examples", "items.csv", *given, "-o", "plan.yaml", *words, **options)


def asked(server, *names):
    url = server.url
    words = [word for name in names or ("large",) for word in ("--llm", f"{name}=some-{name}@{url}")]
    return [*words, "--prompt", "prompt.txt", "--prices", "costs.yaml"]


def labelled(*words):
    done = run("label", "new.jsonl", "--model", "plan.yaml", "-o", "out.jsonl", *words)
    return done, read_rows(Path("out.jsonl"))


def test_a_plan_with_a_small_model_labels_new_texts(here):
    server, folder = here
    planned(here, "--small", "linear", "--share", "0.34", *asked(server))
    done, rows = labelled("--max-usd", "1")
    hard = [RIDDLE in row["text"] for row in rows]
    assert [row["reason"] == "deferred" for row in rows] == hard
    assert [row["answer"] for row in rows] == [label for _, label in items(60)]
    assert {row["expert"] for row in rows} == {"linear", "large"}
    assert sum(row["cost"] for row in rows) == pytest.approx(0.002 * sum(hard))
    assert server.requests[0].body["model"] == "some-large"
    assert server.requests[0].text.startswith("Which news is it? Say good news or bad news.\n\nwho can say")
    assert "differ" not in done.stderr


def test_a_plan_says_for_how_many_items_the_limit_of_a_key_is_enough(here):
    words = ("--small", "linear", "--share", "0.34", *asked(here[0]))
    assert "left today" not in planned(here, *words).stderr
    run("limit", "OPENAI_API_KEY", "--usd-per-day", "0.68")
    said = " ".join(planned(here, *words).stderr.split())
    assert "What is left today of the limit of $0.68 a day for OPENAI_API_KEY, $0.680, is enough for about " in said
    assert 950 <= int(said.partition("enough for about ")[2].split()[0].replace(",", "")) <= 1050, "a third, at $0.002"


def test_a_limit_is_spent_on_the_least_sure(here):
    server, folder = here
    planned(here, "--small", "linear", "--share", "0.34", *asked(server))
    _, rows = labelled("--share", "0.95", "--max-usd", "0.044")
    scores = {why: [row["score"] for row in rows if row["reason"] == why] for why in ("deferred", "limit")}
    assert len(scores["deferred"]) == 22 and scores["limit"] and max(scores["deferred"]) <= min(scores["limit"])
    assert all(row["reason"] == "deferred" for row in rows if RIDDLE in row["text"])


def test_what_it_will_take_is_known_before_anybody_is_asked(here):
    server, _ = here
    planned(here, "--small", "linear", "--share", "0.34", *asked(server))
    done = run("label", "new.jsonl", "--model", "plan.yaml", "-o", "out.jsonl", "--dry-run", "--json")
    (found,) = json.loads(done.stdout)["experts"]
    assert found["expert"] == "large" and found["calls"]["value"] == 20 and not server.requests


def test_rows_that_look_otherwise_are_told(here):
    server, folder = here
    planned(here, "--small", "linear", "--share", "0.34", *asked(server))
    write_items(folder / "new.jsonl", [f"{RIDDLE} {k}" for k in range(60)])
    done, rows = labelled()
    assert "Note: These rows differ from those the plan was made on in the scores of the model" in done.stderr
    assert {row["reason"] for row in rows} == {"deferred"}


def test_two_llms_answer_and_a_limit_holds_for_both(here):
    """The mini one is asked about all rows and the limit reached by that: ten have no answer, none goes beyond it."""
    server, folder = here
    planned(here, "--share", "0.3", *asked(server, "mini", "large"), answers=("mini", "large"))
    model = DeployedBundle.at("plan.yaml", None)
    assert (model.bundle.expensive, model.bundle.small) == (("mini", "large"), None)
    _, rows = labelled("--max-usd", "0.05")
    reasons = [row["reason"] for row in rows]
    assert set(reasons) <= {"kept", "deferred", "limit"} and "limit" in reasons
    spent = sum(row["cost"] for row in rows)
    assert 0.04 < spent <= 0.05 + 1e-9
    both = list(zip((row["answer"] for row in rows), (label for _, label in items(60)), strict=True))
    assert {answer for answer, label in both if answer != label} == {None}
    assert [answer for answer, _ in both].count(None) == 10
    with pytest.raises(ConfigError, match="has no small expert with it, or decides by what expensive ones answer"):
        load("plan.yaml", None, None)


@pytest.mark.parametrize("policy", ["planned", "subset"])
def test_a_plan_that_asks_before_it_decides_labels_and_serves(here, policy):
    """What it costs adds up to the ledger's bill, and the server's metrics tell each LLM's part."""
    server, folder = here
    asks = asked(server, "mini", "large")
    planned(here, "--budget-usd", "1.6", "--policy", policy, *asks, answers=("mini", "large"))
    done, rows = labelled("--json")
    facts = json.loads(done.stdout)
    assert [row["answer"] for row in rows] == [label for _, label in items(60)]
    assert sum(row["cost"] for row in rows) == pytest.approx(facts["paid_usd"])
    assert 60 < sum(facts["calls"].values()) < 120, "some were asked of both"
    with served("plan.yaml", folder / "served") as made:
        told = [made.say(text, "askless-plan") for text, _ in items(60)]
        page = httpx.get(f"{made.root}/metrics").text
    assert [each.choices[0].message.content for each in told] == [label for _, label in items(60)]
    assert [each.model_extra["askless"]["cost_usd"] for each in told] == pytest.approx([row["cost"] for row in rows])
    assert {each.usage.total_tokens for each in told} == {12, 24}, "of all that were asked"
    bills = dict(re.findall(r'dollars_total{expert="(\w+)",version="0"} (\S+)', page))
    cost = {"mini": 0.001, "large": 0.002}
    assert {name: float(usd) for name, usd in bills.items()} == pytest.approx(
        {name: calls * cost[name] for name, calls in facts["calls"].items()}
    )


def test_a_plan_by_probabilities_pays_little_where_the_server_gives_none(here):
    """It says so after five answers, which are kept; whoever will have it goes on, and asks about more rows."""
    server, _ = here
    asks = asked(server, "mini", "large")
    planned(here, "--budget-usd", "1.6", "--policy", "planned", *asks, answers=("mini", "large"))
    server.reply = lambda request, before: Answer(chat(list(WORDS)[int(request.text.split()[-1]) % 2]))
    words = ("label", "new.jsonl", "--model", "plan.yaml", "-o", "out.jsonl", "--max-usd", "1")
    told = str(run(*words, fails=True).exception)
    assert "its first 5 answers state no probability" in told and "or go on with --anyway" in told
    assert 5 <= len(server.requests) < 20 and {each.body["model"] for each in server.requests} == {"some-mini"}
    run(*words, "--anyway")
    assert all(row["answer"] for row in read_rows(Path("out.jsonl")))
    assert len(server.requests) == len({(each.body["model"], each.text) for each in server.requests})


def test_what_learns_begins_with_the_answers_that_a_plan_was_made_on(here):
    """With the LLMs, the prompt and the prices of the plan, or with others that are named as on record."""
    server, _ = here
    answers = ("mini", "large")
    planned(here, "--budget-usd", "1.6", "--policy", "planned", *asked(server, *answers), answers=answers)
    told = " ".join(run("learn", "-o", "live", "--plan", "plan.yaml", "--budget-usd", "1.6").stdout.split())
    assert "It asks mini, large, the cheapest first" in told and "begins with the labelled answers of 192 items" in told
    known = Path("plan.files/known.json").read_text()
    assert RIDDLE not in known and WORDS["good news"] not in known
    write_items(Path("few.jsonl"), [text for text, _ in items(60)])
    done = run("label", "few.jsonl", "--model", "live", "-o", "few-out.jsonl", "--max-usd", "1", "--json")
    assert json.loads(done.stdout)["calls"].keys() == {"mini", "large"}, "it knows from the first when one more helps"
    assert server.requests[0].text.startswith("Which news is it? Say good news or bad news.")
    told = run("learn", "-o", "other", "--plan", "plan.yaml", *asked(server, *answers), "--budget-usd", "1.6").stdout
    assert "192 items" in told
    judge = ("--judge", f"judge=some-judge@{server.url}", "--judge-share", "1", "--prices", "judge.yaml")
    Path("judge.yaml").write_text("prices: {judge: {usd_per_1k_answers: 2}}")
    run("learn", "-o", "third", "--plan", "plan.yaml", *judge, "--budget-usd", "20")
    run("label", "few.jsonl", "--model", "third", "-o", "third.jsonl", "--max-usd", "1", "--answers", "third-answers")
    verdicts = [each.text for each in server.requests if each.body["model"] == "some-judge"]
    assert verdicts and all("\n\nWhich news is it? Say good news or bad news." in text for text in verdicts)
    assert all("news" in text.rpartition("\n\nAnswers given: ")[2] for text in verdicts)
    refused = run("learn", "-o", "x", "--plan", "plan.yaml", "--question", "?", "--budget-usd", "1.6", fails=True)
    assert str(refused.exception).startswith("Got --plan without --llm, and --question")
    other = (*asked(server, *answers), "--classes", "a,b", "--budget-usd", "1.6")
    refused = run("learn", "-o", "x", "--plan", "plan.yaml", *other, fails=True)
    assert str(refused.exception).startswith("--classes got a,b, and the plan has ")
    again = run("learn", "-o", "live", "--plan", "plan.yaml", "--budget-usd", "1.6", fails=True)
    assert "live has begun. Allowed with --examples or --plan: a new --output." in str(again.exception)
    planned(here, "--share", "0.3", answers=answers)
    Path("plan.files/known.json").write_text("{}")
    assert "known.json: unreadable" in str(
        run(
            "learn", "-o", "x", "--plan", "plan.yaml", *asked(server, *answers), "--budget-usd", "1", fails=True
        ).exception
    )


def test_a_served_plan_whose_llm_is_slow_has_no_answer_and_says_so(here):
    server, folder = here
    asks = asked(server, "mini", "large")
    planned(here, "--budget-usd", "1.6", "--policy", "planned", *asks, answers=("mini", "large"))
    let_go = threading.Event()
    server.reply = lambda request, before: let_go.wait() and say(request, before)
    with served("plan.yaml", folder / "served", Limits(patience=0.01, grace=60)) as made:
        with pytest.raises(openai.InternalServerError, match="did not: slow: no answer within 0.01 s"):
            made.say("sunshine 0", "askless-plan")
        let_go.set()
    (row,) = DecisionLog(folder / "served/log").read().to_pylist()
    assert row["error"].startswith("large: slow: ") and row["answer"] is None and row["cost"] >= 0.001


def test_what_was_paid_until_something_broke_is_in_the_row(here, monkeypatch):
    server, folder = here
    asks = asked(server, "mini", "large")
    planned(here, "--budget-usd", "1.6", "--policy", "planned", *asks, answers=("mini", "large"))
    text = items(5)[4][0]
    with Ledger(folder / "ledger.sqlite", None) as ledger:
        answerer = load("plan.yaml", None, ExpertPool(ledger, folder / "answers")).answerer
        monkeypatch.setattr(answerer.expensive["large"], "answer", lambda *_: 1 / 0)
        found = answerer.answer_one(answerer.undecided("n", text, datetime.now(UTC)), answerer.budget)
        assert ledger.spent == 0.001
    assert (found.row.error, found.row.answer) == ("large: ZeroDivisionError", None)
    assert (found.row.asked, found.row.paid, found.row.cost) == (["mini"], 0.001, 0.001)
    assert found.used["mini"].usd == 0.001


def test_a_plan_of_one_expert_is_asked_for_everything(here):
    server, _ = here
    planned(here, "--share", "1", "--policy", "always", *asked(server))
    done, rows = labelled()
    assert [row["answer"] for row in rows] == [label for _, label in items(60)]
    assert len(server.requests) == 60 and "60 calls of large" in done.stdout


def test_it_is_served_and_decides(here):
    server, _ = here
    planned(here, "--small", "linear", "--quality-floor", "0.9", *asked(server))
    assert load("plan.yaml", None, None).version.bundle.task == "plan"
    texts = "".join(f"{text}\n" for text, _ in items(3))
    done = CliRunner().invoke(app, ["decide", "plan.yaml"], input=texts)
    assert [json.loads(line)["expert"] for line in done.stdout.splitlines()] == ["linear", "linear", "large"]
    told = run("explain", "plan.yaml", "--examples", "items.csv", "--answers", "large.csv", "--id", "2").stdout
    assert "linear was not sure enough" in told


def test_who_makes_a_plan_agrees_to_its_servers_and_nobody_else(here, monkeypatch):
    server, folder = here
    planned(here, "--small", "linear", "--share", "0.3", *asked(server))
    folder_of = files_of(folder / "plan.yaml")
    terms = Terms.read(folder_of)
    beyond = {**terms.experts["large"], "base_url": "https://elsewhere.example/v1"}
    terms = replace(terms, experts={"large": beyond})
    trust.check(terms.experts, terms.costs, "plan", agreed=True)
    terms.write(folder_of)
    assert of_bundle(Bundle.load("plan.yaml"), None).experts["large"] == beyond
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "another"))
    with pytest.raises(ConfigError, match="texts would be sent to 'large' at 'https://elsewhere.example/v1'"):
        of_bundle(Bundle.load("plan.yaml"), None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--llm", "large=m"], "Got --llm without --prompt. A plan promises of answers to the prompt on record."),
        (["--llm", "large", "--prompt", "prompt.txt"], "--llm got 'large'. Give EXPERT=MODEL, such as --llm gpt-4="),
        (["--llm", "other=m", "--prompt", "prompt.txt"], "Unknown expert 'other'. Known: large."),
        (["--llm", "large=no-such-model", "--prompt", "prompt.txt"], "The list of prices does not know the model"),
        (["--llm", "large=m", "--prompt", "costs.yaml"], "costs.yaml: prices: Unexpected keyword argument. "),
        (["--llm", "large=m", "--prompt", "nothing.txt"], "nothing.txt: "),
        (["--llm", "large=m", "--prompt", "items.csv"], "The prompt: template: has no {text}"),
    ],
)  # fmt: skip
def test_terms_that_cannot_be_meant_are_told_before_anything_is_planned(here, words, said):
    done = planned(here, "--share", "0.3", *words, fails=True)
    assert str(done.exception).startswith(said)
    assert "replaying" not in done.stderr


def test_a_plan_without_terms_says_what_is_missing(here):
    assert (
        "say who answers: --llm large=MODEL --prompt FILE."
        in planned(here, "--share", "1", "--policy", "always").stderr
    )
    done = run("label", "new.jsonl", "--model", "plan.yaml", "-o", "out.jsonl", fails=True)
    assert "terms.json: no such file." in str(done.exception) and "plan again with --llm" in str(done.exception)
