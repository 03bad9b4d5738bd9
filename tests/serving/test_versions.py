"""The alias moves while requests are answered: none is lost, and what is broken or out of reach never serves."""

import shutil
import threading
from pathlib import Path

import pytest

from askless.errors import DataError
from askless.registry import aliases
from askless.registry import versions as registry
from askless.serving.measures import Measures
from askless.serving.versions import Watch, load
from tests.production_data import production
from tests.registry_data import LLM, MODEL, kept, register
from tests.serving.house import CHAMPION, LONG, SHORT, House, service, until

NAME = MODEL["olhs"]


@pytest.fixture(scope="module")
def made(kept_llm, empty_store, tmp_path_factory):
    """A project and its server, which looks at the alias when a test has it look."""
    place = tmp_path_factory.mktemp("versions")
    with production(place, empty_store, kept_llm.url) as project, service(place) as ready, House(ready) as home:
        yield project, home


def facts(home, text, **more):
    return home.say(text, **more).model_extra["askless"]


def served(home):
    return int(facts(home, SHORT)["version"])


def expert(deployed):
    return deployed.answerer.expensive[LLM]


def staying(caplog):
    return [record.getMessage() for record in caplog.records if "stays champion" in record.getMessage()]


def test_the_alias_moves_under_load_and_no_request_fails(kept_llm, empty_store, tmp_path):
    found, ended = [], threading.Event()
    with (
        production(tmp_path, empty_store, kept_llm.url) as project,
        service(tmp_path, reload=0.1) as ready,
        House(ready) as home,
    ):

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
        project.promote(kept(project.folder, "second", budget=0.4))
        until(lambda: "2" in found)
        size = len(found)
        until(lambda: len(found) > size + 10)
        ended.set()
        for thread in threads:
            thread.join()
        # One that began before the alias moved may have ended last.
        found.append(facts(home, SHORT)["version"])
        assert set(found) == {"1", "2"} and found[-1] == "2"
        assert expert(home.service.watch.current) is expert(before), "asked on the same terms, it is the same"
        until(lambda: not before._uses)
        assert home.metric("askless_errors_total") == 0
        assert 'askless_version_info{model="askless-olhs",role="champion",version="2"} 1.0' in str(
            home.service.measures.page()
        )
        home.stop()
        assert len(home.rows()) == len(found)


def test_a_broken_version_leaves_the_old_one_in_service_and_is_logged_once(made, caplog):
    project, home = made
    now, bundle = served(home), kept(project.folder, "broken", budget=0.4)
    shutil.copytree(bundle, project.folder / "whole")
    (bundle / "bundle.json").write_text("{")
    number = register(project.client, bundle, budget=0.4)
    aliases.promote(NAME, number, expected=now, reason="test")
    before = home.metric("askless_loads_total")
    for _ in range(3):
        home.service.watch.look()
    assert home.metric("askless_loads_total") == before + 3 and served(home) == now
    assert len(staying(caplog)) == 1 and staying(caplog)[0].startswith(f"Version {now} stays champion of {CHAMPION}: ")
    shutil.rmtree(bundle)
    shutil.copytree(project.folder / "whole", bundle)
    home.service.watch.look()
    assert served(home) == number


def test_a_registry_that_does_not_answer_leaves_the_old_one_in_service(made, monkeypatch, caplog):
    _, home = made

    def unreachable(address):
        raise registry.Unreachable("The registry did not do it. Try again.")

    now = served(home)
    monkeypatch.setattr(registry, "at", unreachable)
    for _ in range(3):
        home.service.watch.look()
    assert served(home) == now
    assert staying(caplog) == [f"Version {now} stays champion of {CHAMPION}: The registry did not do it. Try again."]


def test_an_alias_that_is_gone_leaves_the_old_one_in_service(made):
    project, home = made
    now = served(home)
    project.client.delete_registered_model_alias(NAME, "champion")
    home.service.watch.look()
    assert served(home) == now
    project.client.set_registered_model_alias(NAME, "champion", now)


def test_changed_terms_make_a_new_expert_and_the_old_one_is_let_go_when_nobody_uses_it(made):
    project, home = made
    first, taken = home.service.watch.current, home.service.watch.take()
    params = project.folder / "params.yaml"
    params.write_text(params.read_text().replace("concurrency: 2", "concurrency: 3"))
    project.promote(kept(project.folder, "other terms", budget=0.4))
    home.service.watch.look()
    assert expert(home.service.watch.current) is not expert(first)
    assert taken.version.number != home.service.watch.current.version.number
    assert first.pool._uses and len(first.pool._experts) == 2
    assert facts(home, f"{LONG} anew")["expert"] == LLM
    taken.leave()
    assert len(first.pool._experts) == 1


def test_what_cannot_decide_is_refused_when_it_is_loaded(made, tmp_path):
    with pytest.raises(DataError, match="no such alias"):
        load(f"models:/{NAME}@nobody", None, None)
    with pytest.raises(DataError, match="no bundle.json"):
        load(str(tmp_path), None, None)


def test_a_number_and_a_folder_are_not_looked_up_again(made):
    project, _ = made
    for address in (f"models:/{NAME}/1", str(kept(project.folder, "alone", budget=0.4))):
        watch = Watch(address, lambda at: load(at, Path("params.yaml"), None), 0.1, "shadow", Measures())
        watch.start()
        assert watch.model == NAME and not watch._thread.is_alive()


def test_the_share_that_a_version_was_set_to_is_its_budget(made):
    project, home = made
    number = register(project.client, kept(project.folder, "own"), budget=0.0)
    aliases.promote(NAME, number, expected=registry.champion(NAME).number, reason="test")
    home.service.watch.look()
    reply = facts(home, f"{LONG} none")
    assert (int(reply["version"]), reply["expert"]) == (number, "majority")
