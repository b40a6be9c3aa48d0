"""Topologies and trajectories of other programs: the same system, whatever wrote the file."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openmm")
pytest.importorskip("parmed")
pytest.importorskip("MDAnalysis")

import openmm
import parmed
from openmm import app, unit

from eqmm_ase.cutting.qm_region import RegionError, find_region, total_charge
from eqmm_ase.cutting.trajectories import (
    TrajectoryError,
    read_slice,
    read_snapshots,
    select_atoms,
)
from eqmm_ase.topology import Topology, TopologyError, quiet, read_topology

if shutil.which("tleap") is None:
    pytest.skip("AmberTools is not installed", allow_module_level=True)

LEAP = """source leaprc.protein.ff14SB
source leaprc.water.opc
x = sequence { ACE ALA NME }
solvateBox x OPCBOX 3.0
saveAmberParm x opc.prmtop opc.inpcrd
quit
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The dipeptide in four-site water as AMBER, GROMACS, CHARMM and OpenMM files."""
    folder = tmp_path_factory.mktemp("topologies")
    (folder / "leap.in").write_text(LEAP)
    subprocess.run(["tleap", "-f", "leap.in"], cwd=folder, check=True, capture_output=True)
    amber = app.AmberPrmtopFile(str(folder / "opc.prmtop"))
    start = app.AmberInpcrdFile(str(folder / "opc.inpcrd"))
    system = amber.createSystem(nonbondedMethod=app.PME, nonbondedCutoff=0.7 * unit.nanometer)
    (folder / "opc.xml").write_text(openmm.XmlSerializer.serialize(system))
    amber.topology.setPeriodicBoxVectors(start.boxVectors)
    with (folder / "opc.pdb").open("w") as file:
        app.PDBFile.writeFile(amber.topology, start.positions, file, keepIds=True)
    with quiet():
        structure = parmed.load_file(str(folder / "opc.prmtop"), str(folder / "opc.inpcrd"))
        for name in ("opc.top", "opc.gro", "opc.rst7"):
            structure.save(str(folder / name))
        structure["@1-22"].save(str(folder / "dipeptide.psf"))  # ParmEd writes no four-site water
        structure.save(str(folder / "opc.ncrst"))
    _write_trajectories(folder, structure.coordinates, structure.box)
    return folder


def _write_trajectories(folder: Path, positions: np.ndarray, box: np.ndarray) -> None:
    """Three frames, each moved on by 1 Å along x, in four formats."""
    import MDAnalysis

    with quiet():
        universe = MDAnalysis.Universe.empty(len(positions), trajectory=True)
        universe.dimensions = box
        for suffix in ("nc", "dcd", "xtc", "trr"):
            with MDAnalysis.Writer(str(folder / f"opc.{suffix}"), len(positions)) as writer:
                for i in range(3):
                    universe.atoms.positions = positions + np.array([i, 0.0, 0.0])
                    writer.write(universe.atoms)


@pytest.fixture(scope="module")
def amber(files) -> Topology:
    return read_topology(files / "opc.prmtop")


def _openmm_charges(system: openmm.System) -> np.ndarray:
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    values = [force.getParticleParameters(i)[0] for i in range(force.getNumParticles())]
    return np.array([value.value_in_unit(unit.elementary_charge) for value in values])


def test_charges_agree_with_another_reader_of_each_format(files, amber):
    """ParmEd's against OpenMM's, and against the text of the psf."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gromacs = app.GromacsTopFile(str(files / "opc.top")).createSystem()
    by_openmm = app.AmberPrmtopFile(str(files / "opc.prmtop")).createSystem()
    text = (files / "dipeptide.psf").read_text().split("!NATOM")[1].splitlines()[1:23]
    of_psf = [float(line.split()[6]) for line in text]
    np.testing.assert_allclose(amber.charges, _openmm_charges(by_openmm), atol=1e-7)
    for name, expected in (("opc.top", _openmm_charges(gromacs)), ("dipeptide.psf", of_psf)):
        np.testing.assert_allclose(read_topology(files / name).charges, expected, atol=1e-7)


@pytest.mark.parametrize("name", ["opc.top", "dipeptide.psf", "opc.pdb"])
def test_the_same_system_is_the_same_topology_in_every_format(name, files, amber):
    system = files / "opc.xml" if name.endswith("pdb") else None
    other = read_topology(files / name, system)
    n = 22 if name.endswith("psf") else amber.n_sites
    assert other.n_sites == n
    np.testing.assert_allclose(other.charges, amber.charges[:n], atol=1e-6)
    np.testing.assert_array_equal(other.atomic_numbers, amber.atomic_numbers[:n])
    np.testing.assert_array_equal(other.residues, amber.residues[:n])
    np.testing.assert_array_equal(other.parents, amber.parents[:n])
    assert other.residue_names[:3] == amber.residue_names[:3] == ("ACE", "ALA", "NME")
    assert _solute_bonds(other) == _solute_bonds(amber)
    assert len(_solute_bonds(amber)) == 21


def _solute_bonds(topology: Topology) -> set[tuple[int, ...]]:
    return {tuple(sorted(bond)) for bond in topology.bonds.tolist() if max(bond) < 22}


def test_a_virtual_site_belongs_to_its_water(amber):
    """OPC: the charge of the oxygen sits on a fourth site, which is no QM atom."""
    water = select_atoms(amber, "resid 4 and name O H1 H2", np.zeros((amber.n_sites, 3)))
    region = find_region(amber, water)
    np.testing.assert_array_equal(amber.atomic_numbers[region.atoms], [8, 1, 1])
    assert region.bonds == ()
    assert total_charge(region) == 0
    assert abs(region.force_field_charge) < 1e-5
    with_site = find_region(amber, np.flatnonzero(amber.residues == 3))
    np.testing.assert_array_equal(with_site.atoms, region.atoms)
    np.testing.assert_array_equal(with_site.groups, region.groups)
    with pytest.raises(RegionError, match="virtual sites only"):
        find_region(amber, np.flatnonzero(amber.parents >= 0)[:1])


def test_residues_are_numbered_as_people_do(files, amber):
    """From 1, as AMBER's own programs count, though ParmEd counts from 0."""
    nowhere = np.zeros((amber.n_sites, 3))
    assert amber.label(10) == "ALA 2 CB"
    np.testing.assert_array_equal(select_atoms(amber, "resid 2", nowhere), np.arange(6, 16))
    pdb = read_topology(files / "opc.pdb", files / "opc.xml")
    assert pdb.label(10) == "ALA 2 CB"


@pytest.mark.parametrize("suffix", ["nc", "dcd", "xtc", "trr"])
def test_trajectories_give_positions_and_boxes(suffix, files, amber):
    reference = parmed.load_file(str(files / "opc.inpcrd"))
    snapshots = list(read_snapshots(files / f"opc.{suffix}", amber.n_sites))
    assert [snapshot.number for snapshot in snapshots] == [0, 1, 2]
    for snapshot in snapshots:
        moved = reference.coordinates[0] + [float(snapshot.number), 0.0, 0.0]
        np.testing.assert_allclose(snapshot.positions, moved, atol=6e-3)
        np.testing.assert_allclose(snapshot.cell, np.diag(reference.box[:3]), atol=6e-3)
    (last,) = read_snapshots(files / f"opc.{suffix}", amber.n_sites, read_slice("2"))
    np.testing.assert_array_equal(last.positions, snapshots[2].positions)


@pytest.mark.parametrize("name", ["opc.inpcrd", "opc.rst7", "opc.ncrst", "opc.gro", "opc.pdb"])
def test_single_structures_keep_their_box(name, files, amber):
    reference = parmed.load_file(str(files / "opc.inpcrd"))
    (snapshot,) = read_snapshots(files / name, amber.n_sites)
    np.testing.assert_allclose(snapshot.positions, reference.coordinates[0], atol=6e-3)
    np.testing.assert_allclose(snapshot.cell, np.diag(reference.box[:3]), atol=6e-3)


def test_netcdf_with_32_bit_offsets_is_read(files, amber, tmp_path):
    """As ParmEd's reporter writes it; MDAnalysis refuses it."""
    reference = parmed.load_file(str(files / "opc.inpcrd"))
    with quiet():
        trajectory = parmed.amber.NetCDFTraj.open_new(
            str(tmp_path / "old.nc"), amber.n_sites, box=True
        )
        trajectory.add_coordinates(reference.coordinates[0])
        trajectory.add_cell_lengths_angles(reference.box)
        trajectory.close()
    assert (tmp_path / "old.nc").read_bytes()[:4] == b"CDF\x01"
    (snapshot,) = read_snapshots(tmp_path / "old.nc", amber.n_sites)
    np.testing.assert_allclose(snapshot.positions, reference.coordinates[0], atol=1e-4)
    np.testing.assert_allclose(snapshot.cell, np.diag(reference.box[:3]), atol=1e-4)


def test_selections_see_names_bonds_and_distances(amber, files):
    (snapshot,) = read_snapshots(files / "opc.inpcrd", amber.n_sites)
    for selection, expected in (
        ("protein", range(22)),
        ("resname ALA and not backbone and not name H HA", range(10, 14)),
        ("bonded name CB", [8, 11, 12, 13]),
        ("element O and not resname WAT", [5, 15]),
    ):
        found = select_atoms(amber, selection, snapshot.positions)
        np.testing.assert_array_equal(found, list(expected), err_msg=selection)
    around = select_atoms(amber, "resname WAT and name O and around 5 name CB", snapshot.positions)
    apart = np.linalg.norm(snapshot.positions - snapshot.positions[10], axis=1)
    oxygens = np.flatnonzero((amber.atomic_numbers == 8) & (apart < 5.0))
    oxygens = oxygens[oxygens > 21]
    assert len(oxygens) > 2
    np.testing.assert_array_equal(around, oxygens)


def test_what_cannot_be_read_is_a_sentence(files, amber, tmp_path):
    text = tmp_path / "text.prmtop"
    text.write_text("no topology at all\n")
    with pytest.raises(TopologyError, match="ParmEd cannot read"):
        read_topology(text)
    (tmp_path / "lost.top").write_text(
        '#include "charmm99.ff/forcefield.itp"\n[ moleculetype ]\nA 3\n'
    )
    missing = rf"includes charmm99.ff/forcefield.itp, which is not in {tmp_path} or .*; copy it"
    with pytest.raises(TopologyError, match=missing):
        read_topology(tmp_path / "lost.top")
    (tmp_path / "empty.psf").write_text("PSF\n\n 1 !NTITLE\n nothing\n")
    with pytest.raises(TopologyError, match=r"empty.psf has no atoms"):
        read_topology(tmp_path / "empty.psf")
    with pytest.raises(TopologyError, match=r"opc.gro was read as .*; expected an AMBER prmtop"):
        read_topology(files / "opc.gro")
    with pytest.raises(TopologyError, match="holds no charges; give the OpenMM System"):
        read_topology(files / "opc.pdb")
    with pytest.raises(TopologyError, match="a System goes with a PDB only"):
        read_topology(files / "opc.prmtop", files / "opc.xml")
    with pytest.raises(FileNotFoundError, match=r"there is no file nowhere.psf"):
        read_topology(Path("nowhere.psf"))
    (tmp_path / "empty.xml").write_text(openmm.XmlSerializer.serialize(openmm.System()))
    with pytest.raises(TopologyError, match=r"has 0 particles; expected the same"):
        read_topology(files / "opc.pdb", tmp_path / "empty.xml")
    junk = {"junk.foo": "no trajectory format is known", "junk.xtc": "MDAnalysis cannot read"}
    junk |= {"junk.dcd": "MDAnalysis cannot read", "junk.pdb": "it holds no atoms"}
    for name, sentence in junk.items():
        (tmp_path / name).write_bytes(b"junk" * 20)
        with pytest.raises(TrajectoryError, match=sentence) as refused:
            list(read_snapshots(tmp_path / name, 5))
        assert "\n" not in str(refused.value)
    for name in ("opc.rst7", "opc.nc", "opc.xtc", "opc.gro"):
        with pytest.raises(TrajectoryError, match=r"; the topology has 5"):
            list(read_snapshots(files / name, 5))
    cut_short = tmp_path / "short.nc"
    cut_short.write_bytes((files / "opc.nc").read_bytes()[:2000])
    with pytest.raises(TrajectoryError, match="is no AMBER NetCDF trajectory"):
        list(read_snapshots(cut_short, amber.n_sites))
    with pytest.raises(TrajectoryError, match="none of the frames asked for"):
        list(read_snapshots(files / "opc.dcd", amber.n_sites, read_slice("7:")))
    with pytest.raises(TrajectoryError, match="does not understand the selection"):
        select_atoms(amber, "residue ALA", np.zeros((amber.n_sites, 3)))
    with pytest.raises(TrajectoryError, match="the residues are called ACE, ALA, NME, WAT"):
        select_atoms(amber, "resname SER", np.zeros((amber.n_sites, 3)))
    for wrong in ("a:b", "1:2:3:4", "::0", "-1", ""):
        with pytest.raises(TrajectoryError, match="START:STOP:STEP"):
            read_slice(wrong)
