"""The stability runs: forces of one energy, kills lose nothing, explosions are refused."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from eqmm_ase import EqMM
from eqmm_ase.models.pretrained import pretrained_file
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model_file import load_model
from eqmm_ase.network.prediction import predict
from eqmm_ase.simulation.lennard_jones import HeldLennardJones
from eqmm_ase.units import KCAL_PER_MOL, KJ_PER_MOL, NANOMETRE
from scripts.flagship.flagship_data import COORDINATE
from scripts.stability import nvt_report, nvt_stability
from scripts.stability.nvt_records import Driver, ExplodedError, Monitor, Record, read_records
from scripts.stability.nvt_settings import RunSettings
from scripts.stability.nvt_start import (
    START_ZETA,
    WALL_START,
    WATER_EPSILON,
    WATER_SIGMA,
    Start,
    load_start,
)

MODEL = str(pretrained_file("sn2-chloride-b3lyp"))
SMALL = RunSettings("moving", MODEL, radius=5.5, platform="Reference", dtype="float64")


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a short run of one member in a small droplet, without a plot."""
    pytest.importorskip("openmm")
    monkeypatch.setattr(nvt_stability, "draw", lambda *_: None)
    options = ["--member", "0", "--every", "2", "--radius", "4.5", "--platform", "Reference"]
    options += ["-o", str(tmp_path / "nvt"), "--json", str(tmp_path / "nvt.json")]
    return [*options, "--plot", str(tmp_path / "nvt.png")]


@pytest.mark.slow
def test_the_start_is_the_contact_of_the_two() -> None:
    start = load_start()
    assert COORDINATE.value(start.atoms.positions) == pytest.approx(START_ZETA, abs=0.1)
    # Chloride is larger than the chlorine that is bound, and shallower.
    assert start.sigma[2] > start.sigma[1] + 0.5
    assert start.epsilon[2] < start.epsilon[1]
    assert start.charges.sum() == pytest.approx(0.0)


@pytest.mark.slow
def test_all_forces_are_the_gradient_of_the_energy_of_everything() -> None:
    nvt_droplet = pytest.importorskip("scripts.stability.nvt_droplet")
    start = load_start()
    # A chlorine within its spring, a water within the wall: all that acts has a part.
    positions = start.atoms.positions.copy()
    positions[2] *= (WALL_START + 0.2) / np.linalg.norm(positions[2])
    start = start._replace(atoms=start.atoms.copy(), waters=start.waters.copy())
    start.atoms.positions = positions
    start.waters[0] -= start.waters[0, 0]
    start.waters[0] += [0.0, 0.0, 7.0]
    near = np.linalg.norm(start.waters[:, 0] - positions[2], axis=1) < 2.6
    start = start._replace(waters=start.waters[~near])
    settings = replace(SMALL, radius=7.0)
    droplet = nvt_droplet.make_droplet(start, Driver(MODEL, 0, "float64"), settings)
    context = droplet.context
    state = context.getState(getForces=True, getPositions=True)
    where = nvt_droplet.positions_of(state) / NANOMETRE
    where[6:9] += [0.0, 0.0, 0.15]
    context.setPositions(where)
    forces = context.getState(getForces=True).getForces(asNumpy=True)._value
    step = 1e-5  # nm
    rng = np.random.default_rng(0)
    for atom in (0, 2, 6, 10):  # carbon, the chloride, the oxygen at the wall, a hydrogen
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        energies = []
        for sign in (-1, 1):
            moved = where.copy()
            moved[atom] += sign * step * direction
            context.setPositions(moved)
            energies.append(context.getState(getEnergy=True).getPotentialEnergy()._value)
        slope = (energies[1] - energies[0]) / (2 * step)
        # The total energy is 2·10⁶ kJ/mol: its last digit over the step is 0.02 kJ/mol/nm.
        assert -slope == pytest.approx(forces[atom] @ direction, rel=1e-4, abs=0.05)


@pytest.mark.slow
def test_what_acts_beside_the_model_has_the_size_that_is_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvt_droplet = pytest.importorskip("scripts.stability.nvt_droplet")
    start = load_start()
    start = start._replace(atoms=start.atoms.copy(), waters=start.waters[:40].copy())
    direction = start.atoms.positions[2] / np.linalg.norm(start.atoms.positions[2])
    start.atoms.positions[2] = (WALL_START + 0.2) * direction
    start.atoms.positions += [0.3, 0.0, 0.0]
    start.waters[0] += [0.0, 0.0, 8.0] - start.waters[0, 0]
    driver, settings = Driver(MODEL, 0, "float64"), replace(SMALL, radius=8.1)

    def classical(start: Start) -> float:
        """Energy in eV."""
        context = nvt_droplet.make_droplet(start, driver, settings).context
        state = context.getState(getEnergy=True, groups={0})
        return float(state.getPotentialEnergy()._value) * KJ_PER_MOL

    monkeypatch.setattr(nvt_droplet, "SURFACE_GAP", -0.5)
    everything = classical(start)
    waters = nvt_droplet.droplet_waters(start, settings.radius)
    outside = np.maximum(np.linalg.norm(waters[:, 0], axis=1) - 7.6, 0.0)
    for name, square in (
        ("WALL_STIFFNESS", 0.2**2),
        ("CENTRE_STIFFNESS", 0.3**2),
        ("SURFACE_STIFFNESS", float((outside**2).sum())),
    ):
        expected = 0.5 * getattr(nvt_droplet, name) * square
        with monkeypatch.context() as patch:
            patch.setattr(nvt_droplet, name, 0.0)
            assert everything - classical(start) == pytest.approx(expected, rel=1e-4)

    oxygens = waters[:, 0]
    size = np.full(len(oxygens), WATER_SIGMA), np.full(len(oxygens), WATER_EPSILON)
    held = HeldLennardJones(start.sigma, start.epsilon, oxygens, *size)
    without = everything - classical(start._replace(epsilon=np.zeros(6)))
    # Frames are in float32, which the constraints of water put right by moving its atoms.
    assert without == pytest.approx(held.get_potential_energy(start.atoms), rel=1e-3)


@pytest.mark.slow
def test_the_forces_in_openmm_are_those_of_the_calculator() -> None:
    nvt_droplet = pytest.importorskip("scripts.stability.nvt_droplet")
    start = load_start()
    droplet = nvt_droplet.make_droplet(start, Driver(MODEL, None, "float64"), SMALL)
    wanted = {"getForces": True, "getEnergy": True, "getPositions": True}
    state = droplet.context.getState(**wanted, groups={nvt_droplet.MODEL_GROUP})
    atoms = start.atoms.copy()
    atoms.calc = EqMM(MODEL, total_charge=-1, dtype="float64")
    sites = nvt_droplet.positions_of(state)[6:]
    atoms.calc.embed(np.tile(start.charges, len(sites) // 3), sites)
    energy = state.getPotentialEnergy()._value * KJ_PER_MOL
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    forces = state.getForces(asNumpy=True)._value * KJ_PER_MOL / NANOMETRE
    np.testing.assert_allclose(forces[:6], atoms.get_forces(), atol=1e-6)
    np.testing.assert_allclose(forces[6:], atoms.calc.mm_forces, atol=1e-6)
    again = pickle.loads(pickle.dumps(droplet.force))  # as a serialised System does
    assert again(state)[0] == pytest.approx(energy / KJ_PER_MOL, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["held", "moving"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    mode: str, arguments: list[str], tmp_path: Path
) -> None:
    whole = [mode, *arguments, "-o", str(tmp_path / "whole")]
    assert nvt_stability.main([*whole, "--length", "0.024"]) == 0
    assert nvt_stability.main([mode, *arguments, "--length", "0.012"]) == 0
    path = tmp_path / "nvt" / mode / "records.jsonl"
    late = replace(read_records(path)[-1], step=8, energy=0.0)
    with path.open("a") as file:  # a kill after a record and before the state that belongs to it
        file.write(json.dumps(late.__dict__) + '\n{"step": 10, "ti')
    assert nvt_stability.main([mode, *arguments, "--length", "0.024"]) == 0
    found = read_records(path)
    expected = read_records(tmp_path / "whole" / mode / "records.jsonl")
    assert [record.step for record in found] == list(range(0, 13, 2))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.energy == pytest.approx(theirs.energy, abs=2e-4)  # float32
        assert ours.temperature == pytest.approx(theirs.temperature, rel=1e-3)
        assert ours.uncertainty_force == pytest.approx(theirs.uncertainty_force, rel=0.05)
    figures = json.loads((tmp_path / "nvt.json").read_text())["runs"][mode]
    assert figures["steps"] == 12
    assert figures["failure"] is None
    with pytest.raises(ValueError, match=r"timestep = 2\.0, which cannot go on with 0\.5"):
        nvt_stability.run(
            RunSettings(mode, MODEL, 0, every=2, radius=4.5, platform="Reference", timestep=0.5),
            0.02, tmp_path / "nvt" / mode, 1,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the members of the committee disagree")  # on the way there
@pytest.mark.parametrize("mode", ["held", "moving"])
def test_an_explosion_ends_with_a_sentence_and_an_error(
    mode: str, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = ["--timestep", "6", "--temperature", "3000", "--length", "0.6"]
    assert nvt_stability.main([mode, *arguments, *hot]) == 1
    sentence = capsys.readouterr().err.strip()
    assert sentence.startswith("error: the run exploded")
    assert sentence.count("\n") == 0
    figures = json.loads((tmp_path / "nvt.json").read_text())["runs"][mode]
    assert f"error: {figures['failure']}" == sentence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("bond", "a C–H bond is 1.7 Å long"),
        ("force", "a QM atom feels 401 kcal/mol/Å"),
        ("nan", "a QM atom feels nan"),
        ("heat", r"the QM atoms have 1100 K \(1100 K on average\)"),
    ],
)
def test_what_no_molecule_can_be_is_refused(change: str, message: str) -> None:
    start = load_start()
    driver = Driver(MODEL, 0)
    sites = start.waters[:5].reshape(-1, 3)
    driver.embed(np.tile(start.charges, 5), sites)
    monitor = Monitor(driver, 350.0, 1.0, 500)
    atoms, forces = start.atoms.copy(), np.ones((6, 3))
    monitor.look(atoms.positions, forces)
    monitor.record(0, atoms, sites, 1100.0, 350.0)  # one record is a fluctuation
    if change == "bond":
        atoms.positions[4] *= 1.7 / np.linalg.norm(atoms.positions[4])
    elif change in ("force", "nan"):
        forces[3] = [0.0, 0.0, 401 * KCAL_PER_MOL if change == "force" else np.nan]

    def step() -> None:
        monitor.look(atoms.positions, forces)
        monitor.record(500, atoms, sites, 1100.0, 350.0)

    with pytest.raises(ExplodedError, match=message):
        step()


def _records(zeta: list[float]) -> list[Record]:
    common: dict[str, Any] = {
        "energy": -2.0, "temperature": 340.0, "temperature_all": 350.0, "contact": 2.0,
        "separation": 3.0,
        "ch_min": 1.0, "ch_max": 1.2, "force_max": 3.0, "uncertainty_energy": 0.01,
        "seconds": 0.5, "cpu_seconds": 0.4,
    }  # fmt: skip
    return [
        Record(step=50 * i, time=0.05 * i, zeta=z, uncertainty_force=0.1 * i, **common)
        for i, z in enumerate(zeta)
    ]


def test_figures_count_identities_and_milliseconds() -> None:
    records = _records([-1.5, -0.1, 0.2, 1.5, -1.5])
    found = nvt_report.figures(records)
    assert found["identity_changes"] == 2
    assert found["c_cl"] == {"longest": 3.0, "share_beyond_spring": 0.0}
    assert found["ms_per_step"] == pytest.approx(10.0)
    assert found["uncertainty_force"]["largest"] == pytest.approx(0.4 / KCAL_PER_MOL)
    assert found["ps"] == pytest.approx(0.2)


@pytest.mark.slow
def test_the_plot_has_a_column_for_each_run(tmp_path: Path, figures: list[Figure]) -> None:
    records = _records([-1.5, -0.1, 0.2, 1.5, -1.5])
    nvt_report.draw({"held": records, "moving": records[:3]}, 350.0, tmp_path / "nvt.png")
    axes = np.array(figures[0].axes).reshape(4, 2)
    assert [axis.get_title() for axis in axes[0]] == list(nvt_report.TITLES.values())
    times = [0.0, 0.05, 0.1, 0.15, 0.2]
    uncertainty = 0.1 * np.arange(5) / KCAL_PER_MOL
    for column, count in zip(axes.T, (5, 3), strict=True):
        np.testing.assert_allclose(column[2].lines[0].get_xdata(), times[:count])
        assert column[2].lines[0].get_ydata().tolist() == [r.zeta for r in records[:count]]
        assert column[1].lines[-1].get_ydata() == [350.0, 350.0]
        np.testing.assert_allclose(column[3].lines[0].get_ydata(), uncertainty[:count])


@pytest.mark.slow
def test_relabelling_compares_the_model_with_labels_of_the_images(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committee = load_model(MODEL)[0].double()
    shift = [1.0 * KCAL_PER_MOL, 3.0 * KCAL_PER_MOL]

    def labelled(frames, method, folder):
        assert method["functional"] == "b3lyp"
        truth = [predict(committee, FrameBatch.from_frames([frame])) for frame in frames]
        return [
            replace(
                frame,
                energy=float(t.energy[0]) + shift[i],
                qm_forces=t.qm_forces.numpy() + KCAL_PER_MOL,
                mm_forces=1.25 * t.mm_forces.numpy(),
            )
            for i, (frame, t) in enumerate(zip(frames, truth, strict=True))
        ]

    monkeypatch.setattr(nvt_report, "labelled", labelled)
    for mode in ("held", "moving"):
        assert nvt_stability.main([mode, *arguments, "--length", "0.004"]) == 0
    assert nvt_stability.main(["report", *arguments, "--relabel", "2"]) == 0
    runs = json.loads((tmp_path / "nvt.json").read_text())["runs"]
    for mode in ("held", "moving"):
        found = runs[mode]["against_reference"]
        assert found["frames"] == 2
        assert found["energy_mae"] == pytest.approx(2.0, abs=1e-6)
        assert found["energy_mae_without_mean"] == pytest.approx(1.0, abs=1e-6)
        assert found["qm_forces_mae"] == pytest.approx(1.0, abs=1e-6)
        assert found["mm_forces_relative_rms"] == pytest.approx(0.2, abs=1e-6)


def test_nothing_to_report_is_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nvt_stability.main(["report", *arguments]) == 1
    assert capsys.readouterr().err.strip() == f"error: there is no run in {tmp_path / 'nvt'}"
