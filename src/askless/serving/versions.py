"""The version in service, and another in its place when the alias moves; requests under way end with the one before."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from askless.bundles.terms import Terms
from askless.errors import AsklessError
from askless.labelling.answerer import Answerer, DeployedBundle
from askless.registry import versions as registry
from askless.registry.traces import trace
from askless.serving.measures import Measures
from askless.spending.guard import GuardedExpert
from askless.spending.ledger import Ledger

logger = logging.getLogger(__name__)


class ExpertPool:
    """The expensive experts of all versions in service: one that is asked on the same terms by two is the same.

    Parameters
    ----------
    ledger
        Where their calls are billed.
    answers
        The folder in which their answers are kept.
    """

    def __init__(self, ledger: Ledger, answers: Path) -> None:
        self.ledger = ledger
        self.answers = answers
        self._experts: dict[str, GuardedExpert] = {}
        self._uses: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, terms: Terms, names: tuple[str, ...]) -> dict[str, GuardedExpert]:
        """The experts `names` on these terms; each is to be given back."""
        taken: dict[str, GuardedExpert] = {}
        with self._lock:
            for name in names:
                key = _key(terms, name)
                if key not in self._experts:
                    self._experts[key] = one = terms.guarded(name, self.ledger, self.answers, live=True)
                    trace(one.expert, one.price)
                self._uses[key] = self._uses.get(key, 0) + 1
                taken[name] = self._experts[key]
        return taken

    def give_back(self, expensive: Mapping[str, GuardedExpert]) -> None:
        """Let go of those that no version uses any more."""
        with self._lock:
            for key in [key for key, one in self._experts.items() if any(one is each for each in expensive.values())]:
                self._uses[key] -= 1
                if not self._uses[key]:
                    self._experts.pop(key).let_go()

    def halt(self) -> None:
        """Let none of them make a call any more."""
        with self._lock:
            for each in self._experts.values():
                each.halt("the server is shutting down")


class DeployedVersion:
    """A version that is loaded, and how many use it.

    Parameters
    ----------
    answerer
        Decides and asks as it does.
    pool
        Where its expensive experts go back to, None for a shadow that has none.
    """

    def __init__(self, answerer: Answerer, pool: ExpertPool | None = None) -> None:
        self.answerer = answerer
        self.pool = pool
        self._uses = 1
        self._lock = threading.Lock()

    @property
    def version(self) -> DeployedBundle:
        """What it is."""
        return self.answerer.version

    def enter(self) -> DeployedVersion:
        """One more uses it."""
        with self._lock:
            self._uses += 1
        return self

    def leave(self) -> None:
        """One less uses it; after the last its expensive experts are given back."""
        with self._lock:
            self._uses -= 1
            last = not self._uses
        if last and self.pool is not None:
            self.pool.give_back(self.answerer.expensive)


def load(address: str, params: Path | None, pool: ExpertPool | None) -> DeployedVersion:
    """The version at `address`, tried on one text; without a `pool` it can decide but not ask.

    Raises `AsklessError` for one that is not there, is broken, or has no `pool` and needs an expensive answer before it
    decides.
    """
    version = DeployedBundle.at(address, params, decides=pool is None)
    expensive = {} if pool is None else pool.take(version.terms, version.expensive)
    return DeployedVersion(Answerer(version, expensive, version.budget), pool)


class Watch:
    """Keeps the version that an address names in service.

    Where the registry does not answer, or a new version is broken, the old one stays: counted, and logged once.

    Parameters
    ----------
    address
        What is served; only an alias is looked up again.
    load
        Loads the version at an address.
    seconds
        Between two looks at the alias, 0 for none.
    role
        `champion` or `shadow`, for the metrics.
    measures
        What is counted.
    """

    def __init__(
        self, address: str, load: Callable[[str], DeployedVersion], seconds: float, role: str, measures: Measures
    ) -> None:
        self.address = address
        self.current = load(address)
        self._load = load
        self._seconds = seconds if "@" in address and address.startswith("models:/") else 0.0
        self._role = role
        self._measures = measures
        self._reported = ""
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {role}", daemon=True)
        self._in_service()

    @property
    def model(self) -> str:
        """The registered model's name, or for a folder that of its task's."""
        named = registry.ADDRESS.fullmatch(self.address)
        return named["model"] if named else f"askless-{self.current.version.terms.task}"

    def start(self) -> None:
        """Begin to look."""
        if self._seconds:
            self._thread.start()

    def close(self) -> None:
        """Look no more; what is loaded is let go when nobody uses it."""
        self._end.set()
        self.current.leave()

    def take(self) -> DeployedVersion:
        """The version in service, to be left when done."""
        with self._lock:
            return self.current.enter()

    def tell(self) -> None:
        """Have the metrics say what decides by now: one that learns is another every few seconds."""
        self._measures.serves(self._role, self.model, self.current.version.deciding)

    def look(self) -> None:
        """Once: put in service what the address names by now."""
        try:
            found = registry.at(self.address)
            if found is None or str(found.number) == self.current.version.number:
                return
            fresh = self._load(found.address)
            if fresh.version.terms.classes != self.current.version.terms.classes:
                fresh.leave()
                raise AsklessError(f"Version {found.number} has other classes. Start the server anew to serve it.")
        except registry.Unreachable as error:
            self._stays("unreachable", str(error))
        except Exception as error:
            why = str(error) if isinstance(error, AsklessError) else type(error).__name__
            self._stays("broken", why)
        else:
            with self._lock:
                old, self.current = self.current, fresh
            old.leave()
            self._in_service()

    def _run(self) -> None:
        while not self._end.wait(self._seconds):
            self.look()

    def _in_service(self) -> None:
        self._reported = ""
        self._measures.loads.labels(self._role, "loaded").inc()
        self.tell()

    def _stays(self, outcome: str, why: str) -> None:
        self._measures.loads.labels(self._role, outcome).inc()
        if why != self._reported:
            kept = self.current.version.number
            logger.error("Version %s stays %s of %s: %s", kept, self._role, self.address, why)
        self._reported = why


def _key(terms: Terms, name: str) -> str:
    """What tells apart how an expert is asked."""
    price = terms.costs.prices.get(name)
    about: list[Any] = [name, terms.task, terms.classes, terms.prompt, terms.costs.unit, repr(price)]
    return json.dumps([*about, dict(terms.experts[name])], sort_keys=True, default=str)
