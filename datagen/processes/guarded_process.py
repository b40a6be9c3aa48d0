"""A process that computes one call after another under limits, and is replaced when it dies.

Whoever calls waits for the answer. The process has one thread for numerics and ends with the one
that made it, however that ends. It can be made anywhere, also within a worker of a cluster.

Pebble's pool was tried instead: it has no limit of memory, its busy workers outlive a killed maker,
and an error that cannot be unpickled ends the whole pool.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from datagen.errors import CampaignError, FrameTimeoutError, MemoryLimitError, WorkerDiedError
from datagen.processes.worker_loop import BEGUN, REPORT, RESULT
from eqmm_ase.data.checks import check_number

T = TypeVar("T")
GIGABYTE = 1_000_000_000  # bytes
_WATCH_INTERVAL = 0.1  # s; a fast leak fills about a gigabyte in this time
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_NOTHING: Mapping[str, str] = MappingProxyType({})
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from datagen.processes.worker_loop import main; main(int(sys.argv[1]))"
)


@dataclass(frozen=True)
class Limits:
    """Limits of one frame; None for none. Raises `CampaignError` when one is not positive."""

    timeout: float | None = None
    """Longest time for a frame, s, which begins once programs are loaded; None: none."""

    memory: float | None = None
    """Largest memory of a worker with all programs it has loaded, GB; None: none."""

    def __post_init__(self) -> None:
        check_limits(self.timeout, self.memory)

    @property
    def any(self) -> bool:
        """Whether there is a limit to watch."""
        return self.timeout is not None or self.memory is not None


def check_limits(timeout: float | None, memory: float | None) -> None:
    """Refuse limits that are not positive, with a `CampaignError`."""
    for name, value in {"timeout": timeout, "memory": memory}.items():
        if value is not None:
            check_number(f"the {name} limit", value, above=0.0, error=CampaignError)


_NO_LIMITS = Limits()


class GuardedProcess:
    """One worker process; not for several threads at a time.

    Parameters
    ----------
    limits
        Of every call.
    on_report
        Called, by whoever waits for the answer, with what a call reports meanwhile
        (`datagen.processes.worker_loop.report`).
    environment
        Variables of the process beside those of this one.
    """

    def __init__(
        self,
        limits: Limits = _NO_LIMITS,
        on_report: Callable[[Any], None] = lambda _: None,
        environment: Mapping[str, str] = _NOTHING,
    ) -> None:
        self._limits, self._on_report = limits, on_report
        self._environment = {**_ONE_THREAD, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the process, unless it is running, and wait until it takes calls.

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
            env=os.environ | self._environment,
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
            When the process ended by itself, was killed, or says that it is of no more use; the
            next call gets a new one.
        """
        self.start()
        assert self._connection is not None
        try:
            self._connection.send((fn, args, kwargs))
            kind, value = self._connection.recv()  # loading programs takes no time of the call
            begin = time.monotonic()
            while kind in (BEGUN, REPORT):
                if kind == REPORT:
                    self._on_report(value)
                self._watch(begin)
                kind, value = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise WorkerDiedError(f"the worker process {self._ending()}") from error
        if kind == RESULT:
            return cast(T, value)
        if isinstance(value, WorkerDiedError | MemoryLimitError):  # it says so itself
            self._kill()
        raise value

    def end(self) -> None:
        """End the process for good, whatever it is doing."""
        self._ended.set()
        self._kill()

    def _watch(self, begin: float) -> None:
        """Return when there is a message or an end; enforce the limits until then."""
        assert self._connection is not None
        assert self._process is not None
        limits = self._limits
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


def resident_memory(pid: int) -> float:
    """Memory that a process holds now, GB; 0 where the system does not tell or it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / GIGABYTE


_own: dict[Limits, GuardedProcess] = {}


def guarded_call(limits: Limits, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Compute a call in the one such process that this process keeps.

    Raises what `GuardedProcess.call` raises.
    """
    return _own.setdefault(limits, GuardedProcess(limits)).call(fn, *args, **kwargs)
