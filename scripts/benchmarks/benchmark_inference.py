"""Time of one energy with all forces: small and large systems, and against the number of charges.

python -m scripts.benchmarks.benchmark_inference

CPU times of one thread, float32. Weights are random: the time does not depend on them. ``eager`` is
the network with all derivatives, as in the first calls; ``recorded`` the same as a program, after
some calls of one size; ``calculator`` that through ASE with every check. Memory is what a process
of its own takes at most for such calls beyond what it took for a small region before.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

from eqmm_ase.calculator.eqmm import EqMM
from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.prediction import predict
from eqmm_ase.network.traced import PATIENCE, TracedModels
from scripts.common import RESULTS, argument_parser, peak_memory, write_results

RESULT = RESULTS / "benchmark_inference.json"
DENSITY = 0.1  # atoms per Å³ of water and of biomolecules alike
NEAREST = 2.0  # Å between a QM atom and an MM charge
LARGER = ((22, 3000), (60, 3000), (120, 3000), (120, 30000))
"""QM atoms and charges of the larger systems."""
COMMITTEE, MEMBERS = (22, 3000), 3
WARM_UP = PATIENCE + 10  # calls, after which programs are recorded and optimised


def small() -> Atoms:
    """Methanol."""
    return molecule("CH3OH")


def large(n_atoms: int = 22, seed: int = 0) -> Atoms:
    """A dense ball of as many atoms as alanine dipeptide has: more neighbours than a chain."""
    generator = np.random.default_rng(seed)
    radius = (3 * n_atoms / (4 * np.pi * DENSITY)) ** (1 / 3)
    positions = np.zeros((1, 3))
    while len(positions) < n_atoms:
        candidate = generator.uniform(-radius, radius, 3)
        inside = np.linalg.norm(candidate) < radius
        if inside and np.linalg.norm(positions - candidate, axis=1).min() > 1.0:
            positions = np.vstack([positions, candidate])
    return Atoms((["C"] * 6 + ["N"] * 2 + ["O"] * 2 + ["H"] * n_atoms)[:n_atoms], positions)


def surroundings(atoms: Atoms, n_charges: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Charges of a liquid's density around the atoms, and their positions."""
    generator = np.random.default_rng(seed)
    extent = np.linalg.norm(atoms.positions, axis=1).max() + NEAREST
    outer = (3 * n_charges / (4 * np.pi * DENSITY) + extent**3) ** (1 / 3)
    directions = generator.normal(size=(n_charges, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distance = generator.uniform(extent**3, outer**3, (n_charges, 1)) ** (1 / 3)
    return generator.uniform(-0.8, 0.8, n_charges), directions * distance


def seconds(call: Callable[[], Any], repetitions: int) -> dict[str, float]:
    """Median and fastest CPU time of a call, ms, after a warm-up."""
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(repetitions):
        begun = time.process_time()
        call()
        times.append(1000.0 * (time.process_time() - begun))
    return {"median_ms": float(np.median(times)), "fastest_ms": min(times)}


def measure(
    model: MultiscaleModel, atoms: Atoms, n_charges: int, repetitions: int
) -> dict[str, Any]:
    """Both ways of asking for energy, QM forces, MM forces and MM potential."""
    charges, positions = surroundings(atoms, n_charges)
    frame = Frame(atoms.numbers, atoms.positions, positions, charges)
    frames = FrameBatch.from_frames([frame], dtype=torch.float32)
    recorded = TracedModels([model])
    return {
        "n_qm": len(atoms),
        "n_mm": n_charges,
        "eager": seconds(lambda: predict(model, frames), repetitions),
        "recorded": seconds(lambda: recorded(frames), repetitions),
        "calculator": through_ase(model, atoms, n_charges, repetitions),
    }


def through_ase(
    model: MultiscaleModel | Committee, atoms: Atoms, n_charges: int, repetitions: int
) -> dict[str, float]:
    """As `seconds`, of forces by the calculator."""
    calculator, atoms = EqMM(model), atoms.copy()
    calculator.embed(*surroundings(atoms, n_charges))
    atoms.calc = calculator

    def step() -> None:
        atoms.positions[0, 0] += 1e-6  # results of an unmoved molecule would be remembered
        atoms.get_forces()

    return seconds(step, repetitions)


def committee(repetitions: int) -> dict[str, Any]:
    """A committee beside one of its members."""
    n_qm, n_mm = COMMITTEE
    members = [random_model(seed) for seed in range(MEMBERS)]
    one, all_of_them = (
        through_ase(model, large(n_qm), n_mm, repetitions)
        for model in (members[0], Committee(members))
    )
    ratio = all_of_them["median_ms"] / one["median_ms"]
    sizes = {"n_qm": n_qm, "n_mm": n_mm, "members": MEMBERS}
    return {**sizes, "one": one, "calculator": all_of_them, "ratio": ratio}


def memory(n_qm: int, n_mm: int) -> float:
    """Peak memory of calls with a large system above that of a small one, MB, in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(_growth, n_qm, n_mm).result()


def _growth(n_qm: int, n_mm: int) -> float:
    model, peaks = random_model(), []
    for atoms, number in ((small(), 720), (large(n_qm), n_mm)):
        measure(model, atoms, number, 1)
        peaks.append(peak_memory())
    return peaks[1] - peaks[0]


def random_model(seed: int = 0) -> MultiscaleModel:
    """Default settings, random weights; sets the number of threads to one."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return MultiscaleModel(ModelConfig(elements=(1, 6, 7, 8))).eval().requires_grad_(False)


def linear_fit(counts: Sequence[int], times: Sequence[float]) -> dict[str, float]:
    """A straight line through time against number of charges, and how much of it is straight."""
    slope, start = np.polyfit(counts, times, 1)
    residual = np.array(times) - (start + slope * np.array(counts))
    return {
        "ms_without_charges": float(start),
        "ms_per_1000_charges": float(1000.0 * slope),
        "r_squared": float(1.0 - residual.var() / np.var(times)),
    }


def benchmark(repetitions: int, counts: Sequence[int]) -> dict[str, Any]:
    """All figures."""
    model = random_model()
    sweep = [measure(model, small(), n, repetitions) for n in counts]
    return {
        "what": "CPU time of energy, QM forces, MM forces and MM potential, float32, one thread",
        "model": {
            **model.config.to_dict(),
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "repetitions": repetitions,
        "methanol_720_charges": measure(model, small(), 720, repetitions),
        "larger": [
            {**measure(model, large(n_qm), n_mm, repetitions), "memory_MB": memory(n_qm, n_mm)}
            for n_qm, n_mm in LARGER
        ],
        "committee": committee(repetitions),
        "against_number_of_charges": sweep,
        "linear_fit": linear_fit(counts, [row["recorded"]["median_ms"] for row in sweep]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "JSON file to write", RESULT)
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument(
        "--charges", type=int, nargs="+", default=[0, 100, 300, 1000, 3000, 10000, 30000]
    )
    chosen = parser.parse_args(arguments)
    result = benchmark(chosen.repetitions, chosen.charges)
    write_results(chosen.output, result)
    found = result["committee"]
    print(
        f"a committee of {MEMBERS}, {found['n_qm']} atoms {found['n_mm']} charges: "
        f"{found['calculator']['median_ms']:.2f} ms, {found['ratio']:.2f} of one model"
    )
    chosen_rows = (result["methanol_720_charges"], *result["larger"])
    for row in (*chosen_rows, *result["against_number_of_charges"]):
        print(
            f"{row['n_qm']:3d} atoms {row['n_mm']:6d} charges: "
            f"eager {row['eager']['median_ms']:7.2f} ms, "
            f"recorded {row['recorded']['median_ms']:7.2f} ms, "
            f"calculator {row['calculator']['median_ms']:7.2f} ms"
        )


if __name__ == "__main__":
    main()
