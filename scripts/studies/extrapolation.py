"""Does a committee's spread tell when it is out of its depth? Frames made to be unlike training.

    python -m scripts.studies.extrapolation MODEL -o FOLDER

QM atoms of frames that were held out from training are displaced at random, by more and more, and
labelled again. For every frame: the largest error of a force on an atom, and the largest calibrated
uncertainty. The ROC curve shows, for all thresholds of the uncertainty, the share of bad frames
that are caught against the share of good ones that are rejected; bad is an error above three times
the median of undisturbed frames. Labels are kept in FOLDER: a killed run goes on. Writes
``scripts/results/extrapolation.json`` and ``scripts/images/extrapolation.png``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from datagen.cli import cli
from eqmm_ase.command_line import run
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee, mean_and_spread
from eqmm_ase.network.model_file import load_model
from eqmm_ase.network.prediction import predict_each
from eqmm_ase.uncertainty.calibration import Calibration
from eqmm_ase.units import KCAL_PER_MOL
from scripts.common import IMAGES, RESULTS, argument_parser, write_results
from scripts.flagship.flagship_data import load_flagship
from scripts.pictures import BLUE, GREY, picture

AMPLITUDES = (0.0, 0.03, 0.06, 0.1, 0.15)
"""Å, standard deviation of each coordinate."""
_BAD = 3.0


def displaced(held: Sequence[Frame], per_amplitude: int, seed: int) -> list[Frame]:
    """Frames with displaced QM atoms and without labels, by amplitude."""
    rng = np.random.default_rng(seed)
    frames = []
    for amplitude in AMPLITUDES:
        for number in rng.choice(len(held), per_amplitude, replace=False):
            frame = held[number]
            moved = frame.qm_positions + rng.normal(0.0, amplitude, frame.qm_positions.shape)
            frames.append(
                replace(
                    Frame(frame.atomic_numbers, moved, frame.mm_positions, frame.mm_charges),
                    total_charge=frame.total_charge,
                    medium="water",
                    source=f"displaced by {amplitude:g} Å",
                )
            )
    return frames


def labelled(frames: Sequence[Frame], method: Mapping[str, Any], folder: Path) -> list[Frame]:
    """The same with labels of a method; those that failed are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs, output = folder / "displaced.h5", folder / "labels.h5"
    write_frames(inputs, frames, {})
    level = ["--functional", method["functional"], "--basis", method["basis"]]
    level += ["--dispersion", method["dispersion"], "--charges", "mbis", "--workers", "1"]
    run(cli, "eqmm-datagen", ["label", str(inputs), "-o", str(output), *level])
    return read_frames(output)


def judge(committee: Committee, calibration: Calibration, frame: Frame) -> tuple[float, float]:
    """Largest error of a force on an atom, and largest uncertainty, kcal/mol/Å."""
    batch = FrameBatch.from_frames([frame], next(committee.parameters()).dtype)
    prediction, spread = mean_and_spread(predict_each(committee.members, batch))
    assert frame.qm_forces is not None
    error = np.linalg.norm(prediction.qm_forces.numpy() - frame.qm_forces, axis=1)
    found = calibration.uncertainty(float(spread.energy[0]), spread.qm_forces.double().numpy())
    return float(error.max()) / KCAL_PER_MOL, float(found.forces.max()) / KCAL_PER_MOL


def roc(bad: NDArray[np.bool_], uncertainty: NDArray[np.float64]) -> tuple[Any, Any, float]:
    """False and true positive rates for all thresholds, and the area under the curve."""
    order = np.argsort(-uncertainty)
    caught = np.concatenate([[0.0], np.cumsum(bad[order]) / bad.sum()])
    rejected = np.concatenate([[0.0], np.cumsum(~bad[order]) / (~bad).sum()])
    return rejected, caught, float(trapezoid(caught, rejected))


def draw(errors: Any, uncertainties: Any, amplitudes: Any, bad: Any, path: Path) -> None:
    """Uncertainty against error by amplitude, and the ROC curve."""
    with picture(path, 8, 3.6) as figure:
        scatter, curve = figure.subplots(1, 2)
        points = scatter.scatter(uncertainties, errors, c=amplitudes, s=14, cmap="viridis")
        figure.colorbar(points, ax=scatter, label="displacement, Å")
        ends = np.array([errors.min(), errors.max()])
        scatter.loglog(ends, ends, color=GREY, lw=1)
        scatter.set_xlabel("largest force uncertainty, kcal/mol/Å")
        scatter.set_ylabel("largest force error, kcal/mol/Å")
        rejected, caught, area = roc(bad, uncertainties)
        curve.plot(rejected, caught, color=BLUE, lw=2)
        curve.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
        curve.set_xlabel("good frames rejected")
        curve.set_ylabel("bad frames caught")
        curve.set_title(f"area under the curve {area:.3f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    parser.add_argument("model", type=Path, help="a committee")
    parser.add_argument("--frames", type=int, default=20, help="for each amplitude")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    committee, card = load_model(chosen.model)
    if not isinstance(committee, Committee):
        parser.error(f"{chosen.model} is a single model; expected a committee")
    flagship = load_flagship()
    strange = displaced(flagship.test("water"), chosen.frames, chosen.seed)
    frames = labelled(strange, flagship.method, chosen.output)
    calibration = Calibration.from_dict(card["calibration"])
    errors, uncertainties = np.array([judge(committee, calibration, f) for f in frames]).T
    amplitudes = np.array([float(frame.source.split()[2]) for frame in frames])
    limit = _BAD * float(np.median(errors[amplitudes == 0.0]))
    bad = errors > limit
    rows = [
        {
            "amplitude": a,
            "frames": int((amplitudes == a).sum()),
            "median_error": float(np.median(errors[amplitudes == a])),
            "median_uncertainty": float(np.median(uncertainties[amplitudes == a])),
            "bad": float(bad[amplitudes == a].mean()),
        }
        for a in AMPLITUDES
    ]
    figures = {
        "what": "largest force error and uncertainty of a frame, kcal/mol/Å",
        "bad_above": limit,
        "area_under_roc": roc(bad, uncertainties)[2],
        "by_amplitude": rows,
    }
    write_results(RESULTS / "extrapolation.json", figures)
    draw(errors, uncertainties, amplitudes, bad, IMAGES / "extrapolation.png")
    for row in rows:
        print({key: round(value, 3) for key, value in row.items()})
    print(f"area under the ROC curve {figures['area_under_roc']:.3f}")


if __name__ == "__main__":
    main()
