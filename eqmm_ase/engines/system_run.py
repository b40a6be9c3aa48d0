"""Dynamics of a whole system: minimise, heat, run, and go on after whatever stopped it.

A run is a folder: its trajectory, a table of energies, frames that were too uncertain, and a
checkpoint at every row of the table. What was written behind the last checkpoint goes when the run
goes on, so that a killed run leaves what an undisturbed one would.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import unit

from eqmm_ase.arrays import FloatArray
from eqmm_ase.atomic_write import atomic_path, write_text
from eqmm_ase.data.frame import Frame
from eqmm_ase.engines.integrators import INTEGRATORS
from eqmm_ase.engines.mixed_system import MixedSystem
from eqmm_ase.engines.openmm_context import move_to, new_context, positions_of
from eqmm_ase.engines.openmm_force import callback_of, minimise
from eqmm_ase.engines.output.trajectory_writer import TrajectoryWriter
from eqmm_ase.engines.run_settings import SystemRunError, SystemRunSettings
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.units import KJ_PER_MOL

TABLE = "energies.csv"

_CHUNK = 10  # steps between looks at the uncertainty
_HEATING_STAGES = 10
_FEMTOSECOND = 1e-3  # ps


@dataclass(frozen=True)
class SystemRow:
    """Where a run stands; a row of its table."""

    step: int
    time: float
    """ps."""
    potential: float
    """eV."""
    kinetic: float
    """eV."""
    temperature: float
    """K."""
    volume: float | None
    """Å³."""
    network: float
    """eV: the ML region in all its surroundings."""
    images: float
    """eV, part of it: the region with its periodic images."""
    uncertainty: float | None
    """eV/Å: the largest expected error of a force on an ML atom."""
    charges: tuple[float, ...]
    """e, of the ML atoms."""


class SystemRun:
    """A run of dynamics in a folder.

    Parameters
    ----------
    mixed
        From `eqmm_ase.engines.mixed_system.mixed_system`.
    topology
        Of OpenMM, for the trajectory.
    settings
        How to run. Of a run that goes on only `steps`, `platform` and `threads` may differ.
    folder
        Made when it is not there; goes on where an earlier run ended.
    trajectory
        Name of the trajectory in the folder, ``.dcd``, ``.xtc`` or ``.nc`` (AMBER).
    frame_of
        Turns positions (n, 3) Å and cell into a frame that can be labelled, for configurations
        beyond the limit of uncertainty.
    """

    def __init__(
        self,
        mixed: MixedSystem,
        topology: Any,
        settings: SystemRunSettings,
        folder: Path,
        *,
        trajectory: str = "trajectory.dcd",
        frame_of: Callable[[FloatArray, FloatArray | None, str], Frame] | None = None,
    ) -> None:
        self.mixed, self.settings, self.folder = mixed, settings, folder
        self._topology, self._frame_of = topology, frame_of
        self._name = trajectory
        folder.mkdir(parents=True, exist_ok=True)
        if settings.uncertainty_limit is not None and mixed.potential.n_members == 1:
            raise SystemRunError(
                "a single model knows no uncertainty, and uncertainty_limit would never be "
                "reached; train a committee (eqmm train --committee 3), or leave it out"
            )
        self._last = self._read_progress()
        self._integrator = INTEGRATORS[settings.ensemble](settings)
        if settings.pressure is not None:
            barostat = openmm.MonteCarloBarostat(
                settings.pressure * unit.bar, settings.temperature * unit.kelvin
            )
            barostat.setRandomNumberSeed(settings.seed)
            mixed.system.addForce(barostat)
        self.context = new_context(
            mixed.system, settings.platform, settings.threads, self._integrator
        )
        self._freedom = degrees_of_freedom(mixed.system)
        self.uncertain_frames = int(self._last.get("uncertain_frames", 0))

    @property
    def step(self) -> int:
        """Steps of production done."""
        return int(self._last.get("step", 0))

    def __call__(
        self,
        positions: FloatArray,
        cell: FloatArray | None,
        *,
        report: Callable[[SystemRow], None] = lambda _: None,
        stage: Callable[[str], None] = lambda _: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> SystemRow:
        """Run to the end, from the checkpoint if there is one.

        Parameters
        ----------
        positions, cell
            Where a new run starts, (n, 3) and (3, 3) Å.
        report
            Called with every row.
        stage
            Called with what is being done before production.
        stopped
            Asked between steps; true ends the run at the next checkpoint.

        Raises
        ------
        SystemRunError
            When the run has blown up, or the folder holds another run.
        """
        try:
            if self._last:
                self._load()
            else:
                self._start(positions, cell, stage)
            return self._produce(report, stage, stopped)
        except openmm.OpenMMException as error:  # of OpenMM, or of the network within it
            raise SystemRunError(
                f"the run cannot go on from step {self.step}: {short_reason(error)}"
            ) from error

    def _load(self) -> None:
        checkpoint = self.folder / self._last["checkpoint"]
        self.context.loadCheckpoint(checkpoint.read_bytes())
        _truncate_table(self.folder / TABLE, int(self._last["table_bytes"]))

    def _produce(
        self,
        report: Callable[[SystemRow], None],
        stage: Callable[[str], None],
        stopped: Callable[[], bool],
    ) -> SystemRow:
        stage("running")
        settings, keep = self.settings, None
        if self._last:
            keep = int(self._last["bytes"]), int(self._last["frames"])
        writer = TrajectoryWriter(
            self.folder / self._name,
            self._topology,
            settings.timestep * _FEMTOSECOND,
            settings.interval,
            keep,
        )
        try:
            if not self._last:
                writer.write(self._state())
                self._keep(self._row(0), writer)
            row = self._row(self.step)
            report(row)
            while row.step < settings.steps and not stopped():
                until = min(row.step + settings.interval, settings.steps)
                beyond = self._advance(row.step, until)
                row = self._row(until)
                self._check(row)
                writer.write(self._state())
                self._keep(row, writer)
                report(row)
                if beyond and settings.when_uncertain == "stop":
                    break
        finally:
            writer.close()
        return row

    def _start(
        self, positions: FloatArray, cell: FloatArray | None, stage: Callable[[str], None]
    ) -> None:
        settings, context = self.settings, self.context
        move_to(context, positions, cell)
        if settings.minimize:
            stage("minimising")
            minimise(context)
        warm = settings.temperature * unit.kelvin
        if not settings.heating:
            context.setVelocitiesToTemperature(warm, settings.seed)
            return
        stage("heating")
        context.setVelocitiesToTemperature(warm / _HEATING_STAGES, settings.seed)
        steps = round(settings.heating / (settings.timestep * _FEMTOSECOND) / _HEATING_STAGES)
        for number in range(1, _HEATING_STAGES + 1):
            if isinstance(self._integrator, openmm.VerletIntegrator):
                context.setVelocitiesToTemperature(warm * number / _HEATING_STAGES, settings.seed)
            else:
                self._integrator.setTemperature(warm * number / _HEATING_STAGES)
            self._integrator.step(steps)
        context.setStepCount(0)
        context.setTime(0.0)

    def _advance(self, step: int, until: int) -> bool:
        """Go on to a step; whether the network was less certain than the limit on the way."""
        limit, beyond = self.settings.uncertainty_limit, False
        if limit is None:
            self._integrator.step(until - step)
            return False
        while step < until:
            chunk = min(_CHUNK, until - step)
            self._integrator.step(chunk)
            step += chunk
            # Not the latest answer: that is about the configuration one step before.
            now = self.mixed.potential(*positions_of(self.context)).uncertainty
            if now is not None and now.forces.max() > limit and not beyond:
                beyond = True
                self._write_uncertain(step)
        return beyond

    def _uncertainty(self) -> float | None:
        latest = callback_of(self.mixed.system).latest
        if latest is None or latest.uncertainty is None:
            return None
        return float(latest.uncertainty.forces.max())

    def _write_uncertain(self, step: int) -> None:
        """The configuration as a dataset of one frame, ready to be labelled."""
        from eqmm_ase.files.dataset_file import write_frames

        if self._frame_of is None:
            return
        frame = self._frame_of(*positions_of(self.context), f"{self.folder.name} step {step}")
        self.uncertain_frames += 1
        write_frames(self.folder / f"uncertain-{self.uncertain_frames:04d}.h5", [frame], {})

    def _row(self, step: int) -> SystemRow:
        state = self.context.getState(energy=True)
        potential, kinetic = (
            value.value_in_unit(unit.kilojoule_per_mole) * KJ_PER_MOL
            for value in (state.getPotentialEnergy(), state.getKineticEnergy())
        )
        latest = callback_of(self.mixed.system).latest
        assert latest is not None
        volume = None
        if self.mixed.system.usesPeriodicBoundaryConditions():
            volume = float(state.getPeriodicBoxVolume().value_in_unit(unit.angstrom**3))
        atoms = len(self.mixed.region.region.atoms)
        return SystemRow(
            step=step,
            time=step * self.settings.timestep * _FEMTOSECOND,
            potential=potential,
            kinetic=kinetic,
            temperature=2.0 * kinetic / (self._freedom * _BOLTZMANN),
            volume=volume,
            network=latest.energy,
            images=latest.image_energy,
            uncertainty=self._uncertainty(),
            charges=tuple(latest.charges[:atoms].round(5).tolist()),
        )

    def _state(self) -> openmm.State:
        return self.context.getState(positions=True, enforcePeriodicBox=False)

    def _check(self, row: SystemRow) -> None:
        if not np.isfinite(row.potential + row.kinetic) or row.temperature > 20.0 * max(
            self.settings.temperature, 50.0
        ):
            raise SystemRunError(
                f"the system has blown up before step {row.step}: temperature "
                f"{row.temperature:.0f} K; start from a relaxed structure, with a shorter time step"
            )

    def _keep(self, row: SystemRow, writer: TrajectoryWriter) -> None:
        """Table and checkpoint, and then what says that they count."""
        self._append(row)
        name = f"checkpoint-{row.step}"
        with atomic_path(self.folder / name) as temporary:
            temporary.write_bytes(self.context.createCheckpoint())
        before = self._last.get("checkpoint", name)
        self._last = {
            "settings": self._facts(),
            "step": row.step,
            "checkpoint": name,
            "bytes": writer.size,
            "frames": writer.frames,
            "table_bytes": (self.folder / TABLE).stat().st_size,
            "uncertain_frames": self.uncertain_frames,
        }
        write_text(self.folder / "progress.json", json.dumps(self._last, indent=1) + "\n")
        if before != name:
            (self.folder / before).unlink(missing_ok=True)

    def _append(self, row: SystemRow) -> None:
        values = {name: value for name, value in asdict(row).items() if name != "charges"}
        values |= {f"charge_{i}": charge for i, charge in enumerate(row.charges)}
        with (self.folder / TABLE).open("a" if self._last else "w", encoding="utf-8") as file:
            if not self._last:
                file.write(",".join(values) + "\n")
            file.write(",".join("" if v is None else str(v) for v in values.values()) + "\n")

    def _facts(self) -> dict[str, Any]:
        facts = asdict(self.settings)
        for name in ("steps", "platform", "threads"):
            del facts[name]
        return facts | {"particles": self.mixed.system.getNumParticles()}

    def _read_progress(self) -> dict[str, Any]:
        path = self.folder / "progress.json"
        if not path.exists():
            return {}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name, value in self._facts().items():
            if found["settings"].get(name) != value:
                raise SystemRunError(
                    f"{self.folder} holds a run with {name} = {found['settings'].get(name)!r}, "
                    f"which cannot go on with {value!r}; choose another folder"
                )
        return found


_BOLTZMANN = (
    unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin) * KJ_PER_MOL
)
"""eV/K."""


def degrees_of_freedom(system: openmm.System) -> int:
    """Degrees of freedom with kinetic energy: not those of constraints and the centre of mass."""
    moving = sum(system.getParticleMass(i)._value > 0.0 for i in range(system.getNumParticles()))
    free = 3 * moving - system.getNumConstraints()
    if any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces()):
        free -= 3
    return free


def _truncate_table(path: Path, size: int) -> None:
    """Take away rows that were written behind the last checkpoint."""
    if not path.is_file() or path.stat().st_size < size:
        raise SystemRunError(
            f"{path} is not the table of the run to go on with; put it back, or start anew"
        )
    os.truncate(path, size)
