"""What is worth a label, and what is known already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from calculator_kit import methanol, some_charges

from eqmm_ase.data.frame import Frame
from eqmm_ase.simulation.geometry_checks import CHARGE_CONTACT, KnownFrames, invalid_geometry


@pytest.fixture
def frame() -> Frame:
    atoms = methanol()
    charges, positions = some_charges()
    return Frame(atoms.numbers, atoms.positions, positions, charges)


def moved(frame: Frame, atom: int, by: np.ndarray | list[float]) -> Frame:
    positions = np.array(frame.qm_positions)
    positions[atom] += by
    return replace(frame, qm_positions=positions)


def test_a_molecule_in_charges_and_one_in_vacuum_are_valid(frame):
    assert invalid_geometry(frame) is None
    assert invalid_geometry(frame.in_vacuum()) is None
    lone = Frame(np.array([17]), np.zeros((1, 3)), total_charge=-1)
    assert invalid_geometry(lone) is None


def test_atoms_that_fell_onto_each_other_are_named(frame):
    towards = frame.qm_positions[1] - frame.qm_positions[0]  # carbon and oxygen
    assert invalid_geometry(moved(frame, 1, -0.3 * towards)) is None
    fallen = invalid_geometry(moved(frame, 1, -0.5 * towards))
    assert fallen.startswith("atoms 0 and 1 (C–O) have come as close as 0.7")


def test_a_part_that_has_flown_away_is_told(frame):
    away = frame.qm_positions[3] - frame.qm_positions[0]
    away = away / np.linalg.norm(away)
    without = frame.in_vacuum()
    assert invalid_geometry(moved(without, 3, 4.0 * away)) is None
    assert invalid_geometry(moved(without, 3, 9.0 * away)).startswith(
        "the QM region is in 2 parts, 9."
    )


def test_a_charge_near_a_nucleus_is_told_unless_it_is_zero(frame):
    near = np.array(frame.mm_positions)
    near[0] = frame.qm_positions[2] + [0.0, 0.0, CHARGE_CONTACT - 0.01]
    assert "an MM charge is 1.19 Å from a nucleus" in invalid_geometry(
        replace(frame, mm_positions=near)
    )
    none = replace(frame, mm_positions=near, mm_charges=np.r_[0.0, frame.mm_charges[1:]])
    assert invalid_geometry(none) is None


def test_positions_that_are_no_numbers_are_told(frame):
    assert invalid_geometry(moved(frame, 0, [np.nan, 0.0, 0.0])) == "positions are not finite"


def test_frames_are_near_duplicates_by_distances_and_potential(frame):
    known = KnownFrames([frame])
    assert known.has_near_duplicate(frame)
    assert known.has_near_duplicate(moved(frame, 4, [0.05, 0.0, 0.0]))
    assert not known.has_near_duplicate(moved(frame, 4, [0.4, 0.0, 0.0]))
    shift = np.array([5.0, 1.0, 0.0])
    shifted = replace(
        frame,
        qm_positions=frame.qm_positions + shift,
        mm_positions=frame.mm_positions + shift,
    )
    assert known.has_near_duplicate(shifted)
    assert not known.has_near_duplicate(replace(frame, mm_charges=-3.0 * frame.mm_charges))
    assert not known.has_near_duplicate(frame.in_vacuum())
    assert not known.has_near_duplicate(replace(frame, total_charge=1))
    assert not KnownFrames().has_near_duplicate(frame)


def test_a_frame_is_known_once_it_was_added(frame):
    known = KnownFrames([frame.in_vacuum()])
    known.add(frame)
    assert known.has_near_duplicate(frame)
