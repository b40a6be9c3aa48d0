"""`eqmm md`: molecular dynamics of a molecule in held MM charges or in vacuum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eqmm_ase.command_line import refuse_idle
from eqmm_ase.commands.structure_options import prepare, structure_options

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


@click.command("md")
@structure_options
@click.option(
    "--ensemble",
    type=click.Choice(["nve", "langevin", "bussi"]),
    default="langevin",
    show_default=True,
)
@click.option("--temperature", default=300.0, show_default=True, help="K.")
@click.option("--timestep", default=0.5, show_default=True, help="fs.")
@click.option("--steps", type=int, help="Number of steps; or give --time.")
@click.option("--time", "length", type=float, help="Length in ps; or give --steps.")
@click.option("--friction", default=10.0, show_default=True, help="1/ps, for Langevin.")
@click.option("--coupling-time", default=100.0, show_default=True, help="fs, for Bussi.")
@click.option("--seed", default=0, show_default=True, help="Of velocities and thermostat.")
@click.option("--interval", default=20, show_default=True, help="Steps between images.")
@click.option("--log-interval", default=100, show_default=True, help="Steps between log lines.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("md.traj"),
    show_default=True,
    help="ASE trajectory; the log goes beside it (.log).",
)
@click.option("--resume", is_flag=True, help="Go on where OUTPUT ends, up to --steps in all.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier OUTPUT.")
@click.pass_context
def md(
    context: click.Context,
    ensemble: str,
    temperature: float,
    timestep: float,
    steps: int | None,
    length: float | None,
    friction: float,
    coupling_time: float,
    seed: int,
    interval: int,
    log_interval: int,
    output: Path,
    resume: bool,
    overwrite: bool,
    **system: Any,
) -> None:
    """Run molecular dynamics of STRUCTURE with MODEL.

    STRUCTURE is a frame of a dataset (data.h5:12) or an image of an earlier run (md.traj@3), its MM
    charges included, or any file ASE reads. Without charges the molecule is in vacuum. Charges are
    held and are bare; walls keep atoms from falling onto them. Interrupted runs go on with
    --resume, exactly as if they had never stopped.
    """
    from eqmm_ase.commands.run_log import RunLog
    from eqmm_ase.progress_bar import duration
    from eqmm_ase.simulation.dynamics import MDState, run_md
    from eqmm_ase.simulation.ensembles import MDSettings
    from eqmm_ase.simulation.relax import refuse_existing

    for option, its in (("friction", "langevin"), ("coupling_time", "bussi")):
        if ensemble != its:
            refuse_idle(context, [option], f"--ensemble {ensemble}")
    total = _number_of_steps(steps, length, timestep)
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    if not (resume or overwrite):
        refuse_existing(output, "use --resume to go on, --overwrite to replace it")
    atoms, description = prepare(**system)
    settings = MDSettings(
        ensemble=ensemble,
        temperature=temperature,
        timestep=timestep,
        friction=friction,
        coupling_time=coupling_time,
        isolated=not len(atoms.calc.point_charges),
        seed=seed,
    )
    committee = "n_members" in atoms.calc.card
    worst_energy = worst_force = 0.0
    with RunLog(_COLUMNS, output.with_suffix(".log"), total=total, append=resume) as log:
        log.line(f"{description}; {ensemble}, {timestep:g} fs, {temperature:g} K")
        log.head()

        def report(now: MDState) -> None:
            nonlocal worst_energy, worst_force
            if committee:
                found = atoms.calc.uncertainty
                worst_energy = max(worst_energy, found.energy)
                worst_force = max(worst_force, found.forces.max())
            left = duration((total - now.step) / now.rate) if now.rate else None
            drift = None if now.drift is None else 1000 * now.drift
            values = (now.step, now.time, now.potential, now.kinetic, now.temperature, drift)
            log.row((*values, now.rate or None, left), now.step)

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
        if committee:
            log.line(
                f"largest uncertainty in the steps above: energy {worst_energy:.4f} eV, force on "
                f"an atom {worst_force:.3f} eV/Å"
            )


def _number_of_steps(steps: int | None, length: float | None, timestep: float) -> int:
    if (steps is None) == (length is None):
        raise click.UsageError("give either --steps or --time")
    if steps is not None:
        return steps
    assert length is not None
    return round(1000 * length / timestep) if timestep > 0 else 0
