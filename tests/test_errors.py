import pickle

import pytest

from askless import errors
from askless.errors import AsklessError, BudgetError, ConfigError, DataError, ExpertError, MissingExtra


def test_every_error_is_an_askless_error_and_nothing_else_is_one():
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert set(kinds) == {AsklessError, ConfigError, DataError, BudgetError, ExpertError, MissingExtra}
    assert all(issubclass(kind, AsklessError) for kind in kinds)
    assert not issubclass(AsklessError, (ValueError, OSError))


@pytest.mark.parametrize(
    ("got", "allowed", "message"),
    [
        ("tema", ["team", "random"], "Unknown policy 'tema'. Known: random, team. Did you mean 'team'?"),
        ("xyz", ["team", "random"], "Unknown policy 'xyz'. Known: random, team."),
        ("team", [], "Unknown policy 'team'. Known: none."),
        ("", ["team"], "Unknown policy ''. Known: team."),
        ("12", [11, 120], "Unknown policy '12'. Known: 11, 120. Did you mean '120'?"),
    ],
)
def test_an_unknown_name_lists_the_known_ones_and_the_nearest(got, allowed, message):
    assert str(ConfigError.unknown("policy", got, allowed)) == message


def test_a_data_error_says_where_what_was_got_what_is_allowed_and_what_to_do(tmp_path):
    error = DataError(tmp_path, "no such file", "a Parquet file", "Make it.")
    assert str(error) == f"{tmp_path}: no such file. Allowed: a Parquet file. Make it."
    assert (error.where, error.got, error.allowed, error.remedy) == (
        str(tmp_path),
        "no such file",
        "a Parquet file",
        "Make it.",
    )


def test_a_missing_extra_gives_its_pip_command():
    assert str(MissingExtra("openai", "openai")) == ("'openai' is not installed. Run: pip install 'askless[openai]'")


@pytest.mark.parametrize(
    "error",
    [
        DataError("file", "nothing", "something", "Make it."),
        MissingExtra("ray", "ray"),
        ConfigError.unknown("runner", "rey", ["ray", "threads"]),
        ExpertError("refused"),
        BudgetError.too_little(1, 2),
    ],
)
def test_an_error_comes_back_whole_from_another_process(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)
