"""This machine, and what only looks like it."""

import pytest

from askless.hosts import is_local_url


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
