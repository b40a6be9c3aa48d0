"""Settings of exploration, apart from it: a command that shows them needs no network."""

from __future__ import annotations

from dataclasses import dataclass, field

from eqmm_ase.settings_help import with_help
from eqmm_ase.simulation.relax import RunError, require_positive


@with_help
@dataclass(frozen=True)
class ExplorationSettings:
    """Settings of active learning: how dynamics of a committee find frames it is uncertain of."""

    frames: int = 20
    """Stop after so many are found."""
    trajectories: int | None = None
    """Run at most so many; None: 2 × frames."""
    temperature: float = 300.0
    """K."""
    time: float = 5.0
    """Longest time of a trajectory, ps."""
    timestep: float = 0.5
    """fs."""
    energy_limit: float | None = None
    """Largest uncertainty of the energy, eV; None: what the committee calls unusual."""
    force_limit: float | None = None
    """Largest uncertainty of the force on an atom, eV/Å; None: what the committee calls unusual."""
    coordinate: str | None = field(default=None, metadata={"metavar": "d(i,j)-d(k,l)"})
    """Reaction coordinate to drag to the farther end of its range, atoms counted from 0."""
    sweep: tuple[float, float] | None = None
    """Range of the coordinate, Å."""
    restraints: bool = True
    """Keep atoms as far from charges as they were in training."""
    seed: int = 0
    """Equal seeds give equal frames."""

    def __post_init__(self) -> None:
        limits = {"energy_limit": self.energy_limit, "force_limit": self.force_limit}
        require_positive(
            frames=self.frames,
            trajectories=self.most_trajectories,
            temperature=self.temperature,
            time=self.time,
            timestep=self.timestep,
            **{name: value for name, value in limits.items() if value is not None},
        )
        if (self.coordinate is None) != (self.sweep is None):
            raise RunError("a coordinate and its range go together: give both or none")
        if self.sweep is not None and self.sweep[0] == self.sweep[1]:
            raise RunError(f"the range of the coordinate begins and ends at {self.sweep[0]:g} Å")

    @property
    def most_trajectories(self) -> int:
        """How many trajectories are run at most."""
        return 2 * self.frames if self.trajectories is None else self.trajectories
