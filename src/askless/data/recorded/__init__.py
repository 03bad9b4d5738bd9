"""Anybody's labelled items and recorded answers as one study, with every assumption noted."""

from askless.data.recorded.study import Study, load

__all__ = ["Study", "load"]
