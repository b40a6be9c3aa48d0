"""Let a committee find a transition state that nobody told it of.

    python -m scripts.studies.active_learning FOLDER -o scripts/results/active_learning.json

Chloride + chloromethane in the gas phase, scripts/flagship/gas.h5. The committee begins with 60
frames of three sweeps on which |ζ| > 1 Å: reactants and products, but nothing between. In each
round the coordinate is dragged from one side to the other, dynamics stop where the members
disagree, and up to 12 frames are labelled and learnt. Errors are those on the sweep that was held
out. A control goes on with the first 60 frames for as many steps. A quarter of an hour on a free
core; FOLDER keeps the rounds, and the same command goes on where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from datagen.learning import LearningSettings, learn
from eqmm_ase.data.frame import Frame
from eqmm_ase.evaluation.evaluate import evaluate
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
from eqmm_ase.network.model_file import load_model
from eqmm_ase.simulation.exploration_settings import ExplorationSettings
from eqmm_ase.terminal import messages
from eqmm_ase.training.train import train
from eqmm_ase.units import KCAL_PER_MOL
from scripts.common import FLAGSHIP, argument_parser, write_json
from scripts.flagship.flagship_data import COORDINATE, zeta
from scripts.pictures import picture
from scripts.provenance import provenance

DATA = FLAGSHIP / "gas.h5"
HELD_OUT = "gas-sweep-3"
KNOWN_BEYOND = 1.0
"""Å: the committee begins with nothing at smaller |ζ|."""
N_START = 60
SETTINGS = LearningSettings(
    rounds=3,
    members=3,
    exploration=ExplorationSettings(
        frames=12,
        trajectories=16,
        time=0.3,
        timestep=1.0,
        coordinate=COORDINATE.text,
        sweep=(-2.5, 2.5),
    ),
    training=(
        "model.channels=8",
        "training.batch_size=5",
        "training.max_steps=300",
        "training.validate_every=150",
    ),
)


def start_and_test(folder: Path) -> tuple[Path, list[Frame]]:
    """File of the frames to begin with, and the frames of the sweep that is held out."""
    with ReferenceData(DATA) as data:
        frames, method = data.load(), data.method
    test = [frame for frame in frames if frame.source == HELD_OUT]
    known = [f for f in frames if f.source != HELD_OUT and abs(zeta(f)) > KNOWN_BEYOND]
    chosen = np.linspace(0, len(known) - 1, N_START).round().astype(int)
    write_frames(folder / "start.h5", [known[i] for i in chosen], method)
    return folder / "start.h5", test


def errors(path: Path, test: Sequence[Frame]) -> dict[str, Any]:
    """Errors of a committee on the whole sweep and where |ζ| < 1 Å; kcal/mol, kcal/mol/Å."""
    committee, card = load_model(path)
    parts = {"path": test, "unknown": [f for f in test if abs(zeta(f)) <= KNOWN_BEYOND]}
    found: dict[str, Any] = {"n_labels": card["n_training_frames"] + card["n_validation_frames"]}
    for part, frames in parts.items():
        for name, pairs in evaluate(committee, frames, card["charge_scheme"]).deviations.items():
            size = pairs.error / KCAL_PER_MOL
            found[f"{part}/{name}"] = {
                "mean": float(size.mean()),
                "p95": float(np.quantile(size, 0.95)),
                "max": float(size.max()),
            }
    return found


def by_frame(path: Path, test: Sequence[Frame]) -> list[float]:
    """|ΔE| of each frame, kcal/mol."""
    committee, card = load_model(path)
    found = evaluate(committee, test, card["charge_scheme"]).deviations["energy"].error
    return [float(value) / KCAL_PER_MOL for value in found]


def control(first: Path, folder: Path) -> Path:
    """The first committee, trained on with the first frames alone for as many steps."""
    config = SETTINGS.config(first)
    held = (str(first.parent / "validation.h5"),)
    config = replace(config, data=replace(config.data, validation=held))
    before = first
    for number in range(1, SETTINGS.rounds + 1):
        output = folder / f"control-{number}.eqmm"
        if not output.exists():
            train(
                [first.parent / "train.h5"],
                output,
                config,
                n_members=SETTINGS.members,
                start=before,
            )
        before = output
    return before


def plot(result: dict[str, Any], path: Path) -> None:
    """Errors along the coordinate after each round, and the frames that each round found."""
    order = np.argsort(result["test_zeta"])
    x = np.array(result["test_zeta"])[order]
    with picture(path, 9.0, 3.6) as figure:
        left, right = figure.subplots(1, 2)
        for number, row in enumerate(result["rounds"]):
            line = left.semilogy(x, np.array(row["energy_errors"])[order], label=f"round {number}")[
                0
            ]
            marks = [number] * len(row["found_zeta"])
            right.plot(row["found_zeta"], marks, "o", alpha=0.5, color=line.get_color())
        left.axvspan(-KNOWN_BEYOND, KNOWN_BEYOND, color="0.93")
        right.axvspan(-KNOWN_BEYOND, KNOWN_BEYOND, color="0.93")
        left.set(xlabel="ζ / Å", ylabel="|ΔE| on the held-out sweep / kcal/mol")
        left.legend()
        right.set(xlabel="ζ / Å", ylabel="round", yticks=range(len(result["rounds"])))
        right.set_title("labels to begin with (0) and those found", fontsize="medium")


def report(committees: Sequence[Path], test: Sequence[Frame]) -> dict[str, Any]:
    """All figures of the rounds."""
    rows = []
    for number, path in enumerate(committees):
        row: dict[str, Any] = errors(path, test)
        labels = ["train.h5", "validation.h5"] if number == 0 else ["labels.h5"]
        row["found_zeta"] = [
            round(zeta(f), 3) for name in labels for f in read_frames(path.parent / name)
        ]
        row["energy_errors"] = [round(value, 4) for value in by_frame(path, test)]
        rows.append(row)
    return {
        "settings": asdict(SETTINGS),
        "test_zeta": [round(zeta(frame), 3) for frame in test],
        "rounds": rows,
        **provenance(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn, measure, print and write."""
    parser = argument_parser(__doc__, "JSON file; PNG beside")
    parser.add_argument("folder", type=Path, help="keeps the rounds")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    start, test = start_and_test(options.folder)
    learning = options.folder / "learning"
    committees = learn([start], learning, SETTINGS, workers=1, console=messages())
    result = report(committees, test)
    plot(result, options.output.with_suffix(".png"))
    write_json(options.output, result)
    result["control"] = errors(control(committees[0], options.folder), test)
    write_json(options.output, result)
    for name, row in [*enumerate(result["rounds"]), ("control", result["control"])]:
        print(
            f"{name!s:8} {row['n_labels']:3} labels  "
            + "  ".join(
                f"{part} p95 {row[part]['p95']:.2f} max {row[part]['max']:.2f}"
                for part in ("path/energy", "path/qm_forces", "unknown/energy")
            )
        )


if __name__ == "__main__":
    main()
