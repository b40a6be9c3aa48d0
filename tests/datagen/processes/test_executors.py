"""Worker processes: replaced when they die, ended when they go over a limit or their maker dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("pyscf")

from campaign_kit import QUICK, alive, children, fake_label, ledger, wait_for, waters

import datagen
from datagen.campaigns import frame_loop
from datagen.campaigns.campaign import label_frames
from datagen.errors import CampaignError, FrameTimeoutError, MemoryLimitError, WorkerDiedError
from datagen.processes import guarded_process
from datagen.processes.executors import LocalProcesses
from datagen.processes.guarded_process import Limits
from datagen.processes.worker_loop import report


@pytest.mark.slow
def test_worker_that_died_is_replaced_and_workers_have_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with LocalProcesses(1) as executor:
        first = executor.submit(os.getpid).result()
        ended = executor.submit(os._exit, 1).exception()
        assert isinstance(ended, WorkerDiedError)
        assert "ended with 1" in str(ended)
        assert executor.submit(os.getpid).result() != first
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        assert os.environ["OMP_NUM_THREADS"] == "3"
        killed = executor.submit(os.kill, executor.submit(os.getpid).result(), signal.SIGKILL)
        assert "was ended by SIGKILL" in str(killed.exception())
        last = executor.submit(os.getpid).result()
    assert not alive(last)


@pytest.mark.slow
def test_errors_come_back_as_what_they_were():
    with LocalProcesses(1) as executor:
        assert isinstance(executor.submit(int, "x").exception(), ValueError)
        unportable = executor.submit(_raise_unportable).exception()
        assert type(unportable) is RuntimeError
        assert "two arguments" in str(unportable)
        assert executor.submit(int, "3").result() == 3


class _UnportableError(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def _raise_unportable() -> None:
    raise _UnportableError("two", "arguments")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("raise SystemExit(3)", CampaignError),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", WorkerDiedError),
    ],
)
def test_worker_that_is_killed_while_it_starts_is_no_reason_to_give_up(
    program, expected, monkeypatch
):
    monkeypatch.setattr(guarded_process, "_PROGRAM", program)
    with pytest.raises(expected, match="cannot start"):
        guarded_process.GuardedProcess(Limits()).start()


@pytest.mark.slow
def test_call_over_its_time_is_killed_and_the_next_one_gets_a_new_worker():
    with LocalProcesses(1, Limits(timeout=0.5)) as executor:
        first = executor.submit(os.getpid).result()
        begin = time.monotonic()
        error = executor.submit(time.sleep, 60).exception()
        assert isinstance(error, FrameTimeoutError)
        assert "not finished after 0.5 s" in str(error)
        assert time.monotonic() - begin < 50  # of the 60 that it would have slept
        assert not alive(first)
        assert executor.submit(os.getpid).result() != first


@pytest.mark.slow
def test_call_over_its_memory_is_killed_and_one_below_is_not():
    with LocalProcesses(1, Limits(memory=0.5)) as executor:
        assert executor.submit(_fill_slowly, 0.1).result() == 1
        error = executor.submit(_fill_slowly, 0.6).exception()
        assert isinstance(error, MemoryLimitError)
        assert "the limit is 0.5 GB" in str(error)
        assert executor.submit(int, "3").result() == 3


def _fill_slowly(gigabytes: float) -> int:
    kept = []
    for _ in range(int(gigabytes * 50)):
        kept.append(bytearray(b"x") * 20_000_000)
        time.sleep(0.05)
    return 1


@pytest.mark.parametrize("limits", [{"timeout": 0}, {"memory": -1.0}, {"timeout": float("nan")}])
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(CampaignError, match="expected above 0"):
        Limits(**limits)


def test_limits_need_a_process_that_can_be_ended(tmp_path):
    with pytest.raises(CampaignError, match="limits need a worker process"):
        label_frames(waters(1), QUICK, tmp_path, workers=0, limits=Limits(timeout=1))


def _hangs_on_the_second(frame, method):
    if frame.energy is not None:  # the mark of the frame that hangs
        time.sleep(60)
    return fake_label(frame, method)


@pytest.mark.slow
def test_frame_over_its_time_fails_with_that_reason_and_the_others_are_done(tmp_path, monkeypatch):
    frames = waters(3)
    frames[1] = replace(frames[1], energy=1.0)
    monkeypatch.setattr(frame_loop, "label_task", _hangs_on_the_second)
    summary = label_frames(frames, QUICK, tmp_path, workers=1, limits=Limits(timeout=4))
    assert (summary.done, summary.failed) == (2, 1)
    assert summary.failures[0][:2] == ("FrameTimeoutError", 1)
    (wall_time,) = ledger(tmp_path, "wall_time")[1]
    assert 3.9 < wall_time < 15


_MAKER = """
import time
from datagen.processes.executors import LocalProcesses
executor = LocalProcesses(2)
calls = [executor.submit(time.sleep, 60) for _ in range(2)]
print("ready", flush=True)
calls[0].result()
"""


@pytest.mark.slow
def test_workers_end_with_a_maker_that_is_killed():
    maker = subprocess.Popen(
        [sys.executable, "-c", _MAKER],
        env=os.environ | {"PYTHONPATH": str(Path(datagen.__file__).parents[1])},
        stdout=subprocess.PIPE,
    )
    try:
        assert maker.stdout.readline() == b"ready\n"
        wait_for(lambda: len(children(maker.pid)) == 2, maker)
        workers = children(maker.pid)
    finally:
        maker.kill()
        maker.wait()
        maker.stdout.close()
    wait_for(lambda: not any(alive(pid) for pid in workers), patience=10)


def _report_twice() -> str:
    report(1.5)
    report(2.5)
    return "done"


def test_a_call_can_report_before_it_answers():
    told = []
    with LocalProcesses(1, on_report=told.append) as executor:
        assert executor.submit(_report_twice).result() == "done"
    assert told == [1.5, 2.5]


@pytest.mark.slow
def test_loading_takes_no_time_of_the_call_and_what_cannot_be_loaded_is_a_sentence(
    tmp_path, monkeypatch
):
    (tmp_path / "slow_to_load.py").write_text(
        "import time\ntime.sleep(2.0)\ndef answer():\n time.sleep(0.4)\n return 42"
    )
    (tmp_path / "never_loads.py").write_text("import os\nos.no_such_thing")
    monkeypatch.syspath_prepend(tmp_path)
    import slow_to_load

    with LocalProcesses(1, Limits(timeout=1.5)) as executor:
        assert executor.submit(slow_to_load.answer).result() == 42
        error = executor.submit(_Fails()).exception()
    assert isinstance(error, CampaignError)
    assert "cannot load what it is to compute" in str(error)


class _Fails:
    """What can be pickled and not unpickled."""

    def __reduce__(self):
        return __import__, ("never_loads",)

    def __call__(self) -> None:
        raise AssertionError("it was never made")


def test_loads_no_pyscf_before_it_is_asked_to():
    with LocalProcesses(1) as executor:
        assert not executor.submit(eval, "'pyscf' in __import__('sys').modules").result()
        assert executor.submit(eval, "__import__('pyscf').lib.num_threads()").result() == 1
