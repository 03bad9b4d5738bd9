"""Names shipped and brought by other packages, found once, each meaning one class."""

import pytest

from askless import plugins
from askless.errors import AsklessError, ConfigError

SHIPPED = {"config": "askless.errors:ConfigError"}


@pytest.fixture
def bring(monkeypatch, tmp_path):
    """Installs a package with these entry points of the group `askless.toys`, and forgets it afterwards."""

    def install(package, **entries):
        about = tmp_path / f"{package}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        lines = [f"{name} = {path}" for name, path in entries.items()]
        (about / "entry_points.txt").write_text("\n".join(["[askless.toys]", *lines]) + "\n")
        plugins._brought.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    plugins._brought.cache_clear()


def test_names_of_other_packages_come_after_those_shipped(bring):
    bring("toys", data="askless.errors:DataError")
    assert plugins.known("askless.toys", SHIPPED) == {**SHIPPED, "data": "askless.errors:DataError"}
    assert plugins.known("askless.others", SHIPPED) == SHIPPED


def test_a_name_that_is_taken_is_refused(bring):
    bring("toys", config="askless.errors:DataError")
    with pytest.raises(ConfigError, match="Package toys brings 'config' .* a name that askless has"):
        plugins.known("askless.toys", SHIPPED)


def test_two_packages_cannot_bring_one_name(bring):
    bring("blocks", data="askless.errors:DataError")
    bring("toys", data="askless.errors:BudgetError")
    with pytest.raises(ConfigError, match="a name that (blocks|toys) has"):
        plugins.known("askless.toys", SHIPPED)


def test_a_class_is_loaded_by_its_place():
    assert plugins.load("askless.errors:ConfigError", AsklessError, "config") is ConfigError


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("askless.nowhere:It", r"cannot be loaded \(No module named 'askless.nowhere'\)"),
        ("askless.errors:Nothing", "cannot be loaded"),
        (":It", "cannot be loaded"),
        ("askless.errors:difflib", "is no subclass of AsklessError"),
    ],
)
def test_what_is_no_such_class_is_refused(path, message):
    with pytest.raises(ConfigError, match=f"'toy' is registered as '{path}', which {message}"):
        plugins.load(path, AsklessError, "toy")


def test_a_class_without_all_its_methods_is_refused():
    from askless.policies.base import Policy

    with pytest.raises(ConfigError, match="which lacks decide, look"):
        plugins.load("askless.policies.base:Policy", Policy, "toy")
