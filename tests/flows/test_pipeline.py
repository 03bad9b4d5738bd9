"""Scheduled retraining under a real Prefect server, worker and DVC: fired, failed, killed, resumed."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.schedules import CronSchedule

from askless.experts.answer_store import AnswerStore
from tests.experts.chat_server import Answer, chat, problem
from tests.flows.small_project import OUTS, Production, SmallProject, until
from tests.pipeline import small_params, write_params

ANSWERS, ANSWER = "data/predictions/olhs/generated/paid.parquet", Answer(chat("yes", {"yes": 0.8, "no": 0.2}))
ZONE = "Asia/Kolkata"
POSTS, IN_FLIGHT, REFUSED_AT, KILLED_AT = 150, 4, 60, (40, 90)


@pytest.fixture(scope="module")
def production(tmp_path_factory, empty_server):
    """A server with `retrain` deployed, its schedule paused, and a worker."""
    made = Production(tmp_path_factory.mktemp("production"), empty_server)
    made.start()
    made.deploy(cron="0 2 * * *", timezone=ZONE, active=False)
    try:
        with made.worker():
            yield made
    finally:
        made.stop()


@pytest.mark.slow
def test_a_cron_fires_and_the_run_completes_and_leaves_its_results_to_be_seen(production):
    client = production.client
    deployment = client.read_deployment_by_name("retrain/retrain")

    def put():
        """Whether the server planned a run for a moment to come before it came: further off each time."""
        ahead.append(ahead[-1] * 2)
        soon = datetime.now(ZoneInfo(ZONE)) + timedelta(seconds=ahead[-1])
        cron = CronSchedule(cron=f"{soon.minute} {soon.hour} * * * {soon.second}", timezone=ZONE)
        client.update_deployment_schedule(deployment.id, deployment.schedules[0].id, active=True, schedule=cron)
        runs = until(client.read_flow_runs, "a scheduled run")
        return min(run.expected_start_time for run in runs) < soon + timedelta(minutes=1)

    ahead = [4]
    until(put, "a schedule that begins today")
    (fired,) = until(lambda: [r for r in client.read_flow_runs() if r.state.is_running()][:1], "a run")
    state = production.ended(fired.id)
    assert state.is_completed(), state.message
    assert fired.auto_scheduled
    assert production.stages(fired.id) == ("Ran",) * 3
    logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[fired.id])))
    assert {f"at work on {name}" for name in OUTS} <= {log.message for log in logs}
    shown = {artifact.key: artifact for artifact in client.read_artifacts() if artifact.flow_run_id == fired.id}
    assert set(shown) == {"headline-olhs", "curve-olhs", "report-olhs"}
    summary = json.loads((production.project.folder / "given.json").read_text())
    assert summary["headline"]["text"] in shown["headline-olhs"].data
    assert "| policy | " in shown["headline-olhs"].data
    points = json.loads(shown["curve-olhs"].data)
    assert len(points) == sum(len(about["points"]) for about in summary["policies"].values())
    assert {"policy", "budget", "accuracy", "ci", "deferral_rate", "cost_usd_per_1k"} == set(points[0])
    report = production.project.folder / "reports/olhs/report.html"
    assert shown["report-olhs"].data == f"[reports/olhs/report.html]({report.as_uri()})"


@pytest.mark.slow
def test_of_two_at_once_the_second_waits_and_then_has_nothing_to_do(production):
    project = production.project
    before, compared = len(project.lines()), len(project.lines("compared"))
    project.change("two")
    project.say("slow", "train", "2")
    runs = [production.submit(), production.submit()]
    states = [production.ended(run) for run in runs]
    project.say("slow", "train", None)
    assert [state.type.value for state in states] == ["COMPLETED"] * 2, [state.message for state in states]
    assert project.lines()[before:] == list(OUTS)
    assert Counter(production.stages(run) for run in runs) == {("Ran",) * 3: 1, ("Unchanged",) * 3: 1}
    said = [line.split() for line in project.lines("compared")[compared:]]
    assert [word for _, word in said] == ["begins", "ends"] * (len(said) // 2)
    assert [run for run, _ in said[::2]] == [run for run, _ in said[1::2]]


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_in_mid_run_costs_no_run(production):
    project = production.project
    project.change("server killed")
    project.say("slow", "train", "3600")
    before = len(project.lines())
    run = production.submit()
    until(lambda: "train" in project.lines()[before:], "a stage at work")
    production.kill()
    production.start()
    project.say("slow", "train", None)
    state = production.ended(run)
    assert state.is_completed(), state.message
    assert project.lines()[before:] == list(OUTS)
    assert production.client.read_global_concurrency_limit_by_name("dvc").active_slots == 0


def with_an_llm(project, url):
    """Put the real `prepare` and `generate` before the last stage; `generate` leaves its process id."""
    folder = project.folder
    lines = ["text,label", *(f"this is post number {i},{i % 2}" for i in range(POSTS))]
    (folder / "posts.csv").write_text("\n".join(lines) + "\n")
    params = small_params(llms=["paid"], source={"kind": "csv", "path": "posts.csv", "rows": None, "seed": 0})
    params["costs"]["prices"]["paid"] = {"usd_per_1k_answers": 1.0}
    params["experts"]["paid"] = {
        "backend": "openai",
        "model": "m",
        "base_url": url,
        "concurrency": IN_FLIGHT,
    }
    write_params(folder, params)
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    stages["generate"] = stages.pop("train")
    real = {
        "prepare": ("exec python -m flows.prepare olhs", ["posts.csv"], "data/prepared/olhs"),
        "generate": ("echo $$ > pid; exec python -m flows.generate olhs paid", ["data/prepared/olhs"], ANSWERS),
    }
    for name, (cmd, deps, out) in real.items():
        stages[name] |= {"cmd": cmd, "deps": deps, "outs": [out]}
    stages["evaluate"]["deps"] = [ANSWERS]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


@pytest.fixture
def paying(production, tmp_path, server):
    """A project of its own on the same server, whose second stage asks an LLM that is paid for."""
    project = SmallProject(tmp_path, production.project.environment)
    with_an_llm(project, server.url)
    return project


def kept(project):
    """How many answers were paid for and kept."""
    with AnswerStore(project.folder / "data/answers/olhs/paid.sqlite") as store:
        return len(store)


@pytest.mark.slow
def test_a_run_that_failed_amid_an_llms_answers_is_gone_on_with_and_pays_for_the_rest_only(production, paying, server):
    def refuse(request, before):
        return ANSWER if request.number <= REFUSED_AT else Answer(problem("wrong key", "invalid_api_key"), status=401)

    server.reply = refuse
    failed = paying.retrain(code=1)
    said = failed.stderr.splitlines()[-1].removeprefix("retrain failed: ")
    assert said.startswith("generate@olhs: generate failed: Expert 'paid': ")
    assert "Traceback" not in failed.stdout + failed.stderr
    (run,) = [r for r in production.client.read_flow_runs() if r.name == "retrain olhs" and r.state.is_failed()]
    assert said in run.state.message
    assert not (paying.folder / ANSWERS).exists()
    assert paying.lines("compared") == []
    assert kept(paying) == REFUSED_AT
    asked = set(server.asked()[:REFUSED_AT])
    server.reply, server.requests = lambda request, before: ANSWER, []
    again = paying.retrain()
    assert "Finished in state Unchanged('prepare@olhs: unchanged'" in again.stdout + again.stderr
    assert len(server.requests) == POSTS - REFUSED_AT
    assert asked.isdisjoint(server.asked())
    assert kept(paying) == POSTS
    assert (paying.folder / ANSWERS).exists()


@pytest.mark.slow
def test_an_llm_that_is_killed_is_tried_again_then_the_run_fails_and_the_next_pays_for_the_rest(paying, server):
    def reply(request, before):
        if request.number in KILLED_AT:
            os.kill(int((paying.folder / "pid").read_text()), signal.SIGKILL)
        return ANSWER

    server.reply = reply
    said = paying.retrain(code=1).stderr.splitlines()[-1]
    assert "exited with -9. Its last words: " in said
    assert said.endswith(". Run again: what is done and paid for is kept.")
    paid = kept(paying)
    # A kill loses the answers under way and not one of those that came before them.
    assert KILLED_AT[1] - len(KILLED_AT) * IN_FLIGHT <= paid < KILLED_AT[1]
    assert not (paying.folder / ANSWERS).exists()
    asked = len(server.requests)
    paying.retrain()
    assert len(server.requests) - asked == POSTS - paid
    assert max(Counter(server.asked()).values()) <= 1 + len(KILLED_AT)
    assert kept(paying) == POSTS


@pytest.mark.slow
def test_a_server_that_does_not_come_back_is_said_and_nothing_is_compared(tmp_path, empty_server):
    made = Production(tmp_path, empty_server)
    project = made.project
    project.environment["PREFECT_CLIENT_MAX_RETRIES"] = "0"
    project.say("slow", "train", "3600")
    command = [sys.executable, "-m", "flows.pipeline", "olhs"]
    made.start()
    try:
        with subprocess.Popen(command, cwd=tmp_path, env=project.environment, stderr=subprocess.PIPE, text=True) as run:
            until(lambda: "train" in project.lines(), "a stage at work")
            made.kill()
            project.say("slow", "train", None)
            said = run.communicate()[1].splitlines()
            assert run.returncode == 1
    finally:
        made.stop()
    gone = "retrain stopped: the Prefect server is gone ([Errno 111] Connection refused). Start it and run again."
    assert gone in said
    assert project.lines("compared") == []
    # A server of its own that is busy for a moment (503) is asked again, as ever.
    for name in ("PREFECT_API_URL", "PREFECT_CLIENT_MAX_RETRIES"):
        del project.environment[name]
    before = project.lines()
    project.retrain()
    assert project.lines() == before
