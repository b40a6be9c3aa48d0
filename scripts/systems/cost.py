"""Cost of a step of a whole system with a network, beside the same step without.

CPU time of one thread, of both in turn, so that a busy machine slows both.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import torch
from openmm import unit

from eqmm_ase.engines.openmm_context import move_to, new_context
from eqmm_ase.network.traced import PATIENCE
from scripts.common import RESULTS, argument_parser, write_results
from scripts.systems.boxes import Box, make_box

EDGES = (30.0, 67.0, 100.0)
"""Å; 2 700, 30 000 and 100 000 atoms."""
ROUNDS = 5


def running(system: openmm.System, box: Box) -> openmm.Context:
    """A System that runs on one thread, begun from a few steps of relaxation."""
    integrator = openmm.LangevinMiddleIntegrator(
        300 * unit.kelvin, 1 / unit.picosecond, 0.5 * unit.femtosecond
    )
    context = new_context(system, "CPU", 1, integrator)
    move_to(context, box.positions, box.cell)
    return context


def step_seconds(context: openmm.Context, steps: int) -> float:
    """CPU seconds a step."""
    begun = time.process_time()
    context.getIntegrator().step(steps)
    return (time.process_time() - begun) / steps


def measure(solute: str, model: Path, edge: float, steps: int) -> dict[str, Any]:
    """Medians over rounds of ms a step, with and without network."""
    box = make_box(solute, edge)
    mixed = box.coupled(model)
    classical = running(box.system, box)
    openmm.LocalEnergyMinimizer.minimize(classical, maxIterations=5)
    networked = running(mixed.system, box)
    networked.setPositions(classical.getState(positions=True).getPositions())
    networked.getIntegrator().step(PATIENCE + 5)  # from then on the network is traced
    rows = [(step_seconds(classical, steps), step_seconds(networked, steps)) for _ in range(ROUNDS)]
    plain, with_network = 1000 * np.median(rows, axis=0)
    return {
        "solute": solute,
        "members": mixed.potential.n_members,
        "atoms": len(box.positions),
        "classical_ms": round(float(plain), 2),
        "with_network_ms": round(float(with_network), 2),
        "ratio": round(float(np.median([b / a for a, b in rows])), 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argument_parser(__doc__, "JSON file to write", RESULTS / "system_cost.json")
    parser.add_argument("model", type=Path)
    parser.add_argument("--solute", choices=("methanol", "sn2"), default="methanol")
    parser.add_argument("--edges", type=float, nargs="+", default=EDGES, help="Å")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for edge in chosen.edges:
        rows.append(measure(chosen.solute, chosen.model, edge, max(2, round(3e5 / edge**3))))
        print(rows[-1], flush=True)
        figures = {"what": "CPU time of a step, one thread, platform CPU, PME", "systems": rows}
        write_results(chosen.output, figures, ("eqmm", "torch", "openmm", "finufft"))


if __name__ == "__main__":
    main()
