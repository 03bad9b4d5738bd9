"""`help()` explains every argument of a public class, and names none that there isn't; read from the source."""

import logging
import re
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
PARAMETERS = ("parameters", "other parameters")
SAMPLE = '''
from dataclasses import dataclass, field


@dataclass
class Unexplained:
    """Parameters
    ----------
    a
        Told.
    """

    a: int
    b: int = 0
    _cache: dict = field(init=False, default_factory=dict)


class Inheriting(Unexplained):
    """Says nothing of the arguments that it inherits."""


class _Private:
    def __init__(self, anything): ...


class Stale:
    """Parameters
    ----------
    kept, gone, **options
        Together.

    Attributes
    ----------
    learnt_, hint_, lost_
        Together.
    """

    hint_: int

    def __init__(self, kept, **options): ...

    def fit(self, rows):
        """Parameters
        ----------
        rows, columns
            Together.
        """
        self.learnt_ = rows


def away(x, *rest):
    """Parameters
    ----------
    x, y, *rest
        Together.
    """
'''


def load(name, folder):
    logging.getLogger("griffe").setLevel(logging.CRITICAL)
    return griffe.load(name, search_paths=[folder], allow_inspection=False, docstring_parser="numpy")


def members(thing):
    """Every class and function under a module or class."""
    for member in thing.members.values():
        if not member.is_alias and (member.is_module or member.is_class):
            yield from members(member)
        if not member.is_alias and (member.is_function or member.is_class):
            yield member


def told(thing, kinds):
    """Names that the sections of a docstring explain; griffe leaves `a, b` together under Attributes."""
    sections = thing.docstring.parsed if thing.docstring else []
    names = [each.name for section in sections if section.kind.value in kinds for each in section.value]
    return {name.strip().lstrip("*") for several in names for name in several.split(",")}


def unexplained(kind):
    """Arguments of a class that its docstring does not name."""
    taken = [p.name for p in kind.parameters if p.name != "self" and not p.kind.value.startswith("variadic")]
    return set(taken) - told(kind, (*PARAMETERS, "attributes"))


def stale(thing):
    """Names in a docstring that are no arguments of a function, or neither arguments nor members of a class."""
    there = {p.name for p in thing.parameters}
    if thing.is_function:
        return told(thing, PARAMETERS) - there
    there |= set(thing.all_members)
    for kind in (thing, *thing.mro()):
        there |= set(re.findall(r"\bself\.(\w+)", kind.source))
    return told(thing, (*PARAMETERS, "attributes")) - there


def found(package):
    """The faulty classes and functions of a package, each with what is unexplained and what is stale."""
    faults = {}
    for thing in members(package):
        public = thing.is_class and not thing.name.startswith("_")
        fault = (sorted(unexplained(thing)) if public else [], sorted(stale(thing)))
        if any(fault):
            faults[thing.path] = fault
    return faults


def test_every_argument_of_a_public_class_is_explained_and_no_explanation_is_stale():
    assert found(load("askless", ROOT / "src")) == {}


def test_what_is_unexplained_or_stale_is_found(tmp_path):
    (tmp_path / "sample.py").write_text(SAMPLE)
    assert found(load("sample", tmp_path)) == {
        "sample.Unexplained": (["b"], []),
        "sample.Inheriting": (["a", "b"], []),
        "sample.Stale": ([], ["gone", "lost_"]),
        "sample.Stale.fit": ([], ["columns"]),
        "sample.away": ([], ["y"]),
    }
