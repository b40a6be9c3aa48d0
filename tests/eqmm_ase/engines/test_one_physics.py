"""One frame, one physics: whoever asks, energy and forces on all atoms are the same."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.qmmm import EIQMMM, LJInteractionsGeneral
from ase.calculators.tip3p import TIP3P, epsilon0, qH, sigma0
from calculator_kit import methanol, random_model, water_shell

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")

from openmm import app, unit  # noqa: E402
from system_kit import methanol_in_water  # noqa: E402

from eqmm_ase import EqMM  # noqa: E402
from eqmm_ase.engines.mixed_system import MixedSystem, mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    energy_and_forces,
    move_to,
    new_context,
)
from eqmm_ase.engines.whole_system import WholeSystem  # noqa: E402
from eqmm_ase.network.committee import Committee  # noqa: E402

pytestmark = pytest.mark.slow

SAME = 1e-5
"""eV, eV/Å."""
LOOSER = {"float64": SAME, "float32": 2e-4}
BOXES = {
    "cube": np.diag([20.0, 20.0, 20.0]),
    "triclinic": np.array([[22.0, 0.0, 0.0], [5.0, 23.0, 0.0], [-4.0, 6.0, 24.0]]),
}


@pytest.fixture(scope="module", params=BOXES)
def frame(request):
    """Topology, System, positions wrapped atom by atom, rows of methanol, and the box."""
    topology, system, positions, ml = methanol_in_water(20.0, constraints=None, rigid=False)
    cell = BOXES[request.param]
    system.setDefaultPeriodicBoxVectors(*(cell / 10.0 * unit.nanometer))
    shifts = np.random.default_rng(1).integers(-1, 2, positions.shape)
    water = np.setdiff1d(np.arange(len(positions)), ml)
    shifts[water] = np.repeat(shifts[water[::3]], 3, axis=0)  # OpenMM's bonds do not wrap
    return topology, system, positions + shifts @ cell, ml, cell


MODELS = {"model": random_model, "committee": lambda: Committee([random_model(s) for s in (0, 1)])}


def in_box(mixed: MixedSystem, model, positions, cell, **settings) -> Atoms:
    """The ML atoms with `EqMM` in the box of all charges."""
    region = mixed.region
    rows = region.region.atoms
    atoms = Atoms(numbers=region.atomic_numbers, positions=positions[rows], cell=cell, pbc=True)
    atoms.calc = EqMM(model, total_charge=0, **settings)
    atoms.calc.embed(region.mm_charges, positions[region.sites], cell=cell)
    return atoms


def on_all_sites(mixed: MixedSystem, atoms: Atoms) -> np.ndarray:
    """Forces of `EqMM` on all sites of the system, (n, 3)."""
    forces = np.zeros((mixed.region.topology.n_sites, 3))
    forces[mixed.region.region.atoms] = atoms.get_forces()
    forces[mixed.region.sites] = atoms.calc.mm_forces
    return forces


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_in_a_box_calculator_potential_and_openmm_agree(frame, kind, dtype) -> None:
    topology, system, positions, ml, cell = frame
    model = MODELS[kind]()
    mixed = mixed_system(topology, system, ml, model, total_charge=0, dtype=dtype, group=1)
    atoms = in_box(mixed, model, positions, cell, dtype=dtype)
    energy, forces = atoms.get_potential_energy(), on_all_sites(mixed, atoms)

    potential = mixed.potential(positions, cell)
    assert abs(potential.image_energy) > 10 * SAME
    assert energy == pytest.approx(potential.energy, abs=LOOSER[dtype])
    np.testing.assert_allclose(forces, potential.forces, rtol=0, atol=LOOSER[dtype])
    charges, potentials = atoms.get_charges(), atoms.calc.mm_potential
    np.testing.assert_allclose(charges, potential.charges, rtol=0, atol=LOOSER[dtype])
    np.testing.assert_allclose(potentials, potential.mm_potential, rtol=0, atol=LOOSER[dtype])

    context = new_context(mixed.system, "Reference")
    move_to(context, positions, cell)
    in_openmm, on_particles = energy_and_forces(context, {1})
    assert energy == pytest.approx(in_openmm, abs=LOOSER[dtype])
    np.testing.assert_allclose(forces, on_particles, rtol=0, atol=LOOSER[dtype])


def test_in_a_box_calculator_and_openmm_s_classical_terms_are_the_whole_system(frame) -> None:
    topology, system, positions, ml, cell = frame
    model = random_model()
    settings = {"total_charge": 0, "dtype": "float64", "platform": "Reference"}
    whole = WholeSystem(topology, system, ml, model, **settings)
    everything = whole.atoms_at(positions, cell)
    mixed = mixed_system(topology, system, ml, model, total_charge=0, group=1)
    context = new_context(mixed.system, "Reference")
    move_to(context, positions, cell)
    energy, forces = energy_and_forces(context, {0})
    atoms = in_box(mixed, model, positions, cell, dtype="float64")
    total = energy + atoms.get_potential_energy()
    assert everything.get_potential_energy() == pytest.approx(total, abs=SAME)
    on_all = forces + on_all_sites(mixed, atoms)
    np.testing.assert_allclose(everything.get_forces(), on_all, rtol=0, atol=SAME)


# --- without a box ---


SIGMA = {"C": 3.398, "O": 3.066, "H": 2.0}  # Å, of methanol
EPSILON = {"C": 0.0047, "O": 0.0088, "H": 0.0009}  # eV
WATER = (
    [(-2 * qH, sigma0, epsilon0), (qH, 1.0, 0.0), (qH, 1.0, 0.0)],
    [(0, 1), (0, 2)],
)


def in_openmm(atoms: Atoms) -> tuple[app.Topology, openmm.System]:
    """Methanol first, then TIP3P as ASE has it: no bonded terms, no cutoff."""
    topology, system, force = app.Topology(), openmm.System(), openmm.NonbondedForce()
    chain = topology.addChain()
    solute = [(0.1 * i - 0.25, SIGMA[s], EPSILON[s]) for i, s in enumerate(atoms.symbols[:6])]
    molecules = [(solute, [(0, 1), (0, 2), (0, 4), (0, 5), (1, 3)])]
    molecules += [WATER] * ((len(atoms) - 6) // 3)
    symbols = iter(atoms.symbols)
    for parameters, bonds in molecules:
        residue, made = topology.addResidue("HOH", chain), []
        for charge, sigma, epsilon in parameters:
            element = app.Element.getBySymbol(next(symbols))
            made.append(topology.addAtom(f"{element.symbol}{len(made)}", element, residue))
            system.addParticle(element.mass)
            epsilon = epsilon / (units.kJ / units.mol)
            force.addParticle(charge, 0.1 * sigma, epsilon)
        for i, j in bonds:
            topology.addBond(made[i], made[j])
        rows = [atom.index for atom in made]
        for i in rows:
            for j in rows[: i - rows[0]]:
                force.addException(i, j, 0.0, 1.0, 0.0)
    system.addForce(force)
    return topology, system


def test_without_a_box_ase_s_qmmm_is_the_whole_system() -> None:
    model = random_model()
    atoms = methanol() + water_shell(6, 4.0)
    topology, system = in_openmm(atoms)
    settings = {"total_charge": 0, "dtype": "float64", "platform": "Reference"}
    whole = WholeSystem(topology, system, range(6), model, **settings).atoms_at(atoms.positions)
    qm = [[table[symbol] for symbol in atoms.symbols[:6]] for table in (SIGMA, EPSILON)]
    mm = [[sigma0, 1.0, 1.0], [epsilon0, 0.0, 0.0]]
    lennard_jones = LJInteractionsGeneral(*map(np.array, (*qm, *mm)), 6)
    atoms.calc = EIQMMM(
        range(6),
        EqMM(model, dtype="float64"),
        TIP3P(rc=40.0),
        lennard_jones,
        output=StringIO(),  # ASE would leave /dev/null open
    )
    assert atoms.get_potential_energy() == pytest.approx(whole.get_potential_energy(), abs=SAME)
    np.testing.assert_allclose(atoms.get_forces(), whole.get_forces(), rtol=0, atol=SAME)
