"""Put the trained committee into the package, with a card that says what it is good for.

    python -m scripts.flagship.ship_flagship FOLDER

Errors on the sweeps that were held out go into the card and, with versions and hardware, into
``scripts/results/sn2_chloride.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eqmm_ase.data.frame import Frame
from eqmm_ase.evaluation.evaluate import Evaluation, evaluate
from eqmm_ase.evaluation.metrics import ALL
from eqmm_ase.evaluation.reliability import reliability
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.models.pretrained import FOLDER
from eqmm_ase.network.committee import members_of
from eqmm_ase.network.model_file import load_model, save_model
from eqmm_ase.uncertainty.calibration import Calibration
from scripts.common import RESULTS, argument_parser, write_results
from scripts.flagship.flagship_data import COORDINATE, zeta

NAME = "sn2-chloride-b3lyp"
MEDIA = ("water", "methanol", "gas")
RESULT = RESULTS / "sn2_chloride.json"
_ABOUT = (
    "chloride + chloromethane, Cl⁻ + CH3Cl → ClCH3 + Cl⁻, one chloromethane and one chloride at a "
    "time, along d(C–Cl1) − d(C–Cl2) from {low:.1f} to {high:.1f} Å, at 300 to 500 K, in water, "
    "methanol or gas, for any MM point charges that come no closer than those of training"
)


def card_of(
    card: dict[str, Any], training: Sequence[Frame], evaluation: Evaluation
) -> dict[str, Any]:
    """The card of the training, with what a user of the model has to know."""
    coordinates = [zeta(frame) for frame in training]
    return {
        **card,
        "about": _ABOUT.format(low=min(coordinates), high=max(coordinates)),
        "made_with": "scripts/flagship/make, scripts/flagship/train",
        "coordinate": {"text": COORDINATE.text, "range": [min(coordinates), max(coordinates)]},
        "metrics": card["metrics"] | {"test": evaluation.metrics},
    }


def figures_of(
    evaluation: Evaluation, loose: Evaluation, card: dict[str, Any], path: Path
) -> dict[str, Any]:
    """What is kept beside the model; `loose` is of transition states with longer bonds."""
    model, _ = load_model(path)
    energies = evaluation.pairs["energy"]
    calibration = Calibration.from_dict(card.get("calibration", {}))
    return {
        "what": "errors on sweeps held out of training; energies and forces in kcal/mol(/Å)",
        "bytes": path.stat().st_size,
        "members": len(members_of(model)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_frames": card["n_training_frames"],
        "metrics": evaluation.metrics,
        "metrics_loose": loose.metrics,
        "uncertainty": reliability(evaluation.deviations, calibration),
        "largest_energy_error": float(np.abs(energies.predicted - energies.reference).max()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("folder", type=Path, help="where scripts/flagship/train worked")
    folder = parser.parse_args(arguments).folder
    model, card = load_model(folder / "sn2.eqmm")
    training = [f for part in (*MEDIA, "loose") for f in read_frames(folder / f"{part}_train.h5")]
    test = [f for medium in MEDIA for f in read_frames(folder / f"{medium}_test.h5")]
    evaluation = evaluate(model, test, card["charge_scheme"])
    loose = evaluate(model, read_frames(folder / "loose_test.h5"), card["charge_scheme"])
    path = FOLDER / f"{NAME}.eqmm"
    path.parent.mkdir(exist_ok=True)
    save_model(path, model, card_of(card, training, evaluation))
    write_results(RESULT, figures_of(evaluation, loose, card, path))
    for medium, metrics in {**evaluation.metrics, "loose": loose.metrics[ALL]}.items():
        if medium != ALL:
            print(medium, {name: round(m.get("mae", np.nan), 4) for name, m in metrics.items()})


if __name__ == "__main__":
    main()
