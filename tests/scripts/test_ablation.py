"""Parts of the network that can be left out, and the experiments that count what they are for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.prediction import Prediction, predict
from eqmm_ase.training.config import load_config
from eqmm_ase.units import COULOMB_CONSTANT
from scripts.flagship.flagship_data import FILES, HELD_OUT, LOOSE, Flagship, load_flagship
from scripts.studies import ablation, cells, learning_curve, training_curve, transfer
from scripts.studies.cells import Cells


@pytest.fixture
def frame(methanol_file: Path) -> Frame:
    return read_frames(methanol_file, [0])[0]


def network(**parts: bool) -> MultiscaleModel:
    """Random, with multipoles as large as those of a trained one."""
    torch.manual_seed(3)
    model = MultiscaleModel(ModelConfig((1, 6, 8), channels=8, **parts)).double()
    model.set_statistics(torch.zeros(3), 1.0, torch.full((4,), 0.3))
    if model.multipoles is not None:
        with torch.no_grad():
            model.multipoles.out.weight *= 20.0
    return model


def in_charges(model: MultiscaleModel, frame: Frame, factor: float) -> Prediction:
    """The frame with all its MM charges times a factor."""
    scaled = replace(frame, mm_charges=factor * np.asarray(frame.mm_charges, dtype=float))
    return predict(model, FrameBatch.from_frames([scaled]))


def curvature(model: MultiscaleModel, frame: Frame) -> float:
    """What the energy in doubled charges has beyond twice the interaction, relative to it."""
    none, once, twice = (float(in_charges(model, frame, x).energy) for x in (0.0, 1.0, 2.0))
    assert abs(once - none) > 1e-3
    return abs((twice - none) - 2.0 * (once - none)) / abs(once - none)


def test_without_polarisation_the_energy_is_linear_in_the_charges(frame: Frame) -> None:
    assert curvature(network(), frame) > 1e-3
    assert curvature(network(polarisable=False), frame) < 1e-9


def test_without_polarisation_the_molecule_is_that_in_vacuo(frame: Frame) -> None:
    model = network(polarisable=False)
    alone = predict(model, FrameBatch.from_frames([frame.in_vacuum()]))
    found = in_charges(model, frame, 1.0)
    torch.testing.assert_close(found.charges, alone.charges, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(found.dipole, alone.dipole, rtol=0.0, atol=1e-9)
    assert model.multipoles is not None
    assert float(found.mm_forces.abs().max()) > 0.0


def test_without_both_the_surroundings_feel_atomic_charges_alone(frame: Frame) -> None:
    model = network(polarisable=False, multipoles=False)
    found = in_charges(model, frame, 1.0)
    sites = np.asarray(frame.mm_positions, dtype=float)
    distances = np.linalg.norm(sites[:, None] - frame.qm_positions[None], axis=2)
    expected = COULOMB_CONSTANT * (found.charges.numpy() / distances).sum(1)
    assert found.mm_potential.numpy() == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_no_training_frame_comes_from_a_sweep_that_is_held_out() -> None:
    data = load_flagship()
    assert {f.source for f in load_flagship(FILES + LOOSE).frames} >= set(HELD_OUT)
    training = data.training(1080)
    assert len({f.frame_id for f in training}) == 1080
    assert not {f.source for f in training} & set(HELD_OUT)
    assert {f.medium for f in training} == {"water"}
    assert [f.frame_id for f in data.training(50)] == [f.frame_id for f in training[:50]]
    with pytest.raises(ValueError, match=r"asked for 1081 .* have 1080 in water"):
        data.training(1081)
    counts = {m: len(data.test(m)) for m in ("water", "methanol", "gas")}
    assert counts == {"water": 180, "methanol": 55, "gas": 55}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two variants, two steps, few frames; returns the variants whose training began."""
    began: list[str] = []
    flagship = load_flagship()
    few = [f for f in flagship.frames if f.source in HELD_OUT][::20] + flagship.training(6)
    monkeypatch.setattr(ablation, "load_flagship", lambda: Flagship(few, flagship.method))
    monkeypatch.setattr(ablation, "N_FRAMES", 6)
    monkeypatch.setattr(ablation, "SETTINGS", ["training.max_steps=2", "model.channels=4"])
    monkeypatch.setattr(ablation, "VARIANTS", {"L = 3": [], "L = 0": ["model.l_expansion=0"]})
    real = ablation.trained

    def counted(*arguments, **options):
        began.append(arguments[2][-1])
        if began == ["training.seed=0", "model.l_expansion=0"]:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(ablation, "trained", counted)
    return began


@pytest.mark.slow
def test_an_ablation_that_was_killed_goes_on_with_the_variant_it_was_at(
    small: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    figures: list[Figure],
) -> None:
    output, plot = tmp_path / "ablation.json", tmp_path / "ablation.png"
    arguments = ["-o", str(output), "--models", str(tmp_path / "models"), "--plot", str(plot)]
    with pytest.raises(KeyboardInterrupt):
        ablation.main(arguments)
    assert list(json.loads(output.read_text())["cells"]) == ["L = 3, seed 0"]
    ablation.main(arguments)
    assert small == ["training.seed=0", "model.l_expansion=0", "model.l_expansion=0"]
    found = json.loads(output.read_text())["cells"]
    axis = figures[-1].axes[0]
    assert axis.get_xlabel() == "error of the energy, kcal/mol"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["L = 0", "L = 3"]
    drawn = [bar.get_width() for bars in axis.containers for bar in bars]
    assert drawn == [
        found[f"{variant}, seed 0"]["errors"][medium]["energy_mae"]
        for medium in ablation.MEDIA
        for variant in ("L = 0", "L = 3")
    ]
    errors = found["L = 0, seed 0"]["errors"]
    lines = capsys.readouterr().out.splitlines()
    shown = next(line for line in reversed(lines) if line.startswith("L = 0 "))
    assert f" {errors['methanol']['energy_mae']:.2f} " in shown
    assert errors["methanol"]["energy_mae"] != found["L = 3, seed 0"]["errors"]["methanol"]
    assert errors["gas"].keys() >= {"energy_mae", "qm_forces_mae"}


def test_cells_of_another_experiment_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    Cells(path, {"steps": 5}).add("one", {})
    assert "one" in Cells(path, {"steps": 5})
    with pytest.raises(ValueError, match=r"holds an experiment with .*5.*; expected .*6"):
        Cells(path, {"steps": 6})


@pytest.mark.slow
def test_the_slope_of_a_learning_curve_is_its_power(tmp_path: Path, figures: list[Figure]) -> None:
    curve = Cells(tmp_path / "curve.json", {})
    powers = {"energy_mae": -0.7, "qm_forces_mae": -0.5, "mm_forces_relative_rms": -0.25}
    for size in (50, 200, 1000):
        errors = {key: 3.0 * size**power for key, power in powers.items()}
        cell = {"n_frames": size, "cpu_seconds": 1.0, "errors": {"water": errors}}
        curve.add(f"{size} frames", cell)
    learning_curve.report(curve, tmp_path / "curve.png")
    assert curve.summary["powers"] == pytest.approx(powers)
    for axis, key in zip(figures[0].axes, powers, strict=True):
        errors, line = axis.lines
        np.testing.assert_allclose(line.get_xydata(), errors.get_xydata())
        assert errors.get_ydata()[1] == pytest.approx(3.0 * 200 ** powers[key])
    assert json.loads(curve.path.read_text())["summary"] == curve.summary


@pytest.mark.slow
def test_two_experiments_share_a_model_of_the_same_settings_and_frames(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flagship = load_flagship()
    settings = ["training.max_steps=2", "model.channels=4"]
    first = cells.trained(flagship.frames[:4], flagship.method, settings, tmp_path)
    other = cells.trained(flagship.frames[:3], flagship.method, settings, tmp_path)
    monkeypatch.setattr(cells, "train", None)
    again = cells.trained(flagship.frames[:4], flagship.method, settings[::-1], tmp_path)
    assert again == first != other


@pytest.mark.slow
def test_media_are_compared_with_as_many_frames_and_none_held_out() -> None:
    sets = transfer.training_sets(load_flagship())
    assert {name: len(frames) for name, frames in sets.items()} == {
        "water": 1000,
        "water and gas": 1000,
    }
    for name, frames in sets.items():
        assert {f.medium for f in frames} == set(name.split(" and "))
        assert not {f.source for f in frames} & set(HELD_OUT)
    assert sum(f.medium == "gas" for f in sets["water and gas"]) == 165


@pytest.mark.slow
def test_a_transfer_is_tested_in_all_media(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flagship = load_flagship()
    few = [f for f in flagship.frames if f.source in HELD_OUT][::20] + flagship.training(4)
    monkeypatch.setattr(transfer, "load_flagship", lambda: Flagship(few, flagship.method))
    monkeypatch.setattr(transfer, "training_sets", lambda data: {"water": data.training(4)})
    monkeypatch.setattr(transfer, "SETTINGS", ["training.max_steps=2", "model.channels=4"])
    output = tmp_path / "transfer.json"
    arguments = ["-o", str(output), "--models", str(tmp_path / "models")]
    transfer.main(arguments)
    errors = json.loads(output.read_text())["cells"]["water"]["errors"]
    assert set(errors) == {"water", "methanol", "gas"}
    assert f"{errors['gas']['energy_mae']:9.3f}" in capsys.readouterr().out
    monkeypatch.setattr(transfer, "trained", None)  # nothing is trained again
    transfer.main(arguments)


@pytest.mark.slow
def test_a_training_curve_has_a_point_per_budget(
    methanol_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    figures: list[Figure],
) -> None:
    with ReferenceData(methanol_file) as data:
        frames, method = data.load(), data.method
    for name, own in (("train", frames[:4]), ("test", frames[4:7])):
        write_frames(tmp_path / f"{name}.h5", own, method)
    monkeypatch.setattr(training_curve, "STEPS", (2, 1))
    monkeypatch.setattr(training_curve, "SETTINGS", ["model.channels=4"])
    output, plot = tmp_path / "curve.json", tmp_path / "curve.png"
    arguments = [str(tmp_path / "train.h5"), str(tmp_path / "test.h5"), "-o", str(output)]
    arguments += ["--plot", str(plot), "--models", str(tmp_path / "models")]
    training_curve.main(arguments)
    found = json.loads(output.read_text())
    for axis, key in zip(figures[-1].axes, training_curve.FIGURES, strict=True):
        points = [(c["cpu_seconds"], c["errors"][key]) for c in found["cells"].values()]
        (line,) = axis.lines
        assert sorted(line.get_xydata().tolist()) == sorted(map(list, points))
        assert list(line.get_xdata()) == sorted(line.get_xdata())
    assert found["facts"] == {"n_frames": 4, "n_test_frames": 3}
    assert [cell["steps"] for cell in found["cells"].values()] == [2, 1]
    text = capsys.readouterr().out
    for cell in found["cells"].values():
        energy, forces = (cell["errors"][key] for key in ("energy_mae", "qm_forces_mae"))
        assert re.search(rf" {energy:.3f} +{forces:.3f} ", text)
    assert "AMP" not in text  # these are not the frames it was trained on
    monkeypatch.setattr(training_curve, "trained", None)  # nothing is trained again
    training_curve.main(arguments)


def test_the_first_budget_of_the_training_curve_is_the_default() -> None:
    assert training_curve.STEPS[0] == load_config().training.max_steps
