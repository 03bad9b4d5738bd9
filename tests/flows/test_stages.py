"""The stages as Prefect runs them: end to end, twice, and with planted faults."""

import shutil
import subprocess
import sys

import pytest

from askless import schema
from askless.bundles.bundle import Bundle
from askless.errors import DataError
from tests.pipeline import LLM, small_params, working_in, write_params

pytestmark = pytest.mark.usefixtures("prefect_api")

EXAMPLES, ANSWERS = "data/prepared/olhs/examples.parquet", f"data/predictions/olhs/generated/{LLM}.parquet"


def test_every_stage_leaves_its_outputs_and_no_candidates(ran):
    for path in (
        *(EXAMPLES, ANSWERS, "data/decisions/olhs.parquet", "data/vectors/olhs", "models/olhs/teams/team/seed-68"),
        *("reports/olhs/report.html", "reports/olhs/metrics.json", "reports/olhs/headline.json", "mlruns/mlflow.db"),
        *(f"reports/olhs/checks/{page}.html" for page in ("examples", LLM)),
    ):
        assert (ran / path).exists(), path
    left = [p.name for p in (ran / "data/candidates").rglob("*") if p.is_file()]
    assert left == []
    assert [p for p in ran.rglob("*") if p.name.endswith(".part")] == []


def test_the_same_params_make_the_same_examples_and_answers_anywhere(ran, built):
    for path in (EXAMPLES, "data/raw/olhs/demo.csv", "data/raw/vectors/olhs/vectors.txt"):
        assert (ran / path).read_bytes() == (built / path).read_bytes(), path
    said = [schema.read(folder / ANSWERS, "predictions") for folder in (ran, built)]
    for column in ("id", "label", "prompt_tokens", "completion_tokens"):
        assert said[0][column].equals(said[1][column]), column


def test_the_headline_is_packed_and_not_registered(ran):
    import mlflow

    assert Bundle.load(ran / "reports/olhs/bundle").kind == "team_gain"
    client = mlflow.MlflowClient(registry_uri=f"sqlite:///{ran / 'mlruns' / 'mlflow.db'}")
    assert client.search_registered_models() == []


def test_generating_again_asks_nothing_and_changes_nothing(ran, tmp_path):
    from flows.generate import generate

    again = shutil.copytree(ran, tmp_path / "again")
    kept = sorted((again / "data/answers").rglob("*.sqlite"))
    before, predictions = [p.read_bytes() for p in kept], (again / ANSWERS).read_bytes()
    assert len(kept) == 1
    with working_in(again):
        generate("olhs", LLM)
    assert [p.read_bytes() for p in kept] == before
    assert (again / ANSWERS).read_bytes() == predictions


def test_too_many_unparsed_answers_stop_generate_and_leave_the_last_good(ran, tmp_path):
    from flows.generate import generate

    shutil.copytree(ran / "data/prepared", tmp_path / "data/prepared")
    good = tmp_path / ANSWERS
    good.parent.mkdir(parents=True)
    shutil.copy(ran / ANSWERS, good)
    said = schema.read(good, "predictions")
    silent = [i % 2 == 0 for i in range(said.num_rows)]
    columns = {name: said[name].to_pylist() for name in ("id", "expert", "label", "seconds")}
    columns["label"] = [None if s else label for s, label in zip(silent, columns["label"], strict=True)]
    columns["error"] = ["no label in the reply" if s else None for s in silent]
    schema.write(schema.table("predictions", columns), tmp_path / "said.parquet", "predictions")
    settings = small_params()
    settings["experts"][LLM] = {"backend": "recorded", "path": str(tmp_path / "said.parquet")}
    write_params(tmp_path, settings)
    with (
        working_in(tmp_path),
        pytest.raises(DataError, match=r"answers are of no use \(0\.5\), .*: no label in the reply\."),
    ):
        generate("olhs", LLM)
    assert good.read_bytes() == (ran / ANSWERS).read_bytes()
    assert "column mean to be between (unparsed)" in (tmp_path / f"reports/olhs/checks/{LLM}.html").read_text()


ROWS = 240


def posts(rows=ROWS):
    """The lines of a CSV file of posts, its header first."""
    return ["text,label", *(f"this is post number {i},{i % 2}" for i in range(rows))]


def faulty(fault):
    lines = posts()
    if fault == "label":
        lines[8] = lines[8][:-1] + "2"
    elif fault == "text":
        lines[8] = "  ,1"
    elif fault == "rows":
        lines = lines[: ROWS // 2 + 1]
    elif fault == "column":
        lines[0] = "tweet,label"
    elif fault == "balance":
        lines = [line[:-1] + "1" if i % 3 == 0 else line for i, line in enumerate(lines)]
        lines[0] = "text,label"
    return "\n".join(lines) + "\n"


FAULTS = {
    "label": r"label '2' in row 8",
    "text": r"empty text in row 8",
    "rows": r"table row count to be between: 120",
    "column": r"no column 'text' \(its columns are tweet, label\)",
    "balance": r"column mean to be between \(is_1\)",
}
IN_THE_SUITE = {"rows": "table row count to be between", "balance": "column mean to be between (is_1)"}


@pytest.fixture
def prepared(tmp_path):
    """A folder with good examples, made from a file of posts."""
    from flows.prepare import prepare

    (tmp_path / "posts.csv").write_text("\n".join(posts()) + "\n")
    write_params(tmp_path, small_params(source={"kind": "csv", "path": "posts.csv", "rows": None, "seed": 0}))
    with working_in(tmp_path):
        prepare("olhs")
    return tmp_path


def test_a_planted_fault_is_named_and_the_last_good_examples_stay_and_the_raw_file_that_they_are_of(prepared):
    from flows.prepare import prepare

    good, report = prepared / EXAMPLES, prepared / "reports/olhs/checks/examples.html"
    kept = (good.parent, prepared / "data/raw/olhs")
    before = {p.name: p.read_bytes() for folder in kept for p in folder.iterdir()}
    assert sorted(before) == ["examples.json", "examples.parquet", "posts.csv"]
    for fault, named in FAULTS.items():
        report.unlink(missing_ok=True)
        (prepared / "posts.csv").write_text(faulty(fault))
        with working_in(prepared), pytest.raises(DataError, match=named):
            prepare("olhs")
        assert {p.name: p.read_bytes() for folder in kept for p in folder.iterdir()} == before, fault
        assert report.exists() == (fault in IN_THE_SUITE)
        if fault in IN_THE_SUITE:
            failed = [row for row in report.read_text().split("<tr ") if row.startswith("class='bad'")]
            assert any(IN_THE_SUITE[fault] in row for row in failed)
    (prepared / "posts.csv").write_text("\n".join(posts(ROWS + 1)) + "\n")
    with working_in(prepared):
        prepare("olhs")
    assert good.read_bytes() != before["examples.parquet"]


def test_a_missing_file_is_not_tried_again(tmp_path):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    from flows.prepare import prepare

    write_params(tmp_path, small_params(source={"kind": "csv", "path": "posts.csv"}))
    with working_in(tmp_path):
        state = prepare("olhs", return_state=True)
    with pytest.raises(DataError, match=r"posts\.csv: no such file"):
        state.result()
    of_this_run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        (run,) = client.read_task_runs(flow_run_filter=of_this_run)
    assert run.name.startswith("obtain_raw")
    assert run.run_count == 1


def test_on_the_command_line_a_fault_is_one_paragraph_and_exit_code_1(prepared, environment):
    before = (prepared / EXAMPLES).read_bytes()
    (prepared / "posts.csv").write_text(faulty("label"))
    command = [sys.executable, "-m", "flows.prepare", "olhs"]
    done = subprocess.run(command, cwd=prepared, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("label '2' in row 8") == 1
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("prepare failed: ")]
    assert "Allowed: one of ['0', '1']. Correct the label in the raw file" in said
    assert (prepared / EXAMPLES).read_bytes() == before
