"""The flow `annotate` as Prefect runs it: a folder of bare files in, labelled files with a promise out, each once."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest

from askless.errors import BudgetError, ConfigError, ExpertError
from flows.annotate import annotate
from tests.annotating.texts import texts
from tests.experts.chat_server import Answer, chat
from tests.pipeline import small_params, working_in, write_params

pytestmark = pytest.mark.usefixtures("prefect_api")

POSTS, LABELS = texts(260)
SAID = dict(zip(POSTS, [str(int(label == "yes")) for label in LABELS], strict=True))


def said(request, before):
    (label,) = {label for post, label in SAID.items() if post in request.text}
    return Answer(chat(label, prompt_tokens=10))


@pytest.fixture
def shop(tmp_path, server, monkeypatch):
    """A project with an LLM at 1 dollar for 1,000 calls, and a folder for new files."""
    server.reply = said
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    settings = small_params()
    for name, usd in (("mini", 5.0), ("own", 100.0)):
        settings["experts"][name] = {"backend": "openai", "model": name, "base_url": server.url, "concurrency": 2}
        settings["costs"]["prices"][name] = {"usd_per_1m_prompt_tokens": usd}
    write_params(tmp_path, settings)
    incoming = tmp_path / "data/unlabelled/olhs"
    incoming.mkdir(parents=True)
    (incoming / "a.jsonl").write_text(
        "".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(POSTS))
    )
    (incoming / "bad.csv").write_text("tweet\nfine\n")
    with working_in(tmp_path):
        yield tmp_path


def test_each_file_is_labelled_once_within_its_limit(shop, server):
    first, bad = annotate("olhs", "own", agree=0.8, max_usd=1.0)
    assert (first["file"], first["status"]) == ("a.jsonl", "annotated") and bad["status"] == "put aside"
    asked = len(server.requests)
    assert first["by_llm"] == asked < 260 and first["paid_usd"] == pytest.approx(asked / 1000)
    assert first["promised"] >= 0.8 and first["words"].startswith("Promised with 95 % confidence: at least 80 %")
    table = pq.read_table(shop / "data/annotated/olhs/a.jsonl.parquet")
    assert table["text"].to_pylist() == POSTS and table["n"].to_pylist() == [*range(260)]
    label = table["label"].to_pylist()
    assert sum(SAID[text] == each for text, each in zip(POSTS, label, strict=True)) >= 208
    assert (shop / "data/annotated/olhs/a.jsonl.parquet.run/report.html").exists()
    assert [one["status"] for one in annotate("olhs", "own", agree=0.8, max_usd=1.0)] == ["done before"]
    # Killed between the labels and the page, it is gone on with.
    (shop / "data/annotated/olhs/a.jsonl.parquet.run/report.html").unlink()
    again = annotate("olhs", "own", agree=0.8, max_usd=1.0)[0]
    assert (again["status"], again["by_llm"], len(server.requests)) == ("annotated", asked, asked)
    assert (shop / "data/annotated/olhs/a.jsonl.parquet.run/report.html").exists()
    # What comes again in another file is paid for no second time.
    (shop / "data/unlabelled/olhs/b.jsonl").write_bytes((shop / "data/unlabelled/olhs/a.jsonl").read_bytes())
    again = annotate("olhs", "own", agree=0.8, max_usd=1.0)[1]
    assert (again["status"], again["paid_usd"], len(server.requests)) == ("annotated", 0, asked)


def test_a_cheaper_llm_goes_before_the_last_as_on_the_command_line(shop, server):
    (shop / "data/unlabelled/olhs/bad.csv").unlink()
    (found,) = annotate("olhs", "mini, own", agree=0.9, max_usd=1.0)
    asked = Counter(request.body["model"] for request in server.requests)
    assert 0 < asked["own"] == found["by_llm"] < asked["mini"]
    assert found["paid_usd"] == pytest.approx(asked["own"] / 1000 + asked["mini"] / 20000)
    by = Counter(pq.read_table(shop / "data/annotated/olhs/a.jsonl.parquet")["answered_by"].to_pylist())
    assert by["own"] == asked["own"] and by["mini"] and "what own says or would have said" in found["words"]


@pytest.mark.slow
def test_a_server_that_refuses_fails_the_flow_and_the_next_run_goes_on(shop, server):
    server.reply = lambda request, before: Answer({"error": {"message": "no such key"}}, status=401)
    with pytest.raises(ExpertError):
        annotate("olhs", "own", max_usd=0.06)
    server.reply = said
    (shop / "data/unlabelled/olhs/bad.csv").unlink(missing_ok=True)
    (found,) = annotate("olhs", "own", max_usd=0.06)
    assert found["status"] == "annotated" and found["stopped"] == "money" and found["paid_usd"] <= 0.06


def test_without_a_goal_and_a_limit_or_with_an_llm_twice_nothing_is_begun():
    with pytest.raises(BudgetError, match="Got neither agree nor max_usd"):
        annotate.fn("olhs", "own")
    with pytest.raises(ConfigError, match="Got llm 'own, own'. Allowed: different ones, the cheapest first."):
        annotate.fn("olhs", "own, own", agree=0.9)
