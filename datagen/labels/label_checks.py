"""Consistency checks of a label: what holds between energy, forces, potentials and charges."""

from __future__ import annotations

from typing import Any

import numpy as np

from datagen.errors import LabelCheckError
from datagen.labels.accelerated.charge_integrals import sharp_gaussian_sites
from datagen.labels.backend import Backend, mm_sites, total_density
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import HARTREE, HARTREE_PER_BOHR

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


def check_labels(backend: Backend, frame: Frame, field: Any) -> None:
    """Compare labels with each other and with a second calculation.

    Parameters
    ----------
    backend
        Which made the labels.
    frame
        With its labels.
    field
        The converged mean field that they come from.

    Raises
    ------
    LabelCheckError
        Naming the labels that contradict each other: energy and potential, forces and their sum,
        charges and the total charge; or that are no numbers.
    """
    labels = [frame.energy, frame.qm_forces, frame.mm_forces, frame.mm_potential, frame.dipole]
    labels += [frame.energy_vacuum, *frame.potential_rms.values()]
    labels += [*frame.charges.values(), *frame.atomic_dipoles.values()]
    if not all(np.isfinite(label).all() for label in labels if label is not None):
        raise LabelCheckError("PySCF returned NaN or infinite labels")
    _compare_interaction(backend, frame, field)
    _compare_vacuum(frame)
    _compare_net_force(frame)
    _compare_sites(frame, field)
    for scheme, charges in frame.charges.items():
        if abs(charges.sum() - frame.total_charge) > _CHARGE_TOLERANCE:
            raise LabelCheckError(
                f"the {scheme} charges add up to {charges.sum():.6f} e; "
                f"expected {frame.total_charge}"
            )


def _compare_interaction(backend: Backend, frame: Frame, field: Any) -> None:
    assert frame.mm_potential is not None
    expected = float(np.asarray(frame.mm_charges, dtype=np.float64) @ frame.mm_potential)
    found = backend.interaction_energy(field) * HARTREE
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
    sites, charges = mm_sites(frame)
    distance = np.linalg.norm(sites[:, None] - molecule.atom_coords(), axis=2).min(1)
    some = np.concatenate(
        [
            distance.argsort()[:_CHECKED_SITES],
            np.linspace(0, frame.n_mm - 1, _CHECKED_SITES, dtype=int),
        ]
    )
    potential, slopes = sharp_gaussian_sites(molecule, total_density(field), sites[some])
    forces = charges[some, None] * slopes
    wrong_potential = np.abs(frame.mm_potential[some] / HARTREE - potential).max()
    wrong_forces = np.abs(frame.mm_forces[some] / HARTREE_PER_BOHR - forces).max()
    if max(wrong_potential, wrong_forces) > _SITE_TOLERANCE:
        raise LabelCheckError(
            f"other integrals give another potential or force at an MM site (by "
            f"{wrong_potential:.1e} and {wrong_forces:.1e} atomic units)"
        )
