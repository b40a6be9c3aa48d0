"""A whole system on OpenMM's CUDA platform: forces beside the CPU platform's, and its steps."""

from __future__ import annotations

from functools import partial

from scripts.common import TEST_DATA
from scripts.device.figures import Figures, NotRunError, largest, median_ms, refuse_beyond

EDGE = 28.0  # Å
LIMIT = 5e-3  # eV/Å; both platforms add up forces of up to 10 eV/Å in single precision


def figures(platform: str = "CUDA", edge: float = EDGE, steps: int = 20) -> Figures:
    """Largest deviation of forces, and the time of a step with the network and without it.

    The network itself is computed on the CPU: whole systems have no other way yet.
    """
    try:
        import openmm

        from eqmm_ase.engines.openmm_context import (
            energy_and_forces,
            move_to,
            new_context,
            positions_of,
        )
        from scripts.systems.boxes import make_box
    except ImportError as error:
        raise NotRunError(f"OpenMM is not installed ({error})") from error
    platforms = range(openmm.Platform.getNumPlatforms())
    if platform not in [openmm.Platform.getPlatform(i).getName() for i in platforms]:
        raise NotRunError(f"OpenMM has no platform {platform} here")
    box = make_box("methanol", edge)
    classical = new_context(box.system, platform)
    move_to(classical, box.positions, box.cell)
    openmm.LocalEnergyMinimizer.minimize(classical, maxIterations=20)
    positions = positions_of(classical)[0]
    mixed = box.coupled(TEST_DATA / "methanol.eqmm")
    here, there = (new_context(mixed.system, own) for own in ("CPU", platform))
    for context in (here, there):
        move_to(context, positions, box.cell)
    found = {"forces, eV/Å": largest(energy_and_forces(here)[1], energy_and_forces(there)[1])}
    refuse_beyond(found, {"forces, eV/Å": LIMIT})
    steppers = {"a step, ms": there.getIntegrator(), "classical, ms": classical.getIntegrator()}
    times: Figures = {}
    for name, integrator in steppers.items():
        integrator.step(steps)
        times[name] = median_ms(partial(integrator.step, steps), 3) / steps
    return {"atoms": float(len(positions))} | found | times
