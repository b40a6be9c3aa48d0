"""CPU time of a step of training with the default settings.

python -m scripts.benchmarks.benchmark_training

The frames are those of the tests: methanol in water. A step is the difference of two trainings of
different length, of which the shortest of several is taken; one thread.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from eqmm_ase.training.config import load_config
from eqmm_ase.training.train import train
from scripts.common import RESULTS, TEST_DATA, argument_parser, write_results

RESULT = RESULTS / "benchmark_training.json"
FRAMES = TEST_DATA / "methanol.h5"
STEPS = 150, 650


def training_seconds(steps: int, folder: Path) -> float:
    """CPU time of a training of so many steps, s."""
    settings = ["data.validation_fraction=0", "hardware.accelerator=cpu"]
    config = load_config(None, [*settings, f"training.max_steps={steps}"])
    began = time.process_time()
    train(
        [FRAMES], folder / "model.eqmm", config, restart=True, console=Console(file=io.StringIO())
    )
    return time.process_time() - began


def benchmark(repetitions: int) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        short, long = (
            [training_seconds(steps, Path(folder)) for _ in range(repetitions)] for steps in STEPS
        )
    return {
        "what": "CPU time of a step of training, default settings, one thread",
        "frames": FRAMES.name,
        "steps": STEPS,
        "seconds": {"short": short, "long": long},
        "step_ms": 1000.0 * (min(long) - min(short)) / (STEPS[1] - STEPS[0]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "JSON file to write", RESULT)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args(arguments)
    result = benchmark(options.repetitions)
    write_results(options.output, result)
    print(f"a step takes {result['step_ms']:.1f} ms")


if __name__ == "__main__":
    main()
