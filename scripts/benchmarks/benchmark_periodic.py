"""Time and error of the tensors of a periodic box, part by part, against the number of charges.

python -m scripts.benchmarks.benchmark_periodic

One thread, float32, processor time, tolerance 1e-4 unless told otherwise. Water of TIP3P's geometry
and density around methanol (6 atoms) and around a dense ball of 22. Parts of the tensors: the
search for near sites, near charges and waves, forward (C) and back (all gradients). Beside them:
the bare sum over 12 Å that a cluster needs, the images of the QM region, a whole step of a network
of random weights with and without them, and the switched cutoff. Errors are against float64 at a
tolerance of 1e-9, relative to the root-mean-square of each order and of each kind of gradient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms

from eqmm_ase.arrays import FloatArray
from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.expansion import Expansion
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.periodic.cell import Box, images_within
from eqmm_ase.periodic.ewald import TOLERANCE, Ewald
from eqmm_ase.periodic.far import FarPart
from eqmm_ase.periodic.images import ImageInteraction
from eqmm_ase.periodic.near import NearPart
from eqmm_ase.periodic.prediction import SurroundedModels
from eqmm_ase.periodic.switched import SwitchedCutoff
from scripts.benchmarks.benchmark_inference import large, small
from scripts.common import RESULTS, argument_parser, write_results

RESULT = RESULTS / "benchmark_periodic.json"
COUNTS = (2700, 30_000, 100_000)
L = 3
DENSITY = 0.1  # charges per Å³
NEAREST = 2.2  # Å between a QM atom and a molecule
BARE = 12.0  # Å
CHARGES = np.array([-0.834, 0.417, 0.417])


def water(atoms: FloatArray, n_charges: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Sites and cell of water molecules, turned at random, on a shaken lattice around the atoms."""
    rng = np.random.default_rng(seed)
    n_molecules = n_charges // 3
    length = (n_charges / DENSITY) ** (1 / 3)
    edge = int(np.ceil((1.1 * n_molecules + 20) ** (1 / 3)))
    index = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    oxygens = (index + 0.5) * length / edge - 0.5 * length
    oxygens = oxygens + rng.uniform(-0.3, 0.3, oxygens.shape)
    along, across = (_units(rng.normal(size=oxygens.shape)) for _ in range(2))
    across = _units(across - (across * along).sum(1, keepdims=True) * along)
    angle = np.radians(104.52)
    bonds = [0.0 * along, along, np.cos(angle) * along + np.sin(angle) * across]
    molecules = oxygens[:, None] + 0.9572 * np.stack(bonds, axis=1)
    nearest = np.min([np.linalg.norm(molecules - x, axis=2).min(1) for x in atoms], axis=0)
    chosen = rng.permutation(np.flatnonzero(nearest > NEAREST))[:n_molecules]
    return molecules[chosen].reshape(-1, 3), length * np.eye(3)


def _units(vectors: FloatArray) -> FloatArray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def milliseconds(call: Callable[[], Any], repetitions: int) -> dict[str, float]:
    """Median and fastest processor time of a call, after two to warm up."""
    times = []
    for _ in range(repetitions + 2):
        begun = time.thread_time()
        call()
        times.append(1000.0 * (time.thread_time() - begun))
    return {"median_ms": float(np.median(times[2:])), "fastest_ms": min(times[2:])}


def measure(atoms: Atoms, n_charges: int, tolerance: float, repetitions: int) -> dict[str, Any]:
    """All parts for one region in one box."""
    places = atoms.positions - atoms.positions.mean(0)
    sites, cell = water(places, n_charges)
    charges = np.tile(CHARGES, len(sites) // 3)
    frame = Frame(atoms.numbers, places, sites, charges)
    frames = FrameBatch.from_frames([frame], dtype=torch.float32)
    system = frames.qm_positions, frames.mm_positions, frames.mm_charges
    grad = _typical_gradient(len(atoms))
    ewald = Ewald(L, tolerance=tolerance)
    found = ewald.expansion(*system, cell)
    return {
        "n_qm": len(atoms),
        "n_mm": len(charges),
        **vars(ewald.splitting),
        "tensors": {
            "forward": milliseconds(lambda: ewald.expansion(*system, cell), repetitions),
            "back": milliseconds(lambda: found.pull_back(grad), repetitions),
            "strain": milliseconds(lambda: found.strain(grad), repetitions),
        },
        "parts": _parts(ewald, cell, system, grad, repetitions),
        "beside": _beside(ewald, frames, cell, grad, repetitions),
        "errors": _errors(ewald, frame, cell, grad),
    }


def _typical_gradient(n_atoms: int) -> torch.Tensor:
    """Some dE/dC of the size of the multipoles of atoms in molecules."""
    grad = 0.5 * torch.randn(n_atoms, (L + 1) ** 2, generator=torch.Generator().manual_seed(0))
    grad[:, 0] -= grad[:, 0].mean()
    return grad


def _parts(
    ewald: Ewald,
    cell: FloatArray,
    system: tuple[torch.Tensor, ...],
    grad: torch.Tensor,
    repetitions: int,
) -> dict[str, Any]:
    """Near and far, forward and back."""
    atoms, sites, charges = system
    box = Box.of(cell)
    splitting, grid, transform = ewald.prepared(box, len(atoms))
    fractions, at_atoms = box.fractional(sites), box.fractional(atoms)
    images = images_within(box, fractions, atoms, splitting.cutoff)

    def near() -> NearPart:
        return NearPart(atoms, images, charges, splitting.cutoff, splitting.alpha, L)

    def far() -> FarPart:
        return FarPart(grid, transform, at_atoms, fractions, charges)

    near_part, far_part = near(), far()
    calls: dict[str, Callable[[], Any]] = {
        "search": lambda: images_within(box, box.fractional(sites), atoms, splitting.cutoff),
        "near_forward": near,
        "near_back": lambda: near_part.pull_back(grad),
        "far_forward": far,
        "far_back": lambda: far_part.pull_back(grad),
    }
    return {name: milliseconds(call, repetitions) for name, call in calls.items()}


def _beside(
    ewald: Ewald, frames: FrameBatch, cell: FloatArray, grad: torch.Tensor, repetitions: int
) -> dict[str, Any]:
    """What the tensors are compared with, and what follows them."""
    atoms, sites, charges = frames.qm_positions, frames.mm_positions, frames.mm_charges
    box = Box.of(cell)
    bare = images_within(box, box.fractional(sites), atoms, BARE)
    inside = bare.select(torch.cdist(atoms, bare.positions).amin(0) < BARE)
    cluster = FrameBatch.from_frames(
        [
            Frame(
                frames.atomic_numbers.numpy(),
                atoms.numpy(),
                inside.positions.numpy(),
                charges[inside.index].numpy(),
            )
        ],
        dtype=torch.float32,
    )
    torch.manual_seed(0)
    model = MultiscaleModel(ModelConfig((1, 6, 7, 8))).requires_grad_(False)
    switched = SwitchedCutoff(torch.arange(len(charges)) // 3, L)
    interaction = ImageInteraction(box, L, model.config.cutoff)
    calls: dict[str, Callable[[], Any]] = {
        "bare_sum_12": lambda: Expansion(cluster, L).pull_back(grad),
        "switched_cutoff": lambda: switched.expansion(atoms, sites, charges, cell).pull_back(grad),
        "images": lambda: interaction(grad, atoms),
    }
    with_images = SurroundedModels([model], ewald)
    without = SurroundedModels([model], ewald, images=False)
    calls["step_without_images"] = lambda: without(frames, cell)
    calls["step_with_images"] = lambda: with_images(frames, cell)
    return {name: milliseconds(call, repetitions) for name, call in calls.items()}


def _errors(ewald: Ewald, frame: Frame, cell: FloatArray, grad: torch.Tensor) -> dict[str, Any]:
    """Of what the network is given and of what comes back, relative."""
    cutoff = 0.45 * Box.of(cell).width
    exact = Ewald(L, tolerance=1e-9, cutoff=min(cutoff, 16.0), dtype=torch.float64)
    arrays = frame.qm_positions, frame.mm_positions, frame.mm_charges
    atoms, sites, charges = (torch.from_numpy(array) for array in arrays)
    found, reference = (one.expansion(atoms, sites, charges, cell) for one in (ewald, exact))
    orders = [2 * l + 1 for l in range(L + 1)]
    pairs = zip(found.tensors.split(orders, 1), reference.tensors.split(orders, 1), strict=True)
    errors: dict[str, Any] = {"tensors": [_relative(one, other) for one, other in pairs]}
    names = ("qm_gradient", "mm_gradient", "mm_potential")
    gradients = zip(found.pull_back(grad), reference.pull_back(grad.double()), strict=True)
    for name, (one, other) in zip(names, gradients, strict=True):
        errors[name] = _relative(one, other)
    errors["strain"] = _relative(found.strain(grad), reference.strain(grad.double()))
    return errors


def _relative(found: torch.Tensor, reference: torch.Tensor) -> float:
    return float((found.detach().double() - reference.detach()).norm() / reference.detach().norm())


def benchmark(counts: Sequence[int], tolerance: float, repetitions: int) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(1)
    systems = [(atoms, n) for atoms in (small(), large()) for n in counts]
    return {
        "what": "tensors of a periodic box and their gradients, float32, one thread, CPU time",
        "tolerance": tolerance,
        "repetitions": repetitions,
        "systems": [measure(atoms, n, tolerance, repetitions) for atoms, n in systems],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "JSON file to write", RESULT)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    chosen = parser.parse_args(arguments)
    result = benchmark(chosen.counts, chosen.tolerance, chosen.repetitions)
    write_results(chosen.output, result, ("eqmm", "torch", "numpy", "finufft"))
    for row in result["systems"]:
        times = {**row["tensors"], **row["parts"], **row["beside"]}
        print(f"{row['n_qm']} atoms, {row['n_mm']} charges, r_c {row['cutoff']:.1f} Å: ", end="")
        print(", ".join(f"{name} {one['median_ms']:.1f}" for name, one in times.items()), "ms")


if __name__ == "__main__":
    main()
