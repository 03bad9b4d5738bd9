"""`askless batches`."""

from typer.testing import CliRunner

from askless.cli import app
from askless.config import load
from askless.errors import ExpertError
from askless.experts.remote import batches
from askless.spending.pending import asker
from tests.experts.batch_server import BatchServer
from tests.experts.tiny_models import examples
from tests.pipeline import small_params, write_params


def run(*words):
    done = CliRunner().invoke(app, ["batches", "--task", "olhs", "--experts", "far", *words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_a_batch_is_told_of_stopped_and_what_it_answered_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batches, "FIRST_LOOK_S", 0.001)
    server, params = BatchServer(), small_params()
    far = {"backend": "openai", "model": "m", "base_url": server.url, "mode": "batch", "prompt": {"olhs": "olhs"}}
    params["experts"]["far"] = far
    params["costs"]["prices"]["far"] = {}
    write_params(tmp_path, params)
    server.how, server.share = (lambda number: "in_progress"), 0.5
    posts = examples([f"post {n}" for n in range(4)])

    def answer():
        return asker(load("params.yaml"), "olhs", "far", tmp_path / "data/answers/olhs").answer(posts)

    def interrupt(expert, why):
        raise ExpertError("interrupted")

    try:
        assert run() == "No batch of task olhs is under way.\n"
        with monkeypatch.context() as patch:
            patch.setattr("askless.experts.remote.openai.OpenAiExpert.on_wait", interrupt)
            try:
                answer()
            except ExpertError as error:
                assert str(error) == "interrupted"
        assert run() == "far: batch batch_0 is in_progress, 0 of 4 items answered\n"
        assert run("--cancel") == "far: batch batch_0 is cancelled, 0 of 4 items answered\n"
        server.how, server.share = (lambda number: "completed"), 1.0
        assert answer()["label"].null_count == 0
        assert len(server.batches) == 2 and max(server.answered.values()) == 1
    finally:
        server.close()
