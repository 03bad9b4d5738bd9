"""An attribute that is made when it is first read, once for all threads that read it at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self, TypeVar, overload

T = TypeVar("T")


class made_once(cached_property[T]):  # noqa: N801  a decorator, named as the one that it stands for
    """`functools.cached_property` for objects that threads share: from Python 3.12 on that one takes no lock.

    Parameters
    ----------
    func
        Makes the attribute; it may read others of its kind.
    """

    def __init__(self, func: Callable[[Any], T]) -> None:
        super().__init__(func)
        self._making = threading.RLock()

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self | T:
        # Once it is made it is found on the object, before this is called.
        with self._making:
            return super().__get__(instance, owner)
