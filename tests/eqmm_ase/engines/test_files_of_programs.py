"""AMBER, GROMACS, CHARMM and OpenMM files of one system: the same energy, term by term."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calculator_kit import random_model
from places import DATA

openmm = pytest.importorskip("openmm")
parmed = pytest.importorskip("parmed")
pytest.importorskip("MDAnalysis")
pytest.importorskip("finufft")

from openmm import app, unit  # noqa: E402
from system_kit import methanol_in_water  # noqa: E402

from eqmm_ase.cli import main  # noqa: E402
from eqmm_ase.cutting.trajectories import select_atoms  # noqa: E402
from eqmm_ase.engines.classical_system import nonbonded_force  # noqa: E402
from eqmm_ase.engines.energy_ledger import (  # noqa: E402
    COULOMB,
    IMAGES,
    LENNARD_JONES,
    NETWORK,
    energy_ledger,
)
from eqmm_ase.engines.loading import LoadedSystem, LoadingError, load_system  # noqa: E402
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.units import KCAL_PER_MOL  # noqa: E402

pytestmark = pytest.mark.slow

MODEL = random_model()
PROGRAMS = {
    "AMBER": ("m.prmtop", {}),
    "GROMACS": ("m.top", {}),
    "CHARMM": ("m.psf", {"force_field": "m.prm"}),
    "OpenMM": ("m.pdb", {"system": "m.xml"}),
}


def unscaled(system) -> None:
    """1–4 neighbours as all others, which every program can say; CHARMM scales none."""
    force = nonbonded_force(system)
    for number in range(force.getNumExceptions()):
        i, j, charge, _, epsilon = force.getExceptionParameters(number)
        if charge._value or epsilon._value:
            (q, s, e), (other_q, other_s, other_e) = (
                [x._value for x in force.getParticleParameters(k)] for k in (i, j)
            )
            sigma, epsilon = (s + other_s) / 2.0, np.sqrt(e * other_e)
            force.setExceptionParameters(number, i, j, q * other_q, sigma, epsilon)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Methanol in flexible water as files of all programs, and coordinates as one."""
    made = tmp_path_factory.mktemp("files")
    topology, system, positions, _ = methanol_in_water(20.0, constraints=None, rigid=False)
    unscaled(system)
    structure = parmed.openmm.load_topology(topology, system, positions * unit.angstrom)
    for name in ("m.prmtop", "m.rst7", "m.top", "m.psf"):
        structure.save(str(made / name))
    parameters = parmed.charmm.CharmmParameterSet.from_structure(structure)
    parameters.write(par=str(made / "m.prm"))
    (made / "m.xml").write_text(openmm.XmlSerializer.serialize(system))
    with (made / "m.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, positions * unit.angstrom, file)
    return made


def loaded(folder: Path, program: str) -> LoadedSystem:
    topology, others = PROGRAMS[program]
    files = {name: folder / file for name, file in others.items()}
    if "force_field" in files:
        files["force_field"] = [str(files["force_field"])]
    found = load_system(folder / topology, folder / "m.rst7", cutoff=9.0, rigid=False, **files)
    # CHARMM's Lennard-Jones energies are without a correction for what lies beyond the cutoff.
    nonbonded_force(found.system).setUseDispersionCorrection(False)
    return found


def terms_of(found: LoadedSystem, selection: str, model=MODEL) -> dict[str, float]:
    rows = select_atoms(found.sites, selection, found.positions, found.cell)
    mixed = mixed_system(
        found.topology,
        found.system,
        rows,
        model,
        total_charge=0,
        dtype="float64",
        sites=found.sites,
    )
    return energy_ledger(mixed, found.positions, found.cell).terms


@pytest.mark.parametrize("selection", ["resname MOH", "index 6:8"])
@pytest.mark.parametrize("program", ["GROMACS", "CHARMM", "OpenMM"])
def test_terms_of_the_ledger_are_those_of_amber_files(folder, program, selection) -> None:
    expected = terms_of(loaded(folder, "AMBER"), selection)
    found = terms_of(loaded(folder, program), selection)
    assert set(found) == set(expected)
    assert {NETWORK, IMAGES, COULOMB, LENNARD_JONES, "bonds", "angles"} <= set(found)
    assert ("torsions" in found) is (selection != "resname MOH")
    for name, value in expected.items():
        # Charges of six digits, lengths of bonds and spheres of four or five.
        assert found[name] == pytest.approx(value, rel=2e-4, abs=1e-4), name


@pytest.mark.filterwarnings("ignore:.* waters of .* are not rigid")
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_ledger_takes_the_files_of_every_program(folder, program, capsys) -> None:
    topology, others = PROGRAMS[program]
    words = ["ledger", DATA / "methanol.eqmm", "--ml", "resname MOH", "--topology"]
    words += [folder / topology, "--coordinates", folder / "m.rst7"]
    for name, file in others.items():
        words += [f"--{name.replace('_', '-')}", folder / file]
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0
    assert lines[0].startswith("QM region: CH4O, total charge 0, singlet; 753 sites in a box")
    rows = {line.rsplit(maxsplit=2)[0].strip(): line.split()[-2] for line in lines[2:]}
    expected = terms_of(loaded(folder, "AMBER"), "resname MOH", DATA / "methanol.eqmm")
    assert float(rows[NETWORK]) * KCAL_PER_MOL == pytest.approx(expected[NETWORK], abs=1e-3)


def test_a_psf_without_its_parameters_says_what_is_missing(folder) -> None:
    with pytest.raises(LoadingError, match=r"m.psf needs the files of its parameters \(--force-f"):
        load_system(folder / "m.psf", folder / "m.rst7")
