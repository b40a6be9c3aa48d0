"""Molecular dynamics: conservation, temperature, resumption, ends."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read, write
from ase.md.andersen import Andersen
from calculator_kit import bound, methanol, random_model

from eqmm_ase import EqMM
from eqmm_ase.simulation.dynamics import run_md
from eqmm_ase.simulation.ensembles import (
    ENSEMBLES,
    Ensemble,
    MDSettings,
    degrees_of_freedom,
    draw_momenta,
)
from eqmm_ase.simulation.relax import RunError, RunFailedError, relax


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


@pytest.mark.slow
def test_nve_in_fixed_charges_conserves_energy_as_dt_squared():
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


@pytest.mark.slow
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


def test_a_new_ensemble_is_one_row_and_its_maker(tmp_path, monkeypatch):
    def andersen(atoms, settings, rng):
        timestep = settings.timestep * units.fs
        return Andersen(atoms, timestep, settings.temperature, 0.2, fixcm=False, rng=rng)

    with pytest.raises(RunError, match="ensemble must be one of nve, langevin, bussi"):
        MDSettings("andersen")
    monkeypatch.setitem(ENSEMBLES, "andersen", Ensemble(andersen, conserves=False))
    settings, path = MDSettings("andersen", seed=1), tmp_path / "md.traj"
    whole = run_md(bound(), settings, steps=20)
    run_md(bound(), settings, steps=8, trajectory=path)
    last = run_md(bound(), settings, steps=20, trajectory=path, resume=True)
    assert last.potential == pytest.approx(whole.potential, abs=1e-8)
    assert last.drift is None
    other = run_md(bound(), MDSettings("nve", seed=1), steps=20)
    assert abs(other.kinetic - last.kinetic) > 1e-4


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
