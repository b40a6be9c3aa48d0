"""Labels of a dataset again, by a plain PySCF script, and how far the two differ.

python -m scripts.benchmarks.plain_labels labels.h5 --frames 20 -o scripts/results/plain_labels.json

Nothing of `datagen` is used: every frame starts cold, the mean field is wrapped as PySCF's
examples do it, forces come from its own gradient classes, and the unit factors are written down
here again. Only the frames and their method are read with EqMM.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyscf import dft, gto, lib, lo, qmmm, scf
from pyscf.data.elements import ELEMENTS

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData
from scripts.common import argument_parser, write_results

# CODATA 2018
BOHR = 0.529177210903  # Å
HARTREE = 27.211386245988  # eV
KCAL_PER_MOL = 0.0433641153087705  # eV

SITES_AT_ONCE = 200
UNITS = {"energy": "eV", "mm_potential": "V", "dipole": "e·Å", "qm_forces": "eV/Å"}
UNITS |= {"energy_vacuum": "eV", "mm_forces": "eV/Å"}


def plain_label(frame: Frame, method: Mapping[str, Any], *, grid_response: bool = True) -> dict:
    """Every label that plain PySCF offers.

    Parameters
    ----------
    frame
        Geometry, charges and state; its labels are not looked at.
    method
        Settings as a dataset records them.
    grid_response
        Whether forces include that the integration grid moves with the atoms. It is part of the
        derivative, and many scripts leave it out.

    Returns
    -------
    dict
        By the names of the dataset format, in its units; charges as ``charges/<scheme>``.
    """
    molecule = plain_molecule(frame, method["basis"])
    field = plain_mean_field(molecule, method)
    sites = np.asarray(frame.mm_positions, dtype=float) / BOHR
    values = np.asarray(frame.mm_charges, dtype=float)
    if frame.n_mm:
        field = qmmm.mm_charge(field, sites, values, unit="Bohr")
    field.kernel()
    if not field.converged:
        raise RuntimeError("the SCF of the plain script did not converge")
    density = np.asarray(field.make_rdm1())
    density = density if density.ndim == 2 else density.sum(0)

    gradient = field.nuc_grad_method()
    gradient.grid_response, gradient.auxbasis_response = grid_response, True
    labels = {
        "energy": field.e_tot * HARTREE,
        "qm_forces": -gradient.kernel() * HARTREE / BOHR,
        "dipole": field.dip_moment(unit="AU", verbose=0) * BOHR,
    }
    if frame.n_mm:
        on_sites = gradient.grad_hcore_mm(density) + gradient.grad_nuc_mm()
        labels["mm_forces"] = -on_sites * HARTREE / BOHR
        labels["mm_potential"] = plain_potential(molecule, density, sites) * HARTREE
    return labels | plain_charges(field, density)


def plain_molecule(frame: Frame, basis: str) -> gto.Mole:
    """Molecule with the basis set and its core potentials."""
    symbols = [ELEMENTS[number] for number in frame.atomic_numbers]
    positions = np.asarray(frame.qm_positions, dtype=float) / BOHR
    # No basis set of the usual families has core potentials up to krypton.
    heavy = {ELEMENTS[number] for number in frame.atomic_numbers if number > 36}
    return gto.M(
        atom=list(zip(symbols, positions, strict=True)),
        unit="Bohr",
        basis=basis,
        ecp=dict.fromkeys(heavy, basis),
        charge=frame.total_charge,
        spin=frame.spin_multiplicity - 1,
        verbose=0,
    )


def plain_mean_field(molecule: gto.Mole, method: Mapping[str, Any]) -> Any:
    """Restricted or unrestricted object with the settings of the method, without charges."""
    restricted = molecule.spin == 0
    if method["functional"] == "hf":
        field = (scf.RHF if restricted else scf.UHF)(molecule)
    else:
        field = (dft.RKS if restricted else dft.UKS)(molecule, xc=method["functional"])
        field.grids.level = method["grid_level"]
    field.disp = method["dispersion"]
    field.conv_tol, field.conv_tol_grad = method["conv_tol"], method["conv_tol_grad"]
    field.max_cycle = 200
    return field.density_fit() if method["density_fit"] else field


def plain_potential(molecule: gto.Mole, density: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Potential of nuclei and electrons, Hartree/e."""
    potential = np.empty(len(sites))
    for start in range(0, len(sites), SITES_AT_ONCE):
        block = slice(start, start + SITES_AT_ONCE)
        integrals = molecule.intor("int1e_grids", grids=sites[block])
        potential[block] = -np.einsum("kij,ij->k", integrals, density)
    for charge, position in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True):
        potential += charge / np.linalg.norm(sites - position, axis=1)
    return potential


def plain_charges(field: Any, density: np.ndarray) -> dict[str, np.ndarray]:
    """Mulliken charges as PySCF prints them, and Löwdin charges in its orthogonal basis."""
    molecule = field.mol
    orthogonal = np.linalg.inv(lo.orth.lowdin(molecule.intor("int1e_ovlp")))
    populations = np.einsum("ia,ab,ib->i", orthogonal, density, orthogonal)
    slices = molecule.aoslice_by_atom()[:, 2:]
    electrons = np.array([populations[start:stop].sum() for start, stop in slices])
    return {
        "charges/mulliken": field.mulliken_pop(verbose=0)[1],
        "charges/lowdin": molecule.atom_charges() - electrons,
    }


def deviations(frame: Frame, method: Mapping[str, Any]) -> dict[str, float]:
    """Largest deviation of every label that both have."""
    plain = plain_label(frame, method)
    if frame.energy_vacuum is not None and np.isfinite(frame.energy_vacuum):
        plain["energy_vacuum"] = plain_label(frame.in_vacuum(), method)["energy"]
    found = {}
    for name, value in plain.items():
        scheme = name.removeprefix("charges/")
        stored = frame.charges.get(scheme) if scheme != name else getattr(frame, name)
        if stored is not None and np.size(stored):
            found[name] = float(np.abs(np.asarray(stored) - value).max())
    return found


def compare(path: Path, n_frames: int) -> dict[str, Any]:
    """Deviations over frames at even distances in a file."""
    with ReferenceData(path) as data:
        method = data.method
        chosen = np.unique(np.linspace(0, len(data) - 1, n_frames).round().astype(int))
        frames = [data[int(index)] for index in chosen]
    rows = []
    for index, frame in zip(chosen, frames, strict=True):
        rows.append({"frame": int(index), **deviations(frame, method)})
        print(json.dumps(rows[-1]), flush=True)
    names = sorted({name for row in rows for name in row if name != "frame"})
    schemes = {name for frame in frames for name in frame.charges}
    return {
        "what": "largest deviation of each label from a plain PySCF script, cold start",
        "file": path.name,
        "method": method,
        "largest": {name: max(row[name] for row in rows if name in row) for name in names},
        "units": {name: UNITS.get(name, "e") for name in names},
        "not_redone": sorted(schemes - {name.removeprefix("charges/") for name in names}),
        "frames": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("file", type=Path, help="labelled dataset")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path, help="JSON")
    chosen = parser.parse_args(arguments)
    lib.num_threads(1)
    result = compare(chosen.file, chosen.frames)
    for name, value in result["largest"].items():
        kcal = f"  {value / KCAL_PER_MOL:.1e} kcal/mol" if "eV" in UNITS.get(name, "") else ""
        per = "/Å" if kcal and name.endswith("forces") else ""
        print(f"{name:20s} {value:.1e} {result['units'][name]}{kcal}{per}")
    if result["not_redone"]:
        print("not redone:", ", ".join(result["not_redone"]))
    if chosen.output:
        packages = ("eqmm", "pyscf", "pyscf-dispersion", "numpy", "h5py")
        write_results(chosen.output, result, packages)


if __name__ == "__main__":
    main()
