"""Relax methanol in the fixed charges of one frame, with the model and with PySCF, and compare.

Both get the Lennard-Jones energy between the molecule and the water oxygens of the force field
that sampled the frame: bare charges alone would pull the hydrogen atoms in.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.mixing import SumCalculator

from datagen.labels.calculator import ReferenceCalculator
from datagen.labels.method import Method
from eqmm_ase import EqMM, Frame, ReferenceData
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.simulation.lennard_jones import HeldLennardJones
from eqmm_ase.simulation.relax import Relaxation, RelaxationStep, relax, rmsd
from eqmm_ase.units import KCAL_PER_MOL
from scripts.common import argument_parser, write_json
from scripts.pictures import BLUE, GREY, ORANGE, picture

# R_min/2 in Å and ε in kcal/mol: GAFF2 (Wang et al., J. Comput. Chem. 25, 1157 (2004)) types.
GAFF2 = {"c3": (1.9069, 0.1078), "h1": (1.3593, 0.0208), "oh": (1.8200, 0.0930)}
GAFF2["ho"] = (0.3019, 0.0047)
SIGMA_PER_HALF_RMIN = 2 ** (5 / 6)
# σ in Å and ε in kcal/mol of TIP3P oxygen: Jorgensen et al., J. Chem. Phys. 79, 926 (1983).
TIP3P_OXYGEN = (3.15061, 0.1521)


def strongest_bound(frames: Sequence[Frame]) -> int:
    """Number of the frame whose charges hold the molecule most firmly, by Σ q_k V_k.

    There a minimum is defined best; a molecule that floats between weak hydrogen bonds has many.
    """
    interaction = [
        np.dot(frame.mm_charges, frame.mm_potential)
        for frame in frames
        if frame.mm_potential is not None
    ]
    return int(np.argmin(interaction))


def lennard_jones(atoms: Atoms, frame: Frame) -> HeldLennardJones:
    """GAFF2 methanol among TIP3P water."""
    oxygen = next(atom.index for atom in atoms if atom.symbol == "O")
    hydroxyl = atoms.get_distances(oxygen, range(len(atoms))) < 1.2
    kinds = {"C": "c3", "O": "oh"}
    parameters = np.array(
        [GAFF2[kinds.get(atom.symbol, "ho" if hydroxyl[atom.index] else "h1")] for atom in atoms]
    )
    is_oxygen = np.asarray(frame.mm_charges) < 0.0
    sites = np.asarray(frame.mm_positions)[is_oxygen]
    return HeldLennardJones(
        parameters[:, 0] * SIGMA_PER_HALF_RMIN,
        parameters[:, 1] * KCAL_PER_MOL,
        sites,
        np.full(len(sites), TIP3P_OXYGEN[0]),
        np.full(len(sites), TIP3P_OXYGEN[1] * KCAL_PER_MOL),
    )


def run(
    name: str, electrostatic: Calculator, frame: Frame, folder: Path, fmax: float
) -> tuple[Atoms, Relaxation, list[float]]:
    """Relax with one calculator; return the atoms, the outcome and the energy of every step."""
    atoms = atoms_of_frame(frame)
    atoms.calc = SumCalculator([electrostatic, lennard_jones(atoms, frame)])
    energies: list[float] = []

    def report(step: RelaxationStep) -> None:
        energies.append(step.energy)
        if step.step % 5 == 0:
            print(
                f"{name:>6} step {step.step:3d}  E {step.energy:.5f} eV  "
                f"fmax {step.fmax:.3f} eV/Å  {step.seconds:5.1f} s",
                flush=True,
            )

    outcome = relax(atoms, fmax=fmax, steps=200, trajectory=folder / f"{name}.traj", report=report)
    return atoms, outcome, energies


def compare(model: Path, data: Path, folder: Path, fmax: float) -> dict[str, Any]:
    """Relax with both; write trajectories, the plot and ``relaxation.json``."""
    with ReferenceData.open(data) as file:
        frames, settings = file.load(), file.method
    number = strongest_bound(frames)
    frame = frames[number]
    learned = EqMM(model, dtype="float64")
    learned.embed(frame.mm_charges, frame.mm_positions)
    known = {key: settings[key] for key in Method.__dataclass_fields__ if key in settings}
    reference = ReferenceCalculator(Method(**known), frame.mm_charges, frame.mm_positions)
    found, ml, ml_energies = run("EqMM", learned, frame, folder, fmax)
    exact, qm, qm_energies = run("PySCF", reference, frame, folder, fmax)
    lowest = exact.get_potential_energy()
    plot(ml_energies, qm_energies, lowest, folder / "relaxation.png")
    at_found = exact.copy()
    at_found.positions = found.positions
    at_found.calc = exact.calc
    result = {
        "frame": f"{data.name}:{number}",
        "fmax_eV_per_A": fmax,
        "energy_eqmm_eV": ml.energy,
        "energy_pyscf_eV": qm.energy,
        "energy_difference_kcal_per_mol": (ml.energy - qm.energy) / KCAL_PER_MOL,
        "pyscf_energy_of_eqmm_geometry_above_minimum_kcal_per_mol": (
            at_found.get_potential_energy() - lowest
        )
        / KCAL_PER_MOL,
        "rmsd_superposed_A": rmsd(found.positions, exact.positions, superpose=True),
        "rmsd_in_place_A": rmsd(found.positions, exact.positions),
        "rmsd_from_start_A": qm.rmsd,
        "steps_eqmm": ml.steps,
        "steps_pyscf": qm.steps,
        "seconds_eqmm": ml.seconds,
        "seconds_pyscf": qm.seconds,
        "converged": ml.converged and qm.converged,
    }
    write_json(folder / "relaxation.json", result)
    return result


def plot(ml: Sequence[float], qm: Sequence[float], lowest: float, path: Path) -> None:
    """Energy above the minimum that PySCF finds, over the steps of both."""
    with picture(path, 5.0, 3.6) as figure:
        draw(figure.subplots(), ml, qm, lowest)


def draw(axes: Any, ml: Sequence[float], qm: Sequence[float], lowest: float) -> None:
    """Both curves into given axes."""
    for energies, label, color, marker in (
        (qm, "PySCF", ORANGE, "o"),
        (ml, "EqMM", BLUE, "."),
    ):
        above = (np.array(energies) - lowest) / KCAL_PER_MOL
        axes.plot(above, label=label, color=color, marker=marker, markersize=4, linewidth=1.2)
    axes.set(xlabel="optimiser step", ylabel="energy above minimum / kcal/mol")
    axes.axhline(0.0, color=GREY, linewidth=0.8, zorder=0)
    axes.legend(frameon=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder", Path("relaxation"))
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fmax", type=float, default=0.01, help="eV/Å")
    chosen = parser.parse_args(arguments)
    chosen.output.mkdir(parents=True, exist_ok=True)
    try:
        compare(chosen.model, chosen.data, chosen.output, chosen.fmax)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
