"""Restraints at the edge of the training data."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces
from ase.db import connect
from ase.io import read, write
from calculator_kit import BOX, assert_same, methanol, random_model, some_charges

from eqmm_ase import ContactRestraints, EqMM
from eqmm_ase.simulation.restraints import STIFFNESS
from eqmm_ase.uncertainty.domain import Domain

DOMAIN = Domain(closest_mm=1.5, closest={"O-": 2.5, "O+": 1.6, "H-": 1.5})


def restraint_energy(symbol: str, distance: float, charge: float) -> float:
    atoms = Atoms(symbol)
    return ContactRestraints(atoms, [charge], [[0, 0, distance]], DOMAIN).energy(atoms)


@pytest.mark.parametrize(
    ("symbol", "charge", "reach"),
    [("O", -0.8, 2.5), ("O", 0.4, 1.6), ("H", -0.8, 1.5), ("C", 0.4, 1.5), ("H", 0.4, 1.5)],
)
def test_restraints_begin_where_training_ended(symbol, charge, reach):
    assert restraint_energy(symbol, reach + 1e-6, charge) == 0.0
    assert restraint_energy(symbol, reach - 0.1, charge) == pytest.approx(STIFFNESS * 1e-3)


def test_zero_charges_and_unknown_domains_have_no_restraints():
    assert restraint_energy("O", 0.5, 0.0) == 0.0
    atoms = Atoms("O")
    assert ContactRestraints(atoms, [1.0], [[0, 0, 0.5]], Domain()).energy(atoms) == 0.0


@pytest.mark.slow
def test_forces_on_restrained_atoms_are_the_numerical_gradient():
    atoms = methanol()
    charges, positions = some_charges()
    positions *= 0.5  # well into the restraints
    atoms.calc = EqMM(random_model(), dtype="float64")
    atoms.calc.embed(charges, positions)
    free = atoms.get_potential_energy()
    restraints = ContactRestraints(atoms, charges, positions, DOMAIN)
    atoms.set_constraint(restraints)
    assert restraints.energy(atoms) > 0.1
    assert atoms.get_potential_energy() == pytest.approx(free + restraints.energy(atoms), abs=1e-9)
    numerical = calculate_numerical_forces(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_forces(), numerical, rtol=0, atol=1e-5)
    assert_same(atoms.get_forces(md=True), atoms.get_forces())
    assert atoms.get_number_of_degrees_of_freedom() == 18


def test_in_a_box_the_images_of_charges_restrain_too():
    atoms = methanol()
    charges, positions = some_charges()
    positions *= 0.5
    alone = ContactRestraints(atoms, charges, positions, DOMAIN)
    shifts = np.random.default_rng(7).integers(-2, 3, (len(charges), 3))
    boxed = ContactRestraints(atoms, charges, positions + shifts @ BOX, DOMAIN, cell=BOX)
    energy = alone.energy(atoms)
    assert energy > 0.1
    expected, found = np.zeros((6, 3)), np.zeros((6, 3))
    alone.adjust_forces(atoms, expected)
    for _ in range(2):
        assert boxed.energy(atoms) == pytest.approx(energy, abs=1e-9)
        found[...] = 0.0
        boxed.adjust_forces(atoms, found)
        assert_same(found, expected)
        atoms.positions[2] += BOX[0] - BOX[1]


def test_the_domain_of_training_frames_needs_no_restraints(methanol_file):
    from eqmm_ase import read_frames
    from eqmm_ase.files.structures import atoms_of_frame

    frames = read_frames(methanol_file)
    domain = Domain.of(frames)
    assert set(domain.closest) == {"C+", "C-", "H+", "H-", "O+", "O-"}
    assert min(domain.closest.values()) == domain.closest_mm
    for frame in frames:
        atoms = atoms_of_frame(frame)
        restraints = ContactRestraints(atoms, frame.mm_charges, frame.mm_positions, domain)
        assert restraints.energy(atoms) < 1e-9  # distances are stored to 1e-4 Å


def restrained() -> Atoms:
    """Methanol with its oxygen 0.1 Å and a hydrogen 0.2 Å within their restraints."""
    atoms = methanol(0.0)
    sites = atoms.positions[[1, 4]] + [[0.0, 0, -2.4], [0, 0, 1.3]]
    atoms.set_constraint(ContactRestraints(atoms, [-0.8, -0.8], sites, DOMAIN))
    return atoms


def test_restraints_follow_atoms_that_are_taken_out_or_put_in_another_order():
    atoms = restrained()
    both = atoms.constraints[0].energy(atoms)
    assert both > 0.3
    for order in ([4, 1, 0], [5, 4, 3, 2, 1, 0], [False, True, False, False, True, False]):
        part = atoms[order]
        assert part.constraints[0].energy(part) == pytest.approx(both)
    alone = atoms[:2]
    assert 0.0 < alone.constraints[0].energy(alone) < both
    atoms += Atoms("He")
    with pytest.raises(ValueError, match="are of 6 atoms, but there are 7"):
        atoms.constraints[0].energy(atoms)
    boxed = restrained()
    boxed.center(vacuum=5.0)
    with pytest.raises(ValueError, match="take ContactRestraints away"):
        boxed.repeat((2, 1, 1))


def test_restraints_do_not_touch_momenta():
    atoms = restrained()
    momenta = np.random.default_rng(0).normal(size=(6, 3))
    atoms.set_momenta(momenta)
    np.testing.assert_array_equal(atoms.get_momenta(), momenta)


def test_files_leave_restraints_out_or_say_so(tmp_path):
    atoms = restrained()
    write(tmp_path / "a.traj", atoms)
    write(tmp_path / "a.xyz", atoms)
    assert read(tmp_path / "a.traj").constraints == read(tmp_path / "a.xyz").constraints == []
    with (
        connect(tmp_path / "a.db") as rows,
        pytest.raises(AttributeError, match="files do not keep ContactRestraints"),
    ):
        rows.write(atoms)


@pytest.mark.parametrize(
    ("charges", "sites", "sentence"),
    [
        ([0.4], np.zeros((2, 3)), r"mm_positions must have shape \(1, 3\)"),
        ([np.nan], np.zeros((1, 3)), "NaN"),
        ([40.0], np.zeros((1, 3)), "another unit"),
    ],
)
def test_sites_that_cannot_be_are_refused(charges, sites, sentence):
    with pytest.raises(ValueError, match=sentence):
        ContactRestraints(methanol(), charges, sites, DOMAIN)


def test_an_atom_on_a_charge_has_no_direction_away_from_it():
    atoms = methanol()
    restraints = ContactRestraints(atoms, [0.4], atoms.positions[[2]], DOMAIN)
    with pytest.raises(ValueError, match="lies on QM atom 2"):
        restraints.energy(atoms)
