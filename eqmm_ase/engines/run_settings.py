"""Settings of a run of a whole system."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from eqmm_ase.engines.integrators import INTEGRATORS
from eqmm_ase.settings_help import with_help

WhenUncertain = Literal["stop", "write"]


class SystemRunError(ValueError):
    """A setting makes no sense, or a run cannot go on; the message is one sentence."""


@with_help
@dataclass(frozen=True)
class SystemRunSettings:
    """Dynamics of a whole system."""

    steps: int
    """Number of steps of production, in all."""

    timestep: float = 1.0
    """Time step, fs."""

    ensemble: str = field(default="langevin", metadata={"choices": tuple(INTEGRATORS)})
    """Constant energy (nve), or constant temperature by Langevin's equation."""

    temperature: float = 300.0
    """Temperature, K."""

    friction: float = 1.0
    """Friction of Langevin's equation, 1/ps."""

    pressure: float | None = None
    """Pressure of a Monte Carlo barostat, bar. None: the volume stays."""

    minimize: bool = True
    """Whether the energy is minimised before heating."""

    heating: float = 5.0
    """Time of heating from a tenth of the temperature to all, ps; 0 leaves it out."""

    interval: int = 1000
    """Steps between rows of the table and images of the trajectory."""

    uncertainty_limit: float | None = None
    """Expected error of a force on an ML atom from which on a frame is written, eV/Å.
    None: no limit."""

    when_uncertain: WhenUncertain = "stop"
    """What to do beyond the limit, once the frame is written: stop, or go on."""

    seed: int = 1
    """Seed of velocities and thermostat."""

    platform: str = "CPU"
    """Platform of OpenMM: CPU, CUDA, OpenCL, Reference."""

    threads: int = 1
    """Threads of the platform CPU."""

    def __post_init__(self) -> None:
        for name in ("steps", "timestep", "temperature", "friction", "interval", "threads"):
            if not getattr(self, name) > 0:
                raise SystemRunError(f"{name} is {getattr(self, name)}; expected more than 0")
        if self.heating < 0.0:
            raise SystemRunError(f"heating is {self.heating:g} ps; expected 0 or more")
        if self.ensemble not in INTEGRATORS:
            known = " or ".join(INTEGRATORS)
            raise SystemRunError(f"ensemble is {self.ensemble!r}; expected {known}")
        if self.pressure is not None and self.ensemble == "nve":
            raise SystemRunError("a pressure needs a thermostat; take the ensemble langevin")
        if self.uncertainty_limit is not None and not self.uncertainty_limit > 0.0:
            raise SystemRunError(
                f"uncertainty_limit is {self.uncertainty_limit:g}; expected more than 0 eV/Å"
            )
