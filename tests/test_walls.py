"""Walls at the edge of the training data."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces
from calculator_kit import assert_same, methanol, random_model, some_charges

from eqmm_ase import EqMM
from eqmm_ase.domain import Domain
from eqmm_ase.walls import STIFFNESS, TrainingWalls

DOMAIN = Domain(closest_mm=1.5, closest={"O-": 2.5, "O+": 1.6, "H-": 1.5})


def wall_energy(symbol: str, distance: float, charge: float) -> float:
    atoms = Atoms(symbol)
    return TrainingWalls(atoms, [charge], [[0, 0, distance]], DOMAIN).energy(atoms)


@pytest.mark.parametrize(
    ("symbol", "charge", "reach"),
    [("O", -0.8, 2.5), ("O", 0.4, 1.6), ("H", -0.8, 1.5), ("C", 0.4, 1.5), ("H", 0.4, 1.5)],
)
def test_walls_begin_where_training_ended(symbol, charge, reach):
    assert wall_energy(symbol, reach + 1e-6, charge) == 0.0
    assert wall_energy(symbol, reach - 0.1, charge) == pytest.approx(STIFFNESS * 1e-3)


def test_zero_charges_and_unknown_domains_have_no_walls():
    assert wall_energy("O", 0.5, 0.0) == 0.0
    atoms = Atoms("O")
    assert TrainingWalls(atoms, [1.0], [[0, 0, 0.5]], Domain()).energy(atoms) == 0.0


def test_forces_on_atoms_behind_walls_are_the_numerical_gradient():
    atoms = methanol()
    charges, positions = some_charges()
    positions *= 0.5  # well into the walls
    atoms.calc = EqMM(random_model(), dtype="float64")
    atoms.calc.embed(charges, positions)
    free = atoms.get_potential_energy()
    walls = TrainingWalls(atoms, charges, positions, DOMAIN)
    atoms.set_constraint(walls)
    assert walls.energy(atoms) > 0.1
    assert atoms.get_potential_energy() == pytest.approx(free + walls.energy(atoms), abs=1e-9)
    numerical = calculate_numerical_forces(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_forces(), numerical, rtol=0, atol=1e-5)
    assert_same(atoms.get_forces(md=True), atoms.get_forces())
    assert atoms.get_number_of_degrees_of_freedom() == 18


def test_the_domain_of_training_frames_needs_no_walls(methanol_file):
    from eqmm_ase import read_frames
    from eqmm_ase.structure_io import atoms_of_frame

    frames = read_frames(methanol_file)
    domain = Domain.of(frames)
    assert set(domain.closest) == {"C+", "C-", "H+", "H-", "O+", "O-"}
    assert min(domain.closest.values()) == domain.closest_mm
    for frame in frames:
        atoms = atoms_of_frame(frame)
        walls = TrainingWalls(atoms, frame.mm_charges, frame.mm_positions, domain)
        assert walls.energy(atoms) < 1e-9  # distances are stored to 1e-4 Å
