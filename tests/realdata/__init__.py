"""Tests on real files, where ASKLESS_REALDATA names their folder; elsewhere they skip, saying so."""

import os
from pathlib import Path

import pytest


def real_folder() -> Path:
    """The folder of real data, or the reason why the test is skipped."""
    folder = os.environ.get("ASKLESS_REALDATA")
    if not folder:
        pytest.skip("ASKLESS_REALDATA is not set: it names the folder of real data")
    return Path(folder)
