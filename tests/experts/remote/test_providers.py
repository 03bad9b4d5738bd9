"""The page on providers: each entry builds an expert that can be asked, and the table says what the code knows."""

import logging
import re
from pathlib import Path

import pytest
import yaml

from askless.errors import ConfigError
from askless.experts import Setting, build
from askless.experts.remote.providers import BATCHES, provider
from askless.prompts import Prompt
from tests.experts.tiny_models import examples

PAGE = (Path(__file__).parents[3] / "docs" / "providers.md").read_text(encoding="utf-8")
ENTRIES = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)[0])
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if "| `" in line]
FIELDS = ("logprobs", "seed", "response_format", BATCHES)


def made(name, **options):
    setting = Setting(name, "t", ("0", "1"))
    prompt = Prompt("{text}", {"0": "no", "1": "yes"}, reply="json")
    return build(setting, {**ENTRIES[name], "prompt": prompt, **options})


def test_the_table_has_each_entry():
    assert [row[1].strip("`") for row in ROWS] == list(ENTRIES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1].strip("`"))
def test_an_entry_can_be_asked_and_leaves_out_what_its_provider_lacks(row, monkeypatch, caplog):
    name = row[1].strip("`")
    expert = made(name, seed=1)
    monkeypatch.setenv(expert.api_key_env, "k")
    expert.validate()
    expert.check_access()
    lacks = [field for field, cell in zip(FIELDS, row[2:], strict=True) if cell == "no"]
    assert list(provider(expert.address)[1]) == lacks
    with caplog.at_level(logging.WARNING):
        body = expert.body("hello")
    assert not set(lacks) & set(body) and ("seed" in body) == ("seed" not in lacks)
    left_out = set(lacks) - {BATCHES} - ({"logprobs"} if expert.confidence == "stated" else set())
    assert (f"Expert '{name}': " in caplog.text) == bool(left_out)
    assert ("logprobs" in lacks) == (expert.confidence == "stated")
    if BATCHES in lacks:
        with pytest.raises(ConfigError, match=r"mode is 'batch'\. Allowed: live: .* takes no batches of OpenAI's form"):
            made(name, mode="batch").answer(examples(["a"]))
