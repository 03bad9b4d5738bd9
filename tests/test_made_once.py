"""Threads that read an attribute at the same moment get one and the same."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import pytest

from askless.experts.remote.openai import OpenAiExpert
from askless.labelling.answerer import Answerer, DeployedBundle
from askless.made_once import made_once
from askless.spending.guard import GuardedExpert


def lockless(self, instance, owner=None):
    """As Python 3.12 has it."""
    if instance is None:
        return self
    if self.attrname not in instance.__dict__:
        instance.__dict__[self.attrname] = self.func(instance)
    return instance.__dict__[self.attrname]


@pytest.mark.parametrize(("kind", "made"), [(made_once, 1), (cached_property, 8)])
def test_it_is_made_once_also_where_the_library_takes_no_lock(monkeypatch, kind, made):
    monkeypatch.setattr(cached_property, "__get__", lockless)

    class Shared:
        count, within = 0, threading.Barrier(made, timeout=60)

        @kind
        def thing(self):
            self.within.wait()
            with counting:
                self.count += 1
            time.sleep(0.2)
            return object()

    shared, start, counting = Shared(), threading.Barrier(8), threading.Lock()

    def read(_):
        start.wait()
        return shared.thing

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(read, range(8)))) == shared.count == made


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Answerer, "policy"),
        (DeployedBundle, "learning"),
        (GuardedExpert, "kept"),
        *((OpenAiExpert, name) for name in ("pace", "wire", "seen", "_untaken", "_lasting")),
    ],
)
def test_what_money_depends_on_is_made_once(owner, name):
    """Of two models that learn each would count a call; of two that follow requests one does not know what was sent."""
    assert isinstance(vars(owner)[name], made_once)
