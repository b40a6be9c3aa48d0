"""What `eqmm optimize` and `eqmm md` share: how a model, a structure and charges are named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_OPTIONS: list[Callable[[Any], Any]] = [
    click.argument("model", type=click.Path(path_type=Path)),
    click.argument("structure", metavar="STRUCTURE"),
    click.option(
        "--charges",
        type=click.Path(path_type=Path),
        help="Text file of MM charges, rows 'q x y z' in e and Å; none: vacuum.",
    ),
    click.option(
        "--restraints/--no-restraints",
        default=True,
        show_default=True,
        help="Keep atoms as far from charges as they were in training.",
    ),
    click.option(
        "--total-charge",
        type=int,
        help="Of the QM region; default: from STRUCTURE, else the only one MODEL knows, else 0.",
    ),
    click.option(
        "--spin-multiplicity",
        type=int,
        help="Default: from STRUCTURE, else the only one MODEL knows, else 1.",
    ),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
    click.option(
        "--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True
    ),
]


def structure_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments MODEL and STRUCTURE and the options that go with them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def prepare(
    model: Path,
    structure: str,
    charges: Path | None,
    restraints: bool,
    total_charge: int | None,
    spin_multiplicity: int | None,
    device: str,
    dtype: str,
) -> tuple[Any, str]:
    """QM atoms with their calculator, embedded in their charges, and a line that describes both.

    Returns
    -------
    atoms : ase.Atoms
    description : str

    Raises
    ------
    ValueError, OSError
        Whatever is wrong with the files or the system, found before any run starts.
    """
    from eqmm_ase.calculator.eqmm import EqMM
    from eqmm_ase.data.checks import ElectronCountError
    from eqmm_ase.data.region_description import describe_molecule
    from eqmm_ase.files.structures import read_structure
    from eqmm_ase.simulation.restraints import ContactRestraints

    calculator = EqMM(
        model,
        device=device,
        dtype=dtype,
        total_charge=total_charge,
        spin_multiplicity=spin_multiplicity,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = read_structure(structure, charges)
        atoms, atoms.calc = read.atoms, calculator
        _tell_replaced(atoms, total_charge)
        calculator.embed(read.mm_charges, read.mm_positions, cell=read.cell)
        try:
            energy = atoms.get_potential_energy()
        except ElectronCountError as error:
            raise error.set_by("--total-charge", "--spin-multiplicity") from error
    for warning in caught:
        click.echo(f"warning: {warning.message}", err=True)
    medium = "vacuum" if read.cell is None else "an empty periodic box"
    if len(read.mm_charges):
        net = f"{read.mm_charges.sum():+.2f} e" if read.mm_charges.any() else "all zero: vacuum"
        box = "" if read.cell is None else " in a box"
        medium = f"{len(read.mm_charges)} MM charges{box} ({net})"
        domain = atoms.calc.domain
        if restraints and domain.closest_mm is not None:
            around = read.mm_charges, read.mm_positions
            atoms.set_constraint(ContactRestraints(atoms, *around, domain, cell=read.cell))
            medium += " with restraints"
        else:
            medium += " without restraints"
    region = describe_molecule(atoms.numbers, *calculator.state)
    return atoms, f"{region}, from {read.name}, {medium}; energy {energy:.6f} eV"


def _tell_replaced(atoms: Any, total_charge: int | None) -> None:
    """The option replaces what the structure says, but not without a word."""
    from eqmm_ase.data.charge_and_spin import StateError, total_charge_of

    if total_charge is None:
        return
    try:
        found = total_charge_of(atoms)
    except StateError:
        return  # which is one reason to give the option
    if found is not None and found != total_charge:
        click.echo(
            f"warning: --total-charge {total_charge:+d} replaces the {found:+d} of the structure",
            err=True,
        )


def restraint_energy(atoms: Any) -> float | None:
    """Energy of the restraints in eV, or None where there are none."""
    return atoms.constraints[0].energy(atoms) if atoms.constraints else None
