"""PySCF molecule of a frame, and what must be right before an SCF is worth starting."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase.data import atomic_numbers as number_of
from ase.data import chemical_symbols

from datagen.errors import InvalidFrameError
from datagen.labels.method import Method
from datagen.molecules.valences import lacking_hydrogens, named_atoms
from eqmm_ase.data.checks import MIN_DISTANCE
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import BOHR

_CLEARLY_MISSING = 3
"""Open valences that neither charge nor spin explain; two are those of a bond that breaks."""


def check_frame(frame: Frame) -> None:
    """Refuse a frame that cannot be computed.

    Raises
    ------
    InvalidFrameError
        Naming the array, what was found and what was expected: wrong shapes, NaN, unknown
        elements, an electron count that the spin multiplicity contradicts, a charge on a nucleus,
        a region without its hydrogens.
    """
    _check_shapes(frame)
    _check_elements(frame)
    _check_electrons(frame)
    _check_contacts(frame)
    _check_hydrogens(frame)


def build_molecule(frame: Frame, method: Method) -> Any:
    """PySCF molecule of the QM region, built in Bohr so that PySCF's own factor has no say.

    Parameters
    ----------
    frame
        A frame that `check_frame` accepts.
    method
        Its basis set is given to every element, with the effective core potentials that belong
        to it: PySCF alone would leave them out and silently treat the core as valence electrons.

    Returns
    -------
    pyscf.gto.Mole

    Raises
    ------
    InvalidFrameError
        When the basis set has no functions for an element.
    """
    from pyscf import gto
    from pyscf.lib.exceptions import BasisNotFoundError

    symbols = [chemical_symbols[z] for z in frame.atomic_numbers]
    positions = np.asarray(frame.qm_positions, dtype=np.float64) / BOHR
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*basis-set-exchange", UserWarning)  # an advice
            return gto.M(
                atom=list(zip(symbols, positions, strict=True)),
                unit="Bohr",
                basis=method.basis,
                ecp=_core_potentials(method.basis, sorted(set(symbols))),
                charge=int(frame.total_charge),
                spin=int(frame.spin_multiplicity) - 1,
                verbose=0,
            )
    except BasisNotFoundError as error:
        elements = ", ".join(sorted(set(symbols)))
        raise InvalidFrameError(
            f"the basis set {method.basis!r} does not cover all of {elements}"
        ) from error


def _core_potentials(basis: str, symbols: list[str]) -> dict[str, str]:
    from pyscf.gto.mole import bse_predefined_ecp

    name, elements = bse_predefined_ecp(basis, symbols)
    covered = {chemical_symbols[e] if isinstance(e, int) else e for e in elements or ()}
    return {symbol: name for symbol in symbols if symbol in covered}


def _check_shapes(frame: Frame) -> None:
    n_qm, n_mm = np.size(frame.atomic_numbers), np.size(frame.mm_charges)
    if n_qm == 0:
        raise InvalidFrameError("the frame has no QM atoms; expected at least one")
    expected = {
        "atomic_numbers": (n_qm,),
        "qm_positions": (n_qm, 3),
        "mm_positions": (n_mm, 3),
        "mm_charges": (n_mm,),
    }
    for name, shape in expected.items():
        array = np.asarray(getattr(frame, name))
        if array.shape != shape:
            raise InvalidFrameError(f"{name} has shape {array.shape}; expected {shape}")
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise InvalidFrameError(f"{name} has {bad} NaN or infinite values; expected numbers")


def _check_elements(frame: Frame) -> None:
    known = range(1, max(number_of.values()) + 1)
    strange = sorted({int(z) for z in frame.atomic_numbers} - set(known))
    if strange:
        raise InvalidFrameError(f"atomic_numbers holds {strange[0]}; expected 1 to {known[-1]}")


def _check_electrons(frame: Frame) -> None:
    electrons = int(np.sum(frame.atomic_numbers)) - int(frame.total_charge)
    unpaired = int(frame.spin_multiplicity) - 1
    if unpaired < 0:
        raise InvalidFrameError(f"spin_multiplicity is {unpaired + 1}; expected 1 or more")
    if electrons < unpaired or electrons < 1:
        raise InvalidFrameError(
            f"total_charge {frame.total_charge} leaves {electrons} electrons, too few for "
            f"spin_multiplicity {frame.spin_multiplicity}"
        )
    if (electrons - unpaired) % 2:
        raise InvalidFrameError(
            f"{electrons} electrons (total_charge {frame.total_charge}) cannot have "
            f"spin_multiplicity {frame.spin_multiplicity}; expected "
            f"{'an even' if electrons % 2 else 'an odd'} multiplicity"
        )


def _check_hydrogens(frame: Frame) -> None:
    """Only what is beyond doubt: a frame may be one of a reaction, or of a bare cluster."""
    numbers = np.asarray(frame.atomic_numbers)
    if len(np.unique(numbers)) == 1:
        return
    atoms, missing = lacking_hydrogens(
        numbers,
        np.asarray(frame.qm_positions, dtype=np.float64),
        total_charge=int(frame.total_charge),
        spin_multiplicity=int(frame.spin_multiplicity),
    )
    if missing >= _CLEARLY_MISSING:
        raise InvalidFrameError(
            f"the QM region lacks hydrogen atoms: {named_atoms(numbers, atoms)} have open valences "
            f"at total charge {frame.total_charge:+d} and spin multiplicity "
            f"{frame.spin_multiplicity}; expected all hydrogens"
        )


def _check_contacts(frame: Frame) -> None:
    positions = np.asarray(frame.qm_positions, dtype=np.float64)
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    apart[np.diag_indices_from(apart)] = np.inf
    if apart.min() < MIN_DISTANCE:
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        raise InvalidFrameError(
            f"QM atoms {i} and {j} are {apart.min():.3f} Å apart; "
            f"expected at least {MIN_DISTANCE} Å"
        )
    if frame.n_mm == 0:
        return
    distances = _distances(frame)
    if distances.min() < MIN_DISTANCE:
        atom, site = np.unravel_index(distances.argmin(), distances.shape)
        raise InvalidFrameError(
            f"MM charge {site} lies {distances.min():.3f} Å from the nucleus of QM atom {atom}; "
            f"expected at least {MIN_DISTANCE} Å"
        )


def _distances(frame: Frame) -> np.ndarray:
    """Distances between QM atoms and MM sites, (n_qm, n_mm), Å."""
    qm = np.asarray(frame.qm_positions, dtype=np.float64)
    mm = np.asarray(frame.mm_positions, dtype=np.float64)
    return np.linalg.norm(qm[:, None] - mm[None], axis=-1)
