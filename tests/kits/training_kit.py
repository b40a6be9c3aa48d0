"""What tests of training share: frames on which a step takes milliseconds, and a small network."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.model import ModelConfig
from eqmm_ase.network.model_file import load_model
from eqmm_ase.training.config import load_config
from eqmm_ase.training.train import train

NETWORK = ModelConfig(
    (1, 6, 8), l_expansion=1, l_hidden=1, channels=2, n_layers=1, n_radial=4, n_near=0, hidden=8
)


def few_charges(path: Path, number: int) -> list[Frame]:
    """The first frames of a file, each with 30 of its charges."""
    return [
        replace(
            frame,
            mm_positions=frame.mm_positions[:30],
            mm_charges=frame.mm_charges[:30],
            mm_forces=frame.mm_forces[:30],
        )
        for frame in read_frames(path, range(number))
    ]


TINY = [
    *(f"model.{key}=1" for key in ("l_expansion", "l_hidden", "n_layers")),
    *("model.channels=2", "model.n_radial=4", "model.n_near=0", "model.hidden=8"),
    *("training.batch_size=3", "training.validate_every=4", "training.max_steps=12"),
    *("optimizer.learning_rate=0.02", "hardware.accelerator=cpu"),
]
METHOD = {"functional": "b3lyp", "basis": "6-31g*"}


def run_training(data, output, *overrides, console=None, **options):
    config = load_config(None, [*TINY, *overrides])
    console = console or Console(file=io.StringIO())
    return train([data], output, config, console=console, **options)


def history(output):
    with Path(f"{output}.train", "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(path):
    return load_model(path)[0].state_dict()


def assert_same_weights(one, other):
    """Weights of two trainings that took the same steps.

    Sums may be rounded otherwise each time: 12 steps make 3e-7 of it. One step that is left out or
    taken with other frames, memory or rate makes 1e-2, a part of the learning rate of 0.02.
    """
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-5)
