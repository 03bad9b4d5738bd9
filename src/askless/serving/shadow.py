"""A share of requests decided by the challenger too: it answers nobody, asks nobody expensive, and may be late."""

from __future__ import annotations

import logging
import queue
import threading
from datetime import datetime

from askless.monitoring.decision_log import DecisionRow
from askless.panel import draws
from askless.serving.batching import Decision, Work, batches, decided
from askless.serving.log_writer import LogWriter
from askless.serving.measures import Measures
from askless.serving.versions import DeployedVersion, Watch

SEED = 31_337_007
WAITING = 256
logger = logging.getLogger(__name__)
Offered = tuple[str, str, datetime]


class Shadow:
    """Decides the `share` of items that a hash of their id draws, in a thread of its own; beyond `WAITING` none."""

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
        standing = self.watch.take()
        bundle, costs = standing.version.bundle, standing.costs
        try:
            works = [Work(bundle, costs, name, text, standing.budget) for name, text, _ in batch]
            found = decided(bundle, costs, works, standing.budget)
        except Exception as error:
            self._measures.errors.labels("shadow").inc()
            self._measures.shadow_dropped.inc(len(batch))
            if type(error).__name__ != self._failed:
                logger.error("The challenger cannot decide (%s).", type(error).__name__)
            self._failed = type(error).__name__
        else:
            for name, text, time in batch:
                self._measures.shadow.labels(found[name].expert, standing.version.number).inc()
                self.log.put(_row(standing, found[name], name, text, time))
        finally:
            standing.leave()


def _row(standing: DeployedVersion, decision: Decision, name: str, text: str, time: datetime) -> DecisionRow:
    """A row of the log as it would be, had the expensive expert been asked: `asked` names it, nothing is paid."""
    expensive = decision.expert != standing.small
    return DecisionRow(
        time=time,
        id=name,
        task=standing.version.terms.task,
        version=standing.version.number,
        expert=decision.expert,
        asked=[decision.expert] if expensive else [],
        score=decision.score,
        cost=decision.cost,
        small_answer=decision.small_answer,
        answer=None if expensive else decision.small_answer,
        text=text,
    )
