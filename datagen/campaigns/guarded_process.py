"""A process that computes one call after another under limits, and is replaced when it dies.

Whoever calls waits for the answer. The process has one thread for numerics and ends with the one
that made it, however that ends. It can be made anywhere, also within a worker of a cluster.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar, cast

from datagen.campaigns.limits import Limits, resident_memory
from datagen.errors import CampaignError, FrameTimeoutError, MemoryLimitError, WorkerDiedError

T = TypeVar("T")
_WATCH_INTERVAL = 0.1  # s; a fast leak fills about a gigabyte in this time
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from datagen.campaigns.worker_loop import main; main(int(sys.argv[1]))"
)


class GuardedProcess:
    """One worker process; not for several threads at a time.

    Parameters
    ----------
    limits
        Of every call.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the process, unless it is running, and wait until it has loaded its programs.

        Raises
        ------
        CampaignError
            When it cannot start.
        WorkerDiedError
            When it was killed meanwhile, or ended for good.
        """
        if self._ended.is_set():
            raise WorkerDiedError("the worker processes were shut down")
        if self._process is not None and self._process.poll() is None:
            return
        ours, theirs = Pipe()
        # A session of its own: Ctrl-C in the terminal is for the campaign to answer.
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), json.dumps(sys.path)],
            env=os.environ | _ONE_THREAD,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._process, self._connection = process, ours
        if self._ended.is_set():  # by another thread, meanwhile
            self._kill()
        try:
            ours.recv()
        except (EOFError, OSError) as error:
            ending = f"a worker process cannot start: it {self._ending()}"
            killed = process.returncode < 0  # by chance, and not for what it is
            raise (WorkerDiedError if killed else CampaignError)(ending) from error

    def call(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Compute ``fn(*args, **kwargs)`` in the process; its errors are raised here.

        Raises
        ------
        FrameTimeoutError, MemoryLimitError
            When the call went over a limit; the process is ended and the next call gets a new one.
        WorkerDiedError
            When the process ended by itself or was killed; the next call gets a new one.
        """
        self.start()
        assert self._connection is not None
        try:
            self._connection.send((fn, args, kwargs))
            self._watch()
            good, value = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise WorkerDiedError(f"the worker process {self._ending()}") from error
        if good:
            return cast(T, value)
        raise value

    def end(self) -> None:
        """End the process for good, whatever it is doing."""
        self._ended.set()
        self._kill()

    def _watch(self) -> None:
        """Return when there is an answer or an end; enforce the limits until then."""
        assert self._connection is not None
        assert self._process is not None
        limits, begin = self._limits, time.monotonic()
        while not self._connection.poll(_WATCH_INTERVAL if limits.any else None):
            if limits.timeout is not None and time.monotonic() - begin > limits.timeout:
                self._kill()
                raise FrameTimeoutError(
                    f"the frame was not finished after {limits.timeout:g} s on {_host()}"
                )
            used = resident_memory(self._process.pid)
            if limits.memory is not None and used > limits.memory:
                self._kill()
                raise MemoryLimitError(
                    f"the frame took {used:.2f} GB on {_host()}; the limit is {limits.memory:g} GB"
                )

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _ending(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"on {_host()} {how}"


def _host() -> str:
    return socket.gethostname()


_own: dict[Limits, GuardedProcess] = {}


def guarded_call(limits: Limits, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Compute a call in the one such process that this process keeps.

    Raises what `GuardedProcess.call` raises.
    """
    return _own.setdefault(limits, GuardedProcess(limits)).call(fn, *args, **kwargs)
