"""What fine-tuning saves: a model of one level of theory against none, on a few frames of another.

    python -m scripts.studies.fine_tuning train.h5 test.h5 -o scripts/results/fine_tuning.json

A model is trained on every third frame of the training file, or taken from `--model`. HF/STO-3G
labels of 60 other frames and of half of the test frames are then made, and fitted in the same few
steps: from the model with 20 frames at several learning rates, from scratch with 20 and with all
60. About ten minutes on two free cores.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from eqmm_ase.data.frame import Frame
from eqmm_ase.evaluation.evaluate import evaluate
from eqmm_ase.evaluation.metrics import ALL
from eqmm_ase.files.dataset_file import ReferenceData, write_frames
from eqmm_ase.network.model_file import load_model
from eqmm_ase.training.config import load_config
from eqmm_ase.training.fine_tuning import Start
from eqmm_ase.training.train import train
from scripts.common import argument_parser, text_table, write_results

STEPS = 300
RATES = (5e-3, 2e-3, 5e-4)
SETTINGS = [
    *("data.validation_fraction=0", "training.batch_size=5", "training.seed=1"),
    f"training.max_steps={STEPS}",
]
_INPUTS = {"atomic_numbers", "qm_positions", "mm_positions", "mm_charges", "total_charge"}
_INPUTS |= {"spin_multiplicity", "medium", "source", "frame_id"}


def without_labels(frame: Frame) -> Frame:
    """Only what is to be labelled, and its names."""
    return Frame(**{f.name: getattr(frame, f.name) for f in fields(Frame) if f.name in _INPUTS})


def relabel(path: Path, stride: int, output: Path) -> None:
    """Label every `stride`-th frame of a file with HF/STO-3G."""
    bare = output.with_suffix(".frames.h5")
    with ReferenceData(path) as data:
        write_frames(bare, [without_labels(frame) for frame in data[::stride]], {})
    method = ["--functional", "hf", "--basis", "sto-3g", "--charges", "mulliken"]
    subprocess.run(["eqmm-datagen", "label", bare, "-o", output, *method], check=True)


def first_model(path: Path, folder: Path) -> Path:
    """A model of the level of theory of the training file."""
    with ReferenceData(path) as data:
        write_frames(folder / "first.h5", data[1::3], data.method)
    settings = load_config(None, ["training.max_steps=1000"])
    return train([folder / "first.h5"], folder / "first.eqmm", settings)


def errors(
    data: Path, test: Sequence[Frame], start: Path | None, folder: Path, *overrides: str
) -> dict[str, Any]:
    """Errors on the test frames after a short training; kcal/mol, kcal/mol/Å, and relative."""
    defaults = Start.of_members(start)[0].settings() if start else None
    settings = load_config(None, [*SETTINGS, *overrides], defaults)
    model, card = load_model(
        train([data], folder / "short.eqmm", settings, start=start, restart=True)
    )
    found = evaluate(model, test, card["charge_scheme"]).metrics[ALL]
    return {
        "n_frames": card["n_training_frames"],
        "steps": STEPS,
        "learning_rate": settings.optimizer.learning_rate,
        "energy_mae": found["energy"]["mae"],
        "qm_forces_mae": found["qm_forces"]["mae"],
        "mm_forces_relative_rms": found["mm_forces"]["relative"],
    }


def compare(training: Path, testing: Path, model: Path | None, folder: Path) -> dict[str, Any]:
    """All short trainings, by name."""
    model = model or first_model(training, folder)
    many, few, test = folder / "many.h5", folder / "few.h5", folder / "test.h5"
    relabel(training, 5, many)
    relabel(testing, 2, test)
    with ReferenceData(many) as data:
        write_frames(few, data[::3], data.method)
    with ReferenceData(test) as data:
        frames = data.load()
    rows = {
        f"fine-tuned, {rate:g}": errors(
            few, frames, model, folder, f"optimizer.learning_rate={rate}"
        )
        for rate in RATES
    }
    rows["from scratch"] = errors(few, frames, None, folder)
    rows["from scratch, more frames"] = errors(many, frames, None, folder)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print and write."""
    parser = argument_parser(__doc__, "JSON file to write")
    parser.add_argument("training", type=Path, help="dataset file")
    parser.add_argument("testing", type=Path, help="dataset file")
    parser.add_argument("--model", type=Path, help="model file to start from")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(options.training, options.testing, options.model, Path(folder))
    write_results(options.output, {"trainings": rows})
    columns = [("", ""), ("frames", "d"), ("E", ".3f"), ("F(QM)", ".3f"), ("F(MM)", ".2%")]
    keys = ("n_frames", "energy_mae", "qm_forces_mae", "mm_forces_relative_rms")
    print(text_table(columns, [(name, *(row[key] for key in keys)) for name, row in rows.items()]))


if __name__ == "__main__":
    main()
