"""The one run of every task that these tests look at."""

from tests.pipeline import built

__all__ = ["built"]
