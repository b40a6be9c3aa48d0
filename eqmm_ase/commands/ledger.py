"""`eqmm ledger`: the energy of a whole system by its terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eqmm_ase.commands.system_options import prepare_system, region_options, system_options


@click.command("ledger", context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@system_options
@region_options
def ledger(model: Path, **options: Any) -> None:
    """Print which energy is in which term of a whole system with MODEL, in kcal/mol.

    The terms add up to the total: nothing is counted twice, and nothing is lost.
    """
    from eqmm_ase.engines.energy_ledger import energy_ledger

    prepared = prepare_system(model, options)
    click.echo(prepared.description)
    region = prepared.mixed.region
    if region.rest_charge:
        click.echo(
            f"charge by which the force field of the region differs from its total charge: "
            f"{region.rest_charge:+.4f} e"
        )
    click.echo(f"net charge of the MM charges: {region.mm_charges.sum():+.4f} e")
    found = energy_ledger(prepared.mixed, prepared.loaded.positions, prepared.loaded.cell)
    click.echo(str(found))
