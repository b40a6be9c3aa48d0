"""`eqmm md --topology` and `eqmm optimize --topology`: dynamics and relaxation of whole systems."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from openmm import app, unit

from eqmm_ase.arrays import FloatArray
from eqmm_ase.commands.md import number_of_steps
from eqmm_ase.commands.run_log import RunLog
from eqmm_ase.commands.system_options import (
    PreparedSystem,
    prepare_system,
    region_options,
    system_options,
)
from eqmm_ase.cutting.snapshots import CutSettings, SnapshotCutter
from eqmm_ase.cutting.trajectories import Snapshot
from eqmm_ase.data.frame import Frame
from eqmm_ase.engines.energy_ledger import energy_ledger
from eqmm_ase.engines.openmm_context import energy_and_forces, move_to, new_context, positions_of
from eqmm_ase.engines.openmm_force import minimise
from eqmm_ase.engines.output.trajectory_writer import FORMATS
from eqmm_ase.engines.run_settings import SystemRunSettings
from eqmm_ase.engines.system_run import SystemRow, SystemRun
from eqmm_ase.progress_bar import duration
from eqmm_ase.setting_options import setting_options, settings_from
from eqmm_ase.simulation.relax import refuse_existing

_COLUMNS = (
    ("step", "d", 9),
    ("time/ps", ".3f", 10),
    ("E(pot)/eV", ".4f", 16),
    ("E(ML)/eV", ".4f", 14),
    ("T/K", ".1f", 7),
    ("unc./(eV/Å)", ".3f", 11),
    ("ns/day", ".2f", 8),
    ("left", "", 8),
)
_DAY = 86400.0


@click.command("md", context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@system_options
@region_options
@setting_options(SystemRunSettings, without=("steps",))
@click.option("--steps", type=int, help="Number of steps; or give --time.")
@click.option("--time", "length", type=float, help="Length in ps; or give --steps.")
@click.option(
    "--trajectory",
    type=click.Choice(FORMATS),
    default="dcd",
    help="Format of the trajectory in OUTPUT; nc is AMBER's NetCDF.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("md"),
    help="Folder of the run; one that is there is gone on with.",
)
def system_md(
    model: Path,
    output: Path,
    trajectory: str,
    steps: int | None,
    length: float | None,
    **options: Any,
) -> None:
    """Run molecular dynamics of a whole system with MODEL in the place of its ML region.

    The energy is minimised and the system heated, then it runs, in a folder with trajectory, table
    of energies, log and checkpoint. The same command goes on where a run ended or was killed.
    SIGTERM and Ctrl-C end it at the next checkpoint.
    """
    total = number_of_steps(steps, length, options["timestep"])
    prepared = prepare_system(model, options)
    loaded = prepared.loaded
    settings = settings_from(SystemRunSettings, options, steps=total)
    run = SystemRun(
        prepared.mixed,
        loaded.topology,
        settings,
        output,
        trajectory=f"trajectory.{trajectory}",
        frame_of=_cutter(prepared),
    )
    first = run.step
    with RunLog(_COLUMNS, output / "md.log", total=settings.steps, append=bool(first)) as log:
        log.line(
            f"{prepared.description}; {settings.ensemble}, {settings.timestep:g} fs, "
            f"{settings.temperature:g} K"
        )
        log.head()
        with _until_told_to_end() as stopped:
            last = run(
                loaded.positions,
                loaded.cell,
                report=_reporter(log, settings, first),
                stage=log.line,
                stopped=stopped,
            )
        _tell_end(log, run, last, output, stopped())


def _reporter(log: RunLog, settings: SystemRunSettings, first: int) -> Callable[[SystemRow], None]:
    """Rows of the log, with rate and time left."""
    begun = time.monotonic()

    def report(row: SystemRow) -> None:
        nonlocal begun
        if row.step == first:
            begun = time.monotonic()
        done = row.step - first
        rate = done / (time.monotonic() - begun) if done else None
        left = duration((settings.steps - row.step) / rate) if rate else None
        speed = rate * settings.timestep * 1e-6 * _DAY if rate else None
        values = (row.step, row.time, row.potential, row.network, row.temperature)
        log.row((*values, row.uncertainty, speed, left), row.step)

    return report


def _tell_end(log: RunLog, run: SystemRun, last: SystemRow, output: Path, told: bool) -> None:
    if told:
        log.line(f"ended at step {last.step}; the same command goes on from there")
    elif last.step < run.settings.steps:
        log.line(
            f"stopped at step {last.step}: a force on an ML atom was uncertain by more than "
            f"{run.settings.uncertainty_limit:g} eV/Å"
        )
    else:
        log.line(f"{last.step} steps ({last.time:g} ps) done; everything is in {output}")
    if run.uncertain_frames:
        log.line(
            f"{run.uncertain_frames} uncertain frames are in {output}, ready for "
            "`eqmm-datagen label`"
        )


@click.command("optimize", context_settings={"show_default": True})
@click.argument("model", type=click.Path(path_type=Path))
@system_options
@region_options
@click.option("--fmax", default=0.01, help="Root-mean-square force left, eV/Å.")
@click.option("--platform", default="CPU", help="Of OpenMM.")
@click.option("--threads", default=1, help="Of the platform CPU.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("relaxed.pdb"),
    help="PDB file to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier OUTPUT.")
def relax_system(
    model: Path,
    output: Path,
    fmax: float,
    platform: str,
    threads: int,
    overwrite: bool,
    **options: Any,
) -> None:
    """Relax a whole system with MODEL in the place of its ML region, constraints kept.

    Prints the energy by terms before it ends.
    """
    if not overwrite:
        refuse_existing(output, "use --overwrite to replace it, or name another with -o")
    prepared = prepare_system(model, options)
    loaded, mixed = prepared.loaded, prepared.mixed
    click.echo(prepared.description)
    context = new_context(mixed.system, platform, threads)
    move_to(context, loaded.positions, loaded.cell)
    before, _ = energy_and_forces(context)
    minimise(context, fmax)
    after, _ = energy_and_forces(context)
    positions, cell = positions_of(context)
    with output.open("w", encoding="utf-8") as file:
        app.PDBFile.writeFile(loaded.topology, positions * unit.angstrom, file)
    click.echo(f"energy {before:.4f} → {after:.4f} eV; {output}")
    click.echo(str(energy_ledger(mixed, positions, cell)))


def _cutter(prepared: PreparedSystem) -> Callable[[FloatArray, FloatArray | None, str], Frame]:
    """Frames as `eqmm-datagen cut` cuts them, out of configurations of a run."""
    region, topology = prepared.mixed.region, prepared.loaded.sites
    media = prepared.mixed.potential.card.get("media") or ["unknown"]
    settings = CutSettings(
        medium=str(media[0]),
        cap_rule=region.cap_rule,
        redistribution=region.redistribution,
        total_charge=region.total_charge,
        spin_multiplicity=region.spin_multiplicity,
        isolated=prepared.loaded.cell is None,
    )

    def cut(positions: FloatArray, cell: FloatArray | None, source: str) -> Frame:
        snapshot = Snapshot(0, positions, cell)
        cutter = SnapshotCutter(topology, region.region, settings)
        fits = cutter.largest_radius(snapshot)
        return (cutter.within(fits) if fits < settings.radius else cutter)(snapshot, source)

    return cut


@contextmanager
def _until_told_to_end() -> Iterator[Any]:
    """Yields a function that tells whether SIGTERM or Ctrl-C asked for the end."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
