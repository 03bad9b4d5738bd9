"""This machine, and what only looks like it."""

import pytest

from askless.hosts import is_local_url, without_passwords


@pytest.mark.parametrize(
    "url", ["http://localhost", "https://LOCALHOST:1/v1", "http://127.3.2.1:8/v1", "http://[::1]/"]
)
def test_this_machine(url):
    assert is_local_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/v1",
        "http://127.0.0.1@example.org/v1",
        "http://127.0.0.1:80@example.org/v1",
        "http://example.org\\@127.0.0.1/v1",
        "http://127.0.0.1\\.example.org",
        "http://127.0.0.1.example.org",
        "http://localhost?@example.org",
        "http://localhost#@example.org",
        "http://127.0.0.1 .example.org",
        "http://[::1].example.org",
        "http://0.0.0.0/v1",
        "http://2130706433/v1",
        "ftp://localhost/",
        "//localhost/",
        "http://",
    ],
)
def test_another(url):
    assert not is_local_url(url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("At postgresql+psycopg2://me:se/cret@h/db: no.", "At postgresql+psycopg2://me:***@h/db: no."),
        ("http://:pw@h:5000, http://a:b@c", "http://:***@h:5000, http://a:***@c"),
        ("https://h:5000/x of me@here, sqlite:////tmp/m.db", "https://h:5000/x of me@here, sqlite:////tmp/m.db"),
    ],
)
def test_passwords_are_not_shown(text, shown):
    assert without_passwords(text) == shown
