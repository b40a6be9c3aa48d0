"""OpenMM Systems whose particles stand in another order."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np
import openmm
from openmm import app

_TERMS = {
    "HarmonicBondForce": ("Bonds", ("p1", "p2")),
    "HarmonicAngleForce": ("Angles", ("p1", "p2", "p3")),
    "PeriodicTorsionForce": ("Torsions", ("p1", "p2", "p3", "p4")),
    "NonbondedForce": ("Exceptions", ("p1", "p2")),
}


def permuted(
    topology: app.Topology, system: openmm.System, order: Sequence[int]
) -> tuple[app.Topology, openmm.System]:
    """Topology and System whose particle k is the former particle ``order[k]``."""
    place = np.argsort(order)
    made = openmm.System()
    made.setDefaultPeriodicBoxVectors(*system.getDefaultPeriodicBoxVectors())
    for old in order:
        made.addParticle(system.getParticleMass(int(old)))
    for new, old in enumerate(order):
        if system.isVirtualSite(int(old)):
            site = system.getVirtualSite(int(old))
            of = [int(place[site.getParticle(k)]) for k in range(3)]
            weights = [site.getWeight(k) for k in range(3)]
            made.setVirtualSite(new, openmm.ThreeParticleAverageSite(*of, *weights))
    for number in range(system.getNumConstraints()):
        first, second, length = system.getConstraintParameters(number)
        made.addConstraint(int(place[first]), int(place[second]), length)
    for force in system.getForces():
        made.addForce(_permuted_force(force, order, place))
    return _permuted_topology(topology, order, place), made


def _permuted_force(force: openmm.Force, order: Sequence[int], place: np.ndarray) -> openmm.Force:
    root = ET.fromstring(openmm.XmlSerializer.serialize(force))
    name, keys = _TERMS.get(type(force).__name__, ("none", ()))
    for terms in root.findall(name):
        for term in terms:
            for key in keys:
                term.attrib[key] = str(place[int(term.attrib[key])])
    for particles in root.findall("Particles"):
        rows = list(particles)
        particles[:] = [rows[old] for old in order]
    return openmm.XmlSerializer.deserialize(ET.tostring(root, encoding="unicode"))


def _permuted_topology(
    topology: app.Topology, order: Sequence[int], place: np.ndarray
) -> app.Topology:
    """Residues that are not in one piece any more are several."""
    made, old_atoms = app.Topology(), list(topology.atoms())
    made.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    chain, atoms, last = made.addChain(), [], None
    for old in (old_atoms[i] for i in order):
        if old.residue is not last:
            residue, last = made.addResidue(old.residue.name, chain), old.residue
        atoms.append(made.addAtom(old.name, old.element, residue))
    for first, second in topology.bonds():
        made.addBond(atoms[place[first.index]], atoms[place[second.index]])
    return made
