"""From a force field to the network that replaces it: λ E_mixed + (1 − λ) E_classical.

Forces that the two have in common stay as they are. All others come twice, as they are with and
without the region, each with its weight: no pair of atoms becomes an exception that was none, as
its Coulomb energy would then be another one (reaction fields, images).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import openmm

from eqmm_ase.engines.classical_system import terms_within

PARAMETER = "lambda_interpolate"
_NONBONDED = (openmm.NonbondedForce, openmm.CustomNonbondedForce)


def interpolate(
    mixed: openmm.System, classical: openmm.System, inside: set[int], group: int = 0
) -> None:
    """Make the energy of a mixed System λ E_mixed + (1 − λ) E_classical, in place.

    λ is the global parameter ``lambda_interpolate``, 1 to begin with, of which States tell the
    derivative of the energy.

    Parameters
    ----------
    mixed
        From `eqmm_ase.engines.mixed_system.mixed_system`; the network is its last force.
    classical
        The System that it was made of.
    inside
        Particles that the network replaces, virtual sites included.
    group
        Force group of the network.
    """
    _warn_of_bonds_without_terms(classical, inside)
    network = mixed.getNumForces() - 1
    ours = [k for k in range(network) if isinstance(mixed.getForce(k), _NONBONDED)]
    weighted = [
        _weighted([mixed.getForce(network)], PARAMETER, group),
        _weighted([mixed.getForce(k) for k in ours], PARAMETER),
        _weighted(_taken_away(classical, inside), f"(1-{PARAMETER})"),
    ]
    for number in (network, *reversed(ours)):
        mixed.removeForce(number)
    for force in weighted:
        mixed.addForce(force)


def _taken_away(classical: openmm.System, inside: set[int]) -> list[openmm.Force]:
    """What a mixed System does not have, or has in another form."""
    found = []
    for force in classical.getForces():
        own = force if isinstance(force, _NONBONDED) else terms_within(force, inside)
        if own is not None:
            found.append(own)
    return found


def _weighted(forces: Iterable[openmm.Force], weight: str, group: int = 0) -> openmm.CustomCVForce:
    """The sum of copies of some forces, times a weight."""
    made = openmm.CustomCVForce("")
    made.addGlobalParameter(PARAMETER, 1.0)
    made.addEnergyParameterDerivative(PARAMETER)
    names: list[str] = []
    for force in forces:
        names.append(f"term{len(names)}")
        made.addCollectiveVariable(names[-1], openmm.XmlSerializer.clone(force))
    made.setEnergyFunction(f"{weight}*({' + '.join(names)})")
    made.setForceGroup(group)
    return made


def _warn_of_bonds_without_terms(classical: openmm.System, inside: set[int]) -> None:
    """Of bonds that nothing would hold on the classical side, once they are not constrained."""
    held = set()
    for force in classical.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            bonds = (force.getBondParameters(k) for k in range(force.getNumBonds()))
            held |= {frozenset((first, second)) for first, second, *_ in bonds}
    constraints = (
        classical.getConstraintParameters(k) for k in range(classical.getNumConstraints())
    )
    pairs = {frozenset(pair) for *pair, _ in constraints}
    if loose := {pair for pair in pairs if pair <= inside} - held:
        warnings.warn(
            f"{len(loose)} constraints of the ML region have no term of the force field beside "
            f"them, and nothing holds their atoms where {PARAMETER} is near 0: make the System "
            "with constraints=None, rigidWater=False or flexibleConstraints=True, or keep them by "
            "removeConstraints=False",
            stacklevel=5,  # the line that calls openmm-ml
        )
