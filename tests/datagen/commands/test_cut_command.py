"""``eqmm-datagen cut``: from files to a dataset that can be labelled, or one sentence."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openmm")
pytest.importorskip("parmed")
pytest.importorskip("MDAnalysis")
pytest.importorskip("pyscf")

import parmed
from MDAnalysis.lib.formats.libmdaxdr import TRRFile

from datagen.cli import cli
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase import forces_on_topology, project_forces
from eqmm_ase.command_line import run
from eqmm_ase.data.lattice import shortest_repeat
from eqmm_ase.files.dataset_file import ReferenceData
from eqmm_ase.topology import quiet, read_topology

if shutil.which("tleap") is None:
    pytest.skip("AmberTools is not installed", allow_module_level=True)

LEAP = """source leaprc.protein.ff14SB
source leaprc.water.opc
x = sequence { ACE ALA NME }
solvateBox x OPCBOX 6.0
saveAmberParm x ala.prmtop ala.inpcrd
y = sequence { ACE ALA ALA NME }
solvateBox y OPCBOX 4.0
saveAmberParm y small.prmtop small.inpcrd
quit
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("peptide")
    (folder / "leap.in").write_text(LEAP)
    subprocess.run(["tleap", "-f", "leap.in"], cwd=folder, check=True, capture_output=True)
    shutil.copy(folder / "ala.inpcrd", folder / "second.inpcrd")
    return folder


def _cut(folder: Path, *options: str) -> int:
    arguments = ["cut", str(folder / "ala.prmtop"), str(folder / "ala.inpcrd"), "--medium", "water"]
    return run(cli, "eqmm-datagen", [*arguments, "--radius", "5", *options])


@pytest.mark.slow
def test_a_side_chain_goes_from_files_to_projected_forces(folder, tmp_path, capsys):
    output = tmp_path / "frames.h5"
    options = ["-o", str(output), "--qm", "resname ALA and name CB HB*"]
    assert _cut(folder, str(folder / "second.inpcrd"), *options) == 0
    captured = capsys.readouterr()
    assert "2 frames" in captured.out
    assert "net MM charge +0.0016 e" in captured.out
    assert "4 atoms, total charge +0, where the force field has -0.0016 e" in captured.err
    assert "cut bond: ALA 2 CB–ALA 2 CA" in captured.err
    assert "12 Å or more are recommended" in captured.err
    with ReferenceData(output) as data:
        assert (data.sources, data.media) == (("ala", "second"), ("water",))
        assert data.method["cut"]["net_mm_charge"] == [0.0016, 0.0016]
        assert data.method["cut"]["qm_atoms"] == [10, 11, 12, 13]
        frame = data[0]
    assert len(frame.boundary.sites) == 3
    labelled = label_frame(frame, Method(functional="hf", basis="sto-3g")).frame
    real = project_forces(labelled)
    assert real.qm.shape == (4, 3)
    assert np.abs(real.qm.sum(0) + real.mm.sum(0) + real.m1.sum(0)).max() < 1e-5
    n_sites = read_topology(folder / "ala.prmtop").n_sites
    forces = forces_on_topology(labelled, n_sites, topology=folder / "ala.prmtop")
    np.testing.assert_array_equal(forces[10:14], real.qm)
    np.testing.assert_array_equal(forces[8], real.m1[0])
    assert np.abs(forces.sum(axis=0)).max() < 1e-5
    (folder / "other.prmtop").write_text("another")
    with pytest.raises(ValueError, match=r"another topology \(ala.prmtop\) than"):
        forces_on_topology(labelled, n_sites, topology=folder / "other.prmtop")


def test_settings_reach_the_frames(folder, tmp_path):
    output = tmp_path / "frames.h5"
    options = ["--switch-from", "4", "--cap", "fixed", "--boundary-charges", "shift"]
    options += ["--charge", "1", "--multiplicity", "2", "-o", str(output)]
    assert _cut(folder, "--qm", "resname ALA and name CB HB*", *options) == 0
    with ReferenceData(output) as data:
        (frame,) = data.load()
    assert (frame.total_charge, frame.spin_multiplicity) == (1, 2)
    assert frame.boundary.charge_scheme == "shift"
    assert frame.boundary.links[0].rule == "fixed"
    scales = frame.mm_charges[-30:] / frame.mm_charges_original[-30:]
    assert 0.0 < scales.min() < scales.max() <= 1.0


def test_without_a_radius_the_cluster_is_as_large_as_the_box_allows(folder, tmp_path, capsys):
    arguments = ["cut", str(folder / "small.prmtop"), str(folder / "small.inpcrd"), "--overwrite"]
    arguments += ["--medium", "water", "--qm", "protein", "-o", str(tmp_path / "frames.h5")]
    assert run(cli, "eqmm-datagen", arguments) == 0
    told = capsys.readouterr().err
    with ReferenceData(tmp_path / "frames.h5") as data:
        (frame,) = data.load()
        description = data.method["cut"]
    half = shortest_repeat(frame.cell) / 2
    assert 8.0 < half < 12.0
    assert half - 0.1 < description["radius"] <= half
    radius, complete_to = description["radius"], description["complete_to"]
    assert f"the largest radius that fits the box is {radius:g} Å, taken instead of 12 Å" in told
    assert 4.0 < complete_to < radius
    assert f"the frames are complete up to {np.floor(10 * complete_to) / 10:g} Å" in told
    assert len(set(frame.mm_atom_indices)) == frame.n_mm
    assert run(cli, "eqmm-datagen", [*arguments, "--switch-from", "4"]) == 0
    with ReferenceData(tmp_path / "frames.h5") as data:
        assert complete_to - 0.1 < data.method["cut"]["radius"] <= complete_to
        np.testing.assert_array_equal(data[0].switch_radii, [4.0, data.method["cut"]["radius"]])


def test_frames_that_cannot_be_cut_are_counted(folder, tmp_path, capsys):
    with quiet():
        start = parmed.load_file(str(folder / "ala.inpcrd"))
        places = start.coordinates[0].astype(np.float32) / 10
        box = np.diag(start.box[:3]).astype(np.float32) / 10
        with TRRFile(str(tmp_path / "run.trr"), "w") as file:
            for i, holds in enumerate("xvbxv"):
                x, v = (places + 0.1 * i, None) if holds in "xb" else (None, places.copy())
                file.write(x, v, None, box * (holds != "b"), i, float(i), 0.0, len(places))
    arguments = ["cut", str(folder / "ala.prmtop"), str(tmp_path / "run.trr"), "--medium", "water"]
    arguments += ["--qm", "protein", "--radius", "5", "-o", str(tmp_path / "frames.h5")]
    assert run(cli, "eqmm-datagen", arguments) == 0
    captured = capsys.readouterr()
    assert "2 frames" in captured.out
    note = "3 of 5 frames of .*run.trr were left out: 2 without positions, 1 without a periodic box"
    assert re.search(note, captured.err)
    with ReferenceData(tmp_path / "frames.h5") as data:
        left_out = data.method["cut"]["frames_left_out"]
        np.testing.assert_allclose(data[0].mm_positions, data[1].mm_positions, atol=1e-5)
    assert left_out == {"run": {"without positions": 2, "without a periodic box": 1}}
    assert run(cli, "eqmm-datagen", [*arguments, "--overwrite", "--frames", "2"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no frame to cut among the 1 asked for: 1 without a periodic box; give a" in last


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--qm", "resname SER"], "selects nothing"),
        (["--qm", "name CB"], "cuts the bond ALA 2 CB–ALA 2 HB1"),
        (["--qm", "protein", "--frames", "x"], "START:STOP:STEP"),
        (["--qm", "protein", "--radius", "12"], "too small for a radius of 12"),
        (["--qm", "protein", "--multiplicity", "2"], "does not allow"),
        (["--qm", "protein", "--system", "no.xml"], "there is no file no.xml"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(options, sentence, folder, tmp_path, capsys):
    output = tmp_path / "frames.h5"
    assert _cut(folder, *options, "-o", str(output)) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert not output.exists()


def test_output_that_exists_is_left_alone_unless_told(folder, tmp_path, capsys):
    output = tmp_path / "frames.h5"
    output.write_text("precious")
    assert _cut(folder, "--qm", "protein", "-o", str(output)) == 2
    assert "exists already" in capsys.readouterr().err
    assert output.read_text() == "precious"
    assert _cut(folder, "--qm", "protein", "-o", str(output), "--overwrite") == 0
