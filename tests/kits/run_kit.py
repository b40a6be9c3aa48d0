"""The runs that write trajectories of a calculator, in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.mixing import SumCalculator

from eqmm_ase.simulation.dynamics import run_md
from eqmm_ase.simulation.ensembles import MDSettings
from eqmm_ase.simulation.lennard_jones import HeldLennardJones
from eqmm_ase.simulation.relax import relax


def relaxed(atoms: Atoms, path: Path) -> None:
    """Two steps of relaxation."""
    relax(atoms, steps=2, trajectory=path)


def moved(atoms: Atoms, path: Path) -> None:
    """Four steps of dynamics, with three images."""
    run_md(atoms, MDSettings(), steps=4, trajectory=path, interval=2)


def summed(atoms: Atoms, path: Path) -> None:
    """Relaxation by a sum of two calculators."""
    far = np.ones(6), np.zeros(6), [[9.0, 0, 0]], [1.0], [1.0]
    atoms.calc = SumCalculator([HeldLennardJones(*far), atoms.calc])
    relaxed(atoms, path)


RUNS = [relaxed, moved, summed]
