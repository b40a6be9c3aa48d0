"""The statistics of the energy-drift script, and that it runs and resumes."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
import torch
from calculator_kit import random_model

from eqmm_ase import save_model


@pytest.fixture
def nve_drift():
    return importlib.import_module("scripts.stability.nve_drift")


def test_drift_is_the_slope_of_a_line(nve_drift):
    times = np.linspace(0, 20, 4000)
    slope, error = nve_drift.drift(times, 3.0 * times - 7.0, 20)
    assert slope == pytest.approx(3.0)
    assert error == pytest.approx(0.0, abs=1e-9)


def test_the_error_of_the_drift_is_its_scatter_for_correlated_noise(nve_drift):
    rng = np.random.default_rng(0)
    times = np.arange(4000) * 0.005
    slopes, errors = [], []
    for _ in range(200):
        noise = np.convolve(rng.normal(size=4099), np.ones(100) / 100, "valid")[:4000]
        slope, error = nve_drift.drift(times, noise, 20)
        slopes.append(slope)
        errors.append(error)
    # 200 slopes know their scatter to 5 %; blocks of two memories underestimate by some 10 %.
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.25)


@pytest.mark.slow
def test_it_runs_and_goes_on_after_a_kill(nve_drift, methanol_file, tmp_path, monkeypatch):
    model = random_model()
    with torch.no_grad():  # nearly free atoms, which fly straight on
        model.charge_flow.flow.out.weight *= 0.01
        model.multipoles.out.weight *= 0.01
    model.energy_scale.fill_(0.01)
    save_model(tmp_path / "model.eqmm", model, {})
    output = tmp_path / "nve.json"
    arguments = [
        str(tmp_path / "model.eqmm"), f"{methanol_file}:0", "-o", str(output),
        "--equilibration", "0.002", "--fluctuation-length", "0.002", "--temperature", "10",
    ]  # fmt: skip
    monkeypatch.setattr(nve_drift, "drift", lambda *_: (0.0, 1.0))
    assert nve_drift.main([*arguments, "--length", "0.01"]) == 0
    with (tmp_path / "nve.energies").open("a") as file:
        file.write("21 0.0105 0.1 10.0\n22 0.0")  # a kill after the last image
    assert nve_drift.main([*arguments, "--length", "0.02"]) == 0
    table = np.loadtxt(tmp_path / "nve.energies")
    np.testing.assert_array_equal(table[:, 0], np.arange(41))
    assert table[21, 2] != 0.1
    result = json.loads(output.read_text())
    assert result["figures"]["length_ps"] == pytest.approx(0.02)
    assert set(result["figures"]["fluctuation_meV_by_timestep_fs"]) == {"0.25", "0.5", "1"}
    assert {"hardware", "versions", "commit", "settings"} <= result.keys()


def test_bad_input_is_one_line(nve_drift, tmp_path, capsys):
    assert nve_drift.main([str(tmp_path / "missing.eqmm"), "missing.h5:0"]) == 1
    assert capsys.readouterr().out.strip() == "error: there is no dataset file missing.h5"


@pytest.mark.slow
def test_the_shadow_energy_is_conserved_where_the_energy_swings(nve_drift):
    from ase import Atoms, units
    from ase.calculators.morse import MorsePotential
    from ase.md.verlet import VelocityVerlet

    atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.15]])
    atoms.calc = MorsePotential(epsilon=9.9, r0=1.1, rho0=3.0)
    images, energies = [], []

    def keep() -> None:
        images.append(atoms.copy())
        energies.append(atoms.get_total_energy())

    timestep = 0.5 * units.fs
    dynamics = VelocityVerlet(atoms, timestep)
    dynamics.attach(keep)
    dynamics.run(200)
    shadow = nve_drift.shadow_energies(images, atoms, timestep)
    assert np.std(shadow) < 0.02 * np.std(energies)
