"""What the runs of `nvt_stability.py` came to: figures, the reference method's word, a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.io.trajectory import Trajectory

from eqmm_ase.data.frame import Frame
from eqmm_ase.evaluation.evaluate import evaluate
from eqmm_ase.network.model_file import load_model
from eqmm_ase.units import KCAL_PER_MOL
from scripts.common import write_json
from scripts.flagship.flagship_data import load_flagship
from scripts.pictures import BLUE, GREY, picture
from scripts.stability.nvt_records import Record, read_records
from scripts.stability.nvt_start import TOTAL_CHARGE, WALL_START, FloatArray, Start
from scripts.studies.extrapolation import labelled

EQUILIBRATION = 5.0
"""ps that means leave out, or half of a shorter run; extremes are of everything."""
_BLOCKS = 20
TITLES = {"held": "held charges", "moving": "droplet of moving water"}


def figures(records: Sequence[Record]) -> dict[str, Any]:
    """Figures of one run in ps, K, Å, kcal/mol and kcal/mol/Å.

    Parameters
    ----------
    records
        At least one.
    """
    last = records[-1]
    columns = {name: _column(records, name) for name in Record.__dataclass_fields__}
    settled = columns["time"] >= min(EQUILIBRATION, last.time / 2)
    energy = columns["energy"] / KCAL_PER_MOL
    energy = energy - energy[settled].mean()
    # The record at the start tells nothing of the speed.
    steps = max(last.step - records[0].step, 1)
    found: dict[str, Any] = {
        "ps": last.time,
        "steps": last.step,
        "records": len(records),
        "temperature_K": _mean(columns["temperature"][settled]),
        "temperature_all_K": _mean(columns["temperature_all"][settled]),
        "energy_about_mean": {
            "lowest": float(energy.min()),
            "highest": float(energy.max()),
            "standard_deviation": float(energy[settled].std()),
        },
        "ch_bond": {"shortest": columns["ch_min"].min(), "longest": columns["ch_max"].max()},
        "zeta": {
            "lowest": columns["zeta"].min(),
            "highest": columns["zeta"].max(),
            "mean": columns["zeta"][settled].mean(),
        },
        "c_cl": {
            "longest": columns["separation"].max(),
            "share_beyond_spring": (columns["separation"] > WALL_START).mean(),
        },
        "identity_changes": int((np.diff(np.sign(columns["zeta"])) != 0).sum()),
        "closest_contact": columns["contact"].min(),
        "largest_qm_force": columns["force_max"].max() / KCAL_PER_MOL,
        "ms_per_step": 1000 * columns["seconds"][1:].sum() / steps,
        "cpu_ms_per_step": 1000 * columns["cpu_seconds"][1:].sum() / steps,
    }
    if last.uncertainty_energy is not None:
        for name in ("energy", "force"):
            values = columns[f"uncertainty_{name}"] / KCAL_PER_MOL
            found[f"uncertainty_{name}"] = {
                "median": float(np.median(values)),
                "largest": values.max(),
            }
    plain: dict[str, Any] = json.loads(json.dumps(found, default=float))
    return plain


def _column(records: Sequence[Record], name: str) -> FloatArray:
    return np.array([getattr(record, name) for record in records], dtype=float)


def _mean(values: FloatArray) -> dict[str, float]:
    blocks = [block.mean() for block in np.array_split(values, min(_BLOCKS, len(values)))]
    error = np.std(blocks, ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else np.nan
    return {"mean": float(values.mean()), "error": float(error)}


def recorded_frames(folder: Path, start: Start, count: int) -> list[Frame]:
    """Evenly spaced images of a run as frames without labels, the last one included."""
    with Trajectory(folder / "images.traj") as images:
        numbers = np.unique(np.linspace(0, len(images) - 1, count + 1).round().astype(int)[1:])
        chosen = [images[int(number)] for number in numbers]
    n_qm = len(start.atoms)
    frames = []
    for image in chosen:
        sites = image.positions[n_qm:] if len(image) > n_qm else start.waters.reshape(-1, 3)
        charges = np.tile(start.charges, len(sites) // 3)
        frame = Frame(image.numbers[:n_qm], image.positions[:n_qm], sites, charges)
        source = f"step {image.info['md']['step']}"
        frames.append(replace(frame, total_charge=TOTAL_CHARGE, medium="water", source=source))
    return frames


def relabel(folder: Path, start: Start, model: str, count: int) -> dict[str, Any]:
    """Ask the reference method about images of a run; labels are kept in its folder.

    Returns
    -------
    dict
        Errors of the model (of a committee, of its mean) in kcal/mol and kcal/mol/Å.
    """
    asked = recorded_frames(folder, start, count)
    done = read_records(folder / "records.jsonl")[-1].step
    frames = labelled(asked, load_flagship().method, folder / f"labels-{count}-{done}")
    evaluation = evaluate(load_model(model)[0].double(), frames)
    metrics = evaluation.metrics["all"]
    pairs = evaluation.pairs["energy"]
    error = pairs.predicted - pairs.reference
    found = {
        "frames": len(frames),
        "failed": len(asked) - len(frames),
        "up_to_step": done,
        "energy_mae": float(np.abs(error).mean()),
        "energy_mae_without_mean": float(np.abs(error - error.mean()).mean()),
        "energy_largest": float(np.abs(error).max()),
        "energy_standard_deviation_of_labels": float(pairs.reference.std()),
        "qm_forces_mae": metrics["qm_forces"]["mae"],
        "qm_forces_rmse": metrics["qm_forces"]["rmse"],
        "mm_forces_relative_rms": metrics["mm_forces"]["relative"],
    }
    write_json(folder / "relabelled.json", found)
    return found


def draw(runs: Mapping[str, Sequence[Record]], target: float, path: Path) -> None:
    """Energy, temperature, ζ and uncertainty against time; a column for each run."""
    with picture(path, 4.5 * len(runs) + 0.5, 7.5) as figure:
        axes = figure.subplots(4, len(runs), sharex="col", sharey="row", squeeze=False)
        for column, (name, records) in zip(axes.T, runs.items(), strict=True):
            column[0].set_title(TITLES[name])
            _draw_column(column, records, target)
        for axis, label in zip(
            axes[:, 0],
            (
                "QM energy about\nits mean, kcal/mol",
                "QM temperature,\nmean of 1 ps, K",
                "ζ = d(C–Cl1) −\nd(C–Cl2), Å",
                "largest uncertainty\nof a force, kcal/mol/Å",
            ),
            strict=True,
        ):
            axis.set_ylabel(label)
        axes[3, 0].set_ylim(bottom=0.0)  # once all is drawn: it ends the scaling of the row
        figure.align_ylabels(axes[:, 0])


def _draw_column(column: Any, records: Sequence[Record], target: float) -> None:
    times = _column(records, "time")
    energy = _column(records, "energy") / KCAL_PER_MOL
    temperature = _column(records, "temperature")
    width = max(1, int(np.searchsorted(times, times[0] + 1.0)))
    fine: dict[str, Any] = {"lw": 0.5, "color": BLUE}
    column[0].plot(times, energy - energy.mean(), **fine)
    if len(times) >= width:
        smooth = np.convolve(temperature, np.ones(width) / width, "valid")
        column[1].plot(times[width - 1 :], smooth, lw=0.9, color=BLUE)
    column[1].axhline(target, color=GREY, lw=1, ls="--")
    column[2].plot(times, _column(records, "zeta"), **fine)
    if records[-1].uncertainty_force is not None:
        column[3].plot(times, _column(records, "uncertainty_force") / KCAL_PER_MOL, **fine)
    column[3].set_xlabel("time, ps")
