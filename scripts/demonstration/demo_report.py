"""The end of the demo: one table, one JSON file, one picture of what came out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import read
from rich.console import Console
from rich.table import Table

from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.evaluation.evaluate import evaluate
from eqmm_ase.evaluation.metrics import ALL
from eqmm_ase.evaluation.plots import plot_learning_curve
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.model_file import load_model
from eqmm_ase.terminal import say, show_table
from scripts.common import write_results
from scripts.demonstration.demo_relaxation import draw
from scripts.pictures import BLUE, GREY, picture

Rows = list[tuple[str, str, str]]


def write_report(folder: Path, settings: Mapping[str, Any], console: Console) -> None:
    """Write ``summary.json``, ``summary.md`` and ``overview.png``; print the table."""
    metrics = _json(folder / "evaluation" / "metrics.json")["metrics"][ALL]
    relaxation = _json(folder / "relaxation" / "relaxation.json")
    timings = _json(folder / "timings.json") if (folder / "timings.json").exists() else {}
    summary = {
        "settings": dict(settings),
        "metrics": metrics,
        "relaxation": relaxation,
        "seconds": timings,
    }
    write_results(folder / "summary.json", summary)
    rows = [*_errors(metrics), *_relaxation(relaxation), *_times(timings)]
    (folder / "summary.md").write_text(_markdown(rows), encoding="utf-8")
    plot_learning_curve(folder / "model.eqmm.train" / "history.csv", folder / "learning_curve.png")
    _overview(folder, folder / "overview.png")
    show_table(_table(rows))
    say(console, f"model, datasets, summary.md, summary.json and plots are in {folder}")


def _errors(metrics: Mapping[str, Mapping[str, float]]) -> Rows:
    rows = []
    for name, errors in metrics.items():
        quantity = QUANTITIES[name]
        rows.append((f"{quantity.title}, MAE", f"{errors['mae']:.3g}", quantity.quoted))
        if name == "mm_forces":
            value = f"{100.0 * errors['relative']:.2f}"
            rows.append(("MM forces, relative RMS error", value, "%"))
    return rows


def _relaxation(result: Mapping[str, Any]) -> Rows:
    difference = result["energy_difference_kcal_per_mol"]
    above = result["pyscf_energy_of_eqmm_geometry_above_minimum_kcal_per_mol"]
    return [
        ("relaxed energy, EqMM", f"{result['energy_eqmm_eV']:.5f}", "eV"),
        ("relaxed energy, PySCF", f"{result['energy_pyscf_eV']:.5f}", "eV"),
        ("difference", f"{difference:+.3f}", "kcal/mol"),
        ("PySCF energy of EqMM's geometry above PySCF's", f"{above:.3f}", "kcal/mol"),
        ("RMSD of the molecules, superposed", f"{result['rmsd_superposed_A']:.4f}", "Å"),
        ("RMSD of the molecules, in place", f"{result['rmsd_in_place_A']:.4f}", "Å"),
        ("relaxation, EqMM", f"{result['seconds_eqmm']:.1f}", f"s, {result['steps_eqmm']} steps"),
        (
            "relaxation, PySCF",
            f"{result['seconds_pyscf']:.1f}",
            f"s, {result['steps_pyscf']} steps",
        ),
    ]


def _times(timings: Mapping[str, float]) -> Rows:
    rows = [(f"time until {result}", f"{seconds:.0f}", "s") for result, seconds in timings.items()]
    return [*rows, ("time of all stages", f"{sum(timings.values()):.0f}", "s")]


def _table(rows: Rows) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for row in rows:
        table.add_row(*row)
    return table


def _markdown(rows: Rows) -> str:
    lines = ["| | | |", "|---|---:|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    return "\n".join(lines) + "\n"


def _overview(folder: Path, path: Path) -> None:
    """Energies, forces on both sides and the relaxation, side by side."""
    model, card = load_model(folder / "model.eqmm")
    result = evaluate(model, read_frames(folder / "test.h5"), card.get("charge_scheme"))
    with picture(path, 12.0, 3.3) as figure:
        panels = figure.subplots(1, 4)
        for axes, name in zip(panels, ("energy", "qm_forces", "mm_forces"), strict=False):
            _parity(axes, name, result.pairs[name].reference, result.pairs[name].predicted)
            error = f"MAE {result.metrics[ALL][name]['mae']:.2g}"
            if name == "mm_forces":
                error = f"relative RMS error {result.metrics[ALL][name]['relative']:.1%}"
            axes.text(0.05, 0.92, error, transform=axes.transAxes)
        ml, qm = (_energies(folder / "relaxation" / f"{n}.traj") for n in ("EqMM", "PySCF"))
        draw(panels[3], ml, qm, qm[-1])
        panels[3].set_title("relaxation in fixed charges")
        for axes in panels:
            axes.set_box_aspect(1)


def _parity(axes: Any, name: str, reference: np.ndarray, predicted: np.ndarray) -> None:
    quantity = QUANTITIES[name]
    both = np.concatenate([reference, predicted])
    margin = 0.05 * np.ptp(both)
    limits = (both.min() - margin, both.max() + margin)
    axes.plot(limits, limits, color=GREY, linewidth=0.8)
    axes.scatter(reference, predicted, s=8, color=BLUE, edgecolors="none", rasterized=True)
    axes.set(xlim=limits, ylim=limits)
    axes.set(xlabel="PySCF", ylabel="EqMM", title=f"{quantity.title} / {quantity.quoted}")


def _energies(trajectory: Path) -> list[float]:
    return [atoms.get_potential_energy() for atoms in read(trajectory, index=":")]


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
