"""Topology files of any kind: which program's it is, and who reads it.

AMBER (prmtop), GROMACS (top) and CHARMM or NAMD (psf) files are read with ParmEd, GROMACS' run
input (tpr) with MDAnalysis, a PDB with the OpenMM System in XML beside it with OpenMM.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eqmm_ase.topology.evidence import topology_of
from eqmm_ase.topology.sites import Topology, TopologyError


def read_topology(path: Path, system: Path | None = None) -> Topology:
    """Read a topology file.

    Parameters
    ----------
    path
        AMBER prmtop, GROMACS top or tpr, CHARMM psf; or a PDB (or mmCIF), which needs ``system``.
    system
        OpenMM System in XML, of the same atoms as the PDB.

    Raises
    ------
    TopologyError
        When the file is of another kind or damaged, or its charges are not fixed point charges.
    FileNotFoundError
        When there is no such file.
    """
    for file in (path, *([system] if system else [])):
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
    with quiet():
        if path.suffix.lower() in (".pdb", ".cif", ".pdbx", ".ent"):
            if system is None:
                raise TopologyError(
                    f"{path} holds no charges; give the OpenMM System in XML with it"
                )
            from eqmm_ase.topology.openmm_system import read_openmm

            return topology_of(read_openmm(path, system))
        if system is not None:
            raise TopologyError(f"{path} has charges of its own; a System goes with a PDB only")
        if path.suffix.lower() == ".tpr":
            from eqmm_ase.topology.gromacs_tpr import read_tpr

            return topology_of(read_tpr(path))
        from eqmm_ase.topology.parmed_files import read_parmed

        return topology_of(read_parmed(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Without the advice to developers and the remarks on gaps that file readers warn about.

    Nor with the tracebacks of MDAnalysis' readers, which fail again when they are closed.
    """
    log = logging.getLogger("MDAnalysis")
    level, unraisable = log.level, sys.unraisablehook
    log.setLevel(logging.ERROR)
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        sys.unraisablehook = unraisable
