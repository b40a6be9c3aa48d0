"""Does a model hold in a long run? Dynamics in a box, relabelled frames, water around an ion.

    python -m scripts.systems.long_run MODEL -o FOLDER

The solute runs at constant temperature in its box of water. Every 10 ps a frame is labelled by
PySCF's periodic QM/MM, and the errors of the model are followed over time: a model that drifts away
from what it learned would be wrong by more and more. Radial distribution functions tell whether the
water around the ion has the structure that is known from experiment. Energies are compared up to
their mean over the frames: the periodic label has another zero.

What is done is kept in the folder; the same command goes on. Of a committee the first member runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datagen.labels.method import Method
from eqmm_ase.calculator.eqmm import EqMM
from eqmm_ase.cutting.trajectories import Snapshot, read_snapshots
from eqmm_ase.engines.mixed_system import MixedSystem
from eqmm_ase.engines.run_settings import SystemRunSettings
from eqmm_ase.engines.system_run import TABLE, SystemRow, SystemRun
from eqmm_ase.progress_bar import ProgressBar
from scripts.benchmarks.periodic_embedding import label_in_periodic_box
from scripts.common import argument_parser, write_results
from scripts.pictures import BLUE, ORANGE, picture
from scripts.stability.nve_drift import drift
from scripts.systems.boxes import Box, make_box
from scripts.systems.nve import first_member, hold_together
from scripts.systems.truth import Answers, cutter, in_box, labelled, labels_of, level_of

_ROWS = 0.5  # ps between rows of the table and images of the trajectory
_BLOCKS = 5
_RANGE = (1.5, 8.0)  # Å, of radial distribution functions
_BINS = 130
_SETTLING = 10.0  # ps that do not count in averages


def run(box: Box, mixed: MixedSystem, options: argparse.Namespace) -> None:
    """Run, or go on with, the dynamics in the folder."""
    steps, interval = (round(1000 * t / options.timestep) for t in (options.time, _ROWS))
    settings = SystemRunSettings(
        steps=steps, timestep=options.timestep, interval=interval, seed=options.seed
    )
    dynamics = SystemRun(mixed, box.topology, settings, options.output / "run")
    with ProgressBar("dynamics", "steps", steps) as bar:

        def report(row: SystemRow) -> None:
            bar.update(row.step)

        dynamics(box.positions, box.cell, report=report)


def relabel(
    box: Box, mixed: MixedSystem, model: EqMM, options: argparse.Namespace
) -> tuple[np.ndarray, Answers]:
    """Times in ps, and errors of the model at them, in the whole box."""
    every = round(options.relabel_every / _ROWS)
    path = options.output / "run" / "trajectory.dcd"
    images = list(read_snapshots(path, len(box.positions), slice(every, None, every)))
    whole = cutter(mixed, np.inf)
    # PySCF's periodic gradient lacks the response of density fitting.
    method = Method(**level_of(model.card), density_fit=False, charges=("mulliken",))
    labels = labelled(
        options.output / "relabelled.h5",
        [whole(image.positions, _cell(image)) for image in images],
        lambda frame: label_in_periodic_box(frame, method),
    )
    found = [in_box(mixed, image.positions, _cell(image)) for image in images]
    times = np.array([image.number * _ROWS for image in images])
    return times, Answers.of(found) - labels_of(labels)


def _cell(image: Snapshot) -> np.ndarray:
    assert image.cell is not None
    return image.cell


def error_figures(times: np.ndarray, errors: Answers) -> dict[str, Any]:
    """Errors of all frames, of halves of the run, and how force errors grow, kcal/mol, Å and ps.

    The growth is the slope of a straight line through averages of blocks, with its standard error.
    """
    half = len(times) // 2
    each = np.sqrt((errors.forces**2).mean(axis=(1, 2)))
    growth, error = drift(times, each, _BLOCKS)
    return {
        "frames": len(times),
        "all": errors.rms(),
        "first_half": Answers(errors.energies[:half], errors.forces[:half]).rms(),
        "second_half": Answers(errors.energies[half:], errors.forces[half:]).rms(),
        "growth_of_qm_forces_per_ps": growth,
        "standard_error": error,
        "times": times.tolist(),
        "qm_forces_of_frames": each.tolist(),
    }


def water_around(
    box: Box, options: argparse.Namespace, atom: int
) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Radial distribution functions of water's oxygen and hydrogen around an atom.

    Returns
    -------
    dict
        By element: distances in Å, the function, and the number of water atoms up to its first
        minimum.
    """
    import MDAnalysis
    from MDAnalysis.analysis.rdf import InterRDF

    universe = MDAnalysis.Universe(box.topology, str(options.output / "run" / "trajectory.dcd"))
    ion, found = universe.atoms[[atom]], {}
    for element in ("O", "H"):
        water = universe.select_atoms(f"resname HOH and element {element}")
        analysis = InterRDF(ion, water, nbins=_BINS, range=_RANGE)
        analysis.run(start=round(_SETTLING / _ROWS))
        distances, values = analysis.results.bins, analysis.results.rdf
        first = int(values[: _BINS // 2].argmax())
        minimum = first + int(values[first : first + _BINS // 4].argmin())
        counts = analysis.results.count[: minimum + 1].sum() / analysis.n_frames
        found[element] = distances, values, float(counts)
    return found


def peak_figures(
    functions: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
) -> dict[str, dict[str, float]]:
    """Where the first peak lies, how high it is, and how many atoms lie below it."""
    figures = {}
    for element, (distances, values, number) in functions.items():
        first = int(values[: _BINS // 2].argmax())
        figures[element] = {
            "first_peak": float(distances[first]),
            "height": float(values[first]),
            "coordination": number,
        }
    return figures


def table_figures(folder: Path) -> dict[str, float]:
    """Means over the table of the run: temperature in K, charges in e, drift of the energy."""
    table = np.genfromtxt(folder / TABLE, delimiter=",", names=True)
    table = table[table["time"] >= _SETTLING]
    slope, error = drift(table["time"], table["potential"], _BLOCKS)
    return {
        "temperature": float(table["temperature"].mean()),
        "temperature_spread": float(table["temperature"].std()),
        "charge_of_ion": float(table["charge_2"].mean()),
        "potential_drift_eV_per_ps": slope,
        "standard_error": error,
    }


def draw(
    path: Path,
    functions: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
    times: np.ndarray,
    errors: Answers,
) -> None:
    """Radial distribution functions, and the errors of relabelled frames over time."""
    with picture(path, 9.0, 3.4) as figure:
        left, right = figure.subplots(1, 2)
        for (element, (distances, values, _)), colour in zip(
            functions.items(), (BLUE, ORANGE), strict=True
        ):
            left.plot(distances, values, color=colour, label=f"Cl⁻–{element}")
        left.set(xlabel="distance (Å)", ylabel="g(r)", title="Water around the ion")
        left.legend(frameon=False)
        each = np.sqrt((errors.forces**2).mean(axis=(1, 2)))
        right.plot(times, each, "o", color=BLUE)
        right.set(
            xlabel="time (ps)",
            ylabel="error of QM forces (kcal/mol/Å)",
            title="Frames labelled anew",
            ylim=(0.0, None),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    parser.add_argument("model", type=Path, help="of chloride and chloromethane")
    parser.add_argument("--edge", type=float, default=28.0, help="Å")
    parser.add_argument("--time", type=float, default=300.0, help="ps")
    parser.add_argument("--timestep", type=float, default=2.0, help="fs")
    parser.add_argument("--hydrogen-mass", type=float, default=3.0, help="u")
    parser.add_argument("--relabel-every", type=float, default=10.0, help="ps")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    box = make_box("sn2", options.edge, hydrogen_mass=options.hydrogen_mass)
    mixed = box.coupled(first_member(options.model))
    hold_together(mixed.system, box)
    run(box, mixed, options)
    times, errors = relabel(box, mixed, EqMM(options.model), options)
    functions = water_around(box, options, box.ml_atoms[2])
    draw(options.output / "long_run.png", functions, times, errors)
    settings = {k: v for k, v in vars(options).items() if k not in ("output", "model")}
    content = {
        "what": "chloride and chloromethane in a box of water at constant temperature",
        "atoms": len(box.positions),
        "settings": settings,
        "errors": error_figures(times, errors),
        "water": peak_figures(functions),
        "run": table_figures(options.output / "run"),
    }
    packages = ("eqmm", "torch", "openmm", "finufft", "pyscf")
    print(write_results(options.output / "figures.json", content, packages))


if __name__ == "__main__":
    main()
