"""The tiny model of the experts' tests."""

from tests.experts.conftest import tiny as tiny
