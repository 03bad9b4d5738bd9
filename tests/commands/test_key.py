"""`askless key`: what was paid for is found by the key, and never paid for again without it."""

from typer.testing import CliRunner

from askless import id_key
from askless.cli import app
from askless.errors import AsklessError
from tests.labelling.label_data import write_items
from tests.pipeline import working_in
from tests.production_data import texts


def run(*words):
    done = CliRunner().invoke(app, list(words))
    if isinstance(done.exception, AsklessError):
        return " ".join(str(done.exception).split())
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_answers_are_found_by_the_key_and_nothing_is_paid_without_it(place, tmp_path):
    folder, bundle, server = place
    (tmp_path / "params.yaml").write_text((folder / "params.yaml").read_text())
    with working_in(tmp_path):
        write_items(tmp_path / "in.jsonl", texts(10))
        label = ("label", "in.jsonl", "--model", str(bundle), "--answers", "answers", "-o")
        run(*label, "one.jsonl")
        paid = len(server.requests)
        assert paid
        assert "keep a copy elsewhere" in run("key", "answers", "one.jsonl.run")
        run(*label, "two.jsonl")
        assert len(server.requests) == paid
        key = (tmp_path / id_key.FILE).read_text()
        (tmp_path / id_key.FILE).unlink()
        id_key._key.cache_clear()
        assert "names texts by a key that is not here" in run(*label, "three.jsonl")
        forgotten = run("forget", "answers", "--text", texts(10)[0])
        assert "names texts by a key that is not here" in forgotten
        (tmp_path / id_key.FILE).write_text(key)
        id_key._key.cache_clear()
        run(*label, "three.jsonl")
        assert len(server.requests) == paid
