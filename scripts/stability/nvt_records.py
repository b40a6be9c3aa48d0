"""What is kept of a run of `nvt_stability.py`, and when it is stopped for having exploded."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from eqmm_ase import EqMM
from eqmm_ase.atomic_write import write_text
from eqmm_ase.network.committee import Committee, members_of
from eqmm_ase.network.model_file import load_model
from eqmm_ase.units import KCAL_PER_MOL
from scripts.flagship.flagship_data import COORDINATE
from scripts.stability.nvt_start import CARBON, CHLORINES, HYDROGENS, TOTAL_CHARGE, FloatArray

SHORTEST_CH, LONGEST_CH = 0.8, 1.6
"""Å. At 350 K a C–H bond of 1.09 Å has a standard deviation of 0.03 Å."""
LARGEST_FORCE = 400.0 * KCAL_PER_MOL
"""eV/Å, on a QM atom; in the training data none feels more than 153 kcal/mol/Å."""
HOTTEST = 3.0
"""Times the thermostat's temperature, as the mean of a picosecond; thrice that in any step."""


class ExplodedError(RuntimeError):
    """The run has got where no molecule of this temperature can be."""


@dataclass(frozen=True)
class Record:
    """One moment of a run; extremes are of all steps since the record before."""

    step: int
    time: float  # ps
    energy: float  # eV, QM and QM–MM, by what drives the atoms
    temperature: float  # K, of the QM atoms
    temperature_all: float  # K, of all that move
    zeta: float  # Å
    separation: float  # Å, from C to the farther Cl
    contact: float  # Å, closest QM–MM distance
    ch_min: float  # Å
    ch_max: float  # Å
    force_max: float  # eV/Å, on a QM atom
    uncertainty_energy: float | None  # eV; None for a single model
    uncertainty_force: float | None  # eV/Å, the largest of a QM atom
    seconds: float  # of the clock, since the record before
    cpu_seconds: float


class Records:
    """Records as lines of JSON in a file that survives a kill.

    Parameters
    ----------
    path
        Lines beyond `last_step`, written after the state to go on from, are dropped.
    """

    def __init__(self, path: Path, last_step: int = -1) -> None:
        kept = [record for record in read_records(path) if record.step <= last_step]
        write_text(path, "".join(_line(record) for record in kept))
        self._file = path.open("a", encoding="utf-8")
        self.last = kept[-1].step if kept else -1

    def add(self, record: Record) -> None:
        """Write a record; one that is there already is left alone."""
        if record.step > self.last:
            self._file.write(_line(record))
            self._file.flush()
            self.last = record.step

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _line(record: Record) -> str:
    return json.dumps(asdict(record)) + "\n"


def read_records(path: Path) -> list[Record]:
    """All whole lines of a file; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [Record(**json.loads(line)) for line in lines if line.endswith("}\n")]


class Driver:
    """The calculator that moves the atoms, and the committee that judges where they get.

    Parameters
    ----------
    path
        Model file.
    member
        Of a committee, the one whose forces act, counted from 0. None: those of the mean.
    dtype
        As `EqMM`.

    Raises
    ------
    ValueError
        There is no such member.
    """

    def __init__(self, path: str | Path, member: int | None = None, dtype: str = "float32") -> None:
        self.whole = EqMM(path, total_charge=TOTAL_CHARGE, dtype=dtype)
        self.calculator = self.whole
        self._judges = self.whole.n_members > 1
        if member is not None:
            source: Any = load_model(path)[0]
            if not (isinstance(source, Committee) and 0 <= member < len(source.members)):
                raise ValueError(
                    f"{path} has no member {member}; it has {len(members_of(source))}, "
                    "counted from 0"
                )
            self.calculator = EqMM(source.members[member], total_charge=TOTAL_CHARGE, dtype=dtype)

    def embed(self, charges: FloatArray, positions: FloatArray) -> None:
        """MM charges (n,), e, and their positions (n, 3), Å."""
        self.calculator.embed(charges, positions)
        if self.whole is not self.calculator:
            self.whole.embed(charges, positions)

    def uncertainty(self, atoms: Atoms, sites: FloatArray) -> tuple[float | None, float | None]:
        """Of the energy, eV, and the largest of a force on a QM atom, eV/Å."""
        if not self._judges:
            return None, None
        if self.whole is not self.calculator:
            self.whole.point_charges.set_positions(sites)
        self.whole.get_potential_energy(atoms)
        found = self.whole.uncertainty
        return found.energy, float(found.forces.max())


class Monitor:
    """Looks at every step, refuses explosions and makes records.

    Parameters
    ----------
    driver
        What moves the atoms.
    temperature
        K, of the thermostat.
    timestep, every
        fs, and steps between records.
    """

    def __init__(self, driver: Driver, temperature: float, timestep: float, every: int) -> None:
        self._driver = driver
        self._temperature, self._timestep = temperature, timestep
        self._recent: deque[tuple[float, float]] = deque(
            maxlen=max(1, round(1000 / (timestep * every)))
        )
        self._begin()

    def _begin(self) -> None:
        self._shortest, self._longest, self._force = np.inf, 0.0, 0.0
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def look(self, positions: FloatArray, forces: FloatArray) -> None:
        """Check one step of the QM atoms: positions (6, 3), Å, and forces (6, 3), eV/Å.

        Raises
        ------
        ExplodedError
        """
        bonds = np.linalg.norm(positions[list(HYDROGENS)] - positions[CARBON], axis=1)
        force = float(np.sqrt((forces**2).sum(axis=1).max()))
        if not force <= LARGEST_FORCE:
            raise ExplodedError(
                f"the run exploded: a QM atom feels {force / KCAL_PER_MOL:.3g} kcal/mol/Å; more "
                f"than {LARGEST_FORCE / KCAL_PER_MOL:.0f} is not physical"
            )
        shortest, longest = float(bonds.min()), float(bonds.max())
        if not (shortest >= SHORTEST_CH and longest <= LONGEST_CH):
            worst = shortest if shortest < SHORTEST_CH else longest
            raise ExplodedError(
                f"the run exploded: a C–H bond is {worst:.3g} Å long; expected "
                f"{SHORTEST_CH} to {LONGEST_CH} Å"
            )
        self._shortest, self._longest = min(self._shortest, shortest), max(self._longest, longest)
        self._force = max(self._force, force)

    def record(
        self, step: int, atoms: Atoms, sites: FloatArray, temperature: float, of_all: float
    ) -> Record:
        """Make the record of a step that was looked at.

        Parameters
        ----------
        atoms, sites
            QM atoms, and positions of the MM charges (n, 3), Å.
        temperature, of_all
            K, of the QM atoms and of everything that moves.

        Raises
        ------
        ExplodedError
        """
        self._recent.append((temperature, of_all))
        limit = HOTTEST * self._temperature
        # By chance six atoms have three times the temperature in one step of 10⁴: a picosecond is
        # averaged, and a single step may have three times more.
        full = len(self._recent) == self._recent.maxlen
        mean = np.mean(self._recent, axis=0)
        if not max(temperature, of_all) <= 3 * limit or (full and not mean.max() <= limit):
            raise ExplodedError(
                f"the run exploded: at step {step} the QM atoms have {temperature:.0f} K "
                f"({mean[0]:.0f} K on average), with a thermostat of {self._temperature:g} K"
            )
        carbon = atoms.positions[CARBON]
        contacts = np.linalg.norm(atoms.positions[:, None] - sites, axis=2)
        energy = float(self._driver.calculator.get_potential_energy(atoms))
        unsure = self._driver.uncertainty(atoms, sites)
        record = Record(
            step,
            step * self._timestep / 1000,
            energy,
            temperature,
            of_all,
            COORDINATE.value(atoms.positions),
            float(np.linalg.norm(atoms.positions[list(CHLORINES)] - carbon, axis=1).max()),
            float(contacts.min()),
            self._shortest,
            self._longest,
            self._force,
            *unsure,
            time.perf_counter() - self._clock,
            time.process_time() - self._cpu,
        )
        self._begin()
        return record


def kinetic_temperature(kinetic: float, freedom: int) -> float:
    """K, from a kinetic energy in eV and the number of degrees of freedom."""
    return float(2.0 * kinetic / (freedom * units.kB))
