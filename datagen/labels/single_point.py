"""QM/MM single point of a frame: one frame in, one labelled frame out.

`label_frame` is the whole calculation: check the frame, converge the density, take the
derivatives, check the label against itself. A label that fails a check is never returned.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from datagen.errors import SCFNotConvergedError
from datagen.labels.accelerated.accelerated_pyscf import ACCELERATED
from datagen.labels.backend import Backend, mm_sites, total_density
from datagen.labels.charges import ElectronDensity, atomic_charges, check_schemes, dipole
from datagen.labels.label_checks import check_labels
from datagen.labels.method import Method
from datagen.labels.molecule import build_molecule, check_frame
from datagen.labels.overpolarisation import contact_warnings
from datagen.labels.scf import converge
from datagen.labels.warm_start import WarmDensity
from eqmm_ase.data.frame import Frame
from eqmm_ase.settings_help import with_help
from eqmm_ase.units import HARTREE, HARTREE_PER_BOHR


@with_help
@dataclass(frozen=True, eq=False)
class LabelResult:
    """Labelled frame with SCF diagnostics."""

    frame: Frame
    """The frame with its labels."""

    density: WarmDensity
    """Converged density: initial guess for the next frame of the same molecule."""

    scf_stage: str
    """SCF fallback stage that converged: `warm`, `minao`, `atom`, `level_shift` or `newton`."""

    warnings: tuple[str, ...]
    """What is suspicious about the frame; empty for a good one."""

    wall_time: float
    """Duration of the calculation, s."""


def label_frame(
    frame: Frame,
    method: Method,
    *,
    density: WarmDensity | None = None,
    backend: Backend = ACCELERATED,
) -> LabelResult:
    """Compute every label of a frame with PySCF.

    Parameters
    ----------
    frame
        QM region and MM charges; none at all means gas phase. Labels it has are replaced.
    method
        The level of theory.
    density
        Initial-guess density, as from an earlier `LabelResult`; ignored if it belongs to another
        molecule or basis. It saves SCF cycles and changes labels by no more than the thresholds of
        the method.
    backend
        Implementation of mean fields and derivatives; by default PySCF with EqMM's faster kernels.

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
        When no SCF fallback stage converges.
    LabelCheckError
        When the labels contradict each other.
    """
    start = time.perf_counter()
    check_frame(frame)
    molecule = build_molecule(frame, method)
    check_schemes(molecule, method.charges)
    field = backend.mean_field(molecule, frame, method)
    solution = converge(backend, field, density.on(field) if density is not None else None)
    labelled = _labelled(backend, frame, solution.mean_field, method)
    check_labels(backend, labelled, solution.mean_field)
    return LabelResult(
        frame=labelled,
        density=WarmDensity.of(solution.mean_field),
        scf_stage=solution.stage,
        warnings=contact_warnings(frame),
        wall_time=time.perf_counter() - start,
    )


def _labelled(backend: Backend, frame: Frame, field: Any, method: Method) -> Frame:
    density, (sites, charges) = total_density(field), mm_sites(frame)
    atoms = atomic_charges(ElectronDensity(field, density), method.charges)
    gradients = backend.gradients(field, sites, charges)
    return replace(
        frame,
        energy=float(field.e_tot) * HARTREE,
        # One of another method must not stay.
        energy_vacuum=_vacuum_energy(backend, frame, field, method),
        qm_forces=-gradients.qm * HARTREE_PER_BOHR,
        mm_forces=-gradients.mm * HARTREE_PER_BOHR,
        mm_potential=backend.site_potential(field, sites) * HARTREE,
        charges={scheme: its.charges for scheme, its in atoms.items()},
        atomic_dipoles={s: its.dipoles for s, its in atoms.items() if its.dipoles is not None},
        potential_rms={
            s: its.potential_rms for s, its in atoms.items() if its.potential_rms is not None
        },
        dipole=dipole(field.mol, density),
    )


def _vacuum_energy(backend: Backend, frame: Frame, field: Any, method: Method) -> float | None:
    """Energy at the same geometry without the charges, eV; None where the method does not ask.

    It starts from the embedded density, so that both belong to the same electronic state.
    """
    if not method.vacuum_energy:
        return None
    if frame.n_mm == 0:
        return float(field.e_tot) * HARTREE
    alone = backend.without_charges(field, frame, method)
    try:
        solution = converge(backend, alone, field.make_rdm1())
    except SCFNotConvergedError as error:
        raise SCFNotConvergedError(f"without the charges, {error}") from error
    return float(solution.mean_field.e_tot) * HARTREE
