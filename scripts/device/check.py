"""What needs an NVIDIA GPU, compared with the CPU and timed; at most eight minutes.

    scripts/gpu_check

Each part is a process of its own with one thread and a time limit: what fails, crashes or hangs is
one sentence in the results, and the next part begins. Without a device, parts that need one are not
run, which is no failure; the exit code is 1 where a part failed.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

from eqmm_ase.foreign_errors import short_reason
from scripts.common import RESULTS, argument_parser, text_table, write_results
from scripts.device import environment, labels, network, precision, whole_system
from scripts.device.figures import Figures, NotRunError
from scripts.docs.result_rows import gpu_check

RESULT = RESULTS / "gpu_check.json"
TOTAL = 480.0  # s
DONE = "done"
NO_DEVICE = "not run: no CUDA device"
_ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_PROCESSES = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Part:
    """A part of the check."""

    title: str
    figures: Callable[[], Figures]
    """Raises where a figure is not what it must be. Pickled: a function of a module."""
    limit: float
    """Seconds."""
    on_device: bool = True


_STEPS = [(n_qm, n_mm) for n_mm in (3000, 100_000) for n_qm in (6, 22, 100)]
_LABELS = {
    "water": 60,
    "methyl radical": 90,
    "chloride and chloromethane": 120,
    "acetamide in 3000 charges": 150,
}
PARTS = (
    Part("environment", environment.figures, 30),
    Part("network, CPU and GPU", network.deviations, 60),
    *(
        Part(
            f"a step, {n_qm} atoms, {n_mm} charges",
            partial(network.step_times, n_qm, n_mm),
            40 if n_mm > 3000 else 30,
        )
        for n_qm, n_mm in _STEPS
    ),
    Part("training step, 16 frames", network.training_step, 45),
    Part("OpenMM, methanol in water", whole_system.figures, 60),
    Part("matrix products rounded, on the CPU", precision.figures, 30, on_device=False),
    *(
        Part(f"labels, {name}", partial(labels.figures, name), limit)
        for name, limit in _LABELS.items()
    ),
)


def check(parts: Sequence[Part], device: str | None, total: float = TOTAL) -> list[dict[str, Any]]:
    """Run parts one after the other; of each, its title, outcome, figures and seconds.

    Parameters
    ----------
    device
        Its name; None where there is none.
    total
        Seconds for all parts: what has not begun by then is not run.
    """
    begun, found = time.perf_counter(), []
    for part in parts:
        started = time.perf_counter()
        left = total - (started - begun)
        if part.on_device and device is None:
            outcome: dict[str, Any] = {"outcome": NO_DEVICE}
        elif left <= 0:
            outcome = {"outcome": f"not run: the {total:.0f} s for all parts were over"}
        else:
            outcome = _outcome(part.figures, min(part.limit, left))
        seconds = round(time.perf_counter() - started, 1)
        found.append({"title": part.title, "figures": {}, **outcome, "seconds": seconds})
        print(f"{part.title}: {outcome['outcome']} ({seconds} s)", flush=True)
    return found


def _outcome(figures: Callable[[], Figures], limit: float) -> dict[str, Any]:
    """What a process of its own finds within so many seconds."""
    ours, theirs = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_answer, args=(theirs, figures), daemon=True)
    with patch.dict(os.environ, _ONE_CORE):
        process.start()
    theirs.close()  # or the end of the process would not be the end of the pipe
    try:
        if not ours.poll(limit):
            return {"outcome": f"failed: took longer than {limit:.0f} s"}
        answer: dict[str, Any] = ours.recv()
        return answer
    except EOFError:
        process.join()
        return {"outcome": f"failed: its process ended with exit code {process.exitcode}"}
    finally:
        process.kill()
        process.join()
        ours.close()


def _answer(connection: Connection, figures: Callable[[], Figures]) -> None:
    try:
        answer: dict[str, Any] = {"outcome": DONE, "figures": figures()}
    except NotRunError as error:
        answer = {"outcome": f"not run: {error}"}
    except Exception as error:
        answer = {"outcome": f"failed: {short_reason(error)}"}
    connection.send(answer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print and write; the exit code."""
    chosen = argument_parser(__doc__, "JSON file to write", RESULT).parse_args(arguments)
    device = environment.cuda_device()
    found = check(PARTS, device)
    write_results(chosen.output, {"device": device, "parts": found})
    print(text_table([("part", ""), ("figure", ""), ("value", "")], gpu_check({"parts": found})))
    return int(any(part["outcome"].startswith("failed") for part in found))


if __name__ == "__main__":
    sys.exit(main())
