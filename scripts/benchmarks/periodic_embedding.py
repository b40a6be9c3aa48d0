"""The QM region in the whole periodic box: what a cluster of charges is compared with.

PySCF's `qmmm.pbc` lets charges within a cutoff act on the density exactly and everything else,
images of the box and of the QM region included, through an Ewald sum over the density's atomic
charges, dipoles and quadrupoles (Mulliken). A charged box has a uniform background. This is a mode
for validation: it takes rectangular boxes and gives energies and QM forces, no MM labels.

Sources: Nam, Gao, York, J. Chem. Theory Comput. 1, 2 (2005); Li and Chan, PySCF's implementation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from datagen.errors import InvalidFrameError
from datagen.labels.method import Method
from datagen.labels.molecule import build_molecule, check_frame
from datagen.labels.plain_pyscf import PlainPySCF
from datagen.labels.scf import converge
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import BOHR, HARTREE, HARTREE_PER_BOHR

_ROUND = 1e-6  # Å by which a rectangular box may be off
_APART = 0.5  # Å between the direct radius and the nearest image of a QM atom


def label_in_periodic_box(frame: Frame, method: Method) -> Frame:
    """Energy and QM forces of a frame that repeats in space.

    Parameters
    ----------
    frame
        All charges of one box with its ``cell``, as `eqmm_ase.cutting.snapshots` makes them with an
        infinite radius.
    method
        The level of theory; without density fitting, whose response PySCF's periodic gradient
        lacks (QM forces would be off by 0.004 eV/Å).

    Returns
    -------
    Frame
        With ``energy`` (eV) and ``qm_forces`` (eV/Å); without other labels. The energy has another
        zero than that of a cluster.

    Raises
    ------
    InvalidFrameError
        When the frame has no rectangular cell or the QM region fills more than half of it.
    SCFNotConvergedError
        When the SCF does not converge.
    """
    from pyscf.qmmm.pbc import itrf

    check_frame(frame)
    method = replace(method, density_fit=False)
    edges, radius = _edges(frame), _direct_radius(frame)
    backend = PlainPySCF()
    field = itrf.add_mm_charges(
        backend.mean_field(build_molecule(frame, method), frame.in_vacuum(), method),
        np.asarray(frame.mm_positions, np.float64) / BOHR,
        np.diag(edges) / BOHR,
        np.asarray(frame.mm_charges, np.float64),
        rcut_ewald=edges.min() / 2 / BOHR,
        rcut_hcore=radius / BOHR,
        unit="Bohr",
    )
    solution = converge(backend, field).mean_field
    gradient = solution.nuc_grad_method()
    gradient.verbose = 0
    if hasattr(gradient, "grid_response"):
        gradient.grid_response = True
    return replace(
        frame,
        energy=float(solution.e_tot + _dispersion(solution)) * HARTREE,
        qm_forces=-np.asarray(gradient.kernel()) * HARTREE_PER_BOHR,
        energy_vacuum=None,
        mm_forces=None,
        mm_potential=None,
        charges={},
        dipole=None,
    )


def _dispersion(solution: Any) -> float:
    """Dispersion in Hartree, which PySCF 2.14 adds to periodic forces but not to energies."""
    return float(solution.get_dispersion()) if solution.do_disp() else 0.0


def _edges(frame: Frame) -> np.ndarray:
    """Edges of the rectangular box, Å."""
    cell = np.zeros((3, 3)) if frame.cell is None else np.asarray(frame.cell, np.float64)
    edges = np.diag(cell)
    if np.abs(cell - np.diag(edges)).max() > _ROUND or edges.min() <= 0.0:
        raise InvalidFrameError(
            f"the cell is {cell.round(3).tolist()}; expected a rectangular box along the axes"
        )
    return edges


def _direct_radius(frame: Frame) -> float:
    """Å around the centre of the QM region within which charges meet the density itself.

    As far out as images of the QM region allow, where the multipole expansion is best.
    """
    positions = np.asarray(frame.qm_positions, np.float64)
    extent = float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())
    radius = float(_edges(frame).min()) - extent - _APART
    if radius <= extent:
        raise InvalidFrameError(
            f"the QM region reaches {extent:.1f} Å from its centre, too far for a box with an edge "
            f"of {_edges(frame).min():.1f} Å"
        )
    return radius
