"""What several commands read alike."""

import pytest

from askless.commands import options
from askless.errors import ConfigError


def test_pairs():
    assert options.pairs("--column", ["label=reply", " id = key = 1"]) == {"label": "reply", "id": "key = 1"}


@pytest.mark.parametrize("text", ["label", "=reply", "label="])
def test_a_pair_that_is_none(text):
    with pytest.raises(ConfigError) as caught:
        options.pairs("--column", [text])
    assert str(caught.value) == f"--column got '{text}'. Give OUR_NAME=ITS_NAME, such as --column label=gold."


def test_names():
    assert options.names(None) is None
    assert options.names(" A, B,") == ["A", "B"]
    assert options.names('"World, politics", Sports') == ["World, politics", "Sports"]
    assert options.names(options.listed(['a "b", c', "d"])) == ['a "b", c', "d"]


def test_json_has_no_number_that_is_not_finite(capsys):
    options.print_json({"a": [float("nan"), 1.5], "b": {"c": float("-inf")}, "d": (None, "x")})
    assert capsys.readouterr().out == '{"a": [null, 1.5], "b": {"c": null}, "d": [null, "x"]}\n'


def test_a_note_is_said_once_on_stderr_and_on_one_line_where_nobody_looks(capsys):
    options.note(["word " * 60, "word " * 60])
    options.tell("result " * 40)
    said = capsys.readouterr()
    assert said.err == f"Note: {'word ' * 60}\n"
    assert said.out == f"{'result ' * 40}\n"


def test_on_a_terminal_lines_break_between_words(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    options.tell("two-tier " * 12)
    assert capsys.readouterr().out.splitlines() == [
        "two-tier two-tier two-tier two-tier",
        "  two-tier two-tier two-tier two-tier",
        "  two-tier two-tier two-tier two-tier",
    ]
