"""A new predicted quantity is a row of the table and a readout: learned, judged and drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import with_atomic_dipoles
from training_kit import METHOD, TINY, few_charges, history

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.expansion import expand
from eqmm_ase.network.model_file import load_model

SIZE = 0.2  # e·Å, of the labels


@pytest.fixture(scope="module")
def frames(methanol_file) -> list[Frame]:
    """Frames whose atoms have dipoles: those of an oxygen point to its hydrogen."""
    found = []
    for frame in few_charges(methanol_file, 8):
        dipoles = np.zeros((frame.n_qm, 3))
        oxygen = int(np.argmax(frame.atomic_numbers))
        near = np.linalg.norm(frame.qm_positions - frame.qm_positions[oxygen], axis=1)
        hydrogen = min(np.flatnonzero(frame.atomic_numbers == 1), key=lambda atom: near[atom])
        bond = frame.qm_positions[hydrogen] - frame.qm_positions[oxygen]
        dipoles[oxygen] = SIZE * bond / np.linalg.norm(bond)
        scheme = next(iter(frame.charges))
        found.append(replace(frame, atomic_dipoles={scheme: dipoles}))
    return found


def eqmm(*arguments: object) -> str:
    """What `eqmm` with one quantity more prints."""
    command = [sys.executable, with_atomic_dipoles.__file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(frames, tmp_path_factory) -> Path:
    """A folder with the data, a model that learned the dipoles and one that did not."""
    folder = tmp_path_factory.mktemp("trained")
    write_frames(folder / "data.h5", frames, METHOD)
    for name, weight in (("with", 100.0), ("without", 0.0)):
        settings = [*TINY, f"loss.atomic_dipoles={weight}", "training.max_steps=60"]
        eqmm("train", folder / "data.h5", "-o", folder / f"{name}.eqmm", *settings)
    return folder


def metrics_of(folder: Path, name: str) -> dict:
    """Errors of a model, as `eqmm evaluate` writes them."""
    output = folder / f"evaluated-{name}"
    said = eqmm("evaluate", folder / f"{name}.eqmm", folder / "data.h5", "-o", output)
    assert "atomic dipoles" in said
    assert (output / "parity_atomic_dipoles.png").is_file()
    content = json.loads((output / "metrics.json").read_text())
    assert content["units"]["atomic_dipoles"] == "e·Å"
    return content["metrics"]["all"]["atomic_dipoles"]


@pytest.mark.slow
def test_it_is_a_setting_with_its_meaning() -> None:
    said = eqmm("train", "--show-config")
    assert "# Of the dipoles of the atoms.  [default: 0.0]\n  atomic_dipoles: 0.0" in said


@pytest.mark.slow
def test_it_is_learned_and_judged(trained, frames) -> None:
    learned, left = metrics_of(trained, "with"), metrics_of(trained, "without")
    assert learned["rmse"] < 0.7 * left["rmse"]
    columns = history(trained / "with.eqmm")[-1]
    assert float(columns["atomic_dipoles_mae"]) > 0.0
    # What the network says, by another way: the derivative of its energy, frame by frame.
    model, _ = load_model(trained / "with.eqmm")
    errors = []
    for frame in frames:
        batch = FrameBatch.from_frames([frame], torch.float32)
        tensors = expand(batch, model.config.l_expansion).requires_grad_()
        (multipoles,) = torch.autograd.grad(
            model.in_potential(batch, tensors).energy.sum(), tensors
        )
        (label,) = frame.atomic_dipoles.values()
        errors.append(multipoles[:, 1:4].numpy() - label)
    assert learned["count"] == np.size(errors)
    assert learned["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    assert learned["relative"] == pytest.approx(
        np.sqrt(np.square(errors).mean() / (SIZE**2 / (3 * frames[0].n_qm))), rel=1e-4
    )
