"""The alias moves while requests are answered: none is lost, and what is broken or out of reach never serves."""

import shutil
import threading

import pytest

from askless.errors import DataError
from askless.registry import aliases as moves
from askless.registry import versions as registry
from askless.serving.versions import load
from tests.production_data import production
from tests.registry_data import LLM, MODEL, kept, register
from tests.serving.house import LONG, SHORT, House, service, until

NAME = MODEL["olhs"]


@pytest.fixture
def made(tmp_path, empty_store, llm):
    """A project whose version 1 serves, and its server, which looks at the alias ten times a second."""
    with (
        production(tmp_path, empty_store, llm.url) as folder,
        service(tmp_path, reload=0.3) as ready,
        House(ready) as home,
    ):
        yield folder, home


def facts(home, text, **more):
    return home.say(text, **more).model_extra["askless"]


def test_the_alias_moves_under_load_and_no_request_fails(made):
    folder, home = made
    found, ended = [], threading.Event()

    def ask(n):
        at = 0
        while not ended.is_set():
            at += 1
            found.append(facts(home, f"{LONG} {n} {at}" if at % 2 else f"{SHORT} {n} {at}")["version"])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(found) > 10)
    before = home.service.watch.current
    folder.promote(kept(folder.folder, "second", budget=0.4))
    until(lambda: "2" in found)
    size = len(found)
    until(lambda: len(found) > size + 10)
    ended.set()
    for thread in threads:
        thread.join()
    assert set(found) == {"1", "2"} and found[-1] == "2"
    assert home.service.watch.current.expensive[LLM] is before.expensive[LLM], "asked on the same terms, it is the same"
    until(lambda: not before._uses)
    assert home.metric("askless_errors_total") == 0
    assert 'askless_version_info{model="askless-olhs",role="champion",version="2"} 1.0' in str(
        home.service.measures.page()
    )
    home.stop()
    assert len(home.rows()) == len(found)


def test_a_broken_version_leaves_the_old_one_in_service_and_is_said_once(made, caplog):
    folder, home = made
    bundle = kept(folder.folder, "broken", budget=0.4)
    shutil.copytree(bundle, folder.folder / "whole")
    (bundle / "bundle.json").write_text("{")
    moves.promote(NAME, register(folder.client, bundle, budget=0.4), expected=1, reason="test")
    until(lambda: home.metric("askless_loads_total") >= 4)
    assert facts(home, SHORT)["version"] == "1"
    said = [record.getMessage() for record in caplog.records if "stays champion" in record.getMessage()]
    assert len(said) == 1 and said[0].startswith("Version 1 stays champion of models:/askless-olhs@champion: ")
    shutil.rmtree(bundle)
    shutil.copytree(folder.folder / "whole", bundle)
    until(lambda: facts(home, SHORT)["version"] == "2")


def test_a_registry_that_does_not_answer_leaves_the_old_one_in_service(made, monkeypatch, caplog):
    _, home = made

    def silent(address):
        raise registry.Unreachable("The registry did not do it. Try again.")

    monkeypatch.setattr(registry, "at", silent)
    until(lambda: home.metric("askless_loads_total") >= 4)
    assert facts(home, SHORT)["version"] == "1"
    assert [record.getMessage() for record in caplog.records if "stays" in record.getMessage()] == [
        "Version 1 stays champion of models:/askless-olhs@champion: The registry did not do it. Try again."
    ]


def test_an_alias_that_is_gone_leaves_the_old_one_in_service(made):
    folder, home = made
    folder.client.delete_registered_model_alias(NAME, "champion")
    until(lambda: home.metric("askless_loads_total") >= 2)
    assert facts(home, SHORT)["version"] == "1"


def test_changed_terms_make_a_new_expert_and_the_old_one_is_let_go_when_nobody_uses_it(made):
    folder, home = made
    first = home.service.watch.current
    taken = home.service.watch.take()
    params = folder.folder / "params.yaml"
    params.write_text(params.read_text().replace("concurrency: 2", "concurrency: 3"))
    folder.promote(kept(folder.folder, "second", budget=0.4))
    until(lambda: home.service.watch.current is not first)
    assert home.service.watch.current.expensive[LLM] is not first.expensive[LLM]
    assert taken.version.number == "1" and first.pool._uses and len(first.pool._known) == 2
    assert facts(home, f"{LONG} anew")["expert"] == LLM
    taken.leave()
    assert len(first.pool._known) == 1


def test_what_cannot_decide_is_refused_when_it_is_loaded(made, tmp_path):
    with pytest.raises(DataError, match="no such alias"):
        load(f"models:/{NAME}@nobody", None, None)
    with pytest.raises(DataError, match="no bundle.json"):
        load(str(tmp_path), None, None)


def test_a_number_and_a_folder_are_not_looked_up_again(made, tmp_path):
    from pathlib import Path

    from askless.serving.measures import Measures
    from askless.serving.versions import Watch

    folder, _ = made
    for address in (f"models:/{NAME}/1", str(kept(folder.folder, "alone", budget=0.4))):
        watch = Watch(address, lambda at: load(at, Path("params.yaml"), None), 0.1, "shadow", Measures())
        watch.start()
        assert watch.model == NAME and not watch._thread.is_alive()


def test_the_share_that_a_version_was_set_to_is_its_budget(made):
    folder, home = made
    register(folder.client, kept(folder.folder, "own"), budget=0.0)
    moves.promote(NAME, 2, expected=1, reason="test")
    until(lambda: facts(home, LONG)["version"] == "2")
    assert facts(home, LONG)["expert"] == "majority"
