"""Labels an hour and core, against the loop that a textbook on PySCF would write.

python -m scripts.benchmarks.benchmark_labels

B3LYP/6-31G*, density fitting, grid level 3, every start cold, one process with one thread. The
textbook loop (`plain_labels.plain_label`) has the same settings and makes the same labels. Both
label each frame in turn; times are processor times, ratios are medians over the frames. The second
core is measured through the executor of campaigns, on wall-clock time, and means something only on
a machine that does nothing else: the load before each part is kept. Rows of an earlier run that
are not measured again stay in the file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any

import numpy as np

from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from datagen.processes.executors import LocalProcesses
from eqmm_ase.data.frame import Frame
from scripts.benchmarks.benchmark_frames import SMILES, benchmark_frame
from scripts.benchmarks.plain_labels import KCAL_PER_MOL, plain_label
from scripts.common import RESULTS, argument_parser, write_results
from scripts.provenance import provenance

RESULT = RESULTS / "benchmark_labels.json"
METHOD = Method()
FRAMES = {"water": 5, "methanol": 5, "acetamide": 3, "alanine dipeptide": 1}
SCALING_FRAMES = 16  # of the molecule below, in 3000 charges
SCALING_MOLECULE = "methanol"


def quick(frame: Frame) -> dict[str, Any]:
    """Label a frame with the project's own code."""
    labelled = label_frame(frame, METHOD).frame
    names = ("energy", "qm_forces", "mm_forces", "mm_potential", "dipole")
    return {name: getattr(labelled, name) for name in names}


def textbook(frame: Frame) -> dict[str, Any]:
    """The same labels by the textbook loop."""
    return plain_label(frame, METHOD.settings())


def textbook_without_response(frame: Frame) -> dict[str, Any]:
    """The textbook loop with forces that are not quite the derivative of the energy."""
    return plain_label(frame, METHOD.settings(), grid_response=False)


def timed(call: Callable[[Frame], dict[str, Any]], frame: Frame) -> tuple[float, dict[str, Any]]:
    """Processor seconds and result."""
    begun = time.process_time()
    labels = call(frame)
    return time.process_time() - begun, labels


def measure(executor: Executor, name: str, n_charges: int, n_frames: int) -> dict[str, Any]:
    """One molecule in one number of charges."""
    load = os.getloadavg()[0]
    seconds: dict[str, list[float]] = {"quick": [], "textbook": []}
    errors = []
    executor.submit(quick, benchmark_frame("water", 30, 0)).result()  # imports
    for seed in range(n_frames):
        frame = benchmark_frame(name, n_charges, seed)
        taken, labels = executor.submit(timed, quick, frame).result()
        seconds["quick"].append(taken)
        taken, expected = executor.submit(timed, textbook, frame).result()
        seconds["textbook"].append(taken)
        errors.append({key: np.abs(labels[key] - expected[key]).max() for key in labels})
    without = float("nan")
    if n_frames > 1:  # where one frame takes minutes, this is left out
        without, _ = executor.submit(timed, textbook_without_response, frame).result()
    ratios = np.divide(seconds["textbook"], seconds["quick"])
    largest = {key: max(float(error[key]) for error in errors) for key in errors[0]}
    return {
        "molecule": name,
        "n_qm": frame.n_qm,
        "n_mm": frame.n_mm,
        "frames": n_frames,
        "commit": provenance(())["commit"],
        "load_before": load,
        "seconds": {key: float(np.median(value)) for key, value in seconds.items()},
        "seconds_each": seconds,
        "labels_per_hour_and_core": 3600.0 / float(np.median(seconds["quick"])),
        "ratio": float(np.median(ratios)),
        "ratio_to_textbook_without_grid_response": without / seconds["quick"][-1]
        if np.isfinite(without)
        else None,
        "largest_deviation": {
            "energy_kcal_per_mol": largest["energy"] / KCAL_PER_MOL,
            "qm_forces_kcal_per_mol_A": largest["qm_forces"] / KCAL_PER_MOL,
            "mm_forces_kcal_per_mol_A": largest["mm_forces"] / KCAL_PER_MOL,
            "mm_potential_V": largest["mm_potential"],
            "dipole_e_A": largest["dipole"],
        },
    }


def throughput(workers: int, frames: Sequence[Frame]) -> float:
    """Frames a second of wall-clock time; workers have been started and warmed before."""
    with LocalProcesses(workers) as executor:
        for future in [executor.submit(quick, frames[0]) for _ in range(workers)]:
            future.result()
        waiting = list(frames)
        running: set[Future[dict[str, Any]]] = set()
        begun = time.perf_counter()
        while waiting or running:
            while waiting and len(running) < workers:
                running.add(executor.submit(quick, waiting.pop()))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
        return len(frames) / (time.perf_counter() - begun)


def second_core(n_frames: int, rounds: int = 3) -> dict[str, Any]:
    """Throughput of two processes over that of one, in turn."""
    load = os.getloadavg()[0]
    frames = [benchmark_frame(SCALING_MOLECULE, 3000, seed) for seed in range(n_frames)]
    pairs = [(throughput(1, frames), throughput(2, frames)) for _ in range(rounds)]
    return {
        "molecule": SCALING_MOLECULE,
        "n_mm": frames[0].n_mm,
        "frames": n_frames,
        "load_before": load,
        "labels_per_hour": {
            "one process": [3600.0 * one for one, _ in pairs],
            "two processes": [3600.0 * two for _, two in pairs],
        },
        "ratio": float(np.median([two / one for one, two in pairs])),
    }


def earlier(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the file already holds, with the new rows in place of those they repeat."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    measured = {(row["molecule"], row["n_mm"]) for row in rows}
    others = [row for row in kept["rows"] if (row["molecule"], row["n_mm"]) not in measured]
    both = sorted(others + rows, key=lambda row: (row["n_qm"], row["n_mm"]))
    second = {"second_core": kept["second_core"]} if "second_core" in kept else {}
    return {"rows": both, **second}


def report(row: dict[str, Any]) -> None:
    """One line of the table."""
    errors, seconds = row["largest_deviation"], row["seconds"]
    print(
        f"{row['molecule']:18s}{row['n_qm']:3d}{row['n_mm']:6d}"
        f"{seconds['textbook']:9.2f}{seconds['quick']:8.2f}{row['ratio']:7.2f}"
        f"{row['ratio_to_textbook_without_grid_response'] or np.nan:7.2f}"
        f"{row['labels_per_hour_and_core']:9.0f}"
        f"{errors['energy_kcal_per_mol']:10.1e}{errors['qm_forces_kcal_per_mol_A']:9.1e}"
        f"{errors['mm_forces_kcal_per_mol_A']:9.1e}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "JSON file to write", RESULT)
    parser.add_argument("--molecules", nargs="*", choices=SMILES, default=list(SMILES))
    parser.add_argument("--charges", type=int, nargs="+", default=[700, 3000])
    parser.add_argument("--scaling-frames", type=int, default=SCALING_FRAMES, help="0: leave out")
    chosen = parser.parse_args(arguments)

    print(
        "molecule          atoms charges textbook  quick  ratio  (*)  labels/h   dE   dF_QM   dF_MM"
    )
    rows = []
    with LocalProcesses(1) as executor:
        for name in chosen.molecules:
            for n_charges in chosen.charges:
                rows.append(measure(executor, name, n_charges, FRAMES[name]))
                report(rows[-1])
    print("s, kcal/mol, kcal/mol/Å; (*) ratio to the textbook loop without grid response")
    result = {
        "what": "labels by datagen against a textbook PySCF loop, one thread, cold starts",
        "method": METHOD.as_dict(),
        **earlier(chosen.output, rows),
    }
    if chosen.scaling_frames:
        result["second_core"] = second_core(chosen.scaling_frames)
        print(f"second core: {result['second_core']['ratio']:.2f} times the labels of one")
    write_results(chosen.output, result, ("eqmm", "pyscf", "numpy", "scipy", "rdkit"))


if __name__ == "__main__":
    # Workers import functions by the name of their module, which must not be `__main__`.
    from scripts.benchmarks import benchmark_labels

    benchmark_labels.main()
