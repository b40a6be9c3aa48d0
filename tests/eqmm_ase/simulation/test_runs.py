"""Relaxations and molecular dynamics, as functions and as commands."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read, write
from calculator_kit import SpringModel, methanol, random_model, some_charges

from eqmm_ase import EqMM, save_model
from eqmm_ase.cli import main
from eqmm_ase.commands.run_log import RunLog
from eqmm_ase.simulation.dynamics import ENSEMBLES, MDSettings, run_md
from eqmm_ase.simulation.momenta import degrees_of_freedom, draw_momenta
from eqmm_ase.simulation.relax import OPTIMIZERS, RunError, RunFailedError, relax, rmsd


def bound(charges: bool = True):
    """Methanol that stays together, in twelve charges or in vacuum."""
    atoms = methanol()
    atoms.calc = EqMM(SpringModel(methanol(0.0)), dtype="float64")
    if charges:
        atoms.calc.embed(*some_charges())
    return atoms


# --- relaxation ---


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_finds_the_same_minimum(optimizer, tmp_path):
    atoms, rows = bound(charges=False), []
    start, before = atoms.get_positions(), atoms.get_potential_energy()
    result = relax(
        atoms,
        optimizer=optimizer,
        fmax=1e-3,
        trajectory=tmp_path / "relaxed.traj",
        report=rows.append,
    )
    assert result.converged
    assert result.fmax == np.linalg.norm(atoms.get_forces(), axis=1).max() <= 1e-3
    assert result.energy == atoms.get_potential_energy()
    assert result.change == result.energy - before < 0
    assert result.rmsd == pytest.approx(rmsd(start, atoms.positions))
    assert 0 < result.rmsd_superposed <= result.rmsd
    assert [row.step for row in rows] == list(range(result.steps + 1))
    images = read(tmp_path / "relaxed.traj", ":")
    assert len(images) == result.steps + 1
    assert images[-1].get_potential_energy() == pytest.approx(result.energy)
    assert result.energy == pytest.approx(relax(bound(charges=False), fmax=1e-3).energy, abs=1e-5)


def test_a_relaxation_that_does_not_converge_says_so():
    result = relax(bound(), fmax=1e-6, steps=2)
    assert not result.converged
    assert result.steps == 2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"optimizer": "newton"}, "optimizer must be one of bfgs, lbfgs, fire, got 'newton'"),
        ({"fmax": 0.0}, "fmax must be positive"),
        ({"fmax": np.nan}, "fmax must be positive"),
        ({"steps": -1}, "steps must be positive"),
    ],
)
def test_bad_relaxation_settings(settings, sentence):
    with pytest.raises(RunError, match=sentence):
        relax(bound(), **settings)


def test_a_relaxation_that_falls_without_end_is_stopped():
    class Abyss(Calculator):
        implemented_properties = ["energy", "forces"]  # noqa: RUF012

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            slope = np.full((6, 3), 100.0)
            self.results = {"energy": -100.0 * atoms.positions.sum(), "forces": slope}

    atoms = methanol()
    atoms.calc = Abyss()
    with pytest.raises(RunFailedError, match=r"at step \d the energy is .* eV below the start"):
        relax(atoms, steps=50)


def test_rmsd_after_superposition_is_blind_to_motion_but_not_to_reflection():
    atoms = methanol()
    moved = atoms.copy()
    moved.rotate(40, (1, 2, 3))
    moved.translate((1, 2, 3))
    assert rmsd(atoms.positions, moved.positions, superpose=True) == pytest.approx(0, abs=1e-12)
    assert rmsd(atoms.positions, moved.positions) > 1
    # Methanol off its minimum is chiral.
    assert rmsd(atoms.positions, -atoms.positions, superpose=True) > 0.01
    assert rmsd(np.zeros((4, 3)), np.full((4, 3), 2.0)) == pytest.approx(np.sqrt(12))


# --- momenta ---


@pytest.mark.parametrize(("name", "freedom"), [("CH3OH", 12), ("CO2", 4), ("H2O", 3)])
def test_isolated_molecules_start_at_rest_as_a_whole(name, freedom):
    atoms = molecule(name)
    assert degrees_of_freedom(atoms, isolated=True) == freedom
    assert degrees_of_freedom(atoms, isolated=False) == 3 * len(atoms)
    rng = np.random.default_rng(0)
    kinetic = []
    for _ in range(400):
        draw_momenta(atoms, 300.0, rng, isolated=True)
        kinetic.append(atoms.get_kinetic_energy())
        assert abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
        assert abs(atoms.get_angular_momentum()).max() < 1e-12
    # The mean of 400 draws is known to sqrt(2 / (400 f)), at most 4 %; three of those.
    expected = 0.5 * freedom * units.kB * 300.0
    assert np.mean(kinetic) == pytest.approx(expected, rel=0.12)


# --- dynamics ---


def test_nve_in_held_charges_conserves_energy_as_dt_squared():
    def fluctuation(timestep: float) -> float:
        drifts = []
        run_md(
            bound(),
            MDSettings(timestep=timestep, seed=3),
            steps=round(60 / timestep),
            report=lambda state: drifts.append(state.drift),
            report_interval=1,
        )
        return float(np.std(drifts))

    assert 3.6 < fluctuation(0.5) / fluctuation(0.25) < 4.4


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_a_resumed_run_is_the_uninterrupted_one(ensemble, tmp_path):
    settings = MDSettings(ensemble=ensemble, seed=4)
    whole, parts = tmp_path / "whole.traj", tmp_path / "parts.traj"
    expected = run_md(bound(), settings, steps=30, trajectory=whole, interval=5)
    run_md(bound(), settings, steps=17, trajectory=parts, interval=5)
    with parts.open("ab") as file:
        file.write(b"killed in the middle of a write")
    last = run_md(bound(), settings, steps=30, trajectory=parts, interval=5, resume=True)
    a, b = read(whole, -1), read(parts, -1)
    # Rounding grows little in 15 fs; another draw of momenta or noise would be off by 1e-3 Å.
    np.testing.assert_allclose(a.positions, b.positions, rtol=0, atol=1e-9)
    np.testing.assert_allclose(a.get_momenta(), b.get_momenta(), rtol=0, atol=1e-9)
    assert last.step == 30
    assert last.potential == pytest.approx(expected.potential, abs=1e-8)
    assert last.drift == pytest.approx(expected.drift, abs=1e-8)
    steps = [image.info["md"]["step"] for image in read(parts, ":")]
    assert steps == [0, 5, 10, 15, 17, 20, 25, 30]


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_a_run_that_is_done_is_not_run_again(ensemble, tmp_path):
    settings = MDSettings(ensemble=ensemble)
    run_md(bound(), settings, steps=4, trajectory=tmp_path / "md.traj")
    content = (tmp_path / "md.traj").read_bytes()
    state = run_md(bound(), settings, steps=4, trajectory=tmp_path / "md.traj", resume=True)
    assert state.step == 4
    assert (tmp_path / "md.traj").read_bytes() == content


def test_an_interrupt_leaves_a_whole_trajectory(tmp_path):
    def interrupt(state):
        if state.step == 7:
            raise KeyboardInterrupt

    path = tmp_path / "md.traj"
    with pytest.raises(KeyboardInterrupt):
        run_md(bound(), MDSettings(), steps=20, trajectory=path, interval=2, report=interrupt,
               report_interval=1)  # fmt: skip
    assert [image.info["md"]["step"] for image in read(path, ":")] == [0, 2, 4, 6]


def test_resuming_something_else_is_refused(tmp_path):
    path = tmp_path / "md.traj"
    run_md(bound(), MDSettings(), steps=2, trajectory=path)
    content = path.read_bytes()
    other = molecule("H2O")
    other.calc = EqMM(random_model())
    write(tmp_path / "other.traj", methanol())
    (tmp_path / "text.traj").write_text("hello")
    for atoms, settings, name, sentence in (
        (bound(), MDSettings(timestep=1.0), path, "timestep = 0.5 and cannot be resumed with 1.0"),
        (bound(), MDSettings(seed=1), path, "seed = 0 and cannot"),
        (other, MDSettings(), path, "is of COH4, but the structure is OH2"),
        (bound(), MDSettings(), tmp_path / "missing.traj", "there is no trajectory"),
        (bound(), MDSettings(), tmp_path / "other.traj", "that can be resumed"),
        (bound(), MDSettings(), tmp_path / "text.traj", "that can be resumed"),
        (bound(), MDSettings(), None, "there is no trajectory None to resume"),
    ):
        with pytest.raises(RunError, match=sentence):
            run_md(atoms, settings, steps=4, trajectory=name, resume=True)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ensemble": "npt"}, "ensemble must be one of nve, langevin, bussi, got 'npt'"),
        ({"timestep": 0.0}, "timestep must be positive"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"friction": np.inf}, "friction must be positive"),
    ],
)
def test_bad_md_settings(settings, sentence):
    with pytest.raises(RunError, match=sentence):
        MDSettings(**settings)


def test_momenta_that_atoms_have_are_kept():
    atoms = bound()
    draw_momenta(atoms, 100.0, np.random.default_rng(8))
    kinetic, rows = atoms.get_kinetic_energy(), []
    run_md(atoms, MDSettings(), steps=1, report=rows.append)
    assert rows[0].kinetic == kinetic


class _Oscillators(Calculator):
    """Every coordinate on a spring of its own: cheap, and its temperature is known."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = atoms.positions - atoms.info["home"]
        self.results = {"energy": 2.0 * (away**2).sum(), "forces": -4.0 * away}


@pytest.mark.parametrize("ensemble", ["langevin", "bussi"])
def test_thermostats_reach_their_temperature(ensemble):
    atoms = molecule("C6H6")
    atoms.info["home"] = atoms.get_positions()
    atoms.calc = _Oscillators()
    settings = MDSettings(
        ensemble=ensemble, temperature=400.0, timestep=1.0, friction=50.0, coupling_time=20.0
    )
    seen = []
    run_md(
        atoms,
        settings,
        steps=4000,
        report=lambda state: seen.append(state.temperature),
        report_interval=5,
    )
    # 36 degrees of freedom fluctuate by 24 %; 3 ps with a memory of 20 fs: 2 %; three of those.
    assert np.mean(seen[200:]) == pytest.approx(400.0, rel=0.06)


def test_bussi_keeps_an_isolated_molecule_at_rest_and_its_temperature_by_its_own_freedom():
    atoms, seen = bound(charges=False), []
    settings = MDSettings(ensemble="bussi", coupling_time=1.0, isolated=True, timestep=0.25)
    run_md(atoms, settings, steps=300, report=seen.append, report_interval=1)
    assert abs(atoms.get_momenta().sum(axis=0)).max() < 1e-9
    assert abs(atoms.get_angular_momentum()).max() < 1e-6
    # Coupled every 1 fs, 12 degrees of freedom: 75 fs average 41 % over ~40 draws, 6 %; three.
    assert np.mean([state.temperature for state in seen]) == pytest.approx(300.0, rel=0.2)
    assert abs(seen[-1].drift) < 1e-2


def test_atoms_that_fly_apart_end_the_run(tmp_path):
    atoms = methanol()
    atoms.calc = EqMM(random_model(), dtype="float64")
    draw_momenta(atoms, 1e6, np.random.default_rng(0))
    with pytest.raises(RunFailedError, match=r"exploded at step \d+: .* time step of 0\.5 fs"):
        run_md(atoms, MDSettings(), steps=200, trajectory=tmp_path / "md.traj")
    assert read(tmp_path / "md.traj", ":") == []


def test_a_system_that_stops_making_sense_ends_the_run_by_step_and_reason():
    def collapse(step):
        if step.step == 2:
            atoms.positions[1] = atoms.positions[0] + 0.1

    atoms = bound()
    reason = r"failed after step 2: QM atoms 0 and 1 are 0\.173 Å apart"
    with pytest.raises(RunFailedError, match=f"the relaxation {reason}"):
        relax(atoms, fmax=1e-4, report=collapse)
    atoms = bound()
    with pytest.raises(RunFailedError, match=f"the run {reason}"):
        run_md(atoms, MDSettings(), steps=9, report=collapse, report_interval=1)


# --- commands ---


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


def test_walls_keep_atoms_off_bare_charges(methanol_file, tmp_path, capsys):
    domain = {"closest_mm": 1.5, "closest": {"O+": 1.6}}
    save_model(tmp_path / "model.eqmm", random_model(), {"domain": domain})
    (tmp_path / "charges.txt").write_text("0.4 0 0 1.5\n-0.4 0 0 -5\n")
    write(tmp_path / "molecule.xyz", methanol())
    inputs = (tmp_path / "model.eqmm", tmp_path / "molecule.xyz")
    options = ("--charges", tmp_path / "charges.txt", "--steps", 1, "-o", tmp_path / "relaxed.traj")
    arguments = ("optimize", *inputs, *options)
    run(*arguments)
    log = capsys.readouterr().out
    assert "2 MM charges (+0.00 e) behind walls; energy" in log
    assert "walls hold " in log
    run(*arguments, "--overwrite", "--no-walls")
    log = capsys.readouterr().out
    assert "2 MM charges (+0.00 e) without walls; energy" in log
    assert "walls hold " not in log


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
    assert "2 MM charges (+0.00 e) without walls; energy" in capsys.readouterr().out


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


# --- imports ---


def test_the_calculator_imports_nothing_it_does_not_need():
    code = (
        "import sys, eqmm_ase.calculator.eqmm, eqmm_ase.files.structures\n"
        "unwanted = {'pyscf', 'openmm', 'lightning', 'pytorch_lightning', 'matplotlib', 'h5py',"
        " 'datagen', 'rdkit', 'click', 'rich'}\n"
        "sys.exit(' '.join(sorted(unwanted & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
