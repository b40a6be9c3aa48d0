"""The main job of EqMM on real input: methanol in water, from nothing to a relaxed geometry.

Sample with OpenMM, label with PySCF, train, evaluate on a trajectory that was held out, relax the
molecule in the charges of one of its frames with the model and with PySCF. Every stage is a
command that is printed before it runs; one whose result exists is skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from eqmm_ase.progress_bar import duration
from eqmm_ase.terminal import say, screen
from scripts.common import ROOT, write_json
from scripts.demonstration.demo_report import write_report

INTERRUPTED = 130


@dataclass(frozen=True)
class Settings:
    """What is sampled, labelled and trained; the defaults take 5 to 11 minutes on two cores."""

    molecule: str = "CO"
    solvent: str = "water"
    frames: int = 168
    trajectories: int = 7
    """The last one is held out from training."""
    interval: float = 0.2
    equilibration: float = 4.0
    decorrelation: float = 1.0
    radius: float = 12.0
    functional: str = "b3lyp"
    basis: str = "6-31g*"
    steps: int = 4000
    validate_every: int = 500
    fmax: float = 0.02


QUICK = Settings(
    frames=24,
    trajectories=3,
    interval=0.05,
    equilibration=1.0,
    decorrelation=0.1,
    radius=6.0,
    functional="hf",
    basis="sto-3g",
    steps=60,
    validate_every=30,
    fmax=0.05,
)
"""A few minutes to see every stage once; the model is not good for anything."""


@dataclass(frozen=True)
class Stage:
    """A command, run in the results folder, and the file that exists once it is done."""

    title: str
    command: str
    result: str


def stages(s: Settings) -> list[Stage]:
    """All commands, in their order."""
    return [
        Stage(
            "Sample methanol in TIP3P water with OpenMM",
            f"eqmm-datagen sample {s.molecule} -o frames.h5 --solvent {s.solvent} "
            f"--frames {s.frames} --trajectories {s.trajectories} --interval {s.interval} "
            f"--equilibration {s.equilibration} --decorrelation {s.decorrelation} "
            f"--radius {s.radius}",
            "frames.h5",
        ),
        Stage(
            "Label the frames with PySCF",
            "eqmm-datagen label frames.h5 -o labels.h5 "
            f"--functional {s.functional} --basis '{s.basis}'",
            "labels.h5",
        ),
        Stage(
            "Hold out one trajectory",
            f"eqmm-datagen split labels.h5 --hold-out {s.solvent}-{s.trajectories - 1}",
            "test.h5",
        ),
        Stage(
            "Train",
            f"eqmm train train.h5 -o model.eqmm training.max_steps={s.steps} "
            f"training.validate_every={s.validate_every}",
            "model.eqmm",
        ),
        Stage(
            "Evaluate on the held-out trajectory",
            "eqmm evaluate model.eqmm test.h5 -o evaluation",
            "evaluation/metrics.json",
        ),
        Stage(
            "Relax methanol in fixed charges with the model and with PySCF",
            "python -m scripts.demonstration.demo_relaxation model.eqmm test.h5 -o relaxation "
            f"--fmax {s.fmax}",
            "relaxation/relaxation.json",
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--results", type=Path, help="folder to write (default: demo_results)")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see it run")
    chosen = parser.parse_args(arguments)
    settings = QUICK if chosen.quick else Settings()
    folder = chosen.results or Path("demo_results_quick" if chosen.quick else "demo_results")
    console = screen()
    folder.mkdir(parents=True, exist_ok=True)
    if not _belongs(folder, settings):
        say(console, f"{folder} holds a demo with other settings; remove it or use --results")
        return 2
    try:
        return _run(folder.resolve(), settings, console)
    except KeyboardInterrupt:
        say(console, "\ninterrupted; the same command goes on from here")
        return INTERRUPTED


def _run(folder: Path, settings: Settings, console: Console) -> int:
    if code := run_stages(stages(settings), folder, console):
        return code
    say(console, "\nResults", "bold")
    write_report(folder, asdict(settings), console)
    return 0


def run_stages(todo: Sequence[Stage], folder: Path, console: Console) -> int:
    """Run those whose result is not in the folder yet; the code of the one that failed, or 0.

    Seconds go to ``timings.json`` in the folder, and at the end to the console.

    Raises
    ------
    KeyboardInterrupt: a command was interrupted.
    """
    for number, stage in enumerate(todo, 1):
        say(console, f"\n{number}/{len(todo)} {stage.title}", "bold")
        say(console, stage.command, "dim")
        if (folder / stage.result).exists():
            say(console, f"done before: {stage.result}")
            continue
        begun = time.monotonic()
        code = _call(stage.command, folder)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        # `label` also says 1 when some frames failed; the others are good to train on.
        if not (folder / stage.result).exists():
            say(console, f"this stage ended with exit code {code}; the message is above")
            return code or 1
        _remember(folder, stage.result, time.monotonic() - begun)
    say(console, "")
    for line in times(todo, _timings(folder)):
        say(console, line)
    return 0


def times(todo: Sequence[Stage], seconds: Mapping[str, float]) -> list[str]:
    """How long each stage took when it ran, a line each, and all of them."""
    known = [(stage.title, seconds[stage.result]) for stage in todo if stage.result in seconds]
    total = ("all stages", sum(spent for _, spent in known))
    return [f"{duration(spent):>8}  {title}" for title, spent in [*known, total]]


def _belongs(folder: Path, settings: Settings) -> bool:
    """Whether the folder is new or was begun with the same settings."""
    path = folder / "settings.json"
    wanted = json.dumps(asdict(settings), indent=1)
    if not path.exists():
        path.write_text(wanted, encoding="utf-8")
    return path.read_text(encoding="utf-8") == wanted


def _remember(folder: Path, result: str, seconds: float) -> None:
    timings = {**_timings(folder), result: round(seconds, 1)}
    write_json(folder / "timings.json", timings)


def _timings(folder: Path) -> dict[str, float]:
    """Seconds that the stages took, by their results."""
    path = folder / "timings.json"
    found: dict[str, float] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def _call(command: str, folder: Path) -> int:
    # One thread: the tensors are small, and a second one costs more than it brings.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(_arguments(command), cwd=folder, env=environment, check=False).returncode


def _arguments(command: str) -> list[str]:
    """The words of a command, its program taken from this Python's environment."""
    program, *words = shlex.split(command)
    if program == "python":
        return [sys.executable, *words]
    beside = Path(sys.executable).parent / program
    return [str(beside) if beside.exists() else program, *words]


if __name__ == "__main__":
    sys.exit(main())
