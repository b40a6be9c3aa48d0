"""Forms of the message along an edge: what each costs and how well it learns.

    python -m scripts.studies.edge_forms -o scripts/results/edge_forms.json

Every form is trained with the same steps on the same 1000 frames of the S_N2 reaction in water, and
tested on water sweeps that were held out and on all frames in methanol and in gas, media it has
never seen. Those by torch's own operations can be compared in time among each other; the loops of
the default are compiled for its form only. A run that was killed goes on with the training it was
at. About four minutes of one core per form and seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from eqmm_ase.network import layers, model
from eqmm_ase.network.edges import Edges
from eqmm_ase.network.harmonics import Coupling, coupling, gather_matrix
from eqmm_ase.network.model_file import load_model
from scripts.common import text_table
from scripts.flagship.flagship_data import load_flagship
from scripts.studies.ablation import MEDIA, N_FRAMES, SETTINGS, STEPS
from scripts.studies.cells import Cell, Cells, errors, study_parser, trained


class AllPaths(layers.Message):
    """All paths, a weight for each: the default's form, by torch's own operations."""

    def forward(self, features: torch.Tensor, edges: Edges) -> torch.Tensor:
        """(a, n, c) → (a, n, c)."""
        weights = self.weights(features[0], edges).unflatten(1, (-1, features.shape[2]))
        return self.composed(features, weights, edges)


class ScalarPaths(AllPaths):
    """Paths of which harmonic, feature or result is a scalar: 7 of 11, and 25 of 89 products."""

    def __init__(self, l_max: int, channels: int, n_radial: int, hidden: int) -> None:
        super().__init__(l_max, channels, n_radial, hidden)
        table = with_a_scalar(coupling(l_max, l_max, l_max))
        self.weights = layers.EdgeWeights(channels, n_radial, hidden, len(table.paths) * channels)
        self.register_constant("steering", table.tensor.permute(1, 2, 0).flatten(1))
        self.register_constant("gather", gather_matrix(table, l_max))
        self.register_buffer("path", table.path, persistent=False)
        self.shape = len(table.target), self.shape[1]


class WeightsPerOrder(AllPaths):
    """All paths, with a constant weight for each and one of the distance for each order."""

    def __init__(self, l_max: int, channels: int, n_radial: int, hidden: int) -> None:
        super().__init__(l_max, channels, n_radial, hidden)
        paths = coupling(l_max, l_max, l_max).paths
        self.weights = layers.EdgeWeights(channels, n_radial, hidden, (l_max + 1) * channels)
        self.constant = torch.nn.Parameter(torch.randn(len(paths), channels))
        result = torch.tensor([l_out for _, _, l_out in paths])
        self.register_buffer("result", result, persistent=False)

    def forward(self, features: torch.Tensor, edges: Edges) -> torch.Tensor:
        """(a, n, c) → (a, n, c)."""
        weights = self.weights(features[0], edges).unflatten(1, (-1, features.shape[2]))
        result: Any = self.result
        return self.composed(features, weights.index_select(1, result) * self.constant, edges)


class DensityFirst(torch.nn.Module):
    """Neighbours' scalars spread over the sphere, coupled to the receiver's features after the sum.

    Equivariant features of neighbours are not sent.
    """

    def __init__(self, l_max: int, channels: int, n_radial: int, hidden: int) -> None:
        super().__init__()
        self.density = layers.Density(l_max, channels, n_radial, hidden)
        self.product = layers.PackedProduct(l_max, l_max, l_max, channels)

    def forward(self, features: torch.Tensor, edges: Edges) -> torch.Tensor:
        """(a, n, c) → (a, n, c)."""
        weights = self.density.weights(features[0], edges).unflatten(1, (-1, features.shape[2]))
        density = self.density.composed(features[0], weights, edges)
        return density + self.product.composed(density, features)


FORMS: Mapping[str, type[torch.nn.Module]] = {
    "all paths": AllPaths,
    "all paths, compiled loops": layers.Message,
    "paths with a scalar": ScalarPaths,
    "weights per order": WeightsPerOrder,
    "density first": DensityFirst,
}
SEEDS = 3


def with_a_scalar(table: Coupling) -> Coupling:
    """The paths of a coupling in which one of the three orders is 0."""
    kept = [p for p, orders in enumerate(table.paths) if 0 in orders]
    outputs = torch.isin(table.path, torch.tensor(kept))
    number = torch.full((len(table.paths),), -1)
    number[kept] = torch.arange(len(kept))
    paths = tuple(table.paths[p] for p in kept)
    return Coupling(
        table.tensor[:, :, outputs], number[table.path[outputs]], table.target[outputs], paths
    )


@contextmanager
def form(name: str) -> Iterator[None]:
    """Models made in here have this form of the message."""
    with patch.object(model, "Message", FORMS[name]):
        yield


def run(cells: Cells, models: Path) -> Iterator[str]:
    """Train and test every form that has no cell yet, one seed after the other; its name."""
    data = load_flagship()
    training = data.training(N_FRAMES)
    tests = {"water": data.test("water"), **{m: data.all_in(m) for m in ("methanol", "gas")}}
    for seed in range(SEEDS):
        for name in FORMS:
            own = f"{name}, seed {seed}"
            if own in cells:
                continue
            print(f"\n{own}", flush=True)
            settings = [*SETTINGS, f"training.seed={seed}"]
            with form(name):
                made, file = trained(training, data.method, settings, models / name)
                found = errors(load_model(file)[0], tests)
            cells.add(own, {"form": name, "seed": seed, **made, "errors": found})
            yield own


KEYS = {"E": "energy_mae_centred", "F(QM)": "qm_forces_mae", "F(MM)": "mm_forces_relative_rms"}


def means(cells: Mapping[str, Cell]) -> dict[str, dict[str, Any]]:
    """Form → medium → error → mean over the seeds and largest difference from it."""
    found: dict[str, dict[str, Any]] = {}
    for name in FORMS:
        own = [cell for cell in cells.values() if cell["form"] == name]
        if not own:
            continue
        by_medium: dict[str, Any] = {}
        for medium in MEDIA:
            of_key = {key: [c["errors"][medium].get(key) for c in own] for key in KEYS.values()}
            by_medium[medium] = {
                key: [float(np.mean(values)), float(np.ptp(values)) / 2]
                for key, values in of_key.items()
                if values[0] is not None
            }
        found[name] = {
            "seeds": len(own),
            "parameters": own[0]["parameters"],
            "cpu_seconds": float(np.mean([cell["cpu_seconds"] for cell in own])),
            "errors": by_medium,
        }
    return found


def table(rows: Mapping[str, dict[str, Any]]) -> str:
    """Errors without the mean of the energy's, a line per form."""
    columns = [("", ""), ("seeds", "d"), ("weights", "d"), ("CPU s", ".0f")]
    figures = [
        ("E", ".3f"),
        ("±", ".3f"),
        ("F(QM)", ".3f"),
        ("±", ".3f"),
        ("F(MM)", ".2%"),
        ("±", ".2%"),
    ]
    lines = [
        [name, row["seeds"], row["parameters"], row["cpu_seconds"]]
        + [v for m in MEDIA for k in KEYS.values() for v in row["errors"][m].get(k, [None, None])]
        for name, row in rows.items()
    ]
    groups = [("", 4), *((medium, len(figures)) for medium in MEDIA)]
    return text_table(columns + figures * len(MEDIA), lines, groups)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing; print the table after each training."""
    options = study_parser(__doc__).parse_args(arguments)
    cells = Cells(options.output, {"n_frames": N_FRAMES, "steps": STEPS})
    for _ in run(cells, options.models):
        cells.summary = means(cells.cells)
        cells.write()
        print(table(cells.summary), flush=True)


if __name__ == "__main__":
    main()
