"""The network on a GPU beside the CPU: answers, times of a step, and a step of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from eqmm_ase import EqMM
from eqmm_ase.cuda.captured import PATIENCE, CapturedModels
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import cast
from eqmm_ase.network.prediction import predict
from scripts.benchmarks.benchmark_inference import large, random_model, small, surroundings
from scripts.common import TEST_DATA
from scripts.device.figures import Figures, TooFarError, largest, median_ms, refuse_beyond
from scripts.device.labels import frames_of

PRETRAINED = "sn2-chloride-b3lyp"
STEPS = PATIENCE + 10  # the later ones are replayed as a graph
LIMITS = {
    "float64": {"energy, eV": 1e-8, "QM forces, eV/Å": 1e-8, "MM forces, eV/Å": 1e-8},
    "float32": {"energy, eV": 1e-3, "QM forces, eV/Å": 5e-4, "MM forces, eV/Å": 5e-4},
}
"""Of float32, half the noise of labels; its rounding is a tenth of this."""


def deviations(device: str = "cuda") -> Figures:
    """Largest deviations of the calculator on a device from the one on the CPU, both precisions."""
    frames = frames_of("chloride and chloromethane", STEPS)
    found: Figures = {}
    for dtype, limits in LIMITS.items():
        here, there = (_answers(frames, place, dtype) for place in ("cpu", device))
        own = {name: largest(here[name], there[name]) for name in limits}
        refuse_beyond(own, limits)
        found |= {f"{name}, {dtype}": value for name, value in own.items()}
    return found


def _answers(frames: Sequence[Frame], device: str, dtype: str) -> dict[str, np.ndarray]:
    calculator = EqMM.pretrained(PRETRAINED, device=device, dtype=dtype, contacts="warn")
    answers: dict[str, list[np.ndarray]] = {name: [] for name in LIMITS[dtype]}
    for frame in frames:
        atoms = atoms_of_frame(frame)
        atoms.calc = calculator
        calculator.embed(frame.mm_charges, frame.mm_positions)
        own = (np.array(atoms.get_potential_energy()), atoms.get_forces(), calculator.mm_forces)
        for name, value in zip(answers, own, strict=True):
            answers[name].append(value)
    return {name: np.array(values) for name, values in answers.items()}


def step_times(n_qm: int, n_mm: int, device: str = "cuda", repetitions: int = 30) -> Figures:
    """Times of energy and all forces, float32: as the operations come, and captured as a graph."""
    atoms = small() if n_qm == 6 else large(n_qm)
    charges, positions = surroundings(atoms, n_mm)
    frame = Frame(atoms.numbers, atoms.positions, positions, charges)
    frames = FrameBatch.from_frames([frame], torch.float32)
    model = random_model().to(device)
    captured, there = CapturedModels([model]), frames.to(device)

    def eager() -> None:
        predict(model, there)["mm_forces"].cpu()

    def replayed() -> None:
        captured(frames)[0]["mm_forces"].cpu()

    for _ in range(STEPS):
        eager()
        replayed()
    if device == "cuda" and not captured.captured:
        raise TooFarError("the step was not captured as a CUDA graph")
    return {
        "as operations come, ms": median_ms(eager, repetitions),
        "captured, with transfers, ms": median_ms(replayed, repetitions),
    }


def training_step(device: str = "cuda", repetitions: int = 5) -> Figures:
    """Gradient of a loss of energies and forces by all weights: its deviation, and its time."""
    frames = read_frames(TEST_DATA / "methanol.h5", list(range(16)))
    model = random_model().requires_grad_(True)
    cast(model, torch.float64)
    here, there = (_gradient(model.to(own), frames, own) for own in ("cpu", device))
    deviation = float((here - there.cpu()).norm() / here.norm())
    refuse_beyond({"gradient": deviation}, {"gradient": 1e-8})
    times: Figures = {}
    for own in ("cpu", device):
        cast(model, torch.float32).to(own)

        def step(own: str = own) -> None:
            _gradient(model, frames, own).cpu()

        step()
        times["one core, ms" if own == "cpu" else "GPU, ms"] = median_ms(step, repetitions)
    return {"relative deviation of the gradient, float64": deviation} | times


def _gradient(model: MultiscaleModel, frames: Sequence[Frame], device: str) -> torch.Tensor:
    """All weights' derivatives of the loss, one after the other."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    dtype = weights[0].dtype
    prediction = predict(model, FrameBatch.from_frames(frames, dtype, device), create_graph=True)
    forces = np.concatenate([np.asarray(frame.qm_forces) for frame in frames])
    labels = torch.as_tensor(forces, dtype=dtype, device=device)
    loss = (prediction["qm_forces"] - labels).square().mean() + prediction["energy"].var()
    grads = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
    return torch.cat([grad.flatten() for grad in grads])
