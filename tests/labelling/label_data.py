"""A folder with a model that defers the longest texts to an LLM behind HTTP, and items that come in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.production_data import SHARE
from tests.registry_data import LLM, PRICE, kept, project


def shop(folder: Path, url: str, **options: Any) -> Path:
    """Parameters in `folder` whose LLM is at `url`; returns the bundle of a model that defers the longest 40 %."""
    project(folder)
    prices(folder, url, **options)
    return kept(folder, "long", budget=SHARE)


def prices(folder: Path, url: str, price: dict[str, float] | None = None, **options: Any) -> None:
    """The LLM at `url` in the parameters of `folder`."""
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    prompt = settings["experts"][LLM]["prompt"]
    server = {"backend": "openai", "model": "m", "base_url": url, "concurrency": 2, "timeout": 60, "max_retries": 1}
    settings["experts"][LLM] = {**server, "prompt": prompt, **options}
    settings["costs"]["prices"][LLM] = price or {"usd_per_1k_answers": 1000 * PRICE}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))


def write_items(path: Path, texts: Sequence[str | None]) -> Path:
    """Items as JSON lines, each with an id."""
    rows = [{"id": f"own-{n}", "text": text} for n, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an output in JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
