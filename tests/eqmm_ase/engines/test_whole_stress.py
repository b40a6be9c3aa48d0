"""Stress of whole systems, and boxes as ASE has them: turned, of either hand, not reduced."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from calculator_kit import random_model

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")

from openmm import app  # noqa: E402
from system_kit import methanol_in_water  # noqa: E402

from eqmm_ase import EqMM  # noqa: E402
from eqmm_ase.engines import whole_system  # noqa: E402
from eqmm_ase.engines.classical_system import nonbonded_force  # noqa: E402
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    energy_and_forces,
    move_to,
    new_context,
    reduced_box,
)
from eqmm_ase.engines.openmm_force import callback_of  # noqa: E402
from eqmm_ase.engines.whole_system import WholeSystem  # noqa: E402

pytestmark = pytest.mark.slow

EDGE, NETWORK = 15.0, 1
SKEW = np.array([[1.0, 0.0, 0.0], [0.12, 1.0, 0.0], [-0.07, 0.09, 1.0]])
SETTINGS = {"total_charge": 0, "dtype": "float64"}
VOIGT = ((0, 0), (1, 1), (2, 2), (2, 1), (2, 0), (1, 0))  # lower: OpenMM's boxes stay what they are


def small_box(method: object = app.PME):
    """Flexible water without jumps at the cutoff, so that differences are smooth."""
    settings = {"constraints": None, "rigid": False, "cutoff": 6.5, "method": method}
    topology, system, positions, ml = methanol_in_water(EDGE, **settings)
    force = nonbonded_force(system)
    force.setEwaldErrorTolerance(1e-6)
    force.setUseSwitchingFunction(True)
    force.setSwitchingDistance(0.5)
    return topology, system, positions, ml


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def skewed(model):
    """Atoms in a triclinic box."""
    topology, system, positions, ml = small_box()
    whole = WholeSystem(topology, system, ml, model, platform="Reference", **SETTINGS)
    return whole.atoms_at(positions @ SKEW, EDGE * SKEW)


@pytest.fixture
def atoms(skewed) -> Atoms:
    found = skewed.copy()
    found.calc = skewed.calc
    return found


def slopes(system, positions: np.ndarray, cell: np.ndarray, groups=None) -> np.ndarray:
    """dE/dε / V by OpenMM alone, in Voigt's order."""
    context, h, found = new_context(system, "Reference"), 1e-4, []
    for row, column in VOIGT:
        ends = []
        for sign in (1, -1):
            scale = np.eye(3)
            scale[row, column] += sign * h
            move_to(context, positions @ scale, cell @ scale)
            ends.append(energy_and_forces(context, groups)[0])
        found.append((ends[0] - ends[1]) / (2 * h))
    return np.array(found) / np.linalg.det(cell)


def test_the_stress_is_that_of_the_model_and_of_the_classical_rest(
    atoms, model, monkeypatch
) -> None:
    usual = atoms.get_stress()
    monkeypatch.setattr(whole_system, "_STRAIN", 1e-4)
    atoms.calc.reset()
    topology, system, _, ml = small_box()
    mixed = mixed_system(topology, system, ml, model, group=NETWORK, **SETTINGS)
    cell, positions = atoms.cell.array, atoms.positions
    rest = slopes(mixed.system, positions, cell, {0})
    region = Atoms(mixed.region.atomic_numbers, positions[ml], cell=cell, pbc=True)
    region.calc = EqMM(model, dtype="float64", total_charge=0, contacts="warn")
    region.calc.embed(mixed.region.mm_charges, positions[mixed.region.sites], cell=cell)
    analytic = region.get_stress()
    found = atoms.get_stress()
    assert np.abs(analytic).max() > 1e-4
    # What is left of the rest, a thousand times as large, has its own differences.
    np.testing.assert_allclose(found - rest, analytic, rtol=0, atol=1e-2 * np.abs(analytic).max())
    np.testing.assert_allclose(usual, found, rtol=0, atol=5e-4 * np.abs(found).max())


def test_the_pressure_is_the_slope_of_the_energy_over_the_volume(atoms, model) -> None:
    topology, system, _, ml = small_box()
    mixed = mixed_system(topology, system, ml, model, **SETTINGS)
    context, h, ends, volumes = new_context(mixed.system, "Reference"), 1e-3, [], []
    for scale in (1 + h, 1 - h):
        move_to(context, scale * atoms.positions, scale * atoms.cell.array)
        ends.append(energy_and_forces(context)[0])
        volumes.append(atoms.get_volume() * scale**3)
    slope = (ends[0] - ends[1]) / (volumes[0] - volumes[1])
    assert atoms.get_stress()[:3].mean() == pytest.approx(slope, rel=1e-3)


def test_turned_and_left_handed_cells_have_the_same_energy(atoms) -> None:
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    stress, latest = atoms.get_stress(voigt=False), atoms.calc.latest.forces
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    first, second, third = atoms.cell.array @ turn
    atoms.set_cell([first, second - first, -third])  # not reduced
    assert np.linalg.det(atoms.cell.array) < 0.0
    atoms.positions = atoms.positions @ turn
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-5)
    np.testing.assert_allclose(atoms.get_forces(), forces @ turn, atol=1e-5)
    np.testing.assert_allclose(atoms.calc.latest.forces, latest @ turn, atol=1e-5)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), turn.T @ stress @ turn, atol=2e-4)


def test_boxes_are_reduced_to_ones_that_openmm_takes() -> None:
    system = small_box()[1]
    rng = np.random.default_rng(3)
    context = new_context(system, "Reference")
    for _ in range(50):
        cell = 30.0 * np.eye(3) + rng.normal(scale=12.0, size=(3, 3))
        box, rotation = reduced_box(cell)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        steps = cell @ rotation @ np.linalg.inv(box)  # one lattice: whole numbers of its vectors
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
        assert abs(np.linalg.det(steps)) == pytest.approx(1.0)
        context.setPeriodicBoxVectors(*(box / 10.0))


def test_the_stress_is_computed_where_it_is_asked_for_and_leaves_no_trace(atoms) -> None:
    atoms.calc.reset()
    callback = callback_of(atoms.calc.mixed.system)
    potential, asked = callback.potential, []

    def counted(positions, cell):
        asked.append(cell)
        return potential(positions, cell)

    callback.potential = counted
    try:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        assert len(asked) == 1
        before = atoms.get_stress()
        assert len(asked) == 14  # two strains of six kinds, and where the atoms are
        assert atoms.get_potential_energy() == energy
        np.testing.assert_array_equal(atoms.get_forces(), forces)
        assert len(asked) == 14
        np.testing.assert_allclose(asked[-1], atoms.cell.array, atol=1e-12)
        atoms.set_cell(1.01 * atoms.cell.array, scale_atoms=True)
        assert np.abs(atoms.get_stress() - before).max() > 1e-3
    finally:
        callback.potential = potential


def test_a_filter_of_the_cell_relaxes_atoms_and_box(atoms) -> None:
    before, cell = atoms.get_potential_energy(), atoms.cell.array.copy()
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=2)
    assert atoms.get_potential_energy() < before - 0.1
    assert np.abs(atoms.cell.array - cell).max() > 1e-5


def test_there_is_no_stress_without_a_box(model) -> None:
    topology, system, positions, ml = small_box(method=app.NoCutoff)
    atoms = WholeSystem(topology, system, ml, model, **SETTINGS).atoms_at(positions)
    with pytest.raises(PropertyNotImplementedError, match="no stress without a periodic box"):
        atoms.get_stress()
    atoms.set_cell(EDGE * np.eye(3))
    atoms.pbc = True  # of atoms alone: the System does not repeat
    with pytest.raises(PropertyNotImplementedError, match="give System and atoms one"):
        atoms.get_stress()
