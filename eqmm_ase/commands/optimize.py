"""`eqmm optimize`: relax a molecule in fixed MM charges or in vacuum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eqmm_ase.commands.structure_options import prepare, restraint_energy, structure_options
from eqmm_ase.simulation.relax import OPTIMIZERS, RelaxationStep, refuse_existing, relax

_COLUMNS = (
    ("step", "d", 6),
    ("energy/eV", ".6f", 18),
    ("change/eV", ".6f", 12),
    ("fmax/(eV/Å)", ".5f", 12),
    ("time/s", ".1f", 9),
)


@click.command("optimize")
@structure_options
@click.option(
    "--optimizer",
    type=click.Choice(list(OPTIMIZERS)),
    default="bfgs",
    show_default=True,
)
@click.option("--fmax", default=0.01, show_default=True, help="Largest force left, eV/Å.")
@click.option("--steps", default=500, show_default=True, help="Give up after so many steps.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("relaxed.traj"),
    show_default=True,
    help="ASE trajectory; the log goes beside it (.log).",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier OUTPUT.")
@click.pass_context
def optimize(
    context: click.Context,
    optimizer: str,
    fmax: float,
    steps: int,
    output: Path,
    overwrite: bool,
    **system: Any,
) -> None:
    """Relax STRUCTURE with MODEL.

    STRUCTURE is a frame of a dataset (data.h5:12) or an image of an earlier run (md.traj@3), its MM
    charges included, or any file ASE reads. Without charges the molecule is in vacuum. Charges are
    fixed and bare; restraints keep atoms from falling onto them. Exit code 1: not converged, or an
    atom has fallen onto a charge.
    """
    from eqmm_ase.commands.run_log import RunLog

    if not overwrite:
        refuse_existing(output, "use --overwrite to replace it, or name another with -o")
    atoms, description = prepare(**system)
    with RunLog(_COLUMNS, output.with_suffix(".log")) as log:
        log.line(description)
        log.head()

        def report(step: RelaxationStep) -> None:
            log.row((step.step, step.energy, step.change, step.fmax, step.seconds), step.step)

        result = relax(
            atoms, optimizer=optimizer, fmax=fmax, steps=steps, trajectory=output, report=report
        )
        outcome = "converged" if result.converged else "NOT converged"
        log.line(
            f"{outcome} after {result.steps} steps ({result.seconds:.1f} s): "
            f"energy {result.energy:.6f} eV, fmax {result.fmax:.5f} eV/Å"
        )
        log.line(
            f"RMSD from the start {result.rmsd:.4f} Å ({result.rmsd_superposed:.4f} Å after "
            f"superposition); images in {output}"
        )
        if energy := restraint_energy(atoms):
            log.line(
                f"restraints hold {energy:.6f} eV of the energy: where they act, Lennard-Jones "
                "repulsion would decide"
            )
    if not result.converged:
        context.exit(1)
