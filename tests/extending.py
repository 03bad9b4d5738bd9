"""The packages of docs/extending.md, to the letter."""

import re
import sys
from contextlib import contextmanager
from pathlib import Path

from askless import plugins

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


def section(title):
    """The page's text under a heading."""
    return PAGE.split(f"## {title}")[1].split("\n## ")[0]


def block(title, language):
    """The one fenced block of a section in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", section(title), re.S)
    return found


@contextmanager
def installed(title, folder, monkeypatch):
    """A section's package, installed: its module, and its entry point as an installer writes it; yields its folder."""
    group, name, path = re.fullmatch(
        r'\[project\.entry-points\."(.*)"\]\n(\w+) = "(.*)"\n', block(title, "toml")
    ).groups()
    module = path.partition(":")[0]
    about = folder / f"{module}-1.dist-info"
    about.mkdir(parents=True)
    (folder / f"{module}.py").write_text(block(title, "python"), encoding="utf-8")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {path}\n")
    monkeypatch.syspath_prepend(str(folder))
    plugins._brought.cache_clear()
    yield folder
    plugins._brought.cache_clear()
    sys.modules.pop(module, None)
