"""Models that installed packages carry."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PACKAGE = "package:"


def in_package(model: str, holds: str) -> Path | None:
    """The folder of `package:NAME`, or one in it, with a file `holds` (a pattern), found without running its code."""
    name = model.removeprefix(PACKAGE)
    spec = find_spec(name) if name.isidentifier() else None
    roots = map(Path, (spec and spec.submodule_search_locations) or ())
    found = (path for root in roots for path in (*root.glob(holds), *sorted(root.glob(f"*/{holds}"))) if path.is_file())
    return next((path.parent for path in found), None)
