"""Sample a molecule that no force field describes: rigid, in solvent that moves."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from datagen.molecules.solute import Solute
from datagen.solvent.sampling import SamplingError, SamplingProgress, SamplingSettings
from datagen.solvent.solvation import SolvationSettings, solvate_geometries
from eqmm_ase.data.frame import Frame


def sample_held(
    solute: Solute,
    settings: SamplingSettings,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    platform: str | None = None,
    progress: SamplingProgress | None = None,
) -> list[Frame]:
    """As `datagen.solvent.sampling.sample`, with the molecule held in the one geometry that it has.

    Its charges are GFN2-xTB's, its Lennard-Jones spheres those of the elements. The solvent has
    one temperature; each trajectory settles for the decorrelation.

    Raises
    ------
    SamplingError
        For several temperatures.
    """
    if len(set(settings.temperatures)) > 1:
        raise SamplingError(
            f"several temperatures were given, but {solute.name} is held in its geometry, and the "
            "solvent around it has one temperature; give one"
        )
    held = SolvationSettings(
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
        held,
        folder=folder,
        workers=workers,
        platform=platform,
        progress=progress,
        open_valences=True,  # `read_solute` has asked for them
    )


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
