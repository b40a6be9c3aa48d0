"""Conservation of the energy of a solute in a box, beside the same box without a network.

Both begin from the end of a short run at constant temperature. The drift is the slope of a straight
line through block averages of the total energy, with its standard error. What goes wrong in single
precision or by constraints goes wrong in both. Of a committee the first member runs: the mean of
three is as smooth, and three times as slow.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import unit

from eqmm_ase.engines.openmm_context import move_to, new_context
from eqmm_ase.network.committee import members_of
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import load_model
from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.units import KJ_PER_MOL
from scripts.common import argument_parser, write_results
from scripts.stability.nve_drift import drift
from scripts.systems.boxes import Box, make_box

_EVERY = 20  # steps between energies
_BLOCKS = 10
_TIGHT = 1e-6
"""Of constraints, relative: with OpenMM's 1e-5 rigid water alone drifts."""


def first_member(path: Path) -> MultiscaleModel:
    """A model, or the first of a committee."""
    return members_of(load_model(path)[0])[0]


def hold_together(system: openmm.System, box: Box) -> None:
    """Keep the chloride near chloromethane: in water it would leave, and the model knows 5 Å."""
    force = openmm.CustomBondForce("k*max(0, r-r0)^2")
    force.addGlobalParameter("k", 20_000.0)  # kJ/mol/nm²
    force.addGlobalParameter("r0", 0.45)  # nm
    carbon, _, chloride = box.ml_atoms[:3]
    force.addBond(carbon, chloride)
    force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)


def equilibrated(
    system: openmm.System, box: Box, options: argparse.Namespace, timestep: float
) -> openmm.State:
    """Positions and velocities after minimisation and a run at constant temperature."""
    integrator = openmm.LangevinMiddleIntegrator(
        options.temperature * unit.kelvin, 5.0 / unit.picosecond, timestep * unit.femtosecond
    )
    integrator.setRandomNumberSeed(options.seed)
    integrator.setConstraintTolerance(_TIGHT)
    context = new_context(system, options.platform, 1, integrator)
    move_to(context, box.positions, box.cell)
    openmm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(options.temperature * unit.kelvin, options.seed)
    integrator.step(round(1000 * options.equilibration / timestep))
    return context.getState(positions=True, velocities=True)


def follow(
    system: openmm.System,
    start: openmm.State,
    integrator: openmm.Integrator,
    options: argparse.Namespace,
    name: str,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Times in ps, total energies in eV, and CPU seconds a step, of a run at constant energy."""
    integrator.setConstraintTolerance(_TIGHT)
    context = new_context(system, options.platform, 1, integrator)
    context.setState(start)
    timestep = integrator.getStepSize().value_in_unit(unit.femtosecond)
    steps = round(1000 * options.time / timestep)
    times, energies, begun = [], [], time.process_time()
    with ProgressBar(name, "steps", steps) as bar:
        for step in range(0, steps, _EVERY):
            integrator.step(_EVERY)
            found = context.getState(energy=True)
            total = found.getPotentialEnergy() + found.getKineticEnergy()
            energies.append(total.value_in_unit(unit.kilojoule_per_mole) * KJ_PER_MOL)
            times.append((step + _EVERY) * timestep * 1e-3)
            bar.update(step + _EVERY)
    return np.array(times), np.array(energies), (time.process_time() - begun) / steps


def figures(times: np.ndarray, energies: np.ndarray, cpu: float, n_atoms: int) -> dict[str, Any]:
    """Drift and fluctuation in meV and ps."""
    slope, error = drift(times, 1000 * energies, _BLOCKS)
    return {
        "drift_meV_per_ps": slope,
        "standard_error": error,
        "drift_per_atom": slope / n_atoms,
        "fluctuation_meV": float(
            1000 * (energies - np.polyval(np.polyfit(times, energies, 1), times)).std()
        ),
        "cpu_ms_per_step": 1000 * cpu,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both, write the JSON and say what came out."""
    parser = argument_parser(__doc__, "JSON file to write")
    parser.add_argument("model", type=Path)
    parser.add_argument("--solute", choices=("methanol", "sn2"), default="sn2")
    parser.add_argument("--edge", type=float, default=30.0, help="Å")
    parser.add_argument("--electrostatics", choices=("ewald", "cutoff"), default="ewald")
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--hydrogen-mass", type=float, help="u")
    parser.add_argument("--time", type=float, default=50.0, help="ps")
    parser.add_argument("--equilibration", type=float, default=5.0, help="ps")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--without-control", action="store_true", help="leave out the classical box"
    )
    options = parser.parse_args(arguments)
    box = make_box(options.solute, options.edge, hydrogen_mass=options.hydrogen_mass)
    mixed = box.coupled(first_member(options.model), electrostatics=options.electrostatics)
    systems = {"network": mixed.system} | (
        {} if options.without_control else {"classical": box.system}
    )
    found = {}
    for name, system in systems.items():
        if options.solute == "sn2":
            hold_together(system, box)
        start = equilibrated(system, box, options, options.timestep)
        integrator = openmm.VerletIntegrator(options.timestep * unit.femtosecond)
        found[name] = figures(
            *follow(system, start, integrator, options, name), n_atoms=len(box.positions)
        )
        settings = {k: v for k, v in vars(options).items() if k not in ("output", "model")}
        content = {
            "what": "total energy of a box at constant energy",
            "atoms": len(box.positions),
            "settings": settings,
            "runs": found,
        }
        write_results(options.output, content, ("eqmm", "torch", "openmm", "finufft"))
        print(name, {key: round(value, 5) for key, value in found[name].items()}, flush=True)


if __name__ == "__main__":
    main()
