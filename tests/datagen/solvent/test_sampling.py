"""Sampling for real, in a small box: frames are sound, reproducible and survive a kill."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("openmm")
pytest.importorskip("rdkit")

import shutil

from ase.data import covalent_radii

from datagen.molecules.solute import read_solute
from datagen.solvent import parallel
from datagen.solvent.external_programs import ParameterError, first_complaint
from datagen.solvent.force_field import parameterise
from datagen.solvent.job import (
    SamplingError,
    SamplingProgress,
    Unfinished,
    UnfinishedError,
    openmm_seed,
)
from datagen.solvent.md import (
    DynamicsError,
    equilibrate,
    load_box,
    run_trajectory,
)
from datagen.solvent.media import SolventError
from datagen.solvent.sampling import SamplingSettings, describe, sample
from eqmm_ase.cutting.frame_id import frame_hash

if shutil.which("antechamber") is None:
    pytest.skip("AmberTools is not installed", allow_module_level=True)

QUICK = SamplingSettings(
    n_frames=5,
    trajectories=2,
    interval=0.05,
    radius=5.0,
    equilibration=0.5,
    decorrelation=0.05,
    temperatures=(300.0, 400.0),
    seed=7,
)


class _Counted(SamplingProgress):
    def __init__(self) -> None:
        self.picoseconds = 0.0
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def advance(self, picoseconds: float) -> None:
        self.picoseconds += picoseconds

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


@pytest.fixture(scope="module")
def methanol():
    return read_solute("CO")


@pytest.fixture(scope="module")
def first_run(methanol, tmp_path_factory):
    """Frames, the folder with the parts of the run, and what it told of its progress."""
    folder = tmp_path_factory.mktemp("sampling") / "parts"
    progress = _Counted()
    frames = sample(methanol, QUICK, folder=folder, workers=1, platform="CPU", progress=progress)
    return frames, folder, progress


@pytest.mark.slow
def test_frames_are_whole_molecules_in_whole_waters(methanol, first_run):
    frames, _, _ = first_run
    assert [frame.source for frame in frames] == ["water-0"] * 3 + ["water-1"] * 2
    for frame in frames:
        np.testing.assert_array_equal(frame.atomic_numbers, methanol.atomic_numbers)
        assert (frame.medium, frame.total_charge, frame.spin_multiplicity) == ("water", 0, 1)
        np.testing.assert_allclose(
            frame.mm_charges.reshape(-1, 3), [[-0.834, 0.417, 0.417]] * (frame.n_mm // 3)
        )
        waters = frame.mm_positions.reshape(-1, 3, 3)
        bonds = np.linalg.norm(waters[:, 1:] - waters[:, :1], axis=-1)
        np.testing.assert_allclose(bonds, 0.9572, atol=1e-3)  # rigid to the constraint tolerance
        apart = np.linalg.norm(frame.mm_positions[:, None] - frame.qm_positions[None], axis=-1)
        assert apart.min() > 1.2
        assert (apart.reshape(-1, 3, frame.n_qm).min(axis=(1, 2)) <= QUICK.radius).all()


def test_number_of_waters_is_that_of_the_liquid(first_run):
    """Within 5 Å of methanol there is room for some 30 waters; vacuum or ice would show."""
    frames, _, _ = first_run
    assert 20 < np.mean([frame.n_mm / 3 for frame in frames]) < 45


def test_the_solute_is_flexible_and_intact(methanol, first_run):
    frames, _, _ = first_run
    radii = covalent_radii[methanol.atomic_numbers]
    apart = np.linalg.norm(methanol.positions[:, None] - methanol.positions[None], axis=-1)
    bonded = np.argwhere(np.triu(apart < 1.3 * (radii[:, None] + radii[None]), 1))
    assert len(bonded) == 5
    lengths = np.array(
        [[np.linalg.norm(f.qm_positions[i] - f.qm_positions[j]) for i, j in bonded] for f in frames]
    )
    assert (lengths.std(axis=0) > 1e-3).all()
    assert (abs(lengths / lengths.mean(axis=0) - 1.0) < 0.15).all()


def test_frame_ids_differ_and_follow_from_the_content(first_run):
    frames, _, _ = first_run
    assert len({frame.frame_id for frame in frames}) == len(frames)
    assert all(frame.frame_id == frame_hash(frame) for frame in frames)
    assert frame_hash(replace(frames[0], source="elsewhere")) == frames[0].frame_id
    assert frame_hash(replace(frames[0], total_charge=2)) != frames[0].frame_id


def test_pressure_closes_the_gaps_that_tleap_leaves(first_run):
    """By 2.7 % of the volume in the half picosecond of this run, by 15 % in the end."""
    _, folder, _ = first_run
    start = load_box(folder / "system.prmtop", folder / "system.inpcrd", 6)
    equilibrated = Unfinished(folder, json.loads((folder / "settings.json").read_text())).load_box(
        6
    )
    assert np.linalg.det(equilibrated.cell) < 0.985 * np.linalg.det(start.cell)


@pytest.mark.slow
def test_equal_seeds_give_equal_boxes(first_run):
    _, folder, _ = first_run
    start = load_box(folder / "system.prmtop", folder / "system.inpcrd", 6)
    seed = openmm_seed(QUICK.seed, 0)
    again = equilibrate(start, 300.0, QUICK.equilibration, seed, platform="CPU")
    with np.load(folder / "equilibrated.npz") as first:
        np.testing.assert_array_equal(again.positions, first["positions"])
        np.testing.assert_array_equal(again.cell, first["cell"])


def test_trajectories_differ_in_seed_and_take_the_temperatures_in_turn():
    schedules = replace(QUICK, trajectories=3).schedules()
    assert [schedule.temperature for schedule in schedules.values()] == [300.0, 400.0, 300.0]
    assert [schedule.n_frames for schedule in schedules.values()] == [2, 2, 1]
    seeds = {schedule.seed for schedule in schedules.values()}
    seeds |= {schedule.seed for schedule in replace(QUICK, seed=8).schedules().values()}
    assert len(seeds) == 5
    assert min(seeds) > 0  # OpenMM takes 0 as random


def test_progress_counts_every_picosecond(first_run):
    _, _, progress = first_run
    assert progress.picoseconds == pytest.approx(QUICK.duration)
    assert progress.stages == ["force field", "equilibration", "2 trajectories"]


def test_a_run_goes_on_where_it_was_killed_and_gives_the_same(methanol, first_run):
    frames, folder, _ = first_run
    (folder / "trajectory-1.npz").unlink()
    progress = _Counted()
    again = sample(methanol, QUICK, folder=folder, workers=1, platform="CPU", progress=progress)
    assert progress.stages == ["1 trajectories"]
    assert progress.picoseconds == pytest.approx(QUICK.duration)
    assert [frame.frame_id for frame in again] == [frame.frame_id for frame in frames]


@pytest.mark.slow
def test_processes_side_by_side_give_the_same_as_one(methanol, first_run):
    frames, folder, _ = first_run
    for number in (0, 1):
        (folder / f"trajectory-{number}.npz").unlink()
    progress = _Counted()
    again = sample(methanol, QUICK, folder=folder, workers=2, platform="CPU", progress=progress)
    assert progress.picoseconds == pytest.approx(QUICK.duration)
    assert [frame.frame_id for frame in again] == [frame.frame_id for frame in frames]


def test_a_folder_of_another_run_is_refused_by_what_differs(methanol, first_run):
    _, folder, _ = first_run
    with pytest.raises(UnfinishedError, match="differs in radius, seed"):
        sample(methanol, replace(QUICK, radius=6.0, seed=8), folder=folder, platform="CPU")


def test_dynamics_that_breaks_down_is_a_sentence(methanol, first_run):
    _, folder, _ = first_run
    start = Unfinished(folder, describe(methanol, QUICK)).load_box(6)
    start.positions[6:9] = start.positions[9:12]  # two waters in one place
    with pytest.raises(DynamicsError, match="broke down"):
        run_trajectory(start, QUICK.schedules("CPU")[0])


def test_an_unknown_platform_is_a_sentence(methanol):
    with pytest.raises(DynamicsError, match="platform 'Abacus'"):
        sample(methanol, QUICK, platform="Abacus")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_frames": 0}, "n_frames is 0; expected at least 1"),
        ({"trajectories": 6}, "trajectories is 6; expected 1 to 5"),
        ({"interval": 0.0}, "interval is 0; expected at least 0.01 ps"),
        ({"radius": 31.0}, "radius is 31; expected 3 to 30 Å"),
        ({"radius": float("nan")}, "radius is nan"),
        ({"temperatures": ()}, "temperatures is empty"),
        ({"temperatures": (-5.0,)}, "temperature is -5"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_without_sense_are_refused(changes, sentence):
    with pytest.raises(SamplingError, match=sentence):
        replace(QUICK, **changes)


def test_an_unknown_solvent_is_refused_with_the_nearest():
    with pytest.raises(SolventError, match="did you mean methanol"):
        SamplingSettings(solvent="metanol")


def test_notes_of_the_preparation_are_told_again_when_a_run_goes_on(methanol, first_run):
    _, folder, _ = first_run
    Unfinished(folder, describe(methanol, QUICK)).notes = ["charged as given"]
    progress = _Counted()
    sample(methanol, QUICK, folder=folder, workers=1, platform="CPU", progress=progress)
    assert progress.notes == ["charged as given"]


def test_the_complaint_of_a_program_is_its_first_that_means_something():
    output = "Warning: not nice\n ** No torsion terms for H-O\n  error for atom H\nExiting LEaP\n"
    assert first_complaint(output) == "** No torsion terms for H-O"
    assert first_complaint("working\nstopped\n\n") == "stopped"
    assert first_complaint("") == "it printed nothing"


def test_a_program_that_is_missing_is_a_sentence(methanol, monkeypatch):
    monkeypatch.setattr("datagen.solvent.external_programs.sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ParameterError, match="program antechamber is not installed"):
        parameterise(methanol)


@pytest.mark.slow
def test_a_dead_process_is_a_sentence(monkeypatch, methanol, first_run):
    monkeypatch.setattr(parallel, "_run_in_worker", _die)
    _, folder, _ = first_run
    for number in (0, 1):
        (folder / f"trajectory-{number}.npz").unlink(missing_ok=True)
    with pytest.raises(DynamicsError, match="a process of the molecular dynamics died"):
        sample(methanol, QUICK, folder=folder, workers=2, platform="CPU")


def _die(*_: object) -> None:
    import os

    os._exit(9)
