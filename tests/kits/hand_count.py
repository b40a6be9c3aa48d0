"""Terms of a force field summed up one by one, from its formulae: no box, no cutoff; eV, Å."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openmm

from eqmm_ase.units import KJ_PER_MOL

COULOMB = 1389.35457644382  # kJ/mol Å/e², OpenMM's
Wanted = Callable[[set[int]], bool]


def forces_of(system: openmm.System, kind: type) -> list[openmm.Force]:
    return [force for force in system.getForces() if isinstance(force, kind)]


def bonds(system: openmm.System, positions: np.ndarray, wanted: Wanted) -> float:
    """½ k (r − r₀)² of the bonds whose atoms are wanted."""
    total = 0.0
    for force in forces_of(system, openmm.HarmonicBondForce):
        for number in range(force.getNumBonds()):
            i, j, length, k = force.getBondParameters(number)
            if wanted({i, j}):
                apart = np.linalg.norm(positions[i] - positions[j]) / 10.0
                total += 0.5 * k._value * (apart - length._value) ** 2
    return total * KJ_PER_MOL


def angles(system: openmm.System, positions: np.ndarray, wanted: Wanted) -> float:
    """½ k (θ − θ₀)²."""
    total = 0.0
    for force in forces_of(system, openmm.HarmonicAngleForce):
        for number in range(force.getNumAngles()):
            i, j, k, angle, stiffness = force.getAngleParameters(number)
            if wanted({i, j, k}):
                first, second = positions[i] - positions[j], positions[k] - positions[j]
                cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
                total += 0.5 * stiffness._value * (np.arccos(cosine) - angle._value) ** 2
    return total * KJ_PER_MOL


def torsions(system: openmm.System, positions: np.ndarray, wanted: Wanted) -> float:
    """K (1 + cos(nφ − φ₀))."""
    total = 0.0
    for force in forces_of(system, openmm.PeriodicTorsionForce):
        for number in range(force.getNumTorsions()):
            *atoms, periodicity, phase, k = force.getTorsionParameters(number)
            if wanted(set(atoms)):
                a, b, c, d = positions[atoms]
                first, axis, last = b - a, c - b, d - c
                normals = np.cross(first, axis), np.cross(axis, last)
                sine = np.linalg.norm(axis) * (first @ normals[1])
                angle = np.arctan2(sine, normals[0] @ normals[1])
                total += k._value * (1.0 + np.cos(periodicity * angle - phase._value))
    return total * KJ_PER_MOL


def pairs(system: openmm.System, positions: np.ndarray, wanted: Wanted) -> tuple[float, float]:
    """Coulomb and Lennard-Jones of the pairs that are wanted."""
    (force,) = forces_of(system, openmm.NonbondedForce)
    n = force.getNumParticles()
    sites = [[x._value for x in force.getParticleParameters(i)] for i in range(n)]
    special = {}
    for number in range(force.getNumExceptions()):
        i, j, *values = force.getExceptionParameters(number)
        special[frozenset((i, j))] = [x._value for x in values]
    coulomb = lennard_jones = 0.0
    for i in range(n):
        for j in range(i + 1, n):
            if not wanted({i, j}):
                continue
            (q, s, e), (other_q, other_s, other_e) = sites[i], sites[j]
            usual = [q * other_q, (s + other_s) / 2.0, np.sqrt(e * other_e)]
            charges, sigma, epsilon = special.get(frozenset((i, j)), usual)
            apart = np.linalg.norm(positions[i] - positions[j])
            coulomb += COULOMB * charges / apart
            sixth = (10.0 * sigma / apart) ** 6
            lennard_jones += 4.0 * epsilon * (sixth**2 - sixth)
    return coulomb * KJ_PER_MOL, lennard_jones * KJ_PER_MOL
