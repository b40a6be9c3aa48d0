"""The faults of `fault_injection.py`: a campaign's driver that can be hurt, and damaged files."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from places import ROOT

from datagen.campaigns.ledger import LedgerReader, Row
from datagen.campaigns.storage import result_path

DAMAGES = ("result altered", "result truncated")
_NOTICED = 10.0  # s in which the driver notices that a worker died
_PATIENCE = 300.0  # s; two cores that others use as well can be slow
_TORN = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE frames SET state = 'failed', attempts = 99")
os.kill(os.getpid(), signal.SIGKILL)
"""


class Driver:
    """A running `eqmm-datagen run`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._began = folder, time.time()
        program = "from datagen.cli import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, "run", str(folder)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def wait_until_computing(self) -> None:
        """Return when a worker of this driver has a frame."""
        self.wait_until(lambda: bool(self._running()))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when something is so, or raise when the driver ends before."""
        end = time.monotonic() + _PATIENCE
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(f"the campaign ended before the last fault: {self._said()}")
            if time.monotonic() > end:
                raise TimeoutError("the campaign does not get on")
            time.sleep(0.02)

    def wait_until_finished(self) -> None:
        """Return when it has ended well."""
        self._end(0)

    def kill(self) -> None:
        """SIGKILL; its workers must end as well."""
        workers = self._workers()
        self._process.kill()
        self._end(-signal.SIGKILL)
        end = time.monotonic() + _PATIENCE
        while any(_alive(pid) for pid in workers):
            if time.monotonic() > end:
                raise TimeoutError("workers outlive their driver")
            time.sleep(0.01)

    def kill_worker(self, dice: random.Random) -> list[str]:
        """SIGKILL one worker; the frame it had, if any.

        What was running a moment before the kill may be done when it strikes, and a frame that a
        worker has just been given is not yet in the ledger: so the frame is the one that lost an
        attempt.
        """
        before = self._lost_attempts()
        os.kill(dice.choice(self._workers()), signal.SIGKILL)
        end = time.monotonic() + _NOTICED
        while time.monotonic() < end:
            if hit := [name for name, n in self._lost_attempts().items() if n > before[name]]:
                return hit
            time.sleep(0.02)
        return []

    def fill_disk(self, dice: random.Random) -> None:
        """Let no file grow beyond a few kilobytes; the driver must end with a sentence."""
        room = dice.randrange(20_000)
        hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (room, hard))
        said = self._end(1)
        if "nothing is lost" not in " ".join(said.split()):
            raise RuntimeError(f"a full disk was told as {said!r}")

    def _running(self) -> list[str]:
        path = self.folder / "ledger.sqlite"
        if not path.is_file() or path.stat().st_size == 0:
            return []
        with LedgerReader(path) as ledger:
            rows = ledger.rows()
        return [r.frame_id for r in rows if r.state == "running" and (r.started or 0) > self._began]

    def _lost_attempts(self) -> dict[str, int]:
        """frame_id → attempts that neither gave a label nor go on."""
        with LedgerReader(self.folder / "ledger.sqlite") as ledger:
            rows = ledger.rows()
        return {r.frame_id: r.attempts - (r.state in ("running", "done")) for r in rows}

    def _workers(self) -> list[int]:
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]

    def _end(self, expected: int) -> str:
        said = self._said()
        if self._process.returncode != expected:
            raise RuntimeError(f"the driver ended with {self._process.returncode}: {said}")
        return said

    def _said(self) -> str:
        return self._process.communicate(timeout=_PATIENCE)[1].decode()


def damage_result(folder: Path, rows: Sequence[Row], kind: str, dice: random.Random) -> str:
    """Alter a byte of a finished result, or cut its end off; the name of the frame."""
    row = dice.choice([row for row in rows if row.state == "done"])
    path = result_path(folder, row.frame_id)
    content = bytearray(path.read_bytes())
    place = dice.randrange(len(content))
    if kind == "result altered":
        content[place] ^= 0xFF
    else:
        del content[place:]
    path.write_bytes(content)
    return row.frame_id


def tear_ledger(folder: Path, dice: random.Random) -> None:
    """Leave a transaction that was begun, and of its journal only a part."""
    ledger = folder / "ledger.sqlite"
    subprocess.run([sys.executable, "-c", _TORN, str(ledger)], check=False)
    journal = ledger.with_name("ledger.sqlite-journal")
    os.truncate(journal, dice.randrange(journal.stat().st_size))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
