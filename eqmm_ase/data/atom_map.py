"""Which row of a frame is which atom of the topology that it was cut from, and forces on those.

`Frame.qm_atom_indices`, `Frame.mm_atom_indices` and `LinkAtom.m1_atom_index` are rows of the
topology, from 0 in the order of the trajectory; `NO_ATOM` stands for caps and for charges that
were added at cut bonds. A charge was altered where `Frame.mm_charges` is not
`Frame.mm_charges_original`. Frames of ``eqmm-datagen cut`` know all of this; those of ``sample``
and ``solvate``, whose box no file remembers, do not.

Forces of a model on the atoms of a simulation::

    frame = read_frames("frames.h5")[0]
    atoms = atoms_of_frame(frame)
    atoms.calc = EqMM("model.eqmm")
    atoms.calc.embed(frame.mm_charges, frame.mm_positions)
    predicted = replace(
        frame,
        qm_forces=atoms.get_forces(),
        mm_forces=atoms.calc.mm_forces,
        mm_potential=atoms.calc.mm_potential,
    )
    forces = forces_on_topology(predicted, n_atoms, topology="system.prmtop")
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.boundary_forces import project_forces
from eqmm_ase.data.frame import Frame


def topology_name(path: str | os.PathLike[str]) -> str:
    """What frames call a topology file: its name and the SHA-256 of its content."""
    return f"{Path(path).name} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


def forces_on_topology(
    frame: Frame, n_atoms: int, topology: str | os.PathLike[str] | None = None
) -> FloatArray:
    """Forces of a frame's energy on all atoms of the topology that the frame was cut from.

    The negative derivative of the energy by the positions of the simulation, through the whole cut:
    forces on caps and redistributed charges go to the atoms that they depend on, and where charges
    are switched off the derivative of the switching function is included, on QM atoms and on
    residues. The choice of residues and periodic images is treated as constant. Atoms outside the
    frame have zero. Virtual sites have the forces on their charges: distribute them to the parent
    atoms in your MD program.

    Parameters
    ----------
    frame
        With ``qm_forces`` and ``mm_forces``, and ``mm_potential`` where charges are switched off.
    n_atoms
        Sites of the topology, virtual sites included.
    topology
        Its file, refused when it is not the one that the frame was cut from; None does not check.

    Returns
    -------
    (n_atoms, 3)
        Forces on all sites of the topology, eV/Å.

    Raises
    ------
    ValueError
        When the frame lacks labels or does not know its atoms, or belongs to another topology.
    """
    if frame.qm_atom_indices is None or frame.mm_atom_indices is None:
        raise ValueError(
            "the frame does not know which atoms of a topology its rows are; frames of "
            "`eqmm-datagen cut` do"
        )
    _check_topology(frame, topology)
    real = project_forces(frame)
    links = frame.boundary.links if frame.boundary else ()
    atoms = np.concatenate(
        [
            np.asarray(frame.qm_atom_indices)[real.qm_rows],
            np.asarray(frame.mm_atom_indices)[real.mm_rows],
            np.array([link.m1_atom_index for link in links], dtype=int),
        ]
    )
    if len(atoms) and not 0 <= atoms.min() <= atoms.max() < n_atoms:
        raise ValueError(
            f"the frame holds atoms {atoms.min()} to {atoms.max()} of its topology"
            f"{_called(frame)}, which do not fit into {n_atoms}"
        )
    forces = np.zeros((n_atoms, 3))
    np.add.at(forces, atoms, np.concatenate([real.qm, real.mm, real.m1]))
    return forces


def _check_topology(frame: Frame, topology: str | os.PathLike[str] | None) -> None:
    if topology is None or not frame.topology:
        return
    given = topology_name(topology)
    if given.split()[-1] != frame.topology.split()[-1]:
        raise ValueError(
            f"the frame was cut from another topology{_called(frame)} than {topology}: the "
            "contents of the files differ"
        )


def _called(frame: Frame) -> str:
    name = frame.topology.rpartition(" ")[0]
    return f" ({name})" if name else ""
