"""What the documentation quotes is there: messages, commands, options, files, modules, arguments."""

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer

from askless.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks/README.md"])
TROUBLE = (ROOT / "docs/troubleshooting.md").read_text("utf-8")


def quoted(page: Path) -> list[str]:
    """Everything between backticks, blocks of code line by line."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```$", text, re.M | re.S)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text)


def pattern(node: ast.AST) -> str:
    """A string of the source, `…` for whatever is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern(value) if isinstance(value, ast.Constant) else "…" for value in node.values)
    return "…"


@cache
def strings() -> frozenset[str]:
    files = [path for folder in ("src", "tasks", "flows") for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    return frozenset(pattern(node) for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr))


@pytest.mark.parametrize("message", re.findall(r"^\| `([^`]+)` \|", TROUBLE, re.M))
def test_a_message_of_troubleshooting_is_one_that_the_source_gives(message):
    assert any(message in text for text in strings()), message


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page):
    known = typer.main.get_command(app).commands
    for text in quoted(page):
        for name, rest in re.findall(r"^askless ([a-z]+)(.*)", text.partition("  #")[0]):
            options = {word for option in known[name].params for word in [*option.opts, *option.secondary_opts]}
            for option in re.findall(r"(?<!\S)(--[a-z0-9-]+)", rest):
                assert option in options, (text, option)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_modules_exist(page):
    text = page.read_text("utf-8")
    for path in re.findall(r"(?<![\w/.-])((?:src|tests|tasks|flows|benchmarks|examples|docs)/[\w/.-]+\.\w+)", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"(?<![\w/.-])((?:[a-z_]+/)+[a-z_]+\.py)\b", "\n".join(quoted(page))):
        assert (ROOT / path).exists() or (ROOT / "src/askless" / path).exists(), path
    for name in re.findall(r"(?<![\w/.-])askless(?:\.\w+)+", "\n".join(quoted(page))):
        assert resolves(name), name


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def test_a_term_of_the_glossary_is_there_once():
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/glossary.md").read_text("utf-8"), re.M)
    terms = [
        term.strip()
        for row in rows
        for term in row.split(",")
        if row.strip() not in ("term", "---") and "---" not in row
    ]
    assert len(terms) == len(set(terms))
    asked = "abstention, router, cascade, confidence, margin, calibration set, operating point, threshold, budget, PGR"
    assert set(asked.split(", ")) <= set(terms)


def test_the_site_is_refused_for_a_link_or_an_anchor_that_leads_nowhere(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(
        "# Home\n\n[here](index.md#home) [gone](gone.md) [no anchor](index.md#gone)\n"
    )
    base = f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nsite_dir: site\nplugins: []\nnav: []\n"
    (tmp_path / "mkdocs.yml").write_text(base)
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "'gone.md', but the target is not found" in done.stderr
    assert "'index.md#gone', but there is no such anchor" in done.stderr
    assert "Aborted with 2 warnings in strict mode" in done.stdout
