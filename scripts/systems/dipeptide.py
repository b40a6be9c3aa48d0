"""Alanine dipeptide in water, with the methyl group of its side chain as the ML region.

    python -m scripts.systems.dipeptide -o dipeptide

writes topology and System (`dipeptide.pdb`, `system.xml`: ff14SB in TIP3P) and a classical
trajectory (`sampling.dcd`) of which `eqmm-datagen cut` makes training frames, as
`scripts.systems.villin` does for a protein.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

import numpy as np
import openmm
from openmm import app, unit

from scripts.common import argument_parser
from scripts.systems.boxes import Box
from scripts.systems.villin import add_sampling_options, free_bonds, sample, write_files

METHYL = ("CB", "HB1", "HB2", "HB3")
"""The bond to CA is cut."""

_HEAVY_ATOMS = """
HETATM    1  CH3 ACE A   1       9.744   9.889  11.222
HETATM    2  C   ACE A   1      11.171  10.439  11.221
HETATM    3  O   ACE A   1      12.134   9.676  11.221
ATOM      4  N   ALA A   2      11.299  11.768  11.221
ATOM      5  CA  ALA A   2      12.597  12.413  11.221
ATOM      6  CB  ALA A   2      13.405  12.019   9.989
ATOM      7  C   ALA A   2      12.456  13.928  11.222
ATOM      8  O   ALA A   2      11.344  14.451  11.222
HETATM    9  N   NME A   3      13.590  14.634  11.222
HETATM   10  C   NME A   3      13.590  16.083  11.222
END
"""


def dipeptide_box(edge: float, *, hydrogen_mass: float | None = None) -> Box:
    """ACE-ALA-NME in a cubic box of water, rigid but for the bonds of the methyl group.

    Parameters
    ----------
    edge
        Å.
    hydrogen_mass
        u.
    """
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    pdb = app.PDBFile(StringIO(_HEAVY_ATOMS))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addHydrogens(field)
    modeller.addSolvent(field, boxSize=openmm.Vec3(*[edge / 10.0] * 3) * unit.nanometer)
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9 * unit.nanometer,
        constraints=app.HBonds,
        flexibleConstraints=True,
        hydrogenMass=None if hydrogen_mass is None else hydrogen_mass * unit.dalton,
    )
    rows = [
        atom.index
        for atom in modeller.topology.atoms()
        if atom.residue.name == "ALA" and atom.name in METHYL
    ]
    free_bonds(system, set(rows))
    positions = np.array(modeller.positions.value_in_unit(unit.angstrom))
    return Box(modeller.topology, system, positions, rows, total_charge=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    parser.add_argument("--edge", type=float, default=28.0, help="Å")
    add_sampling_options(parser, frames=120, equilibration=5.0)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    box = dipeptide_box(options.edge, hydrogen_mass=3.0)
    start = app.Modeller(box.topology, box.positions * unit.angstrom)
    write_files(start, box.system, options.output / "dipeptide.pdb")
    sample(start, box.system, options)


if __name__ == "__main__":
    main()
