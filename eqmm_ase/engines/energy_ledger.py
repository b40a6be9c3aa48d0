"""The energy of a whole system by its terms: which is where, so that nothing is counted twice."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import openmm

from eqmm_ase.arrays import FloatArray
from eqmm_ase.engines.mixed_system import MixedSystem
from eqmm_ase.engines.openmm_context import energy_and_forces, move_to, new_context
from eqmm_ase.engines.openmm_force import FORCE_NAME
from eqmm_ase.units import KCAL_PER_MOL

_NAMES = {
    "HarmonicBondForce": "bonds",
    "HarmonicAngleForce": "angles",
    "PeriodicTorsionForce": "torsions",
    "RBTorsionForce": "torsions (Ryckaert–Bellemans)",
    "CMAPTorsionForce": "CMAP",
    "CustomBondForce": "custom bonds",
    "CustomAngleForce": "custom angles",
    "CustomTorsionForce": "custom torsions",
    "CustomNonbondedForce": "custom non-bonded terms",
    "CustomExternalForce": "external forces",
}
COULOMB = "Coulomb among all charges outside the ML region"
LENNARD_JONES = "Lennard-Jones, none within the ML region"
_NOTHING = 1e-12  # eV
NETWORK = "ML region in the potential of all charges"
IMAGES = "ML region with its own periodic images"


@dataclass(frozen=True)
class EnergyLedger:
    """Terms of the energy by name, eV; they add up to `total`."""

    terms: dict[str, float]
    """Name of each term → its energy, eV; terms that are zero are left out."""

    @property
    def total(self) -> float:
        """Sum of all terms, eV."""
        return sum(self.terms.values())

    def __str__(self) -> str:
        """A line a term, kcal/mol."""
        width = max(len(name) for name in [*self.terms, "total"])
        rows = {**self.terms, "total": self.total}
        return "\n".join(
            f"{name:{width}} {value / KCAL_PER_MOL:18.6f} kcal/mol" for name, value in rows.items()
        )


def energy_ledger(
    mixed: MixedSystem, positions: FloatArray, cell: FloatArray | None
) -> EnergyLedger:
    """Energy of a configuration by terms, in double precision.

    Parameters
    ----------
    mixed
        From `eqmm_ase.engines.mixed_system.mixed_system`.
    positions
        (n_sites, 3) Å, virtual sites where they belong.
    cell
        Lattice vectors as rows, (3, 3) Å; None without a box.

    Returns
    -------
    EnergyLedger
        ``terms``, name → energy, and ``total``, their sum, both in eV; printed, it is a table in
        kcal/mol.
    """
    classical = copy.deepcopy(mixed.system)
    for number in reversed(range(classical.getNumForces())):
        if classical.getForce(number).getName().startswith(FORCE_NAME):
            classical.removeForce(number)
    names = _one_group_each(classical)
    found = _energies(classical, names, positions, cell)
    coulomb = _energies(
        _without_lennard_jones(classical), {COULOMB: names[COULOMB]}, positions, cell
    )
    found[LENNARD_JONES] = found.pop(COULOMB) - coulomb[COULOMB]
    network = mixed.potential(positions, cell)
    terms = {
        NETWORK: network.energy - network.image_energy,
        IMAGES: network.image_energy,
        COULOMB: coulomb[COULOMB],
        **found,
    }
    return EnergyLedger({name: value for name, value in terms.items() if abs(value) > _NOTHING})


def _one_group_each(system: openmm.System) -> dict[str, int]:
    """Give every force with an energy a group of its own: name → group."""
    groups: dict[str, int] = {}
    for force in system.getForces():
        kind = type(force).__name__
        name = COULOMB if isinstance(force, openmm.NonbondedForce) else _NAMES.get(kind)
        if name is None:
            continue  # thermostats and barostats have no energy
        force.setForceGroup(groups.setdefault(name, len(groups) + 1))
    return groups


def _energies(
    system: openmm.System,
    groups: dict[str, int],
    positions: FloatArray,
    cell: FloatArray | None,
) -> dict[str, float]:
    """Energies by group, eV."""
    context = new_context(system, "Reference")
    move_to(context, positions, cell)
    return {name: energy_and_forces(context, {group})[0] for name, group in groups.items()}


def _without_lennard_jones(system: openmm.System) -> openmm.System:
    bare = copy.deepcopy(system)
    for force in bare.getForces():
        if not isinstance(force, openmm.NonbondedForce):
            continue
        for particle in range(force.getNumParticles()):
            charge, sigma, _ = force.getParticleParameters(particle)
            force.setParticleParameters(particle, charge, sigma, 0.0)
        for number in range(force.getNumExceptions()):
            first, second, charge, sigma, _ = force.getExceptionParameters(number)
            force.setExceptionParameters(number, first, second, charge, sigma, 0.0)
    return bare
