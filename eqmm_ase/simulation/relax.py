"""Relax a structure and say how far it went.

Molecular dynamics are in `eqmm_ase.simulation.dynamics`. Both write ASE trajectories image by
image, so that an interrupt or a kill loses nothing that was written, and both report rows instead
of printing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.optimize import BFGS, FIRE, LBFGS
from numpy.typing import NDArray

from eqmm_ase.calculator.embedded_files import new_trajectory

OPTIMIZERS = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}


MAX_GAIN_PER_ATOM = 10.0
"""eV. No chemical relaxation gives more; falling onto a bare charge gives any amount."""


class RunError(ValueError):
    """Settings that no run can have, or an output file in the way."""


class RunFailedError(RuntimeError):
    """A run that started well and cannot go on."""


@dataclass(frozen=True)
class RelaxationStep:
    """One step of a geometry optimisation."""

    step: int
    energy: float  # eV
    change: float  # eV, since the start
    fmax: float  # eV/Å, the largest force on an atom
    seconds: float


@dataclass(frozen=True)
class Relaxation:
    """Result of a geometry optimisation."""

    converged: bool
    steps: int
    energy: float  # eV
    change: float  # eV, since the start
    fmax: float  # eV/Å
    rmsd: float  # Å, from the start, in place
    rmsd_superposed: float  # Å, after the best translation and rotation
    seconds: float


def relax(
    atoms: Atoms,
    *,
    optimizer: str = "bfgs",
    fmax: float = 0.01,
    steps: int = 500,
    trajectory: str | os.PathLike[str] | None = None,
    report: Callable[[RelaxationStep], None] | None = None,
) -> Relaxation:
    """Geometry optimisation of atoms that have a calculator, in place.

    Parameters
    ----------
    optimizer
        ``bfgs``, ``lbfgs`` or ``fire``.
    fmax
        Done when no atom feels more, eV/Å.
    steps
        Give up after so many.
    trajectory
        File for every image, replaced if it exists. It is whole after every step and holds the
        MM charges once (`eqmm_ase.read_structure` gives them back).
    report
        Called with every step.

    Raises
    ------
    RunError
        Unknown optimiser, or `fmax` or `steps` that cannot be.
    RunFailedError
        The structure got where it has no energy.
    """
    if optimizer not in OPTIMIZERS:
        raise RunError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    require_positive(fmax=fmax, steps=steps)
    start = atoms.get_positions()
    first = atoms.get_potential_energy()
    begun = time.monotonic()

    def row() -> RelaxationStep:
        energy = atoms.get_potential_energy()
        return RelaxationStep(
            search.nsteps, energy, energy - first, largest_force(atoms), time.monotonic() - begun
        )

    writer = None if trajectory is None else new_trajectory(trajectory, atoms)
    try:
        search = OPTIMIZERS[optimizer](atoms, logfile=None, trajectory=writer)
        search.attach(lambda: _watch(row(), len(atoms), report))
        converged = bool(search.run(fmax=fmax, steps=steps))
    # The start was fine: a structure without an energy is what the run has come to.
    except (ValueError, CalculationFailed) as error:
        raise RunFailedError(
            f"the relaxation failed after step {search.nsteps}: {error}"
        ) from error
    finally:
        if writer is not None:
            writer.close()
    last = row()
    return Relaxation(
        converged=converged,
        steps=last.step,
        energy=last.energy,
        change=last.change,
        fmax=last.fmax,
        rmsd=rmsd(start, atoms.positions),
        rmsd_superposed=rmsd(start, atoms.positions, superpose=True),
        seconds=last.seconds,
    )


def _watch(
    row: RelaxationStep, n_atoms: int, report: Callable[[RelaxationStep], None] | None
) -> None:
    if report is not None:
        report(row)
    if not row.change > -MAX_GAIN_PER_ATOM * n_atoms:
        raise RunFailedError(
            f"the relaxation has left everything the model knows: at step {row.step} the energy "
            f"is {-row.change:.3g} eV below the start (bare charges do this to unprotected atoms)"
        )


def largest_force(atoms: Atoms) -> float:
    """Largest force on any atom, eV/Å."""
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def rmsd(a: NDArray[np.float64], b: NDArray[np.float64], superpose: bool = False) -> float:
    """Root-mean-square distance of atoms, Å.

    Parameters
    ----------
    a, b
        (n, 3), Å, in the same order.
    superpose
        Move and turn one onto the other first (Kabsch, Acta Cryst. A32, 922 (1976)). In fixed
        charges the place matters, in vacuum it does not.
    """
    if superpose:
        from scipy.spatial.transform import Rotation  # half a second that only this needs

        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        turn, _ = Rotation.align_vectors(b, a)
        a = turn.apply(a)
    return float(np.sqrt(((a - b) ** 2).sum(axis=1).mean()))


def require_positive(**values: float) -> None:
    """Raise `RunError` for the first value that is not a positive finite number."""
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise RunError(f"{name} must be positive, got {value!r}")


def refuse_existing(path: str | os.PathLike[str], hint: str) -> None:
    """Raise `RunError` rather than write over an earlier run's result."""
    if Path(path).exists():
        raise RunError(f"{path} exists already; {hint}")
