"""QM/MM labels that ORCA has computed: `name.engrad`, and beside it `name.pc` and `name.pcgrad`.

| file | |
|---|---|
| `.engrad` | energy in Hartree, gradient in Hartree/Bohr, positions in Bohr |
| `.pc` | number of charges, then q x y z in e and Å |
| `.pcgrad` | number of charges, then the gradient on each in Hartree/Bohr |
| `.inp`, `.out` | charge and multiplicity, if they are there |

Without a `.pc` file the frame is one in gas phase. ORCA's energy has no interaction of the charges
among themselves, as `energy` here, unless it was asked for (`DoEQ`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from datagen.errors import ExchangeError
from eqmm_ase.data.charge_and_spin import State, states_of
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.state_in_text import state_in_program_text
from eqmm_ase.units import BOHR, HARTREE, HARTREE_PER_BOHR

_NET_FORCE = 0.1
"""eV/Å. A coarse grid leaves 0.01; a file of another geometry or in other units more than 1."""


def read_orca(
    engrad: Path,
    *,
    total_charge: int | None = None,
    spin_multiplicity: int | None = None,
    medium: str = "",
    source: str = "",
) -> Frame:
    """A labelled frame from the files of one calculation.

    Medium and source stand in none of them and are given; charge and multiplicity are, too, unless
    the input or output of the same name lies beside them. Otherwise they are 0 and 1.

    Raises
    ------
    ExchangeError
        When a file has another form, the counts differ, or the forces on all sites do not vanish
        together, which is how files that do not belong together show.
    StateError
        When charge or multiplicity contradict those of the input, or the electrons.
    FileNotFoundError
        When there is no such file, or charges without their gradient.
    """
    energy, gradient, numbers, positions = _read_engrad(engrad)
    charges, sites = np.zeros(0), np.zeros((0, 3))
    mm_gradient = np.zeros((0, 3))
    if engrad.with_suffix(".pc").is_file():
        table = _counted_table(engrad.with_suffix(".pc"), 4)
        charges, sites = table[:, 0], table[:, 1:]
        mm_gradient = _counted_table(engrad.with_suffix(".pcgrad"), 3)
    if len(mm_gradient) != len(charges):
        raise ExchangeError(
            f"{engrad.with_suffix('.pcgrad')} has {len(mm_gradient)} gradients; "
            f"expected {len(charges)} as in {engrad.with_suffix('.pc').name}"
        )
    state = _state(engrad, numbers, total_charge, spin_multiplicity)
    frame = Frame(
        atomic_numbers=numbers,
        qm_positions=positions * BOHR,
        mm_positions=sites,
        mm_charges=charges,
        **state._asdict(),
        energy=energy * HARTREE,
        qm_forces=-gradient * HARTREE_PER_BOHR,
        mm_forces=-mm_gradient * HARTREE_PER_BOHR,
        medium=medium or ("" if len(charges) else "gas"),
        source=source,
    )
    _check_net_force(frame, engrad)
    return frame


def _state(
    engrad: Path,
    numbers: NDArray[np.int64],
    total_charge: int | None,
    spin_multiplicity: int | None,
) -> State:
    atoms = Atoms(numbers)
    for suffix in (".inp", ".out"):
        beside = engrad.with_suffix(suffix)
        if beside.is_file():
            state = state_in_program_text(beside.read_text(encoding="utf-8", errors="replace"))
            said = zip(State._fields, state, strict=True)
            atoms.info |= {key: value for key, value in said if value is not None}
    return states_of(
        [atoms],
        total_charge=total_charge,
        spin_multiplicity=spin_multiplicity,
        name=str(engrad),
        options=("--charge", "--multiplicity"),
    )[0]


def _check_net_force(frame: Frame, engrad: Path) -> None:
    assert frame.qm_forces is not None
    assert frame.mm_forces is not None
    net = np.abs(frame.qm_forces.sum(0) + frame.mm_forces.sum(0)).max()
    if net > _NET_FORCE:
        raise ExchangeError(
            f"the forces of {engrad} and its charges add up to {net:.2f} eV/Å; expected zero "
            f"within {_NET_FORCE} eV/Å: do the files belong together?"
        )


def _read_engrad(
    path: Path,
) -> tuple[float, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Energy, gradient (n, 3), atomic numbers (n,) and positions (n, 3), in ORCA's units."""
    numbers = _numbers(path, comment="#")
    n = int(numbers[0]) if len(numbers) else 0
    if n < 1 or len(numbers) != 2 + 7 * n:
        raise ExchangeError(
            f"{path} has {len(numbers)} numbers; expected {2 + 7 * n} for {n} atoms: "
            "their number, the energy, 3 of gradient and 4 of element and position each"
        )
    places = numbers[2 + 3 * n :].reshape(n, 4)
    gradient = numbers[2 : 2 + 3 * n].reshape(n, 3)
    return float(numbers[1]), gradient, places[:, 0].astype(np.int64), places[:, 1:]


def _counted_table(path: Path, columns: int) -> NDArray[np.float64]:
    """Rows of numbers below a line with their count."""
    numbers = _numbers(path, comment="#")
    if len(numbers) == 0 or len(numbers) != 1 + columns * numbers[0]:
        count = int(numbers[0]) if len(numbers) else 0
        raise ExchangeError(
            f"{path} has {max(len(numbers) - 1, 0)} numbers below its first line; "
            f"expected {columns} for each of {count} charges"
        )
    return numbers[1:].reshape(-1, columns)


def _numbers(path: Path, comment: str) -> NDArray[np.float64]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    words = [
        word
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        for word in line.partition(comment)[0].split()
    ]
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError as error:
        raise ExchangeError(f"{path} is no file of numbers ({error})") from error
    if not np.isfinite(numbers).all():
        raise ExchangeError(f"{path} holds NaN or infinite numbers; did the calculation end well?")
    return numbers
