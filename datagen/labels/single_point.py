"""One frame in, one labelled frame out.

`label_frame` is the whole calculation: check the frame, converge the density, take the
derivatives, check the label against itself. A label that fails a check is never returned.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datagen.errors import LabelCheckError
from datagen.labels.accelerated.charge_integrals import sharp_gaussian_sites, site_gradients
from datagen.labels.charges import ElectronDensity, atomic_charges, check_schemes, dipole
from datagen.labels.gradients import mm_forces, mm_potential, qm_forces
from datagen.labels.method import Method
from datagen.labels.molecule import build_molecule, check_frame
from datagen.labels.overpolarisation import contact_warnings
from datagen.labels.scf import converge, mean_field
from datagen.labels.vacuum import vacuum_energy
from datagen.labels.warm_start import WarmDensity
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import BOHR, HARTREE, HARTREE_PER_BOHR

_ENERGY_TOLERANCE = 1e-8 * HARTREE
"""eV. The two sides differ by rounding only: 1e-12 Hartree in a sum of thousands of terms."""

_VACUUM_TOLERANCE = 1e-6 * HARTREE
"""eV. The energy of a converged density is off by the square of what is left of the gradient."""

_FORCE_TOLERANCE = 1e-6 * HARTREE_PER_BOHR
"""eV/Å. With every response on the sum vanishes to rounding (1e-13 measured); leaving out the
grid response breaks it by 1e-5."""

_CHARGE_TOLERANCE = 1e-6
"""e. Electrons are counted analytically, or scaled to their number, so that only rounding is
left."""


_SITE_TOLERANCE = 1e-8
"""Hartree/e and Hartree/(e·Bohr). Two kinds of integrals agree to 1e-14."""

_CHECKED_SITES = 8
"""As many of the nearest sites, and of all sites at even distances in their order."""


@dataclass(frozen=True, eq=False)
class LabelResult:
    """A labelled frame and how it came about."""

    frame: Frame
    """With its labels."""

    density: WarmDensity
    """Starting point for the next frame of the same molecule."""

    rung: str
    """Rung of the rescue ladder that converged."""

    warnings: tuple[str, ...]
    """What is suspicious about the frame; empty for a good one."""

    wall_time: float
    """s."""


def label_frame(frame: Frame, method: Method, *, density: WarmDensity | None = None) -> LabelResult:
    """Compute every label of a frame with PySCF.

    Parameters
    ----------
    frame
        QM region and MM charges; none at all means gas phase. Labels it has are replaced.
    method
        The level of theory.
    density
        Where the SCF starts. It saves cycles and changes labels by no more than the thresholds of
        the method; one that does not fit is not used.

    Returns
    -------
    LabelResult
        Its frame has ``energy`` and, where the method asks for it, ``energy_vacuum`` (eV),
        ``qm_forces`` and ``mm_forces`` (eV/Å), ``mm_potential`` (V), ``dipole`` (e·Å), and by
        scheme ``charges`` (e), ``atomic_dipoles`` (e·Å) and ``potential_rms`` (V).

    Raises
    ------
    InvalidFrameError
        When the frame cannot be computed.
    SCFNotConvergedError
        When no rung of the ladder converges.
    LabelCheckError
        When the labels contradict each other.
    """
    start = time.perf_counter()
    check_frame(frame)
    molecule = build_molecule(frame, method)
    check_schemes(molecule, method.charges)
    field = mean_field(molecule, frame, method)
    solution = converge(field, density.on(field) if density is not None else None)
    labelled = _labelled(frame, solution.mean_field, method)
    _check_labels(labelled, solution.mean_field)
    return LabelResult(
        frame=labelled,
        density=WarmDensity.of(solution.mean_field),
        rung=solution.rung,
        warnings=contact_warnings(frame),
        wall_time=time.perf_counter() - start,
    )


def _labelled(frame: Frame, field: Any, method: Method) -> Frame:
    molecule, density = field.mol, total_density(field)
    atoms = atomic_charges(ElectronDensity(field, density), method.charges)
    sites = np.asarray(frame.mm_positions, dtype=np.float64).reshape(-1, 3) / BOHR
    charges = np.asarray(frame.mm_charges, dtype=np.float64)
    in_charges = site_gradients(molecule, density, sites, charges)
    return replace(
        frame,
        energy=float(field.e_tot) * HARTREE,
        # One of another method must not stay.
        energy_vacuum=vacuum_energy(frame, field, method) if method.vacuum_energy else None,
        qm_forces=qm_forces(field, in_charges),
        mm_forces=mm_forces(in_charges, charges),
        mm_potential=mm_potential(molecule, density, sites),
        charges={scheme: its.charges for scheme, its in atoms.items()},
        atomic_dipoles={s: its.dipoles for s, its in atoms.items() if its.dipoles is not None},
        potential_rms={
            s: its.potential_rms for s, its in atoms.items() if its.potential_rms is not None
        },
        dipole=dipole(molecule, density),
    )


def total_density(field: Any) -> np.ndarray:
    """Spin-summed density matrix (nao, nao) of a converged mean field."""
    density = np.asarray(field.make_rdm1())
    return density if density.ndim == 2 else density.sum(0)


def interaction_energy(field: Any) -> float:
    """E − E of the same density without the charges, eV.

    Only the one-electron and nuclear terms know of the charges, so that the difference needs no
    second Fock matrix; the terms are those that PySCF added up for the energy.
    """
    if not hasattr(field, "mm_mol"):
        return 0.0
    bare = field.undo_qmmm()
    without = np.vdot(bare.get_hcore(), total_density(field)) + bare.energy_nuc()
    return float(field.scf_summary["e1"] + field.scf_summary["nuc"] - without) * HARTREE


def _check_labels(frame: Frame, field: Any) -> None:
    labels = [frame.energy, frame.qm_forces, frame.mm_forces, frame.mm_potential, frame.dipole]
    labels += [frame.energy_vacuum, *frame.potential_rms.values()]
    labels += [*frame.charges.values(), *frame.atomic_dipoles.values()]
    if not all(np.isfinite(label).all() for label in labels if label is not None):
        raise LabelCheckError("PySCF returned NaN or infinite labels")
    _compare_interaction(frame, field)
    _compare_vacuum(frame)
    _compare_net_force(frame)
    _compare_sites(frame, field)
    for scheme, charges in frame.charges.items():
        if abs(charges.sum() - frame.total_charge) > _CHARGE_TOLERANCE:
            raise LabelCheckError(
                f"the {scheme} charges add up to {charges.sum():.6f} e; "
                f"expected {frame.total_charge}"
            )


def _compare_interaction(frame: Frame, field: Any) -> None:
    assert frame.mm_potential is not None
    expected = float(np.asarray(frame.mm_charges, dtype=np.float64) @ frame.mm_potential)
    found = interaction_energy(field)
    if abs(found - expected) > _ENERGY_TOLERANCE:
        raise LabelCheckError(
            f"the charges change the energy by {found:.9f} eV; the potential at their sites says "
            f"{expected:.9f} eV"
        )


def _compare_vacuum(frame: Frame) -> None:
    """Without the charges, the embedded density lies above the one that was found there."""
    if frame.energy_vacuum is None:
        return
    assert frame.energy is not None
    assert frame.mm_potential is not None
    undone = frame.energy - float(np.asarray(frame.mm_charges, np.float64) @ frame.mm_potential)
    if frame.energy_vacuum > undone + _VACUUM_TOLERANCE:
        raise LabelCheckError(
            f"the energy in vacuum is {frame.energy_vacuum - undone:.2e} eV above that of the "
            "embedded density without its charges: it belongs to another electronic state"
        )


def _compare_net_force(frame: Frame) -> None:
    assert frame.qm_forces is not None
    assert frame.mm_forces is not None
    net = np.abs(frame.qm_forces.sum(0) + frame.mm_forces.sum(0)).max()
    if net > _FORCE_TOLERANCE:
        raise LabelCheckError(
            f"the forces on QM and MM sites add up to {net:.2e} eV/Å; expected zero within "
            f"{_FORCE_TOLERANCE:.0e}"
        )


def _compare_sites(frame: Frame, field: Any) -> None:
    """A few sites again, with integrals of another kind.

    The forces on the atoms and on the sites come from one pass and cancel whether it is right or
    not; here both its values and its derivatives are met by a calculation that shares nothing
    with it.
    """
    if not frame.n_mm:
        return
    assert frame.mm_potential is not None
    assert frame.mm_forces is not None
    molecule = field.mol
    sites = np.asarray(frame.mm_positions, dtype=np.float64) / BOHR
    distance = np.linalg.norm(sites[:, None] - molecule.atom_coords(), axis=2).min(1)
    some = np.concatenate(
        [
            distance.argsort()[:_CHECKED_SITES],
            np.linspace(0, frame.n_mm - 1, _CHECKED_SITES, dtype=int),
        ]
    )
    potential, slopes = sharp_gaussian_sites(molecule, total_density(field), sites[some])
    forces = np.asarray(frame.mm_charges, dtype=np.float64)[some, None] * slopes
    wrong_potential = np.abs(frame.mm_potential[some] / HARTREE - potential).max()
    wrong_forces = np.abs(frame.mm_forces[some] / HARTREE_PER_BOHR - forces).max()
    if max(wrong_potential, wrong_forces) > _SITE_TOLERANCE:
        raise LabelCheckError(
            f"other integrals give another potential or force at an MM site (by "
            f"{wrong_potential:.1e} and {wrong_forces:.1e} atomic units)"
        )
