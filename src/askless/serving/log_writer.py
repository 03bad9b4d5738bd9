"""Rows for a log of decisions, written together: a part each time enough of them or enough seconds have come."""

from __future__ import annotations

import logging
import threading
import uuid
from contextlib import suppress

import pyarrow as pa

from askless.errors import AsklessError
from askless.monitoring.decide_and_log import loggable
from askless.monitoring.decision_log import DecisionLog, DecisionRow, log_rows
from askless.serving.measures import Measures

MANY, MOST = 1_000, 20_000
logger = logging.getLogger(__name__)


class LogWriter:
    """Adds rows to a log every few seconds, or as soon as there are `MANY`, from a thread of its own.

    A log that cannot be written is tried again; beyond `MOST` rows the newest are dropped and counted.

    Parameters
    ----------
    log
        Where they go.
    classes
        The task's, none for summaries.
    texts
        Whether texts and summaries are written as well.
    seconds, measures
        Seconds between two parts of the log, and what is counted.
    """

    def __init__(
        self, log: DecisionLog, classes: tuple[str, ...], texts: bool, seconds: float, measures: Measures
    ) -> None:
        self.log = log
        self.classes = classes
        self.texts = texts
        self.seconds = seconds
        self._name = log.folder.name
        self._measures = measures
        self._rows: list[DecisionRow] = []
        self._batch: list[DecisionRow] = []
        self._key = ""
        self._failed = ""
        self._lock = threading.Lock()
        self._wake, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, row: DecisionRow) -> None:
        """Take in a decided item; any thread may."""
        with self._lock:
            if len(self._rows) >= MOST:
                self._measures.log_dropped.labels(self._name).inc()
                return
            self._rows.append(row)
            if len(self._rows) >= MANY:
                self._wake.set()

    def close(self) -> None:
        """Write what there is and end; what cannot be written then is dropped and counted."""
        self._ended = True
        self._wake.set()
        self._thread.join()
        self._measures.log_dropped.labels(self._name).inc(len(self._batch) + len(self._rows))

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(self.seconds)
            self._wake.clear()
            self._write()
        while (self._batch or self._rows) and not self._failed:
            self._write()

    def _write(self) -> None:
        with self._lock:
            if not self._batch:
                self._batch, self._rows = self._rows[:MANY], self._rows[MANY:]
                self._key = uuid.uuid4().hex[:16]
        if not self._batch:
            return
        try:
            # The key is that of the rows, so that they are not there twice where only what came after failed.
            self.log.append(self._table(self._batch), self._key)
        except AsklessError as error:
            self._report(str(error))
            return
        except Exception as error:
            self._drop_broken(type(error).__name__)
            return
        self._measures.log_rows.labels(self._name).inc(len(self._batch))
        self._batch, self._failed = [], ""

    def _table(self, rows: list[DecisionRow]) -> pa.Table:
        return loggable(log_rows(rows), self.classes, self.texts, self.log.names)

    def _drop_broken(self, why: str) -> None:
        """Count and leave out the rows that make no table; all of them, where each alone does."""
        sound = []
        for row in self._batch:
            with suppress(Exception):
                self._table([row])
                sound.append(row)
        kept = sound if len(sound) < len(self._batch) else []
        self._measures.log_dropped.labels(self._name).inc(len(self._batch) - len(kept))
        self._batch = kept
        self._measures.errors.labels("log").inc()
        logger.error("Rows that cannot be written were left out of the log of decisions: %s", why)

    def _report(self, failed: str) -> None:
        self._measures.errors.labels("log").inc()
        if failed != self._failed:
            logger.error("The log of decisions is not written: %s", failed)
        self._failed = failed
