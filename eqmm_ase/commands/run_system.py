"""What `eqmm md` and `eqmm optimize` do with a whole system."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from eqmm_ase.commands.system_options import PreparedSystem, prepare_system

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


def run_system_md(
    model: Path, options: Mapping[str, Any], settings: Any, output: Path, **region: Any
) -> None:
    """Dynamics of a whole system in the folder `output`; goes on where an earlier run ended.

    Parameters
    ----------
    options
        Of `system_options`.
    settings
        `eqmm_ase.engines.run_settings.SystemRunSettings`.
    region
        ``total_charge``, ``spin_multiplicity``, ``dtype``.
    """
    from eqmm_ase.commands.run_log import RunLog
    from eqmm_ase.engines.system_run import SystemRow, SystemRun
    from eqmm_ase.progress_bar import duration

    prepared = prepare_system(model, options, **region)
    loaded, mixed = prepared.loaded, prepared.mixed
    run = SystemRun(mixed, loaded.topology, settings, output, frame_of=_cutter(prepared))
    begun, first = time.monotonic(), run.step
    log_file = output / "md.log"
    with RunLog(_COLUMNS, log_file, total=settings.steps, append=bool(first)) as log:
        log.line(
            f"{prepared.description}; {settings.ensemble}, {settings.timestep:g} fs, "
            f"{settings.temperature:g} K"
        )
        log.head()

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

        with _until_told_to_end() as stopped:
            last = run(
                loaded.positions, loaded.cell, report=report, stage=log.line, stopped=stopped
            )
        if stopped():
            log.line(f"ended at step {last.step}; the same command goes on from there")
        elif last.step < settings.steps:
            log.line(
                f"stopped at step {last.step}: the force on an ML atom is uncertain by "
                f"{last.uncertainty:.3f} eV/Å and more; its frame is in {output}, ready for "
                "`eqmm-datagen label`"
            )
        else:
            log.line(f"{last.step} steps ({last.time:g} ps) done; everything is in {output}")
        if run.uncertain_frames:
            log.line(f"{run.uncertain_frames} uncertain frames are in {output}")


def relax_system(
    model: Path, options: Mapping[str, Any], output: Path, fmax: float, **region: Any
) -> None:
    """Minimise the energy of a whole system, constraints kept; writes a PDB."""
    from openmm import app, unit

    from eqmm_ase.engines.energy_ledger import energy_ledger
    from eqmm_ase.engines.openmm_context import (
        energy_and_forces,
        move_to,
        new_context,
        positions_of,
    )
    from eqmm_ase.engines.whole_system import relax_surroundings

    prepared = prepare_system(model, options, **region)
    loaded, mixed = prepared.loaded, prepared.mixed
    click.echo(prepared.description)
    context = new_context(mixed.system, options["platform"], options["threads"])
    move_to(context, loaded.positions, loaded.cell)
    before, _ = energy_and_forces(context)
    relax_surroundings(context, fmax)
    after, _ = energy_and_forces(context)
    positions, cell = positions_of(context)
    with output.open("w", encoding="utf-8") as file:
        app.PDBFile.writeFile(loaded.topology, positions * unit.angstrom, file)
    click.echo(f"energy {before:.4f} → {after:.4f} eV; {output}")
    click.echo(str(energy_ledger(mixed, positions, cell)))


def _cutter(prepared: PreparedSystem) -> Any:
    """Frames cut as `eqmm-datagen cut` cuts them, out of configurations of the run."""
    import numpy as np

    from eqmm_ase.cutting.cluster import RECOMMENDED_RADIUS
    from eqmm_ase.cutting.snapshots import CutSettings, SnapshotCutter
    from eqmm_ase.cutting.trajectories import Snapshot

    region = prepared.mixed.region
    media = prepared.mixed.potential.card.get("media") or ["unknown"]
    cell = prepared.loaded.cell
    settings = CutSettings(
        medium=str(media[0]),
        radius=RECOMMENDED_RADIUS,
        cap_rule=region.cap_rule,
        charge_scheme=region.redistribution,
        total_charge=region.total_charge,
        spin_multiplicity=region.spin_multiplicity,
        isolated=cell is None,
    )
    cutter = SnapshotCutter(prepared.loaded.sites, region.region, settings)

    def cut(positions: Any, cell: Any, source: str) -> Any:
        nonlocal cutter
        snapshot = Snapshot(0, positions, cell)
        largest = cutter.largest_radius(snapshot)
        if largest < cutter.settings.radius:
            radius = float(np.floor(largest * 10.0) / 10.0)
            from dataclasses import replace

            cutter = SnapshotCutter(
                cutter.topology, cutter.region, replace(cutter.settings, radius=radius)
            )
        return cutter(snapshot, source)

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
