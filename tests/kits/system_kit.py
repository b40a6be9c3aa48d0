"""Whole systems for tests of engines: a solute in a box of water, with an OpenMM System."""

from __future__ import annotations

import numpy as np
import openmm
from dipeptide_kit import DIPEPTIDE, POSITIONS
from openmm import app, unit

from eqmm_ase.engines.openmm_context import energy_and_forces, move_to, new_context
from scripts.systems.boxes import make_box

FIELDS = ("amber14-all.xml", "amber14/tip3p.xml")


def answers(
    system: openmm.System,
    positions: np.ndarray,
    groups: set[int] | None = None,
    **parameters: float,
) -> tuple[float, np.ndarray]:
    """Energy, eV, and forces, eV/Å, of a System with these global parameters, double precision."""
    context = new_context(system, "Reference")
    move_to(context, positions, None)
    for name, value in parameters.items():
        context.setParameter(name, value)
    return energy_and_forces(context, groups)


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


_CHARMM_NAMES = {"CH3": "CAY", "C": "CY", "O": "OY", "H1": "HY1", "H2": "HY2", "H3": "HY3"}
_CHARMM_NAMES_OF_NME = {"N": "NT", "H": "HNT", "C": "CAT", "H1": "HT1", "H2": "HT2", "H3": "HT3"}


def charmm_dipeptide_in_water() -> tuple[app.Topology, openmm.System, np.ndarray]:
    """The same in CHARMM36: one residue, with CMAP, Urey–Bradley terms and impropers."""
    usual, _, positions = dipeptide_in_water()
    names = {"ACE": _CHARMM_NAMES, "NME": _CHARMM_NAMES_OF_NME}
    topology, atoms, residue, last = app.Topology(), [], None, None
    chain = topology.addChain()
    for atom in usual.atoms():
        if (key := max(atom.residue.index, 2)) != last:  # the first three are one
            residue, last = topology.addResidue("HOH" if key > 2 else "ALAD", chain), key
        name = names.get(atom.residue.name, {}).get(atom.name, atom.name)
        atoms.append(topology.addAtom(name, atom.element, residue))
    for first, second in usual.bonds():
        topology.addBond(atoms[first.index], atoms[second.index])
    topology.setPeriodicBoxVectors(usual.getPeriodicBoxVectors())
    system = app.ForceField("charmm36.xml", "charmm36/water.xml").createSystem(
        topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9,
        constraints=app.HBonds,
        residueTemplates={next(topology.residues()): "ALAD"},
    )
    return topology, system, positions
