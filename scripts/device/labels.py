"""Labels of a GPU beside the CPU's, each from a start of its own, and how many an hour."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.build import molecule

from datagen.labels.backend import Backend
from datagen.labels.cross_check import TOLERANCES
from datagen.labels.devices import backend_of, failing_with
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame
from scripts.benchmarks.benchmark_frames import frame_in_water
from scripts.device.figures import Figures, largest, refuse_beyond

FRAMES = 20
UNITS: Mapping[str, str] = {
    "energy": "eV",
    "energy_vacuum": "eV",
    "qm_forces": "eV/Å",
    "mm_forces": "eV/Å",
    "mm_potential": "V",
    "dipole": "e·Å",
    "charges": "e",
}


def chloride_and_chloromethane() -> Atoms:
    """Cl⁻ behind the carbon atom of CH3Cl, 3.2 Å from it."""
    atoms = molecule("CH3Cl")
    carbon, chlorine = (atoms.positions[atoms.symbols == element][0] for element in ("C", "Cl"))
    away = (carbon - chlorine) / np.linalg.norm(carbon - chlorine)
    return atoms + Atoms("Cl", [carbon + 3.2 * away])


MOLECULES: Mapping[str, tuple[Callable[[], Atoms], int, dict[str, int]]] = {
    "water": (lambda: molecule("H2O"), 300, {}),
    "methyl radical": (lambda: molecule("CH3"), 300, {"spin_multiplicity": 2}),
    "chloride and chloromethane": (chloride_and_chloromethane, 300, {"total_charge": -1}),
    "acetamide in 3000 charges": (lambda: molecule("CH3CONH2"), 3000, {}),
}
"""Atoms, number of charges, charge and multiplicity."""


def frames_of(name: str, number: int = FRAMES) -> list[Frame]:
    """A molecule of `MOLECULES` in water, without labels."""
    make, n_charges, region = MOLECULES[name]
    atoms = make()
    return [
        frame_in_water(atoms.numbers, atoms.positions, n_charges, seed, **region)
        for seed in range(number)
    ]


def figures(name: str) -> Figures:
    """Deviations and labels an hour of a molecule, by the default method."""
    return compared(frames_of(name), Method(vacuum_energy=True))


def compared(frames: Sequence[Frame], method: Method) -> Figures:
    """Largest deviation of every label, and labels an hour on either.

    Raises
    ------
    TooFarError
        A label differs by more than in a campaign (`datagen.labels.cross_check`).
    """
    backends = [backend_of(device) for device in ("gpu", "cpu")]
    with failing_with("gpu"):
        found, seconds = zip(*(_timed(frames, method, own) for own in backends), strict=True)
    deviations: dict[str, float] = {}
    for pair in zip(*found, strict=True):
        for name, difference in _differences(*pair).items():
            deviations[name] = max(difference, deviations.get(name, 0.0))
    limits = {_titled(name): tolerance for name, tolerance in TOLERANCES.items()}
    refuse_beyond(deviations, {name: limits[name] for name in deviations})
    hourly = [3600.0 / own for own in seconds]
    counted: Figures = {"frames": float(len(frames))}
    return counted | deviations | dict(zip(RATES, hourly, strict=True))


RATES = ("labels an hour, GPU", "labels an hour, one core")


def _timed(frames: Sequence[Frame], method: Method, backend: Backend) -> tuple[list[Frame], float]:
    """Labelled frames, and the median of their seconds: the first ones compile and load."""
    labelled, seconds = [], []
    for frame in frames:
        begun = time.perf_counter()
        labelled.append(label_frame(frame, method, backend=backend).frame)
        seconds.append(time.perf_counter() - begun)
    return labelled, float(np.median(seconds))


def _differences(found: Frame, expected: Frame) -> dict[str, float]:
    """Largest difference of each label that the CPU has."""
    differences = {
        _titled(name): largest(getattr(found, name), getattr(expected, name))
        for name in TOLERANCES
        if name != "charges" and getattr(expected, name) is not None
    }
    own = [largest(found.charges[name], value) for name, value in expected.charges.items()]
    return differences | {_titled("charges"): max(own, default=0.0)}


def _titled(name: str) -> str:
    return f"{name}, {UNITS[name]}"
