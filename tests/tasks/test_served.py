"""What requests to a registered model may pay, whatever they say."""

import pytest

from askless.errors import ConfigError
from tasks.served import CEILING, ServedPolicy


@pytest.mark.parametrize(
    ("ceiling", "spent", "wanted", "allowed"),
    [
        (None, 9.0, -1.0, -1.0),
        (None, 9.0, 0.5, 0.5),
        ("2", 0.0, -1.0, 2.0),
        ("2", 1.5, 1.0, 0.5),
        ("2", 1.5, 0.1, 0.1),
        ("2", 2.5, -1.0, 0.0),
        ("0", 0.0, 5.0, 0.0),
    ],
)
def test_the_server_has_a_ceiling(monkeypatch, ceiling, spent, wanted, allowed):
    monkeypatch.delenv(CEILING, raising=False)
    if ceiling is not None:
        monkeypatch.setenv(CEILING, ceiling)
    served = ServedPolicy()
    served.spent = spent
    assert served._allowed(wanted) == pytest.approx(allowed)


def test_a_ceiling_that_is_no_number_lets_nothing_be_paid(monkeypatch):
    monkeypatch.setenv(CEILING, "five")
    with pytest.raises(ConfigError, match="ASKLESS_MAX_USD is 'five'. Allowed: dollars, such as 5."):
        ServedPolicy()._allowed(1.0)
