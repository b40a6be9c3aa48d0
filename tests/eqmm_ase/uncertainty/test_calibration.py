"""From spreads to uncertainties: known factors are found, and shares are those of Gaussians."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eqmm_ase.evaluation.plots import plot_reliability
from eqmm_ase.evaluation.reliability import GAUSSIAN, DeviationCollector, binned, reliability
from eqmm_ase.network.batch import Labels
from eqmm_ase.network.committee import Spread
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.uncertainty.calibration import MUCH_LARGER, Calibration, Deviations, Uncertainty
from eqmm_ase.units import KCAL_PER_MOL

FACTORS = {"energy": 3.0, "qm_forces": 0.5}


@pytest.fixture(scope="module")
def deviations():
    """Gaussian errors whose σ is a known multiple of the spread, itself spread over a decade."""
    rng = np.random.default_rng(5)
    spread = 0.01 * 10.0 ** rng.uniform(0.0, 1.0, 20_000)
    number = np.abs(rng.normal(size=20_000))
    vector = np.linalg.norm(rng.normal(size=(20_000, 3)), axis=1) / np.sqrt(3.0)
    return {
        "energy": Deviations(FACTORS["energy"] * spread * number, spread),
        "qm_forces": Deviations(FACTORS["qm_forces"] * spread * vector, spread),
    }


@pytest.fixture(scope="module")
def calibration(deviations):
    return Calibration.fit(deviations)


def test_a_known_factor_is_found(calibration):
    # 20 000 errors determine their mean square to 1 %.
    assert calibration.factors == pytest.approx(FACTORS, rel=0.02)


def test_calibrated_gaussian_errors_lie_within_sigma_as_often_as_the_table_says(
    deviations, calibration
):
    found = reliability(deviations, calibration)
    for name, figures in found.items():
        shares = figures["within_1"], figures["within_2"]
        assert shares == pytest.approx(GAUSSIAN[name], abs=0.015)
        assert figures["rms_error"] == pytest.approx(figures["rms_uncertainty"])
        assert figures["count"] == 20_000
    bare = reliability(deviations, Calibration())
    assert bare["energy"]["within_1"] < 0.3
    assert bare["qm_forces"]["within_1"] > 0.9
    assert bare["energy"]["rms_error"] == pytest.approx(
        np.sqrt((deviations["energy"].error ** 2).mean()) / KCAL_PER_MOL
    )


def test_rank_correlation_knows_order_only():
    spread = np.linspace(0.1, 1.0, 50)
    for error, expected in ((spread**3, 1.0), (1.0 / spread, -1.0)):
        found = reliability({"energy": Deviations(error, spread)}, Calibration())
        assert found["energy"]["spearman"] == pytest.approx(expected)
    constant = reliability({"energy": Deviations(spread, np.zeros(50))}, Calibration())
    assert "spearman" not in constant["energy"]


def test_groups_of_calibrated_labels_lie_on_the_diagonal(deviations, calibration):
    groups = binned(deviations["energy"], calibration.factors["energy"])
    assert len(groups.error) == 12
    assert np.all(np.diff(groups.uncertainty) > 0)
    assert groups.error == pytest.approx(groups.uncertainty, rel=0.1)


def test_members_that_agree_exactly_calibrate_nothing():
    found = Calibration.fit({"energy": Deviations(np.ones(3), np.zeros(3))})
    assert found == Calibration()
    uncertainty = found.uncertainty(0.2, np.array([0.3]))
    assert (uncertainty.energy, uncertainty.forces[0]) == (0.2, 0.3)
    assert not uncertainty.calibrated


def test_members_that_agree_to_rounding_calibrate_and_correlate_nothing():
    noise = 1e-9 * np.random.default_rng(1).uniform(size=30)
    pairs = {"qm_forces": Deviations(np.full(30, 0.1) + noise, noise)}
    assert Calibration.fit(pairs).factors == {}
    assert "spearman" not in reliability(pairs, Calibration())["qm_forces"]


def test_a_calibration_survives_the_card(calibration):
    values = json.loads(json.dumps(calibration.to_dict() | {"of_the_future": 1}))
    assert Calibration.from_dict(values) == calibration
    assert Calibration.from_dict({}) == Calibration()
    uncertainty = calibration.uncertainty(0.1, np.array([0.1, 0.2]))
    assert uncertainty.calibrated
    assert uncertainty.energy == pytest.approx(0.1 * calibration.factors["energy"])
    assert uncertainty.forces == pytest.approx([0.05, 0.1], rel=0.02)


def test_only_what_lies_far_above_the_validation_frames_is_unusual(deviations, calibration):
    usual = {k: calibration.factors[k] * d.spread.max() for k, d in deviations.items()}
    forces = np.array([0.0, usual["qm_forces"]])
    assert calibration.unusual(Uncertainty(usual["energy"], forces, True)) == ""
    much = MUCH_LARGER * 1.01
    sentence = calibration.unusual(Uncertainty(much * usual["energy"], forces, True))
    assert "the energy is uncertain by 0.6" in sentence
    sentence = calibration.unusual(Uncertainty(0.0, much * forces, True))
    assert "the force on an atom is uncertain by 0.1" in sentence
    assert Calibration().unusual(Uncertainty(1e3, 1e3 * forces, False)) == ""


def test_errors_of_known_labels_meet_their_own_spreads():
    nan = torch.nan
    prediction = Prediction(
        energy=torch.tensor([1.0, 2.0]).double(), qm_forces=torch.tensor([[3.0, 4.0, 0.0]] * 2)
    )
    labels = Labels(
        energy=torch.tensor([nan, 2.5]).double(), qm_forces=torch.tensor([[0.0] * 3, [nan] * 3])
    )
    spread = Spread(torch.tensor([0.1, 0.2]).double(), torch.tensor([0.3, 0.4]))
    collector = DeviationCollector()
    assert collector.result() == {}
    for _ in range(2):
        collector.add(prediction, spread, SimpleNamespace(labels=labels))
    found = collector.result()
    assert found["energy"].error == pytest.approx([0.5, 0.5])
    assert found["energy"].spread == pytest.approx([0.2, 0.2])
    assert found["qm_forces"].error == pytest.approx([5.0, 5.0])
    assert found["qm_forces"].spread == pytest.approx([0.3, 0.3])


@pytest.mark.slow
def test_the_reliability_plot_has_every_error_above_its_uncertainty(
    tmp_path, deviations, calibration, figures
):
    plot_reliability(deviations, calibration, tmp_path / "r.png", "test")
    assert figures[0].get_suptitle() == "test"
    for axes, (name, pairs) in zip(figures[0].axes, deviations.items(), strict=True):
        points = np.array([calibration.factors[name] * pairs.spread, pairs.error]).T
        np.testing.assert_allclose(axes.collections[0].get_offsets(), points / KCAL_PER_MOL)
        groups = axes.lines[-1]
        assert groups.get_label() == "RMS of groups"
        # Calibrated errors are as large as they are said to be.
        np.testing.assert_allclose(groups.get_ydata(), groups.get_xdata(), rtol=0.1)


def test_errors_of_zero_have_no_place_in_the_reliability_plot(tmp_path, figures):
    nothing = {"energy": Deviations(np.zeros(3), np.zeros(3))}
    plot_reliability(nothing, Calibration(), tmp_path / "nothing.png")
    assert not figures[0].axes[0].collections
