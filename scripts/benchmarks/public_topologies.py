"""Runs topologies of public packages through ``eqmm-datagen cut`` and checks what comes out.

    python -m scripts.benchmarks.public_topologies --mdanalysis SITE/MDAnalysisTests/data \
        --parmed parmed-4.3.1 --pytraj pytraj-2.0.5 -o scripts/results/public_topologies.json

Elements of the QM region, its total charge and every MM charge, found again by its position, are
compared with those of an independent reader. Exit code 1 says that one is wrong: data that differ,
a refusal where none was right, or a cut where one was.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree

from datagen.cli import cli
from eqmm_ase.command_line import run
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.region_description import describe_region
from eqmm_ase.files.dataset_file import ReferenceData
from scripts.benchmarks.independent_topology import Reference, read_reference
from scripts.benchmarks.public_topology_cases import Case, Folders, cases
from scripts.common import argument_parser, write_results

_PACKAGES = ("eqmm", "MDAnalysis", "MDAnalysisTests", "ParmEd", "openmm", "numpy")
_CHARGE = 2e-5  # e; prmtop files hold eight digits, in units of their own
_PLACE = 2e-3  # Å


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argument_parser(__doc__, "JSON file to write")
    for name in ("mdanalysis", "parmed", "pytraj"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="Folder of its files.")
    parser.add_argument("--only", default="", help="Part of the name of a file.")
    chosen = parser.parse_args(arguments)
    console = Console()
    begun, rows = time.process_time(), []
    with tempfile.TemporaryDirectory() as scratch:
        at = Folders(chosen.mdanalysis, chosen.parmed, chosen.pytraj, Path(scratch))
        for case in cases(at):
            if chosen.only in case.topology.name:
                rows.append(check(case, Path(scratch)))
                console.print(rows[-1]["outcome"], rows[-1]["topology"], rows[-1]["says"][:150],
                              highlight=False, markup=False, soft_wrap=True)  # fmt: skip
    counts = Counter(row["outcome"] for row in rows)
    content = {
        "about": (__doc__ or "").splitlines()[0],
        "outcomes": dict(counts),
        "files": len({row["topology"] for row in rows}),
        "cpu_seconds": round(time.process_time() - begun),
        "cases": rows,
        "sources": {folder: _version(getattr(chosen, folder)) for folder in ("parmed", "pytraj")},
    }
    write_results(chosen.output, content, _PACKAGES)
    console.print(_table(rows))
    return 1 if counts["wrong"] else 0


def _version(source: Path) -> str:
    """Of an unpacked source archive."""
    texts = [path.read_text(errors="replace") for path in sorted(source.glob("**/PKG-INFO"))]
    found = re.search(r"^Version: (\S+)", "\n".join(texts), flags=re.MULTILINE)
    return found.group(1) if found else "unknown"


def check(case: Case, scratch: Path) -> dict[str, Any]:
    """Cut one frame and say how it went."""
    output = scratch / "cut.h5"
    output.unlink(missing_ok=True)
    command = ["cut", str(case.topology), str(case.trajectory), "-o", str(output)]
    command += ["--qm", case.selection, "--medium", "public", "--radius", "6", "--frames", "0"]
    command += [*case.options, *(["--system", str(case.system)] if case.system else [])]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = run(cli, "eqmm-datagen", command)
    except Exception as error:
        return _row(case, "wrong", f"{type(error).__name__}: {error}")
    last = said.getvalue().strip().splitlines()[-1]
    for folder in (case.topology.parent, case.trajectory.parent):
        last = last.replace(f"{folder}/", "").replace(str(folder), "its folder")
    if code:
        right = bool(case.refused) and re.search(case.refused, last) is not None
        return _row(case, "refused rightly" if right else "wrong", last)
    if case.refused and not re.search(case.refused, ""):
        return _row(case, "wrong", f"was cut, but expected is: {case.refused}")
    with ReferenceData(output) as data:
        (frame,), atoms = data.load(), data.method["cut"]["qm_atoms"]
    problems = differences(case, frame, np.array(atoms))
    says = "; ".join(problems) or describe_region(frame)
    return _row(case, "wrong" if problems else "worked", says, frame)


def differences(case: Case, frame: Frame, atoms: np.ndarray) -> list[str]:
    """What is not as an independent reader has it."""
    reference = read_reference(case.original or case.topology, case.system)
    caps = len(frame.boundary.links) if frame.boundary else 0
    problems = []
    expected = [*reference.numbers[atoms].tolist(), *[1] * caps]
    if frame.atomic_numbers.tolist() != expected:
        problems.append(f"elements are {frame.atomic_numbers.tolist()}, expected {expected}")
    whole = not frame.boundary
    charge = reference.charges[atoms].sum()
    if whole and not (reference.numbers == 0).any() and abs(charge - frame.total_charge) > 0.02:
        problems.append(f"total charge is {frame.total_charge}, expected {charge:.3f}")
    return problems + _charge_differences(case, frame, atoms, reference)


def _charge_differences(
    case: Case, frame: Frame, atoms: np.ndarray, reference: Reference
) -> list[str]:
    """MM charges against those of the sites at their places."""
    added = [site.site for site in frame.boundary.sites] if frame.boundary else []
    rows = np.setdiff1d(np.arange(frame.n_mm), added)
    found = frame.mm_charges_original
    found = frame.mm_charges if found is None else found
    if len(rows) == 0:
        return []
    everywhere, apart, sites = _sites(case, frame, rows, atoms)
    if apart.max() > _PLACE:
        return [f"an MM site lies {apart.max():.3f} Å from every site of the trajectory"]
    problems = []
    if len(set(sites)) != len(sites) or set(sites) & set(atoms.tolist()):
        problems.append("MM sites are there twice, or are QM atoms")
    if len(reference.charges) != everywhere:
        problems.append(f"{len(reference.charges)} charges for {everywhere} sites")
    elif (worst := np.abs(found[rows] - reference.charges[sites]).max()) > _CHARGE:
        problems.append(f"MM charges differ by {worst:.2g} e")
    return problems


def _sites(
    case: Case, frame: Frame, rows: np.ndarray, atoms: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of sites of the trajectory, and the nearest to each MM site, images included."""
    import MDAnalysis
    import parmed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if case.trajectory.suffix == ".rst7":
            positions = parmed.load_file(str(case.trajectory)).coordinates[0]
        else:
            n = read_reference(case.original or case.topology, case.system)
            universe = MDAnalysis.Universe.empty(len(n.charges))
            universe.load_new(str(case.trajectory))
            positions = universe.trajectory[0].positions.astype(np.float64)
    places = frame.mm_positions[rows] - frame.qm_positions[0] + positions[atoms[0]]
    if frame.cell is None:
        apart, sites = cKDTree(positions).query(places)
        return len(positions), apart, sites
    inverse = np.linalg.inv(frame.cell)
    fractions = (positions @ inverse) % 1.0 % 1.0
    wanted = (places @ inverse) % 1.0 % 1.0
    apart, sites = cKDTree(fractions, boxsize=1.0).query(wanted)
    return len(positions), apart * np.linalg.norm(frame.cell, axis=1).max(), sites


def _row(case: Case, outcome: str, says: str, frame: Frame | None = None) -> dict[str, Any]:
    row = {
        "topology": case.topology.name,
        "kind": case.kind,
        "coordinates": case.trajectory.name,
        "selection": case.selection,
        "outcome": outcome,
        "says": says,
    }
    return row if frame is None else {**row, "n_qm": frame.n_qm, "n_mm": frame.n_mm}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("kind", "topologies", "worked", "refused rightly", "wrong")
    for kind in dict.fromkeys(row["kind"] for row in rows):
        mine = [row for row in rows if row["kind"] == kind]
        counts = Counter(row["outcome"] for row in mine)
        names = len({row["topology"] for row in mine})
        outcomes = ("worked", "refused rightly", "wrong")
        table.add_row(kind, str(names), *(str(counts[outcome]) for outcome in outcomes))
    return table


if __name__ == "__main__":
    raise SystemExit(main())
