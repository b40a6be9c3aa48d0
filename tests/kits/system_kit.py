"""Whole systems for tests of engines: a solute in a box of water, with an OpenMM System."""

from __future__ import annotations

from io import StringIO

import numpy as np
import openmm
from ase.build import molecule
from dipeptide_kit import DIPEPTIDE, POSITIONS
from openmm import app, unit

METHANOL_XML = """
<ForceField>
 <AtomTypes>
  <Type name="c3" class="c3" element="C" mass="12.01"/>
  <Type name="oh" class="oh" element="O" mass="16.00"/>
  <Type name="h1" class="h1" element="H" mass="1.008"/>
  <Type name="ho" class="ho" element="H" mass="1.008"/>
 </AtomTypes>
 <Residues>
  <Residue name="MOH">
   <Atom name="C1" type="c3" charge="0.145"/><Atom name="O1" type="oh" charge="-0.683"/>
   <Atom name="H1" type="h1" charge="0.040"/><Atom name="H2" type="ho" charge="0.418"/>
   <Atom name="H3" type="h1" charge="0.040"/><Atom name="H4" type="h1" charge="0.040"/>
   <Bond atomName1="C1" atomName2="O1"/><Bond atomName1="C1" atomName2="H1"/>
   <Bond atomName1="O1" atomName2="H2"/><Bond atomName1="C1" atomName2="H3"/>
   <Bond atomName1="C1" atomName2="H4"/>
  </Residue>
 </Residues>
 <HarmonicBondForce>
  <Bond class1="c3" class2="oh" length="0.1423" k="246856"/>
  <Bond class1="c3" class2="h1" length="0.1097" k="276646"/>
  <Bond class1="oh" class2="ho" length="0.0973" k="309281"/>
 </HarmonicBondForce>
 <HarmonicAngleForce>
  <Angle class1="c3" class2="oh" class3="ho" angle="1.870" k="396"/>
  <Angle class1="h1" class2="c3" class3="h1" angle="1.912" k="328"/>
  <Angle class1="h1" class2="c3" class3="oh" angle="1.918" k="426"/>
 </HarmonicAngleForce>
 <PeriodicTorsionForce>
  <Proper class1="" class2="c3" class3="oh" class4="" periodicity1="3" phase1="0" k1="0.7"/>
 </PeriodicTorsionForce>
 <NonbondedForce coulomb14scale="0.8333333333333334" lj14scale="0.5">
  <UseAttributeFromResidue name="charge"/>
  <Atom type="c3" sigma="0.3398" epsilon="0.4510"/>
  <Atom type="oh" sigma="0.3243" epsilon="0.3891"/>
  <Atom type="h1" sigma="0.2422" epsilon="0.0870"/>
  <Atom type="ho" sigma="0.0538" epsilon="0.0196"/>
 </NonbondedForce>
</ForceField>
"""
"""Methanol as in GAFF2, to lie beside TIP3P; atoms in the order of the test data."""


def methanol_in_water(
    edge: float = 20.0,
    *,
    water: str = "tip3p",
    last: bool = False,
    method: object = app.PME,
    cutoff: float = 9.0,
    constraints: object = app.HBonds,
    rigid: bool = True,
) -> tuple[app.Topology, openmm.System, np.ndarray, list[int]]:
    """Methanol in a cubic box of water.

    Parameters
    ----------
    edge
        Å.
    water
        ``tip3p`` or ``opc``, which has virtual sites.
    last
        Whether methanol stands behind all water.
    cutoff
        Å, of the System.

    Returns
    -------
    topology, system
        With rigid water unless told otherwise.
    positions
        (n, 3) Å.
    ml_atoms
        Rows of methanol.
    """
    field = app.ForceField(
        StringIO(METHANOL_XML), f"amber14/{water}.xml" if water != "opc" else "opc.xml"
    )
    solute = molecule("CH3OH")
    topology = app.Topology()
    residue = topology.addResidue("MOH", topology.addChain())
    names = ["C1", "O1", "H1", "H2", "H3", "H4"]
    atoms = [
        topology.addAtom(name, app.Element.getBySymbol(symbol), residue)
        for name, symbol in zip(names, solute.get_chemical_symbols(), strict=True)
    ]
    for a, b in ((0, 1), (0, 2), (1, 3), (0, 4), (0, 5)):
        topology.addBond(atoms[a], atoms[b])
    place = (solute.positions - solute.positions.mean(0) + edge / 2) / 10.0
    modeller = app.Modeller(topology, place * unit.nanometer)
    modeller.addSolvent(
        field,
        model="tip4pew" if water == "opc" else "tip3p",
        boxSize=openmm.Vec3(*[edge / 10.0] * 3) * unit.nanometer,
    )
    if last:
        whole = app.Modeller(modeller.topology, modeller.positions)
        whole.delete([r for r in whole.topology.residues() if r.name == "MOH"])
        whole.add(topology, place * unit.nanometer)
        whole.topology.setUnitCellDimensions(modeller.topology.getUnitCellDimensions())
        modeller = whole
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=method,
        nonbondedCutoff=cutoff / 10.0,
        constraints=constraints,
        rigidWater=rigid,
    )
    positions = np.array(modeller.positions.value_in_unit(unit.angstrom))
    rows = [a.index for a in modeller.topology.atoms() if a.residue.name == "MOH"]
    return modeller.topology, system, positions, rows


def dipeptide_in_water(edge: float = 24.0) -> tuple[app.Topology, openmm.System, np.ndarray]:
    """ACE-ALA-NME in ff14SB, the first 22 atoms, in a cubic box of TIP3P; (n, 3) Å."""
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    topology = app.Topology()
    chain, atoms = topology.addChain(), []
    residues = [topology.addResidue(name, chain) for name in DIPEPTIDE.residue_names]
    for row, name in enumerate(DIPEPTIDE.names):
        element = app.Element.getByAtomicNumber(int(DIPEPTIDE.atomic_numbers[row]))
        atoms.append(topology.addAtom(name, element, residues[DIPEPTIDE.residues[row]]))
    for first, second in DIPEPTIDE.bonds:
        topology.addBond(atoms[first], atoms[second])
    place = (POSITIONS - POSITIONS.mean(0) + edge / 2) / 10.0
    modeller = app.Modeller(topology, place * unit.nanometer)
    size = openmm.Vec3(*[edge / 10.0] * 3) * unit.nanometer
    modeller.addSolvent(field, model="tip3p", boxSize=size)
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9,
        constraints=app.HBonds,
        rigidWater=True,
    )
    return modeller.topology, system, np.array(modeller.positions.value_in_unit(unit.angstrom))
