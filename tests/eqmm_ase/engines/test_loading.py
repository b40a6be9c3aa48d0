"""Whole systems from files: the same energy whatever program's files they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from places import ROOT

openmm = pytest.importorskip("openmm")
parmed = pytest.importorskip("parmed")
pytest.importorskip("MDAnalysis")

from openmm import app, unit  # noqa: E402
from system_kit import dipeptide_in_water, methanol_in_water  # noqa: E402

from eqmm_ase.cutting.trajectories import select_atoms  # noqa: E402
from eqmm_ase.engines.loading import load_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    energy_and_forces,
    move_to,
    new_context,
)


def energy(system, positions, cell) -> float:
    context = new_context(system, "Reference")
    move_to(context, positions, cell)
    return energy_and_forces(context)[0]


@pytest.fixture(scope="module")
def methanol():
    return methanol_in_water(20.0, constraints=None, rigid=False)


@pytest.fixture(scope="module")
def files(methanol, tmp_path_factory) -> Path:
    """Prmtop and rst7, top and gro, PDB and XML of one system."""
    folder = tmp_path_factory.mktemp("files")
    topology, system, positions, _ = methanol
    structure = parmed.openmm.load_topology(topology, system, positions * unit.angstrom)
    for name in ("m.prmtop", "m.rst7", "m.top", "m.gro"):
        structure.save(str(folder / name))
    (folder / "m.xml").write_text(openmm.XmlSerializer.serialize(system))
    with (folder / "m.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, positions * unit.angstrom, file)
    return folder


@pytest.mark.parametrize(
    ("topology", "coordinates", "other"),
    [
        ("m.prmtop", "m.rst7", None),
        ("m.top", "m.gro", None),
        ("m.pdb", None, "m.xml"),
        ("m.prmtop", "m.pdb", None),
    ],
)
def test_files_of_all_programs_are_one_system(
    methanol, files, topology, coordinates, other
) -> None:
    _, system, positions, ml = methanol
    loaded = load_system(
        files / topology,
        coordinates and files / coordinates,
        system=other and files / other,
        cutoff=9.0,
        rigid=False,
    )
    assert loaded.system.getNumConstraints() == 0
    np.testing.assert_allclose(loaded.positions, positions, atol=6e-3)  # digits of a gro file
    np.testing.assert_allclose(loaded.cell, 20.0 * np.eye(3), atol=1e-4)
    expected = energy(system, loaded.positions, loaded.cell)
    found = energy(loaded.system, loaded.positions, loaded.cell)
    assert found == pytest.approx(expected, abs=2e-2)  # charges and constants of the files
    selected = select_atoms(loaded.sites, "resname MOH", loaded.positions, loaded.cell)
    assert selected.tolist() == ml
    assert loaded.sites.atomic_numbers[ml].tolist() == [6, 8, 1, 1, 1, 1]


@pytest.mark.slow
def test_a_pdb_with_force_fields_of_openmm(tmp_path) -> None:
    topology, system, positions = dipeptide_in_water()
    with (tmp_path / "d.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, positions * unit.angstrom, file)
    fields = ("amber14-all.xml", "amber14/tip3p.xml")
    loaded = load_system(tmp_path / "d.pdb", force_field=fields, cutoff=9.0)
    assert loaded.system.getNumConstraints() == system.getNumConstraints()
    expected = energy(system, loaded.positions, loaded.cell)
    assert energy(loaded.system, loaded.positions, loaded.cell) == pytest.approx(expected, abs=1e-3)


def test_masses_are_repartitioned_on_request(files) -> None:
    light, heavy = (
        load_system(files / "m.prmtop", files / "m.rst7", hydrogen_mass=mass, rigid=False).system
        for mass in (None, 3.0)
    )
    assert light.getParticleMass(2)._value == pytest.approx(1.008, abs=0.01)
    assert heavy.getParticleMass(2)._value == pytest.approx(3.0)
    total = [sum(s.getParticleMass(i)._value for i in range(6)) for s in (light, heavy)]
    assert total[0] == pytest.approx(total[1])


def test_an_isolated_system_has_no_box(files) -> None:
    loaded = load_system(files / "m.prmtop", files / "m.rst7", isolated=True, rigid=False)
    assert loaded.cell is None
    assert not loaded.system.usesPeriodicBoundaryConditions()


@pytest.mark.parametrize(
    ("topology", "settings", "sentence"),
    [
        ("m.prmtop", {}, "holds no coordinates; give a file that does"),
        ("m.pdb", {}, r"needs either an OpenMM System in XML \(--system\) or the names"),
        ("m.prmtop", {"coordinates": "m.rst7", "system": "m.xml"}, "a System goes with a PDB"),
        ("m.xml", {"coordinates": "m.rst7"}, r"m.xml"),
    ],
)
def test_files_that_make_no_system_are_refused(files, topology, settings, sentence) -> None:
    named = {name: files / file for name, file in settings.items()}
    coordinates = named.pop("coordinates", None)
    with pytest.raises(ValueError, match=sentence):
        load_system(files / topology, coordinates, **named)


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no topology"):
        load_system(tmp_path / "none.prmtop", tmp_path / "none.rst7")


def test_waters_that_are_not_rigid_are_warned_about(files) -> None:
    with pytest.warns(UserWarning, match=r"249 waters of .*m.prmtop are not rigid"):
        load_system(files / "m.prmtop", files / "m.rst7")


def test_waters_of_the_example_are_rigid() -> None:
    box = ROOT / "scripts" / "examples" / "methanol_box"
    loaded = load_system(box / "system.prmtop", box / "system.rst7")
    assert loaded.system.getNumConstraints() == 3 * 316 + 4
