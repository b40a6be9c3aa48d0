"""What changes from a cluster of charges to the whole periodic box, by DFT and by a model.

    python -m scripts.systems.truth MODEL --solute sn2 -o FOLDER

Classical water equilibrates around solutes, whose geometries come from a file of labelled frames.
Each box is then labelled whole by PySCF's `qmmm.pbc`, and cut at 12 and at 6 Å as clusters of whole
waters. The model, which was trained on clusters alone, is asked about the same boxes and clusters.
Energies are compared up to their mean over the frames: the periodic label has another zero.

What is done is kept in the folder; the same command goes on.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from openmm import unit

from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.calculator.eqmm import EqMM
from eqmm_ase.cutting.snapshots import CutSettings, SnapshotCutter
from eqmm_ase.cutting.trajectories import Snapshot
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.lattice import minimum_image
from eqmm_ase.engines.classical_system import nonbonded_force
from eqmm_ase.engines.mixed_system import MixedSystem
from eqmm_ase.engines.openmm_context import move_to, new_context, positions_of
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.units import KCAL_PER_MOL
from scripts.benchmarks.periodic_embedding import label_in_periodic_box
from scripts.common import argument_parser, write_results
from scripts.systems.boxes import Box, make_box

RADII = (12.0, 6.0)  # Å, of the clusters
_TIMESTEP = 2.0  # fs: the solute is held and the water rigid
_ATTEMPTS = 5


def geometries(path: Path, number: int) -> list[Frame]:
    """Frames spread evenly over a file, ordered along d(0–1) − d(0–2).

    Where atoms 1 and 2 are of one element, the nearer one comes first: it is the one that the force
    field binds.
    """
    frames = [_nearer_first(frame) for frame in read_frames(path)]
    frames.sort(key=lambda frame: float(np.subtract(*_distances(frame))))
    return [frames[round(i)] for i in np.linspace(0, len(frames) - 1, number)]


def _distances(frame: Frame) -> np.ndarray:
    positions = np.asarray(frame.qm_positions, np.float64)
    return np.linalg.norm(positions[1:3] - positions[0], axis=1)


def _nearer_first(frame: Frame) -> Frame:
    first, second = _distances(frame)
    if frame.atomic_numbers[1] != frame.atomic_numbers[2] or first <= second:
        return frame
    order = [0, 2, 1, *range(3, len(frame.atomic_numbers))]
    return replace(frame, qm_positions=frame.qm_positions[order])


def snapshots(
    box: Box, model: EqMM, solutes: Sequence[Frame], options: argparse.Namespace
) -> np.ndarray:
    """Positions of the box with water at equilibrium around each solute, (number, n, 3) Å.

    The water is classical; the solute is held, with the charges that the model gives it in vacuum.
    Where a water comes closer than any charge did in training, it is tried again with other water:
    without Lennard-Jones of its own, a hydrogen can fall onto a chloride in minimisation.
    """
    system = copy.deepcopy(box.system)
    for row in box.ml_atoms:
        system.setParticleMass(row, 0.0)
    integrator = openmm.LangevinMiddleIntegrator(
        300.0 * unit.kelvin, 2.0 / unit.picosecond, _TIMESTEP * unit.femtosecond
    )
    integrator.setRandomNumberSeed(options.seed)
    context = new_context(system, "CPU", 1, integrator)
    positions, found, ps = box.positions, [], options.first
    with ProgressBar("equilibrating water", "frames", len(solutes)) as bar:
        for number, solute in enumerate(solutes):
            atoms = Atoms(solute.atomic_numbers, solute.qm_positions, calculator=model)
            _set_charges(context, box.ml_atoms, atoms.get_charges())
            for attempt in range(_ATTEMPTS):
                seed = options.seed + number + 1000 * attempt
                _place(context, box, box.positions if attempt else positions, atoms, seed)
                integrator.step(round(1000 * ps / _TIMESTEP))
                if _nearest(positions_of(context)[0], box) >= (model.domain.closest_mm or 0.0):
                    break
            positions, ps = np.asarray(positions_of(context)[0]), options.every
            found.append(positions)
            bar.update(number + 1)
    return np.array(found)


def _place(
    context: openmm.Context, box: Box, positions: np.ndarray, solute: Atoms, seed: int
) -> None:
    """A solute in the place of the one that is there, and water that has made room."""
    held = Atoms(solute.numbers, positions[box.ml_atoms])
    minimize_rotation_and_translation(held, solute)
    positions = positions.copy()
    positions[box.ml_atoms] = solute.positions
    move_to(context, positions, box.cell)
    openmm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(300.0 * unit.kelvin, seed)


def _nearest(positions: np.ndarray, box: Box) -> float:
    """Shortest distance of a site of the water to an atom of the solute, Å."""
    solute = positions[box.ml_atoms]
    water = np.delete(positions, box.ml_atoms, axis=0)
    apart = minimum_image((water[:, None] - solute).reshape(-1, 3), box.cell)
    return float(np.linalg.norm(apart, axis=1).min())


def _set_charges(context: openmm.Context, rows: Sequence[int], charges: np.ndarray) -> None:
    force = nonbonded_force(context.getSystem())
    for row, charge in zip(rows, charges, strict=True):
        _, sigma, epsilon = force.getParticleParameters(row)
        force.setParticleParameters(row, float(charge), sigma, epsilon)
    force.updateParametersInContext(context)


def level_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `Method` for the level of theory of a model."""
    return {name: card["method"][name] for name in ("functional", "basis", "dispersion")}


def cutter(mixed: MixedSystem, radius: float) -> Callable[[np.ndarray, np.ndarray], Frame]:
    """Function from positions and box to a frame of whole residues within a radius."""
    region = mixed.region
    settings = CutSettings("water", radius=radius, total_charge=region.total_charge)
    cut = SnapshotCutter(region.topology, region.region, settings)
    return lambda positions, cell: cut(Snapshot(0, positions, cell), "truth")


def labelled(path: Path, frames: Sequence[Frame], label: Callable[[Frame], Frame]) -> list[Frame]:
    """Labels of frames, in a file that grows by one at a time."""
    done = read_frames(path) if path.exists() else []
    with ProgressBar(path.stem, "labels", len(frames)) as bar:
        for number in range(len(done), len(frames)):
            done.append(label(frames[number]))
            write_frames(path, done, {})
            bar.update(number + 1)
    return done


def in_cluster(model: EqMM, frame: Frame) -> tuple[float, np.ndarray]:
    """Energy and QM forces of the model in a cluster of charges, eV and eV/Å."""
    atoms = Atoms(frame.atomic_numbers, frame.qm_positions, calculator=model)
    model.embed(frame.mm_charges, frame.mm_positions)
    return atoms.get_potential_energy(), atoms.get_forces()


def in_box(mixed: MixedSystem, positions: np.ndarray, cell: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy and QM forces of the model in the whole box, eV and eV/Å."""
    found = mixed.potential(positions, cell)
    return found.energy, found.forces[mixed.region.region.atoms]


@dataclass(frozen=True, eq=False)
class Answers:
    """Energies and QM forces of one method in one kind of surroundings, over all frames."""

    energies: np.ndarray  # (F,) kcal/mol, without their mean
    forces: np.ndarray  # (F, n, 3) kcal/mol/Å

    @classmethod
    def of(cls, each: Sequence[tuple[float, np.ndarray]]) -> Answers:
        """From energies in eV and forces in eV/Å."""
        energies = np.array([energy for energy, _ in each]) / KCAL_PER_MOL
        forces = np.array([forces for _, forces in each]) / KCAL_PER_MOL
        return cls(energies - energies.mean(), forces)

    def __sub__(self, other: Answers) -> Answers:
        return Answers(self.energies - other.energies, self.forces - other.forces)

    def rms(self) -> dict[str, float]:
        """Root-mean-square energy without its mean, kcal/mol, and force component."""
        return {
            "energy": float(np.sqrt((self.energies**2).mean())),
            "qm_forces": float(np.sqrt((self.forces**2).mean())),
        }


def labels_of(frames: Sequence[Frame]) -> Answers:
    """Labels as answers."""
    return Answers.of([(frame.energy, frame.qm_forces) for frame in frames])  # type: ignore[misc]


def report(labels: dict[str, Answers], model: dict[str, Answers]) -> dict[str, Any]:
    """Root-mean-square changes and errors, kcal/mol and kcal/mol/Å."""
    rows: dict[str, Any] = {"errors": {}, "changes": {}}
    for name, answers in model.items():
        truth = "box" if name.startswith("box") else name
        rows["errors"][name] = (answers - labels[truth]).rms()
    for name in labels:
        if name == "box":
            continue
        change = labels["box"] - labels[name]
        error = (model["box"] - model[name]) - change
        rows["changes"][name] = {
            "labels": change.rms(),
            "model_minus_labels": error.rms(),
            "relative": {k: error.rms()[k] / v for k, v in change.rms().items()},
        }
    return rows


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Make frames, label them, ask the model."""
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    box = make_box(options.solute, options.edge, constraints=None)  # the solute is held
    calculator = EqMM(options.model)
    if not (folder / "snapshots.npy").exists():
        solutes = geometries(options.frames, options.number)
        np.save(folder / "snapshots.npy", snapshots(box, calculator, solutes, options))
    images = np.load(folder / "snapshots.npy")
    mixed = box.coupled(options.model)
    switched = box.coupled(options.model, electrostatics="cutoff")

    # PySCF's periodic gradient lacks the response of density fitting.
    method = Method(**level_of(calculator.card), density_fit=False, charges=("mulliken",))
    clusters = {
        f"{radius:g}": [cutter(mixed, radius)(x, box.cell) for x in images] for radius in RADII
    }
    labels, answers = {}, {}
    for name, frames in clusters.items():
        found = labelled(
            folder / f"cluster-{name}.h5", frames, lambda frame: label_frame(frame, method).frame
        )
        labels[name] = labels_of(found)
        answers[name] = Answers.of([in_cluster(calculator, frame) for frame in frames])
    whole = [cutter(mixed, np.inf)(x, box.cell) for x in images]
    found = labelled(folder / "box.h5", whole, lambda frame: label_in_periodic_box(frame, method))
    labels["box"] = labels_of(found)
    answers["box"] = Answers.of([in_box(mixed, x, box.cell) for x in images])
    answers["box, switched cutoff"] = Answers.of([in_box(switched, x, box.cell) for x in images])
    return {
        "atoms": len(box.positions),
        "frames": len(images),
        "edge": options.edge,
        "method": dict(method.settings()),
        **report(labels, answers),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    parser.add_argument("model", type=Path)
    parser.add_argument("frames", type=Path, help="labelled frames whose geometries are held")
    parser.add_argument("--solute", choices=("methanol", "sn2"), default="sn2")
    parser.add_argument("--edge", type=float, default=28.0, help="Å")
    parser.add_argument("--number", type=int, default=30, help="of frames")
    parser.add_argument("--first", type=float, default=5.0, help="ps before the first frame")
    parser.add_argument("--every", type=float, default=1.5, help="ps between frames")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    figures = compare(options)
    print(write_results(options.output / "figures.json", {"figures": figures}))


if __name__ == "__main__":
    main()
