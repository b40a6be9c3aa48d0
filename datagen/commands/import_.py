"""``eqmm-datagen import``: datasets from files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datagen.commands.options import output_option, refuse_existing
from datagen.datasets import export
from datagen.datasets.imported import Imported
from datagen.datasets.orca import read_orca
from datagen.errors import ExchangeError
from eqmm_ase.data.level_of_theory import different_level, spoken
from eqmm_ase.data.region_description import describe_regions
from eqmm_ase.files.dataset_file import write_frames

_ORCA = ".engrad"


@click.command("import", context_settings={"show_default": True})
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option("Dataset file to write.")
@click.option("--level", help="Level of theory, as 'B3LYP/6-31G*', where the files do not say it.")
@click.option("--frames-only", is_flag=True, help="Geometries and charges, without any labels.")
@click.option(
    "--charge",
    type=int,
    help="Total charge of the QM regions, e, where the files do not say it.  [default: 0]",
)
@click.option(
    "--multiplicity",
    type=int,
    help="Their spin multiplicity 2S+1, where the files do not say it.  [default: 1]",
)
@click.option("--medium", default="", help="Surroundings in ORCA's calculations.")
def import_(
    files: tuple[Path, ...],
    output: Path,
    overwrite: bool,
    level: str | None,
    frames_only: bool,
    charge: int | None,
    multiplicity: int | None,
    medium: str,
) -> None:
    """Make a dataset of FILES: extended XYZ, an ASE database, a NumPy archive, or ORCA's files.

    Extended XYZ and ASE databases (.db) may have the keys of `eqmm-datagen export`, MACE and
    FieldMACE, or energies and forces as ASE keeps them (eV, Å, e). What was found is counted, and
    a file without labels is refused unless --frames-only is given. Of ORCA's .engrad files there
    may be any number; beside each, .pc and .pcgrad files of the same name hold the charges and
    their gradient (EnGrad calculation with %pointcharges); their folder becomes the source of the
    frame. Total charge and spin are read under the names that other programs give them, and from
    ORCA's input.
    """
    refuse_existing(output, overwrite)
    state = {"total_charge": charge, "spin_multiplicity": multiplicity}
    if all(path.suffix == _ORCA for path in files):
        found = _from_orca(files, {**state, "medium": medium})
    elif len(files) == 1:
        found = export.read(files[0], **state)
    else:
        raise ExchangeError(
            f"expected {_ORCA} files or one file of another kind; got {len(files)} files"
        )
    if frames_only:
        found = found.without_labels()
    method = _method(found, level, files[0], frames_only)
    write_frames(output, found.frames, method)
    click.echo(f"QM region: {describe_regions(found.frames)}", err=True)
    click.echo(f"{output}: {found.account()}")


def _from_orca(files: tuple[Path, ...], state: dict[str, Any]) -> Imported:
    frames = [read_orca(path, source=path.resolve().parent.name, **state) for path in files]
    return Imported(frames, None)


def _method(found: Imported, level: str | None, path: Path, frames_only: bool) -> dict[str, Any]:
    """The method of the labels: what the file says, or the level that was given.

    Raises
    ------
    ExchangeError
        When there are no labels, or no level, or two of them.
    """
    ours = found.method is not None  # `export` wrote it, and wrote what there was
    if not found.has_labels and not frames_only and not ours:
        raise ExchangeError(f"{path} {found.nothing_found()}")
    if found.method is None and level is None and not frames_only:
        raise ExchangeError(f"{path} does not say the level of theory: give it with --level")
    if found.method is None:
        program = {"program": "orca"} if path.suffix == _ORCA else {}
        return {} if frames_only else {**program, "level": level}
    if level is not None and different_level({"level": level}, found.method):
        raise ExchangeError(
            f"{path} says that its labels are of {spoken(found.method)}; leave out --level {level}"
        )
    return found.method
