"""Telemetry off before anything is imported, and reproducible property tests."""

import os

from hypothesis import settings

import flows  # noqa: F401  sets the quiet environment
from tests.pipeline import built as built
from tests.pipeline import summarised as summarised

# Two shared cores make any deadline a coin toss; derandomised, a failure is everybody's failure.
settings.register_profile("deferral", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "deferral"))
