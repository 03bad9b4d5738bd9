"""`askless label`: what a person types and reads, and every input that is none."""

import csv
import json
import os
import random
import sqlite3
import zlib
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from askless.cli import app
from askless.data.stream import ItemSource
from askless.errors import AsklessError
from askless.labelling.outputs import OUTPUT
from askless.registry import aliases as moves
from tests.experts.chat_server import Answer, chat, problem
from tests.labelling.label_data import prices, read_rows, write_items
from tests.pipeline import working_in
from tests.production_data import SHARE, said, texts
from tests.registry_data import LLM, PRICE, bundle_path, register, registry_in

ITEMS = texts(60)


@pytest.fixture
def here(place, tmp_path):
    """A folder with the parameters and the items, the server as it was at first; what runs needs no registry."""
    folder, bundle, server = place
    server.reply = said
    server.requests.clear()
    (tmp_path / "params.yaml").write_text((folder / "params.yaml").read_text())
    write_items(tmp_path / "in.jsonl", ITEMS)
    with working_in(tmp_path):
        yield tmp_path, bundle, server


def run(*words, code=0, **options):
    done = CliRunner().invoke(app, ["label", *(str(word) for word in words)], **options)
    if isinstance(done.exception, AsklessError):
        done.error = " ".join(str(done.exception).split())
        assert code == 1
        return done
    assert done.exit_code == code, (done.output, done.exception)
    return done


def refused(*words, **options):
    return run(*words, code=1, **options).error


def labelled(here, *words, out="out.jsonl", items="in.jsonl", **options):
    run(items, "--model", here[1], "-o", out, "--json", *words, **options)
    return read_rows(here[0] / out)


def test_each_row_has_its_answer_who_gave_it_why_and_at_which_cost(here):
    rows = labelled(here)
    assert list(rows[0]) == OUTPUT.names
    assert [row["id"] for row in rows] == [f"own-{n}" for n in range(60)] and [row["text"] for row in rows] == ITEMS
    deferred = [row["reason"] == "deferred" for row in rows]
    assert sum(deferred) == pytest.approx(60 * SHARE, abs=2) and deferred == sorted(deferred)
    for row, put in zip(rows, deferred, strict=True):
        long = "A long text" in row["text"]
        assert (row["expert"], row["answer"]) == ((LLM, str(int(long))) if put else ("majority", "0"))
        assert row["cost"] == (pytest.approx(PRICE) if put else 0) and row["error"] is None
        assert row["score"] == -len(row["text"])
    assert len(here[2].requests) == sum(deferred)


def test_the_summary_says_what_was_done_and_what_it_cost(here):
    done = run("in.jsonl", "--model", here[1], "-o", "out.csv", "--max-usd", "0.01")
    lines = done.stdout.splitlines()
    assert lines[0] == f"60 rows by {here[1]}: out.csv"
    table = [line.split()[:2] for line in lines[2:5]]
    assert [name for name, _ in table] == ["kept", "deferred", "limit"] and sum(int(n) for _, n in table) == 60
    assert int(table[1][1]) == 10 == len(here[2].requests)
    assert "Paid to expensive experts: $0.01 (the limit is $0.01), 10 calls of demo-xs." in done.stdout
    assert "rows can be answered anew: run again with --again with a higher --max-usd." in done.stderr
    with open("out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"own-{n}" for n in range(60)]
    limited = [row for row in rows if row["reason"] == "limit"]
    assert {row["expert"] for row in limited} == {"majority"}
    assert limited[0]["error"] == f"{LLM}: limit: the spend limit of $0.01 is reached"
    run("in.jsonl", "--model", here[1], "-o", "out.csv", "--max-usd", "1", "--again")
    with open("out.csv", encoding="utf-8", newline="") as file:
        assert {row["reason"] for row in csv.DictReader(file)} == {"kept", "deferred"}
    assert max(here[2].asked().count(text) for text in here[2].asked()) == 1, "what was paid for is not asked again"


def test_the_same_command_again_asks_and_changes_nothing(here):
    labelled(here)
    before, asked = (here[0] / "out.jsonl").read_bytes(), len(here[2].requests)
    labelled(here)
    assert (here[0] / "out.jsonl").read_bytes() == before and len(here[2].requests) == asked


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet", "txt", "pipe"])
def test_every_format_gives_the_same_answers(here, ending):
    told = [" ".join(text.split()) for text in ITEMS]
    rows = [{"text": text, "id": n + 1} for n, text in enumerate(told)]
    path, options, name = here[0] / f"items.{ending}", {}, f"items.{ending}"
    if ending == "csv":
        with open(path, "w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, ["text", "id"], quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    elif ending == "txt":
        path.write_text("".join(f"{text}\n" for text in told))
    else:
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        path.write_text(lines)
        name, options = ("-", {"input": lines}) if ending == "pipe" else (name, {})
    found = labelled(here, "--chunk-rows", 7, items=name, **options)
    assert [row["id"] for row in found] == [str(n + 1) for n in range(60)]
    assert [row["answer"] for row in found] == [row["answer"] for row in labelled(here, out="other.jsonl")]


def test_a_parquet_output_has_its_facts_with_it_and_no_texts_where_none_are_wanted(here):
    run("in.jsonl", "--model", here[1], "-o", "out.parquet", "--no-text", "--chunk-rows", 25)
    table = pq.read_table("out.parquet")
    assert table.column_names == [name for name in OUTPUT.names if name != "text"] and table.num_rows == 60
    assert json.loads(table.schema.metadata[b"model"]) == str(here[1])


MARKER = "Theodora Quillfeather, 5 Elm Street"


def left(folder):
    """Files under a folder in which the marker's name can be read."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = b"Quillfeather"
        inside = path.read_bytes()
        if path.suffix == ".sqlite":
            with closing(sqlite3.connect(path)) as db:
                has = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone()
                replies = db.execute("SELECT reply FROM answers WHERE reply IS NOT NULL") if has else ()
                inside += b"".join(zlib.decompress(row[0]) for row in replies if isinstance(row[0], bytes))
        if path.suffix == ".parquet":
            inside += json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        found += [path.name] if name in inside else []
    return found


def test_no_text_leaves_none_in_any_file_of_the_run(here):
    def refusing(request, before):
        """Some it refuses, and says what it read."""
        if len(request.text) % 2:
            return Answer(problem(f"Flagged input: '{request.text[:60]}' ..."), status=400)
        word = said(request, before).body["choices"][0]["message"]["content"]
        unsure = len(request.text) % 4
        return Answer(chat(f"I read: {request.text} {'so what' if unsure else f'Answer: {word}'}"))

    here[2].reply = refusing
    items = [f"{MARKER}: {text}" for text in ITEMS]
    write_items(here[0] / "in.jsonl", [*items, f"{MARKER} " * 4000])
    with_log = ("--log", here[0] / "log", "--no-text", "--on-fault", "small")
    rows = labelled(here, *with_log)
    (here[0] / "in.jsonl").unlink()
    assert left(here[0]) == []
    assert {"deferred", "fault"} <= {row["reason"] for row in rows} and "text" not in rows[0]
    for text, row in zip(items, rows, strict=False):
        assert row["reason"] != "deferred" or row["answer"] == str(int("A long text" in text))
    assert any("unparsable reply" in (row["error"] or "") for row in rows)
    assert any("HTTP 400: Flagged input: '..." in (row["error"] or "") for row in rows)


def test_a_run_keeps_to_what_it_was_told_about_texts(here):
    labelled(here, "--no-text")
    (here[0] / "out.jsonl").unlink()
    base = ("in.jsonl", "--model", here[1], "-o", "out.jsonl")
    assert "texts was 'left out' when this run began, and is 'not given' now" in refused(*base)


def test_an_error_that_nobody_foresaw_shows_no_text_where_none_is_wanted(here, monkeypatch):
    def broken(*args):
        raise ValueError(f"cannot read {MARKER}")

    monkeypatch.setattr("askless.labelling.run.answer_chunk", broken)
    done = CliRunner().invoke(app, ["label", "in.jsonl", "--model", str(here[1]), "-o", "out.jsonl", "--no-text"])
    assert done.exit_code == 1 and "ValueError; what it says is left out" in done.stderr
    assert "in broken" in done.stderr and MARKER not in done.stderr


def test_a_text_that_comes_again_is_paid_for_once_and_what_is_no_text_is_said(here):
    long = ITEMS[-1]
    write_items(here[0] / "in.jsonl", [long, "", long, None, "short", f" {long}\n"])
    rows = labelled(here, "--chunk-rows", 3)
    assert [row["reason"] for row in rows] == [
        "deferred", "unanswerable", "deferred", "unanswerable", "kept", "deferred"
    ]  # fmt: skip
    assert [row["cost"] for row in rows] == [pytest.approx(PRICE), 0, 0, 0, 0, 0] and len(here[2].requests) == 1
    assert (rows[1]["answer"], rows[1]["expert"], rows[1]["error"]) == (None, None, "empty text")


def test_a_row_whose_text_is_none_is_marked_and_the_others_are_answered(here):
    rows = [{"id": n, "text": 5 if n == 2 else f"text {n}"} for n in range(6)]
    (here[0] / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    rows = labelled(here, "--chunk-rows", 4)
    assert [row["id"] for row in rows] == [str(n) for n in range(6)]
    assert [row["reason"] == "unanswerable" for row in rows] == [n == 2 for n in range(6)]
    assert (rows[2]["text"], rows[2]["error"]) == (None, "text is no text but int")


def test_a_row_of_the_output_is_a_line_of_a_text_file(here):
    (here[0] / "in.txt").write_text("first\n\nsecond\n   \nthird\n")
    rows = labelled(here, items="in.txt")
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["reason"] == "unanswerable" for row in rows] == [False, True, False, True, False]


def test_a_budget_on_the_command_line_is_kept(here):
    assert {row["reason"] for row in labelled(here, "--share", 0)} == {"kept"}
    assert {row["reason"] for row in labelled(here, "--share", 1, out="all.jsonl")} == {"deferred"}


def test_decisions_go_to_the_log_where_one_is_named(here):
    from askless.monitoring.decision_log import DecisionLog

    labelled(here, "--log", "log", "--chunk-rows", 20)
    labelled(here, "--log", "log", "--chunk-rows", 20)
    rows = DecisionLog("log").read()
    assert rows.num_rows == 60 and rows["text"].null_count == 60


def test_a_server_that_fails_is_borne_where_the_small_expert_may_stand_in(here):
    here[2].reply = lambda request, before: Answer(problem("no"), status=503)
    rows = labelled(here, "--on-fault", "small")
    assert {row["reason"] for row in rows} == {"kept", "fault", "paused"}
    assert {row["answer"] for row in rows} == {"0"} and all(row["expert"] == "majority" for row in rows)
    here[2].reply = said
    again = labelled(here, "--on-fault", "small", "--again")
    assert {row["reason"] for row in again} == {"kept", "deferred"}


def test_what_is_in_doubt_is_asked_again_only_where_that_is_said(here):
    garbled = [text for text in ITEMS if text.endswith("7")]
    here[2].reply = lambda request, before: (
        Answer(b"rubbish") if not before and any(text in request.text for text in garbled) else said(request, before)
    )
    assert {row["reason"] for row in labelled(here)} == {"kept", "deferred", "in doubt"}
    assert {row["reason"] for row in labelled(here, "--again")} == {"kept", "deferred", "in doubt"}
    assert max(here[2].asked().count(text) for text in here[2].asked()) == 1
    assert {row["reason"] for row in labelled(here, "--again", "--ask-in-doubt")} == {"kept", "deferred"}


def test_a_server_that_fails_ends_the_run_where_it_is_waited_for_and_nothing_is_lost(here):
    here[2].reply = lambda request, before: (
        Answer(problem("who are you"), status=401) if len(here[2].requests) > 8 else said(request, before)
    )
    error = refused("in.jsonl", "--model", here[1], "-o", "out.jsonl", "--chunk-rows", 10)
    assert "HTTP 401: the key was refused" in error and not (here[0] / "out.jsonl").exists()
    here[2].reply = said
    rows = labelled(here, "--chunk-rows", 10)
    assert {row["reason"] for row in rows} == {"kept", "deferred"}
    answered = [text for text in here[2].asked() if here[2].asked().count(text) > 1]
    assert len(set(answered)) <= 4, "only those that were refused are asked again"


def test_a_run_keeps_the_version_that_it_began_with(here, empty_store):
    import shutil

    for name in ("first", "second"):
        shutil.copytree(here[1], here[0] / name / bundle_path())
    with registry_in(here[0], empty_store) as client:
        register(client, here[0] / "first", budget=0.4)
        moves.promote("askless-olhs", 1, expected=None, reason="test")
        address = "models:/askless-olhs@champion"
        here[2].reply = lambda request, before: Answer(problem("no"), status=401)
        assert "the key was refused" in refused("in.jsonl", "--model", address, "-o", "out.jsonl")
        register(client, here[0] / "second", budget=0.1)
        moves.promote("askless-olhs", 2, expected=1, reason="test")
        here[2].reply = said
        assert run("in.jsonl", "--model", address, "-o", "out.jsonl").stdout.startswith(
            "60 rows by models:/askless-olhs/1:"
        )
        assert run("in.jsonl", "--model", address, "-o", "new.jsonl").stdout.startswith(
            "60 rows by models:/askless-olhs/2:"
        )


def test_a_dry_run_asks_nobody_and_says_what_it_would_take(here):
    done = run("in.jsonl", "--model", here[1], "-o", "out.jsonl", "--dry-run", "--max-usd", "0.01")
    assert here[2].requests == [] and not (here[0] / "out.jsonl.run").exists()
    assert done.stdout.startswith(f"60 rows, all decided by {here[1]}; nobody was asked.")
    forecast = json.loads(run("in.jsonl", "--model", here[1], "-o", "out.jsonl", "--dry-run", "--json").stdout)
    deferred = sum(row["reason"] == "deferred" for row in labelled(here))
    assert forecast["experts"][0]["calls"] == {"value": deferred, "low": deferred, "high": deferred}
    assert forecast["usd"]["value"] == pytest.approx(PRICE * deferred)
    assert "A limit of $0.01 is not enough" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.jsonl", None, "gone.jsonl: no such file. Allowed: CSV (.csv, .tsv), JSON lines"),
        ("empty.jsonl", b"", "empty.jsonl: an empty file."),
        ("blank.jsonl", b"\n\n", "blank.jsonl: no rows. Allowed: at least one."),
        ("items.docx", b"x", "a file that ends in '.docx'"),
        ("cut.jsonl", b'{"text": "one"}\n{"text": "tw', "cut.jsonl: line 2: Unterminated string starting at"),
        ("list.jsonl", b'[{"text": "one"}]\n', "line 1: a list. Allowed: an object of JSON on each line"),
        ("other.jsonl", b'{"tweet": "x"}\n', "line 1: no 'text' (it has tweet). Allowed: a 'text'. Say --column text="),
        ("bytes.jsonl", b'{"text": "ok"}\n{"text": "\xff"}\n', "line 2: no UTF-8 (byte 0xff). Allowed: text in UTF-8."),
        ("half.jsonl", b'{"text": "\\ud800"}\n', "line 1: half a character in text."),
        ("deep.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", "line 1: not to be read"),
        ("bytes.csv", b"text\nok\n\xff\n", "line 3: no UTF-8 (byte 0xff)"),
        ("ragged.csv", b"text,id\nok,1\nno\n", "line 3: 2 columns in the header, 1 here."),
        ("open.csv", b'text\n"never closed\n', "malformed (unexpected end of data)"),
        ("other.csv", b"tweet\nx\n", "no 'text' (it has tweet)"),
        ("bad.parquet", b"PAR1 and no more", "bad.parquet: not readable ("),
    ],
)
def test_items_that_are_none_are_told_and_what_was_answered_is_kept(here, name, content, said):
    if content is not None:
        (here[0] / name).write_bytes(content)
    error = refused(name, "--model", here[1], "-o", "out.jsonl", "--chunk-rows", 1)
    assert said in error and "Traceback" not in error
    if name == "cut.jsonl":
        assert "Correct the file and run again: rows answered so far are kept." in error
        (here[0] / name).write_bytes(b'{"text": "one"}\n{"text": "two"}\n')
        assert len(labelled(here, "--chunk-rows", 1, items=name)) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-usd", "0"], "A spend limit of 0 dollars. Allowed: above 0, up to 1e+09."),
        (["--max-usd", "-1"], "A spend limit of -1 dollars."),
        (["--max-usd", "nan"], "A spend limit of nan dollars."),
        (["--share", "1.5"], "Budget share is 1.5. Allowed: a finite number from 0 to 1."),
        (["--share", "0.5", "--per-1000", "1"], "Got both --share and --per-1000."),
        (["--column", "txt=post"], "Unknown column 'txt'. Known: id, text. Did you mean 'text'?"),
        (["--params", "gone.yaml"], "gone.yaml: no such file."),
        (["-o", "out.xlsx"], "out.xlsx: a file that ends in '.xlsx'. Allowed: .jsonl, .csv, .parquet."),
    ],
)
def test_options_that_cannot_be_meant_are_told_before_anybody_is_asked(here, words, said):
    base = ["in.jsonl", "--model", here[1], *([] if "-o" in words else ["-o", "out.jsonl"])]
    assert said in refused(*base, *words)
    assert here[2].requests == []


def test_a_missing_key_is_told_before_anything_is_asked(here, monkeypatch):
    prices(here[0], "")
    changed = yaml.safe_load((here[0] / "params.yaml").read_text())
    del changed["experts"][LLM]["base_url"]
    (here[0] / "params.yaml").write_text(yaml.safe_dump(changed))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert "the environment variable OPENAI_API_KEY is not set" in refused(
        "in.jsonl", "--model", here[1], "-o", "o.jsonl"
    )


def test_an_output_of_another_run_is_refused(here):
    (here[0] / "mine.jsonl").write_text("{}\n")
    error = refused("in.jsonl", "--model", here[1], "-o", "mine.jsonl")
    assert "mine.jsonl: a file that no run of label made" in error and (here[0] / "mine.jsonl").read_text() == "{}\n"
    labelled(here)
    before = (here[0] / "out.jsonl").read_bytes()
    base = ["in.jsonl", "--model", here[1], "-o", "out.jsonl"]
    assert "budget was 'share 0.4' when this run began, and is 'share 0.2' now" in refused(*base, "--share", "0.2")
    write_items(here[0] / "other.jsonl", ITEMS[::-1])
    assert "it answers other rows than 1 to 60 of other.jsonl" in refused("other.jsonl", *base[1:])
    labelled(here, "--chunk-rows", 10, out="parts.jsonl")
    write_items(here[0] / "less.jsonl", ITEMS[:30])
    less = ["less.jsonl", "--model", here[1], "-o", "parts.jsonl", "--chunk-rows", "10"]
    assert "30 rows, fewer than this run has answered" in refused(*less)
    assert (here[0] / "out.jsonl").read_bytes() == before


def test_two_processes_do_not_share_a_run(here):
    from askless.labelling.run import Run

    with Run.opened(here[0] / "out.jsonl", {}):
        assert "another process is at this run" in refused("in.jsonl", "--model", here[1], "-o", "out.jsonl")


def test_a_bundle_without_an_expensive_expert_or_terms_is_refused(here):
    (here[0] / "params.yaml").unlink()
    assert "terms.json: no such file. Allowed: the terms on which expensive experts" in refused(
        "in.jsonl", "--model", here[1], "-o", "out.jsonl"
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["jsonl", "csv", "txt", "parquet"]), st.integers(0, 2**32), st.data())
def test_whatever_is_in_a_file_it_is_read_or_refused_in_a_sentence(tmp_path, ending, seed, data):
    """Valid files with bytes changed at random, and files of random bytes."""
    rng, path = random.Random(seed), tmp_path / f"items.{ending}"
    rows = [{"id": str(n), "text": f"some text, {n}"} for n in range(5)]
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "csv":
        path.write_text("id,text\n" + "".join(f'{r["id"]},"{r["text"]}"\n' for r in rows))
    else:
        path.write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    content = bytearray(data.draw(st.binary(min_size=1, max_size=60)) if rng.random() < 0.3 else path.read_bytes())
    for _ in range(rng.randint(1, 4)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(bytes(content[: rng.randint(1, len(content))]))
    try:
        for chunk in ItemSource.of(str(path), None, {}).chunks(2):
            assert len(chunk.ids) == len(chunk.texts) and chunk.digest
    except AsklessError as error:
        assert str(path) in str(error) and "Allowed: " in str(error)


def test_a_ledger_that_is_missing_is_no_new_limit(here):
    labelled(here, "--max-usd", 1)
    asked = len(here[2].requests)
    (here[0] / "out.jsonl").unlink()
    for left in (here[0] / "out.jsonl.run").glob("ledger.sqlite*"):
        left.unlink()
    error = refused("in.jsonl", "--model", here[1], "-o", "out.jsonl", "--max-usd", 1)
    assert "no ledger, though answers were paid by it" in error and len(here[2].requests) == asked


def test_no_cell_of_a_csv_is_a_formula_for_a_spreadsheet(here):
    texts = ["=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(1)", "\tx", "-5", "plain"]
    rows = [{"id": f"={n}", "text": text} for n, text in enumerate(texts)]
    (here[0] / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = {}
    for more in ([], ["--raw-csv"]):
        run("f.jsonl", "--model", here[1], "-o", f"f{len(more)}.csv", *more)
        with open(here[0] / f"f{len(more)}.csv", newline="") as file:
            written[len(more)] = [(row["id"], row["text"]) for row in csv.DictReader(file)]
    assert written[1] == [(f"={n}", text) for n, text in enumerate(texts)]
    assert written[0] == [(f"'={n}", text if text in ("-5", "plain") else f"'{text}") for n, text in enumerate(texts)]


def test_what_holds_texts_and_answers_is_read_by_its_owner_alone(here, umask):
    labelled(here, "--log", here[0] / "log")
    files = [path for path in here[0].rglob("*") if path.is_file() and path.suffix in (".sqlite", ".parquet")]
    kept = [path for path in files if {"log", "out.jsonl.run"} & set(path.relative_to(here[0]).parts)]
    assert {path.suffix for path in kept} == {".sqlite", ".parquet"}
    assert {oct(path.stat().st_mode & 0o777) for path in kept} == {"0o600"}
    assert oct((here[0] / "out.jsonl").stat().st_mode & 0o777) == "0o640", "as the umask says"


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)
