"""`askless annotate`: what a person types, reads and finds in the folder, and every input that is none."""

import csv
import json
import re
import shlex
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from askless.annotating.rounds import Round
from askless.cli import app
from askless.commands.annotate import _AnnotateBar
from askless.errors import AsklessError
from askless.experts.remote import batches
from askless.text import encoder
from tests.annotating.texts import texts
from tests.experts.batch_server import BatchServer
from tests.experts.chat_server import Answer, chat, problem
from tests.labelling.label_data import read_rows
from tests.pipeline import small_params, working_in, write_params

TEXTS, LABELS = texts(400)
SAID = dict(zip(TEXTS, LABELS, strict=True))
WORDS = ["--text", "post", "--classes", "yes,no", "--question", "Is this post rude?", "--llm", "gpt-x"]
PRICE = ["--price", "100,0"]


def said(request, before):
    post = request.text.split("Text: ", 1)[1].removesuffix("\nAnswer:")
    return Answer(chat(SAID.get(post, "no"), prompt_tokens=10))


@pytest.fixture
def here(server, tmp_path, monkeypatch):
    """A folder with nothing but a file, and a server."""
    server.reply = said
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write(tmp_path / "posts.csv", [{"number": n, "post": text} for n, text in enumerate(TEXTS)])
    with working_in(tmp_path):
        yield tmp_path, server


def write(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def run(here, *words, code=0, command="annotate"):
    server = ["--base-url", here[1].url] if command == "annotate" else []
    done = CliRunner().invoke(app, [command, *map(str, words), *server])
    if code and isinstance(done.exception, AsklessError):
        return " ".join(str(done.exception).split())
    assert done.exit_code == code, (done.output, done.exception)
    return done


def test_the_live_line_has_dollars_and_the_share_certified():
    bar = _AnnotateBar(10, SimpleNamespace(spent=0.25, limit=1.0))
    bar.batch(SimpleNamespace(answered=np.arange(10) < 2, done=np.arange(10) < 3))
    assert bar.bar.postfix == "$0.2500 of $1, 20 % certified"
    bar.round(Round(asked=3, agreement=0.9, calls=4, usd=0.25, certified=6))
    bar.batch(SimpleNamespace(answered=np.arange(10) < 3, done=np.arange(10) < 4))
    assert bar.bar.postfix == "$0.2500 of $1, 90 % certified, small model agrees 90.0 %, about 4 to ask in all"
    bar.close()


def test_one_command_labels_a_bare_file_and_the_next_one_is_answered_by_what_it_made(here, monkeypatch):
    done = run(here, "posts.csv", *WORDS, *PRICE, "--agree", "0.9", "--max-usd", "1", "-o", "out.csv")
    lines = done.stdout.splitlines()
    calls = len(here[1].requests)
    assert lines[0].startswith(f"Of 400 rows {calls} were labelled by gpt-x (${calls / 1000:.4g} of about $0.")
    assert (
        lines[1] == "Promised with 95 % confidence: at least 90 % of all labels are what gpt-x says or would have said."
    )
    assert "not the truth: label about 400 rows by hand and run askless estimate." in lines[2]
    with open("out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["number", "post", "label", "answered_by", "confidence", "cost_usd", "error"]
    assert [row["post"] for row in rows] == TEXTS and [row["number"] for row in rows] == [*map(str, range(400))]
    assert sum(row["label"] == SAID[row["post"]] for row in rows) >= 360
    asked = [row for row in rows if row["answered_by"] == "gpt-x"]
    assert len(asked) == calls < 320 and all(row["label"] == SAID[row["post"]] for row in asked)
    assert {row["cost_usd"] for row in asked} == {"0.001"} and not any(row["confidence"] for row in asked)
    sure = [row["confidence"] for row in rows if row["answered_by"] == "small"]
    assert all(0.4 < float(each) <= 1 and len(each) <= 8 for each in sure)
    page = (here[0] / "out.csv.run/report.html").read_text(encoding="utf-8")
    assert lines[1] in page and not any(text in page for text in TEXTS)
    facts = json.loads((here[0] / "out.csv.run/summary.json").read_text())
    assert set(facts) >= {"promised", "rounds", "classes"} and "What further calls would bring" in page
    (further,) = facts["further"]
    assert further["calls"] == 400 - calls and further["agreement"] == 1 and 0 <= further["corrected"] < 40
    assert further["usd"] == pytest.approx(further["calls"] / 1000, rel=0.1)

    before = len(here[1].requests)
    again = run(here, "posts.csv", *WORDS, *PRICE, "--agree", "0.9", "--max-usd", "1", "-o", "out.csv")
    assert again.stdout == done.stdout and len(here[1].requests) == before, "nothing is paid for twice"

    next_texts, next_labels = texts(300, seed=1)
    monkeypatch.setitem(globals(), "SAID", dict(zip(next_texts, next_labels, strict=True)))
    write(here[0] / "next.csv", [{"post": text} for text in next_texts])
    (here[0] / "params.yaml").write_text("of: another task")
    words = ["next.csv", "--model", "out.csv.run", "--column", "text=post", "-o", "next.jsonl", "--json"]
    facts = json.loads(run(here, *words, command="label").stdout)
    assert facts["reasons"]["kept"] + facts["reasons"]["deferred"] == 300 and facts["reasons"]["kept"] > 50
    answers = [row["answer"] for row in read_rows(here[0] / "next.jsonl")]
    # Nothing is promised of another file.
    assert facts["reasons"]["deferred"] and sum(map(str.__eq__, answers, next_labels)) > 235
    assert len(here[1].requests) == before + facts["reasons"]["deferred"] and not facts["shift"]["alarm"]

    write(here[0] / "other.csv", [{"post": f"la casa {n} non era rossa ma verde e alta"} for n in range(300)])
    words = ["other.csv", "--model", "out.csv.run", "--column", "text=post", "-o", "other.jsonl"]
    noted = " ".join(run(here, *words, command="label").stderr.split())
    assert "The promise is withdrawn: these rows differ from those it was made on in " in noted
    cost = re.search(r"A promise for them, by askless annotate, costs about \$([0-9.]*[0-9])", noted)
    assert float(cost[1]) == pytest.approx(300 * calls / 1000 / 400, rel=0.06)


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "txt", "tsv"])
def test_other_files_in_and_out_keep_their_columns(here, ending):
    few, rows = TEXTS[:60], [{"post": text, "n": n, "score": n / 2} for n, text in enumerate(TEXTS[:60])]
    column, path, out = "post", here[0] / f"in.{ending}", "out.parquet" if ending != "txt" else "out.jsonl"
    if ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "tsv":
        path.write_text("post\tn\n" + "".join(f"{row['post']}\t{row['n']}\n" for row in rows))
    else:
        column, _ = "text", path.write_text("\n".join(few) + "\n")
    words = [column if word == "post" else word for word in WORDS]
    facts = json.loads(run(here, path.name, *words, *PRICE, "--agree", "0.9", "--yes", "-o", out, "--json").stdout)
    table = pq.read_table(out) if out.endswith("parquet") else pa.Table.from_pylist(read_rows(here[0] / out))
    assert table[column].to_pylist() == few and facts["rows"] == 60
    if ending in ("jsonl", "parquet"):
        assert table["score"].to_pylist() == [n / 2 for n in range(60)] and table["n"].to_pylist() == [*range(60)]


def test_rows_without_a_text_and_texts_that_come_again(here):
    rows = [{"post": text} for text in [*TEXTS[:55], "", TEXTS[0], TEXTS[0]]]
    write(here[0] / "odd.csv", rows)
    run(here, "odd.csv", *WORDS, *PRICE, "--agree", "0.9", "--yes", "-o", "out.jsonl", "--prefix", "llm_")
    found = read_rows(here[0] / "out.jsonl")
    assert found[55]["llm_label"] is None and found[55]["llm_error"] == "empty text" and len(found) == 58
    assert {found[at]["llm_label"] for at in (0, 56, 57)} == {SAID[TEXTS[0]]}
    assert [found[at]["llm_cost_usd"] for at in (0, 56, 57)] == [0.001, 0, 0]
    assert here[1].asked().count(here[1].asked()[0]) == 1


def test_people_label_what_nobody_is_sure_of(here):
    unsure = {text for n, text in enumerate(TEXTS[:120]) if n % 10 == 0}

    def doubtful(request, before):
        post = request.text.split("Text: ", 1)[1].removesuffix("\nAnswer:")
        name = SAID[post]
        return Answer(chat(name, {"yes": 0.5, "no": 0.5} if post in unsure else {name: 0.99}, prompt_tokens=10))

    here[1].reply = doubtful
    write(here[0] / "few.csv", [{"post": text} for text in TEXTS[:120]])
    words = ["few.csv", *WORDS, *PRICE, "--small", "linear", "--max-usd", "1", "-o", "out.jsonl"]
    first = run(here, *words, "--queue", "people.csv", "--abstain", "--sure", "0.6").stdout
    calls = len(here[1].requests)
    with open("people.csv", encoding="utf-8", newline="") as file:
        queue = list(csv.DictReader(file))
    assert queue and {row["text"] for row in queue} <= unsure and not any(row["gold"] for row in queue)
    assert f"{len(queue)} rows have no label, in people.csv: nobody is 60 % sure of them. What is promised" in " ".join(
        first.split()
    )
    rows = read_rows(here[0] / "out.jsonl")
    without = [n for n, row in enumerate(rows, 1) if row["label"] is None]
    assert without == sorted(int(row["row"]) for row in queue)
    assert {rows[n - 1]["error"] for n in without} == {"abstained: nobody is 60 % sure"}

    write(here[0] / "answers.csv", [row | {"gold": "yes"} for row in queue[1:]])
    again = run(here, *words, "--people", "answers.csv", "--people-usd", "0.5", "--abstain", "--sure", "0.6").stdout
    assert len(here[1].requests) == calls, "nobody is asked again"
    n = len(queue) - 1
    assert f"People labelled {n} rows ({n} answers, ${n / 2:.4g})" in " ".join(again.split())
    rows = read_rows(here[0] / "out.jsonl")
    mine = [row for row in rows if row["answered_by"] == "people"]
    assert len(mine) == n and {row["label"] for row in mine} == {"yes"} and all(row["cost_usd"] >= 0.5 for row in mine)
    assert sum(row["label"] is None for row in rows) == 1


@pytest.fixture
def by_batches(here, monkeypatch):
    """A server that answers files of requests, its lines out of order."""
    running = BatchServer(seed=3)
    running.line = lambda request: said(request, 0)
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.01)
    yield here[0], running
    running.close()


@pytest.mark.parametrize("cheaper", [[], ["gpt-mini"]])
def test_by_batches_some_days_are_enough_and_what_expired_is_asked_again(by_batches, cheaper):
    server = by_batches[1]
    server.how, server.share = (lambda number: "expired" if number == 1 else "completed"), 0.5
    asked = ["--llm", "gpt-mini", "--price", "5,0"] * len(cheaper) + [*WORDS[-2:], *PRICE]
    words = ["posts.csv", *WORDS[:-2], *asked, "--small", "linear", "--agree", "0.8", "-o", "out.csv", "--batch"]
    facts = json.loads(run(by_batches, *words, "--max-usd", "99", "--json").stdout)
    assert facts["promised"] >= 0.8 and 0 < facts["by_small"]
    assert len(server.batches) <= 5 + 3 * len(cheaper) and not server.requests, "one a round, an expired one once more"
    calls = [facts["calls"], *(each["calls"] for each in facts["cheaper"])]
    assert max(server.answered.values()) == len(calls) and server.answered.total() == sum(calls) and calls[0] < 400
    paid = calls[0] / 1000 + sum(calls[1:]) / 20000
    assert not facts["failed"] and facts["paid_usd"] == pytest.approx(paid)


def test_batches_that_a_limit_ends_are_no_more_than_it_pays_for(by_batches):
    words = ["posts.csv", *WORDS, "--price", "100,0", "--small", "linear", "-o", "out.csv", "--batch"]
    facts = json.loads(run(by_batches, *words, "--max-usd", "0.5", "--json").stdout)
    assert facts["stopped"] in ("money", "everything") and 0.3 < facts["paid_usd"] <= 0.5
    assert facts["promised"] and max(by_batches[1].answered.values()) == 1


def test_a_dry_run_asks_nobody_and_says_what_it_costs(here):
    done = run(here, "posts.csv", *WORDS, *PRICE, "--agree", "0.9", "-o", "out.csv", "--dry-run")
    assert (
        done.stdout.startswith("400 rows, 400 different texts; nobody was asked.")
        and "The first 50 texts:" in done.stdout
    )
    short = "At least 27 rows drawn by chance certify that, 6.8 % of all: in so short a file that alone is much of"
    assert short in " ".join(done.stdout.split())
    assert not here[1].requests and not (here[0] / "out.csv.run").exists()


@pytest.mark.parametrize("of_key", [False, True])
def test_the_limit_is_hard_and_what_it_buys_is_said(of_key, here, monkeypatch):
    """Be it that of the run or that of its key."""
    monkeypatch.setattr(encoder, "at_hand", lambda: None)
    if of_key:
        run(here, "OPENAI_API_KEY", "--usd-in-all", "0.2", command="limit")
    limit = "1" if of_key else "0.2"
    done = run(here, "posts.csv", *WORDS, *PRICE, "--max-usd", limit, "-o", "out.parquet", "--show-texts")
    left = "What is left today of the limit of $0.2 in all for OPENAI_API_KEY, $0.200, is "
    assert (left in " ".join(done.stderr.split())) == of_key
    assert "No sentence encoder is here, so that the small model learns from words and characters alone." in done.stderr
    assert 100 <= len(here[1].requests) <= 200
    of = (
        "$0.2 in all for OPENAI_API_KEY was reached: a higher one" if of_key else "$0.2 was reached: a higher --max-usd"
    )
    assert f"The limit of {of} promises more." in " ".join(done.stdout.split())
    facts = json.loads((here[0] / "out.parquet.run/summary.json").read_text())
    assert facts["paid_usd"] <= 0.2 and facts["stopped"] == "money"


def test_a_server_that_refuses_ends_the_run_and_the_same_command_goes_on(here):
    here[1].reply = lambda request, before: Answer(problem("no such key", "invalid_api_key"), 401)
    words = ["posts.csv", *WORDS, *PRICE, "--agree", "0.9", "--max-usd", "1", "-o", "out.csv"]
    assert "stopped asking 'gpt-x'" in run(here, *words, "--patience", "0", code=1)
    here[1].reply = said
    run(here, *words)
    assert (here[0] / "out.csv").exists()


def test_a_class_is_found_a_group_is_promised_and_people_are_what_it_is_about(here):
    rows = [{"post": text, "forum": "ab"[n % 2], "gold": ""} for n, text in enumerate(TEXTS)]
    write(here[0] / "posts.csv", rows)
    words = ["posts.csv", *WORDS, *PRICE, "--yes", "--small", "linear", "--answers", "answers"]
    goals = ["--recall", "yes=0.8", "--precision", "yes=0.7", "--per-group", "forum"]
    done = run(here, *words, *goals, "-o", "out.jsonl")
    promise = done.stdout.splitlines()[1]
    assert promise.startswith("Promised with 95 % confidence, all together: ")
    assert "% of the rows that gpt-x calls 'yes' or would have are labelled so, in each of 2 groups; " in promise
    assert promise.endswith("Nothing else is promised.")
    found = [(row["label"], SAID[row["post"]]) for row in read_rows(here[0] / "out.jsonl")]
    assert sum(said == "yes" and label != "yes" for label, said in found) < 50
    # What was promised in groups is withdrawn for other texts as any promise.
    least = min(each["share"] for each in json.loads((here[0] / "out.jsonl.run/summary.json").read_text())["promises"])
    assert json.loads((here[0] / "out.jsonl.run/model/bundle.json").read_text())["facts"]["promised"] == least
    page = (here[0] / "out.jsonl.run/report.html").read_text(encoding="utf-8")
    assert page.count("recall of yes") == page.count("precision of yes") == 2

    write(here[0] / "few.csv", [{"post": text, "gold": SAID[text]} for text in TEXTS[::5]])
    done = run(here, *words, "--agree", "0.8", "--gold", "few.csv", "-o", "people.jsonl")
    assert "% of all labels are what people say (gpt-x gives 80 of 80 human labels, so at least 9" in done.stdout
    # Most of its answers were kept already: what it did not pay for tells nothing of what the file costs.
    facts = json.loads((here[0] / "people.jsonl.run/summary.json").read_text())
    assert 0 < facts["paid_usd"] < 0.1 and facts["everything_usd"] == pytest.approx(0.4, rel=0.05)
    refused = run(here, *words, "--agree", "0.98", "--gold", "few.csv", "-o", "most.jsonl", code=1)
    assert (
        "Of 80 human labels gpt-x gives 80, which promises 9" in refused and "% at most, whatever is paid." in refused
    )
    write(here[0] / "odd.csv", [{"post": "another", "gold": "yes"}])
    write(here[0] / "two.csv", [{"post": text, "gold": "yes"} for text in TEXTS[:15] * 2])
    several = "15 labels more than its texts have rows in the other file"
    for name, message in (
        ("two.csv", several),
        ("odd.csv", "1 text that the file to be labelled has not"),
        ("posts.csv", "0 human labels"),
    ):
        assert message in run(here, *words, "--agree", "0.8", "--gold", name, "-o", "no.jsonl", code=1)


def test_a_cheaper_llm_is_asked_first_and_the_promise_is_about_the_last(here):
    def two(request, before):
        post = request.text.split("Text: ", 1)[1].removesuffix("\nAnswer:")
        wrong = request.body["model"] == "gpt-mini" and TEXTS.index(post) % 20 == 0
        return Answer(chat({"yes": "no", "no": "yes"}[SAID[post]] if wrong else SAID[post], prompt_tokens=10))

    here[1].reply = two
    words = ["posts.csv", *WORDS[:-1], "gpt-mini", "--llm", "gpt-x", "--price", "5,0", *PRICE, "--small", "linear"]
    words += ["--agree", "0.95", "--max-usd", "1", "-o", "out.jsonl"]
    dry = run(here, *words, "--dry-run").stdout
    assert "gpt-mini, asked where it is expected to save more: $" in dry and not here[1].requests
    first, second, _ = run(here, *words).stdout.split("\n", 2)
    asked = [request.body["model"] for request in here[1].requests]
    rows = read_rows(here[0] / "out.jsonl")
    assert asked.count("gpt-x") == sum(row["answered_by"] == "gpt-x" for row in rows) < 240 < asked.count("gpt-mini")
    own = sum(row["answered_by"] == "gpt-mini" for row in rows)
    assert f"gpt-mini was asked about {asked.count('gpt-mini')} texts, for $0.0" in first
    assert first.endswith(f" of the bill; {own} rows have its label.") and own > 50
    small = sum(row["answered_by"] == "small" for row in rows)
    assert f" A small model that learnt from its answers labelled {small}." in first and small
    assert second.endswith("at least 95 % of all labels are what gpt-x says or would have said.")
    assert sum(row["label"] == SAID[row["post"]] for row in rows) >= 380
    paid = asked.count("gpt-x") / 1000 + asked.count("gpt-mini") / 20000
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(paid)
    assert "Paid to gpt-mini and gpt-x" in (here[0] / "out.jsonl.run/report.html").read_text(encoding="utf-8")
    assert [*json.loads((here[0] / "out.jsonl.run/model/terms.json").read_text())["experts"]] == ["gpt-x"]
    again = len(here[1].requests)
    assert run(here, *words).stdout.split("\n", 2)[:2] == [first, second] and len(here[1].requests) == again


def test_the_next_file_is_answered_as_it_was_said_on_terms_that_were_agreed_to(here, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", here[1].url)
    write(here[0] / "few.csv", [{"the post": text} for text in TEXTS[:60]])
    words = ["annotate", "few.csv", "--text", "the post", *WORDS[2:], *PRICE, "--small", "linear", "--max-usd", "0.05"]
    done = CliRunner().invoke(app, [*words, "-o", "out.csv"])
    assert done.exit_code == 0 and "<polyline" not in (here[0] / "out.csv.run/report.html").read_text("utf-8")
    said = shlex.split(done.stdout.splitlines()[-1].removeprefix("The next file: askless label "))
    again = [{"NEXT": "few.csv", "OUT": "next.jsonl"}.get(word, word) for word in said]
    run(here, *again, "--max-usd", "1", command="label")
    terms = here[0] / "out.csv.run/model/terms.json"
    terms.write_text(terms.read_text().replace("rude", "kind"))
    why = run(here, *again, "--max-usd", "1", command="label", code=1)
    assert f"texts would be sent to 'gpt-x' at '{here[1].url}', as OPENAI_BASE_URL says, with the key" in why


def test_rows_whose_cells_are_of_several_kinds_are_written_as_they_came(here):
    rows = [{"post": text, "of": n} for n, text in enumerate(TEXTS[:6])]
    rows[1]["post"], rows[2]["of"], rows[3]["of"] = 7, "x", {"a": [1]}
    (here[0] / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(here, "odd.jsonl", *WORDS, *PRICE, "--agree", "0.9", "--max-usd", "1", "-o", "out.jsonl")
    found = read_rows(here[0] / "out.jsonl")
    assert [row["post"] for row in found] == [TEXTS[0], "7", *TEXTS[2:6]]
    assert [row["of"] for row in found] == ["0", "1", "x", '{"a": [1]}', "4", "5"]
    assert [row["error"] for row in found] == [None, "post is no text but int", *[None] * 4]


def test_an_error_has_a_price(here):
    words = ["posts.csv", *WORDS, *PRICE, "--yes", "--small", "linear", "--error-usd", "0.01", "-o", "out.jsonl"]
    done = run(here, *words)
    said = done.stdout.splitlines()[1]
    assert (
        said.startswith("Estimated: ") and "At $0.01 each that is $" in said and said.endswith("Nothing is promised.")
    )
    before = len(here[1].requests)
    run(here, *words[:-1], "again.jsonl", "--answers", "out.jsonl.run/answers")
    assert len(here[1].requests) == before < len(TEXTS), "calls have their price also where the first ones are kept"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Got neither a goal nor --max-usd. Allowed: --agree, --recall"),
        (["--agree", "97"], "An agreement of 97. Allowed: 0.5 or more and less than 1, such as 0.97."),
        (["--recall", "maybe=0.9"], "Unknown class 'maybe'"),
        (["--agree", "0.9", "--per-group", "forum"], "no column 'forum' (its columns are number, post)"),
        (["--agree", "0.9", "--error-usd", "1"], "A price of an error and a goal. Allowed: more than 0, and no other"),
        (["--max-usd", "1", "--per-group", "number"], "Got --per-group without a goal. Allowed: --agree, --recall"),
        (
            ["--recall", "yes=0.9", "--gold", "few.csv"],
            "Got --gold and a goal other than --agree. Allowed: --gold with",
        ),
        (["--agree", "0.9", "--per-group", "number"], "400 groups of rows"),
        (["--agree", "0.9", "--text", "tweet"], "no column 'tweet' (its columns are number, post)"),
        (
            ["--max-usd", "0.01", "--llm", "small", "--price", "1,1"],
            "The LLM is called 'small', as are answers of others here. Allowed: ",
        ),
        (["--agree", "0.9", "--classes", "yes"], "--classes got yes. Allowed: two or more different names."),
        (["--agree", "0.9", "--llm", "b", "--price", "cheap"], "--price got 'cheap'. Allowed: dollars for a million"),
        (["--agree", "0.9", "--llm", "b"], "Got 2 of --llm and 1 of --price. Allowed: a price for each, in the same"),
        (["--agree", "0.9", "--llm", "gpt-x", "--price", "1,1"], "--llm got 'gpt-x' twice. Allowed: different ones, "),
        (["--agree", "0.9", "--small", "openai"], "backend openai, which learns nothing. Allowed: "),
        (["--agree", "0.9"], "Nothing was asked. Allow it by --yes or --max-usd, or by ASKLESS_YES=1"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_paid(here, words, message):
    assert message in run(here, "posts.csv", *WORDS, *PRICE, "-o", "out.csv", *words, code=1)
    assert not here[1].requests


def test_a_model_without_a_known_price_and_a_column_of_ours(here):
    words = ["--agree", "0.9", "--yes", "-o", "out.csv"]
    refused = run(here, "posts.csv", *WORDS, *words, code=1)
    why = f"no model of that name is listed at {here[1].url}"
    assert f"No price is known of 'gpt-x': {why}. Allowed: --price IN,OUT" in refused
    write(here[0] / "own.csv", [{"post": text, "label": "?"} for text in TEXTS[:5]])
    assert "a column 'label' already" in run(here, "own.csv", *WORDS, *PRICE, *words, code=1)
    run(here, "posts.csv", *WORDS, *PRICE, *words, "--max-usd", "0.06")
    again = run(here, "posts.csv", *WORDS, *PRICE, "--agree", "0.8", "--yes", "-o", "out.csv", code=1)
    assert "agree was 0.9 when this run began, and is 0.8 now" in again


def test_an_expert_of_params_without_a_price_is_not_free(here):
    settings = small_params()
    settings["experts"]["own"] = {"backend": "openai", "model": "m", "base_url": here[1].url, "top_logprobs": 0}
    write_params(here[0], settings)
    words = ["posts.csv", *WORDS[:-1], "own", "--agree", "0.9", "--max-usd", "0.05", "-o", "out.csv"]
    refused = run(here, *words, code=1)
    assert "No price is known of 'own': params.yaml has none. Allowed: --price IN,OUT" in refused
    assert not here[1].requests
    run(here, *words, *PRICE)
    assert 0 < len(here[1].requests) <= 50
