"""The demo's models run on one thread here too."""

from tests.experts.conftest import one_thread as one_thread
