"""``eqmm-datagen export``: a dataset for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from datagen.commands.options import output_option, refuse_existing
from datagen.datasets.export import export as export_dataset


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@output_option("File to write: .extxyz (MACE and FieldMACE keys), .db (ASE) or .npz (NumPy).")
@click.option(
    "--charges",
    metavar="SCHEME",
    help="What becomes REF_charges in extended XYZ and the charges of an ASE database.",
)
def export(dataset: Path, output: Path, overwrite: bool, charges: str | None) -> None:
    """Write DATASET in another format, with everything it holds.

    Units stay eV, Å, e and V. `eqmm-datagen import` reads each of them back.
    """
    refuse_existing(output, overwrite)
    count = export_dataset(dataset, output, charges)
    click.echo(f"{output}: {count} frames")
