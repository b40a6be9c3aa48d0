"""`eqmm md`, `optimize` and `ledger` on whole systems."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time

import pytest
from places import DATA, ROOT

pytest.importorskip("openmm")
pytest.importorskip("finufft")
pytest.importorskip("MDAnalysis")

from eqmm_ase.cli import main

pytestmark = pytest.mark.slow

BOX = ROOT / "scripts" / "examples" / "methanol_box"
SYSTEM = ("--topology", BOX / "system.prmtop", "--coordinates", BOX / "system.rst7")
REGION = ("--ml", "resname MOH")
NEAR = ("--electrostatics", "cutoff", "--switch", "7", "9")
MODEL = DATA / "methanol.eqmm"


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_a_run_is_a_folder_and_goes_on(tmp_path, capsys) -> None:
    command = ("md", MODEL, *SYSTEM, *REGION, "-o", tmp_path / "run", "--heating", "0.01")
    settings = ("--interval", "5", *NEAR, "--trajectory", "xtc")
    assert run(*command, *settings, "--steps", "5") == 0
    log = capsys.readouterr().out
    assert log.startswith("QM region: CH4O, total charge 0, singlet; 954 sites in a box")
    assert "minimising\nheating\nrunning\n" in log
    assert "5 steps (0.005 ps) done" in log
    assert run(*command, *settings, "--steps", "10") == 0
    with (tmp_path / "run" / "energies.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, 5, 10]
    assert (tmp_path / "run" / "trajectory.xtc").stat().st_size > 0
    assert (tmp_path / "run" / "md.log").read_text().count("minimising") == 1


def test_sigterm_ends_a_run_at_a_checkpoint(tmp_path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", "from eqmm_ase.cli import main; main()", "md", MODEL]
    command += [*SYSTEM, *REGION, "-o", folder, "--heating", "0", "--interval", "2"]
    command += ["--steps", "100000", "--no-minimize", "--timestep", "0.2"]
    started = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / "progress.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    started.send_signal(signal.SIGTERM)
    output, _ = started.communicate(timeout=60)
    assert started.returncode == 0
    assert "the same command goes on from there" in output


def test_a_relaxed_system_is_a_pdb_with_its_ledger(tmp_path, capsys) -> None:
    output = tmp_path / "relaxed.pdb"
    options = ("--fmax", "0.5", *NEAR, "-o", output)
    assert run("optimize", MODEL, *SYSTEM, *REGION, *options) == 0
    assert "ML region in the potential of all charges" in capsys.readouterr().out
    assert output.read_text().count("HETATM") + output.read_text().count("ATOM") >= 954
    assert run("optimize", MODEL, *SYSTEM, *REGION, *options) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_the_ledger_is_printed(capsys) -> None:
    assert run("ledger", MODEL, *SYSTEM, *REGION) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers = [float(line.split()[-2]) for line in lines if line.endswith("kcal/mol")]
    assert numbers[-1] == pytest.approx(sum(numbers[:-1]), abs=1e-5)
    assert lines[-1].startswith("total")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((*SYSTEM, "--ml", "resname XYZ"), "selects nothing; the residues are called"),
        ((*SYSTEM, "--ml", "name C1"), "a hydrogen atom must stay on the side"),
        ((*SYSTEM, *REGION, "--total-charge", "1"), "more than its total charge"),
        ((*SYSTEM, *REGION, "--electrostatics", "cutoff"), "a cutoff of 12 Å needs a box at least"),
        (SYSTEM, "needs --topology, and --ml"),
        (("--topology", "none.prmtop", *REGION), "there is no topology none.prmtop"),
        (("--topology", BOX / "system.prmtop", *REGION), "holds no coordinates"),
    ],
)
def test_bad_systems_are_refused_in_a_sentence(options, sentence, capsys) -> None:
    assert run("ledger", MODEL, *options) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["md", "optimize"])
def test_both_forms_of_a_command_have_a_help(command, capsys) -> None:
    assert run(command, "--help") == 0
    assert "--topology --help" in capsys.readouterr().out
    assert run(command, "--topology", "--help") == 0
    assert "--ml TEXT" in capsys.readouterr().out
