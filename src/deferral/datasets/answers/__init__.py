"""Anybody's labelled items and recorded answers as one study, with every assumption said aloud."""

from deferral.datasets.answers.study import Study, load

__all__ = ["Study", "load"]
