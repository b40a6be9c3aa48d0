"""ASE's own QM/MM around the model: one energy, its forces, and dynamics that conserve it."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.fd import calculate_numerical_forces
from ase.calculators.qmmm import EIQMMM, Embedding, LJInteractions
from ase.calculators.tip3p import TIP3P, epsilon0, sigma0
from ase.calculators.tip4p import TIP4P
from ase.constraints import FixBondLengths
from ase.md.verlet import VelocityVerlet
from calculator_kit import SpringModel, assert_same, methanol, random_model, water_shell

from eqmm_ase import EqMM
from eqmm_ase.simulation.ensembles import draw_momenta

N_QM = 6
WATERS = {"TIP3P": TIP3P, "TIP4P": TIP4P}
LENNARD_JONES = {
    ("O", "O"): (epsilon0, sigma0),
    ("C", "O"): (0.005, 3.3),
    ("H", "O"): (0.001, 2.6),
}


def solvated(
    model, water: str, count: int, distance: float = 4.0, rc: float = 40.0, **options
) -> Atoms:
    """Methanol first, then water, under EIQMMM; no cutoff gets in the way."""
    atoms = methanol() + water_shell(count, distance)
    atoms.calc = EIQMMM(
        range(N_QM),
        EqMM(model, dtype="float64"),
        WATERS[water](rc=rc),
        LJInteractions(LENNARD_JONES),
        output=StringIO(),  # ASE would leave /dev/null open
        **options,
    )
    return atoms


@pytest.mark.slow
@pytest.mark.parametrize("water", WATERS)
@pytest.mark.parametrize("vacuum", [None, 6.0])
def test_forces_are_the_numerical_gradient_after_moving_either_side(water, vacuum):
    atoms = solvated(random_model(), water, 3, vacuum=vacuum)
    moved = [0, 2, N_QM, N_QM + 1, N_QM + 5]
    atoms.get_forces()
    for which in (slice(0, N_QM), slice(N_QM, None)):
        atoms.positions[which] += np.random.default_rng(4).normal(size=(1, 3)) * 0.1
        numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=moved)
        np.testing.assert_allclose(atoms.get_forces()[moved], numerical, rtol=0, atol=1e-5)


@pytest.mark.parametrize("water", WATERS)
def test_forces_do_not_depend_on_what_was_asked_before(water):
    atoms = solvated(random_model(), water, 2)
    atoms.get_potential_energy()
    for step in range(3):
        atoms.positions[(0, N_QM, slice(None))[step]] += 0.1
        if step == 1:
            atoms.get_potential_energy()
        again = solvated(random_model(), water, 2)
        again.positions = atoms.positions
        assert_same(atoms.get_forces(), again.get_forces())


def test_the_energy_is_that_of_the_parts():
    model = random_model()
    atoms = solvated(model, "TIP3P", 2)
    qm, mm = atoms[:N_QM], atoms[N_QM:]
    mm.calc = TIP3P(rc=40.0)
    qm.calc = EqMM(model, dtype="float64")
    qm.calc.embed(mm.calc.get_virtual_charges(mm), mm.positions)
    lennard_jones, _, _ = LJInteractions(LENNARD_JONES).calculate(qm, mm, np.zeros(3))
    expected = qm.get_potential_energy() + mm.get_potential_energy() + lennard_jones
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-8)


def test_a_box_may_be_periodic():
    """EIQMMM wraps the water and takes the QM atoms out of the box."""
    atoms = solvated(random_model(), "TIP3P", 2)
    alone = atoms.get_forces()
    atoms.set_cell([100.0, 100.0, 100.0])
    atoms.pbc = True
    boxed = solvated(random_model(), "TIP3P", 2)
    boxed.set_cell([100.0, 100.0, 100.0])
    boxed.pbc = True
    boxed.positions[N_QM:] += (100.0, 0, 0)
    np.testing.assert_allclose(boxed.get_forces(), alone, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("water", WATERS)
def test_in_a_box_given_to_the_embedding_all_images_of_the_water_act(water):
    pytest.importorskip("finufft")
    box = [17.0, 18.0, 19.0]
    model = random_model()
    atoms = solvated(model, water, 3, rc=8.0, embedding=Embedding(cell=box))
    atoms.set_cell(box)
    atoms.pbc = True
    atoms.positions[N_QM:] += (17.0, -18.0, 0.0)
    qm, mm = atoms[:N_QM], atoms[N_QM:]
    mm.calc = WATERS[water](rc=8.0)
    qm.calc = EqMM(model, dtype="float64")
    sites = mm.calc.add_virtual_sites(mm.positions)
    qm.calc.embed(mm.calc.get_virtual_charges(mm), sites, cell=box)
    lennard_jones, _, _ = LJInteractions(LENNARD_JONES).calculate(qm, mm, np.zeros(3))
    expected = qm.get_potential_energy() + mm.get_potential_energy() + lennard_jones
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-8)
    moved = [0, 2, N_QM, N_QM + 1, N_QM + 5]
    numerical = calculate_numerical_forces(atoms, eps=1e-3, iatoms=moved)
    np.testing.assert_allclose(atoms.get_forces()[moved], numerical, rtol=0, atol=1e-4)


def fluctuation(water: str, timestep: float, length: float) -> float:
    """RMS of the total energy in eV over NVE of `length` fs, flexible methanol in rigid water."""
    atoms = solvated(SpringModel(methanol(0.0)), water, 3)
    bonds = [
        (o + i, o + j) for o in range(N_QM, len(atoms), 3) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    atoms.set_constraint(FixBondLengths(bonds, tolerance=1e-11))
    draw_momenta(atoms, 300.0, np.random.default_rng(5))
    energies = []
    dynamics = VelocityVerlet(atoms, timestep * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(round(length / timestep))
    return float(np.std(energies))


@pytest.mark.slow
@pytest.mark.parametrize("water", WATERS)
def test_nve_of_flexible_methanol_in_rigid_water_conserves_energy_as_dt_squared(water):
    coarse, fine = (fluctuation(water, dt, length=40.0) for dt in (1.0, 0.5))
    # The second-order error of velocity Verlet: 4, up to how well 40 fs sample it.
    assert 3.6 < coarse / fine < 4.4
    assert coarse < 0.05
