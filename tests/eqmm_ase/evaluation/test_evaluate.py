"""Evaluation: the figures agree with NumPy's, and the plots are plots."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from eqmm_ase.data.frame import Frame
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.evaluation.evaluate import evaluate, write_metrics
from eqmm_ase.evaluation.metrics import spoken_relative
from eqmm_ase.evaluation.plots import plot_learning_curve, plot_parity
from eqmm_ase.evaluation.tables import metrics_table
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import ModelConfig, MultiscaleModel, UnknownElementError
from eqmm_ase.network.prediction import predict
from eqmm_ase.terminal import show_table
from eqmm_ase.training.scales import fit_statistics
from eqmm_ase.units import KCAL_PER_MOL


def test_cards_of_earlier_versions_show_no_error_relative_to_nothing():
    old = {"mae": 1e-3, "rmse": 2e-3, "relative": 2077088.52, "count": 3}
    assert spoken_relative("dipole", old) == "–"
    assert spoken_relative("dipole", {**old, "relative": 0.0123}) == "1.23%"
    assert spoken_relative("energy", old) == ""


@pytest.fixture(scope="module")
def frames(methanol_file):
    frames = read_frames(methanol_file, range(5))
    return [*frames[:4], replace(frames[4], medium="protein")]


@pytest.fixture(scope="module")
def model(frames):
    torch.manual_seed(1)
    model = MultiscaleModel(ModelConfig((1, 6, 8), channels=4, l_hidden=1, n_layers=1))
    model.set_statistics(*fit_statistics(frames, 3))
    return model.double()


@pytest.fixture(scope="module")
def evaluation(model, frames):
    return evaluate(model, frames, "mulliken", batch_size=2)


def test_metrics_are_what_numpy_makes_of_single_predictions(model, frames, evaluation):
    single = [predict(model, FrameBatch.from_frames([frame])) for frame in frames]
    energies = np.array([p.energy.item() - f.energy for p, f in zip(single, frames, strict=True)])
    forces = np.concatenate(
        [p.mm_forces.numpy() - f.mm_forces for p, f in zip(single, frames, strict=True)]
    )
    reference = np.concatenate([frame.mm_forces for frame in frames])
    found = evaluation.metrics["all"]
    assert found["energy"]["mae"] == pytest.approx(np.abs(energies).mean() / KCAL_PER_MOL)
    assert found["energy"]["rmse"] == pytest.approx(np.sqrt((energies**2).mean()) / KCAL_PER_MOL)
    relative = np.sqrt((forces**2).mean() / (reference.astype(float) ** 2).mean())
    assert found["mm_forces"]["relative"] == pytest.approx(relative, rel=1e-5)


def test_media_are_reported_one_by_one(frames, evaluation):
    assert set(evaluation.metrics) == {"all", "water", "protein"}
    assert evaluation.metrics["protein"]["energy"]["count"] == 1
    assert evaluation.metrics["water"]["qm_forces"]["count"] == 4 * 6 * 3
    assert evaluation.n_frames == len(frames)


def test_energy_pairs_leave_atoms_and_mean_out_but_keep_errors(frames, evaluation):
    pairs = evaluation.pairs["energy"]
    assert pairs.reference.mean() == pytest.approx(0.0, abs=1e-8)
    assert np.abs(pairs.reference).max() < 100.0
    mae = np.abs(pairs.predicted - pairs.reference).mean()
    assert mae == pytest.approx(evaluation.metrics["all"]["energy"]["mae"])


def test_energies_of_different_molecules_share_one_plot(model, frames):
    atoms = dict(zip((1, 6, 8), model.atomic_energies.tolist(), strict=True))
    water = Frame(
        np.array([8, 1, 1]),
        np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]),
        energy=atoms[8] + 2 * atoms[1] + 0.1,
    )
    reference = evaluate(model, [*frames, water]).pairs["energy"].reference
    assert np.ptp(reference) < 200.0  # kcal/mol; the total energies are 10^4 times as far apart


def test_labels_that_do_not_exist_are_not_reported(model, frames):
    result = evaluate(model, [replace(frames[0], dipole=None, mm_potential=None)], None)
    assert set(result.metrics["all"]) == {"energy", "qm_forces", "mm_forces"}
    assert set(result.pairs) == {"energy", "qm_forces", "mm_forces"}


def test_nothing_to_compare_with_is_refused(model, frames):
    with pytest.raises(ValueError, match="none of the frames has a label"):
        evaluate(model, [frames[0].in_vacuum()])
    with pytest.raises(ValueError, match="there are no frames to evaluate"):
        evaluate(model, [])


def test_an_element_that_the_model_does_not_know_is_named(model):
    chloride = Frame(np.array([17]), np.zeros((1, 3)), energy=-1.0)
    with pytest.raises(UnknownElementError, match="Cl"):
        evaluate(model, [chloride])


def test_metrics_json_holds_metrics_units_and_facts(tmp_path, evaluation):
    write_metrics(tmp_path / "metrics.json", evaluation, {"model": "m.eqmm"})
    content = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert content["model"] == "m.eqmm"
    assert content["units"]["qm_forces"] == "kcal/mol/Å"
    assert content["metrics"] == evaluation.metrics


@pytest.mark.slow
def test_a_relative_error_that_is_no_figure_is_a_dash_and_null(tmp_path, model, frames, capsys):
    still = replace(frames[0], dipole=np.full(3, 1e-9), medium="c1cnc[nH]1")
    result = evaluate(model, [still], "mulliken")
    write_metrics(tmp_path / "metrics.json", result, {})
    found = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["metrics"]["all"]
    assert found["dipole"]["relative"] is None
    assert found["mm_forces"]["relative"] > 0.0
    assert "relative" not in found["energy"]
    show_table(metrics_table(result.metrics))
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    relative = {row[2].strip(): row[6].strip() for row in rows}
    assert relative["dipole"] == "–"
    assert relative["energy"] == ""
    assert relative["MM forces"].endswith("%")
    assert len(plot_parity(result, tmp_path, "costs $5_{3 and $x^{2")) == 5


@pytest.mark.slow
def test_every_labelled_quantity_gets_a_parity_plot(tmp_path, evaluation, figures):
    written = plot_parity(evaluation, tmp_path, "test")
    names = ("energy", "qm_forces", "mm_forces", "charges", "dipole")
    assert [path.name for path in written] == [f"parity_{name}.png" for name in names]
    for name, figure in zip(names, figures, strict=True):
        upper, lower = figure.axes
        pairs, unit = evaluation.pairs[name], QUANTITIES[name].quoted
        clouds = upper.collections[0], lower.collections[0]
        if len(pairs.reference) > 1000:  # counts in hexagons
            assert [cloud.get_array().sum() for cloud in clouds] == [len(pairs.reference)] * 2
        else:
            for cloud, y in zip(
                clouds, (pairs.predicted, pairs.predicted - pairs.reference), strict=True
            ):
                drawn = np.column_stack([pairs.reference, y])
                np.testing.assert_allclose(cloud.get_offsets(), drawn)
        assert upper.get_title() == f"{QUANTITIES[name].title} – test"
        assert upper.get_ylabel() == f"model / {unit}"


def test_the_learning_curve_is_drawn_from_the_history(tmp_path, figures):
    history = tmp_path / "history.csv"
    history.write_text("step,training_loss,energy_mae\n10,1.0,\n20,0.5,0.3\n30,0.2,0.1\n")
    plot_learning_curve(history, tmp_path / "curve.png")
    losses, errors = (
        [line.get_xydata().tolist() for line in axes.lines] for axes in figures[0].axes
    )
    assert losses == [[[10.0, 1.0], [20.0, 0.5], [30.0, 0.2]]]
    assert errors == [[[20.0, 0.3], [30.0, 0.1]]]


@pytest.mark.parametrize("content", ["", "step,training_loss\n", "a,b\n1,2\n"])
def test_another_table_is_not_a_history(tmp_path, content):
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(ValueError, match=r"history\.csv is not the history of a training"):
        plot_learning_curve(tmp_path / "history.csv", tmp_path / "curve.png")
    assert not (tmp_path / "curve.png").exists()
