"""Every input that cannot be meant gets one sentence; input that can be meant passes."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from eqmm_ase import Frame
from eqmm_ase.data import checks
from eqmm_ase.uncertainty.domain import Domain

RNG = np.random.default_rng(0)
WATER = molecule("H2O")


def box_of_water(n_sites: int, sites_per_molecule: int = 3) -> np.ndarray:
    """Positions in Å at the density of water, one molecule per 29.9 Å³."""
    n_molecules = n_sites // sites_per_molecule
    length = (29.9 * n_molecules) ** (1 / 3)
    centres = RNG.uniform(0, length, (n_molecules, 3))
    return (centres[:, None] + RNG.normal(0, 0.5, (n_molecules, sites_per_molecule, 3))).reshape(
        -1, 3
    )


@pytest.mark.parametrize(
    ("charges", "sentence"),
    [
        (np.zeros((3, 1)), r"mm_charges must have shape \(n_mm,\), got \(3, 1\)"),
        (0.5, r"must have shape \(n_mm,\), got \(\)"),
        ([0.1, np.nan, np.inf], "2 values are NaN or infinite, the first at index 1"),
        ([0.1, 15.2, -7.6], r"largest is 15.2 \(number 1\); are they in another unit"),
        (["O", "H"], "must be an array of plain numbers"),
        ([[0.1], [0.2, 0.3]], "must be an array of plain numbers"),
    ],
)
def test_bad_charges(charges, sentence):
    with pytest.raises(ValueError, match=sentence):
        checks.point_charges(charges)


@pytest.mark.parametrize(
    ("positions", "sentence"),
    [
        (np.zeros((3, 4)), r"must have shape \(4, 3\), one row for each of the 4 charges"),
        (np.zeros(12), r"got \(12,\)"),
        (np.full((4, 3), np.nan), "12 values are NaN or infinite, the first at index 0, 0"),
    ],
)
def test_bad_mm_positions(positions, sentence):
    with pytest.raises(ValueError, match=sentence):
        checks.mm_positions(positions, 4)


@pytest.mark.parametrize("n_sites", [30, 720, 30000])
@pytest.mark.parametrize("sites_per_molecule", [3, 5])
def test_nm_taken_for_angstrom_is_noticed_and_angstrom_is_not(n_sites, sites_per_molecule):
    positions = box_of_water(n_sites, sites_per_molecule)
    checks.not_too_dense(positions)
    with pytest.raises(ValueError, match="in nm instead of Å"):
        checks.not_too_dense(positions / 10)


def test_charges_in_a_plane_on_a_line_and_on_a_cavity_are_not_too_dense():
    line = np.arange(100)[:, None] * [0.5, 0, 0]
    plane = np.argwhere(np.ones((30, 30, 1))) * 0.5
    sphere = RNG.normal(size=(600, 3))
    sphere *= 4.0 / np.linalg.norm(sphere, axis=1)[:, None]
    for positions in (line, plane, sphere, np.zeros((0, 3))):
        checks.not_too_dense(positions)


def test_bad_qm_positions():
    with pytest.raises(ValueError, match="no QM atoms"):
        checks.qm_positions(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="QM atoms: 1 values are NaN"):
        checks.qm_positions([[0, 0, 0], [0, 0, np.inf]])
    with pytest.raises(ValueError, match=r"QM atoms 0 and 1 are 0\.09\d* Å apart"):
        checks.qm_positions(WATER.positions / 10)
    assert checks.qm_positions([[0, 0, 0]]).shape == (1, 3)


@pytest.mark.parametrize("far", [0.0, 1000.0])
@pytest.mark.parametrize("charge", [0.4, 0.0])
def test_a_charge_on_a_nucleus(far, charge):
    qm = WATER.positions + far
    on_it = qm[[2]] + [0.05, 0, 0]
    with pytest.raises(ValueError, match=r"MM charge 0 .* lies on QM atom 2 \(H, 0\.05 Å apart\)"):
        checks.distances_to_charges(qm, WATER.numbers, on_it, np.array([charge]))
    beside_link_atom = qm[[2]] + [0.4, 0, 0]
    checks.distances_to_charges(qm, WATER.numbers, beside_link_atom, np.array([charge]))


def test_distances_are_exact_enough_far_from_the_origin():
    a, b = RNG.normal(size=(5, 3)) + 5000, RNG.normal(size=(40, 3)) * 20 + 5000
    expected = ((a[:, None] - b) ** 2).sum(-1)
    np.testing.assert_allclose(checks.squared_distances(a, b), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("charge", "spin"), [(0, 1), (0, 3), (1, 2), (-1, 2), (2, 1), (10, 1)])
def test_electron_counts_that_exist(charge, spin):
    checks.electron_count(WATER.numbers, charge, spin)


@pytest.mark.parametrize(
    ("charge", "spin", "sentence"),
    [
        (1, 1, r"H2O with total charge \+1 has 9 electrons, an odd number, .*one of 2, 4, …"),
        (0, 2, r"has 10 electrons, an even number, which spin multiplicity 2 .*one of 1, 3, …"),
        (11, 1, "has -1 electrons, too few for spin multiplicity 1"),
        (8, 5, "has 2 electrons, too few for spin multiplicity 5"),
        (0, 0, "spin_multiplicity must be 1 or more, got 0"),
    ],
)
def test_electron_counts_that_do_not_exist(charge, spin, sentence):
    with pytest.raises(ValueError, match=sentence):
        checks.electron_count(WATER.numbers, charge, spin)


def test_a_proton_has_no_electrons_and_is_allowed():
    checks.electron_count(np.array([1]), 1, 1)


@pytest.mark.parametrize("value", [1, 1.0, np.int64(1), np.float64(1.0), True])
def test_whole_numbers(value):
    assert checks.whole_number(value, "total_charge") == 1


@pytest.mark.parametrize("value", [0.5, "1", None, np.nan, np.inf, [1, 2]])
def test_numbers_that_are_not_whole(value):
    with pytest.raises(ValueError, match="total_charge must be a whole number"):
        checks.whole_number(value, "total_charge")


def test_composition_is_in_hill_order():
    assert checks.composition(np.array([8, 6, 1, 1, 1, 1])) == "CH4O"
    assert checks.composition(np.array([17, 6, 1, 1, 1, 17])) == "CH3Cl2"


# --- the domain ---


def frames() -> list[Frame]:
    charges = {"mm_positions": np.array([[0, 0, 6.0]]), "mm_charges": np.array([0.4])}
    methanol, chloride = molecule("CH3OH"), np.array([17])
    return [
        Frame(WATER.numbers, WATER.positions, **charges),
        Frame(methanol.numbers, methanol.positions),
        Frame(chloride, np.zeros((1, 3)), total_charge=-1),
        Frame(np.array([8, 1]), np.array([[0, 0, 0], [0, 0, 1.0]]), spin_multiplicity=2),
    ]


def test_domain_is_what_the_frames_span():
    domain = Domain.of(frames())
    assert domain.compositions == ("CH4O", "Cl", "H2O", "HO")
    assert domain.total_charges == (-1, 0)
    assert domain.spin_multiplicities == (1, 2)
    assert domain.n_qm == (1, 6)
    assert domain.closest_mm == pytest.approx(6.0 - WATER.positions[0, 2], abs=1e-4)
    assert set(domain.closest) == {"H+", "O+"}
    assert domain.closest["O+"] == domain.closest_mm < domain.closest["H+"]
    assert not domain.out_of_domain(WATER.numbers, 0, 1)
    assert domain.regions == (("CH4O", 0, 1), ("Cl", -1, 1), ("H2O", 0, 1), ("HO", 0, 2))
    assert Domain.from_dict(domain.to_dict()) == domain


def test_domain_names_what_lies_outside():
    domain = Domain.of(frames())
    found = domain.out_of_domain(molecule("C2H6").numbers, 2, 3)
    assert set(found) == {"size 8", "composition C2H6"}
    many = Domain(compositions=tuple(f"C{i}" for i in range(20)))
    assert many.out_of_domain(np.array([8]), 0, 1)["composition O"].endswith("C6, … 20 in all)")


def test_a_domain_that_is_unknown_never_warns():
    for domain in (Domain(), Domain.of([]), Domain.from_dict({"news": [1], "n_qm": None})):
        assert domain == Domain()
        assert not domain.out_of_domain(WATER.numbers, 5, 5)
        domain.refuse_state(WATER.numbers, 5, 5)
        assert domain.knows_charges
