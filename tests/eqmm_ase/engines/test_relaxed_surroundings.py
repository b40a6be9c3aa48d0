"""ASE's paths, vibrations and constraints of an ML region in surroundings that are relaxed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLength
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.vibrations import Vibrations

openmm = pytest.importorskip("openmm")

from openmm import app  # noqa: E402
from system_kit import methanol_in_water  # noqa: E402

from eqmm_ase import EqMM  # noqa: E402
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    energy_and_forces,
    move_to,
    new_context,
    positions_of,
)
from eqmm_ase.engines.openmm_force import callback_of, minimise  # noqa: E402
from eqmm_ase.engines.whole_system import RelaxedSurroundings  # noqa: E402
from scripts.common import TEST_DATA  # noqa: E402

pytestmark = pytest.mark.slow

MODEL = TEST_DATA / "methanol.eqmm"
CARBON, OXYGEN, HYDROXYL = 0, 1, 3
SETTINGS = {"total_charge": 0, "dtype": "float64"}
TOLERANCE = 1e-3  # eV/Å, a tenth of the usual one


@pytest.fixture(scope="module")
def droplet():
    """Methanol and six flexible waters, without a box: topology, System, positions, rows."""
    settings = {"constraints": None, "rigid": False, "method": app.NoCutoff}
    topology, system, positions, ml = methanol_in_water(8.0, **settings)
    context = new_context(system, "Reference")
    move_to(context, positions, None)
    openmm.LocalEnergyMinimizer.minimize(context)  # the long way without a network
    return topology, system, positions_of(context)[0], ml


def region(droplet, positions: np.ndarray, tolerance: float = TOLERANCE) -> Atoms:
    topology, system, _, ml = droplet
    return RelaxedSurroundings(
        *(topology, system, ml, MODEL, positions),
        platform="Reference",
        tolerance=tolerance,
        **SETTINGS,
    ).region_atoms()


@pytest.fixture(scope="module")
def minimum(droplet) -> np.ndarray:
    """Positions of all particles at a minimum of everything."""
    topology, system, positions, ml = droplet
    mixed = mixed_system(topology, system, ml, MODEL, **SETTINGS)
    context = new_context(mixed.system, "Reference")
    move_to(context, positions, None)
    minimise(context, 1e-4)
    return positions_of(context)[0]


@pytest.fixture
def atoms(droplet, minimum) -> Atoms:
    return region(droplet, minimum)


def test_forces_are_slopes_of_the_energy_in_surroundings_that_follow(droplet, minimum) -> None:
    atoms = region(droplet, minimum, 1e-4)  # so that energies have one value
    atoms.positions[HYDROXYL] += (0.05, -0.03, 0.04)
    forces, start, step = atoms.get_forces(), atoms.positions.copy(), 0.02
    water = atoms.calc.positions[6:]
    ends = []
    for sign in (1, -1):
        atoms.positions = start
        atoms.positions[HYDROXYL, 0] += sign * step
        ends.append(atoms.get_potential_energy())
        assert np.abs(atoms.calc.positions[6:] - water).max() > 1e-4  # they do follow
    found = -(ends[0] - ends[1]) / (2 * step)
    assert found == pytest.approx(forces[HYDROXYL, 0], rel=0.02, abs=0.01)


def test_a_band_finds_the_minimum_between_its_ends(droplet, minimum, atoms) -> None:
    """From a short bond C–O to a long one; the image between starts with a long bond O–H."""
    bond = minimum[OXYGEN] - minimum[CARBON]
    images, start = [], minimum
    for stretch in (-0.06, 0.0, 0.06):
        image = region(droplet, start)
        image.positions[CARBON] -= stretch * bond
        if stretch == 0.0:
            image.positions[HYDROXYL] += 0.1 * (image.positions[HYDROXYL] - image.positions[OXYGEN])
        image.get_potential_energy()
        start = image.calc.positions  # of the surroundings of the next image
        images.append(image)
    rest, stretched = atoms.get_potential_energy(), images[1].get_potential_energy()
    FIRE(NEB(images, method="improvedtangent"), logfile=None).run(fmax=0.1, steps=12)
    first, middle, last = (image.get_potential_energy() - rest for image in images)
    assert stretched - rest > 0.1
    assert middle == pytest.approx(0.0, abs=0.02)
    assert min(first, last) > middle + 0.05


def test_vibrations_are_those_of_the_gas_with_hindered_turns(
    droplet, minimum, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    atoms = region(droplet, minimum, 1e3)  # more than any force: water that is held
    gas = Atoms(atoms.numbers, atoms.positions, calculator=EqMM(MODEL, dtype="float64"))
    BFGS(gas, logfile=None).run(fmax=0.001)
    found = {}
    for name, each in (("gas", gas), ("water", atoms)):
        vibrations = Vibrations(each, name=name)
        vibrations.run()
        frequencies = vibrations.get_frequencies()
        found[name] = frequencies.real - np.abs(frequencies.imag)
    assert np.abs(found["gas"][:6]).max() < 60.0  # 0.01 Å is much for turns: they stretch bonds
    assert found["water"][0] > -60.0
    assert found["water"][5] > 100.0  # of the gas phase, six are zero
    shift = np.abs(found["water"][7:] - found["gas"][7:])  # all but the torsion
    assert shift.max() < 150.0
    assert shift.max() > 5.0


@pytest.mark.parametrize(
    "constraint", [FixAtoms([CARBON]), FixBondLength(OXYGEN, HYDROXYL)], ids=["atom", "bond"]
)
def test_constraints_of_ase_hold_in_the_region(atoms, constraint) -> None:
    atoms.positions[HYDROXYL] += 0.1 * (atoms.positions[HYDROXYL] - atoms.positions[OXYGEN])
    atoms.positions[CARBON] += 0.05
    place, length = atoms.positions[CARBON].copy(), atoms.get_distance(OXYGEN, HYDROXYL)
    energy = atoms.get_potential_energy()
    atoms.set_constraint(constraint)
    BFGS(atoms, logfile=None).run(fmax=0.02, steps=8)
    assert atoms.get_potential_energy() < energy - 0.01
    fixed = isinstance(constraint, FixAtoms)
    moved = np.linalg.norm(atoms.positions[CARBON] - place)
    stretched = abs(atoms.get_distance(OXYGEN, HYDROXYL) - length)
    assert (moved < 1e-10) == fixed
    assert (stretched < 1e-6) != fixed
    np.testing.assert_allclose(atoms.calc.positions[:6], atoms.positions, atol=1e-6)


def test_a_failed_step_of_a_minimiser_is_taken_back(droplet, minimum, monkeypatch) -> None:
    calculator = region(droplet, minimum).calc
    context = calculator.context
    accepted = minimum + 0.001

    def failing(context, tolerance, reporter) -> None:
        reporter.report(0, (accepted / 10.0).ravel().tolist(), [], {})
        move_to(context, minimum + np.where(np.arange(len(minimum)) == 7, 1.0, 0.0)[:, None], None)

    monkeypatch.setattr(openmm.LocalEnergyMinimizer, "minimize", failing)
    minimise(context)
    np.testing.assert_allclose(calculator.positions, accepted, atol=1e-5)


def test_minimisers_see_a_wall_where_no_charge_came_in_training(droplet, minimum) -> None:
    mixed = mixed_system(*droplet[:2], droplet[3], MODEL, **SETTINGS)
    near = minimum.copy()
    near[6:9] += near[HYDROXYL] + (0.0, 0.0, 0.9) - near[7]  # a hydrogen of water
    assert not mixed.potential.too_close(minimum, None)
    assert mixed.potential.too_close(near, None)
    callback = callback_of(mixed.system)
    context = new_context(mixed.system, "Reference")
    move_to(context, near, None)
    assert energy_and_forces(context)[0] < -1e9  # no bottom
    callback.searching = callback.guarded = True
    assert energy_and_forces(context)[0] > 1e9
    callback.guarded, callback.floor = False, -1e6
    assert energy_and_forces(context)[0] > 1e9
    for cell in (None, 30.0 * np.eye(3)):  # in a box, from wherever the image is
        moved = near.copy()
        moved[6:9] += 0.0 if cell is None else cell[0]
        assert mixed.potential.too_close(moved, cell)
