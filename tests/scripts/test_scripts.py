"""The scripts: the demo's stages, its relaxation, the benchmark."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.mixing import SumCalculator
from ase.io import read
from matplotlib.figure import Figure

import datagen.cli
import eqmm_ase.cli
from datagen.labels.calculator import ReferenceCalculator
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.model_file import save_model
from eqmm_ase.network.traced import PATIENCE
from eqmm_ase.training.config import load_config
from eqmm_ase.units import KCAL_PER_MOL
from scripts.benchmarks import benchmark_inference
from scripts.demonstration import demo_pipeline, demo_relaxation
from scripts.demonstration.demo_pipeline import Stage
from scripts.flagship.flagship_data import zeta
from scripts.studies import active_learning

METHOD = Method(functional="hf", basis="sto-3g")


def write(name: str) -> str:
    """A command that writes a file, and fails when the file exists already."""
    return f"python -c \"open('{name}', 'x').write('x')\""


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run the demo with other stages; returns its exit code."""
    monkeypatch.setattr(demo_pipeline, "write_report", lambda *_: None)

    def run(*stages: Stage, arguments: tuple[str, ...] = ()) -> int:
        monkeypatch.setattr(demo_pipeline, "stages", lambda _: list(stages))
        return demo_pipeline.main(["--results", str(tmp_path / "results"), *arguments])

    return run


def test_the_demo_shows_each_command_and_skips_what_is_done(demo, tmp_path, capfd) -> None:
    first, second = (Stage(name.upper(), write(name), name) for name in ("one", "two"))
    assert demo(first) == 0
    assert demo(first, second) == 0
    assert (tmp_path / "results" / "two").exists()
    shown = capfd.readouterr().out
    assert write("two") in shown
    assert "done before: one" in shown
    timings = json.loads((tmp_path / "results" / "timings.json").read_text())
    assert set(timings) == {"one", "two"}
    ends = [line.split(maxsplit=1)[1] for line in shown.splitlines() if line.startswith("    ")]
    assert ends[-3:] == ["ONE", "TWO", "all stages"]


def test_the_demo_stops_at_a_stage_that_fails(demo, tmp_path, capfd) -> None:
    broken = Stage("broken", 'python -c "raise SystemExit(3)"', "never")
    assert demo(broken, Stage("next", write("next"), "next")) == 3
    assert not (tmp_path / "results" / "next").exists()
    assert "exit code 3" in capfd.readouterr().out


def test_an_interrupted_stage_ends_the_demo_and_says_how_to_go_on(demo, capfd) -> None:
    assert demo(Stage("interrupted", 'python -c "raise SystemExit(130)"', "never")) == 130
    assert "the same command goes on from here" in capfd.readouterr().out


def test_a_folder_of_a_demo_with_other_settings_is_refused(demo, capfd) -> None:
    assert demo() == 0
    assert demo(arguments=("--quick",)) == 2
    assert "other settings" in capfd.readouterr().out


@pytest.mark.parametrize("settings", [demo_pipeline.Settings(), demo_pipeline.QUICK])
def test_the_commands_of_the_demo_have_options_that_exist(settings: demo_pipeline.Settings) -> None:
    groups = {"eqmm": eqmm_ase.cli.cli, "eqmm-datagen": datagen.cli.cli}
    for stage in demo_pipeline.stages(settings):
        program, name, *words = shlex.split(stage.command)
        if program in groups:
            command = groups[program].get_command(None, name)
            command.make_context(name, words)  # raises for what the command does not know
            load_config(None, [word for word in words if "=" in word])


@pytest.fixture(scope="module")
def bound_frames(tmp_path_factory: pytest.TempPathFactory, methanol_file: Path) -> Path:
    """Two frames with few charges, labelled at a level that takes half a second."""
    frames = []
    for frame in read_frames(methanol_file, [0, 1]):
        inner = Frame(
            frame.atomic_numbers, frame.qm_positions, frame.mm_positions[:90], frame.mm_charges[:90]
        )
        frames.append(label_frame(inner, METHOD).frame)
    path = tmp_path_factory.mktemp("bound") / "test.h5"
    write_frames(path, frames, METHOD.as_dict())
    return path


def test_methanol_gets_its_gaff2_types(methanol_file: Path) -> None:
    frame = read_frames(methanol_file, [0])[0]
    atoms = atoms_of_frame(frame)
    calculator = demo_relaxation.lennard_jones(atoms, frame)
    well = 2 ** (1 / 6) * (1.8200 * demo_relaxation.SIGMA_PER_HALF_RMIN + 3.15061) / 2
    oxygen = next(atom.index for atom in atoms if atom.symbol == "O")
    sigma = calculator._sigma[oxygen, 0] * 2 ** (1 / 6)
    assert sigma == pytest.approx(well)
    assert sorted(calculator._epsilon[:, 0])[0] < sorted(calculator._epsilon[:, 0])[1] / 2


@pytest.mark.slow
def test_the_relaxation_compares_model_and_reference(
    bound_frames: Path, tmp_path: Path, figures: list[Figure]
) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / "model.eqmm", MultiscaleModel(ModelConfig(elements=(1, 6, 8))), {})
    result = demo_relaxation.compare(tmp_path / "model.eqmm", bound_frames, tmp_path, fmax=0.8)
    written = json.loads((tmp_path / "relaxation.json").read_text())
    assert written == result
    difference = result["energy_eqmm_eV"] - result["energy_pyscf_eV"]
    assert result["energy_difference_kcal_per_mol"] == pytest.approx(difference / KCAL_PER_MOL)
    curves = {line.get_label(): line.get_ydata() for line in figures[0].axes[0].lines}
    assert curves["PySCF"][-1] == pytest.approx(0.0)
    assert len(curves["EqMM"]) == result["steps_eqmm"] + 1
    assert curves["EqMM"][-1] == pytest.approx(result["energy_difference_kcal_per_mol"])
    ends = {name: read(tmp_path / f"{name}.traj") for name in ("EqMM", "PySCF")}
    frame = read_frames(bound_frames)[int(result["frame"].partition(":")[2])]
    again = ends["EqMM"].copy()
    reference = ReferenceCalculator(METHOD, frame.mm_charges, frame.mm_positions)
    again.calc = SumCalculator([reference, demo_relaxation.lennard_jones(again, frame)])
    above = again.get_potential_energy() - ends["PySCF"].get_potential_energy()
    key = "pyscf_energy_of_eqmm_geometry_above_minimum_kcal_per_mol"
    assert result[key] == pytest.approx(above / KCAL_PER_MOL, abs=1e-3)
    assert result["steps_pyscf"] > 0


@pytest.mark.slow
def test_the_benchmark_measures_what_it_says(monkeypatch) -> None:
    assert benchmark_inference.WARM_UP > PATIENCE
    monkeypatch.setattr(benchmark_inference, "WARM_UP", 3)
    monkeypatch.setattr(benchmark_inference, "LARGER", ((22, 300),))
    result = benchmark_inference.benchmark(repetitions=2, counts=[0, 50])
    assert result["methanol_720_charges"]["n_mm"] == 720
    (larger,) = result["larger"]
    assert (larger["n_qm"], larger["n_mm"]) == (22, 300)
    assert 0.0 <= larger["memory_MB"] < 500.0  # whole processes take about as much
    assert [row["n_mm"] for row in result["against_number_of_charges"]] == [0, 50]
    ways = ("eager", "recorded", "calculator")
    assert all(result["methanol_720_charges"][way]["median_ms"] > 0 for way in ways)
    times = [row["recorded"]["median_ms"] for row in result["against_number_of_charges"]]
    assert result["linear_fit"] == benchmark_inference.linear_fit([0, 50], times)


def test_the_fit_of_the_benchmark_tells_a_line_from_a_curve() -> None:
    counts = [0, 1000, 2000, 4000]
    straight = benchmark_inference.linear_fit(counts, [5.0, 6.0, 7.0, 9.0])
    assert straight == pytest.approx(
        {"ms_without_charges": 5.0, "ms_per_1000_charges": 1.0, "r_squared": 1.0}
    )
    assert benchmark_inference.linear_fit(counts, [5.0, 6.0, 9.0, 21.0])["r_squared"] < 0.97


def test_charges_of_the_benchmark_keep_their_distance_and_density() -> None:
    atoms = benchmark_inference.large()
    _, positions = benchmark_inference.surroundings(atoms, 3000)
    distances = np.linalg.norm(positions[:, None] - atoms.positions, axis=-1)
    assert distances.min() > benchmark_inference.NEAREST - 1e-9
    radius = np.linalg.norm(positions, axis=1).max()
    assert 3000 / (4 / 3 * np.pi * radius**3) == pytest.approx(0.1, rel=0.2)


def test_active_learning_begins_without_the_transition_state(tmp_path: Path) -> None:
    start, test = active_learning.start_and_test(tmp_path)
    frames = read_frames(start)
    assert len(frames) == active_learning.N_START
    assert min(abs(zeta(frame)) for frame in frames) > 1.0
    assert {frame.source for frame in test} == {active_learning.HELD_OUT}
    assert active_learning.HELD_OUT not in {frame.source for frame in frames}
    assert min(abs(zeta(frame)) for frame in test) < 0.2
