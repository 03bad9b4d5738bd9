"""Anybody's labelled items and recorded answers as one study, with every assumption said aloud."""

from askless.data.recorded.study import Study, load

__all__ = ["Study", "load"]
