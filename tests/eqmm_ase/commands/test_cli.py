"""The command line: what it prints, and how it says no."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from eqmm_ase import cli
from eqmm_ase.files.dataset_file import read_frames, write_frames

TINY = [
    *(f"model.{key}=1" for key in ("l_expansion", "l_hidden", "n_layers")),
    *("model.channels=2", "model.n_radial=4", "model.n_near=0", "model.hidden=8"),
    *("training.batch_size=3", "training.validate_every=2", "training.max_steps=4"),
    "hardware.accelerator=cpu",
]


@pytest.fixture
def eqmm(capsys):
    """Run `eqmm`; returns exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def data(methanol_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "data.h5"
    write_frames(path, read_frames(methanol_file, range(8)), {"functional": "b3lyp"})
    return path


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "model.eqmm"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", str(data), "-o", str(path), *TINY])
    assert stopped.value.code == 0
    return path


@pytest.mark.slow
def test_train_needs_data_and_output_only_and_ends_with_a_table(eqmm, data, tmp_path):
    output = tmp_path / "model.eqmm"
    code, out, err = eqmm("train", data, "-o", output, *TINY)
    assert code == 0
    assert "errors on the validation frames" in out
    assert "kcal/mol/Å" in out
    assert f"{output} holds the weights of step" in err.replace("\n", "")
    assert (tmp_path / "model.eqmm.train" / "learning_curve.png").is_file()


@pytest.mark.slow
def test_evaluate_prints_a_table_and_writes_metrics_and_plots(eqmm, model, data, tmp_path):
    code, out, _ = eqmm("evaluate", model, data, "-o", tmp_path / "results")
    assert code == 0
    for word in ("water", "energy", "QM forces", "MM forces", "relative RMS", "ms per frame"):
        assert word in out
    metrics = json.loads((tmp_path / "results" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["n_frames"] == 8
    assert (tmp_path / "results" / "parity_mm_forces.png").is_file()


@pytest.mark.slow
def test_a_committee_goes_through_all_commands(eqmm, data, tmp_path):
    output = tmp_path / "model.eqmm"
    command = ("train", data, "-o", output, "--committee", 2, *TINY, "data.validation_fraction=0.4")
    code, out, err = eqmm(*command)
    assert code == 0
    assert "member 2 of 2" in err
    assert "errors on the validation frames" in out
    for number in (1, 2):
        folder = tmp_path / "model.eqmm.train" / f"member-{number}.train"
        assert (folder / "learning_curve.png").is_file()

    code, out, _ = eqmm("info", output)
    assert code == 0
    assert "2 members" in out

    code, out, _ = eqmm("evaluate", output, data, "-o", tmp_path / "results")
    assert code == 0
    for word in ("uncertainty of the committee", "rank correlation", "(95%)", "reliability.png"):
        assert word in out
    content = json.loads((tmp_path / "results" / "metrics.json").read_text(encoding="utf-8"))
    assert content["uncertainty"]["energy"]["count"] == 8
    assert content["uncertainty"]["qm_forces"]["count"] == 8 * 6
    assert (tmp_path / "results" / "reliability.png").is_file()

    trajectory = tmp_path / "md.traj"
    code, out, _ = eqmm("md", output, f"{data}:0", "--steps", 2, "-o", trajectory)
    assert code == 0
    assert "largest uncertainty in the steps above: energy " in out


@pytest.mark.slow
def test_a_single_model_says_nothing_of_uncertainty(eqmm, model, data, tmp_path):
    for arguments in (
        ("info", model),
        ("evaluate", model, data, "-o", tmp_path / "results"),
        ("md", model, f"{data}:0", "--steps", 2, "-o", tmp_path / "md.traj"),
    ):
        code, out, _ = eqmm(*arguments)
        assert code == 0
        assert "committee" not in out
        assert "uncertainty" not in out
    assert not (tmp_path / "results" / "reliability.png").exists()


def test_evaluate_warns_of_labels_of_another_level_of_theory(eqmm, model, methanol_file):
    code, _, err = eqmm("evaluate", model, methanol_file)
    assert code == 0
    assert "was labelled with basis '6-31g*' and not None" in err.replace("\n", " ")


def test_info_describes_a_dataset(eqmm, methanol_file):
    code, out, _ = eqmm("info", methanol_file)
    assert code == 0
    for word in ("eqmm-dataset", "H C O", "CH4O (18)", "684 to 735", "water", "b3lyp"):
        assert word in out
    rows = [line.split("│")[1:3] for line in out.splitlines() if "label:" in line]
    assert dict([key.strip(), value.strip()] for key, value in rows) == {
        "label: energy": "all frames",
        "label: energy_vacuum": "0 of 18 frames",
        "label: qm_forces": "all frames",
        "label: mm_forces": "all frames",
        "label: mm_potential": "0 of 18 frames",
        "label: dipole": "all frames",
        "label: charges/mulliken": "all frames",
    }


def test_info_describes_a_model(eqmm, model):
    code, out, _ = eqmm("info", model)
    assert code == 0
    for word in ("eqmm-model", "H C O", "mulliken", "CH4O", "b3lyp", "errors on the validation"):
        assert word in out


def test_show_config_prints_settings_that_can_be_read_back(eqmm, tmp_path):
    code, out, _ = eqmm("train", "-o", "m.eqmm", "--show-config", "model.channels=7")
    assert code == 0
    assert "  channels: 7\n" in out
    (tmp_path / "settings.yaml").write_text(out)
    code, again, _ = eqmm(
        "train", "-o", "m", "--show-config", "--config", tmp_path / "settings.yaml", "x.h5"
    )
    assert (code, again) == (0, out)


def test_show_config_needs_neither_data_nor_output(eqmm):
    code, out, err = eqmm("train", "--show-config")
    assert (code, err) == (0, "")
    assert "# QM–QM cutoff, Å.  [default: 5.0]" in out


@pytest.mark.slow
def test_a_file_may_have_an_equals_sign_in_its_name(eqmm, data, tmp_path):
    renamed = tmp_path / "T=300.h5"
    renamed.write_bytes(data.read_bytes())
    code, _, err = eqmm("train", renamed, "-o", tmp_path / "m=1.eqmm", *TINY)
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "absent.h5", "-o", "m.eqmm"], "there is no dataset file absent.h5"),
        (["train", "DATA", "-o", "absent/m.eqmm"], "cannot write absent/m.eqmm: the folder absent"),
        (["train", "DATA", "-o", "m", "model.cuttoff=4"], "did you mean model.cutoff?"),
        (["train", "DATA", "-o", "m", "--config", "no.yaml"], "no configuration file no.yaml"),
        (["train", "-o", "m.eqmm", "model.channels=4"], "there is no dataset file to train on"),
        (["train", "DATA"], "Missing option '-o'"),
        (["train", "DATA", "-o", "m", "--committee", "1"], "1 is not in the range x>=2"),
        (["evaluate", "absent.eqmm", "DATA"], "there is no model file absent.eqmm"),
        (["evaluate", "DATA", "DATA"], "data.h5 is not an eqmm-model file"),
        (["info", "absent"], "there is no file absent"),
        (["info", "."], "is a folder; expected a model file or a dataset file"),
        (["info", __file__], "test_cli.py is not an eqmm-model file"),
        (["evaluat"], "No such command 'evaluat'"),
        (
            ["md", "m", "s", "--steps", "2", "--ensemble", "nve", "--friction", "1"],
            "--friction has no effect beside --ensemble nve",
        ),
        (
            ["md", "m", "s", "--steps", "2", "--coupling-time", "50"],
            "--coupling-time has no effect beside --ensemble langevin",
        ),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(
    eqmm, data, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    code, _, err = eqmm(*(data if argument == "DATA" else argument for argument in arguments))
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
        (PermissionError("cannot write x"), 2, "error: cannot write x"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_codes_tell_a_failed_run_from_bad_input(eqmm, monkeypatch, error, code, message):
    def fail(**_):
        raise error

    monkeypatch.setattr(cli.cli, "main", lambda **_: fail())
    found, _, err = eqmm("info", "x")
    assert found == code
    assert err.strip() == message


def test_a_bug_is_not_dressed_up_as_bad_input(monkeypatch):
    def fail(**_):
        raise ZeroDivisionError

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["info", "x"])


def test_traceback_on_request(monkeypatch):
    with pytest.raises(FileNotFoundError):
        cli.main(["--traceback", "info", "absent"])


def test_help_lists_every_command_without_importing_torch():
    script = (
        "import sys; from eqmm_ase.cli import cli; from eqmm_ase.command_line import run; "
        "code = run(cli, 'eqmm', ['--help']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    for command in ("train", "evaluate", "info", "optimize", "md"):
        assert f"\n  {command} " in run.stdout


def test_importing_the_package_imports_nothing_heavy():
    script = (
        "import sys, eqmm_ase; dir(eqmm_ase); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'h5py', 'lightning')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
def test_reading_a_dataset_or_a_model_does_not_import_the_trainer():
    script = (
        "import sys, eqmm_ase.evaluation.evaluate, eqmm_ase.files.dataset_file; "
        "import eqmm_ase.network.model_file; "
        "print([n for n in ('lightning', 'pyscf', 'openmm', 'matplotlib') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_locale_without_the_signs_of_the_units_gets_substitutes(methanol_file):
    program = "from eqmm_ase.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "info", methanol_file.with_suffix(".eqmm")],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kcal/mol/\\xc5" in done.stdout


@pytest.mark.slow
def test_one_thread_unless_told_otherwise():
    program = (
        "from eqmm_ase.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "import torch\nprint(torch.get_num_threads())"
    )
    for told, threads in ({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2"):
        inherited = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=inherited | told,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split()[-1] == threads
