"""`eqmm ledger`: the energy of a whole system by its terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eqmm_ase.commands.system_options import prepare_system, system_options


@click.command("ledger")
@click.argument("model", type=click.Path(path_type=Path))
@system_options
@click.option("--total-charge", type=int, help="Of the ML region; default: by its force field.")
@click.option("--spin-multiplicity", type=int, help="Of the ML region; default: 1.")
def ledger(
    model: Path, total_charge: int | None, spin_multiplicity: int | None, **system: Any
) -> None:
    """Print which energy is in which term of a whole system with MODEL, in kcal/mol.

    The terms add up to the total: nothing is counted twice, and nothing is lost.
    """
    from eqmm_ase.engines.energy_ledger import energy_ledger

    if system["topology"] is None:
        raise click.UsageError("give the system: --topology, --coordinates and --ml")
    prepared = prepare_system(
        model,
        system,
        total_charge=total_charge,
        spin_multiplicity=spin_multiplicity,
        dtype="float64",
    )
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
