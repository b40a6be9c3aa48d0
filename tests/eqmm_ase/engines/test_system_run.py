"""Dynamics of whole systems: tables, trajectories, checkpoints, and what ends a run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from calculator_kit import SpringModel

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")
pytest.importorskip("MDAnalysis")

from openmm import app  # noqa: E402
from system_kit import methanol_in_water  # noqa: E402

from eqmm_ase import read_frames  # noqa: E402
from eqmm_ase.cutting.trajectories import read_snapshots  # noqa: E402
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.run_settings import SystemRunError, SystemRunSettings  # noqa: E402
from eqmm_ase.engines.system_run import SystemRun  # noqa: E402
from eqmm_ase.network.committee import Committee  # noqa: E402

pytestmark = pytest.mark.slow

SHORT = {
    "steps": 8,
    "interval": 4,
    "heating": 0.0,
    "minimize": False,
    "platform": "Reference",
    "timestep": 0.5,
}


@pytest.fixture(scope="module")
def box():
    return methanol_in_water(16.0, method=app.CutoffPeriodic, cutoff=7.0)


def model(seed: int = 0):
    """Held together by springs: a random network alone falls apart."""
    return SpringModel(molecule("CH3OH"), seed)


def a_run(box, folder: Path, network=None, frame_of=None, name="trajectory.dcd", **settings):
    topology, system, positions, ml = box
    mixed = mixed_system(
        topology,
        system,
        ml,
        network or model(),
        total_charge=0,
        electrostatics="cutoff",
        switch=(5.5, 7.0),
        dtype="float64",
    )
    run = SystemRun(
        mixed,
        topology,
        SystemRunSettings(**SHORT | settings),
        folder,
        trajectory=name,
        frame_of=frame_of or (lambda at, cell, source: mixed.potential.frame(at, cell)),
    )
    return run, positions


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "energies.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["trajectory.dcd", "trajectory.xtc", "trajectory.nc"])
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(box, tmp_path, name) -> None:
    whole, positions = a_run(box, tmp_path / "whole", name=name)
    rows = []
    whole(positions, None, report=rows.append)
    assert [row.step for row in rows] == [0, 4, 8]

    first, _ = a_run(box, tmp_path / "again", name=name, steps=4)
    first(positions, None)
    # What a kill between two checkpoints leaves behind.
    with (tmp_path / "again" / "energies.csv").open("a") as file:
        file.write("8,half a row")
    with (tmp_path / "again" / name).open("ab") as file:
        file.write(b"half an image")
    second, _ = a_run(box, tmp_path / "again", name=name)
    assert second.step == 4
    second(positions, None)

    assert table(tmp_path / "again") == table(tmp_path / "whole")
    n = len(positions)
    ends = [
        [s.positions for s in read_snapshots(tmp_path / folder / name, n)]
        for folder in ("whole", "again")
    ]
    assert len(ends[0]) == 3
    np.testing.assert_array_equal(*ends)
    assert not list((tmp_path / "again").glob("checkpoint-4"))


def test_another_run_is_not_gone_on_with(box, tmp_path) -> None:
    run, positions = a_run(box, tmp_path, steps=4)
    run(positions, None)
    with pytest.raises(SystemRunError, match=r"with temperature = 300.0, which cannot go on with"):
        a_run(box, tmp_path, temperature=310.0)


def test_rows_add_up_and_have_charges(box, tmp_path) -> None:
    run, positions = a_run(box, tmp_path, ensemble="nve", minimize=True)
    rows = []
    run(positions, None, report=rows.append)
    # The velocities of the start are not those of half a step before it.
    totals = [row.potential + row.kinetic for row in rows[1:]]
    assert max(totals) - min(totals) < 0.02
    assert sum(rows[-1].charges) == pytest.approx(0.0, abs=1e-4)
    assert rows[-1].volume == pytest.approx(16.0**3)
    assert rows[-1].uncertainty is None
    found = table(tmp_path)
    assert [float(row["network"]) for row in found] == [row.network for row in rows]
    assert len([name for name in found[0] if name.startswith("charge_")]) == 6


@pytest.mark.parametrize(("when", "steps"), [("stop", 4), ("write", 8)])
def test_a_committee_that_disagrees_ends_a_run_or_writes_frames(box, tmp_path, when, steps) -> None:
    committee = Committee([model(0), model(1)])
    run, positions = a_run(box, tmp_path, committee, uncertainty_limit=1e-6, when_uncertain=when)
    last = run(positions, None)
    assert last.step == steps
    assert last.uncertainty > 1e-6
    (frame, *more) = read_frames(tmp_path / "uncertain-0001.h5")
    assert not more
    assert frame.n_qm == 6
    assert frame.energy is None or np.isnan(frame.energy)


def test_a_limit_that_a_single_model_cannot_reach_is_refused(box, tmp_path) -> None:
    with pytest.raises(SystemRunError, match="a single model knows no uncertainty"):
        a_run(box, tmp_path, uncertainty_limit=0.1)


def test_a_run_ends_at_a_checkpoint_when_it_is_told_to(box, tmp_path) -> None:
    run, positions = a_run(box, tmp_path)
    seen = []
    last = run(positions, None, report=seen.append, stopped=lambda: len(seen) == 2)
    assert last.step == 4
    assert len(table(tmp_path)) == 2


def test_temperature_comes_from_heating(box, tmp_path) -> None:
    run, positions = a_run(
        box, tmp_path, heating=0.05, minimize=True, steps=20, interval=20, friction=50.0
    )
    stages: list[str] = []
    last = run(positions, None, stage=stages.append)
    assert stages == ["minimising", "heating", "running"]
    assert 60.0 < last.temperature < 500.0


def test_a_system_that_blows_up_is_told(box, tmp_path) -> None:
    run, positions = a_run(box, tmp_path, timestep=0.5, ensemble="nve")
    shaken = positions + np.random.default_rng(0).normal(size=positions.shape) * 0.5
    with pytest.raises(SystemRunError, match=r"blown up|cannot go on"):
        run(shaken, None)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 0}, "steps is 0; expected more than 0"),
        ({"ensemble": "npt"}, "expected nve or langevin"),
        ({"ensemble": "nve", "pressure": 1.0}, "a pressure needs a thermostat"),
        ({"uncertainty_limit": -1.0}, "expected more than 0 eV/Å"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, sentence) -> None:
    with pytest.raises(SystemRunError, match=sentence):
        SystemRunSettings(**SHORT | settings)
