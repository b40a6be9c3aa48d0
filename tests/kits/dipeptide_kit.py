"""ACE-ALA-NME with the charges of ff14SB, as tleap builds it: a molecule with bonds to cut."""

from __future__ import annotations

import numpy as np

from eqmm_ase.cutting.qm_region import find_region
from eqmm_ase.cutting.redistribution import REDISTRIBUTIONS
from eqmm_ase.cutting.snapshots import CutSettings, SnapshotCutter
from eqmm_ase.cutting.trajectories import Snapshot
from eqmm_ase.data.frame import Frame
from eqmm_ase.topology import Topology

_ATOMS = """
ACE H1 1 0.1123 9.744 8.799 11.222
ACE CH3 6 -0.3662 9.744 9.889 11.222
ACE H2 1 0.1123 9.230 10.252 12.111
ACE H3 1 0.1123 9.230 10.252 10.332
ACE C 6 0.5972 11.171 10.439 11.221
ACE O 8 -0.5679 12.134 9.676 11.221
ALA N 7 -0.4157 11.299 11.768 11.221
ALA H 1 0.2719 10.477 12.355 11.222
ALA CA 6 0.0337 12.597 12.413 11.221
ALA HA 1 0.0823 13.151 12.114 12.111
ALA CB 6 -0.1825 13.405 12.019 9.989
ALA HB1 1 0.0603 12.867 12.320 9.090
ALA HB2 1 0.0603 14.374 12.518 10.016
ALA HB3 1 0.0603 13.552 10.940 9.980
ALA C 6 0.5973 12.456 13.928 11.222
ALA O 8 -0.5679 11.344 14.451 11.222
NME N 7 -0.4157 13.590 14.634 11.222
NME H 1 0.2719 14.481 14.158 11.222
NME C 6 -0.1490 13.590 16.083 11.222
NME H1 1 0.0976 12.562 16.446 11.222
NME H2 1 0.0976 14.103 16.446 12.111
NME H3 1 0.0976 14.103 16.446 10.332
"""
_BONDS = "4-5 4-6 1-4 14-15 14-16 8-10 8-14 6-8 16-18 1-2 1-3 0-1 10-11 10-12 10-13 8-9 6-7 18-19"
_BONDS += " 18-20 18-21 16-17"
_ROWS = [line.split() for line in _ATOMS.strip().splitlines()]
_RESIDUES = ("ACE", "ALA", "NME")

POSITIONS = np.array([[float(x) for x in row[4:]] for row in _ROWS])
DIPEPTIDE = Topology(
    atomic_numbers=np.array([int(row[2]) for row in _ROWS]),
    charges=np.array([float(row[3]) for row in _ROWS]),
    names=tuple(row[1] for row in _ROWS),
    residues=np.array([_RESIDUES.index(row[0]) for row in _ROWS]),
    residue_names=_RESIDUES,
    residue_numbers=(1, 2, 3),
    segments=("", "", ""),
    bonds=np.array([[int(i) for i in bond.split("-")] for bond in _BONDS.split()]),
    parents=np.full(len(_ROWS), -1),
)
ACETYL_METHYL, BETA_METHYL = (0, 1, 2, 3), (10, 11, 12, 13)
SCHEMES = tuple(REDISTRIBUTIONS)


def cut(
    qm_atoms: tuple[int, ...],
    positions: np.ndarray = POSITIONS,
    topology: Topology = DIPEPTIDE,
    **settings: object,
) -> Frame:
    """The dipeptide in vacuo as a frame."""
    values = {"medium": "peptide", "radius": 30.0, "isolated": True, **settings}
    cutter = SnapshotCutter(
        topology, find_region(topology, np.array(qm_atoms)), CutSettings(**values)
    )
    return cutter(Snapshot(0, positions, None), "test")
