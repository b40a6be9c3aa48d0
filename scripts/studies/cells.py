"""Tables of trained models, one cell after the other; a killed run goes on where it was."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eqmm_ase.data.frame import Frame
from eqmm_ase.evaluation.evaluate import evaluate
from eqmm_ase.evaluation.metrics import ALL
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import load_model
from eqmm_ase.training.config import load_config
from eqmm_ase.training.train import train
from scripts.common import argument_parser, write_json
from scripts.provenance import provenance

Cell = dict[str, Any]
UNITS = {"energy": "kcal/mol", "qm_forces": "kcal/mol/Å", "mm_forces": "relative to their RMS"}


class Cells:
    """Named cells in a JSON file, written after each of them.

    Parameters
    ----------
    path
        The file; what it already holds is kept.
    facts
        Plain values about the whole experiment.

    Raises
    ------
    ValueError
        When the file holds cells of another experiment.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path, self.facts = path, dict(facts)
        # At the beginning: that is the code which runs, whatever is committed meanwhile.
        self.provenance = provenance(("eqmm", "torch", "e3nn", "numpy"))
        self.cells: dict[str, Cell] = {}
        self.summary: dict[str, Any] = {}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["facts"] != self.facts:
                raise ValueError(
                    f"{path} holds an experiment with {found['facts']}; expected {self.facts}; "
                    "choose another file"
                )
            self.cells = found["cells"]

    def __contains__(self, name: str) -> bool:
        return name in self.cells

    def add(self, name: str, cell: Cell) -> None:
        """Keep a cell, with where it was computed."""
        self.cells[name] = {**cell, **self.provenance}
        self.write()

    def write(self) -> None:
        """Write the file again, with the summary of the cells."""
        content = {
            **{"facts": self.facts, "units": UNITS},
            **{"summary": self.summary, "cells": self.cells},
        }
        write_json(self.path, content)


def study_parser(about: str | None) -> argparse.ArgumentParser:
    """Command line of a study: its results file, and the folder of its models."""
    parser = argument_parser(about, "JSON file to write")
    parser.add_argument("--models", type=Path, default=Path("build/models"), help="folder")
    return parser


def trained(
    frames: Sequence[Frame],
    method: Mapping[str, Any],
    settings: Sequence[str],
    folder: Path,
) -> tuple[dict[str, Any], Path]:
    """Train a model on frames, all of them: whatever is learned from others stays unseen.

    Parameters
    ----------
    settings
        Of the form ``section.key=value``.
    folder
        Where models are kept, under names made of their settings and frames: a model that is there
        already, because another experiment has trained it too, is not trained again.

    Returns
    -------
    dict
        Settings and cost of the training; the CPU seconds include validating and writing.
    Path
        The model file.
    """
    config = load_config(None, ["data.validation_fraction=0", *settings])
    recipe = json.dumps([config.to_dict(), [f.frame_id for f in frames]], sort_keys=True)
    output = folder / f"{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.eqmm"
    facts = output.with_suffix(".json")
    if facts.exists():
        found: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
        return found, output
    folder.mkdir(parents=True, exist_ok=True)
    data = output.with_suffix(".h5")
    write_frames(data, frames, method)
    began = time.process_time()
    train([data], output, config, restart=True)
    seconds = time.process_time() - began
    data.unlink()
    model, card = load_model(output)
    made = {
        "settings": list(settings),
        "n_frames": len(frames),
        "steps": config.training.max_steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "charge_scheme": card["charge_scheme"],
        "cpu_seconds": round(seconds, 1),
    }
    write_json(facts, made)
    return made, output


def errors(
    model: MultiscaleModel | Committee, tests: Mapping[str, Sequence[Frame]]
) -> dict[str, dict[str, float]]:
    """Errors on every set of frames; kcal/mol, kcal/mol/Å, and relative.

    Energies also without the mean of their error: a constant does not matter within a medium.
    """
    found: dict[str, dict[str, float]] = {}
    for name, frames in tests.items():
        evaluation = evaluate(model, frames)
        metrics, energy = evaluation.metrics[ALL], evaluation.pairs["energy"]
        error = energy.predicted - energy.reference
        found[name] = {
            "n_frames": len(frames),
            "energy_mae": metrics["energy"]["mae"],
            "energy_rmse": metrics["energy"]["rmse"],
            "energy_offset": float(error.mean()),
            "energy_mae_centred": float(np.abs(error - error.mean()).mean()),
            "qm_forces_mae": metrics["qm_forces"]["mae"],
        }
        if "mm_forces" in metrics:
            found[name]["mm_forces_relative_rms"] = metrics["mm_forces"]["relative"]
        if "charges" in metrics:
            found[name]["charges_mae"] = metrics["charges"]["mae"]
    return found
