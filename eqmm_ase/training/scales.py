"""Scales of a training set, fitted before the first step so that no weight needs tuning by system.

The network learns what is left of the energy after one constant per element, in units of the
forces, and sees the expansion coefficients of the potential in units of their own spread. Energies
and forces are fitted so that a few wrong labels cannot decide the scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.expansion import expand

LIMIT = 10.0
"""Errors over the median beyond which a frame has no more influence than at it.

Of normally distributed errors fewer than one in 10¹⁰ is as large: correct labels do not notice.
"""

_ITERATIONS = 50
_EXPANSION_FRAMES = 200
_LENGTH = 1.0
"""Å: energies change by about (RMS force) × 1 Å between the geometries of one molecule."""


class Statistics(NamedTuple):
    """Constants of a training set: energies per element, scales of energies and potentials."""

    atomic_energies: torch.Tensor
    """(n_elements,) float64, eV, in the order of the sorted atomic numbers."""
    energy_scale: float
    """eV."""
    potential_scale: torch.Tensor
    """(l_max+1,) float64, V/Å^l."""
    ion_charges: torch.Tensor
    """(n_elements,) float64, e."""


def fit_statistics(frames: Sequence[Frame], l_max: int, cutoff: float = 5.0) -> Statistics:
    """Fit atomic energies and scales to a training set, for `MultiscaleModel.set_statistics`.

    Parameters
    ----------
    frames
        Training frames; at least one with an energy or QM forces.
    l_max
        Highest order of the expansion.
    cutoff
        Å; an atom with no other one nearer is alone.

    Returns
    -------
    Statistics

    Raises
    ------
    ValueError
        When no frame has an energy or QM forces.
    """
    elements = sorted({int(z) for frame in frames for z in frame.atomic_numbers})
    forces = [np.ravel(frame.qm_forces) for frame in frames if frame.qm_forces is not None]
    energies = [frame for frame in frames if frame.energy is not None]
    if not forces and not energies:
        raise ValueError("none of the training frames has an energy or QM forces: nothing to learn")
    atomic_energies = fit_atomic_energies(energies, elements)
    if forces:
        squares = [np.sum(np.square(f, dtype=np.float64)) for f in forces]
        energy_scale = _LENGTH * limited_rms(squares, [f.size for f in forces])
    else:
        energy_scale = float(np.std(_residuals(energies, elements, atomic_energies)))
    return Statistics(
        atomic_energies=torch.from_numpy(atomic_energies),
        energy_scale=energy_scale or 1.0,
        potential_scale=fit_potential_scale(frames, l_max),
        ion_charges=torch.from_numpy(fit_ion_charges(frames, elements, cutoff)),
    )


def fit_atomic_energies(frames: Sequence[Frame], elements: Sequence[int]) -> np.ndarray:
    """Least-squares energy per atom of each element.

    E_f ≈ Σ_z n_fz ε_z. With one composition only the sum is determined; the smallest ε that give it
    are taken, so that every element carries a share.

    Parameters
    ----------
    frames
        With energies in eV.
    elements
        Atomic numbers, ascending.

    Returns
    -------
    (n_elements,) eV
    """
    if not frames:
        return np.zeros(len(elements))
    counts = _counts(frames, elements)
    energies = np.array([frame.energy for frame in frames], dtype=np.float64)
    return fit_linear(counts, energies)


def fit_potential_scale(frames: Sequence[Frame], l_max: int) -> torch.Tensor:
    """RMS of the expansion coefficients of each order over atoms and components.

    Parameters
    ----------
    frames
        Frames without charges do not count.
    l_max
        Highest order.

    Returns
    -------
    (l_max+1,) V/Å^l, ones where no frame has charges.
    """
    charged = [frame for frame in frames if frame.n_mm and np.any(frame.mm_charges)]
    if not charged:
        return torch.ones(l_max + 1, dtype=torch.float64)
    # A few hundred frames spread over the whole set fix a root mean square well enough.
    stride = -(-len(charged) // _EXPANSION_FRAMES)
    with torch.no_grad():
        blocks = [expand(FrameBatch.from_frames([frame]), l_max) for frame in charged[::stride]]
    squares = torch.cat(blocks).pow(2).mean(0)  # ((l_max+1)²,)
    return torch.stack(
        [squares[order**2 : (order + 1) ** 2].mean().sqrt() for order in range(l_max + 1)]
    )


def fit_ion_charges(frames: Sequence[Frame], elements: Sequence[int], cutoff: float) -> np.ndarray:
    """Formal charges of monatomic ions, by element: the median, rounded to whole numbers.

    Parameters
    ----------
    frames
        Those without reference charges count if they are a single atom.
    elements
        Atomic numbers, ascending.
    cutoff
        Å; an atom with no other one nearer is alone.

    Returns
    -------
    (n_elements,) e, zero where an element is never alone.
    """
    found: dict[int, list[float]] = {element: [] for element in elements}
    for frame in frames:
        if frame.n_qm == 1:
            found[int(frame.atomic_numbers[0])].append(frame.total_charge)
        elif frame.charges:
            positions = np.asarray(frame.qm_positions, dtype=np.float64)
            distances = np.linalg.norm(positions[:, None] - positions, axis=2)
            np.fill_diagonal(distances, np.inf)
            charges = np.mean([*frame.charges.values()], axis=0)
            for atom in np.flatnonzero(distances.min(axis=1) > cutoff):
                found[int(frame.atomic_numbers[atom])].append(charges[atom])
    return np.array([np.round(np.median(found[z])) if found[z] else 0.0 for z in elements])


def limited_rms(squares: ArrayLike, counts: ArrayLike) -> float:
    """Root mean square over all components, with that of each frame limited by the median frame's.

    Parameters
    ----------
    squares, counts
        (F,) sums of squares of each frame, and numbers of components; frames without any do not
        count.
    """
    known = np.asarray(counts, np.float64) > 0
    own_squares, own_counts = (np.asarray(v, np.float64)[known] for v in (squares, counts))
    if not known.any():
        return 0.0
    mean = own_squares / own_counts
    # Where most frames feel no force at all, the median says nothing.
    limit = LIMIT**2 * np.median(mean) or np.inf
    return float(np.sqrt((own_counts * np.minimum(mean, limit)).sum() / own_counts.sum()))


def fit_linear(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear least squares; residuals beyond `LIMIT` times the median count linearly (Huber).

    Parameters
    ----------
    design
        (F, n).
    values
        (F,).

    Returns
    -------
    (n,), the smallest of all solutions.
    """
    weights = np.ones(len(values))
    solution = np.zeros(design.shape[1])
    for _ in range(_ITERATIONS):
        root = np.sqrt(weights)
        solution, *_ = np.linalg.lstsq(root[:, None] * design, root * values, rcond=None)
        residual = values - design @ solution
        # About their median: one wild value displaces all residuals of the first fit.
        deviation = np.abs(residual - np.median(residual))
        limit = LIMIT * np.median(deviation)
        before, weights = weights, np.ones(len(values))
        beyond = deviation > limit if limit > 0 else np.zeros(len(values), bool)
        weights[beyond] = limit / deviation[beyond]
        if np.allclose(weights, before, rtol=1e-3, atol=0):
            break
    return solution


def _counts(frames: Sequence[Frame], elements: Sequence[int]) -> np.ndarray:
    numbers = np.asarray(elements)
    return np.stack(
        [(np.asarray(f.atomic_numbers)[:, None] == numbers).sum(0) for f in frames]
    ).astype(np.float64)


def _residuals(
    frames: Sequence[Frame], elements: Sequence[int], atomic_energies: np.ndarray
) -> np.ndarray:
    energies = np.array([frame.energy for frame in frames], dtype=np.float64)
    return np.asarray(energies - _counts(frames, elements) @ atomic_energies)
