"""The solute in the held charges of a test frame, by what `eqmm md` uses: ASE's Langevin dynamics.

All charges of the frame act. Lennard-Jones keeps the atoms off them (`HeldLennardJones`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase.calculators.mixing import SumCalculator
from ase.constraints import Hookean
from ase.io.trajectory import Trajectory

from eqmm_ase.simulation.dynamics import MDState, run_md
from eqmm_ase.simulation.ensembles import MDSettings
from eqmm_ase.simulation.lennard_jones import HeldLennardJones
from scripts.stability.nvt_records import Driver, Monitor, Record, Records
from scripts.stability.nvt_settings import RunSettings
from scripts.stability.nvt_start import (
    CARBON,
    CHLORINES,
    WALL_START,
    WALL_STIFFNESS,
    WATER_EPSILON,
    WATER_SIGMA,
    Start,
)


def run_held(
    start: Start,
    settings: RunSettings,
    steps: int,
    folder: Path,
    report: Callable[[Record], None],
) -> None:
    """Run up to so many steps in all, or go on from the last image.

    Raises
    ------
    ExplodedError, RunFailedError
        The run cannot go on.
    """
    driver = Driver(settings.model, settings.member, settings.dtype)
    sites = start.waters.reshape(-1, 3)
    oxygens = start.waters[:, 0]
    driver.embed(np.tile(start.charges, len(start.waters)), sites)
    repulsion = HeldLennardJones(
        start.sigma,
        start.epsilon,
        oxygens,
        np.full(len(oxygens), WATER_SIGMA),
        np.full(len(oxygens), WATER_EPSILON),
    )
    atoms = start.atoms.copy()
    atoms.calc = SumCalculator([driver.calculator, repulsion])
    atoms.set_constraint([Hookean(CARBON, i, WALL_STIFFNESS, WALL_START) for i in CHLORINES])
    images = folder / "images.traj"
    resume = images.exists()
    records = Records(folder / "records.jsonl", _last_step(images) if resume else -1)
    monitor = Monitor(driver, settings.temperature, settings.timestep, settings.every)

    def watch(state: MDState) -> None:
        monitor.look(atoms.positions, atoms.get_forces())
        if state.step % settings.every == 0 and state.step > records.last:
            temperature = state.temperature
            record = monitor.record(state.step, atoms, sites, temperature, temperature)
            records.add(record)
            report(record)

    try:
        run_md(
            atoms,
            MDSettings(
                ensemble="langevin",
                temperature=settings.temperature,
                timestep=settings.timestep,
                friction=settings.friction,
                seed=settings.seed,
            ),
            steps=steps,
            trajectory=images,
            interval=settings.every,
            resume=resume,
            report=watch,
            report_interval=1,
        )
    finally:
        records.close()


def _last_step(images: Path) -> int:
    with Trajectory(images) as trajectory:
        return int(trajectory[-1].info["md"]["step"])
