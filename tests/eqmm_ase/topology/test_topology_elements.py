"""The elements of a molecule are the same whatever file it comes in, repartitioned or not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openmm")
pytest.importorskip("parmed")
pytest.importorskip("MDAnalysis")

import openmm
from ase.data import chemical_symbols
from openmm import app, unit
from prmtop_kit import altered, before_amber_7

from datagen.cli import cli
from eqmm_ase.command_line import run
from eqmm_ase.cutting.qm_region import RegionError, find_region
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.topology import Topology, TopologyError, read_topology

if shutil.which("tleap") is None:
    pytest.skip("AmberTools is not installed", allow_module_level=True)

LEAP = """source leaprc.protein.ff14SB
source leaprc.water.tip3p
x = sequence { ACE CYS NME }
addIons x Cl- 1
saveAmberParm x x.prmtop x.inpcrd
savePdb x x.pdb
quit
"""
ELEMENTS = "HCHHCONHCHCHHSHCONHCHHH"

PSF = """PSF XPLOR

       1 !NTITLE
 REMARKS methanol

       6 !NATOM
       1 MOH  1    MOH  C1   CG331   0.116000  {carbon:12.4f}           0
       2 MOH  1    MOH  O1   OG311  -0.598000  {oxygen:12.4f}           0
       3 MOH  1    MOH  H1   HGA3   0.028000   {hydrogen:12.4f}           0
       4 MOH  1    MOH  H2   HGA3   0.028000   {hydrogen:12.4f}           0
       5 MOH  1    MOH  H3   HGA3   0.028000   {hydrogen:12.4f}           0
       6 MOH  1    MOH  HO   HGP1   0.398000   {hydrogen:12.4f}           0

       5 !NBOND: bonds
       1       2       1       3       1       4       1       5
       2       6
"""
XYZ = """6

C 0.0 0.0 0.0
O 1.4 0.0 0.0
H -0.4 1.0 0.0
H -0.4 -0.5 0.9
H -0.4 -0.5 -0.9
H 1.7 0.9 0.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("elements")
    (folder / "leap.in").write_text(LEAP)
    subprocess.run(["tleap", "-f", "leap.in"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def reference(folder) -> Topology:
    return read_topology(folder / "x.prmtop")


def _symbols(topology: Topology) -> str:
    """Of the peptide, without the ion behind it."""
    return "".join(chemical_symbols[z] for z in topology.atomic_numbers[:23])


def _repartition(sections: dict[str, list[str]]) -> None:
    """Hydrogens of 3.024 u, the rest from the atoms they hang on."""
    masses = [float(word) for word in sections["MASS"]]
    words = [int(word) for word in sections["BONDS_INC_HYDROGEN"]]
    for i, j in zip(words[::3], words[1::3], strict=True):
        light, heavy = sorted((i // 3, j // 3), key=lambda k: masses[k])
        masses[heavy] -= 3.024 - masses[light]
        masses[light] = 3.024
    sections["MASS"] = [f"{mass:.8E}" for mass in masses]


def _without_numbers(sections: dict[str, list[str]]) -> None:
    del sections["ATOMIC_NUMBER"]


def _some_numbers(sections: dict[str, list[str]]) -> None:
    numbers = sections["ATOMIC_NUMBER"]
    sections["ATOMIC_NUMBER"] = [("-1", "0", number)[k % 3] for k, number in enumerate(numbers)]


def _numbers_of_masses(sections: dict[str, list[str]]) -> None:
    """As a program without elements writes them: the nearest in mass."""
    from parmed.periodic_table import AtomicNum, element_by_mass

    sections["ATOMIC_NUMBER"] = [
        str(AtomicNum[element_by_mass(float(m))]) for m in sections["MASS"]
    ]


@pytest.mark.parametrize(
    "changes",
    [
        [_repartition],
        [_without_numbers],
        [_repartition, _without_numbers],
        [_repartition, _some_numbers],
        [_some_numbers],
    ],
)
def test_a_prmtop_keeps_its_elements(changes, folder, reference, tmp_path):
    text = (folder / "x.prmtop").read_text()
    for change in changes:
        text = altered(text, change)
    (tmp_path / "x.prmtop").write_text(text)
    topology = read_topology(tmp_path / "x.prmtop")
    assert _symbols(topology) == ELEMENTS
    assert topology.atomic_numbers[23] == 17
    assert topology.doubts == {}
    np.testing.assert_allclose(topology.charges, reference.charges)


def test_numbers_made_from_repartitioned_masses_are_refused_in_the_qm_region(folder, tmp_path):
    text = altered(altered((folder / "x.prmtop").read_text(), _repartition), _numbers_of_masses)
    (tmp_path / "x.prmtop").write_text(text)
    topology = read_topology(tmp_path / "x.prmtop")
    assert _symbols(topology) == ELEMENTS  # what classical atoms are selected by
    with pytest.raises(RegionError, match=r"of ACE 1 H1 \(and of \d+ others\) is not certain: "):
        find_region(topology, np.arange(23))
    chloride = find_region(topology, np.array([23]))
    assert chloride.force_field_charge == -1.0


def test_names_of_a_prmtop_from_before_amber_7_have_no_blanks(folder, reference, tmp_path):
    old = altered(altered((folder / "x.prmtop").read_text(), _without_numbers), _repartition)
    (tmp_path / "old.prmtop").write_text(before_amber_7(old))
    topology = read_topology(tmp_path / "old.prmtop")
    assert topology.names == reference.names
    assert topology.residue_names == reference.residue_names
    assert topology.label(13) == "CYS 2 SG"
    assert _symbols(topology) == ELEMENTS
    np.testing.assert_allclose(topology.charges, reference.charges, atol=1e-6)


@pytest.mark.parametrize("hydrogen", [1.008, 1.5, 3.024, 4.0])
def test_methanol_of_a_psf_is_methanol(hydrogen, tmp_path, capsys):
    """Repartitioned, the nearest elements in mass are Li, N and He, with as many electrons."""
    moved = hydrogen - 1.008
    masses = {"carbon": 12.011 - 3 * moved, "oxygen": 15.999 - moved, "hydrogen": hydrogen}
    (tmp_path / "x.psf").write_text(PSF.format(**masses))
    (tmp_path / "x.xyz").write_text(XYZ)
    command = ["cut", str(tmp_path / "x.psf"), str(tmp_path / "x.xyz"), "--isolated"]
    output = tmp_path / "x.h5"
    command += ["--qm", "resname MOH", "--medium", "gas", "-o", str(output)]
    assert run(cli, "eqmm-datagen", command) == 0
    assert "QM region: CH4O, total charge 0, singlet" in capsys.readouterr().err
    np.testing.assert_array_equal(read_frames(output)[0].atomic_numbers, [6, 8, 1, 1, 1, 1])


def test_an_atom_of_a_psf_that_stays_ambiguous_is_named(tmp_path):
    """O of 12.01 u without bonds to tell that its hydrogen took 4 u over."""
    text = PSF.format(carbon=12.011, oxygen=12.007, hydrogen=1.008)
    (tmp_path / "x.psf").write_text(text.partition("       5 !NBOND")[0] + "       0 !NBOND\n\n")
    topology = read_topology(tmp_path / "x.psf")
    with pytest.raises(RegionError, match=r"of MOH 1 O1 is not certain: its mass of 12\.007 u is "):
        find_region(topology, np.array([0, 1]))


@pytest.fixture(scope="module")
def system(folder) -> openmm.System:
    """With hydrogens of 4 u, as OpenMM makes them: carbons of methyl groups weigh 3 u."""
    prmtop = app.AmberPrmtopFile(str(folder / "x.prmtop"))
    return prmtop.createSystem(constraints=app.HAngles, hydrogenMass=4.0 * unit.dalton)


@pytest.mark.parametrize("columns", [True, False])
def test_a_repartitioned_system_beside_a_pdb_keeps_its_elements(
    columns, folder, system, reference, tmp_path
):
    """Also without columns 77 and 78, where OpenMM guesses elements from names."""
    (tmp_path / "x.xml").write_text(openmm.XmlSerializer.serialize(system))
    lines = (folder / "x.pdb").read_text().splitlines()
    atoms = iter(ELEMENTS)
    for k, line in enumerate(lines):
        if line.startswith(("ATOM", "HETATM")):
            symbol = f"{next(atoms, 'CL'):>2}" if columns else ""
            lines[k] = f"{line[:76]:76s}{symbol}".rstrip()
    (tmp_path / "x.pdb").write_text("\n".join(lines) + "\n")
    topology = read_topology(tmp_path / "x.pdb", tmp_path / "x.xml")
    assert _symbols(topology) == ELEMENTS
    assert topology.atomic_numbers[23] == 17
    assert topology.doubts == {}
    bonds = {tuple(bond) for bond in topology.bonds.tolist()}
    assert bonds == {tuple(bond) for bond in reference.bonds.tolist()}  # no held angles


def test_a_frozen_system_goes_by_the_elements_of_its_pdb(folder, system, tmp_path):
    frozen = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    for i in range(frozen.getNumParticles()):
        frozen.setParticleMass(i, 0.0)
    (tmp_path / "x.xml").write_text(openmm.XmlSerializer.serialize(frozen))
    prmtop = app.AmberPrmtopFile(str(folder / "x.prmtop"))
    start = app.AmberInpcrdFile(str(folder / "x.inpcrd"))
    with (tmp_path / "x.pdb").open("w") as file:
        app.PDBFile.writeFile(prmtop.topology, start.positions, file)
    topology = read_topology(tmp_path / "x.pdb", tmp_path / "x.xml")
    assert _symbols(topology) == ELEMENTS
    assert (topology.parents == -1).all()
    lines = (tmp_path / "x.pdb").read_text().splitlines()
    (tmp_path / "y.pdb").write_text("\n".join(line[:76] for line in lines) + "\n")
    topology = read_topology(tmp_path / "y.pdb", tmp_path / "x.xml")
    assert _symbols(topology) == ELEMENTS  # of standard residues
    assert (topology.parents == -1).all()
    assert topology.doubts.keys() == {23}  # CL: chlorine or carbon


def test_a_system_whose_charges_change_is_refused(folder, system, tmp_path):
    changing = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    nonbonded = next(f for f in changing.getForces() if isinstance(f, openmm.NonbondedForce))
    nonbonded.addGlobalParameter("lambda", 1.0)
    nonbonded.addParticleParameterOffset("lambda", 0, 0.5, 0.0, 0.0)
    (tmp_path / "x.xml").write_text(openmm.XmlSerializer.serialize(changing))
    with pytest.raises(TopologyError, match=r"x.xml has charges that change with global param"):
        read_topology(folder / "x.pdb", tmp_path / "x.xml")


def test_what_openmm_cannot_read_is_a_sentence(folder, tmp_path):
    (tmp_path / "x.xml").write_text("<System")
    with pytest.raises(TopologyError, match=r"OpenMM cannot read .*x.xml \("):
        read_topology(folder / "x.pdb", tmp_path / "x.xml")
    (tmp_path / "y.xml").write_text(openmm.XmlSerializer.serialize(openmm.System()))
    (tmp_path / "y.pdb").write_text("ATOM  hello\n")
    with pytest.raises(TopologyError, match=r"OpenMM cannot read .*y.pdb \("):
        read_topology(tmp_path / "y.pdb", tmp_path / "y.xml")
