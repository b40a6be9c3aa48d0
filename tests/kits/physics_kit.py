"""Models and frames on which physics is tested, and how they are compared: float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from places import DATA

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.model_file import load_model
from eqmm_ase.network.prediction import Prediction, predict

ELEMENTS = (1, 6, 8, 17)
CONFIGS = {
    "default": ModelConfig(ELEMENTS),
    "potential only": ModelConfig(ELEMENTS, l_expansion=0, l_hidden=1, n_near=0, channels=8),
    "long range": ModelConfig(ELEMENTS, channels=8, long_range=True),
    "high order": ModelConfig(ELEMENTS, l_expansion=4, l_hidden=3, n_layers=3, channels=8),
}


MODELS = (*CONFIGS, "trained", "committee")


def model_called(name: str) -> MultiscaleModel | Committee:
    """One of `MODELS`: random weights, a trained model, a committee."""
    if name == "trained":
        return load_model(DATA / "methanol.eqmm")[0].double()
    if name == "committee":
        small = ModelConfig(ELEMENTS, channels=8)
        return Committee([random_physics_model(small, seed=7), random_physics_model(small, seed=8)])
    return random_physics_model(CONFIGS[name], seed=7)


def random_physics_model(config: ModelConfig, seed: int) -> MultiscaleModel:
    torch.manual_seed(seed)
    random_model = MultiscaleModel(config).double()
    n_orders = config.l_expansion + 1
    with torch.no_grad():  # untrained outputs are small by intention; here they must matter
        random_model.charge_flow.flow.out.weight *= 20.0
        random_model.atomic_energy.mlp[2].weight *= 20.0
        if random_model.multipoles is not None:
            random_model.multipoles.out.weight *= 20.0
    random_model.set_statistics(
        torch.zeros(len(ELEMENTS)),
        1.0,
        torch.full((n_orders,), 0.3),
        torch.tensor([0.0, 0.0, -0.9, -1.0]),
    )
    return random_model


def physics_frames() -> list[Frame]:
    """Methanol in water, twice and charged; water, hydroxide in few charges; gas; three apart."""
    first, second = (_with_few_charges(f) for f in read_frames(DATA / "methanol.h5", [0, 1]))
    water = Frame(
        np.array([8, 1, 1]),
        np.array([[0.0, 0.0, 0.1], [0.8, 0.0, -0.5], [-0.7, 0.2, -0.5]]),
        mm_positions=np.array([[0.0, 0.3, 3.0], [2.0, 2.5, 0.3], [-3.0, 2.0, 1.0]]),
        mm_charges=np.array([0.4, -0.8, 0.7]),
    )
    hydroxide = replace(
        water, atomic_numbers=np.array([8, 1]), qm_positions=water.qm_positions[:2], total_charge=-1
    )
    cation = replace(first, total_charge=1, spin_multiplicity=2)
    # Distant in one QM region: an oxygen ion that methanol still reaches, and water.
    carbon = first.qm_positions[0]
    ion = carbon + np.array([0.0, 2.0, 3.3])
    far_water = carbon + np.array([7.0, 2.0, 0.0]) + water.qm_positions
    distant = Frame(
        np.array([8, *first.atomic_numbers, *water.atomic_numbers]),
        np.concatenate([ion[None], first.qm_positions, far_water]),
        carbon + np.array([[-4.0, -3.0, 1.0], [3.0, -4.0, 2.0]]),
        np.array([0.7, -0.4]),
        total_charge=-1,
        spin_multiplicity=2,
    )
    return [first, second, cation, water, hydroxide, water.in_vacuum(), distant]


def _with_few_charges(frame: Frame) -> Frame:
    """The 30 nearest water molecules only, to keep the tests short."""
    distance = np.linalg.norm(frame.mm_positions[:, None] - frame.qm_positions, axis=2).min(1)
    molecules = np.argsort(distance.reshape(-1, 3).min(1))[:30]
    sites = (3 * molecules[:, None] + np.arange(3)).ravel()
    return Frame(
        frame.atomic_numbers,
        np.asarray(frame.qm_positions, float),
        np.asarray(frame.mm_positions, float)[sites],
        np.asarray(frame.mm_charges, float)[sites],
    )


def evaluate(model: MultiscaleModel, frames: Frame | list[Frame]) -> Prediction:
    batch = [frames] if isinstance(frames, Frame) else frames
    return predict(model, FrameBatch.from_frames(batch))


def interaction_energy(model: MultiscaleModel, frame: Frame) -> float:
    return float(evaluate(model, frame).energy - evaluate(model, frame.in_vacuum()).energy)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-9 of the largest value: rounding, accumulated over a few hundred terms."""
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-9 * scale)
