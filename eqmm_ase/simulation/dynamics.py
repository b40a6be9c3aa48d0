"""Molecular dynamics of the QM atoms in any of `ENSEMBLES`, resumed exactly after a kill.

Every image in the trajectory carries what is needed to go on from it (``atoms.info["md"]``: step,
state of the random numbers, energy given to the thermostat), so there is no second file that could
disagree with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.io.trajectory import Trajectory
from ase.md.md import MolecularDynamics

from eqmm_ase.calculator.embedded_files import label_around, new_trajectory
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.simulation.ensembles import (
    ENSEMBLES,
    MDSettings,
    degrees_of_freedom,
    draw_momenta,
)
from eqmm_ase.simulation.relax import RunError, RunFailedError, require_positive

MAX_ENERGY_PER_ATOM = 10.0
"""eV, kinetic: 77 000 K on average. No bond survives it, and no run that gets there was right."""


@dataclass(frozen=True)
class MDState:
    """State of molecular dynamics at one step: energies, temperature, drift."""

    step: int
    time: float  # ps
    potential: float  # eV
    kinetic: float  # eV
    temperature: float  # K
    drift: float | None
    """eV, of the conserved quantity since the start; None where none is known (Langevin)."""
    seconds: float  # since this process started the run
    rate: float  # steps per second


def run_md(
    atoms: Atoms,
    settings: MDSettings,
    *,
    steps: int,
    trajectory: str | os.PathLike[str] | None = None,
    interval: int = 20,
    resume: bool = False,
    report: Callable[[MDState], None] | None = None,
    report_interval: int = 100,
) -> MDState:
    """Run molecular dynamics of atoms that have a calculator.

    Parameters
    ----------
    atoms
        Momenta, if any atom moves, are kept; otherwise they are drawn at the temperature.
    settings
        Ensemble, time step, …
    steps
        Length of the whole trajectory, earlier parts of a resumed one included.
    trajectory
        File for every `interval`-th image and the last; whole after every write. It holds the
        MM charges once (`eqmm_ase.read_structure` gives them back).
    resume
        Go on from the last image of `trajectory`; the continued run is the one that an
        uninterrupted one would have been, but for the rounding of forces, which grows as
        everything in dynamics does.
    report
        Called at the start, every `report_interval` steps and at the end.

    Returns
    -------
    MDState
        The last step.

    Raises
    ------
    RunError
        Settings that cannot be, a trajectory that does not fit what is resumed.
    RunFailedError
        The atoms fly apart, or get where they have no energy.
    """
    require_positive(steps=steps, interval=interval, report_interval=report_interval)
    rng = np.random.default_rng(settings.seed)
    past = _recall(atoms, settings, trajectory) if resume else None
    if past is not None:
        rng.bit_generator.state = past["rng"]
    elif not atoms.get_momenta().any():
        draw_momenta(atoms, settings.temperature, rng, isolated=settings.rests_as_a_whole)
    run = _Run(ENSEMBLES[settings.ensemble].make(atoms, settings, rng), settings, rng, past)
    if run.dynamics.nsteps >= steps:
        return run.state()

    writer = None
    if trajectory is not None:
        writer = (
            new_trajectory(trajectory, atoms)
            if past is None
            else Trajectory(os.fspath(trajectory), "a")
        )
    try:
        return run.advance(steps, writer, interval, report, report_interval)
    finally:
        if writer is not None:
            writer.close()


class _Run:
    """An integrator with the account of its conserved quantity and of what resuming needs."""

    def __init__(
        self,
        dynamics: MolecularDynamics,
        settings: MDSettings,
        rng: np.random.Generator,
        past: dict[str, Any] | None,
    ) -> None:
        self.dynamics = dynamics
        self.atoms: Atoms = dynamics.atoms
        self.settings = settings
        self.rng = rng
        self.conserves = ENSEMBLES[settings.ensemble].conserves
        self.freedom = degrees_of_freedom(self.atoms, settings.rests_as_a_whole)
        if past is not None:
            dynamics.nsteps = past["step"]
            dynamics.transferred_energy = past["transferred"]
        self.first_step = dynamics.nsteps
        self.reference = self._conserved() if past is None else past["reference"]
        self.begun = time.monotonic()

    def advance(
        self,
        steps: int,
        writer: Any,
        interval: int,
        report: Callable[[MDState], None] | None,
        report_interval: int,
    ) -> MDState:
        def observe() -> None:
            now = self.dynamics.nsteps
            self._refuse_explosion()
            last = now == steps
            if report is not None and (last or now % report_interval == 0):
                report(self.state())
            if writer is not None and (last or now % interval == 0):
                self._write(writer)

        self.dynamics.attach(observe)
        try:
            self.dynamics.run(steps - self.dynamics.nsteps)
        # The start was fine: a structure without an energy is what the run has come to.
        except (ValueError, CalculationFailed) as error:
            done = self.dynamics.nsteps
            raise RunFailedError(f"the run failed after step {done}: {error}") from error
        return self.state()

    def state(self) -> MDState:
        kinetic = float(self.atoms.get_kinetic_energy())
        seconds = time.monotonic() - self.begun
        step = self.dynamics.nsteps
        return MDState(
            step=step,
            time=step * self.settings.timestep / 1000,
            potential=float(self.atoms.get_potential_energy()),
            kinetic=kinetic,
            temperature=2 * kinetic / (units.kB * max(self.freedom, 1)),
            drift=(self._conserved() - self.reference if self.conserves else None),
            seconds=seconds,
            rate=(step - self.first_step) / seconds if seconds > 0 else 0.0,
        )

    def _refuse_explosion(self) -> None:
        energy = self.atoms.get_kinetic_energy()
        if not energy < MAX_ENERGY_PER_ATOM * len(self.atoms):
            raise RunFailedError(
                f"the run exploded at step {self.dynamics.nsteps}: the atoms move with "
                f"{energy:.3g} eV; the model does not know this structure, or the time step of "
                f"{self.settings.timestep:g} fs is too long"
            )

    def _conserved(self) -> float:
        transferred = getattr(self.dynamics, "transferred_energy", 0.0)
        return float(self.atoms.get_total_energy() - transferred)

    def _write(self, writer: Any) -> None:
        self.atoms.info["md"] = {
            "step": self.dynamics.nsteps,
            "settings": asdict(self.settings),
            "embedding": label_around(self.atoms),
            "reference": self.reference,
            "transferred": getattr(self.dynamics, "transferred_energy", 0.0),
            "rng": self.rng.bit_generator.state,
        }
        writer.write(self.atoms)


def _recall(
    atoms: Atoms, settings: MDSettings, trajectory: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Put atoms where the trajectory ends; returns what the last image says of the run."""
    if trajectory is None or not Path(trajectory).is_file():
        raise RunError(f"there is no trajectory {trajectory} to resume")
    try:
        with Trajectory(os.fspath(trajectory)) as images:
            last = images[-1]
        past: dict[str, Any] = last.info["md"]
    # ASE has no error of its own for a file that is not a trajectory.
    except Exception as error:
        raise RunError(
            f"{trajectory} is not a molecular-dynamics trajectory of EqMM that can be resumed "
            f"({short_reason(error)})"
        ) from error
    if not np.array_equal(last.numbers, atoms.numbers):
        raise RunError(f"{trajectory} is of {last.symbols}, but the structure is {atoms.symbols}")
    asked = asdict(settings)
    for name, before in past["settings"].items():
        if asked.get(name) != before:
            raise RunError(
                f"{trajectory} was run with {name} = {before!r} and cannot be resumed with "
                f"{asked.get(name)!r}"
            )
    around = label_around(atoms)
    if (before := past.get("embedding", around)) != around:
        raise RunError(
            f"{trajectory} was run in {before or 'vacuum'} and cannot be resumed in "
            f"{around or 'vacuum'}"
        )
    atoms.set_positions(last.positions)
    atoms.set_momenta(last.get_momenta())
    return past
