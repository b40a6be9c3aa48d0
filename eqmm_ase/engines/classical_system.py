"""The classical rest of an OpenMM System: what stays of a force field beside an ML region.

From the force field go all bonded terms whose atoms all lie in the region, every charge of the
region with the exceptions and constraints within it, and Lennard-Jones within it. What contains at
least one other atom stays, Lennard-Jones between the region and its surroundings included; Coulomb
between them, 1–2, 1–3 and 1–4 neighbours included, is the network's.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations

import numpy as np
import openmm

from eqmm_ase.arrays import FloatArray
from eqmm_ase.engines.embedded_region import EmbeddedRegion

_PARTICLES = {
    "HarmonicBondForce": ("Bonds", ("p1", "p2")),
    "HarmonicAngleForce": ("Angles", ("p1", "p2", "p3")),
    "PeriodicTorsionForce": ("Torsions", ("p1", "p2", "p3", "p4")),
    "RBTorsionForce": ("Torsions", ("p1", "p2", "p3", "p4")),
    "CMAPTorsionForce": ("Torsions", ("a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4")),
    "CustomBondForce": ("Bonds", ("p1", "p2")),
    "CustomAngleForce": ("Angles", ("p1", "p2", "p3")),
    "CustomTorsionForce": ("Torsions", ("p1", "p2", "p3", "p4")),
}
"""Where the XML of a bonded force names the particles of its terms."""

_WITHOUT_THE_REGION = (
    "CMMotionRemover",
    "AndersenThermostat",
    "MonteCarloBarostat",
    "MonteCarloAnisotropicBarostat",
    "MonteCarloFlexibleBarostat",
    "MonteCarloMembraneBarostat",
    "CustomExternalForce",
)
"""Forces in which no term belongs to the force field of the region."""


class ClassicalSystemError(ValueError):
    """The System cannot be coupled to a network; the message is one sentence for the user."""


def classical_rest(
    system: openmm.System, region: EmbeddedRegion, *, remove_constraints: bool = True
) -> openmm.System:
    """A copy of a System without the force field of an ML region.

    Parameters
    ----------
    system
        All of it classical.
    region
        What the network replaces, virtual sites of ML atoms too, and the charges of all others.
    remove_constraints
        Whether bond lengths within the region are free.

    Raises
    ------
    ClassicalSystemError
        When a force is of a kind that this does not know: polarisable, implicit solvent, custom.
    """
    rest = copy.deepcopy(system)
    atoms = set(np.flatnonzero(region.inside).tolist())
    edited: list[openmm.Force] = []
    for number in reversed(range(rest.getNumForces())):
        force = rest.getForce(number)
        kind = type(force).__name__
        if kind in _PARTICLES:
            edited.append(_without_terms(force, atoms))
            rest.removeForce(number)
        elif kind == "NonbondedForce":
            _strip_nonbonded(force, atoms, region.force_field_charges)
        elif kind == "CustomNonbondedForce":
            _exclude(force, atoms)
        elif kind not in _WITHOUT_THE_REGION:
            raise ClassicalSystemError(
                f"the System has a {kind}, which EqMM cannot split into the ML region and the "
                "rest; remove it, or use a force field of fixed charges without implicit solvent"
            )
    for force in reversed(edited):
        rest.addForce(force)
    if remove_constraints:
        for number in reversed(range(rest.getNumConstraints())):
            first, second, _ = rest.getConstraintParameters(number)
            if first in atoms and second in atoms:
                rest.removeConstraint(number)
    return rest


def nonbonded_force(system: openmm.System) -> openmm.NonbondedForce:
    """The one NonbondedForce of a System.

    Raises
    ------
    ClassicalSystemError
        When there is none, or there are several.
    """
    found = [force for force in system.getForces() if isinstance(force, openmm.NonbondedForce)]
    if len(found) != 1:
        raise ClassicalSystemError(
            f"the System has {len(found)} NonbondedForces; expected one, which holds all charges"
        )
    return found[0]


def terms_within(force: openmm.Force, atoms: set[int]) -> openmm.Force | None:
    """A copy of a bonded force with the terms that lie wholly among some atoms, and no others.

    None where it is of another kind.
    """
    if type(force).__name__ not in _PARTICLES:
        return None
    return _with_terms(force, lambda particles: atoms.issuperset(particles))


def _without_terms(force: openmm.Force, atoms: set[int]) -> openmm.Force:
    """A copy of a bonded force without the terms that lie wholly among some atoms."""
    return _with_terms(force, lambda particles: not atoms.issuperset(particles))


def _with_terms(force: openmm.Force, wanted: Callable[[list[int]], bool]) -> openmm.Force:
    group, keys = _PARTICLES[type(force).__name__]
    root = ET.fromstring(openmm.XmlSerializer.serialize(force))
    for terms in root.findall(group):
        for term in list(terms):
            if not wanted([int(term.attrib[key]) for key in keys]):
                terms.remove(term)
    return openmm.XmlSerializer.deserialize(ET.tostring(root, encoding="unicode"))


def _strip_nonbonded(force: openmm.NonbondedForce, atoms: set[int], charges: FloatArray) -> None:
    _refuse_offsets(force)
    for particle in range(force.getNumParticles()):
        charge, sigma, epsilon = force.getParticleParameters(particle)
        if particle in atoms:
            force.setParticleParameters(particle, 0.0, sigma, epsilon)
        elif charges[particle] != charge._value:
            force.setParticleParameters(particle, charges[particle], sigma, epsilon)
    waiting = set(combinations(sorted(atoms), 2))
    for number in range(force.getNumExceptions()):
        first, second, _, sigma, epsilon = force.getExceptionParameters(number)
        here = (first in atoms) + (second in atoms)
        if here == 2:
            force.setExceptionParameters(number, first, second, 0.0, 1.0, 0.0)
            waiting.discard((min(first, second), max(first, second)))
        elif here == 1:
            force.setExceptionParameters(number, first, second, 0.0, sigma, epsilon)
    for first, second in sorted(waiting):
        force.addException(first, second, 0.0, 1.0, 0.0)


def _refuse_offsets(force: openmm.NonbondedForce) -> None:
    if force.getNumParticleParameterOffsets() or force.getNumExceptionParameterOffsets():
        raise ClassicalSystemError(
            "charges or Lennard-Jones parameters of the System change with a global parameter; "
            "EqMM needs fixed ones"
        )


def _exclude(force: openmm.CustomNonbondedForce, atoms: set[int]) -> None:
    names = {
        force.getPerParticleParameterName(k) for k in range(force.getNumPerParticleParameters())
    }
    if names & {"charge", "q"}:
        raise ClassicalSystemError(
            "a CustomNonbondedForce of the System has charges of its own; EqMM knows those of the "
            "NonbondedForce only"
        )
    known = {tuple(sorted(force.getExclusionParticles(k))) for k in range(force.getNumExclusions())}
    for pair in sorted(set(combinations(sorted(atoms), 2)) - known):
        force.addExclusion(*pair)
