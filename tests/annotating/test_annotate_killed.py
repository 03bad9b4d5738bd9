"""`askless annotate` killed at random moments and run again: as if nothing had happened, and nothing paid for twice."""

import json
import os
from collections import Counter

import pytest

from tests import forks
from tests.annotating.texts import texts
from tests.experts.chat_server import Answer, ChatServer, chat

CONCURRENCY = 2
KILLS = int(os.environ.get("ASKLESS_ANNOTATE_KILLS", "4"))
POSTS, LABELS = texts(240)
SAID = dict(zip(POSTS, LABELS, strict=True))


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_labels_and_promise(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server = ChatServer()
    server.reply = lambda request, before: Answer(
        chat(SAID[request.text.split("Text: ", 1)[1].removesuffix("\nAnswer:")], prompt_tokens=10), delay=0.003
    )
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"post": text}) + "\n" for text in POSTS))
    words = ["annotate", "in.jsonl", "--text", "post", "--classes", "yes,no", "--llm", "m", "--price", "100,0"]
    words += ["--base-url", server.url, "--agree", "0.8", "--small", "linear", "--concurrency", str(CONCURRENCY)]
    words += ["--max-usd", "9", "--ask-in-doubt", "--json", "-o"]

    def run(out, kills):
        server.requests.clear()
        job = {"folder": str(tmp_path), "words": [*words, out]}
        killed = forks.until_done(worker, job, lambda: len(server.requests), kills, most=12)
        facts = json.loads((tmp_path / f"{out}.run/summary.json").read_text())
        promised = {name: facts[name] for name in ("promised", "promises", "stopped", "sample", "calls", "by_small")}
        rows = [json.loads(line) for line in (tmp_path / out).read_text().splitlines()]
        labels = [(row["post"], row["label"], row["answered_by"]) for row in rows]
        return killed, promised, labels, Counter(server.asked()), facts

    with forks.started("tests.labelling.label_worker") as worker:
        _, promised, labels, once, _ = run("whole.jsonl", 0)
        killed, again, same, asked, facts = run("killed.jsonl", KILLS)
    server.close()
    twice = sum(asked.values()) - len(asked)
    print(f"{killed} kills: {len(asked)} texts asked, {twice} of them twice, in doubt ${facts['in_doubt_usd']:.4g}")
    assert killed >= KILLS // 2
    assert (again, same) == (promised, labels) and asked.keys() == once.keys()
    assert twice <= CONCURRENCY * killed, "only what was under way when it was killed"
    assert facts["paid_usd"] == pytest.approx(len(asked) / 1000)
