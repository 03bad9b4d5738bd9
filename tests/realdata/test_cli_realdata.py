"""Nine LLMs' recorded answers through the command line: counts, accuracies, costs."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from askless.cli import app
from askless.data.recorded import load
from tests.realdata import real_folder

pytestmark = pytest.mark.realdata
ITEMS = {"label": "gold", "text": "prompt", "group": "subject"}
ANSWERS = {
    "label": "answer",
    "expert": "model",
    "logprob": "raw_logprob",
    "prompt_tokens": "tok_in",
    "completion_tokens": "tok_out",
}
# Right answers on test, counted in the recorded files: the first character of the answer in upper case is the gold one.
RIGHT = {
    "mmlu": {"llama3.1-8b": 970, "gpt-4o-mini": 1147, "llama3.1-70b": 1247, "gpt-4o": 1280, "llama3.1-405b": 1304},
    "medmcqa": {"llama3.1-8b": 518, "gpt-4o-mini": 660, "llama3.1-70b": 726, "gpt-4o": 765, "llama3.1-405b": 758},
}


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def pairs(option, columns):
    return [word for ours, theirs in columns.items() for word in (option, f"{ours}={theirs}")]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The recorded files with an id made of split and number, which is unique only together."""
    given = real_folder()
    folder = tmp_path_factory.mktemp("recorded")
    for path in (Path(given) / "recorded").glob("*.parquet"):
        table = pq.read_table(path)
        parts = (table[name].cast(pa.string()) for name in ("split", "item"))
        pq.write_table(table.append_column("id", pc.binary_join_element_wise(*parts, "-")), folder / path.name)
    return folder


@pytest.mark.parametrize(("task", "items"), [("mmlu", 1816), ("medmcqa", 1300)])
def test_import_and_load(recorded, tmp_path, task, items):
    out = tmp_path / "answers.parquet"
    source = recorded / f"{task}_responses.parquet"
    said = json.loads(run("import", source, *pairs("--column", ANSWERS), "--task", task, "-o", out, "--json").stdout)
    assert len(said["experts"]) == 9
    assert {told["answers"] for told in said["experts"].values()} == {items}
    study = load(recorded / f"{task}_items.parquet", [out], item_columns=ITEMS)
    assert study.classes == ("A", "B", "C", "D")
    assert study.examples.num_rows == items
    assert study.experts[-1] == "llama3.1-405b"
    test = pc.equal(study.examples["split"], "test")
    gold = study.examples["label"].filter(test)
    for expert, wanted in RIGHT[task].items():
        right = pc.fill_null(pc.equal(study.answers[expert]["label"].filter(test), gold), False)
        assert pc.sum(right).as_py() == wanted
    direct = load(recorded / f"{task}_items.parquet", [source], columns=ANSWERS, item_columns=ITEMS)
    for expert in study.experts:
        assert direct.answers[expert]["label"].equals(study.answers[expert]["label"])


@pytest.mark.parametrize("task", ["mmlu", "medmcqa"])
def test_labels_are_read_as_the_published_rule_reads_them(recorded, task):
    """Of 28,044 answers one, "D-3", is read by that rule (the first character) and by ours left unread."""
    study = load(
        recorded / f"{task}_items.parquet",
        [recorded / f"{task}_responses.parquet"],
        columns=ANSWERS,
        item_columns=ITEMS,
    )
    raw = pq.read_table(recorded / f"{task}_responses.parquet")
    first = pc.utf8_upper(pc.utf8_slice_codeunits(raw["answer"], 0, 1))
    published = dict(
        zip(zip(raw["model"].to_pylist(), raw["id"].to_pylist(), strict=True), first.to_pylist(), strict=True)
    )
    other = []
    for expert, table in study.answers.items():
        for name, label in zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True):
            said = published[expert, name]
            if label != (said if said in study.classes else None):
                other.append((label, said))
    assert other == {"mmlu": [], "medmcqa": [(None, "D")]}[task]


def test_the_papers_formats(recorded, tmp_path):
    folder = Path(os.environ["ASKLESS_REALDATA"])
    for path, expert, right in (
        (folder / "hate/stormfront_gpt-3.5-turbo.json", "gpt-3.5", 0.833),
        (folder / "offensive/tweeteval_offensive_gpt-4.jsonl", "gpt-4", 0.830),
    ):
        run("import", path, "--expert", expert, "-o", tmp_path / "a.parquet", "--items", tmp_path / "i.parquet")
        items, answers = pq.read_table(tmp_path / "i.parquet"), pq.read_table(tmp_path / "a.parquet")
        assert items["id"].equals(answers["id"])
        same = pc.fill_null(pc.equal(items["label"], answers["label"]), False)
        assert pc.mean(same).as_py() == pytest.approx(right, abs=1e-3)


def test_a_plan_and_its_explanation(recorded, tmp_path):
    words = ["--examples", recorded / "mmlu_items.parquet", *pairs("--item-column", ITEMS)]
    for expert in ("gpt-4o-mini", "gpt-4o"):
        out = tmp_path / f"{expert}.parquet"
        run("import", recorded / "mmlu_responses.parquet", *pairs("--column", ANSWERS), "--expert", expert, "-o", out)
        words += ["--answers", out]
    plan = tmp_path / "plan.yaml"
    said = json.loads(run("plan", *words, "--share", "0.3", "-o", plan, "--json").stdout)
    assert said["promise"]["items"] == 285
    assert said["test"]["items"] == 1531
    told = json.loads(run("explain", plan, *words, "--id", "test-7", "--json").stdout)
    assert told["answered_by"] in ("gpt-4o-mini", "gpt-4o")
