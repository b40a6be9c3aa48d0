"""Does a model conserve energy? NVE of the QM atoms in the held charges of one frame, in float64.

    python -m scripts.stability.nve_drift model.eqmm test.h5:0 -o nve.json

After a short thermostatted run, total energy is followed for `--length` ps: its drift is a straight
line fitted to block averages, with the error that their scatter gives. Shorter runs from the same
start at half and twice the time step show how the fluctuation grows, as its square if forces are
the exact gradient of a smooth energy. The integrator's own conserved quantity (`shadow_energy.py`)
tells a drift from heat that wanders between vibrations. A killed run goes on when started again.

Bare charges would draw the molecule onto them sooner or later, so restraints keep it as far from
them as atoms were in training; `--no-restraints` leaves them out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.io import read

from eqmm_ase import EqMM
from eqmm_ase.atomic_write import atomic_path
from eqmm_ase.files.structures import Structure, read_structure
from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.simulation.dynamics import MDState, run_md
from eqmm_ase.simulation.ensembles import MDSettings
from eqmm_ase.simulation.restraints import ContactRestraints
from eqmm_ase.terminal import say, screen
from scripts.common import argument_parser, write_results
from scripts.stability.shadow_energy import shadow_energies

_BLOCKS = 20

Record = Callable[[MDState], None]


def embedded(model: str, structure: Structure, restraints: bool) -> Atoms:
    """The QM atoms with the model in float64, with restraints."""
    atoms = structure.atoms
    atoms.calc = EqMM(model, dtype="float64")
    atoms.calc.embed(structure.mm_charges, structure.mm_positions)
    if restraints and len(structure.mm_charges):
        around = structure.mm_charges, structure.mm_positions
        atoms.set_constraint(ContactRestraints(atoms, *around, atoms.calc.domain))
    return atoms


def drift(times: np.ndarray, energies: np.ndarray, n_blocks: int) -> tuple[float, float]:
    """Slope of a straight line through block averages, and its standard error.

    Parameters
    ----------
    times, energies
        (n,). Blocks must be longer than the energy's memory for the error to be right.
    n_blocks
        At least 3.

    Returns
    -------
    slope, error
        In units of energy per time.
    """
    t, e = (
        np.array([block.mean() for block in np.array_split(values, n_blocks)])
        for values in (times, energies)
    )
    (slope, _), covariance = np.polyfit(t, e, 1, cov="unscaled")
    residual = e - np.polyval(np.polyfit(t, e, 1), t)
    variance = (residual**2).sum() / (n_blocks - 2)
    return float(slope), float(np.sqrt(variance * covariance[0, 0]))


class EnergyFile:
    """Time and drift of every step in a text file that survives a kill.

    Parameters
    ----------
    path
        Rows that go beyond `last_step`, written after the last image was, are dropped.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        kept = []
        if path.exists():
            # The last line may be half a line.
            lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
            kept = [row for row in lines if len(row) == 4 and int(row[0]) <= last_step]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(" ".join(row) + "\n" for row in kept), encoding="utf-8")
        self._written = {int(row[0]) for row in kept}
        self._file = path.open("a", encoding="utf-8")

    def record(self, state: MDState) -> None:
        """Add a step."""
        if state.step not in self._written:
            row = f"{state.step} {state.time!r} {state.drift!r} {state.temperature!r}"
            self._file.write(row + "\n")
            self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def production(
    atoms: Atoms, settings: MDSettings, steps: int, base: Path, record: Record
) -> np.ndarray:
    """The long NVE run, resumed if there is one; columns step, ps, eV, K."""
    trajectory, text = base.with_suffix(".traj"), base.with_suffix(".energies")
    resume = trajectory.exists()
    last = read(trajectory).info["md"]["step"] if resume else -1
    energies = EnergyFile(text, last)

    def report(state: MDState) -> None:
        energies.record(state)
        record(state)

    try:
        run_md(
            atoms,
            settings,
            steps=steps,
            trajectory=trajectory,
            interval=200,
            resume=resume,
            report=report,
            report_interval=1,
        )
    finally:
        energies.close()
    return np.loadtxt(text, ndmin=2)


def fluctuations(
    start: Atoms, settings: MDSettings, length: float, record: Record
) -> dict[str, float]:
    """RMS of the total energy in meV at half, once and twice the time step, same start."""
    found = {}
    for timestep in (settings.timestep / 2, settings.timestep, 2 * settings.timestep):
        atoms = start.copy()
        atoms.info.pop("md", None)
        atoms.calc = start.calc
        drifts: list[float] = []
        run_md(
            atoms,
            MDSettings(timestep=timestep, temperature=settings.temperature),
            steps=max(2, round(1000 * length / timestep)),
            report=partial(_note, drifts, record),
            report_interval=1,
        )
        found[f"{timestep:g}"] = 1000 * float(np.std(drifts))
    return found


def _note(drifts: list[float], record: Record, state: MDState) -> None:
    assert state.drift is not None  # no thermostat here
    drifts.append(state.drift)
    record(state)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All runs, with a bar for all."""
    base = options.output.with_suffix("")
    structure = read_structure(options.structure)
    atoms = embedded(options.model, structure, options.restraints)
    settings = MDSettings(timestep=options.timestep, temperature=options.temperature)
    start_file = base.with_suffix(".start.traj")
    steps = round(1000 * options.equilibration / options.timestep)
    with ProgressBar("equilibration", "steps", steps) as bar:
        run_md(
            atoms,
            MDSettings(
                ensemble="langevin", timestep=options.timestep, temperature=options.temperature
            ),
            steps=max(2, steps),
            trajectory=start_file,
            resume=start_file.exists(),
            report=lambda _: bar.advance(),
            report_interval=1,
        )
    steps = round(1000 * options.length / options.timestep)
    start = atoms.copy()
    start.calc = atoms.calc
    with ProgressBar("production", "steps", steps) as bar:
        table = production(atoms, settings, steps, base, lambda _: bar.advance())
    steps = round(3500 * options.fluctuation_length / options.timestep)
    with ProgressBar("fluctuation", "steps", steps) as bar:
        rms = fluctuations(start, settings, options.fluctuation_length, lambda _: bar.advance())
    images = read(base.with_suffix(".traj"), ":")
    shadow = shadow_energies(images, start, options.timestep * units.fs)
    found = figures(table, rms, len(atoms), options.timestep)
    return found | shadow_figures(shadow, found["length_ps"])


def figures(
    table: np.ndarray, rms: dict[str, float], n_atoms: int, timestep: float
) -> dict[str, Any]:
    """What the runs came to, in meV and ps."""
    _, times, energies, temperatures = table.T
    blocks = {
        str(n): dict(zip(("slope", "error"), drift(times, 1000 * energies, n), strict=True))
        for n in (10, 20, 40)
    }
    slope, error = blocks["20"]["slope"], blocks["20"]["error"]
    half, once, twice = rms.values()
    return {
        "length_ps": float(times[-1]),
        "timestep_fs": timestep,
        "mean_temperature_K": float(temperatures.mean()),
        "drift_meV_per_ps": slope,
        "drift_error_meV_per_ps": error,
        "drift_meV_per_ps_per_atom": slope / n_atoms,
        "drift_within_two_errors": abs(slope) <= 2 * error,
        "drift_by_number_of_blocks": blocks,
        "fluctuation_meV": float(1000 * energies.std()),
        "fluctuation_meV_by_timestep_fs": rms,
        "fluctuation_ratios": [once / half, twice / once],
    }


def shadow_figures(energies: np.ndarray, length: float) -> dict[str, float]:
    """What the shadow energy came to, in meV and ps; nothing for a run of a few images."""
    if len(energies) < _BLOCKS:
        return {}
    times = np.linspace(0.0, length, len(energies))
    slope, error = drift(times, 1000 * energies, _BLOCKS)
    return {
        "shadow_fluctuation_meV": float(1000 * energies.std()),
        "shadow_drift_meV_per_ps": slope,
        "shadow_drift_error_meV_per_ps": error,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argument_parser(__doc__, "JSON file to write", Path("nve.json"))
    parser.add_argument("model")
    parser.add_argument("structure", help="dataset frame, as in test.h5:0")
    parser.add_argument("--length", type=float, default=20.0, help="ps (default: %(default)s)")
    parser.add_argument("--timestep", type=float, default=0.5, help="fs (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--equilibration", type=float, default=1.0, help="ps")
    parser.add_argument("--fluctuation-length", type=float, default=2.0, help="ps")
    parser.add_argument("--restraints", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the JSON, and say what came out."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    try:
        found = measure(options)
    except (ValueError, OSError, RuntimeError) as error:
        say(screen(), f"error: {error}")
        return 1
    settings = {name: str(value) for name, value in vars(options).items()}
    write_results(options.output, {"figures": found, "settings": settings})
    screen().print_json(data=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
