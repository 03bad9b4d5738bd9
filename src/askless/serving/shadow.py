"""A share of requests decided by the challenger too: it answers nobody, asks nobody expensive, and may be late."""

from __future__ import annotations

import logging
import queue
import threading
from datetime import datetime

from askless.panel import draws
from askless.serving.batching import Work, batches, decided
from askless.serving.log_writer import LogWriter
from askless.serving.measures import Measures
from askless.serving.versions import Watch

SEED = 31_337_007
WAITING = 256
logger = logging.getLogger(__name__)
Offered = tuple[str, str, datetime]


class Shadow:
    """Decides some items in a thread of its own; while `WAITING` of them wait no more are taken in.

    Parameters
    ----------
    watch
        The challenger's version.
    log
        Where its decisions go.
    share
        Of the items, drawn by a hash of their id.
    measures
        What is counted.
    """

    def __init__(self, watch: Watch, log: LogWriter, share: float, measures: Measures) -> None:
        self.watch = watch
        self.log = log
        self.share = share
        self._measures = measures
        self._failed = ""
        self._queue: queue.Queue[Offered | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to decide."""
        self.watch.start()
        self.log.start()
        self._thread.start()

    def close(self) -> None:
        """Decide what waits, write it, and end."""
        self._queue.put(None)
        self._thread.join()
        self.log.close()
        self.watch.close()

    def offer(self, name: str, text: str, time: datetime) -> None:
        """Take an item in if it is drawn and there is room."""
        if draws([name], SEED)[0] >= self.share:
            return
        try:
            self._queue.put_nowait((name, text, time))
        except queue.Full:
            self._measures.shadow_dropped.inc()

    def _run(self) -> None:
        for batch in batches(self._queue):
            self._decide(batch)

    def _decide(self, batch: list[Offered]) -> None:
        deployed = self.watch.take()
        try:
            answerer = deployed.answerer
            rows = decided([Work(answerer, name, text, answerer.budget, time) for name, text, time in batch])
        except Exception as error:
            self._measures.errors.labels("shadow").inc()
            self._measures.shadow_dropped.inc(len(batch))
            if type(error).__name__ != self._failed:
                logger.error("The challenger cannot decide (%s).", type(error).__name__)
            self._failed = type(error).__name__
        else:
            for row in rows:
                self._measures.shadow.labels(row.expert, row.version).inc()
                self.log.put(row)
        finally:
            deployed.leave()
