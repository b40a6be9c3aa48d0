"""The cut: whole residues, nearest images, independent of how the engine wrapped the box."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase.geometry import cellpar_to_cell

from eqmm_ase.cutting.cluster import Cluster, ClusterError, cut_cluster
from eqmm_ase.data.lattice import shortest_repeat
from eqmm_ase.data.unwrapping import make_whole

CELLS = {
    "cube": np.diag([26.0, 26.0, 26.0]),
    "brick": np.diag([30.0, 27.0, 26.0]),
    "octahedron": cellpar_to_cell([28.0, 28.0, 28.0, 109.4712190, 109.4712190, 109.4712190]),
    "skewed": np.array([[27.0, 0.0, 0.0], [13.0, 26.0, 0.0], [-12.0, 9.0, 27.0]]),
}
RADIUS = 8.0
N_QM = 5


@pytest.fixture(params=CELLS, ids=str)
def cell(request: pytest.FixtureRequest) -> np.ndarray:
    return CELLS[request.param]


class _Box:
    """A chain of QM atoms in randomly placed three-site residues, all whole."""

    def __init__(self, cell: np.ndarray, seed: int = 0, n_residues: int = 300) -> None:
        self.rng = np.random.default_rng(seed)
        self.cell = cell
        qm = np.cumsum(self.rng.normal(0.0, 0.6, (N_QM, 3)), axis=0) + self.rng.random(3) @ cell
        centres = self.rng.random((n_residues, 3)) @ cell
        sites = centres[:, None] + self.rng.uniform(-0.6, 0.6, (n_residues, 3, 3))
        self.positions = np.concatenate([qm, sites.reshape(-1, 3)])
        self.charges = np.concatenate([np.full(N_QM, 0.3), np.tile([-0.8, 0.4, 0.4], n_residues)])
        self.residues = np.concatenate([np.zeros(N_QM, int), 1 + np.arange(3 * n_residues) // 3])

    def wrapped(self) -> np.ndarray:
        """Every atom moved by a lattice vector of its own."""
        return self.positions + self.rng.integers(-2, 3, self.positions.shape) @ self.cell

    def cut(self, positions: np.ndarray | None = None, radius: float = RADIUS) -> Cluster:
        return cut_cluster(
            self.positions if positions is None else positions,
            self.charges,
            self.residues,
            np.arange(N_QM),
            self.cell,
            radius,
        )

    def nearest_by_enumeration(self) -> np.ndarray:
        """Distance of every site to the QM region over 7³ images, the slow and certain way."""
        shifts = np.array(list(itertools.product(range(-3, 4), repeat=3))) @ self.cell
        qm = self.positions[:N_QM]
        best = np.full(len(self.positions), np.inf)
        for shift in shifts:
            apart = np.linalg.norm(self.positions[:, None] + shift - qm[None], axis=-1)
            best = np.minimum(best, apart.min(axis=1))
        return best


def _distances_to_qm(cluster: Cluster) -> np.ndarray:
    apart = cluster.mm_positions[:, None] - cluster.qm_positions[None]
    return np.linalg.norm(apart, axis=-1).min(axis=1)


def test_residues_are_those_of_an_enumeration_of_all_images(cell):
    box = _Box(cell)
    near = box.nearest_by_enumeration() <= RADIUS
    expected = np.isin(box.residues, box.residues[near & (box.residues > 0)])
    cluster = box.cut()
    np.testing.assert_array_equal(cluster.mm_sites, np.flatnonzero(expected))
    inside = near[cluster.mm_sites]
    np.testing.assert_allclose(
        _distances_to_qm(cluster)[inside],
        box.nearest_by_enumeration()[cluster.mm_sites][inside],
        atol=1e-10,  # coordinates of some 100 Å in float64
    )


def test_wrapping_atoms_by_lattice_vectors_changes_nothing(cell):
    box = _Box(cell)
    whole = box.cut()
    for _ in range(3):
        wrapped = box.cut(box.wrapped())
        np.testing.assert_array_equal(wrapped.mm_sites, whole.mm_sites)
        np.testing.assert_array_equal(wrapped.mm_charges, whole.mm_charges)
        np.testing.assert_allclose(wrapped.qm_positions, whole.qm_positions, atol=1e-10)
        np.testing.assert_allclose(wrapped.mm_positions, whole.mm_positions, atol=1e-10)


def test_residues_come_whole_and_qm_atoms_are_no_charges(cell):
    box = _Box(cell)
    cluster = box.cut(box.wrapped())
    assert cluster.mm_sites.min() >= N_QM
    residues, counts = np.unique(box.residues[cluster.mm_sites], return_counts=True)
    assert set(counts) == {3}
    assert cluster.net_mm_charge == pytest.approx(0.0, abs=1e-12)
    for residue in residues:
        ours = cluster.mm_positions[box.residues[cluster.mm_sites] == residue]
        theirs = box.positions[box.residues == residue]
        np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], atol=1e-10)


def test_qm_region_is_whole_and_its_centroid_is_the_origin(cell):
    box = _Box(cell)
    cluster = box.cut(box.wrapped())
    qm = box.positions[:N_QM]
    np.testing.assert_allclose(cluster.qm_positions, qm - qm.mean(axis=0), atol=1e-10)


def test_a_residue_that_holds_a_qm_atom_gives_no_charges():
    box = _Box(CELLS["cube"])
    nearest = box.residues[N_QM + np.argmin(box.nearest_by_enumeration()[N_QM:])]
    inside = np.flatnonzero(box.residues == nearest)
    cluster = cut_cluster(
        box.positions, box.charges, box.residues, np.array([*range(N_QM), inside[0]]), box.cell, 6.0
    )
    assert not np.isin(inside, cluster.mm_sites).any()


def test_sites_without_charge_count_for_the_distance_but_are_left_out():
    positions = np.array([[0.0, 0.0, 0.0], [5.9, 0.0, 0.0], [6.5, 0.0, 0.0], [6.5, 0.5, 0.0]])
    charges = np.array([0.0, 0.0, 0.5, -0.5])
    cluster = cut_cluster(
        positions, charges, np.array([0, 1, 1, 1]), np.array([0]), np.diag([20.0] * 3), 6.0
    )
    np.testing.assert_array_equal(cluster.mm_sites, [2, 3])


@pytest.mark.parametrize("radius", [13.01, 20.0])
def test_a_radius_of_more_than_half_the_box_is_refused_with_both_lengths(radius):
    with pytest.raises(ClusterError, match=r"repeats every 26\.00 Å.*radius of.* 13\.0 Å"):
        _Box(CELLS["cube"]).cut(radius=radius)
    assert len(_Box(CELLS["cube"]).cut(radius=13.0).mm_charges) > 0


def test_a_residue_that_is_near_twice_is_taken_once_where_it_is_nearer():
    positions = np.array([[0.0, 0.0, 0.0], [7.9, 0.0, 0.0], [8.9, 0.0, 0.0]])
    charges, residues = np.array([0.0, 0.5, -0.5]), np.array([0, 1, 1])
    for repeat, expected, complete_to in (
        (16.95, [7.9, 8.9], np.inf),  # the other image is 8.05 Å away
        (16.85, [7.9, 8.9], 7.95),
        (16.6, [-8.7, -7.7], 7.9),
    ):
        cell = np.diag([repeat, 30.0, 30.0])
        cluster = cut_cluster(positions, charges, residues, np.array([0]), cell, 8.0)
        np.testing.assert_allclose(cluster.mm_positions[:, 0], expected)
        assert cluster.complete_to == pytest.approx(complete_to)


@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan")])
def test_a_radius_that_is_none_is_refused(radius):
    with pytest.raises(ClusterError, match="expected more than 0"):
        _Box(CELLS["cube"]).cut(radius=radius)


def test_nan_positions_are_refused():
    box = _Box(CELLS["cube"])
    box.positions[7, 1] = np.nan
    with pytest.raises(ClusterError, match="NaN"):
        box.cut()


def test_no_residue_near_gives_an_empty_cluster():
    cluster = cut_cluster(
        np.zeros((1, 3)), np.zeros(1), np.zeros(1, int), np.array([0]), np.eye(3) * 30.0, 5.0
    )
    assert cluster.mm_positions.shape == (0, 3)
    assert cluster.net_mm_charge == 0.0


def test_a_chain_longer_than_half_the_cell_is_made_whole(cell):
    rng = np.random.default_rng(4)
    chain = np.arange(16)[:, None] * np.array([1.3, 0.3, 0.2]) + rng.normal(0, 0.05, (16, 3))
    assert np.linalg.norm(chain[-1] - chain[0]) > shortest_repeat(cell) / 2
    wrapped = chain + np.concatenate([np.zeros((1, 3)), rng.integers(-2, 3, (15, 3)) @ cell])
    np.testing.assert_allclose(make_whole(wrapped, cell), chain, atol=1e-10)


def test_shortest_repeat_sees_through_a_skewed_description_of_the_same_lattice():
    cell = np.diag([10.0, 12.0, 14.0])
    skewed = np.array([[2, 1, 0], [1, 1, 0], [0, 3, 1]]) @ cell
    assert shortest_repeat(skewed) == pytest.approx(10.0)


def test_atoms_that_are_nowhere_are_refused() -> None:
    positions = np.array([[0.0, 0.0, 0.0], [np.nan, 0.0, 0.0], [1.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="not finite numbers"):
        make_whole(positions, 10.0 * np.eye(3))
