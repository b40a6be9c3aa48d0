"""Frames from snapshots: whole residues, nearest images, charges that add up, smooth edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from box_kit import WATER, topology_in_water
from dipeptide_kit import ACETYL_METHYL, BETA_METHYL, DIPEPTIDE, POSITIONS, cut

from datagen.datasets.statistics import frame_statistics
from eqmm_ase.cutting.cluster import ClusterError
from eqmm_ase.cutting.qm_region import RegionError, find_region
from eqmm_ase.cutting.snapshots import CutError, CutSettings, SnapshotCutter
from eqmm_ase.cutting.trajectories import Snapshot
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.switching import residue_scales, switch
from eqmm_ase.topology import Topology

EDGE, RADIUS = 32.0, 8.0
CELL = np.diag([EDGE, EDGE + 1.0, EDGE + 2.0])


def solvated() -> tuple[Topology, np.ndarray]:
    """The dipeptide among four-site waters on a grid, none nearer than 2.5 Å."""
    steps = np.arange(1.0, EDGE - 1.0, 3.1)
    places = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    apart = np.linalg.norm(places[:, None] - POSITIONS[None], axis=-1).min(axis=1)
    places = places[apart > 3.5]
    return topology_in_water(len(places)), np.concatenate(
        [POSITIONS, (places[:, None] + WATER).reshape(-1, 3)]
    )


SOLVATED, PLACES = solvated()


def cut_box(qm_atoms: tuple[int, ...], positions: np.ndarray = PLACES, **settings: object) -> Frame:
    values = {"medium": "water", "radius": RADIUS, **settings}
    cutter = SnapshotCutter(
        SOLVATED, find_region(SOLVATED, np.array(qm_atoms)), CutSettings(**values)
    )
    return cutter(Snapshot(0, positions, CELL), "run")


def test_wrapping_does_not_matter_even_across_cut_bonds():
    shifts = np.random.default_rng(0).integers(-2, 3, PLACES.shape) @ CELL
    for settings in ({}, {"switch_from": 6.0, "cap_rule": "fixed"}):
        whole, torn = (
            cut_box(BETA_METHYL, **settings),
            cut_box(BETA_METHYL, PLACES + shifts, **settings),
        )
        np.testing.assert_allclose(torn.qm_positions, whole.qm_positions, atol=1e-9)
        np.testing.assert_allclose(torn.mm_positions, whole.mm_positions, atol=1e-9)
        np.testing.assert_allclose(torn.mm_charges, whole.mm_charges, atol=1e-12)


def test_a_molecule_that_is_not_cut_is_whole_and_its_surroundings_neutral():
    frame = cut_box(tuple(range(22)))
    np.testing.assert_array_equal(frame.atomic_numbers, DIPEPTIDE.atomic_numbers)
    assert frame.boundary is None
    assert frame.mm_charges_original is None
    assert frame.n_mm % 3 == 0
    assert np.count_nonzero(frame.mm_charges == -1.04) == frame.n_mm // 3
    assert frame_statistics([frame]).net_mm_charge == (0.0, 0.0)


def test_the_rest_of_a_cut_residue_stays_and_the_charge_that_is_left_is_told():
    frame = cut_box(BETA_METHYL)
    statistics = frame_statistics([frame])
    inside = DIPEPTIDE.charges[list(BETA_METHYL)].sum()
    assert statistics.net_mm_charge == pytest.approx((-inside, -inside), abs=1e-6)
    assert f"net MM charge {-inside:+.4f} e" in statistics.sentence()
    peptide = frame.mm_charges_original[~np.isin(np.abs(frame.mm_charges_original), [0.52, 1.04])]
    rest = np.setdiff1d(np.arange(22), [*BETA_METHYL, 8])
    assert set(DIPEPTIDE.charges[rest]) <= set(peptide.tolist())
    # Nearest are N, HA and C, bonded to M1; caps and charges between atoms do not count.
    apart = np.linalg.norm(POSITIONS[list(BETA_METHYL)][:, None] - POSITIONS[rest], axis=-1)
    assert statistics.closest_contact == pytest.approx(apart.min())


def test_a_qm_water_takes_its_virtual_site_along():
    frame = cut_box((22, 23, 24))
    assert frame.n_qm == 3
    assert abs(frame.mm_charges.sum()) < 1e-9
    assert np.linalg.norm(frame.mm_positions - frame.qm_positions[0], axis=1).min() > 1.5


def test_a_box_is_needed_and_must_be_large_enough():
    cutter = SnapshotCutter(
        SOLVATED, find_region(SOLVATED, np.arange(22)), CutSettings("water", radius=RADIUS)
    )
    with pytest.raises(CutError, match="frame 4 has no periodic box"):
        cutter(Snapshot(4, PLACES, None), "run")
    with pytest.raises(ClusterError, match=r"frame 2: .* radius of 8 .* half of that, 7.6 Å"):
        cutter(Snapshot(2, PLACES, CELL / 2.1), "run")
    alone = cut(tuple(range(22)))
    assert (alone.n_mm, alone.cell) == (0, None)


def test_total_charge_is_the_integer_near_the_force_fields():
    assert cut(BETA_METHYL).total_charge == 0
    carbonyl_carbon = (14,)
    with pytest.raises(RegionError, match=r"add up to \+0.597 e, which is near no integer"):
        cut(carbonyl_carbon)
    given = cut(carbonyl_carbon, total_charge=-1, redistribution="zero")
    assert given.total_charge == -1
    with pytest.raises(ValueError, match="odd number"):
        cut(BETA_METHYL, total_charge=1)


def test_cuts_that_make_no_sense_are_sentences():
    with pytest.raises(RegionError, match=r"cuts the bond ALA 2 CB–ALA 2 HB3"):
        cut((10, 11, 12))
    with pytest.raises(RegionError, match="ALA 2 CA is bonded to several QM atoms"):
        cut((*BETA_METHYL, 6, 7))
    numbers = np.where(np.arange(22) == 10, 0, DIPEPTIDE.atomic_numbers)
    with pytest.raises(RegionError, match="the element of ALA 2 CB is not known"):
        cut(BETA_METHYL, topology=replace(DIPEPTIDE, atomic_numbers=numbers))
    with pytest.raises(CutError, match="expected one of zero, shift, shift-dipole, rc, rcd"):
        cut(BETA_METHYL, redistribution="none")
    with pytest.raises(CutError, match="less than a finite radius, here 30 Å"):
        cut(BETA_METHYL, switch_from=30.0)
    with pytest.raises(CutError, match="radius is 1; expected at least 3"):
        cut(BETA_METHYL, radius=1.0)


def test_a_trajectory_of_another_topology_is_noticed():
    shuffled = POSITIONS[::-1].copy()
    shuffled[0] += 20.0
    with pytest.raises(CutError, match="does the trajectory belong to the topology"):
        cut(tuple(range(22)), shuffled)


def test_fading_keeps_neutral_residues_neutral_and_the_originals():
    frame = cut_box(ACETYL_METHYL, switch_from=6.0)
    sharp = cut_box(ACETYL_METHYL)
    waters = np.abs(np.abs(frame.mm_charges_original) - 1.04) < 1e-12
    waters |= frame.mm_charges_original == 0.52
    scales = (frame.mm_charges / np.where(waters, frame.mm_charges_original, 1.0))[waters]
    triples = scales.reshape(-1, 3)
    np.testing.assert_allclose(triples, triples[:, :1] * np.ones(3), rtol=1e-9)
    assert 0.0 < triples.min() < 0.5
    assert triples.max() == 1.0
    assert frame_statistics([frame]).net_mm_charge == pytest.approx(
        frame_statistics([sharp]).net_mm_charge, abs=2e-6
    )


def test_scales_are_smooth_as_a_residue_crosses_the_edge():
    """Values from 1 to 0, and second derivatives without a jump at both radii."""
    qm = np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0]])
    ion = np.array([[0.0, 0.0, 0.0], [0.0, 0.7, 0.0]])  # two charges of one residue

    def scale(distance: float) -> float:
        moved = ion + np.array([distance, 0.0, 0.0])
        scales = residue_scales(qm, moved, np.array([7, 7]), 5.0, 8.0)
        assert scales[0] == scales[1]
        return float(scales[0])

    assert scale(6.4) == 1.0  # 4.9 Å from the nearer atom
    assert scale(9.51) == 0.0
    step = 1e-3
    distances = np.arange(6.3, 9.7, step)
    values = np.array([scale(distance) for distance in distances])
    assert (np.diff(values) <= 0.0).all()
    curvature = np.diff(values, 2) / step**2
    assert np.abs(np.diff(curvature)).max() < 0.02  # it changes by 1 within the range
    np.testing.assert_allclose(switch(np.array([5.0, 6.5, 8.0]), 5.0, 8.0), [1.0, 0.5, 0.0])
