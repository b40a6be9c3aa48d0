"""Cuts in boxes hardly larger than the molecule: nearest images, wrapped in any way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from box_kit import CELLS, images, in_water
from dipeptide_kit import BETA_METHYL

from eqmm_ase.cutting.cluster import ClusterError
from eqmm_ase.cutting.qm_region import find_region
from eqmm_ase.cutting.snapshots import CutError, CutSettings, SnapshotCutter
from eqmm_ase.cutting.trajectories import Snapshot
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.lattice import shortest_repeat
from eqmm_ase.topology import Topology

PEPTIDE = tuple(range(22))
WATER_OXYGEN = 22


@pytest.fixture(params=CELLS, ids=str)
def cell(request: pytest.FixtureRequest) -> np.ndarray:
    return CELLS[request.param]


def _cutter(topology: Topology, qm_atoms: tuple[int, ...], **settings: object) -> SnapshotCutter:
    region = find_region(topology, np.array(qm_atoms))
    return SnapshotCutter(topology, region, CutSettings(**{"medium": "water", **settings}))


def _enumerated(
    topology: Topology, positions: np.ndarray, cell: np.ndarray, qm_atoms: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slow and certain way, from whole molecules: 343 images of every residue.

    Positions in the nearest image (rows of the QM atoms as they are), and distances of the nearest
    and second nearest image of each residue.
    """
    qm = positions[list(qm_atoms)]
    shifts = images(3) @ cell
    placed = positions - qm.mean(axis=0)
    n_residues = int(topology.residues.max()) + 1
    nearest, second = np.full(n_residues, np.inf), np.full(n_residues, np.inf)
    for residue in range(n_residues):
        rows = np.flatnonzero(topology.residues == residue)
        rows = rows[~np.isin(rows, qm_atoms)]
        if len(rows) == 0:
            continue
        apart = positions[rows][None, :, None] + shifts[:, None, None] - qm[None, None]
        distances = np.linalg.norm(apart, axis=-1).min(axis=(1, 2))
        order = np.argsort(distances)
        nearest[residue], second[residue] = distances[order[:2]]
        placed[rows] += shifts[order[0]]
    return placed, nearest, second


@pytest.mark.parametrize("qm_atoms", [PEPTIDE, BETA_METHYL], ids=["peptide", "side chain"])
def test_each_residue_is_taken_once_in_its_nearest_image(cell, qm_atoms):
    topology, positions = in_water(cell)
    placed, nearest, second = _enumerated(topology, positions, cell, qm_atoms)
    radius = np.floor(10 * shortest_repeat(cell) / 2) / 10
    cutter = _cutter(topology, qm_atoms, radius=radius, redistribution="zero")
    frame = cutter(Snapshot(0, positions, cell), "run")
    expected = np.flatnonzero(
        (nearest[topology.residues] <= radius)
        & (topology.charges != 0.0)
        & ~np.isin(np.arange(topology.n_sites), qm_atoms)
    )
    hosts = [link.m1_atom_index for link in frame.boundary.links] if frame.boundary else []
    expected = np.setdiff1d(expected, hosts)
    np.testing.assert_array_equal(frame.mm_atom_indices, expected)
    np.testing.assert_allclose(frame.mm_positions, placed[expected], atol=1e-9)
    taken_twice = second[second <= radius]
    assert len(taken_twice) > 0  # otherwise the box is not small
    assert cutter.complete_to == pytest.approx(taken_twice.min(), abs=1e-9)
    assert cutter.complete_to > 6.0


def _versions(positions: np.ndarray, cell: np.ndarray, topology: Topology) -> dict[str, np.ndarray]:
    """The same snapshot as different programs write it."""
    rng = np.random.default_rng(1)
    molecules = np.maximum(topology.residues - 2, 0)  # the dipeptide is one

    def wrapped(places: np.ndarray) -> np.ndarray:
        return places - np.floor(places @ np.linalg.inv(cell)) @ cell

    def molecules_wrapped(places: np.ndarray) -> np.ndarray:
        first = np.unique(molecules, return_index=True)[1]
        return places + (wrapped(places[first]) - places[first])[molecules]

    moved = rng.integers(-3, 4, (int(molecules.max()) + 1, 3)) @ cell
    return {
        "atoms wrapped": wrapped(positions),
        "molecules wrapped": molecules_wrapped(positions),
        "diffused": positions + moved[molecules],
        "another origin": wrapped(positions + rng.random(3) @ cell),
        "centred": molecules_wrapped(positions - positions[:22].mean(axis=0) + cell.sum(0) / 2),
        "peptide at a corner": wrapped(positions - positions[8]),
    }


@pytest.mark.parametrize(
    "settings",
    [{"radius": 10.5}, {"radius": 6.5, "switch_from": 4.0, "cap_rule": "fixed"}],
    ids=["sharp", "fading"],
)
@pytest.mark.parametrize("qm_atoms", [PEPTIDE, BETA_METHYL], ids=["peptide", "side chain"])
def test_wrapping_centring_and_origin_change_nothing(cell, qm_atoms, settings):
    topology, positions = in_water(cell)
    cutter = _cutter(topology, qm_atoms, **settings)
    whole = cutter(Snapshot(0, positions, cell), "run")
    for name, places in _versions(positions, cell, topology).items():
        frame = cutter(Snapshot(0, places, cell), "run")
        _assert_same(frame, whole, name)


def _assert_same(frame: Frame, other: Frame, name: str) -> None:
    np.testing.assert_array_equal(frame.mm_atom_indices, other.mm_atom_indices, err_msg=name)
    for key in ("qm_positions", "mm_positions", "mm_charges"):
        np.testing.assert_allclose(
            getattr(frame, key), getattr(other, key), atol=1e-9, err_msg=f"{name}: {key}"
        )


def test_molecules_of_a_region_are_brought_together_wherever_they_are(cell):
    """The dipeptide and the two waters nearest to it, each in an image of its own."""
    topology, positions = in_water(cell)
    oxygens = np.arange(WATER_OXYGEN, topology.n_sites, 4)
    _, nearest, _ = _enumerated(topology, positions, cell, PEPTIDE)
    first, second = oxygens[np.argsort(nearest[topology.residues[oxygens]])[:2]]
    qm_atoms = (*PEPTIDE, *range(first, first + 3), *range(second, second + 3))
    cutter = _cutter(topology, tuple(sorted(qm_atoms)), radius=8.0)
    frames = [
        cutter(Snapshot(0, places, cell), "run")
        for places in _versions(positions, cell, topology).values()
    ]
    for frame in frames:
        _assert_same(frame, frames[0], "region of three molecules")
        waters = frame.qm_positions[22:].reshape(2, 3, 3)
        apart = np.linalg.norm(waters[:, :, None] - frame.qm_positions[:22], axis=-1).min((1, 2))
        shortest = sorted(nearest[topology.residues[oxygens]])[:2]
        assert sorted(apart) == pytest.approx(shortest, abs=0.3)  # hydrogens may be nearer


def test_molecules_are_made_whole_by_their_bonds_where_an_image_is_nearer_than_a_bond():
    """An iodine 2.1 Å from its carbon, 1.9 Å from another atom's image."""
    cell = np.diag([8.0, 30.0, 30.0])
    positions = np.array([[0.0, 0.0, 0.0], [2.1, 0.0, 0.0], [4.2, 0.0, 0.0], [6.1, 0.0, 0.0]])
    topology = Topology(
        atomic_numbers=np.array([53, 6, 53, 53]),
        charges=np.zeros(4),
        names=("I1", "C", "I2", "I3"),
        residues=np.zeros(4, int),
        residue_names=("TRI",),
        residue_numbers=(1,),
        segments=("",),
        bonds=np.array([[0, 1], [1, 2], [2, 3]]),
        parents=np.full(4, -1),
    )
    cutter = _cutter(topology, (0, 1, 2, 3), radius=np.inf, total_charge=-1)
    wrapped = np.where(positions > 4.0, positions - cell[0], positions)
    frame = cutter(Snapshot(0, wrapped, cell), "run")
    np.testing.assert_allclose(np.diff(frame.qm_positions[:, 0]), [2.1, 2.1, 1.9], atol=1e-12)


def test_up_to_half_of_the_box_fits_and_the_message_names_the_largest_radius(cell):
    topology, positions = in_water(cell)
    half = shortest_repeat(cell) / 2
    snapshot = Snapshot(7, positions, cell)
    assert _cutter(topology, PEPTIDE).largest_radius(snapshot) == pytest.approx(half)
    largest = np.floor(10 * half) / 10
    with pytest.raises(ClusterError, match=rf"frame 7: .*half of that, {largest:.1f} Å"):
        _cutter(topology, PEPTIDE, radius=12.0)(snapshot, "run")
    assert _cutter(topology, PEPTIDE, radius=largest)(snapshot, "run").n_mm > 200


def test_a_region_that_reaches_through_the_box_is_no_cluster():
    """Three waters 7.5 Å apart, across a box of 22.5 Å."""
    cell = CELLS["cube"]
    topology, positions = in_water(cell)
    far = positions.copy()
    for k, z in enumerate((0.0, 7.5, 15.0)):
        rows = np.arange(22 + 4 * k, 26 + 4 * k)
        far[rows] += [30.0, 30.0, 30.0 + z] - positions[rows[0]]
    cutter = _cutter(topology, (22, 23, 24, 26, 27, 28, 30, 31, 32), radius=9.0)
    with pytest.raises(ClusterError, match=r"QM region from its own image, [678]\.\d Å"):
        cutter(Snapshot(0, far, cell), "run")


def test_fading_charges_need_a_radius_within_which_no_residue_is_twice():
    cell = CELLS["cube"]
    topology, positions = in_water(cell)
    snapshot = Snapshot(3, positions, cell)
    cutter = _cutter(topology, PEPTIDE, radius=11.0, switch_from=5.0)
    largest = cutter.largest_radius(snapshot)
    assert 5.0 < largest < 11.0
    with pytest.raises(CutError, match=rf"frame 3: .*fits is {np.floor(10 * largest) / 10:.1f} Å"):
        cutter(snapshot, "run")
    fits = _cutter(topology, PEPTIDE, radius=largest - 1e-6, switch_from=5.0)
    assert fits(snapshot, "run").n_mm > 0


def test_of_two_images_at_the_same_distance_the_same_one_is_taken_every_time():
    """An ion on the face of the box around a water, with the origin wherever it may be."""
    cell = np.diag([20.0, 22.0, 24.0])
    topology, _ = in_water(CELLS["cube"])
    rows = np.arange(22, 30)
    two = replace(
        topology,
        **{name: getattr(topology, name)[rows] for name in ("atomic_numbers", "charges")},
        names=tuple(topology.names[i] for i in rows),
        residues=topology.residues[rows] - topology.residues[22],
        residue_names=("WAT", "WAT"),
        residue_numbers=(1, 2),
        segments=("", ""),
        bonds=topology.bonds[(topology.bonds >= 22).all(1) & (topology.bonds < 30).all(1)] - 22,
        parents=np.array([-1, -1, -1, 0, -1, -1, -1, 4]),
    )
    water = np.array([[0.0, 0.0, 0.0], [0.0, 0.76, 0.59], [0.0, -0.76, 0.59], [0.0, 0.0, 0.15]])
    positions = np.concatenate([water, water + np.array([10.0, 0.0, 0.0])])
    cutter = _cutter(two, (0, 1, 2), radius=10.0)
    first = cutter(Snapshot(0, positions, cell), "run")
    for seed in range(12):
        rng = np.random.default_rng(seed)
        places = positions + 30.0 * rng.random(3) + rng.integers(-2, 3, positions.shape) @ cell
        _assert_same(cutter(Snapshot(0, places, cell), "run"), first, f"origin {seed}")


def test_positions_that_fit_neither_bonds_nor_box_are_refused():
    cell = CELLS["cube"]
    topology, positions = in_water(cell)
    cutter = _cutter(topology, PEPTIDE, radius=8.0)
    torn = positions.copy()
    _, nearest, _ = _enumerated(topology, positions, cell, PEPTIDE)
    atom = int(np.flatnonzero(topology.residues == np.argsort(nearest)[1])[1])
    torn[atom] += [6.0, 0.0, 0.0]
    name = topology.label(atom)
    with pytest.raises(CutError, match=rf"frame 0 the bond WAT .*{name} is .* the box to"):
        cutter(Snapshot(0, torn, cell), "run")
    torn[atom] = positions[atom - 1] if topology.names[atom] == "H1" else positions[atom - 2]
    with pytest.raises(CutError, match=r"is 0\.00 Å long; .* positions in Å"):
        cutter(Snapshot(0, torn, cell), "run")
    alone = _cutter(topology, PEPTIDE, radius=8.0, isolated=True)
    with pytest.raises(CutError, match=r"is 0\.\d\d Å long; .* positions in Å"):
        alone(Snapshot(0, positions / 10.0, None), "run")
    wrapped = _versions(positions, cell, topology)["peptide at a corner"]
    with pytest.raises(CutError, match="does the system really not repeat"):
        alone(Snapshot(0, wrapped, None), "run")
