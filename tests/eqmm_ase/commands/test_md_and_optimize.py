"""The commands that relax and run a molecule."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from ase.io import read, write
from calculator_kit import methanol, random_model

from eqmm_ase import save_model
from eqmm_ase.cli import main
from eqmm_ase.commands.run_log import RunLog


@pytest.fixture
def model_path(tmp_path) -> Path:
    model = random_model()
    model.energy_scale.fill_(0.05)
    save_model(tmp_path / "model.eqmm", model, {})
    return tmp_path / "model.eqmm"


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_optimize_command(model_path, methanol_file, tmp_path, capsys):
    output = tmp_path / "relaxed.traj"
    arguments = ("optimize", model_path, f"{methanol_file}:1", "--fmax", "0.05", "-o", output)
    assert run(*arguments, "--steps", "2") == 1
    log = capsys.readouterr().out
    assert log == (tmp_path / "relaxed.log").read_text()
    lines = log.splitlines()
    assert lines[0].startswith(f"CH4O, total charge 0, singlet, from {methanol_file}:1, ")
    assert lines[1].split() == ["step", "energy/eV", "change/eV", "fmax/(eV/Å)", "time/s"]
    assert lines[2].split()[0] == "0"
    assert len({len(line) for line in lines[1:-2]}) == 1
    assert "RMSD from the start" in lines[-1]
    assert read(output).get_potential_energy() < read(output, 0).get_potential_energy()


def test_restraints_keep_atoms_off_bare_charges(methanol_file, tmp_path, capsys):
    domain = {"closest_mm": 1.5, "closest": {"O+": 1.6}}
    save_model(tmp_path / "model.eqmm", random_model(), {"domain": domain})
    (tmp_path / "charges.txt").write_text("0.4 0 0 1.5\n-0.4 0 0 -5\n")
    write(tmp_path / "molecule.xyz", methanol())
    inputs = (tmp_path / "model.eqmm", tmp_path / "molecule.xyz")
    options = ("--charges", tmp_path / "charges.txt", "--steps", 1, "-o", tmp_path / "relaxed.traj")
    arguments = ("optimize", *inputs, *options)
    run(*arguments)
    log = capsys.readouterr().out
    assert "2 MM charges (+0.00 e) with restraints; energy" in log
    assert "restraints hold " in log
    run(*arguments, "--overwrite", "--no-restraints")
    log = capsys.readouterr().out
    assert "2 MM charges (+0.00 e) without restraints; energy" in log
    assert "restraints hold " not in log


def test_optimize_exit_codes(model_path, methanol_file, tmp_path, capsys):
    frame, output = f"{methanol_file}:1", tmp_path / "relaxed.traj"
    assert run("optimize", model_path, frame, "--steps", 1, "-o", output) == 1
    assert "NOT converged after 1 steps" in capsys.readouterr().out
    assert run("optimize", model_path, frame, "--fmax", 50, "-o", output) == 2
    assert "exists already; use --overwrite" in capsys.readouterr().err
    assert run("optimize", model_path, frame, "--fmax", 50, "-o", output, "--overwrite") == 0


@pytest.mark.filterwarnings("default::eqmm_ase.uncertainty.domain.DomainWarning")
def test_what_is_outside_training_is_said_on_screen(methanol_file, tmp_path, capsys):
    domain = {"compositions": ["H2O"], "closest_mm": 2.4}
    save_model(tmp_path / "model.eqmm", random_model(), {"domain": domain})
    arguments = (tmp_path / "model.eqmm", f"{methanol_file}:1", "--steps", 1)
    run("optimize", *arguments, "-o", tmp_path / "relaxed.traj")
    error = capsys.readouterr().err
    assert error.count("warning: the QM region CH4O was not in training (seen: H2O)") == 1
    assert error.count("much closer than any negative charge came to H in training (2.40 Å)") == 1


@pytest.mark.filterwarnings("default::UserWarning")
def test_warnings_during_a_run_are_lines_of_its_log(tmp_path, capsys):
    before = warnings.showwarning
    with RunLog([("step", "d", 6)], tmp_path / "run.log") as log:
        log.row((1,), 1)
        warnings.warn("careful", UserWarning, stacklevel=1)
    assert capsys.readouterr().out == "     1\nwarning: careful\n"
    assert (tmp_path / "run.log").read_text() == "     1\nwarning: careful\n"
    assert warnings.showwarning is before


def test_md_command_resumes(model_path, methanol_file, tmp_path, capsys):
    output = tmp_path / "md.traj"
    arguments = ("md", model_path, f"{methanol_file}:1", "--dtype", "float64", "-o", output,
                 "--ensemble", "nve", "--timestep", 0.1, "--interval", 2)  # fmt: skip
    assert run(*arguments, "--steps", 4, "--log-interval", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("; nve, 0.1 fs, 300 K")
    assert [line.split()[0] for line in lines[1:]] == ["step", "0", "2", "4", "4"]
    assert run(*arguments, "--steps", 6) == 2
    assert "use --resume" in capsys.readouterr().err
    assert run(*arguments, "--time", 0.0006, "--resume") == 0
    assert [image.info["md"]["step"] for image in read(output, ":")] == [0, 2, 4, 6]
    assert len((tmp_path / "md.log").read_text().splitlines()) == len(lines) + 4


def test_md_of_a_structure_file_with_charges(model_path, tmp_path, capsys):
    write(tmp_path / "molecule.xyz", methanol())
    (tmp_path / "charges.txt").write_text("0.4 0 0 5\n-0.4 0 0 -5\n")
    arguments = ("md", model_path, tmp_path / "molecule.xyz", "--charges", tmp_path / "charges.txt",
                 "--steps", 2, "-o", tmp_path / "md.traj")  # fmt: skip
    assert run(*arguments) == 0
    assert "2 MM charges (+0.00 e) without restraints; energy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("optimize", "missing.eqmm", "FRAME"), "there is no model file missing.eqmm"),
        (("optimize", "FRAME", "FRAME"), "there is no model file"),
        (("optimize", "DATA", "FRAME"), "is not an eqmm-model file"),
        (("optimize", "MODEL", "missing.xyz"), "there is no structure file missing.xyz"),
        (("optimize", "MODEL", "FRAME", "--fmax", "-1"), "fmax must be positive"),
        (("optimize", "MODEL", "FRAME", "--fmax", "small"), "is not a valid float"),
        (("optimize", "MODEL", "FRAME", "--device", "tpu9"), "device must be"),
        (("optimize", "MODEL", "FRAME", "--total-charge", "1"), "17 electrons, an odd number"),
        (("optimize", "MODEL", "FRAME", "-o", "no/where.traj"), "no/where"),
        (("md", "MODEL", "FRAME"), "give either --steps or --time"),
        (("md", "MODEL", "FRAME", "--steps", "1", "--time", "1"), "give either --steps or --time"),
        (("md", "MODEL", "FRAME", "--steps", "0"), "steps must be positive"),
        (("md", "MODEL", "FRAME", "--time", "1", "--timestep", "0"), "timestep must be positive"),
        (("md", "MODEL", "FRAME", "--steps", "1", "--resume"), "no trajectory md.traj to resume"),
        (("md", "MODEL", "FRAME", "--steps", "1", "--resume", "--overwrite"), "exclude each other"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(
    arguments, sentence, model_path, methanol_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    names = {"MODEL": model_path, "DATA": methanol_file, "FRAME": f"{methanol_file}:0"}
    assert run(*(names.get(argument, argument) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert sentence in " ".join(error.split())
    assert "Traceback" not in error
    assert [path for path in sorted(tmp_path.iterdir()) if path.suffix == ".traj"] == [
        path for path in before if path.suffix == ".traj"
    ]


def test_a_failing_run_has_exit_code_1(methanol_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("eqmm_ase.simulation.dynamics.MAX_ENERGY_PER_ATOM", 0.0)
    save_model(tmp_path / "model.eqmm", random_model(), {})
    arguments = ("md", tmp_path / "model.eqmm", f"{methanol_file}:0", "--steps", 5)
    assert run(*arguments, "-o", tmp_path / "md.traj") == 1
    assert "error: the run exploded at step 0" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on(methanol_file, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    save_model(tmp_path / "model.eqmm", random_model(), {})
    monkeypatch.setattr("eqmm_ase.simulation.dynamics._Run.state", interrupt)
    arguments = ("md", tmp_path / "model.eqmm", f"{methanol_file}:0", "--steps", 5)
    assert run(*arguments, "-o", tmp_path / "md.traj") == 130
    assert "the same command with --resume goes on" in capsys.readouterr().out


@pytest.mark.slow
def test_the_calculator_imports_nothing_it_does_not_need():
    code = (
        "import sys, eqmm_ase.calculator.eqmm, eqmm_ase.files.structures\n"
        "unwanted = {'pyscf', 'openmm', 'lightning', 'pytorch_lightning', 'matplotlib', 'h5py',"
        " 'datagen', 'rdkit', 'click', 'rich'}\n"
        "sys.exit(' '.join(sorted(unwanted & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
