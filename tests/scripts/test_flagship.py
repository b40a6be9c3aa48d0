"""The flagship data: what the tests' subset holds, and that its labels come out again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from places import DATA

pytest.importorskip("pyscf")

from ase.io import read

from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, read_frames
from scripts.flagship import loosen
from scripts.flagship.compact import compact, evenly_along_coordinate
from scripts.flagship.flagship_data import FLAGSHIP, HELD_OUT, zeta

SUBSET = DATA / "flagship.h5"
ZETA = np.linspace(-3.0, 3.0, 13)


@pytest.fixture(scope="module")
def data() -> ReferenceData:
    return ReferenceData(SUBSET)


def sweep() -> list[Frame]:
    """Cl⁻ + CH3Cl along ζ, the carbon at the origin and no hydrogens."""
    positions = [[[0, 0, 0], [0, 0, -4 - z / 2], [0, 0, 4 - z / 2]] for z in ZETA]
    return [Frame(np.array([6, 17, 17]), np.array(p, dtype=float)) for p in positions]


def test_twenty_frames_of_every_medium_reach_from_reactant_to_product(data):
    frames = data.load()
    assert Counter(frame.medium for frame in frames) == {"gas": 20, "methanol": 20, "water": 20}
    assert {(frame.total_charge, frame.spin_multiplicity) for frame in frames} == {(-1, 1)}
    for medium in ("gas", "methanol", "water"):
        along = [zeta(f) for f in frames if f.medium == medium]
        assert min(along) < -3.0
        assert max(along) > 3.0
        assert np.diff(sorted(along)).max() < 1.0


def test_the_stored_labels_obey_the_physics(data):
    for frame in data.load():
        for charges in frame.charges.values():
            assert charges.sum() == pytest.approx(-1.0, abs=1e-4)
        net = frame.qm_forces.sum(0)
        if frame.medium != "gas":
            net = net + frame.mm_forces.sum(0)
        assert np.abs(net).max() < 0.01  # eV/Å: of the grid, which does not follow the molecule


@pytest.mark.slow
@pytest.mark.parametrize("index", [3, 50])
def test_a_stored_label_comes_out_again(data, index):
    stored = data[index]
    settings = {k: v for k, v in data.method.items() if k not in ("program", "versions")}
    settings["charges"] = tuple(settings["charges"])
    again = label_frame(stored, Method(**settings)).frame
    assert again.energy == pytest.approx(stored.energy, abs=1e-5)
    np.testing.assert_allclose(again.qm_forces, stored.qm_forces, atol=1e-4)
    if len(stored.mm_charges):
        np.testing.assert_allclose(again.mm_forces, stored.mm_forces, atol=1e-5)
        np.testing.assert_allclose(again.mm_potential, stored.mm_potential, atol=5e-5)
    np.testing.assert_allclose(again.charges["mbis"], stored.charges["mbis"], atol=1e-4)


def test_compact_frames_keep_the_positions_exactly_and_forces_to_a_step(data):
    rng = np.random.default_rng(1)
    frame = next(frame for frame in data.load() if frame.medium == "water")
    n_mm = len(frame.mm_charges)
    whole = Frame(
        frame.atomic_numbers,
        frame.qm_positions,
        mm_positions=np.round(rng.uniform(-20, 20, (n_mm, 3)) * 2**13) / 2**13,
        mm_charges=frame.mm_charges,
        mm_forces=rng.normal(size=(n_mm, 3)),
        mm_potential=rng.normal(size=n_mm),
    )
    small = compact(whole)
    assert small.mm_positions.dtype == small.mm_forces.dtype == np.float32
    np.testing.assert_array_equal(small.mm_positions, whole.mm_positions)
    np.testing.assert_allclose(small.mm_forces, whole.mm_forces, atol=5e-7)
    np.testing.assert_allclose(small.mm_potential, whole.mm_potential, atol=4e-6)


def test_frames_are_chosen_evenly_along_the_coordinate():
    chosen = evenly_along_coordinate(sweep(), 5)
    along = [zeta(frame) for frame in chosen]
    np.testing.assert_allclose(along, [-3.0, -1.5, 0.0, 1.5, 3.0])


@pytest.mark.slow
def test_loosened_geometries_are_known_ones_with_longer_bonds(tmp_path):
    loosen.main(tmp_path / "loose.xyz", "gas", 5, 2)
    known = [f for f in read_frames(FLAGSHIP / "gas.h5") if f.source not in HELD_OUT]
    rest = np.array([f.qm_positions[[0, 3, 4, 5]] for f in known])  # carbon and hydrogens
    bonds = np.array(
        [np.linalg.norm(f.qm_positions[1:3] - f.qm_positions[0], axis=1) for f in known]
    )
    images = read(tmp_path / "loose.xyz", ":")
    assert Counter(image.info["source"] for image in images) == {"loose-0": 20, "loose-1": 20}
    for image in images:
        away = np.abs(rest - image.positions[[0, 3, 4, 5]]).max(axis=(1, 2))
        longer = image.get_distances(0, [1, 2]) - bonds[away.argmin()]
        assert away.min() < 1e-6
        assert (longer > -1e-6).all()
        assert (longer < 0.4 + 1e-6).all()
        assert abs(bonds[away.argmin()] @ (1, -1)) < 1.2
        assert image.info["total_charge"] == -1
