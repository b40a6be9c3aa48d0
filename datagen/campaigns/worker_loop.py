"""The main program of a worker process: take a call, answer it, until the other side is gone.

Messages are pickles on one connection: ``(fn, args, kwargs)`` in, ``(True, result)`` or
``(False, error)`` out; the first message out says that the process is ready.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any


def main(descriptor: int) -> None:
    """Serve the connection with this file descriptor: one thread, deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    calls: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, calls), daemon=True).start()
    from pyscf import lib

    lib.num_threads(1)
    connection.send((True, None))
    while True:
        connection.send_bytes(_answer(calls.get()))


def _receive(connection: Connection, calls: SimpleQueue[bytes]) -> None:
    """Hand calls on; a process that nobody waits for ends in the middle of its work."""
    while True:
        try:
            calls.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _answer(message: bytes) -> bytes:
    try:
        fn, args, kwargs = pickle.loads(message)
        return pickle.dumps((True, fn(*args, **kwargs)))
    except Exception as error:
        return pickle.dumps((False, _portable(error)))


def _portable(error: Exception) -> Exception:
    """The error itself, or where it does not survive the journey, one that says the same."""
    try:
        returned: Any = pickle.loads(pickle.dumps(error))
    except Exception:
        returned = None
    return error if type(returned) is type(error) else RuntimeError(repr(error))
