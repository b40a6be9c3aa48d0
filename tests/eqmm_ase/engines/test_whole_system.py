"""Whole systems in ASE, and one physics wherever it is run."""

from __future__ import annotations

import numpy as np
import pytest
from ase.optimize import BFGS
from calculator_kit import random_model

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")

from openmm import app  # noqa: E402
from system_kit import methanol_in_water  # noqa: E402

from eqmm_ase import EqMM  # noqa: E402
from eqmm_ase.engines.energy_ledger import COULOMB, IMAGES, LENNARD_JONES, NETWORK  # noqa: E402
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    energy_and_forces,
    move_to,
    new_context,
)
from eqmm_ase.engines.whole_system import (  # noqa: E402
    RelaxedSurroundings,
    WholeSystem,
    WholeSystemError,
)
from eqmm_ase.units import KCAL_PER_MOL  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def flexible():
    """A box without constraints."""
    return methanol_in_water(20.0, constraints=None, rigid=False)


@pytest.fixture(scope="module")
def whole(flexible):
    topology, system, positions, ml = flexible
    settings = {"total_charge": 0, "dtype": "float64", "platform": "Reference"}
    calculator = WholeSystem(topology, system, ml, random_model(), **settings)
    return calculator, calculator.atoms_at(positions)


def test_ase_and_openmm_have_one_energy(flexible, whole) -> None:
    topology, system, positions, ml = flexible
    _, atoms = whole
    mixed = mixed_system(topology, system, ml, random_model(), total_charge=0, dtype="float64")
    context = new_context(mixed.system, "Reference")
    move_to(context, positions, None)
    energy, forces = energy_and_forces(context)
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-7)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-7)
    assert atoms.pbc.all()


def test_forces_of_everything_are_derivatives_of_the_energy_of_everything(whole) -> None:
    _, atoms = whole
    forces, step = atoms.get_forces(), 1e-4  # hardly a pair crosses the force field's cutoff
    for atom, axis in ((0, 0), (3, 1), (20, 2), (400, 0)):
        moved = atoms.copy()
        moved.calc = atoms.calc
        ends = []
        for sign in (1, -1):
            moved.positions = atoms.positions
            moved.positions[atom, axis] += sign * step
            ends.append(moved.get_potential_energy())
        found = -(ends[0] - ends[1]) / (2 * step)
        assert found == pytest.approx(forces[atom, axis], rel=1e-4, abs=1e-5)


def test_the_ledger_adds_up_and_names_all_terms(whole) -> None:
    calculator, atoms = whole
    energy = atoms.get_potential_energy()
    ledger = calculator.ledger()
    assert ledger.total == pytest.approx(energy, abs=1e-6)
    assert set(ledger.terms) == {NETWORK, IMAGES, COULOMB, LENNARD_JONES, "bonds", "angles"}
    assert f"{ledger.total / KCAL_PER_MOL:.6f} kcal/mol" in str(ledger)


def test_without_a_box_the_network_is_the_calculator_in_fixed_charges(flexible) -> None:
    topology, system, positions, ml = methanol_in_water(
        20.0, constraints=None, rigid=False, method=app.NoCutoff
    )
    model = random_model()
    mixed = mixed_system(topology, system, ml, model, total_charge=0, dtype="float64")
    found = mixed.potential(positions, None)
    from ase import Atoms

    atoms = Atoms("COHHHH", positions=positions[ml])
    atoms.numbers = mixed.region.atomic_numbers
    atoms.calc = EqMM(model, dtype="float64", total_charge=0, contacts="warn")
    atoms.calc.embed(mixed.region.mm_charges, positions[mixed.region.sites])
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(found.forces[ml], atoms.get_forces(), atol=1e-5)
    np.testing.assert_allclose(found.forces[mixed.region.sites], atoms.calc.mm_forces, atol=1e-5)


def test_constraints_are_refused_with_what_to_do() -> None:
    topology, system, _, ml = methanol_in_water(20.0)
    with pytest.raises(WholeSystemError, match=r"constraints=None and rigidWater=False, or take"):
        WholeSystem(topology, system, ml, random_model(), total_charge=0)


def test_the_surroundings_of_a_region_are_relaxed_before_it_moves() -> None:
    topology, system, positions, ml = methanol_in_water(20.0, method=app.CutoffPeriodic)
    model = random_model()
    model.energy_scale.fill_(0.05)
    calculator = RelaxedSurroundings(
        topology,
        system,
        ml,
        model,
        positions,
        total_charge=0,
        dtype="float64",
        electrostatics="cutoff",
        switch=(7.0, 9.0),
        tolerance=0.05,
    )
    atoms = calculator.region_atoms()
    before = atoms.positions.copy()
    energy = atoms.get_potential_energy()
    assert len(atoms) == 6
    again = calculator.region_atoms()
    np.testing.assert_allclose(again.positions, before, atol=1e-5)  # the region has not moved
    assert again.get_potential_energy() == pytest.approx(energy, abs=0.05)  # it was at rest
    BFGS(atoms, logfile=None).run(fmax=0.001, steps=3)
    assert atoms.get_potential_energy() < energy
