"""``eqmm-datagen import``: datasets from files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datagen.commands.options import output_option, refuse_existing
from datagen.errors import ExchangeError
from datagen.exchange.extended_xyz import read_extended_xyz
from datagen.exchange.orca import read_orca
from eqmm_ase.frame import Frame
from eqmm_ase.reference_data import write_frames

_ORCA = ".engrad"


@click.command("import", context_settings={"show_default": True})
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_option("Dataset file to write.")
@click.option("--level", help="Level of theory, as 'B3LYP/6-31G*', where the files do not say it.")
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
    charge: int | None,
    multiplicity: int | None,
    medium: str,
) -> None:
    """Make a dataset of FILES: one extended XYZ file, or any number of ORCA's .engrad files.

    Extended XYZ has the keys of `eqmm-datagen export`, MACE and FieldMACE (eV, Å, e). Beside each
    .engrad file, .pc and .pcgrad files of the same name hold the charges and their gradient
    (EnGrad calculation with %pointcharges); their folder becomes the source of the frame. Total
    charge and spin are read under the names that other programs give them, and from ORCA's input.
    """
    refuse_existing(output, overwrite)
    state = {"total_charge": charge, "spin_multiplicity": multiplicity}
    if all(path.suffix == _ORCA for path in files):
        frames, method = _from_orca(files, level, {**state, "medium": medium})
    elif len(files) == 1:
        frames, method = _from_extended_xyz(files[0], level, state)
    else:
        raise ExchangeError(
            f"expected one extended XYZ file or {_ORCA} files; got {len(files)} files"
        )
    write_frames(output, frames, method)
    click.echo(f"{output}: {len(frames)} frames")


def _from_orca(
    files: tuple[Path, ...], level: str | None, state: dict[str, Any]
) -> tuple[list[Frame], dict[str, Any]]:
    if level is None:
        raise ExchangeError("ORCA's files do not say the level of theory: give it with --level")
    frames = [read_orca(path, source=path.resolve().parent.name, **state) for path in files]
    return frames, {"program": "orca", "level": level}


def _from_extended_xyz(
    path: Path, level: str | None, state: dict[str, int | None]
) -> tuple[list[Frame], dict[str, Any]]:
    frames, method = read_extended_xyz(path, **state)
    if method is None and level is None:
        raise ExchangeError(f"{path} does not say the level of theory: give it with --level")
    return frames, method if method is not None else {"level": level}
