"""The main program of a worker process: take a call, answer it, until the other side is gone.

Messages are pickles on one connection: ``(fn, args, kwargs)`` in; out, ``(kind, value)``, where

    READY    once: the process takes calls
    BEGUN    the function and what it needs are loaded
    REPORT   something that the call tells meanwhile, any number of times
    RESULT   what it returned, or
    ERROR    the exception that it raised
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from datagen.errors import CampaignError

READY, BEGUN, REPORT, RESULT, ERROR = "ready", "begun", "report", "result", "error"

_connection: Connection | None = None  # of a worker, to whoever waits for its answers


def main(descriptor: int) -> None:
    """Serve the connection with this file descriptor, deaf to Ctrl-C."""
    global _connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _connection = Connection(descriptor)
    calls: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(_connection, calls), daemon=True).start()
    _connection.send((READY, None))
    while True:
        _connection.send_bytes(_answer(calls.get()))


def report(value: Any) -> None:
    """Tell something to whoever waits for the call that this worker computes."""
    assert _connection is not None, "reports come from calls in a worker process"
    _connection.send((REPORT, value))


def _receive(connection: Connection, calls: SimpleQueue[bytes]) -> None:
    """Hand calls on; a process that nobody waits for ends in the middle of its work."""
    while True:
        try:
            calls.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _answer(message: bytes) -> bytes:
    assert _connection is not None
    try:
        fn, args, kwargs = pickle.loads(message)
    except Exception as error:
        sentence = f"a worker process cannot load what it is to compute: {error}"
        return pickle.dumps((ERROR, CampaignError(sentence)))
    _connection.send((BEGUN, None))
    try:
        return pickle.dumps((RESULT, fn(*args, **kwargs)))
    except Exception as error:
        return pickle.dumps((ERROR, _portable(error)))


def _portable(error: Exception) -> Exception:
    """The error itself, or where it does not survive the journey, one that says the same."""
    try:
        returned: Any = pickle.loads(pickle.dumps(error))
    except Exception:
        returned = None
    return error if type(returned) is type(error) else RuntimeError(repr(error))
