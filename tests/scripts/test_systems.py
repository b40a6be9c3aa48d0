"""What the scripts of whole systems count, and how their figures become tables."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openmm")
pytest.importorskip("finufft")

import openmm
from label_kit import water_in_charges

from eqmm_ase.engines.openmm_context import move_to, new_context
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.units import KCAL_PER_MOL
from scripts.common import TEST_DATA
from scripts.docs import system_rows
from scripts.systems import long_run, time_steps, truth
from scripts.systems.boxes import Box, make_box
from scripts.systems.truth import Answers
from scripts.systems.villin import free_bonds

RNG = np.random.default_rng(0)


def answers(energies: np.ndarray, forces: np.ndarray) -> Answers:
    return Answers.of(
        [(e * KCAL_PER_MOL, f * KCAL_PER_MOL) for e, f in zip(energies, forces, strict=True)]
    )


def test_a_model_is_held_to_what_changes_not_to_its_own_error() -> None:
    energies, forces = RNG.normal(size=(2, 4)), RNG.normal(size=(2, 4, 3, 3))
    labels = {"12": answers(energies[0], forces[0]), "box": answers(energies[1], forces[1])}
    own = RNG.normal(size=(4, 3, 3))
    # Always wrong in the same way, and by another zero: it sees the change without error.
    model = {
        "12": answers(energies[0] + 5.0, forces[0] + own),
        "box": answers(energies[1] - 7.0, forces[1] + own),
    }
    found = truth.report(labels, model)
    change = found["changes"]["12"]
    assert change["labels"]["qm_forces"] == pytest.approx(
        np.sqrt(np.mean((forces[1] - forces[0]) ** 2))
    )
    assert change["labels"]["energy"] == pytest.approx(np.std(energies[1] - energies[0]))
    assert change["relative"] == pytest.approx({"energy": 0.0, "qm_forces": 0.0}, abs=1e-12)
    assert found["errors"]["box"]["qm_forces"] == pytest.approx(np.sqrt(np.mean(own**2)))
    assert found["errors"]["box"]["energy"] == pytest.approx(0.0, abs=1e-12)

    model["box"] = answers(energies[1] + np.array([1.0, 0.0, 0.0, -1.0]), forces[1])
    found = truth.report(labels, model)
    assert found["errors"]["box"]["energy"] == pytest.approx(np.sqrt(0.5))
    assert found["changes"]["12"]["model_minus_labels"]["qm_forces"] == pytest.approx(
        np.sqrt(np.mean(own**2))
    )


def test_the_nearer_of_two_equal_atoms_is_the_bound_one(tmp_path: Path) -> None:
    frame = water_in_charges(n_charges=2)
    frame.qm_positions[1] += frame.qm_positions[1] - frame.qm_positions[0]  # a long O–H1
    write_frames(tmp_path / "frames.h5", [frame, frame], {})
    for found in truth.geometries(tmp_path / "frames.h5", 2):
        first, second = np.linalg.norm(found.qm_positions[1:] - found.qm_positions[0], axis=1)
        assert first < second


@pytest.mark.slow
def test_ways_to_integrate_become_rows_also_where_one_blows_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = argparse.Namespace(
        model=TEST_DATA / "methanol.eqmm",
        solute="methanol",
        edge=19.0,
        time=0.4,
        platform="CPU",
        seed=1,
        output=tmp_path / "steps.json",
    )
    monkeypatch.setattr(time_steps, "equilibrated", relaxed)
    ways = [time_steps.Steps(3.0, 2.0, network=2), time_steps.Steps(3.0, 40.0)]
    nested, blown_up = time_steps.run(ways, options)
    assert 0.0 < nested["fluctuation_meV"] < 200.0
    assert "NaN" in blown_up["blown_up"]
    table = list(system_rows.time_steps(json.loads(options.output.read_text())))
    assert table[0][:4] == ["3", "2", "2", "1"]
    assert table[1][4] == "blows up"


def relaxed(system: openmm.System, box: Box, *_: object) -> openmm.State:
    """A start that takes less time than equilibration."""
    context = new_context(system, "CPU")
    move_to(context, box.positions, box.cell)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=30)
    return context.getState(positions=True, velocities=True)


def test_only_bonds_of_chosen_atoms_are_set_free() -> None:
    box = make_box("methanol", 15.0)
    before = box.system.getNumConstraints()
    free_bonds(box.system, set(box.ml_atoms))
    assert before - box.system.getNumConstraints() == 4  # O–H and three C–H


def test_errors_that_grow_in_a_long_run_are_told_from_those_that_stay() -> None:
    times, signs = np.arange(10.0, 310.0, 10.0), RNG.choice([-1.0, 1.0], (30, 3, 3))
    same = long_run.error_figures(times, Answers(np.zeros(30), 0.2 * signs))
    assert same["growth_of_qm_forces_per_ps"] == pytest.approx(0.0, abs=1e-12)
    assert same["first_half"] == pytest.approx(same["second_half"])

    grown = (0.2 + 0.001 * times)[:, None, None] * signs
    found = long_run.error_figures(times, Answers(0.01 * times, grown))
    assert found["growth_of_qm_forces_per_ps"] == pytest.approx(0.001)
    assert found["qm_forces_of_frames"] == pytest.approx((0.2 + 0.001 * times).tolist())
    assert found["second_half"]["energy"] > 2.0 * found["first_half"]["energy"]
    assert found["frames"] == 30


def test_peaks_of_radial_distribution_functions_are_the_first_ones() -> None:
    distances = np.linspace(1.5, 8.0, long_run._BINS)
    values = 3.0 * np.exp(-(((distances - 3.2) / 0.3) ** 2)) + 1.0 / (1.0 + np.exp(5.0 - distances))
    found = long_run.peak_figures({"O": (distances, values, 6.5)})["O"]
    assert found["first_peak"] == pytest.approx(3.2, abs=0.05)
    assert found["height"] == pytest.approx(values.max())
    assert found["coordination"] == 6.5


def test_averages_of_a_long_run_leave_out_its_beginning(tmp_path: Path) -> None:
    times = np.arange(0.0, 60.0, 0.5)
    warm = np.where(times < long_run._SETTLING, 100.0, 300.0)
    columns = "time,temperature,potential,charge_2"
    rows = np.column_stack([times, warm, -5.0 + 0.01 * times, np.full_like(times, -0.9)])
    np.savetxt(tmp_path / long_run.TABLE, rows, delimiter=",", header=columns, comments="")
    found = long_run.table_figures(tmp_path)
    assert found["temperature"] == 300.0
    assert found["charge_of_ion"] == pytest.approx(-0.9)
    assert found["potential_drift_eV_per_ps"] == pytest.approx(0.01)
