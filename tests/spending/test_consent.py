"""Money is spent where a person agreed, and nowhere else."""

import io
import sys

import pytest

from askless.errors import BudgetError
from askless.spending.consent import require_consent


class Terminal(io.StringIO):
    """Standard input at which a person types."""

    def isatty(self):
        return True


@pytest.fixture
def ask(monkeypatch):
    def asked(typed=None, yes=False, environment=None):
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n") if typed is None else Terminal(typed))
        monkeypatch.delenv("ASKLESS_YES", raising=False)
        if environment is not None:
            monkeypatch.setenv("ASKLESS_YES", environment)
        require_consent("It may cost $9.", yes, "--yes")

    return asked


@pytest.mark.parametrize("how", [{"typed": "Yes\n"}, {"yes": True}, {"environment": "1"}])
def test_a_person_may_allow_it(ask, how, capsys):
    ask(**how)
    assert capsys.readouterr().err == ("It may cost $9. Go on? [y/N] " if "typed" in how else "")


@pytest.mark.parametrize("how", [{"typed": "n\n"}, {"typed": "\n"}, {"typed": ""}, {}, {"environment": "0"}])
def test_no_answer_no_terminal_and_a_no_are_a_no(ask, how):
    with pytest.raises(BudgetError) as error:
        ask(**how)
    assert str(error.value) == (
        "It may cost $9. Nothing was asked. Allow it by --yes, or by ASKLESS_YES=1 in the environment."
    )
