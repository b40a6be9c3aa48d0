"""Options of everything that looks for uncertain frames; also those of ``eqmm-datagen learn``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eqmm_ase.simulation.exploration import ExplorationSettings

_OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--frames", default=20, help="Stop after so many are found."),
    click.option("--trajectories", type=int, help="Run at most so many.  [default: 2 × frames]"),
    click.option("--temperature", default=300.0, help="K."),
    click.option("--time", default=5.0, help="Longest time of a trajectory, ps."),
    click.option("--timestep", default=0.5, help="fs."),
    click.option(
        "--force-limit",
        type=float,
        help="Largest uncertainty of a force, eV/Å.  [default: what the committee calls unusual]",
    ),
    click.option(
        "--energy-limit",
        type=float,
        help="Largest uncertainty of the energy, eV.  [default: what the committee calls unusual]",
    ),
    click.option(
        "--coordinate",
        metavar="d(i,j)-d(k,l)",
        help="Reaction coordinate to drag to the farther end of its range, atoms counted from 0.",
    ),
    click.option("--range", "sweep", type=float, nargs=2, help="Of the coordinate, Å."),
    click.option(
        "--walls/--no-walls",
        default=True,
        help="Keep atoms as far from charges as they were in training.",
    ),
]


def exploration_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `ExplorationSettings`, all but the seed."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def exploration_settings(options: Mapping[str, Any]) -> ExplorationSettings:
    """Settings from the values of the options.

    Raises
    ------
    RunError
        For values that cannot be.
    """
    from eqmm_ase.simulation.exploration import ExplorationSettings

    return ExplorationSettings(**options)
