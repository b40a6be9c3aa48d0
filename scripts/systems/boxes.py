"""Boxes of water around the solutes of the examples, with a classical force field for OpenMM.

Lennard-Jones and bonded terms as in GAFF2; of chloride, that of Joung and Cheatham. The chlorine
that attacks and the one that leaves keep their spheres, so that a reaction needs one for both.
Acetate is that of CHARMM36, whose Lennard-Jones terms are a force of their own in OpenMM.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import openmm
from ase import Atoms
from ase.build import molecule
from numpy.typing import NDArray
from openmm import app, unit

from eqmm_ase.engines.mixed_system import MixedSystem, mixed_system

FloatArray = NDArray[np.float64]

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
"""Methanol; atoms in the order of the labelled frames."""

SN2_XML = """
<ForceField>
 <AtomTypes>
  <Type name="sc" class="sc" element="C" mass="12.01"/>
  <Type name="sl" class="sl" element="Cl" mass="35.45"/>
  <Type name="si" class="si" element="Cl" mass="35.45"/>
  <Type name="sh" class="sh" element="H" mass="1.008"/>
 </AtomTypes>
 <Residues>
  <Residue name="SN2">
   <Atom name="C1" type="sc" charge="-0.110"/><Atom name="CL1" type="sl" charge="-0.190"/>
   <Atom name="CL2" type="si" charge="-1.000"/><Atom name="H1" type="sh" charge="0.100"/>
   <Atom name="H2" type="sh" charge="0.100"/><Atom name="H3" type="sh" charge="0.100"/>
   <Bond atomName1="C1" atomName2="CL1"/><Bond atomName1="C1" atomName2="H1"/>
   <Bond atomName1="C1" atomName2="H2"/><Bond atomName1="C1" atomName2="H3"/>
  </Residue>
 </Residues>
 <HarmonicBondForce>
  <Bond class1="sc" class2="sl" length="0.1786" k="232700"/>
  <Bond class1="sc" class2="sh" length="0.1093" k="280000"/>
 </HarmonicBondForce>
 <HarmonicAngleForce>
  <Angle class1="sl" class2="sc" class3="sh" angle="1.888" k="400"/>
  <Angle class1="sh" class2="sc" class3="sh" angle="1.921" k="328"/>
 </HarmonicAngleForce>
 <NonbondedForce coulomb14scale="0.8333333333333334" lj14scale="0.5">
  <UseAttributeFromResidue name="charge"/>
  <Atom type="sc" sigma="0.339771" epsilon="0.451035"/>
  <Atom type="sl" sigma="0.346595" epsilon="1.103739"/>
  <Atom type="si" sigma="0.447766" epsilon="0.148913"/>
  <Atom type="sh" sigma="0.242200" epsilon="0.087027"/>
 </NonbondedForce>
</ForceField>
"""
"""Chloromethane and chloride; atoms in the order of the labelled frames."""

WATER = {"tip3p": "amber14/tip3p.xml", "opc": "opc.xml", "charmm": "charmm36/water.xml"}
_NAMES = {
    "methanol": ("MOH", ["C1", "O1", "H1", "H2", "H3", "H4"]),
    "sn2": ("SN2", ["C1", "CL1", "CL2", "H1", "H2", "H3"]),
    "acetate": ("ACET", ["C2", "O1", "O2", "C1", "H1", "H2", "H3"]),
}
_BONDS = {
    "methanol": ((0, 1), (0, 2), (1, 3), (0, 4), (0, 5)),
    "sn2": ((0, 1), (0, 3), (0, 4), (0, 5)),
    "acetate": ((0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (3, 6)),
}
TOTAL_CHARGE = {"methanol": 0, "sn2": -1, "acetate": -1}


@dataclass(frozen=True, eq=False)
class Box:
    """A solute in water."""

    topology: app.Topology
    system: openmm.System
    positions: FloatArray  # (n, 3) Å
    ml_atoms: list[int]
    total_charge: int

    @property
    def cell(self) -> FloatArray:
        """Lattice vectors as rows, (3, 3) Å."""
        vectors = self.system.getDefaultPeriodicBoxVectors()
        return np.array([vector.value_in_unit(unit.angstrom) for vector in vectors])

    def coupled(self, model: Any, **settings: Any) -> MixedSystem:
        """The box with a model in the place of its solute, by `mixed_system` and its settings."""
        return mixed_system(
            self.topology,
            self.system,
            self.ml_atoms,
            model,
            total_charge=self.total_charge,
            **settings,
        )


def solute_of(name: str) -> Atoms:
    """Atoms of a solute: ``methanol``, ``acetate``, or ``sn2`` as its ion–dipole complex."""
    if name == "methanol":
        return molecule("CH3OH")
    if name == "acetate":
        acid = molecule("CH3COOH")
        del acid[3]  # the acid's hydrogen
        return acid
    atoms = molecule("CH3Cl")  # C, Cl, H, H, H
    carbon, chlorine = atoms.positions[:2]
    behind = carbon - 1.85 * (chlorine - carbon)
    return Atoms("CCl2H3", [carbon, chlorine, behind, *atoms.positions[2:]])


def _field_of(solute: str) -> Any:
    """What `openmm.app.ForceField` takes for a solute."""
    own = {"methanol": METHANOL_XML, "sn2": SN2_XML}
    return StringIO(own[solute]) if solute in own else "charmm36.xml"


def make_box(
    solute: str,
    edge: float,
    *,
    water: str = "tip3p",
    last: bool = False,
    method: object = app.PME,
    cutoff: float = 9.0,
    constraints: object = app.HBonds,
    rigid: bool = True,
    hydrogen_mass: float | None = None,
    neutralize: bool = False,
) -> Box:
    """A solute in a cubic box of water.

    Parameters
    ----------
    solute
        ``methanol``, ``sn2`` or ``acetate``.
    edge
        Å.
    water
        ``tip3p``; ``opc``, which has virtual sites; ``charmm`` around acetate.
    last
        Whether the solute stands behind all water.
    method, cutoff, constraints, rigid, hydrogen_mass
        Of the System; Å and u.
    neutralize
        Whether a sodium ion stands in the water beside an anion; otherwise its box is charged.
    """
    field = app.ForceField(_field_of(solute), WATER[water])
    atoms, (residue_name, names) = solute_of(solute), _NAMES[solute]
    topology = app.Topology()
    residue = topology.addResidue(residue_name, topology.addChain())
    made = [
        topology.addAtom(name, app.Element.getBySymbol(symbol), residue)
        for name, symbol in zip(names, atoms.get_chemical_symbols(), strict=True)
    ]
    for first, second in _BONDS[solute]:
        topology.addBond(made[first], made[second])
    place = (atoms.positions - atoms.positions.mean(0) + edge / 2) / 10.0
    modeller = app.Modeller(topology, place * unit.nanometer)
    modeller.addSolvent(
        field,
        model="tip4pew" if water == "opc" else "tip3p",
        boxSize=openmm.Vec3(*[edge / 10.0] * 3) * unit.nanometer,
        neutralize=neutralize,
    )
    if last:
        whole = app.Modeller(modeller.topology, modeller.positions)
        whole.delete([r for r in whole.topology.residues() if r.name == residue_name])
        whole.add(topology, place * unit.nanometer)
        whole.topology.setUnitCellDimensions(modeller.topology.getUnitCellDimensions())
        modeller = whole
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=method,
        nonbondedCutoff=cutoff * unit.angstrom,
        constraints=constraints,
        rigidWater=rigid,
        hydrogenMass=None if hydrogen_mass is None else hydrogen_mass * unit.dalton,
    )
    positions = np.array(modeller.positions.value_in_unit(unit.angstrom))
    rows = [a.index for a in modeller.topology.atoms() if a.residue.name == residue_name]
    return Box(modeller.topology, system, positions, rows, TOTAL_CHARGE[solute])
