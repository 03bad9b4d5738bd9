"""`askless limit`: one limit of a key over all that asks with it, told before and after."""

import json

import pytest

from askless.spending.key_limits import key_limit
from tests.commands.test_key import run
from tests.labelling.label_data import write_items
from tests.pipeline import working_in
from tests.production_data import texts
from tests.registry_data import PRICE

KEY = "OPENAI_API_KEY"


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    """Of whom nothing is remembered, and who has a key."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv(KEY, "sk-of-nobody")


def test_a_limit_is_set_told_and_taken_away():
    assert run("limit") == "No limit. Example: askless limit OPENAI_API_KEY --usd-per-day 20\n"
    told = run("limit", KEY, "--usd-per-day", "20", "--usd-in-all", "500")
    assert told == f"{KEY}: the limit of $20 a day and $500 in all; nothing paid yet; $20.00 left today.\n"
    assert json.loads(run("limit", "--json"))["limits"][0] | {"left": 20.0} == {
        **{"key": KEY, "per_day": 20.0, "in_all": 500.0, "today": 0.0, "paid": 0.0, "left": 20.0}
    }
    assert run("limit", KEY, "--none") == f"No limit of {KEY}. Example: askless limit OPENAI_API_KEY --usd-per-day 20\n"


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["--usd-per-day", "3"], "Got a limit without the name of its key."),
        ([KEY, "--usd-per-day", "3", "--none"], "Got --none and a limit."),
        (["sk-proj-secret", "--usd-per-day", "3"], "Got what is no name of an environment variable."),
        ([KEY, "--usd-in-all", "-3"], f"A limit of -3 dollars for {KEY}. Allowed: 0 to 1e+09."),
    ],
)
def test_what_cannot_be_meant_is_refused(words, got):
    assert run("limit", *words).startswith(got)


def test_label_within_the_limit_of_its_key_over_two_runs(place, tmp_path):
    folder, bundle, server = place
    (tmp_path / "params.yaml").write_text((folder / "params.yaml").read_text())
    with working_in(tmp_path):
        write_items(tmp_path / "in.jsonl", texts(60))
        label = ("label", "in.jsonl", "--model", str(bundle), "-o")
        run("limit", KEY, "--usd-per-day", str(7.5 * PRICE))
        left = f"What is left today of the limit of ${7.5 * PRICE:g} a day for {KEY}"
        assert left in run(*label, "one.jsonl", "--dry-run")
        run(*label, "one.jsonl", "--max-usd", str(3 * PRICE))
        assert "rows can be answered anew: run again with --again with a higher limit of the key." in run(
            *label, "two.csv"
        )
        assert len(server.requests) == 7
        assert f"limit: the limit of ${7.5 * PRICE:g} a day for {KEY} is reached" in (tmp_path / "two.csv").read_text()
        assert key_limit(KEY).today == pytest.approx(7 * PRICE)
        run("limit", KEY, "--none")
        run(*label, "two.csv", "--again")
        assert len(server.requests) > 7
