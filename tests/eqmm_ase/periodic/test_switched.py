"""The potential of whole residues within a switched cutoff, in a box and without."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from eqmm_ase.data.frame import Frame
from eqmm_ase.data.switching import residue_scales
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.expansion import expand
from eqmm_ase.periodic.cell import BoxTooSmallError
from eqmm_ase.periodic.switched import SwitchedCutoff, SwitchedExpansion

ATOMS = np.array([[3.0, 4.0, 5.0], [4.4, 4.0, 5.3], [2.5, 5.0, 5.2]])
CELL = np.array([[13.0, 0, 0], [3, 14, 0], [-2, 4, 12]])
INNER, OUTER = 3.5, 5.0


def molecules(count: int = 60, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sites, charges and residues of molecules of three charges that are not near the atoms."""
    rng = np.random.default_rng(seed)
    sites = rng.uniform(0, 1, (count, 1, 3)) @ CELL + 0.7 * rng.normal(size=(count, 3, 3))
    vectors = sites[:, :, None] - ATOMS
    vectors -= np.round(vectors @ np.linalg.inv(CELL)) @ CELL
    sites = sites[np.linalg.norm(vectors, axis=3).min((1, 2)) > 1.5]
    residues = np.repeat(7 * np.arange(len(sites))[::-1], 3)
    return sites.reshape(-1, 3), rng.normal(size=3 * len(sites)), residues


def switch(residues: np.ndarray, l_max: int = 3) -> SwitchedCutoff:
    return SwitchedCutoff(residues, l_max, inner=INNER, outer=OUTER, dtype=torch.float64)


def expansion(cutoff: SwitchedCutoff, atoms, sites, charges, cell=None) -> SwitchedExpansion:
    return cutoff.expansion(*(torch.as_tensor(x) for x in (atoms, sites, charges)), cell)


def weights(l_max: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(7)
    return torch.from_numpy(rng.normal(size=(len(ATOMS), (l_max + 1) ** 2)))


def along(function: Callable[[float], float], step: float = 1e-3) -> float:
    """Derivative at 0 by central differences of fourth order."""
    at = [function(n * step) for n in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)


def test_charges_are_scaled_as_frames_for_training_are_cut() -> None:
    sites, charges, residues = molecules()
    scales = residue_scales(ATOMS, sites, residues, INNER, OUTER)
    assert ((scales > 0.0) & (scales < 1.0)).sum() > 5
    frame = FrameBatch.from_frames([Frame(np.ones(3), ATOMS, sites, scales * charges)])
    found = expansion(switch(residues), ATOMS, sites, charges).tensors
    torch.testing.assert_close(found, expand(frame, 3), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", [None, CELL], ids=["open", "periodic"])
def test_all_derivatives_are_those_of_one_energy(cell: np.ndarray | None) -> None:
    sites, charges, residues = molecules()
    cutoff, grad = switch(residues), weights()
    rng = np.random.default_rng(3)
    by_atom, by_site, by_charge = (rng.normal(size=x.shape) for x in (ATOMS, sites, charges))
    shear = 0.1 * rng.normal(size=(3, 3))

    def energy(*system) -> float:
        return float((expansion(cutoff, *system).tensors.detach() * grad).sum())

    found = expansion(cutoff, ATOMS, sites, charges, cell)
    atoms_gradient, sites_gradient, charges_gradient = (x.numpy() for x in found.pull_back(grad))
    moved = along(lambda t: energy(ATOMS + t * by_atom, sites, charges, cell))
    assert (atoms_gradient * by_atom).sum() == pytest.approx(moved, rel=1e-7)
    moved = along(lambda t: energy(ATOMS, sites + t * by_site, charges, cell))
    assert (sites_gradient * by_site).sum() == pytest.approx(moved, rel=1e-7)
    moved = along(lambda t: energy(ATOMS, sites, charges + t * by_charge, cell))
    assert (charges_gradient * by_charge).sum() == pytest.approx(moved, rel=1e-9)

    def strained(t: float) -> float:
        scale = np.eye(3) + t * shear
        return energy(ATOMS @ scale, sites @ scale, charges, None if cell is None else cell @ scale)

    assert (found.strain(grad).numpy() * shear).sum() == pytest.approx(along(strained), rel=1e-7)


def test_a_molecule_in_pieces_across_a_face_counts_as_a_whole() -> None:
    sites, charges, residues = molecules()
    shifts = np.random.default_rng(2).integers(-2, 3, sites.shape) @ CELL
    cutoff = switch(residues)
    one = expansion(cutoff, ATOMS, sites, charges, CELL)
    other = expansion(cutoff, ATOMS + CELL[0], sites + shifts, charges, CELL)
    torch.testing.assert_close(one.tensors, other.tensors, rtol=0, atol=1e-10)
    for here, there in zip(one.pull_back(weights()), other.pull_back(weights()), strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=1e-9)


def test_an_ion_on_its_way_out_never_jumps() -> None:
    cutoff, grad = switch(np.array([1])), weights()
    path = ATOMS[0] + np.linspace(3.0, 6.5, 141)[:, None] * np.array([0.8, -0.6, 0.0])
    found = [expansion(cutoff, ATOMS, site[None], np.ones(1), CELL) for site in path]
    energies = np.array([float((one.tensors.detach() * grad).sum()) for one in found])
    forces = np.array([one.pull_back(grad)[1][0].numpy() for one in found])
    assert energies[0] != 0.0
    assert energies[-1] == 0.0
    steps = 0.5 * (forces[1:] + forces[:-1]) * np.diff(path, axis=0)
    assert np.abs(np.diff(energies) - steps.sum(1)).max() < 1e-3 * np.abs(np.diff(energies)).max()
    # Forces have no kink either: two continuous derivatives of the energy.
    assert np.abs(np.diff(forces, 2, axis=0)).max() < 0.02 * np.abs(forces).max()


def test_one_image_of_a_molecule_can_count_on_either_side_of_the_region() -> None:
    cell = np.diag([16.0, 40.0, 40.0])
    atoms, site = np.array([[0.0, 0, 0], [9.0, 0, 0]]), np.array([[12.6, 0, 0]])
    found = expansion(switch(np.array([0])), atoms, site, np.ones(1), cell)
    bare = np.array([[12.6, 0, 0], [-3.4, 0, 0]])
    scales = residue_scales(atoms, bare, np.array([0, 1]), INNER, OUTER)
    assert 0.0 < scales.min() < 1.0
    frame = FrameBatch.from_frames([Frame(np.ones(2), atoms, bare, scales)])
    torch.testing.assert_close(found.tensors, expand(frame, 3), rtol=1e-10, atol=1e-12)


def test_nothing_near_is_no_potential() -> None:
    sites, charges = np.array([[50.0, 0, 0], [51.0, 0, 0]]), np.ones(2)
    found = expansion(switch(np.array([0, 0])), ATOMS, sites, charges)
    assert float(found.tensors.detach().abs().max()) == 0.0
    assert all(float(x.abs().max()) == 0.0 for x in found.pull_back(weights()))
    nothing = expansion(switch(np.zeros(0)), ATOMS, sites[:0], charges[:0], CELL)
    assert nothing.pull_back(weights())[1].shape == (0, 3)


def test_near_sites_are_whole_or_refused() -> None:
    found = expansion(switch(molecules()[2]), ATOMS, *molecules()[:2], CELL)
    assert len(found.near_sites(3.0).index) > 0
    with pytest.raises(ValueError, match=r"switched off from 3\.5 Å on.* within 4 Å"):
        found.near_sites(4.0)


def test_what_cannot_be_is_refused() -> None:
    sites, charges, residues = molecules()
    with pytest.raises(BoxTooSmallError, match="at least 10 Å wide"):
        expansion(switch(residues), ATOMS, sites, charges, 9.0 * np.eye(3))
    with pytest.raises(ValueError, match="from 5 to 5 Å"):
        SwitchedCutoff(residues, inner=5.0, outer=5.0)
    with pytest.raises(ValueError, match="give the residue of every charge"):
        expansion(switch(residues[1:]), ATOMS, sites, charges)
    sites[3] = ATOMS[1]
    with pytest.raises(ValueError, match=r"MM site 3,.* from QM atom 1"):
        expansion(switch(residues), ATOMS, sites, charges)
