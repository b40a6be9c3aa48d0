"""The command line: a sentence and an exit code for every mistake, and a file for none."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datagen.cli import cli

pytest.importorskip("openmm")
pytest.importorskip("rdkit")

from datagen.commands import sample as sample_command
from eqmm_ase.command_line import run
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, read_frames

QUICK = ["--frames", "2", "--trajectories", "1", "--interval", "0.05", "--radius", "5"]
QUICK += ["--equilibration", "0.5", "--decorrelation", "0", "--platform", "CPU"]


def _one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["C(("], "neither a SMILES string"),
        (["missing.xyz"], "no structure file missing.xyz"),
        (["CO", "--radius", "60"], "radius is 60; expected 3 to 30 Å"),
        (["CO", "--frames", "0"], "n_frames is 0"),
        (["CO", "--solvent", "watr"], "did you mean water"),
        (["CO", "--charge", "1"], "found a charge of +1"),
        (["CO", "--seed", "-3"], "seed is -3"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(arguments, sentence, tmp_path, capsys):
    output = tmp_path / "frames.h5"
    assert run(cli, "eqmm-datagen", ["sample", *arguments, "-o", str(output)]) == 2
    assert sentence in _one_sentence(capsys)
    assert list(tmp_path.iterdir()) == []


def test_output_that_exists_is_left_alone_unless_told(tmp_path, capsys):
    output = tmp_path / "frames.h5"
    output.write_text("precious")
    assert run(cli, "eqmm-datagen", ["sample", "CO", "-o", str(output)]) == 2
    assert "exists already" in _one_sentence(capsys)
    assert output.read_text() == "precious"


def test_output_in_no_folder_is_refused_before_the_work(tmp_path, capsys):
    assert (
        run(cli, "eqmm-datagen", ["sample", "CO", "-o", str(tmp_path / "nowhere" / "frames.h5")])
        == 2
    )
    assert "nowhere does not exist" in _one_sentence(capsys)


@pytest.mark.slow
def test_a_molecule_without_parameters_is_held_and_the_user_is_told(tmp_path, capsys):
    pytest.importorskip("tblite")
    output = tmp_path / "frames.h5"
    arguments = ["sample", "[SiH4]", "-o", str(output), "--radius", "4", "--frames", "2"]
    arguments += ["--trajectories", "1", "--interval", "0.02", "--decorrelation", "0.02"]
    assert run(cli, "eqmm-datagen", [*arguments, "--equilibration", "0.5", "--workers", "1"]) == 0
    assert "no parameters for Si" in capsys.readouterr().err
    first, second = read_frames(output)
    np.testing.assert_allclose(distances(first), distances(second), atol=1e-5)
    assert first.n_mm > 0


def distances(frame: Frame) -> np.ndarray:
    return np.linalg.norm(frame.qm_positions[:, None] - frame.qm_positions, axis=-1)


def test_unknown_command_and_option_are_usage_errors(capsys):
    assert run(cli, "eqmm-datagen", ["smaple"]) == 2
    assert "No such command 'smaple'" in capsys.readouterr().err
    assert run(cli, "eqmm-datagen", ["sample", "CO", "--frame", "3"]) == 2
    assert "--frame" in capsys.readouterr().err


def test_help_lists_the_commands_without_importing_them():
    program = (
        "import sys; from datagen.cli import cli; from eqmm_ase.command_line import run; "
        "assert run(cli, 'eqmm-datagen', ['--help']) == 0; "
        "heavy = {'openmm', 'rdkit', 'pyscf', 'torch'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert "sample" in done.stdout
    assert "label" in done.stdout


def test_interrupt_is_exit_code_130(tmp_path, capsys, monkeypatch):
    def interrupted(*_: object, **__: object) -> list[Frame]:
        raise KeyboardInterrupt

    monkeypatch.setattr(sample_command, "sample_frames", interrupted)
    assert run(cli, "eqmm-datagen", ["sample", "CO", "-o", str(tmp_path / "frames.h5")]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.slow
def test_sample_writes_frames_and_leaves_nothing_else(tmp_path, capsys):
    output = tmp_path / "frames.h5"
    output.write_text("to be replaced")
    arguments = ["sample", "O", "-o", str(output), "--overwrite", *QUICK]
    assert run(cli, "eqmm-datagen", arguments) == 0
    captured = capsys.readouterr()
    assert "O in water, 2 frames" in captured.out
    assert "12 Å or more are recommended" in captured.err
    with ReferenceData(output) as data:
        assert (len(data), data.elements, data.media) == (2, (1, 8), ("water",))
        assert data.sources == ("water-0",)
        assert data[0].energy is None
        assert data[0].cell.shape == (3, 3)
        assert data.method["sampling"]["seed"] == 1
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts the processes of a session")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_a_killed_run_leaves_no_process_and_goes_on(how, tmp_path, capsys):
    output = tmp_path / "frames.h5"
    arguments = ["sample", "O", "-o", str(output), *QUICK]
    arguments += ["--trajectories", "3", "--frames", "6", "--interval", "0.2", "--workers", "2"]
    program = f"from datagen.cli import main; main({arguments!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    parts = tmp_path / "frames.h5.parts"
    _wait_until(lambda: any(parts.glob("trajectory-*.npz")) or process.poll() is not None)
    process.send_signal(how)
    process.communicate(timeout=30)
    assert process.returncode == (130 if how is signal.SIGINT else -how)
    _wait_until(lambda: not _session_lives(process.pid))
    assert not output.exists()

    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    assert run(cli, "eqmm-datagen", arguments) == 0
    assert "6 frames" in capsys.readouterr().out
    assert len(kept) >= 2
    assert list(tmp_path.iterdir()) == [output]


def _wait_until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _session_lives(leader: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == leader and state != "Z":
            return True
    return False


def test_a_bug_shows_its_traceback(tmp_path, monkeypatch):
    def broken(*_: object, **__: object) -> list[Frame]:
        raise ValueError("a bug, not a mistake of the user")

    monkeypatch.setattr(sample_command, "sample_frames", broken)
    with pytest.raises(ValueError, match="a bug"):
        run(cli, "eqmm-datagen", ["sample", "CO", "-o", str(tmp_path / "frames.h5")])
