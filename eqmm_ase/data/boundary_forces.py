"""Forces on caps, on moved and on fading charges, handed to the real atoms by the chain rule.

Caps and charge sites are functions of real positions, x(R); the force on a real atom R gains
(∂x/∂R)ᵀ F_x. A scaled cap and a charge site are linear in R. For a cap at a fixed distance d on a
bond of length r along the unit vector u, ∂x/∂R_M1 = (d/r)(1 − u uᵀ) and ∂x/∂R_Q1 = 1 − ∂x/∂R_M1.
The parts add up to F_x and keep its torque, so that net force and torque vanish as they did.

Charges that fade between two radii, q_k = s_a q_k⁰, depend on the positions through s_a: the force
gains −Σ_k q_k⁰ (∂E/∂q_k) ∂s_a/∂R, ∂E/∂q_k being the potential at the charge. Residues with an M1 or
M2 in them are so near that they count in full.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.boundary import LinkAtom, cap_jacobian
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.switching import scale_gradients


@dataclass(frozen=True, eq=False)
class RealForces:
    """Forces on atoms that exist, eV/Å, and which rows of the frame those are."""

    qm: FloatArray
    """Forces on the QM atoms that are no caps, (n_qm − n_caps, 3)."""
    mm: FloatArray
    """Forces on the MM charges that are atoms, (n_mm − n_charge_sites, 3)."""
    m1: FloatArray
    """Forces on the MM atoms of the cut bonds, (n_caps, 3), one row for each bond."""
    qm_rows: np.ndarray
    """Rows of `qm` in the frame, (n_qm − n_caps,)."""
    mm_rows: np.ndarray
    """Rows of `mm` in the frame, (n_mm − n_charge_sites,)."""


def project_forces(frame: Frame) -> RealForces:
    """Forces on the real atoms of a frame with link atoms, by the chain rule.

    A cut bond joins a QM atom, Q1, and an MM atom, M1, which is not among the frame's charges.
    Virtual sites of a solvent model (the fourth site of OPC or TIP4P) are rows like any other:
    distribute their forces to the parent atoms in your MD program.

    Parameters
    ----------
    frame
        With ``qm_forces`` and ``mm_forces``, and with ``mm_potential`` where charges are switched
        off; without cut bonds and switched charges they are returned as they are.

    Returns
    -------
    RealForces
        ``qm``, ``mm`` and ``m1``, (·, 3) eV/Å: forces on the QM atoms that are no caps, on the MM
        charges that are atoms, and on the M1 of each cut bond. ``qm_rows`` and ``mm_rows``: their
        rows in the frame.

    Raises
    ------
    ValueError
        When the frame has no forces, or no potential where charges are switched off, or when both
        atoms of a cut bond are at the same place.
    """
    if frame.qm_forces is None or frame.mm_forces is None:
        raise ValueError("the frame has no qm_forces and mm_forces; label it first")
    qm, mm = np.array(frame.qm_forces, np.float64), np.array(frame.mm_forces, np.float64)
    links = frame.boundary.links if frame.boundary else ()
    sites = frame.boundary.sites if frame.boundary else ()
    m1 = np.zeros((len(links), 3))
    for site in sites:
        m1[site.link] += (1.0 - site.fraction) * mm[site.site]
        mm[site.m2] += site.fraction * mm[site.site]
    for i, link in enumerate(links):
        from_cap = _jacobian(frame.qm_positions[link.qm_atom], link) @ qm[link.cap]
        m1[i] += from_cap
        qm[link.qm_atom] += qm[link.cap] - from_cap
    qm_rows = np.setdiff1d(np.arange(len(qm)), [link.cap for link in links])
    mm_rows = np.setdiff1d(np.arange(len(mm)), [site.site for site in sites])
    real = RealForces(qm[qm_rows], mm[mm_rows], m1, qm_rows, mm_rows)
    return real if frame.switch_radii is None else _with_fading(frame, real)


def _with_fading(frame: Frame, real: RealForces) -> RealForces:
    """What the factors of fading charges add to the forces."""
    potential, original = frame.mm_potential, frame.mm_charges_original
    residues, radii = frame.mm_residue_indices, frame.switch_radii
    if potential is None or original is None or residues is None or radii is None:
        raise ValueError(
            "charges of the frame fade with the distance; their forces need mm_potential, "
            "mm_charges_original and mm_residue_indices"
        )
    links = frame.boundary.links if frame.boundary else ()
    m1_positions = np.reshape([link.m1_position for link in links], (-1, 3))
    m1_residues = np.array([link.m1_residue_index for link in links], dtype=int)
    weights = np.asarray(original, np.float64) * np.asarray(potential, np.float64)
    rows, n = real.mm_rows, len(real.mm_rows)
    qm_gradient, mm_gradient = scale_gradients(
        np.asarray(frame.qm_positions, np.float64)[real.qm_rows],
        np.concatenate([np.asarray(frame.mm_positions, np.float64)[rows], m1_positions]),
        np.concatenate([residues[rows], m1_residues]),
        float(radii[0]),
        float(radii[1]),
        np.concatenate([weights[rows], np.zeros(len(links))]),
    )
    return replace(
        real,
        qm=real.qm - qm_gradient,
        mm=real.mm - mm_gradient[:n],
        m1=real.m1 - mm_gradient[n:],
    )


def _jacobian(q1_position: FloatArray, link: LinkAtom) -> FloatArray:
    """∂R_cap/∂R_M1, symmetric, (3, 3)."""
    m1_position = np.asarray(link.m1_position)
    if link.rule == "fixed" and not np.any(m1_position - np.asarray(q1_position, np.float64)):
        raise ValueError(f"M1 lies on QM atom {link.qm_atom}; the cut bond has no direction")
    return cap_jacobian(q1_position, m1_position, link.rule, link.length)
