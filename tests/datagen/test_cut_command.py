"""``eqmm-datagen cut``: from files to a dataset that can be labelled, or one sentence."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openmm")
pytest.importorskip("parmed")
pytest.importorskip("MDAnalysis")
pytest.importorskip("pyscf")

from datagen.cli import cli
from datagen.method import Method
from datagen.single_point import label_frame
from eqmm_ase.boundary_forces import project_forces
from eqmm_ase.command_line import run
from eqmm_ase.reference_data import ReferenceData

if shutil.which("tleap") is None:
    pytest.skip("AmberTools is not installed", allow_module_level=True)

LEAP = """source leaprc.protein.ff14SB
source leaprc.water.opc
x = sequence { ACE ALA NME }
solvateBox x OPCBOX 6.0
saveAmberParm x ala.prmtop ala.inpcrd
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
