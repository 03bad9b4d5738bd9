"""`help()` explains every argument with which a public class is made; read from the source, nothing is imported."""

import logging
from pathlib import Path

import griffe
import pytest

ROOT = Path(__file__).parents[1]
# The part of the public surface that is explained; a room is added when all of its classes are.
EXPLAINED = (
    "bundles",
    "config",
    "costs",
    "data",
    "errors",
    "labelling",
    "monitoring",
    "panel",
    "plans",
    "prompts",
    "registry",
    "serving",
    "stats",
    "text",
)
EXPLAINING = ("parameters", "attributes", "other parameters")


def classes(module):
    for member in module.members.values():
        if not member.is_alias and member.is_module:
            yield from classes(member)
        elif not member.is_alias and member.is_class and not member.name.startswith("_"):
            yield member


@pytest.fixture(scope="module")
def package():
    logging.getLogger("griffe").setLevel(logging.ERROR)
    return griffe.load("askless", search_paths=[ROOT / "src"], allow_inspection=False, docstring_parser="numpy")


def unexplained(kind):
    """Arguments of a class that its docstring does not name."""
    taken = [p.name for p in kind.parameters if p.name != "self" and not p.kind.value.startswith("variadic")]
    sections = kind.docstring.parsed if kind.docstring else []
    told = {argument.name for section in sections if section.kind.value in EXPLAINING for argument in section.value}
    return [name for name in taken if name not in told]


@pytest.mark.parametrize("room", EXPLAINED)
def test_every_argument_of_a_public_class_is_explained(package, room):
    found = package[room]
    lacking = {kind.path: unexplained(kind) for kind in classes(found)}
    assert {path: names for path, names in lacking.items() if names} == {}
    assert lacking
