"""What threads and forked processes need so that they do not disturb each other."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any

_LOCKS: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock(AbstractContextManager[None]):
    """A lock that a thread may take again while it has it; a copy is free."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()

    def _free_after_fork(self) -> None:
        # What this thread has it keeps; other threads are gone, and would never give it back.
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


class SeenByThread(threading.local):
    """What a thread has seen last, as long as it lives elsewhere; a copy has seen nothing."""

    _seen: weakref.ref[Any] | None = None

    def see(self, thing: Any) -> None:
        """Remember it for this thread, and nothing else."""
        self._seen = weakref.ref(thing)

    def last(self) -> Any | None:
        """What this thread saw last; None: nothing, or it is gone."""
        return None if self._seen is None else self._seen()

    def __reduce__(self) -> tuple[type[SeenByThread], tuple[()]]:
        return SeenByThread, ()


def _after_fork_in_child() -> None:
    """Let a forked process compute: with one thread, and without waiting for threads it lacks.

    The threads that torch computed with exist in the parent only, but OpenMP waits for them: with
    more than one, the first operation that is worth several threads would never end.
    """
    for lock in list(_LOCKS):
        lock._free_after_fork()
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def survive_forks() -> None:
    """Make forked children of this process able to compute; called when EqMM is imported."""
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_after_fork_in_child)
