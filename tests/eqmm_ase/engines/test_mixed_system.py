"""A network in an OpenMM System: one energy, all forces, and nothing counted twice or lost."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from calculator_kit import SMALL, random_model

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")

from dataclasses import replace  # noqa: E402

from openmm import app  # noqa: E402
from system_kit import dipeptide_in_water, methanol_in_water  # noqa: E402

from eqmm_ase.engines.classical_system import ClassicalSystemError  # noqa: E402
from eqmm_ase.engines.mixed_system import MixedSystem, mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    energy_and_forces,
    move_to,
    new_context,
)
from eqmm_ase.engines.openmm_force import callback_of  # noqa: E402
from eqmm_ase.engines.rest_charge import RestChargeError  # noqa: E402

NETWORK = 1
SIDE_CHAIN = (10, 11, 12, 13)  # CB and its hydrogens; the bond CA–CB is cut


def context(mixed: MixedSystem, positions: np.ndarray):
    """On the Reference platform, in double precision."""
    made = new_context(mixed.system, "Reference")
    move(made, positions)
    return made


def move(made, positions: np.ndarray) -> None:
    move_to(made, positions, None)


def assert_forces_are_derivatives(made, positions: np.ndarray, atoms, step: float = 1e-4) -> None:
    """Central differences of the network's energy, 1e-4 of the force or 1e-6 eV/Å."""
    _, forces = energy_and_forces(made, {NETWORK})
    rng = np.random.default_rng(0)
    for atom in atoms:
        axis, ends = int(rng.integers(3)), []
        for sign in (1, -1):
            moved = positions.copy()
            moved[atom, axis] += sign * step
            move(made, moved)
            ends.append(energy_and_forces(made, {NETWORK})[0])
        move(made, positions)
        found = -(ends[0] - ends[1]) / (2 * step)
        assert found == pytest.approx(forces[atom, axis], rel=1e-4, abs=2e-6), atom


@dataclass
class Case:
    mixed: MixedSystem
    positions: np.ndarray
    atoms: list[int]
    """On which forces are tested."""


def near_and_far(positions: np.ndarray, ml_atoms, sites) -> list[int]:
    """The nearest and the farthest of some sites."""
    edge = positions.max() - positions.min()
    apart = positions[sites][:, None] - positions[ml_atoms]
    apart -= edge * np.round(apart / edge)
    order = np.argsort(np.linalg.norm(apart, axis=2).min(1))
    return [int(sites[order[0]]), int(sites[order[-1]])]


def methanol(**settings) -> Case:
    box = {k: settings.pop(k) for k in ("water", "last", "method") if k in settings}
    topology, system, positions, ml = methanol_in_water(20.0, **box)
    settings = {"total_charge": 0, "dtype": "float64", "group": NETWORK} | settings
    mixed = mixed_system(topology, system, ml, random_model(), **settings)
    waters = np.array([a.index for a in topology.atoms() if a.residue.name == "HOH"])
    heavy = np.array([i for i in waters if not mixed.system.isVirtualSite(int(i))])
    return Case(mixed, positions, [*ml[:3], *near_and_far(positions, ml, heavy)])


def side_chain(**settings) -> Case:
    topology, system, positions = dipeptide_in_water()
    model = random_model(config=replace(SMALL, elements=(1, 6, 7, 8)))
    settings = {"total_charge": 0, "dtype": "float64", "group": NETWORK} | settings
    mixed = mixed_system(topology, system, SIDE_CHAIN, model, rest_charge="hosts", **settings)
    waters = np.arange(22, len(positions))
    # CB, a hydrogen, the host CA, its neighbours N, HA and C, another residue, water.
    atoms = [10, 11, 8, 6, 9, 14, 4, *near_and_far(positions, list(SIDE_CHAIN), waters)]
    return Case(mixed, positions, atoms)


CASES = {
    "ewald": methanol,
    "virtual sites": lambda: methanol(water="opc"),
    "cutoff": lambda: methanol(electrostatics="cutoff", switch=(6.0, 8.0)),
    "no box": lambda: methanol(method=app.NoCutoff),
    "link atom": side_chain,
    "link atom at a fixed distance": lambda: side_chain(cap_rule="fixed"),
    "shifted charges": lambda: side_chain(redistribution="shift-dipole"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_forces_on_all_kinds_of_sites_are_derivatives_of_the_energy(case) -> None:
    case = case()
    made = context(case.mixed, case.positions)
    assert_forces_are_derivatives(made, case.positions, case.atoms)


@pytest.mark.parametrize("name", ["ewald", "cutoff", "link atom"])
def test_the_net_force_vanishes(name) -> None:
    case = CASES[name]()
    _, forces = energy_and_forces(context(case.mixed, case.positions), {NETWORK})
    assert np.abs(forces).max() > 0.1
    assert np.abs(forces.sum(0)).max() < 1e-9


def test_where_the_ml_atoms_stand_does_not_matter() -> None:
    topology, system, positions, ml = methanol_in_water(20.0)
    model = random_model()
    first = mixed_system(topology, system, ml, model, total_charge=0, dtype="float64", group=1)
    mixed_up = mixed_system(
        topology, system, ml[::-1], model, total_charge=0, dtype="float64", group=1
    )
    energies, all_forces = zip(
        *(energy_and_forces(context(m, positions)) for m in (first, mixed_up)), strict=True
    )
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    np.testing.assert_allclose(*all_forces, atol=1e-9)
    # Wrapped into the box atom by atom, as engines may do.
    wrapped = positions.copy()
    wrapped[ml[2:]] += [20.0, -20.0, 40.0]
    energy, forces = energy_and_forces(context(first, wrapped))
    assert energy == pytest.approx(energies[0], abs=1e-6)
    np.testing.assert_allclose(forces, all_forces[0], atol=1e-5)


def test_ml_atoms_behind_all_others_give_what_those_in_front_give() -> None:
    model, found = random_model(), []
    for last in (False, True):
        topology, system, positions, ml = methanol_in_water(20.0, last=last)
        mixed = mixed_system(topology, system, ml, model, total_charge=0, dtype="float64", group=1)
        found.append(energy_and_forces(context(mixed, positions), {NETWORK})[1][ml])
    assert ml[0] > 100
    np.testing.assert_allclose(*found, atol=1e-6)


def test_the_classical_rest_has_no_coulomb_with_the_region_and_none_of_its_bonded_terms() -> None:
    topology, system, _ = dipeptide_in_water()
    model = random_model(config=replace(SMALL, elements=(1, 6, 7, 8)))
    mixed = mixed_system(
        topology, system, SIDE_CHAIN, model, total_charge=0, rest_charge="hosts", group=1
    )
    inside = set(SIDE_CHAIN)
    for force in mixed.system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            assert {force.getParticleParameters(i)[0]._value for i in inside} == {0.0}
            pairs = {}
            for k in range(force.getNumExceptions()):
                i, j, charge, _, epsilon = force.getExceptionParameters(k)
                pairs[frozenset((i, j))] = charge._value, epsilon._value
            for i in inside:
                for j in inside - {i}:
                    assert pairs[frozenset((i, j))] == (0.0, 0.0)
            # Lennard-Jones of 1–4 neighbours across the cut stays, and its Coulomb part goes.
            across = [v for p, v in pairs.items() if len(p & inside) == 1 and v[1]]
            assert across
            assert {charge for charge, _ in across} == {0.0}
        if isinstance(force, openmm.HarmonicBondForce):
            bonds = {frozenset(force.getBondParameters(k)[:2]) for k in range(force.getNumBonds())}
            assert frozenset((8, 10)) in bonds
            assert not [bond for bond in bonds if bond <= inside]
        if isinstance(force, openmm.HarmonicAngleForce):
            angles = [
                frozenset(force.getAngleParameters(k)[:3]) for k in range(force.getNumAngles())
            ]
            assert frozenset((8, 10, 11)) in angles
            assert frozenset((11, 10, 12)) not in angles
        if isinstance(force, openmm.PeriodicTorsionForce):
            torsions = [
                frozenset(force.getTorsionParameters(k)[:4]) for k in range(force.getNumTorsions())
            ]
            assert frozenset((6, 8, 10, 11)) in torsions
    constrained = [
        set(mixed.system.getConstraintParameters(k)[:2])
        for k in range(mixed.system.getNumConstraints())
    ]
    assert not [pair for pair in constrained if pair <= inside]
    assert {8, 9} in constrained
    charges = sum(
        force.getParticleParameters(i)[0]._value
        for force in mixed.system.getForces()
        if isinstance(force, openmm.NonbondedForce)
        for i in range(force.getNumParticles())
    )
    assert charges == pytest.approx(0.0, abs=1e-6)  # the host took what the region had


def test_lennard_jones_and_coulomb_of_all_others_are_as_they_were() -> None:
    topology, system, positions, ml = methanol_in_water(20.0)
    mixed = mixed_system(topology, system, ml, random_model(), total_charge=0, group=1)
    without = copy.deepcopy(system)
    (nonbonded,) = [f for f in without.getForces() if isinstance(f, openmm.NonbondedForce)]
    for row in ml:
        _, sigma, epsilon = nonbonded.getParticleParameters(row)
        nonbonded.setParticleParameters(row, 0.0, sigma, epsilon)
    for k in range(nonbonded.getNumExceptions()):
        i, j, _, _, _ = nonbonded.getExceptionParameters(k)
        if {i, j} <= set(ml):
            nonbonded.setExceptionParameters(k, i, j, 0.0, 1.0, 0.0)
    for force in list(without.getForces()):
        if not isinstance(force, openmm.NonbondedForce):
            force.setForceGroup(7)  # bonded terms, which are all methanol's: water is rigid
    platform = openmm.Platform.getPlatformByName("Reference")
    plain = openmm.Context(without, openmm.VerletIntegrator(0.001), platform)
    move(plain, positions)
    expected, _ = energy_and_forces(plain, {0})
    found, _ = energy_and_forces(context(mixed, positions), {0})
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_system_survives_being_written_and_read(tmp_path) -> None:
    case = methanol(electrostatics="ewald")
    expected, _ = energy_and_forces(context(case.mixed, case.positions))
    text = openmm.XmlSerializer.serialize(case.mixed.system)
    again = openmm.XmlSerializer.deserialize(text)
    made = context(replace(case.mixed, system=again), case.positions)
    assert energy_and_forces(made)[0] == pytest.approx(expected, abs=1e-9)
    assert callback_of(again).latest is not None


def test_a_copy_goes_on_with_the_waves_of_the_original_when_the_box_has_changed() -> None:
    case = methanol()
    cell = 20.0 * np.eye(3)
    case.mixed.potential(case.positions, cell)
    smaller = case.positions * 0.98, cell * 0.98
    expected = case.mixed.potential(*smaller)
    for copied in (
        copy.deepcopy(case.mixed.potential),
        pickle.loads(pickle.dumps(case.mixed.potential)),
    ):
        found = copied(*smaller)
        assert found.energy == expected.energy
        np.testing.assert_array_equal(found.forces, expected.forces)


def test_the_latest_answer_has_charges_and_energies() -> None:
    case = methanol()
    energy, _ = energy_and_forces(context(case.mixed, case.positions), {NETWORK})
    latest = callback_of(case.mixed.system).latest
    assert latest.energy == pytest.approx(energy, abs=1e-9)
    assert latest.charges.sum() == pytest.approx(0.0, abs=1e-9)
    assert 0.0 < abs(latest.image_energy) < 0.1


def test_a_region_whose_charges_do_not_add_up_is_refused() -> None:
    topology, system, _, ml = methanol_in_water(20.0)
    with pytest.raises(
        RestChargeError, match=r"the ML region \+1.000 e more than its total charge"
    ):
        mixed_system(topology, system, ml, random_model(), total_charge=-1)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "no ML atoms are given"),
        ([0, 0], "each of them once"),
        ([0, 10**6], "do not fit into"),
        ([0.5], "whole numbers"),
    ],
)
def test_rows_that_are_no_atoms_are_refused(rows, sentence) -> None:
    topology, system, _, _ = methanol_in_water(20.0)
    with pytest.raises(ValueError, match=sentence):
        mixed_system(topology, system, rows, random_model(), total_charge=0)


def test_forces_that_cannot_be_split_are_refused_by_name() -> None:
    topology, system, _, ml = methanol_in_water(20.0)
    system.addForce(openmm.GBSAOBCForce())
    with pytest.raises(ClassicalSystemError, match="has a GBSAOBCForce"):
        mixed_system(topology, system, ml, random_model(), total_charge=0)
