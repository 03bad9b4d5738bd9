"""Labels that clients send of what they were answered, and the thread that learns from them."""

from __future__ import annotations

import logging
import threading
from functools import partial

from askless.errors import AsklessError
from askless.labelling.answerer import DeployedBundle
from askless.labelling.learning import Label, Learning, Told
from askless.labelling.live_bandit import taught
from askless.serving.measures import Measures

LEARN_S = 5.0
logger = logging.getLogger(__name__)


class Learner:
    """Takes in labels at once, and makes a version of them every few seconds in which some came.

    Parameters
    ----------
    version
        What answers.
    learning
        What it has learnt.
    measures
        What is counted.
    """

    def __init__(self, version: DeployedBundle, learning: Learning, measures: Measures) -> None:
        self.version = version
        self.learning = learning
        self._measures = measures
        self._came, self._failed = False, ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="learn", daemon=True)

    def start(self) -> None:
        """Begin to learn."""
        self._thread.start()

    def close(self) -> None:
        """Learn from what came, and end."""
        self._end.set()
        self._thread.join()
        self._learn()

    def take(self, labels: list[Label]) -> Told:
        """Write labels down; any thread may."""
        told = self.learning.label(labels, self.version.bundle.classes)
        counts = {"new": told.new, "again": told.again, "corrected": told.corrected, "refused": len(told.refused)}
        for kind, count in counts.items():
            self._measures.feedback.labels(kind).inc(count)
        self._came = True
        return told

    def _run(self) -> None:
        while not self._end.wait(LEARN_S):
            self._learn()

    def _learn(self) -> None:
        """Make a version of what came; labels of which none could be made are for the next one."""
        if not self._came:
            return
        self._came = False
        try:
            self.learning.learn(partial(taught, self.version.bundle))
        except Exception as error:
            self._came = True
            self._measures.errors.labels("learn").inc()
            why = str(error) if isinstance(error, AsklessError) else type(error).__name__
            if why != self._failed:
                logger.error("Nothing is learnt from feedback: %s", why)
            self._failed = why
