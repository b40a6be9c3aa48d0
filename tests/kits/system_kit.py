"""Whole systems for tests of engines: a solute in a box of water, with an OpenMM System."""

from __future__ import annotations

import numpy as np
import openmm
from dipeptide_kit import DIPEPTIDE, POSITIONS
from openmm import app, unit

from scripts.systems.boxes import make_box

FIELDS = ("amber14-all.xml", "amber14/tip3p.xml")


def methanol_in_water(
    edge: float = 20.0, **settings: object
) -> tuple[app.Topology, openmm.System, np.ndarray, list[int]]:
    """Methanol in a cubic box of water: topology, system, positions in Å, rows of methanol."""
    box = make_box("methanol", edge, **settings)
    return box.topology, box.system, box.positions, box.ml_atoms


def dipeptide(method: object = app.NoCutoff) -> tuple[app.Topology, openmm.System, np.ndarray]:
    """ACE-ALA-NME in ff14SB, alone; (22, 3) Å."""
    topology = _dipeptide_topology()
    system = app.ForceField(*FIELDS).createSystem(topology, nonbondedMethod=method)
    return topology, system, POSITIONS.copy()


def dipeptide_in_water(
    edge: float = 24.0, **settings: object
) -> tuple[app.Topology, openmm.System, np.ndarray]:
    """ACE-ALA-NME in ff14SB, the first 22 atoms, in a cubic box of TIP3P; (n, 3) Å."""
    field = app.ForceField(*FIELDS)
    place = (POSITIONS - POSITIONS.mean(0) + edge / 2) / 10.0
    modeller = app.Modeller(_dipeptide_topology(), place * unit.nanometer)
    size = openmm.Vec3(*[edge / 10.0] * 3) * unit.nanometer
    modeller.addSolvent(field, model="tip3p", boxSize=size)
    usual = {"nonbondedMethod": app.PME, "nonbondedCutoff": 0.9}
    usual |= {"constraints": app.HBonds, "rigidWater": True}
    system = field.createSystem(modeller.topology, **usual | settings)
    return modeller.topology, system, np.array(modeller.positions.value_in_unit(unit.angstrom))


def _dipeptide_topology() -> app.Topology:
    topology = app.Topology()
    chain, atoms = topology.addChain(), []
    residues = [topology.addResidue(name, chain) for name in DIPEPTIDE.residue_names]
    for row, name in enumerate(DIPEPTIDE.names):
        element = app.Element.getByAtomicNumber(int(DIPEPTIDE.atomic_numbers[row]))
        atoms.append(topology.addAtom(name, element, residues[DIPEPTIDE.residues[row]]))
    for first, second in DIPEPTIDE.bonds:
        topology.addBond(atoms[first], atoms[second])
    return topology
