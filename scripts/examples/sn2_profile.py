"""Energy along Cl⁻ + CH3Cl → ClCH3 + Cl⁻ in gas, methanol and water: the model on the reference.

    python scripts/examples/sn2_profile.py          # writes sn2_profile.png

Dots are B3LYP-D3(BJ)/6-31+G* energies of frames the model was not trained on, QM region and its
interaction with the solvent; circles are the model's for the same frames, and lines its means over
windows of ζ = d(C–Cl1) − d(C–Cl2). In the gas phase, the dashed line is the model's minimum-energy
profile: the double well that solvents turn into a barrier.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.constraints import FixInternals
from ase.optimize import BFGS
from matplotlib.figure import Figure

from eqmm_ase import EqMM, Frame, atoms_of_frame, read_frames, units

FLAGSHIP = Path(__file__).resolve().parents[1] / "flagship"
# Whole sweeps that were held out from training.
HELD_OUT = {
    "gas": ("gas.h5", "gas-sweep-3"),
    "methanol": ("methanol.h5", "methanol-sweep-5"),
    "water": ("water_a.h5", "water-sweep-3"),
}
COLORS = {"gas": "#777777", "methanol": "#d1711b", "water": "#1b6ca8"}
CARBON, FIRST, SECOND = 0, 1, 2


def zeta(atoms: Atoms) -> float:
    """ζ = d(C–Cl1) − d(C–Cl2), Å."""
    return float(atoms.get_distance(CARBON, FIRST) - atoms.get_distance(CARBON, SECOND))


def energies(calculator: EqMM, frames: list[Frame]) -> np.ndarray:
    """Energies of the frames in their charges, kcal/mol."""
    found = []
    for frame in frames:
        atoms = atoms_of_frame(frame)
        atoms.calc = calculator
        calculator.embed(frame.mm_charges, frame.mm_positions)
        found.append(atoms.get_potential_energy() / units.KCAL_PER_MOL)
    return np.array(found)


def gas_profile(calculator: EqMM, start: Frame, values: np.ndarray) -> np.ndarray:
    """Energies minimised at fixed ζ, one after the other, kcal/mol."""
    atoms = atoms_of_frame(start)
    atoms.calc = calculator
    calculator.embed(None)
    found = []
    for value in values:
        combination = [[CARBON, FIRST, 1.0], [CARBON, SECOND, -1.0]]
        shift = value - zeta(atoms)
        for _ in range(max(1, int(abs(shift) / 0.1))):  # in steps that FixInternals can follow
            move = shift / max(1, int(abs(shift) / 0.1)) / 2.0
            along = atoms.positions[FIRST] - atoms.positions[SECOND]
            along /= np.linalg.norm(along)
            atoms.positions[FIRST] += move * along
            atoms.positions[SECOND] += move * along
        atoms.set_constraint(FixInternals(bondcombos=[[zeta(atoms), combination]], epsilon=1e-6))
        BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
        found.append(atoms.get_potential_energy() / units.KCAL_PER_MOL)
        atoms.set_constraint()
    return np.array(found)


def draw(axes: Any, medium: str, frames: list[Frame], predicted: np.ndarray) -> float:
    """One panel; returns the energy that is its zero."""
    where = np.array([zeta(atoms_of_frame(frame)) for frame in frames])
    reference = np.array([frame.energy for frame in frames], dtype=float) / units.KCAL_PER_MOL
    zero = float(reference[np.abs(where) > 2.0].mean())
    color = COLORS[medium]
    axes.plot(where, reference - zero, ".", color="black", ms=4, label="B3LYP-D3(BJ)/6-31+G*")
    axes.plot(where, predicted - zero, "o", color=color, mfc="none", ms=6, label="EqMM")
    centers = np.linspace(-3.0, 3.0, 13)
    means = [predicted[np.abs(where - c) < 0.4].mean() - zero for c in centers]
    axes.plot(centers, means, color=color, lw=2, label="EqMM, mean over 0.8 Å")
    error = np.abs(predicted - reference).mean()
    axes.set_title(f"{medium}: mean absolute error {error:.2f} kcal/mol")
    axes.set_xlabel("ζ = d(C–Cl1) − d(C–Cl2), Å")
    return zero


def main() -> None:
    """Draw three panels."""
    calculator = EqMM.pretrained("sn2-chloride-b3lyp")
    style: Any = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    with mpl.rc_context(style):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for axes, (medium, (file, source)) in zip(panels, HELD_OUT.items(), strict=True):
            frames = [frame for frame in read_frames(FLAGSHIP / file) if frame.source == source]
            zero = draw(axes, medium, frames, energies(calculator, frames))
            if medium == "gas":
                values = np.linspace(-3.0, 3.0, 31)
                start = min(frames, key=lambda frame: zeta(atoms_of_frame(frame)))
                profile = gas_profile(calculator, start, values)
                axes.plot(values, profile - zero, "--", color="black", lw=1, label="EqMM, relaxed")
        panels[0].set_ylabel("energy, kcal/mol")
        panels[0].legend(frameon=False, fontsize=8)
        figure.savefig("sn2_profile.png", dpi=150)
    print("sn2_profile.png")


if __name__ == "__main__":
    main()
