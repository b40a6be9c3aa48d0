"""Tensors of a periodic box: against brute force, and all derivatives of one energy."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable

import ewald_reference
import numpy as np
import pytest
import torch

from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.expansion import expand
from eqmm_ase.periodic.cell import Box, BoxTooSmallError, images_within
from eqmm_ase.periodic.ewald import Ewald, EwaldExpansion, best_cutoff
from eqmm_ase.units import COULOMB_CONSTANT

L = 4
OCTAHEDRON = np.array([[3, 0, 0], [1, 8**0.5, 0], [-1, 2**0.5, 6**0.5]]) / 3  # OpenMM's vectors
CELLS = {
    "cubic": 18.0 * np.eye(3),
    "triclinic": np.array([[18.0, 0, 0], [5, 19, 0], [-4, 6, 18]]),
    "truncated octahedron": 21.0 * OCTAHEDRON,
}
ATOMS = np.array([[3.0, 4.0, 5.0], [4.4, 4.0, 5.3], [2.5, 5.0, 5.2]])
BESIDE = np.array([[-1.0, -0.9, -0.65]])  # 1.5 Å
SMALL_CELL = np.array([[11.0, 0, 0], [3, 12, 0], [-2, 4, 10]])


def water(cell: np.ndarray, nearest: float = 2.3) -> tuple[np.ndarray, np.ndarray]:
    """Charges as in water at positions as in a gas of its density, around the atoms."""
    rng = np.random.default_rng(5)
    oxygens = rng.uniform(0, 1, (int(abs(np.linalg.det(cell)) / 30), 1, 3)) @ cell
    bonds = rng.normal(size=(len(oxygens), 2, 3)) * 0.55
    molecules = np.concatenate([oxygens, oxygens + bonds], axis=1)
    vectors = molecules[:, :, None] - ATOMS
    vectors -= np.round(vectors @ np.linalg.inv(cell)) @ cell
    far = np.linalg.norm(vectors, axis=3).min((1, 2)) > nearest
    sites = molecules[far].reshape(-1, 3)
    return sites, np.tile([-0.834, 0.417, 0.417], far.sum())


def few_charges(seed: int = 1, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Charges that do not add up to zero in the small cell, one of them 1.5 Å from an atom."""
    rng = np.random.default_rng(seed)
    sites = rng.uniform(0, 1, (count, 3)) @ SMALL_CELL
    vectors = sites[:, None] - ATOMS
    vectors -= np.round(vectors @ np.linalg.inv(SMALL_CELL)) @ SMALL_CELL
    sites = sites[np.linalg.norm(vectors, axis=2).min(1) > 1.4]
    sites[0] = ATOMS[0] + BESIDE[0]
    return sites, rng.normal(size=len(sites))


def exact(l_max: int = L, cutoff: float | None = None) -> Ewald:
    return Ewald(l_max, tolerance=1e-10, cutoff=cutoff, dtype=torch.float64)


def expansion(ewald: Ewald, atoms, sites, charges, cell) -> EwaldExpansion:
    return ewald.expansion(*(torch.as_tensor(x) for x in (atoms, sites, charges)), cell)


def weights(n_atoms: int = len(ATOMS), l_max: int = L) -> torch.Tensor:
    """Some dE/dC."""
    return torch.from_numpy(np.random.default_rng(7).normal(size=(n_atoms, (l_max + 1) ** 2)))


def along(function: Callable[[float], float], step: float = 1e-3) -> float:
    """Derivative at 0 by central differences of fourth order."""
    at = [function(n * step) for n in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)


def errors_by_order(found: torch.Tensor, reference: np.ndarray) -> list[float]:
    difference = found.detach().double().numpy() - reference
    orders = [slice(l**2, (l + 1) ** 2) for l in range(L + 1)]
    return [
        float(np.linalg.norm(difference[:, order]) / np.linalg.norm(reference[:, order]))
        for order in orders
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_tensors_agree_with_brute_force(name: str) -> None:
    cell = CELLS[name]
    sites, charges = water(cell)
    reference = ewald_reference.tensors(ATOMS, sites, charges, cell, L)
    found = expansion(Ewald(L), ATOMS, sites, charges, cell).tensors
    assert max(errors_by_order(found, reference)) < 1e-4
    found = expansion(exact(), ATOMS, sites, charges, cell).tensors
    assert (
        max(errors_by_order(found, reference)) < 1e-5
    )  # what the sphere leaves of l = 12 in l = 4

    # One more charge, 1.5 Å from an atom, makes the box charged.
    site, charge = ATOMS[:1] + BESIDE, np.array([0.7])
    reference += ewald_reference.tensors(ATOMS, site, charge, cell, L)
    sites, charges = np.concatenate([sites, site]), np.concatenate([charges, charge])
    found = expansion(Ewald(L), ATOMS, sites, charges, cell).tensors
    assert max(errors_by_order(found, reference)) < 1e-4


@pytest.mark.slow
def test_the_splitting_does_not_matter() -> None:
    system = ATOMS, *few_charges(), SMALL_CELL
    found = [expansion(exact(cutoff=cutoff), *system) for cutoff in (3.0, 4.3)]
    torch.testing.assert_close(found[0].tensors, found[1].tensors, rtol=0, atol=1e-9)
    for one, other in zip(*(e.pull_back(weights()) for e in found), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)
    one, other = (e.strain(weights()) for e in found)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("l_max", [0, 3, 4])
def test_all_derivatives_are_those_of_one_energy(l_max: int) -> None:
    sites, charges = few_charges()
    ewald, grad = exact(l_max), weights(l_max=l_max)
    rng = np.random.default_rng(3)
    by_atom, by_site, by_charge = (rng.normal(size=x.shape) for x in (ATOMS, sites, charges))
    shear = 0.1 * rng.normal(size=(3, 3))

    def energy(*system: np.ndarray) -> float:
        return float((expansion(ewald, *system).tensors.detach() * grad).sum())

    found = expansion(ewald, ATOMS, sites, charges, SMALL_CELL)
    atoms_gradient, sites_gradient, charges_gradient = (x.numpy() for x in found.pull_back(grad))
    moved = along(lambda t: energy(ATOMS + t * by_atom, sites, charges, SMALL_CELL))
    assert (atoms_gradient * by_atom).sum() == pytest.approx(moved, rel=1e-7)
    moved = along(lambda t: energy(ATOMS, sites + t * by_site, charges, SMALL_CELL))
    assert (sites_gradient * by_site).sum() == pytest.approx(moved, rel=1e-7)
    moved = along(lambda t: energy(ATOMS, sites, charges + t * by_charge, SMALL_CELL))
    assert (charges_gradient * by_charge).sum() == pytest.approx(moved, rel=1e-8)

    def strained(t: float) -> float:
        scale = np.eye(3) + t * shear
        return energy(ATOMS @ scale, sites @ scale, charges, SMALL_CELL @ scale)

    assert (found.strain(grad).numpy() * shear).sum() == pytest.approx(along(strained), rel=1e-7)
    # The lattice vectors alone: what is left of the strain when nothing in the box moves.
    by_cell = np.linalg.inv(SMALL_CELL).T @ (
        found.strain(grad).numpy() - ATOMS.T @ atoms_gradient - sites.T @ sites_gradient
    )
    stretched = along(lambda t: energy(ATOMS, sites, charges, SMALL_CELL + t * shear))
    assert (by_cell * shear).sum() == pytest.approx(stretched, rel=1e-6)


def test_single_precision_and_the_default_tolerance_give_the_same_derivatives() -> None:
    cell = CELLS["triclinic"]
    system = ATOMS, *water(cell), cell
    grad = weights(l_max=3)
    rough, fine = expansion(Ewald(3), *system), expansion(exact(3), *system)
    for one, other in zip(rough.pull_back(grad.float()), fine.pull_back(grad), strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm() / other.norm()) < 2e-4
    one, other = rough.strain(grad.float()), fine.strain(grad)
    assert float((one - other).norm() / other.norm()) < 2e-4


def test_any_image_of_a_site_and_any_place_of_the_whole_gives_the_same() -> None:
    sites, charges = few_charges()
    reference = expansion(exact(), ATOMS, sites, charges, SMALL_CELL)
    shifts = np.random.default_rng(2).integers(-3, 4, sites.shape) @ SMALL_CELL
    away = np.array([7.0, -40.0, 3.0])
    moved = [
        expansion(exact(), ATOMS, sites + shifts, charges, SMALL_CELL),
        expansion(exact(), ATOMS + 2 * SMALL_CELL[1], sites, charges, SMALL_CELL),
        expansion(exact(), ATOMS + away, sites + away, charges, SMALL_CELL),
    ]
    for other in moved:
        torch.testing.assert_close(other.tensors, reference.tensors, rtol=0, atol=1e-9)
        pairs = zip(other.pull_back(weights()), reference.pull_back(weights()), strict=True)
        for one, expected in pairs:
            torch.testing.assert_close(one, expected, rtol=0, atol=1e-8)


def test_positions_far_from_the_origin_keep_their_digits_in_float64() -> None:
    sites, charges = few_charges()
    away = 1000 * SMALL_CELL.sum(0)
    near, far = (
        expansion(Ewald(3, cutoff=4.5), ATOMS + x, sites + x, charges, SMALL_CELL).tensors
        for x in (0.0, away)
    )
    torch.testing.assert_close(far, near, rtol=0, atol=2e-5)


def test_in_a_huge_box_neutral_surroundings_act_as_without_images() -> None:
    sites, charges = few_charges()
    charges -= charges.mean()
    frame = FrameBatch.from_frames([Frame(np.ones(3), ATOMS, sites, charges)])
    found = expansion(
        Ewald(L, cutoff=60.0, dtype=torch.float64), ATOMS, sites, charges, 400 * np.eye(3)
    )
    bare = expand(frame, L)
    # What is left is the depolarising field of the surroundings' dipole, 4π/3V of it.
    dipole = np.abs(charges @ sites).max() * COULOMB_CONSTANT
    limit = 4 * np.pi / 3 * dipole / 400**3
    torch.testing.assert_close(found.tensors[:, 1:], bare[:, 1:], rtol=2e-5, atol=2 * limit)
    differences = found.tensors[1:, 0] - found.tensors[0, 0]
    torch.testing.assert_close(differences, bare[1:, 0] - bare[0, 0], rtol=2e-5, atol=2 * limit)


def test_nothing_jumps_where_a_charge_crosses_the_cutoff_or_leaves_the_box() -> None:
    cell, grad = CELLS["cubic"], weights(l_max=3)
    grad[:, 4:] *= 0.1
    sites, charges = water(cell)
    ewald = Ewald(3, dtype=torch.float64)
    # Away from atom 0, through the cutoff and across a face of the box.
    away = np.array([[4.0, 0.0, 0.0]])
    direction = np.array([1.0, 0.2, 0.1])
    path = ATOMS[0] + away + direction * np.linspace(7.5, 12.0, 46)[:, None]
    energies, forces = [], []
    for place in path:
        sites[0] = place - away
        found = expansion(ewald, ATOMS + away, sites + away, charges, cell)
        energies.append(float((found.tensors.detach() * grad).sum()))
        forces.append(found.pull_back(grad)[1][0].numpy())
    cutoff = ewald.splitting.cutoff / np.linalg.norm(direction)
    assert 7.5 < cutoff < 12.0
    assert path[0, 0] < cell[0, 0] < path[-1, 0]
    steps = 0.5 * (np.array(forces[1:]) + np.array(forces[:-1])) * np.diff(path, axis=0)
    assert np.abs(np.diff(energies) - steps.sum(1)).max() < 2e-5  # eV


def test_a_site_between_two_images_of_the_region_is_near_both() -> None:
    cell = np.diag([12.0, 30.0, 30.0])
    atoms = torch.tensor([[1.0, 0, 0], [9.0, 0, 0]], dtype=torch.float64)
    site = torch.tensor([[11.5, 0.0, 0.0]], dtype=torch.float64)
    box = Box.of(cell)
    found = images_within(box, box.fractional(site), atoms, 5.0)
    assert sorted(found.positions[:, 0].tolist()) == pytest.approx([-0.5, 11.5])
    assert found.index.tolist() == [0, 0]


def test_images_are_counted_as_by_looking_at_all_of_them() -> None:
    rng = np.random.default_rng(4)
    sites = rng.uniform(-2, 2, (50, 3)) @ SMALL_CELL
    box = Box.of(SMALL_CELL)
    atoms = torch.from_numpy(ATOMS)
    shifts = ewald_reference.lattice(SMALL_CELL, 60.0)
    every = (sites[:, None] + shifts)[:, :, None] - ATOMS
    for distance in (4.0, 6.0, 9.0):
        found = images_within(box, box.fractional(torch.from_numpy(sites)), atoms, distance)
        distances = torch.cdist(found.positions, atoms).amin(1)
        counted = (np.linalg.norm(every, axis=3).min(2) < distance).sum(1)
        near = torch.bincount(found.index[distances < distance], minlength=len(sites))
        np.testing.assert_array_equal(near.numpy(), counted)


def test_without_charges_there_is_no_potential() -> None:
    nothing = torch.zeros(0, 3), torch.zeros(0)
    found = Ewald(3).expansion(torch.as_tensor(ATOMS), *nothing, SMALL_CELL)
    assert float(found.tensors.detach().abs().max()) == 0.0
    atoms, sites, charges = found.pull_back(weights(l_max=3).float())
    assert float(atoms.abs().max()) == 0.0
    assert (sites.shape, charges.shape) == ((0, 3), (0,))
    assert float(found.strain(weights(l_max=3).float()).abs().max()) == 0.0


def test_one_object_serves_boxes_that_change() -> None:
    sites, charges = few_charges()
    ewald = Ewald(2, cutoff=4.5, dtype=torch.float64)
    first = expansion(ewald, ATOMS, sites, charges, SMALL_CELL)
    splitting = ewald.splitting
    expected = first.pull_back(weights(l_max=2))
    scaled = 1.01 * SMALL_CELL
    second = expansion(ewald, ATOMS, sites, charges, scaled)
    assert ewald.splitting == splitting  # so that two volumes are compared with one splitting
    fresh = expansion(Ewald(2, cutoff=4.5, dtype=torch.float64), ATOMS, sites, charges, scaled)
    torch.testing.assert_close(second.tensors, fresh.tensors, rtol=0, atol=1e-3)
    # What was made before knows nothing of what came after.
    for one, other in zip(first.pull_back(weights(l_max=2)), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    larger = expansion(ewald, ATOMS, sites, charges, 1.5 * SMALL_CELL)
    assert ewald.splitting != splitting
    accurate = expansion(exact(2, cutoff=4.5), ATOMS, sites, charges, 1.5 * SMALL_CELL)
    torch.testing.assert_close(larger.tensors, accurate.tensors, rtol=0, atol=1e-3)


def test_it_can_be_copied_and_pickled_after_use() -> None:
    sites, charges = few_charges()
    ewald = Ewald(2, cutoff=4.5)
    expected = expansion(ewald, ATOMS, sites, charges, SMALL_CELL).tensors
    for other in (copy.deepcopy(ewald), pickle.loads(pickle.dumps(ewald))):
        found = expansion(other, ATOMS, sites, charges, SMALL_CELL).tensors
        torch.testing.assert_close(found, expected)


def test_the_cutoff_is_chosen_by_cost_within_the_box() -> None:
    small, large = Box.of(20.0 * np.eye(3)), Box.of(100.0 * np.eye(3))
    assert best_cutoff(small, 6, 1e-4) < 10.0
    assert best_cutoff(large, 6, 1e-4) > best_cutoff(large, 60, 1e-4) > 9.0


@pytest.mark.parametrize(
    ("settings", "cell", "words"),
    [
        ({"cutoff": 12.0}, 20.0 * np.eye(3), "12 Å needs a box at least 24 Å wide.* is 20 Å"),
        ({"cutoff": 10.0}, 22.0 * OCTAHEDRON, "needs a box at least 20 Å wide.* is 17.96 Å"),
        ({}, np.zeros((3, 3)), "do not span a volume"),
        ({}, np.full((3, 3), np.nan), "do not span a volume"),
        ({}, np.array([[9.0, 0, 0], [0, 9, 0], [9, 9, 0]]), "do not span a volume"),
        ({}, np.array([20.0, 20.0, 20.0]), r"three lattice vectors as rows.* not \(3,\)"),
        ({}, None, "Ewald's sum needs a cell"),
    ],
)
def test_boxes_that_cannot_be_are_refused(settings: dict, cell, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        expansion(Ewald(2, **settings), ATOMS, *few_charges(), cell)


def test_a_box_that_shrinks_below_the_users_cutoff_is_refused() -> None:
    ewald = Ewald(2, cutoff=4.9)
    expansion(ewald, ATOMS, *few_charges(), 10.0 * np.eye(3))
    with pytest.raises(BoxTooSmallError, match=r"at least 9\.8 Å wide"):
        expansion(ewald, ATOMS, *few_charges(), 9.7 * np.eye(3))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_numbers_that_are_not_finite_are_refused(which: int) -> None:
    system = [ATOMS.copy(), *few_charges()]
    system[which].flat[0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        expansion(Ewald(2), *system, SMALL_CELL)


def test_a_charge_on_an_atom_is_named_across_the_faces_of_the_box_too() -> None:
    sites, charges = few_charges()
    sites[3] = ATOMS[1] + SMALL_CELL[0] - SMALL_CELL[2]
    with pytest.raises(
        ValueError, match=r"MM site 3, or an image of it, is 0\.00 Å from QM atom 1"
    ):
        expansion(exact(2), ATOMS, sites, charges, SMALL_CELL)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"tolerance": 0.0}, "tolerance"), ({"cutoff": -1.0}, "cutoff"), ({"tolerance": 2}, "2")],
)
def test_settings_that_are_none_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Ewald(2, **settings)


def test_a_missing_finufft_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(ImportError, match=r"pip install 'eqmm\[periodic\]'"):
        expansion(Ewald(2), ATOMS, *few_charges(), SMALL_CELL)
