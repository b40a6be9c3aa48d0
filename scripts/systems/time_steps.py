"""How long may steps be? A solute in a box at constant energy, with light and heavy hydrogens.

    python -m scripts.systems.time_steps MODEL -o scripts/results/time_steps.json

One start, from which runs go on with Verlet steps of several lengths, with hydrogens of 1 and of
3 u in the ML region, and with multiple time steps (RESPA): the network inside, where bonds vibrate
fast, and the classical forces at longer steps around it, and the reverse. What counts is the drift
of the total energy, with its standard error, beside how far the energy swings.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openmm
from openmm import unit
from openmm.mtsintegrator import MTSIntegrator

from eqmm_ase.engines.system_potential import SystemPotentialError
from eqmm_ase.uncertainty.contacts import ContactError
from scripts.common import argument_parser, text_table, write_results
from scripts.systems.boxes import make_box
from scripts.systems.nve import equilibrated, figures, first_member, follow

_GROUP = 1  # force group of the network


@dataclass(frozen=True)
class Steps:
    """One way to integrate."""

    hydrogen_mass: float  # u
    step: float
    """fs, of the whole."""

    network: int = 1
    """Evaluations of the network in each step."""

    classical: int = 1
    """Evaluations of the classical forces in each step."""

    def integrator(self) -> openmm.Integrator:
        """Verlet, or nested Verlet where one part is evaluated more often."""
        length = self.step * unit.femtosecond
        if self.network == self.classical == 1:
            return openmm.VerletIntegrator(length)
        return MTSIntegrator(length, [(0, self.classical), (_GROUP, self.network)])


WAYS = (
    *(Steps(1.008, step) for step in (0.5, 1.0, 1.5, 2.0)),
    *(Steps(3.0, step) for step in (1.0, 2.0, 3.0)),
    *(Steps(3.0, step, network=2) for step in (2.0, 4.0)),
    *(Steps(3.0, step, classical=2) for step in (2.0, 4.0)),
)


def run(ways: Sequence[Steps], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Drift, swing and cost of each way."""
    member = first_member(options.model)
    rows, starts = [], {}
    for way in ways:
        box = make_box(options.solute, options.edge, hydrogen_mass=way.hydrogen_mass)
        mixed = box.coupled(member, group=_GROUP)
        if way.hydrogen_mass not in starts:
            starts[way.hydrogen_mass] = equilibrated(mixed.system, box, options, 1.0)
        start, name = starts[way.hydrogen_mass], f"{way.hydrogen_mass:g} u, {way.step:g} fs"
        rows.append(asdict(way) | _measured(mixed.system, start, way, options, name))
        content = {
            "what": "total energy of a box at constant energy, by time step",
            "atoms": len(box.positions),
            "settings": {k: v for k, v in vars(options).items() if k not in ("output", "model")},
            "runs": rows,
        }
        write_results(options.output, content, ("eqmm", "torch", "openmm", "finufft"))
    return rows


def _measured(
    system: openmm.System,
    start: openmm.State,
    way: Steps,
    options: argparse.Namespace,
    name: str,
) -> dict[str, Any]:
    """Figures of one run; none where it blows up."""
    try:
        found = follow(system, start, way.integrator(), options, name)
    except (openmm.OpenMMException, SystemPotentialError, ContactError) as error:
        return {"blown_up": str(error)}
    return figures(*found, n_atoms=system.getNumParticles())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all, write the JSON and print the table."""
    parser = argument_parser(__doc__, "JSON file to write")
    parser.add_argument("model", type=Path)
    parser.add_argument("--solute", choices=("methanol", "sn2"), default="sn2")
    parser.add_argument("--edge", type=float, default=28.0, help="Å")
    parser.add_argument("--time", type=float, default=5.0, help="ps of each run")
    parser.add_argument("--equilibration", type=float, default=5.0, help="ps")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--seed", type=int, default=1)
    rows = run(WAYS, parser.parse_args(arguments))
    columns = (
        ("m(H)/u", ".3g"),
        ("step/fs", ".2g"),
        ("network", "d"),
        ("classical", "d"),
        ("drift/(meV/ps)", ".2f"),
        ("± ", ".2f"),
        ("swing/meV", ".1f"),
        ("CPU ms/step", ".1f"),
    )
    names = [
        *("hydrogen_mass", "step", "network", "classical"),
        *("drift_meV_per_ps", "standard_error", "fluctuation_meV", "cpu_ms_per_step"),
    ]
    print(text_table(columns, [[row.get(name) for name in names] for row in rows]))


if __name__ == "__main__":
    main()
