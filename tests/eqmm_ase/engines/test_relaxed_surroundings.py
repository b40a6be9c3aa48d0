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
from eqmm_ase.engines.openmm_context import move_to, new_context, positions_of  # noqa: E402
from eqmm_ase.engines.openmm_force import minimise  # noqa: E402
from eqmm_ase.engines.whole_system import RelaxedSurroundings  # noqa: E402
from scripts.common import TEST_DATA  # noqa: E402

pytestmark = pytest.mark.slow

MODEL = TEST_DATA / "methanol.eqmm"
CARBON, OXYGEN, HYDROXYL = 0, 1, 3
SETTINGS = {"total_charge": 0, "dtype": "float64"}
TOLERANCE = 1e-4  # eV/Å, a hundredth of the usual one, so that energies have one value


@pytest.fixture(scope="module")
def droplet():
    """Methanol and six flexible waters, without a box: topology, System, positions, rows."""
    settings = {"constraints": None, "rigid": False, "method": app.NoCutoff}
    topology, system, positions, ml = methanol_in_water(8.0, **settings)
    context = new_context(system, "Reference")
    move_to(context, positions, None)
    openmm.LocalEnergyMinimizer.minimize(context)  # the long way without a network
    return topology, system, positions_of(context)[0], ml


def region(droplet, positions: np.ndarray | None = None) -> Atoms:
    topology, system, start, ml = droplet
    return RelaxedSurroundings(
        *(topology, system, ml, MODEL, start if positions is None else positions),
        platform="Reference",
        tolerance=TOLERANCE,
        **SETTINGS,
    ).region_atoms()


@pytest.fixture(scope="module")
def minimum(droplet) -> np.ndarray:
    """Positions of all particles at a minimum of everything."""
    topology, system, positions, ml = droplet
    mixed = mixed_system(topology, system, ml, MODEL, **SETTINGS)
    context = new_context(mixed.system, "Reference")
    move_to(context, positions, None)
    minimise(context, TOLERANCE)
    return positions_of(context)[0]


@pytest.fixture
def atoms(droplet, minimum) -> Atoms:
    return region(droplet, minimum)


def test_forces_are_slopes_of_the_energy_in_surroundings_that_follow(atoms) -> None:
    atoms.positions[HYDROXYL] += (0.05, -0.03, 0.04)
    forces, start, step = atoms.get_forces(), atoms.positions.copy(), 0.01
    water = atoms.calc.positions[6:]
    for atom, axis in ((HYDROXYL, 0), (OXYGEN, 2), (CARBON, 1)):
        ends = []
        for sign in (1, -1):
            atoms.positions = start
            atoms.positions[atom, axis] += sign * step
            ends.append(atoms.get_potential_energy())
            assert np.abs(atoms.calc.positions[6:] - water).max() > 1e-4  # they do follow
        found = -(ends[0] - ends[1]) / (2 * step)
        assert found == pytest.approx(forces[atom, axis], rel=0.02, abs=0.01)


def test_a_path_has_its_ends_and_no_jump_between_them(droplet, minimum, atoms) -> None:
    """The methyl group turns by 120°: both ends are one structure, with a barrier between."""
    axis = atoms.positions[CARBON] - atoms.positions[OXYGEN]
    methyl = atoms[[2, 4, 5]]
    turned = []
    for angle in (0, 60, 120):
        methyl.positions = atoms.positions[[2, 4, 5]]
        methyl.rotate(angle, axis, center=atoms.positions[CARBON])
        turned.append(methyl.positions.copy())
    images, start = [], minimum
    for places in turned:
        image = region(droplet, start)
        image.positions[[2, 4, 5]] = places
        image.get_potential_energy()
        start = image.calc.positions  # the surroundings of the next image
        images.append(image)
    band = NEB(images, method="improvedtangent")
    FIRE(band, logfile=None).run(fmax=0.05, steps=5)
    energies = np.array([image.get_potential_energy() for image in images])
    energies -= energies[0]
    assert energies[-1] == pytest.approx(0.0, abs=0.01)
    assert energies.argmax() == 1
    assert 0.02 < energies.max() < 0.2  # 0.047 eV in the gas phase


def test_vibrations_are_those_of_the_gas_with_hindered_turns(
    atoms, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gas = Atoms(atoms.numbers, atoms.positions, calculator=EqMM(MODEL, dtype="float64"))
    BFGS(gas, logfile=None).run(fmax=0.001)
    found = {}
    for name, each in (("gas", gas), ("water", atoms)):
        vibrations = Vibrations(each, name=name)
        vibrations.run()
        found[name] = vibrations.get_frequencies()
    assert np.abs(found["water"].imag).max() == 0.0
    assert found["water"].real.min() > 20.0  # of the gas phase, six are zero
    assert np.abs(found["gas"][:6]).max() < 60.0
    skeleton = slice(7, 17)  # all but the torsion and the stretch of the hydroxyl group
    shift = np.abs(found["water"][skeleton] - found["gas"][skeleton])
    assert shift.max() < 120.0
    hydroxyl = (found["water"][-1] - found["gas"][-1]).real
    assert -600.0 < hydroxyl < 0.0  # a hydrogen bond


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
