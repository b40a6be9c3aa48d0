"""Electrostatic embedding learned, against mechanical embedding: same frames, same labels.

    python -m scripts.studies.mechanical_embedding build/models/MODEL.eqmm \
        -o scripts/results/mechanical_embedding.json

where MODEL is the one trained in water and gas that `transfer.json` names.

A network trained on the gas-phase sweeps gives the energy and charges in vacuo. Mechanical
embedding is that energy plus atomic charges times the MM potential, and the charges are those of
the reactant (the usual practice), a function of the reaction coordinate ζ, or of the whole
geometry. The model file given, which knows surroundings, and these three are compared on the
sweeps in water and in methanol that were held out. Every variant may choose the zero of its energy
in every medium.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.features import Neighbourhood
from eqmm_ase.network.model import Energies, MultiscaleModel
from eqmm_ase.network.model_file import load_model
from scripts.common import text_table
from scripts.flagship.flagship_data import COORDINATE, load_flagship
from scripts.studies.cells import Cell, Cells, errors, study_parser, trained

STEPS = 6000
VACUUM = [
    *("model.cutoff=8.0", "hardware.accelerator=cpu"),
    *("model.l_expansion=0", "model.polarisable=false"),
    *("training.batch_size=5", f"training.max_steps={STEPS}"),
]
"""Trained in gas, such a network is the molecule in vacuo, and outside its charges feel the
potential: mechanical embedding with the charges of the geometry."""
REACTANT = -2.5
"""Å: below this ζ the first chlorine is bound, and the second one an ion."""
KNOTS = np.arange(-3.0, 3.1, 0.5)
MEDIA = ("water", "methanol", "gas")


class FixedCharges(MultiscaleModel):
    """The energy in vacuo, and charges that are a function of ζ times the MM potential.

    Parameters
    ----------
    vacuum
        A network that is blind to its surroundings.
    knots: (n,) Å, evenly spaced; ζ beyond the ends counts as the ends.
    charges: (n, 6) e, at the knots; linear between them.
    """

    knots: torch.Tensor
    table: torch.Tensor

    def __init__(
        self, vacuum: MultiscaleModel, knots: Sequence[float], charges: np.ndarray
    ) -> None:
        super().__init__(vacuum.config)
        self.load_state_dict(vacuum.state_dict())
        self.register_buffer("knots", torch.tensor(knots, dtype=torch.float32))
        self.register_buffer("table", torch.tensor(charges, dtype=torch.float32))

    def in_potential(
        self, frames: FrameBatch, tensors: torch.Tensor, neighbourhood: Neighbourhood | None = None
    ) -> Energies:
        """As that of the network."""
        alone = super().in_potential(frames, torch.zeros_like(tensors), neighbourhood)
        positions = frames.qm_positions.reshape(frames.n_frames, -1, 3)
        charges = (hats(zeta(positions), self.knots) @ self.table).reshape(-1)
        interaction = (charges * tensors[:, 0]).reshape(frames.n_frames, -1).sum(1)
        return Energies(alone.energy + interaction.double(), charges)


def zeta(positions: torch.Tensor) -> torch.Tensor:
    """ζ of positions (F, 6, 3), (F,) Å; a tensor, so that forces follow."""
    distances = [
        sign * (positions[:, first] - positions[:, second]).norm(dim=1)
        for sign, first, second in COORDINATE.terms
    ]
    return torch.stack(distances).sum(0)


def hats(values: torch.Tensor, knots: torch.Tensor) -> torch.Tensor:
    """Weights (F, n) of linear interpolation between evenly spaced knots (n,)."""
    spacing = float(knots[1] - knots[0]) if len(knots) > 1 else 1.0
    clamped = values.clamp(float(knots[0]), float(knots[-1]))
    return (1.0 - (clamped[:, None] - knots).abs() / spacing).clamp(min=0.0)


def reactant_charges(frames: Sequence[Frame], scheme: str) -> np.ndarray:
    """Mean charges (1, 6) of the frames that are reactants."""
    coordinate = zeta(torch.tensor(np.array([f.qm_positions for f in frames])))
    charges = np.array([frame.charges[scheme] for frame in frames])
    return charges[coordinate.numpy() < REACTANT].mean(0, keepdims=True)


def charges_along(frames: Sequence[Frame], scheme: str) -> np.ndarray:
    """Charges (n, 6) at the knots, by least squares over all frames."""
    coordinate = zeta(torch.tensor(np.array([f.qm_positions for f in frames])))
    weights = hats(coordinate, torch.tensor(KNOTS)).numpy()
    charges = np.array([frame.charges[scheme] for frame in frames])
    return np.linalg.lstsq(weights, charges, rcond=None)[0]


def table(cells: Mapping[str, Cell]) -> str:
    """A line per variant."""
    columns = [("E", ".2f"), ("F(QM)", ".2f"), ("F(MM)", ".1%")]
    keys = ("energy_mae_centred", "qm_forces_mae", "mm_forces_relative_rms")
    rows = [
        [name, *(cell["errors"][medium].get(key) for medium in MEDIA for key in keys)]
        for name, cell in cells.items()
    ]
    groups = [("", 1), *((medium, len(keys)) for medium in MEDIA)]
    return text_table([("", ""), *columns * len(MEDIA)], rows, groups)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the network in vacuo, test all four, print and write."""
    parser = study_parser(__doc__)
    parser.add_argument("model", type=Path, help="model file, trained on none of the test sweeps")
    options = parser.parse_args(arguments)
    full, card = load_model(options.model)
    facts = {"steps_in_gas": STEPS, "training_set_of_the_full_model": card["training_set_hash"]}
    cells = Cells(options.output, facts)
    data, scheme = load_flagship(), card["charge_scheme"]
    tests = {medium: data.test(medium) for medium in MEDIA}
    gas = data.training(165, ["gas"])
    made, file = trained(gas, data.method, [*VACUUM, f"data.charges={scheme}"], options.models)
    vacuum = load_model(file)[0]
    assert isinstance(vacuum, MultiscaleModel)
    variants: dict[str, tuple[MultiscaleModel | Committee, dict[str, Any]]] = {
        "learned electrostatic embedding": (full, {"n_frames": card["n_training_frames"]}),
        "mechanical, charges of reactant": (
            FixedCharges(vacuum, [0.0], reactant_charges(gas, scheme)),
            made,
        ),
        "mechanical, charges along ζ": (
            FixedCharges(vacuum, list(KNOTS), charges_along(gas, scheme)),
            made,
        ),
        "mechanical, charges of geometry": (vacuum, made),
    }
    for name, (model, training) in variants.items():
        cells.add(name, {**training, "errors": errors(model, tests)})
    print(table(cells.cells))


if __name__ == "__main__":
    main()
