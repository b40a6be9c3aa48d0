"""Looking for uncertain frames: where trajectories stop, and what is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces
from calculator_kit import SpringModel, methanol, random_model, some_charges

from eqmm_ase import EqMM, cli
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model_file import save_model
from eqmm_ase.simulation.coordinate import Coordinate, CoordinateError
from eqmm_ase.simulation.exploration import explore
from eqmm_ase.simulation.exploration_settings import ExplorationSettings
from eqmm_ase.simulation.geometry_checks import KnownFrames
from eqmm_ase.simulation.relax import RunError
from eqmm_ase.simulation.restraints import MovingRestraint
from eqmm_ase.uncertainty.calibration import Calibration, Uncertainty

CARD = {"calibration": {"factors": {"energy": 1.0, "qm_forces": 1.0}}}
SHORT = ExplorationSettings(frames=2, time=0.01, energy_limit=1e3, force_limit=1e3)


def committee() -> Committee:
    return Committee([SpringModel(methanol(0.0), seed) for seed in (1, 2)])


@pytest.fixture
def start() -> Frame:
    atoms = methanol(0.0)
    charges, positions = some_charges()
    return Frame(
        atoms.numbers, atoms.positions, positions, charges, medium="water", source="t", energy=-1.0
    )


@pytest.fixture
def calculator() -> EqMM:
    return EqMM(committee())


class UnsureOfLongBonds(EqMM):
    """Says that forces are uncertain by as many eV/Å as carbon and oxygen are apart in Å."""

    @property
    def uncertainty(self) -> Uncertainty:
        assert self.atoms is not None
        return Uncertainty(0.0, np.full(6, self.atoms.get_distance(0, 1)), calibrated=True)


BOND = methanol(0.0).get_distance(0, 1)
TO_A_LONG_BOND = replace(SHORT, frames=1, time=0.05, temperature=600.0, force_limit=BOND + 0.02)


def test_a_trajectory_stops_at_the_limit_and_its_frame_has_the_charges_of_its_start(start):
    bare = replace(start, energy=None)
    (visit,) = explore(UnsureOfLongBonds(committee()), [bare], TO_A_LONG_BOND)
    frame = visit.frame
    assert frame is not None
    assert 0.0 < visit.time < 0.05
    # Within a step the bond grows by 0.02 Å at most.
    assert BOND + 0.02 < atoms_of_frame(frame).get_distance(0, 1) < BOND + 0.05
    np.testing.assert_array_equal(frame.mm_positions, start.mm_positions)
    np.testing.assert_array_equal(frame.mm_charges, start.mm_charges)
    assert (frame.medium, frame.energy, frame.qm_forces) == ("water", None, None)
    assert frame.source == "explored-0-0"
    assert visit.reason.startswith("force on an atom uncertain by 1.4")


def test_the_uncertainty_of_the_energy_stops_too(calculator, start):
    settings = replace(SHORT, energy_limit=1e-6, trajectories=1)
    (visit,) = explore(calculator, [replace(start, energy=None)], settings)
    assert visit.outcome == "kept"
    assert visit.reason.startswith("energy uncertain by")
    assert visit.time == 0.0


@pytest.mark.slow
def test_below_the_limits_nothing_is_kept(calculator, start):
    visits = list(explore(calculator, [start], replace(SHORT, frames=1)))
    assert [visit.outcome for visit in visits] == ["certain"] * 2
    assert all(visit.frame is None for visit in visits)
    assert visits[0].time == pytest.approx(SHORT.time)


@pytest.mark.slow
def test_frames_like_one_that_is_known_are_dropped(calculator, start):
    settings = replace(SHORT, force_limit=1e-6, frames=3, trajectories=3, time=0.002)
    labelled = explore(calculator, [start], settings)
    assert [visit.outcome for visit in labelled] == ["duplicate"] * 3
    bare = explore(calculator, [replace(start, energy=None)], settings)
    assert [visit.outcome for visit in bare] == ["kept", "duplicate", "duplicate"]


@pytest.mark.slow
def test_a_trajectory_that_is_uncertain_where_it_starts_goes_on_to_something_new(calculator, start):
    settings = replace(SHORT, force_limit=1e-6, trajectories=1, time=0.1, temperature=1000.0)
    (visit,) = explore(calculator, [start], settings)
    assert visit.outcome == "kept"
    assert 0.0 < visit.time < 0.1
    assert not KnownFrames([start]).has_near_duplicate(visit.frame)


def test_an_exploded_geometry_is_rejected_with_its_reason(calculator, start):
    positions = np.array(start.qm_positions)
    positions[1] = positions[0] + 0.4 * (positions[1] - positions[0])
    fallen = replace(start, qm_positions=positions, energy=None)
    settings = replace(SHORT, force_limit=1e-6, trajectories=1)
    (visit,) = explore(calculator, [fallen], settings)
    assert (visit.outcome, visit.frame) == ("rejected", None)
    assert "atoms 0 and 1 (C–O) have come as close as" in visit.reason


def test_a_run_that_flies_apart_is_rejected_with_its_reason(calculator, start):
    settings = replace(SHORT, temperature=1e6, trajectories=1)
    (visit,) = explore(calculator, [start.in_vacuum()], settings)
    assert (visit.outcome, visit.frame) == ("rejected", None)
    assert "exploded" in visit.reason


@pytest.mark.slow
def test_equal_seeds_give_equal_frames(start):
    def last(seed: int) -> Frame:
        settings = replace(TO_A_LONG_BOND, seed=seed)
        bare = replace(start, energy=None)
        (visit,) = explore(UnsureOfLongBonds(committee()), [bare], settings)
        assert visit.frame is not None
        return visit.frame

    first = last(1).qm_positions
    np.testing.assert_allclose(last(1).qm_positions, first, rtol=0, atol=1e-4)
    assert np.abs(last(2).qm_positions - first).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(("ends", "longer"), [((1.3, 2.4), True), ((0.5, 1.5), False)])
def test_a_sweep_drags_the_coordinate_to_the_farther_end(start, ends, longer):
    calculator, coordinate = EqMM(committee()), Coordinate.parse("d(0,1)")
    settings = replace(
        SHORT, trajectories=1, time=0.02, temperature=1.0, coordinate=coordinate.text, sweep=ends
    )
    assert [v.outcome for v in explore(calculator, [start.in_vacuum()], settings)] == ["certain"]
    change = coordinate.value(calculator.atoms.positions) - BOND
    assert change > 0.03 if longer else change < -0.03


@pytest.mark.slow
def test_forces_of_the_sweep_are_the_numerical_gradient():
    atoms = methanol()
    atoms.calc = EqMM(random_model(), dtype="float64")
    atoms.set_constraint(MovingRestraint(Coordinate.parse("d(0,1)-d(0,2)"), -1.0, 2.0))
    atoms.constraints[0].move(0.25)
    assert atoms.constraints[0].centre == pytest.approx(-0.25)
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    assert atoms.get_forces() == pytest.approx(numerical, abs=1e-5)
    biased = atoms.get_potential_energy()
    atoms.set_constraint()
    assert biased - atoms.get_potential_energy() > 0.01


@pytest.mark.slow
def test_limits_come_from_the_calibration_unless_they_are_given(calculator, start):
    calculator.calibration = Calibration(CARD["calibration"]["factors"], {"qm_forces": 1e-6})
    bare = replace(start, energy=None)
    settings = ExplorationSettings(frames=1, trajectories=1, time=0.002)
    assert next(explore(calculator, [bare], settings)).outcome == "kept"
    given = replace(settings, force_limit=1e3)
    assert next(explore(calculator, [bare], given)).outcome == "certain"


def test_what_cannot_be_explored_is_refused(calculator, start):
    def refused(match, calculator=calculator, starts=(start,), kind=RunError, **settings):
        with pytest.raises(kind, match=match):
            next(explore(calculator, list(starts), replace(SHORT, **settings)))

    refused("a single model cannot tell", EqMM(random_model()))
    refused("no limits of uncertainty", energy_limit=None, force_limit=None)
    refused("no frames to start from", starts=())
    refused("names atom 9", kind=CoordinateError, coordinate="d(0,9)", sweep=(1.0, 2.0))
    for wrong in (
        {"frames": 0},
        {"time": -1.0},
        {"force_limit": 0.0},
        {"coordinate": "d(0,1)"},
        {"coordinate": "d(0,1)", "sweep": (1.0, 1.0)},
    ):
        with pytest.raises(RunError):
            replace(SHORT, **wrong)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["explore", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_the_command_writes_frames_ready_to_be_labelled(tmp_path, start, capsys):
    model, starts, output = (tmp_path / name for name in ("c.eqmm", "start.h5", "found.h5"))
    save_model(model, Committee([random_model(1), random_model(2)]), CARD)
    write_frames(starts, [replace(start, energy=None)], {})
    short = ("--time", 0.001, "--frames", 1, "--trajectories", 1)
    assert run(model, starts, "-o", output, *short, "--force-limit", 1e6) == 1
    assert "no frame was found in 1 trajectories (1 certain)" in capsys.readouterr().out
    assert not output.exists()
    assert run(model, starts, "-o", output, *short, "--force-limit", 1e-6) == 0
    assert "found.h5: 1 frames of 1 trajectories (1 kept)" in capsys.readouterr().out
    (frame,) = read_frames(output)
    np.testing.assert_allclose(frame.mm_charges, start.mm_charges)
    with ReferenceData(output) as data:
        assert data.method["exploration"]["model"] == "c.eqmm"
    assert run(model, starts, "-o", output, *short) == 2
    assert "exists already; --overwrite replaces it" in capsys.readouterr().err
    assert run(model, starts, "-o", output, *short, "--overwrite") == 2
    assert "no limits of uncertainty" in capsys.readouterr().err
