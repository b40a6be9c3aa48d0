"""What commands on whole systems share: files, the ML region, and how it is embedded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from eqmm_ase.cutting.redistribution import RedistributionName
from eqmm_ase.data.boundary import CapRule
from eqmm_ase.engines.rest_charge import RestCharge
from eqmm_ase.engines.system_potential import Electrostatics
from eqmm_ase.periodic.switched import INNER, OUTER

if TYPE_CHECKING:
    from eqmm_ase.engines.loading import LoadedSystem
    from eqmm_ase.engines.mixed_system import MixedSystem

_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "--topology",
        type=click.Path(path_type=Path),
        help="Of a whole system: AMBER prmtop, GROMACS top, CHARMM psf, or a PDB.",
    ),
    click.option(
        "--coordinates",
        type=click.Path(path_type=Path),
        help="Of the system, of which the last frame counts; default: those of a PDB.",
    ),
    click.option(
        "--ml",
        help="ML region in MDAnalysis' selection language, as in `eqmm-datagen cut --qm`.",
    ),
    click.option("--system", type=click.Path(path_type=Path), help="OpenMM System, beside a PDB."),
    click.option(
        "--force-field",
        multiple=True,
        help="Of OpenMM, beside a PDB (amber14-all.xml); parameter files beside a psf. Repeat it.",
    ),
    click.option(
        "--redistribution",
        type=click.Choice(get_args(RedistributionName)),
        help="Of charges at cut bonds; default: as in training.",
    ),
    click.option(
        "--cap",
        type=click.Choice(get_args(CapRule)),
        help="Hydrogen on cut bonds, at a fraction of their length or at a fixed distance; "
        "default: as in training.",
    ),
    click.option(
        "--rest-charge",
        type=click.Choice(get_args(RestCharge)),
        default="refuse",
        show_default=True,
        help="What to do with the difference between the total charge of the region and its "
        "force-field charge: refuse it, add it to the classical atoms of cut bonds, or leave it to "
        "the neutralising background.",
    ),
    click.option(
        "--electrostatics",
        type=click.Choice(get_args(Electrostatics)),
        help="How far charges act on the region; default: ewald in a box, else all.",
    ),
    click.option(
        "--switch",
        type=float,
        nargs=2,
        default=(INNER, OUTER),
        help="Inner and outer radius of the switching function of a cutoff, Å.",
    ),
    click.option("--isolated", is_flag=True, help="The system does not repeat; ignore any box."),
    click.option("--hydrogen-mass", type=float, help="Repartition masses to so many u."),
]
_REGION: list[Callable[[Any], Any]] = [
    click.option("--total-charge", type=int, help="Of the ML region; default: by its force field."),
    click.option("--spin-multiplicity", type=int, default=1, help="2S + 1 of the ML region."),
    click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32"),
]


def system_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a whole system and its ML region."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def region_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what the ML region is, and how precise the network."""
    for option in reversed(_REGION):
        command = option(command)
    return command


@dataclass(frozen=True, eq=False)
class PreparedSystem:
    """A system with a network in it, and what it came from."""

    loaded: LoadedSystem
    mixed: MixedSystem
    description: str


def prepare_system(model: Path, options: Mapping[str, Any]) -> PreparedSystem:
    """Read the files of a whole system and put the network in.

    Parameters
    ----------
    options
        Those of `system_options` and `region_options`, by name.

    Raises
    ------
    ValueError, OSError
        Whatever is wrong with the files, the selection or the model.
    """
    from eqmm_ase.cutting.trajectories import select_atoms
    from eqmm_ase.data.region_description import describe_molecule
    from eqmm_ase.engines.loading import load_system
    from eqmm_ase.engines.mixed_system import mixed_system

    if options["topology"] is None or not options["ml"]:
        raise click.UsageError("a whole system needs --topology, and --ml for its ML region")
    loaded = load_system(
        options["topology"],
        options["coordinates"],
        system=options["system"],
        force_field=options["force_field"],
        hydrogen_mass=options["hydrogen_mass"],
        isolated=options["isolated"],
    )
    rows = select_atoms(loaded.sites, options["ml"], loaded.positions, loaded.cell)
    mixed = mixed_system(
        loaded.topology,
        loaded.system,
        rows,
        model,
        total_charge=options["total_charge"],
        spin_multiplicity=options["spin_multiplicity"],
        cap_rule=options["cap"],
        redistribution=options["redistribution"],
        rest_charge=options["rest_charge"],
        electrostatics=options["electrostatics"],
        switch=options["switch"],
        dtype=options["dtype"],
        sites=loaded.sites,
    )
    region = mixed.region
    what = describe_molecule(region.atomic_numbers, region.total_charge, region.spin_multiplicity)
    box = "in a box" if loaded.cell is not None else "without a box"
    cuts = f", {len(region.region.bonds)} cut bonds" if region.region.bonds else ""
    return PreparedSystem(
        loaded,
        mixed,
        f"QM region: {what}{cuts}; {loaded.sites.n_sites} sites {box}, charges by "
        f"{mixed.potential.electrostatics}",
    )
