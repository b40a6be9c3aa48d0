"""How far QM forces in a cluster of charges are from those in the whole periodic box.

    python -m scripts.benchmarks.compare_periodic -o periodic

Methanol (GAFF2, AM1-BCC) in a cubic box of TIP3P water; the frame is cut at several radii, with
and without fading charges, and once not at all: then PySCF's `qmmm.pbc` sums over all images.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from datagen.molecules.solute import read_solute
from datagen.solvent.force_field import parameterise
from eqmm_ase.cutting.qm_region import find_region
from eqmm_ase.cutting.snapshots import CutSettings, SnapshotCutter
from eqmm_ase.cutting.trajectories import read_snapshots, select_atoms
from eqmm_ase.topology import read_topology
from eqmm_ase.units import KCAL_PER_MOL
from scripts.benchmarks.amber_box import build, simulate
from scripts.benchmarks.periodic_embedding import label_in_periodic_box
from scripts.common import argument_parser, write_results

_CUTS: tuple[tuple[float, float | None], ...] = (
    (6.0, None),
    (8.0, None),
    (10.0, None),
    (12.0, None),
    (12.0, 10.0),
    (12.0, 8.0),
)
"""(radius, where fading begins), Å."""


def prepare(folder: Path) -> None:
    """Topology and a trajectory of two frames, kept for the next time."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "production.nc").exists():
        return
    force_field = parameterise(read_solute("CO"))
    (folder / "solute.mol2").write_text(force_field.mol2, encoding="utf-8")
    (folder / "solute.frcmod").write_text(force_field.frcmod, encoding="utf-8")
    lines = (
        "source leaprc.gaff2",
        "loadAmberParams solute.frcmod",
        "solute = loadMol2 solute.mol2",
    )
    build(lines, 15.0, folder)
    simulate(folder, folder / "production.nc", equilibration=6.0, frames=2, every=2.0)


def compare(folder: Path, method: Method, frame: int) -> dict[str, Any]:
    """Errors of the QM forces by radius, kcal/mol/Å."""
    topology = read_topology(folder / "system.prmtop")
    (snapshot,) = read_snapshots(
        folder / "production.nc", topology.n_sites, slice(frame, frame + 1)
    )
    solute = select_atoms(topology, "not resname WAT", snapshot.positions)
    region = find_region(topology, solute)

    def cut(radius: float, switch_from: float | None) -> Any:
        settings = CutSettings("water", radius=radius, switch_from=switch_from)
        return SnapshotCutter(topology, region, settings)(snapshot, "production")

    start = time.perf_counter()
    whole = label_in_periodic_box(cut(np.inf, None), method)
    seconds = time.perf_counter() - start
    assert whole.qm_forces is not None
    rows = []
    for radius, switch_from in _CUTS:
        labelled = label_frame(cut(radius, switch_from), method).frame
        assert labelled.qm_forces is not None
        errors = (labelled.qm_forces - whole.qm_forces) / KCAL_PER_MOL
        row = {
            "radius": radius,
            "switch_from": switch_from,
            "mm_charges": labelled.n_mm,
            "rms": float(np.sqrt((errors**2).mean())),
            "max": float(np.abs(errors).max()),
            "net": float(np.linalg.norm(errors.sum(axis=0))),
        }
        print(row, flush=True)
        rows.append(row)
    return {
        "frame": frame,
        "edge": float(np.diag(np.asarray(snapshot.cell)).min()),
        "mm_charges_of_the_box": whole.n_mm,
        "seconds_periodic": seconds,
        "method": {**method.settings(), "density_fit": False},
        "force_errors_kcal_per_mol_per_angstrom": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "folder")
    parser.add_argument("--frame", type=int, default=0, choices=(0, 1))
    parser.add_argument("--functional", default="b3lyp")
    parser.add_argument("--basis", default="6-31g*")
    chosen = parser.parse_args(arguments)
    prepare(chosen.output)
    method = Method(functional=chosen.functional, basis=chosen.basis, density_fit=False)
    figures = compare(chosen.output, method, chosen.frame)
    print(write_results(chosen.output / "figures.json", {"figures": figures}))


if __name__ == "__main__":
    main()
