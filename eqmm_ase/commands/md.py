"""`eqmm md`: molecular dynamics of a molecule in fixed MM charges or in vacuum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eqmm_ase.command_line import refuse_idle
from eqmm_ase.commands.run_log import RunLog
from eqmm_ase.commands.structure_options import prepare, structure_options
from eqmm_ase.commands.two_forms import TwoForms
from eqmm_ase.progress_bar import duration
from eqmm_ase.setting_options import setting_options, settings_from
from eqmm_ase.simulation.ensembles import ENSEMBLES, MDSettings
from eqmm_ase.simulation.relax import refuse_existing

if TYPE_CHECKING:
    from eqmm_ase.simulation.dynamics import MDState

_COLUMNS = (
    ("step", "d", 9),
    ("time/ps", ".4f", 10),
    ("E(pot)/eV", ".5f", 16),
    ("E(kin)/eV", ".5f", 11),
    ("T/K", ".1f", 8),
    ("drift/meV", ".4f", 11),
    ("steps/s", ".1f", 8),
    ("left", "", 8),
)


@click.command(
    "md",
    cls=TwoForms,
    whole="eqmm_ase.commands.run_system:system_md",
    context_settings={"show_default": True},
)
@structure_options
@setting_options(MDSettings, defaults={"ensemble": "langevin"}, without=("isolated",))
@click.option("--steps", type=int, help="Number of steps; or give --time.")
@click.option("--time", "length", type=float, help="Length in ps; or give --steps.")
@click.option("--interval", default=20, help="Steps between images.")
@click.option("--log-interval", default=100, help="Steps between log lines.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("md.traj"),
    help="ASE trajectory; the log goes beside it (.log).",
)
@click.option("--resume", is_flag=True, help="Go on where OUTPUT ends, up to --steps in all.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier OUTPUT.")
@click.pass_context
def md(
    context: click.Context,
    steps: int | None,
    length: float | None,
    interval: int,
    log_interval: int,
    output: Path,
    resume: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Run molecular dynamics of STRUCTURE with MODEL.

    STRUCTURE is a frame of a dataset (data.h5:12) or an image of an earlier run (md.traj@3), its MM
    charges included, or any file ASE reads. Without charges the molecule is in vacuum. Charges are
    fixed and bare; restraints keep atoms from falling onto them. Interrupted runs go on with
    --resume, exactly as if they had never stopped.
    """
    from eqmm_ase.simulation.dynamics import run_md

    for name, ensemble in ENSEMBLES.items():
        if name != options["ensemble"]:
            refuse_idle(context, ensemble.own_settings, f"--ensemble {options['ensemble']}")
    total = number_of_steps(steps, length, options["timestep"])
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    if not (resume or overwrite):
        refuse_existing(output, "use --resume to go on, --overwrite to replace it")
    settings = settings_from(MDSettings, options)
    atoms, description = prepare(**options)
    charges = atoms.calc.point_charges
    settings = replace(settings, isolated=not len(charges) and charges.cell is None)
    with RunLog(_COLUMNS, output.with_suffix(".log"), total=total, append=resume) as log:
        of = f"{settings.ensemble}, {settings.timestep:g} fs, {settings.temperature:g} K"
        log.line(f"{description}; {of}")
        log.head()
        report = _Report(log, atoms, total)
        try:
            last = run_md(
                atoms,
                settings,
                steps=total,
                trajectory=output,
                interval=interval,
                resume=resume,
                report=report,
                report_interval=log_interval,
            )
        except KeyboardInterrupt:
            log.line(f"interrupted; the same command with --resume goes on where {output} ends")
            raise
        log.line(
            f"{last.step} steps ({last.time:g} ps) done, {duration(last.seconds)} this time; "
            f"images in {output}"
        )
        report.tell_uncertainty()


class _Report:
    """Rows of the log, and the largest uncertainty of a committee in them."""

    def __init__(self, log: RunLog, atoms: Any, total: int) -> None:
        self.log, self.calculator, self.total = log, atoms.calc, total
        self.committee = "n_members" in atoms.calc.card
        self.energy = self.force = 0.0

    def __call__(self, now: MDState) -> None:
        if self.committee:
            found = self.calculator.uncertainty
            self.energy = max(self.energy, found.energy)
            self.force = max(self.force, found.forces.max())
        left = duration((self.total - now.step) / now.rate) if now.rate else None
        drift = None if now.drift is None else 1000 * now.drift
        values = (now.step, now.time, now.potential, now.kinetic, now.temperature, drift)
        self.log.row((*values, now.rate or None, left), now.step)

    def tell_uncertainty(self) -> None:
        """Write the largest uncertainty, of a committee."""
        if self.committee:
            self.log.line(
                f"largest uncertainty in the steps above: energy {self.energy:.4f} eV, force on "
                f"an atom {self.force:.3f} eV/Å"
            )


def number_of_steps(steps: int | None, length: float | None, timestep: float) -> int:
    """Steps of a run that was given either so or by its length in ps."""
    if (steps is None) == (length is None):
        raise click.UsageError("give either --steps or --time")
    if steps is not None:
        return steps
    assert length is not None
    return round(1000 * length / timestep) if timestep > 0 else 0
