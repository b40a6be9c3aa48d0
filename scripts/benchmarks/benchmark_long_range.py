"""What the long range within the QM region costs: times with and without it, taken in turns.

One core, float32. ``predict`` is energy and all forces, ``train`` also the gradient of a loss.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.prediction import predict
from scripts.benchmarks.benchmark_inference import large, small, surroundings
from scripts.common import argument_parser


def evaluate(model: MultiscaleModel, frames: FrameBatch, train: bool) -> None:
    """One call, or one step of a training without the optimiser's part."""
    out = predict(model, frames, create_graph=train)
    if train:
        loss = out.energy.sum() + out.qm_forces.square().sum() + out.mm_forces.square().sum()
        loss.backward(inputs=list(model.parameters()))


def ratio(atoms: Atoms, n_charges: int, train: bool, repetitions: int) -> tuple[float, float]:
    """CPU time of a call without, ms, and the median of the ratios with / without."""
    charges, positions = surroundings(atoms, n_charges)
    frame = Frame(atoms.numbers, atoms.positions, positions, charges)
    frames = FrameBatch.from_frames([frame], dtype=torch.float32)
    times: dict[bool, list[float]] = {False: [], True: []}
    models = {}
    for long_range in times:
        torch.manual_seed(0)
        models[long_range] = MultiscaleModel(ModelConfig((1, 6, 7, 8), long_range=long_range))
        models[long_range].requires_grad_(train)
    for repetition in range(repetitions + 3):
        for long_range in (False, True) if repetition % 2 else (True, False):
            begun = time.thread_time()
            evaluate(models[long_range], frames, train)
            if repetition >= 3:
                times[long_range].append(1000.0 * (time.thread_time() - begun))
    without, with_it = np.array(times[False]), np.array(times[True])
    return float(np.median(without)), float(np.median(with_it / without))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for atoms, n_charges in ((small(), 720), (large(), 3000)):
        for train in (False, True):
            without, factor = ratio(atoms, n_charges, train, chosen.repetitions)
            print(
                f"{len(atoms):3d} atoms {n_charges:5d} charges, {'train' if train else 'predict'}: "
                f"{without:7.2f} ms without, times {factor:.3f} with"
            )


if __name__ == "__main__":
    main()
