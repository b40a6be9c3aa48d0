"""Geometries along a reaction coordinate, from biased molecular dynamics with GFN2-xTB.

A harmonic bias k/2 (ζ − ζ₀)² follows a centre ζ₀ that sweeps its range at constant speed, there
and back by turns. What comes out are hot, connected geometries from one end to the other: not a
free-energy calculation, but molecules as they look on the way. Each sweep starts from fresh
velocities and is a trajectory of its own.

Source of GFN2-xTB: Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.mixing import SumCalculator
from ase.md.langevin import Langevin

from eqmm_ase.data.checks import check_number
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.settings_help import with_help
from eqmm_ase.simulation.coordinate import Coordinate
from eqmm_ase.simulation.ensembles import draw_momenta

STIFFNESS = 6.0
"""eV/Å², of the bias: ζ stays within 0.07 Å of its centre at 300 K."""

TIME_STEP = 1.0
"""fs."""

_FRICTION = 0.01  # 1/fs; each sweep forgets its start within a picosecond
_SETTLING = 500  # steps at the first centre before the first geometry


class PathError(ValueError):
    """A setting of the path makes no sense, or GFN2-xTB failed on the way; one sentence."""


@with_help
@dataclass(frozen=True)
class PathSettings:
    """How a coordinate is swept."""

    start: float
    """Å, one end of the range of ζ₀."""

    stop: float
    """Å, the other end."""

    sweeps: int = 8
    """Trajectories; every second one runs backwards."""

    frames: int = 50
    """Geometries in each sweep."""

    interval: float = 0.1
    """Between geometries, ps."""

    temperatures: tuple[float, ...] = (300.0,)
    """K. Given several, the sweeps take them in turn."""

    solvation: str | None = None
    """Solvent of the implicit ALPB model (water, methanol …), which widens the range of angles;
    None: vacuum."""

    seed: int = 1
    """Equal seeds give equal geometries."""

    def __post_init__(self) -> None:
        if self.start == self.stop:
            raise PathError(f"the range of the coordinate begins and ends at {self.start:g} Å")
        check_number("sweeps", self.sweeps, least=1, error=PathError)
        check_number("frames", self.frames, least=1, error=PathError)
        shortest = TIME_STEP / 1000
        check_number("interval", self.interval, least=shortest, unit="ps", error=PathError)
        if not self.temperatures:
            raise PathError("temperatures is empty; expected at least one")
        for temperature in self.temperatures:
            check_number("temperature", temperature, above=0.0, unit="K", error=PathError)


class CoordinateBias(Calculator):
    """The bias k/2 (ζ − ζ₀)² as an ASE calculator; ``centre`` may be moved between steps.

    Parameters
    ----------
    coordinate
        ζ.
    centre
        ζ₀, Å.
    stiffness
        k, eV/Å².
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, coordinate: Coordinate, centre: float, stiffness: float = STIFFNESS) -> None:
        super().__init__()
        self.coordinate, self.stiffness = coordinate, stiffness
        self._centre = centre

    @property
    def centre(self) -> float:
        """ζ₀, Å."""
        return self._centre

    @centre.setter
    def centre(self, value: float) -> None:
        self._centre = value
        self.reset()  # or ASE would answer from its cache

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Called by ASE."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        energy, forces = self.coordinate.restraint(
            self.atoms.positions, self.centre, self.stiffness
        )
        self.results = {"energy": energy, "forces": forces}


def sweep_path(
    atoms: Atoms,
    coordinate: Coordinate,
    settings: PathSettings,
    *,
    total_charge: int = 0,
    spin_multiplicity: int = 1,
    on_geometry: Callable[[], None] = lambda: None,
) -> list[Atoms]:
    """Geometries along a coordinate.

    Parameters
    ----------
    atoms
        Where the first sweep starts; it is pulled to the end of the range that is nearer.
    coordinate
        What is swept.
    settings
        How.
    total_charge, spin_multiplicity
        Of the molecule.
    on_geometry
        Called after each geometry.

    Returns
    -------
    list of ase.Atoms
        Centred, with GFN2-xTB charges as initial charges and in ``info``: ``total_charge``,
        ``spin_multiplicity``, ``source`` (the sweep, ``sweep-3``), ``coordinate`` (ζ, Å).

    Raises
    ------
    PathError, CoordinateError
    """
    coordinate.check_atoms(len(atoms))
    engine = xtb_calculator(total_charge, spin_multiplicity, settings.solvation)
    current = atoms.copy()
    ends = sorted(
        (settings.start, settings.stop),
        key=lambda end: abs(end - coordinate.value(atoms.positions)),
    )
    geometries = []
    for sweep in range(settings.sweeps):
        begin, end = ends if sweep % 2 == 0 else ends[::-1]
        temperature = settings.temperatures[sweep % len(settings.temperatures)]
        random = np.random.default_rng([settings.seed, sweep])
        for geometry in _sweep(
            current, coordinate, (begin, end), temperature, settings, engine, random
        ):
            geometry.info = {
                "total_charge": total_charge,
                "spin_multiplicity": spin_multiplicity,
                "source": f"sweep-{sweep}",
                "coordinate": coordinate.value(geometry.positions),
            }
            geometries.append(geometry)
            on_geometry()
        current = geometries[-1].copy()
    return geometries


def xtb_calculator(
    total_charge: int, spin_multiplicity: int, solvation: str | None = None
) -> Calculator:
    """GFN2-xTB of the package tblite as an ASE calculator."""
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise PathError(
            "GFN2-xTB needs the package tblite: pip install 'eqmm[sampling]' brings it"
        ) from error
    return TBLite(
        method="GFN2-xTB",
        charge=total_charge,
        multiplicity=spin_multiplicity,
        solvation=("alpb", solvation) if solvation else None,
        verbosity=0,
    )


def _sweep(
    start: Atoms,
    coordinate: Coordinate,
    ends: tuple[float, float],
    temperature: float,
    settings: PathSettings,
    engine: Calculator,
    random: np.random.Generator,
) -> Iterator[Atoms]:
    atoms = Atoms(start.numbers, start.positions, masses=start.arrays.get("masses"))
    bias = CoordinateBias(coordinate, coordinate.value(atoms.positions))
    atoms.calc = SumCalculator([engine, bias])
    draw_momenta(atoms, temperature, random)
    dynamics = Langevin(
        atoms,
        TIME_STEP * units.fs,
        temperature_K=temperature,
        friction=_FRICTION / units.fs,
        fixcm=False,
        rng=random,
    )
    _pull(dynamics, bias, ends[0], _SETTLING)
    steps = max(1, round(1000 * settings.interval / TIME_STEP))
    for centre in np.linspace(*ends, settings.frames):
        _pull(dynamics, bias, float(centre), steps)
        yield _with_charges(atoms, engine)


def _pull(dynamics: Any, bias: CoordinateBias, centre: float, steps: int) -> None:
    """Move the centre of the bias evenly while the molecule moves."""
    for value in np.linspace(bias.centre, centre, steps + 1)[1:]:
        bias.centre = float(value)
        try:
            dynamics.run(1)
        except RuntimeError as error:
            raise PathError(
                f"GFN2-xTB failed at ζ = {value:.2f} Å: {short_reason(error)}"
            ) from error


def _with_charges(atoms: Atoms, engine: Calculator) -> Atoms:
    centred = atoms.positions - atoms.positions.mean(axis=0)
    copy = Atoms(atoms.numbers, centred, masses=atoms.arrays.get("masses"))
    copy.set_initial_charges(engine.get_property("charges", atoms))
    return copy
