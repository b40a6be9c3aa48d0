"""Nanoseconds a day of one box by several potentials: EqMM, DFT/MM, GFN2-xTB/MM, all classical.

    python -m scripts.systems.speed MODEL -o scripts/results/system_speed.json

One thread, CPU time, a step of 1 fs each. EqMM and the classical box are steps of OpenMM. DFT and
GFN2-xTB (if the package xtb is installed) are added to the classical step as the CPU time of energy
and forces in the charges within 12 Å, at consecutive steps of one trajectory, each started from the
density of the step before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import torch

from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame
from eqmm_ase.engines.openmm_context import positions_of
from eqmm_ase.network.committee import members_of
from eqmm_ase.network.model_file import load_model
from eqmm_ase.network.traced import PATIENCE
from eqmm_ase.units import BOHR
from scripts.common import argument_parser, text_table, write_results
from scripts.systems.boxes import make_box
from scripts.systems.cost import running, step_seconds
from scripts.systems.truth import cutter, level_of

_ROUNDS = 5
_STEPS = 40
_FRAMES = 8
_TIMESTEP = 1.0  # fs
_RADIUS = 12.0  # Å


def dft(frames: Sequence[Frame], method: Method) -> list[float]:
    """CPU seconds of energy and forces at each frame, from the density of the one before."""
    density, seconds = None, []
    for frame in frames:
        begun = time.process_time()
        result = label_frame(frame, method, density=density)
        seconds.append(time.process_time() - begun)
        density = result.density
    return seconds


def gfn2(frames: Sequence[Frame]) -> list[float]:
    """CPU seconds of energy and QM forces at each frame, from the state of the one before.

    The Python interface gives no forces on charges; a whole step takes a little longer.
    """
    from xtb.interface import Calculator, Param
    from xtb.libxtb import VERBOSITY_MUTED

    last, seconds = None, []
    for frame in frames:
        begun = time.process_time()
        calculator = Calculator(
            Param.GFN2xTB, frame.atomic_numbers, frame.qm_positions / BOHR, frame.total_charge
        )
        calculator.set_verbosity(VERBOSITY_MUTED)
        # As hydrogen: its hardness damps the interaction at short range, as xtb's own QM/MM does.
        numbers = np.ones(frame.n_mm, dtype=int)
        calculator.set_external_charges(numbers, frame.mm_charges, frame.mm_positions / BOHR)
        last = calculator.singlepoint(last, copy=True)
        last.get_gradient()
        seconds.append(time.process_time() - begun)
    return seconds


def measure(solute: str, path: Path, edge: float) -> Iterator[dict[str, Any]]:
    """Medians of CPU ms a step, by potential."""
    box = make_box(solute, edge)
    model, card = load_model(path)
    couple = {
        "EqMM": (members_of(model)[0], "ewald"),
        "EqMM, committee of three": (model, "ewald"),
        "EqMM, switched cutoff": (members_of(model)[0], "cutoff"),
    }
    classical = running(box.system, box)
    openmm.LocalEnergyMinimizer.minimize(classical, maxIterations=50)
    start = positions_of(classical)[0]
    plain = _rounds(classical, _STEPS)
    yield {"potential": "force field alone", "ms": plain}
    for name, (source, reach) in couple.items():
        mixed = box.coupled(source, electrostatics=reach)
        context = running(mixed.system, box)
        context.setPositions(start / 10.0)
        context.getIntegrator().step(PATIENCE + 5)  # from then on the network is traced
        if name == "EqMM":
            cut = cutter(mixed, _RADIUS)
            frames = []
            for _ in range(_FRAMES):
                context.getIntegrator().step(1)
                frames.append(cut(positions_of(context)[0], box.cell))
        yield {"potential": f"{name}/MM", "ms": _rounds(context, _STEPS)}
    method = Method(**level_of(card), charges=("mulliken",))
    others: dict[str, Callable[[], list[float]]] = {
        "GFN2-xTB/MM": lambda: gfn2(frames),
        f"{method.functional.upper()}/{method.basis.upper()}/MM": lambda: dft(frames, method),
    }
    for name, function in others.items():
        try:
            yield {"potential": name, "ms": plain + 1000 * float(np.median(function()[1:]))}
        except ImportError:
            print(f"{name} is left out: pip install xtb")


def _rounds(context: openmm.Context, steps: int) -> float:
    return 1000 * float(np.median([step_seconds(context, steps) for _ in range(_ROUNDS)]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argument_parser(__doc__, "JSON file to write")
    parser.add_argument("model", type=Path)
    parser.add_argument("--solute", choices=("methanol", "sn2"), default="sn2")
    parser.add_argument("--edge", type=float, default=28.0, help="Å")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for row in measure(chosen.solute, chosen.model, chosen.edge):
        row["ns_per_day"] = 86.4 * _TIMESTEP / row["ms"]
        rows.append(row)
        settings = {"solute": chosen.solute, "edge": chosen.edge, "timestep": _TIMESTEP}
        content = {"what": "CPU time of a step, one thread", "settings": settings, "rows": rows}
        write_results(chosen.output, content)
    columns = (("potential", "s"), ("CPU ms/step", ".2f"), ("ns/day", ".4f"))
    print(text_table(columns, [list(row.values()) for row in rows]))


if __name__ == "__main__":
    main()
