"""Complex, saddle, vibrations and path of Cl⁻ + CH3Cl in a box of water that is relaxed around it.

    python -m scripts.systems.saddle -o FOLDER     # needs Sella: pip install sella

ASE and Sella move the six atoms of the ML region; OpenMM relaxes flexible water before every step
(micro-iterations), at 0 K. The water has many minima. So that the path stays in one, each geometry
starts from the water of the one before: from the first complex to the saddle, from there down to a
complex, once more to the saddle and down, and along the band. What the rounds differ by says how
far energies can be trusted.

What is done is kept in the folder; the same command goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.vibrations import Vibrations
from openmm import app, unit

from eqmm_ase import EqMM
from eqmm_ase.engines.classical_system import nonbonded_force
from eqmm_ase.engines.whole_system import RelaxedSurroundings
from eqmm_ase.models.pretrained import pretrained_file
from eqmm_ase.units import KCAL_PER_MOL
from scripts.common import RESULTS, argument_parser, write_json, write_results
from scripts.systems.boxes import Box, make_box, solute_of

MODEL = "sn2-chloride-b3lyp"
PACKAGES = ("eqmm", "torch", "ase", "openmm", "finufft", "sella")
CARBON, FIRST, SECOND = 0, 1, 2
TOLERANCE = 5e-4  # eV/Å, RMS of the forces on the surroundings
FMAX = 0.05  # eV/Å, on the region
BAND_FMAX, BAND_STEPS, BETWEEN = 0.15, 10, 2
CURVATURE_STEP = 0.02  # Å, of Sella's curvatures, above the noise of the relaxation
ROUNDS = 2  # from the complex to the saddle and down again
FROZEN = 1e3  # eV/Å, for water that is held
_HYDROGEN = (0.0400014 * unit.nanometer, 0.192464 * unit.kilojoule_per_mole)
WALK = 6  # geometries from the complex to the guess of the saddle


@dataclass(frozen=True, eq=False)
class State:
    """A geometry with its surroundings at rest."""

    energy: float  # eV, of the whole box
    positions: np.ndarray  # (n_particles, 3) Å

    @classmethod
    def of(cls, atoms: Atoms) -> State:
        """From a region and its calculator."""
        return cls(atoms.get_potential_energy(), atoms.calc.positions)


@dataclass(frozen=True, eq=False)
class Study:
    """A box and the folder of what has been found in it."""

    box: Box
    folder: Path

    def region(self, positions: np.ndarray, tolerance: float = TOLERANCE) -> Atoms:
        """Atoms of the ML region in surroundings that start from positions of all particles."""
        box = self.box
        return RelaxedSurroundings(
            *(box.topology, box.system, box.ml_atoms, pretrained_file(MODEL), positions),
            total_charge=box.total_charge,
            tolerance=tolerance,
        ).region_atoms()

    def state(self, name: str, find: Callable[[], Atoms]) -> State:
        """A state of the folder, found first where it is not there."""
        file = self.folder / f"{name}.npz"
        if not file.exists():
            found = State.of(find())
            np.savez(file, energy=found.energy, positions=found.positions)
        with np.load(file) as kept:
            return State(float(kept["energy"]), kept["positions"])

    def bonds(self, state: State) -> list[float]:
        """Both distances C–Cl, Å."""
        carbon, first, second = state.positions[self.box.ml_atoms][: SECOND + 1]
        return [round(float(np.linalg.norm(end - carbon)), 3) for end in (first, second)]


def with_spheres_of_hydrogens(box: Box) -> Box:
    """Water with the Lennard-Jones terms of its hydrogens in CHARMM's TIP3P.

    Without, nothing but its bond holds a hydrogen of flexible water off the anion, and minimisers
    jump over that: far closer than in training, the model's energy has no bottom.
    """
    force = nonbonded_force(box.system)
    for atom in box.topology.atoms():
        if atom.residue.name == "HOH" and atom.element is app.element.hydrogen:
            charge, _, _ = force.getParticleParameters(atom.index)
            force.setParticleParameters(atom.index, charge, *_HYDROGEN)
    return box


def relaxed(atoms: Atoms, fmax: float = FMAX) -> Atoms:
    """The atoms at a minimum."""
    BFGS(atoms, logfile="-").run(fmax=fmax, steps=150)
    return atoms


def at_saddle(atoms: Atoms, fmax: float, **settings: Any) -> Atoms:
    """The atoms at a saddle point of first order."""
    from sella import Sella

    Sella(atoms, order=1, logfile="-", **settings).run(fmax=fmax, steps=100)
    return atoms


def frequencies(atoms: Atoms, name: Path) -> tuple[list[float], np.ndarray]:
    """Wavenumbers, cm⁻¹, imaginary ones negative, and the mode of the lowest, (n, 3)."""
    vibrations = Vibrations(atoms, name=str(name))
    vibrations.run()
    found = vibrations.get_frequencies()
    signed = [round(float(value.real - abs(value.imag)), 1) for value in found]
    return signed, np.real(vibrations.get_mode(0))


def in_gas(folder: Path) -> dict[str, Any]:
    """Barrier from the complex, geometry and wavenumbers of the saddle, without water."""
    complex_ = relaxed(_gas(solute_of("sn2")), 0.005)
    guess = solute_of("sn2")
    carbon, first = guess.positions[:2]
    axis = (first - carbon) / np.linalg.norm(first - carbon)
    guess.positions -= np.outer((guess.positions - carbon) @ axis, axis)  # methyl flat
    guess.positions[[FIRST, SECOND]] = carbon + 2.37 * np.outer([1, -1], axis)
    saddle = at_saddle(_gas(guess), 0.005)
    barrier = saddle.get_potential_energy() - complex_.get_potential_energy()
    return {
        "barrier_kcal_per_mol": barrier / KCAL_PER_MOL,
        "bonds": [round(float(saddle.get_distance(CARBON, end)), 3) for end in (FIRST, SECOND)],
        "wavenumbers": frequencies(saddle, folder / "gas")[0],
        "positions": saddle.positions.tolist(),
    }


def _gas(atoms: Atoms) -> Atoms:
    atoms.calc = EqMM.pretrained(MODEL, dtype="float64")
    return atoms


def walked(study: Study, start: State, saddle: np.ndarray) -> Atoms:
    """From the complex to the saddle of the gas phase in steps, then to the one in water."""
    atoms = study.region(start.positions)
    goal = Atoms(atoms.numbers, saddle)
    minimize_rotation_and_translation(atoms, goal)
    way = goal.positions - atoms.positions
    for _ in range(WALK):
        atoms.positions += way / WALK
        print("walking", atoms.get_potential_energy(), flush=True)
    # In surroundings nothing can be taken out: turning and moving costs energy.
    own = {"proj_trans": False, "proj_rot": False}
    return at_saddle(atoms, FMAX, eta=CURVATURE_STEP, threepoint=True, **own)


def band(study: Study, ends: Sequence[State]) -> dict[str, Any]:
    """Nudged elastic band between two states, the water of each image begun from the one before."""
    images = [study.region(ends[0].positions)]
    first, last = (end.positions[study.box.ml_atoms] for end in ends)
    for number in range(1, BETWEEN + 1):
        image = study.region(images[-1].calc.positions)
        image.positions = first + (last - first) * number / (BETWEEN + 1)
        image.get_potential_energy()
        images.append(image)
    images.append(study.region(ends[1].positions))
    path = NEB(images, method="improvedtangent")
    optimiser = FIRE(path, logfile="-")
    optimiser.run(fmax=BAND_FMAX, steps=BAND_STEPS)
    states = [State.of(image) for image in images]
    return {
        "energies": [state.energy for state in states],
        "bonds": [study.bonds(state) for state in states],
        "steps": optimiser.nsteps,
        "fmax": float(np.linalg.norm(path.get_forces(), axis=1).max()),
    }


def kept(file: Path, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Figures of a file, found first where it is not there."""
    if not file.exists():
        write_json(file, find())
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def run(study: Study) -> dict[str, Any]:
    """All figures; energies in kcal/mol above the complex of the path."""
    folder = study.folder
    gas = kept(folder / "gas.json", lambda: in_gas(folder))
    geometry = np.array(gas.pop("positions"))
    end = study.state("complex-0", lambda: relaxed(study.region(study.box.positions)))
    rounds: list[tuple[State, State]] = [(end, end)]
    for number in range(1, ROUNDS + 1):
        saddle = study.state(f"saddle-{number}", partial(walked, study, end, geometry))
        # No force of the water is above that tolerance: it stays where it is. A displacement of
        # 0.01 Å changes its forces by less than a relaxation leaves.
        held = study.region(saddle.positions, FROZEN)
        wavenumbers, mode = frequencies(held, folder / f"vibrations-{number}")
        down = partial(downhill, study, saddle, mode)
        end = study.state(f"complex-{number}", down)
        rounds.append((saddle, end))
    rest = float(np.linalg.norm(held.get_forces(), axis=1).max())
    path = kept(folder / "band.json", lambda: band(study, [end, saddle]))

    def above(energy: float) -> float:
        return (energy - end.energy) / KCAL_PER_MOL

    return {
        "what": "Cl- + CH3Cl in relaxed flexible TIP3P of CHARMM at 0 K, energies above the last "
        "complex, wavenumbers in held water, imaginary ones < 0",
        "units": "kcal/mol, Å, 1/cm, eV/Å",
        "atoms": len(study.box.positions),
        "settings": {"tolerance": TOLERANCE, "fmax": FMAX, "band_fmax": BAND_FMAX},
        "gas": gas,
        "first_complex": {"energy": above(rounds[0][1].energy), "bonds": study.bonds(rounds[0][1])},
        "rounds": [
            {
                "saddle": {"energy": above(top.energy), "bonds": study.bonds(top)},
                "complex": {"energy": above(low.energy), "bonds": study.bonds(low)},
                "barrier": (top.energy - low.energy) / KCAL_PER_MOL,
            }
            for top, low in rounds[1:]
        ],
        "saddle": {"fmax": rest, "wavenumbers": wavenumbers},
        "band": {**path, "energies": [above(energy) for energy in path["energies"]]},
    }


def downhill(study: Study, saddle: State, mode: np.ndarray) -> Atoms:
    """The complex on the side of the saddle where the first chlorine is bound."""
    atoms = study.region(saddle.positions)
    carbon, first, second = mode[: SECOND + 1]
    axis = atoms.positions[FIRST] - atoms.positions[SECOND]
    opens = (first + second - 2.0 * carbon) @ axis  # of ζ = d(C–Cl1) − d(C–Cl2)
    atoms.positions -= 0.3 * np.sign(opens) * mode / np.linalg.norm(mode)
    return relaxed(atoms)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    parser.add_argument("--edge", type=float, default=20.0, help="Å")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    box = make_box("sn2", options.edge, constraints=None, rigid=False)
    figures = run(Study(with_spheres_of_hydrogens(box), options.output))
    print(write_results(RESULTS / "system_saddle.json", figures, PACKAGES))


if __name__ == "__main__":
    main()
