"""What users of other couplings of networks to force fields complained of, each as a test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from ase.build import molecule
from calculator_kit import SMALL, SpringModel, random_model

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")

from openmm import app, unit  # noqa: E402
from permuted_system import permuted  # noqa: E402
from system_kit import answers, dipeptide_in_water, methanol_in_water  # noqa: E402

from eqmm_ase.engines.mixed_system import MixedSystem, mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    box_of,
    energy_and_forces,
    move_to,
    new_context,
    positions_of,
)
from eqmm_ase.engines.openmm_force import callback_of  # noqa: E402
from eqmm_ase.engines.rest_charge import RestChargeError  # noqa: E402
from eqmm_ase.engines.system_potential import SystemPotentialError  # noqa: E402
from eqmm_ase.network.batch import FrameBatch  # noqa: E402
from eqmm_ase.periodic.ewald import Ewald  # noqa: E402
from eqmm_ase.periodic.prediction import SurroundedModels  # noqa: E402
from scripts.systems.boxes import make_box  # noqa: E402

pytestmark = pytest.mark.slow

NETWORK = 1
SETTINGS = {"total_charge": 0, "dtype": "float64", "group": NETWORK}
CUTOFF = {"electrostatics": "cutoff", "switch": (6.0, 8.0)}
SIDE_CHAIN = (10, 11, 12, 13)
PEPTIDE = replace(SMALL, elements=(1, 6, 7, 8))


def context(system, positions):
    made = new_context(system, "Reference")
    move_to(made, positions, None)
    return made


# ML atoms that are not contiguous or not first.


def orders(n: int, ml: list[int], sites: int) -> dict[str, np.ndarray]:
    """Rows of the particles; waters stay together, as residues do in OpenMM."""
    rng = np.random.default_rng(5)
    waters = np.setdiff1d(np.arange(n), ml).reshape(-1, sites)
    blocks = [rng.permutation(water) for water in waters] + [np.array([row]) for row in ml]
    rng.shuffle(blocks)
    return {
        "last": np.concatenate([waters.ravel(), ml]),
        "backwards": np.arange(n)[::-1],
        "interleaved": np.concatenate(blocks),
    }


@pytest.mark.parametrize("order", ["last", "backwards", "interleaved"])
@pytest.mark.parametrize("settings", [{}, CUTOFF], ids=["ewald", "cutoff"])
def test_ml_atoms_may_stand_anywhere(order, settings) -> None:
    topology, system, positions, ml = methanol_in_water(20.0, water="opc")
    model = random_model()
    mixed = mixed_system(topology, system, ml, model, **SETTINGS, **settings)
    energy, forces = answers(mixed.system, positions)
    rows = orders(len(positions), ml, 4)[order]
    other_topology, other_system = permuted(topology, system, rows)
    other_ml = np.flatnonzero(np.isin(rows, ml))
    assert other_ml.tolist() != ml
    other = mixed_system(other_topology, other_system, other_ml, model, **SETTINGS, **settings)
    other_energy, other_forces = answers(other.system, positions[rows])
    assert other_energy == pytest.approx(energy, abs=1e-7)
    np.testing.assert_allclose(other_forces, forces[rows], atol=1e-7)
    assert sorted(other.region.atomic_numbers) == [1, 1, 1, 1, 6, 8]


# NaN with constraints inside the ML region.


@pytest.mark.parametrize("keep", [False, True], ids=["removed", "kept"])
def test_constraints_inside_the_region_make_no_nan(keep) -> None:
    topology, system, positions, ml = methanol_in_water(
        16.0, method=app.CutoffPeriodic, cutoff=7.0, constraints=app.AllBonds
    )
    inside = [c for c in constraints_of(system) if set(c[:2]) <= set(ml)]
    assert len(inside) == 5
    mixed = mixed_system(
        topology,
        system,
        ml,
        SpringModel(molecule("CH3OH")),
        electrostatics="cutoff",
        switch=(5.5, 7.0),
        remove_constraints=not keep,
        **SETTINGS,
    )
    integrator = openmm.LangevinMiddleIntegrator(300, 50.0, 0.0005)
    integrator.setConstraintTolerance(1e-8)
    made = new_context(mixed.system, "Reference", integrator=integrator)
    move_to(made, positions, None)
    made.applyConstraints(1e-8)
    made.setVelocitiesToTemperature(300, 1)
    integrator.step(20)
    at, _ = positions_of(made)
    assert np.isfinite(at).all()
    kept = constraints_of(mixed.system)
    assert (len(kept) == len(constraints_of(system))) is keep
    wrong = [abs(np.linalg.norm(at[i] - at[j]) - length) for i, j, length in kept]
    assert max(wrong) < 1e-5
    free = [abs(np.linalg.norm(at[i] - at[j]) - length) for i, j, length in inside]
    assert (max(free) > 1e-3) is not keep


def test_a_minimiser_is_turned_back_where_a_charge_would_be_on_an_atom() -> None:
    topology, system, positions, ml = methanol_in_water(16.0, method=app.PME, cutoff=7.0)
    mixed = mixed_system(topology, system, ml, random_model(), **SETTINGS)
    callback = callback_of(mixed.system)
    made = context(mixed.system, positions)
    relaxed = made.getState(energy=True).getPotentialEnergy()
    overlapping = np.array(positions)
    overlapping[ml[-1] + 1] = positions[ml[0]] + 0.05
    move_to(made, overlapping, None)
    with pytest.raises(openmm.OpenMMException, match="must not be among the MM sites"):
        made.getState(energy=True)
    callback.searching = True
    assert made.getState(energy=True).getPotentialEnergy() > 1e3 * abs(relaxed)


@pytest.mark.parametrize("row", [0, 3, 30])
def test_nan_ends_in_a_sentence_not_in_a_search_without_end(row) -> None:
    topology, system, positions, ml = methanol_in_water(16.0, method=app.PME, cutoff=7.0)
    mixed = mixed_system(topology, system, ml, random_model(), **SETTINGS)
    positions = np.array(positions)
    positions[row] = np.nan
    with pytest.raises(SystemPotentialError, match="not numbers any more: it has blown up"):
        mixed.potential(positions, box_of(system))


def constraints_of(system) -> list[tuple[int, int, float]]:
    """Particles and length, Å."""
    found = (system.getConstraintParameters(k) for k in range(system.getNumConstraints()))
    return [(i, j, length.value_in_unit(unit.angstrom)) for i, j, length in found]


# An unswitched cutoff, and a switch whose force the QM atoms miss.


@dataclass
class Walk:
    """A water on its way out, its nearest atom 9.5 to 12.5 Å from the region."""

    mixed: MixedSystem
    ml: list[int]
    water: np.ndarray
    along: np.ndarray  # (3,)
    start: np.ndarray  # (n, 3) Å
    energies: np.ndarray  # of the network, at each step of 0.01 Å
    forces: np.ndarray

    def at(self, step: int) -> np.ndarray:
        positions = self.start.copy()
        positions[self.water] += 0.01 * step * self.along
        return positions


@pytest.fixture(scope="module")
def walk() -> Walk:
    topology, system, start, ml = methanol_in_water(25.0, method=app.CutoffPeriodic)
    mixed = mixed_system(topology, system, ml, random_model(), electrostatics="cutoff", **SETTINGS)
    water = np.arange(len(start) - 3, len(start))
    start[water] -= 25.0 * np.round((start[water] - start[ml[0]]) / 25.0)
    along = start[water[0]] - start[ml[0]]
    along /= np.linalg.norm(along)
    for _ in range(20):  # until the nearest of all pairs is 9.5 Å apart
        start[water] += (9.5 - nearest(start, water, ml)) * along
    found = Walk(mixed, ml, water, along, start, np.zeros(0), np.zeros(0))
    made = context(mixed.system, start)
    energies, forces = [], []
    for step in range(301):
        move_to(made, found.at(step), None)
        energy, force = energy_and_forces(made, {NETWORK})
        energies.append(energy)
        forces.append(force)
    assert nearest(found.at(300), water, ml) > 12.0
    return replace(found, energies=np.array(energies), forces=np.array(forces))


def nearest(positions, these, those) -> float:
    return float(np.linalg.norm(positions[these][:, None] - positions[those], axis=2).min())


def test_a_residue_that_crosses_the_switch_never_jumps(walk) -> None:
    changes = np.diff(walk.energies)
    assert np.abs(changes[-20:]).max() < 1e-10  # it is out
    assert np.ptp(walk.energies) > 1e-3
    pull = walk.forces[:, walk.water].sum(1) @ walk.along
    work = -0.01 * (pull[1:] + pull[:-1]) / 2.0
    # The trapezoidal rule misses h³ F''/12 a step, and F'' is some 10 F/Å² in such a switch.
    assert np.abs(changes - work).max() < 3e-4 * np.abs(changes).max()
    assert walk.energies[-1] - walk.energies[0] == pytest.approx(work.sum(), rel=1e-5, abs=1e-8)
    steps = np.abs(np.diff(walk.forces[:, walk.water], axis=0)).max()
    assert steps < 0.05 * np.abs(walk.forces[:, walk.water]).max()


def test_what_the_switch_does_to_a_residue_it_does_to_the_qm_atoms_in_return(walk) -> None:
    assert np.abs(walk.forces.sum(1)).max() < 1e-9
    pull = walk.forces[:, walk.water].sum(1)
    steepest = int(np.abs(pull @ walk.along).argmax())
    assert 9.5 < nearest(walk.at(steepest), walk.water, walk.ml) < 12.0


@pytest.mark.parametrize("step", [80, 130, 180])
def test_forces_on_qm_atoms_are_derivatives_while_a_residue_is_switched(walk, step) -> None:
    at, cell, h = walk.at(step), box_of(walk.mixed.system), 1e-4
    for atom in walk.ml[:3]:
        ends = []
        for sign in (1, -1):
            moved = at.copy()
            moved[atom] += sign * h * walk.along
            ends.append(walk.mixed.potential(moved, cell).energy)
        found = walk.forces[step, atom] @ walk.along
        assert found == pytest.approx(-(ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-6)


# A charge that is no integer, left by the cut.


@pytest.mark.parametrize("redistribution", ["shift", "shift-dipole", "rc", "rcd"])
def test_no_part_of_a_charge_is_left_by_the_cut(redistribution) -> None:
    topology, system, _ = dipeptide_in_water()
    # C, O, N, H of the peptide bond: 0.5972 − 0.5679 − 0.4157 + 0.2719 = −0.1145 e.
    region, model = (4, 5, 6, 7), random_model(config=PEPTIDE)
    settings = {"redistribution": redistribution, "cap_rule": "scaled"} | SETTINGS
    with pytest.raises(RestChargeError, match=r"-0\.115 e more than its total charge"):
        mixed_system(topology, system, region, model, **settings)
    mixed = mixed_system(topology, system, region, model, rest_charge="hosts", **settings)
    assert mixed.region.rest_charge == pytest.approx(-0.1145, abs=1e-4)
    assert mixed.region.mm_charges.sum() == pytest.approx(0.0, abs=1e-5)
    assert classical_charge(mixed.system) == pytest.approx(0.0, abs=1e-5)
    left = mixed_system(topology, system, region, model, rest_charge="background", **settings)
    assert left.region.mm_charges.sum() == pytest.approx(0.1145, abs=1e-4)
    assert classical_charge(left.system) == pytest.approx(0.1145, abs=1e-4)


def classical_charge(system) -> float:
    (force,) = [f for f in system.getForces() if isinstance(f, openmm.NonbondedForce)]
    rows = range(force.getNumParticles())
    return sum(force.getParticleParameters(i)[0]._value for i in rows)


# A stress that misses the reciprocal part.


@pytest.mark.parametrize("solute", ["methanol", "sn2"])
def test_the_strain_derivative_has_all_parts_of_the_energy(solute) -> None:
    box = make_box(solute, 20.0)
    config = replace(SMALL, elements=(1, 6, 8, 17))
    model = random_model(config=config)
    settings = SETTINGS | {"total_charge": box.total_charge}
    mixed = mixed_system(box.topology, box.system, box.ml_atoms, model, **settings)
    rng = np.random.default_rng(4)
    shear = np.tril(rng.normal(size=(3, 3)))  # lower: boxes of OpenMM stay what they are
    ends, h = [], 1e-5
    made = context(mixed.system, box.positions)
    for sign in (1, -1):
        scale = np.eye(3) + sign * h * shear
        move_to(made, box.positions @ scale, box.cell @ scale)
        ends.append(energy_and_forces(made, {NETWORK})[0])
    frame = FrameBatch.from_frames([mixed.potential.frame(box.positions, box.cell)])
    ewald = Ewald(config.l_expansion, dtype=torch.float64)
    (found,) = SurroundedModels([model.double()], ewald)(frame, box.cell, strain=True)
    expected = (ends[0] - ends[1]) / (2 * h)
    assert abs(expected) > 0.1
    assert (found.strain.numpy() * shear).sum() == pytest.approx(expected, rel=1e-4)


def test_a_barostat_sees_the_energy_of_the_network_in_the_box_that_it_tries() -> None:
    topology, system, positions, ml = methanol_in_water(20.0)
    mixed = mixed_system(topology, system, ml, SpringModel(molecule("CH3OH")), **SETTINGS)
    mixed.system.addForce(openmm.MonteCarloBarostat(1.0, 300.0, 1))
    made = new_context(
        mixed.system, "Reference", integrator=openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
    )
    move_to(made, positions, None)
    callback, widths = callback_of(mixed.system), set()
    potential = callback.potential

    def recorded(at, cell):
        widths.add(cell[0, 0])
        return potential(at, cell)

    callback.potential = recorded
    made.getIntegrator().step(10)
    at, cell = positions_of(made)
    assert len(widths) > 8  # of ten attempts
    assert cell[0, 0] != 20.0
    classical, _ = energy_and_forces(made, {0})
    total, _ = energy_and_forces(made)
    assert total == pytest.approx(classical + potential(at, cell).energy, abs=1e-6)
