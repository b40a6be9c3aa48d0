"""All forces of a mixed System are derivatives of its one energy, and none is left over: float64.

On the Reference platform, network and force field together, for sites of every kind. Differences
are taken over 2e-4 Å, so that hardly a pair crosses the cutoff of the force field, where its energy
jumps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from calculator_kit import SMALL, random_model

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")

from openmm import app  # noqa: E402
from system_kit import dipeptide_in_water, methanol_in_water  # noqa: E402

from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    energy_and_forces,
    move_to,
    new_context,
    real_particles,
)

pytestmark = pytest.mark.slow

STEP = 1e-4  # Å
NETWORK = 1
MODEL = random_model(config=replace(SMALL, elements=(1, 6, 7, 8)))
SIDE_CHAIN = (10, 11, 12, 13)
EWALD = {"method": app.PME}
CUTOFF = {"method": app.CutoffPeriodic, "electrostatics": "cutoff", "switch": (6.0, 8.0)}


@dataclass
class Case:
    context: object
    positions: np.ndarray
    atoms: dict[str, int]
    real: np.ndarray


def case_of(topology, system, positions, ml, atoms, **settings) -> Case:
    mixed = mixed_system(
        topology,
        system,
        ml,
        MODEL,
        total_charge=0,
        dtype="float64",
        group=NETWORK,
        rest_charge="hosts" if len(ml) < 6 else "refuse",
        **settings,
    )
    waters = np.array([a.index for a in topology.atoms() if a.residue.name == "HOH"])
    oxygens = [int(i) for i in waters if mixed.region.topology.atomic_numbers[i] == 8]
    apart = positions[oxygens][:, None] - positions[list(ml)]
    apart -= 20.0 * np.round(apart / 20.0) if positions.max() < 22.0 else 0.0
    order = np.argsort(np.linalg.norm(apart, axis=2).min(1))
    near, far = oxygens[order[0]], oxygens[order[-1]]
    atoms = atoms | {"near water, O": near, "near water, H": near + 1, "far water, O": far}
    context = new_context(mixed.system, "Reference")
    move_to(context, positions, None)
    return Case(context, positions, atoms, real_particles(mixed.system))


def methanol(method, **settings) -> Case:
    """In OPC, whose oxygens and hydrogens are parents of the charge between them."""
    topology, system, positions, ml = methanol_in_water(20.0, water="opc", method=method)
    atoms = {"ML C": ml[0], "ML O": ml[1], "ML H": ml[3]}
    return case_of(topology, system, positions, ml, atoms, **settings)


def side_chain(method, **settings) -> Case:
    """Bond CA–CB cut."""
    topology, system, positions = dipeptide_in_water(nonbondedMethod=method)
    atoms = {"Q1": 10, "ML H": 11, "M1": 8, "M2 (N)": 6, "M2 (C)": 14, "1-4 (C)": 4}
    return case_of(topology, system, positions, SIDE_CHAIN, atoms, **settings)


CASES = {
    "ewald, virtual sites": lambda: methanol(**EWALD),
    "cutoff, virtual sites": lambda: methanol(**CUTOFF),
    "ewald, link atom": lambda: side_chain(**EWALD),
    "cutoff, link atom": lambda: side_chain(**CUTOFF),
    "ewald, shifted charges": lambda: side_chain(redistribution="shift-dipole", **EWALD),
}


@pytest.fixture(scope="module", params=CASES)
def case(request) -> Case:
    return CASES[request.param]()


def test_forces_of_the_whole_are_derivatives_of_the_energy_of_the_whole(case) -> None:
    move_to(case.context, case.positions, None)
    _, forces = energy_and_forces(case.context)
    for name, atom in case.atoms.items():
        for axis in range(3):
            ends = []
            for sign in (1, -1):
                moved = case.positions.copy()
                moved[atom, axis] += sign * STEP
                move_to(case.context, moved, None)
                ends.append(energy_and_forces(case.context)[0])
            found = -(ends[0] - ends[1]) / (2 * STEP)
            # Components next to nothing are held to 1e-4 of a force of 0.1 eV/Å.
            assert found == pytest.approx(forces[atom, axis], rel=1e-4, abs=1e-5), (name, axis)


def test_no_force_is_left_over_but_what_the_mesh_of_the_force_field_leaves(case, request) -> None:
    move_to(case.context, case.positions, None)
    network, classical = (
        energy_and_forces(case.context, {group})[1][case.real].sum(0) for group in (NETWORK, 0)
    )
    assert np.abs(network).max() < 1e-9
    # Forces of OpenMM's particle mesh Ewald do not add up to zero: 1.5e-3 eV/Å in these boxes, of
    # 2 000 charges. The network's own do, as do those of a reaction field.
    mesh = request.node.callspec.params["case"].startswith("ewald")
    assert np.abs(classical).max() < (1e-2 if mesh else 1e-9)
