"""The fast parts of a label equal PySCF's own, and derivatives where PySCF is no judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from label_kit import water_in_charges
from pyscf import df, dft, gto
from pyscf.grad.rks import get_vxc_full_response
from pyscf.grad.uks import get_vxc_full_response as get_spin_vxc_full_response
from pyscf.scf.hf import init_guess_by_minao

from datagen.errors import LabelCheckError
from datagen.labels.accelerated import two_grids
from datagen.labels.accelerated.accelerated_pyscf import ACCELERATED, AcceleratedPySCF
from datagen.labels.accelerated.becke_weights import BeckeWeights, switch
from datagen.labels.accelerated.charge_integrals import (
    potential_matrix,
    sharp_gaussian_sites,
    site_gradients,
    site_potential,
)
from datagen.labels.accelerated.fitted_gradient import fitted_gradient
from datagen.labels.accelerated.xc_grid import XCGrid
from datagen.labels.backend import Gradients
from datagen.labels.method import Method
from datagen.labels.molecule import build_molecule
from datagen.labels.scf import converge
from datagen.labels.single_point import label_frame
from eqmm_ase.units import BOHR

CATION = {"total_charge": 1, "spin_multiplicity": 2}
SMALL = {"basis": "6-31g", "grid_level": 1}


def _grids(molecule, level=0):
    grids = dft.Grids(molecule)
    grids.level = level
    return grids


def _any_density(molecule, n_spin, seed=0):
    """Symmetric and positive, of about the right number of electrons, but not converged."""
    noise = np.random.default_rng(seed).normal(scale=0.01, size=(n_spin, *(molecule.nao,) * 2))
    guess = np.asarray(init_guess_by_minao(molecule)) / n_spin
    return guess + noise @ noise.transpose(0, 2, 1)


@pytest.mark.parametrize("functional", ["svwn", "pbe"])
@pytest.mark.parametrize("n_spin", [1, 2])
def test_functional_on_blocks_equals_that_of_pyscf(functional, n_spin):
    state = CATION if n_spin == 2 else {}
    molecule = build_molecule(replace(water_in_charges(), **state), Method(**SMALL))
    density = _any_density(molecule, n_spin)
    grid = XCGrid(_grids(molecule), functional)
    _, energy, potential = grid.energy_and_potential(density)
    gradient = grid.gradient(density)

    integrator, grids = dft.numint.NumInt(), _grids(molecule).build()
    run = integrator.nr_rks if n_spin == 1 else integrator.nr_uks
    response = get_vxc_full_response if n_spin == 1 else get_spin_vxc_full_response
    plain = density[0] if n_spin == 1 else density
    _, expected, matrix = run(molecule, grids, functional, plain)
    slopes, moved = response(integrator, molecule, grids, functional, plain)
    moved = moved.reshape(n_spin, 3, *matrix.shape[-2:])
    for atom, (_, _, start, stop) in enumerate(molecule.aoslice_by_atom()):
        own = slice(start, stop)
        slopes[atom] += 2.0 * np.einsum("sxij,sij->x", moved[:, :, own], density[:, own])
    # PySCF leaves out basis functions below 1e-13 in another pattern of blocks.
    assert energy == pytest.approx(expected, abs=1e-11)
    np.testing.assert_allclose(potential, matrix.reshape(potential.shape), atol=1e-11)
    np.testing.assert_allclose(gradient, slopes, atol=1e-11)


def test_weights_follow_the_nuclei_also_behind_core_potentials():
    # Iodine's nucleus counts 25 here, and the size of its share is still that of iodine.
    atoms, step = ["I", "C", "H"], 1e-4
    positions = np.array([[0.0, 0.0, 0.0], [0.2, 0.1, 4.0], [1.5, -0.3, 5.2]])

    def molecule(moved):
        pairs = list(zip(atoms, moved, strict=True))
        return gto.M(
            atom=pairs, unit="Bohr", basis="sto-3g", ecp={"I": "def2-svp"}, spin=None, verbose=0
        )

    def grids(moved):
        return _grids(molecule(moved)).build(sort_grids=False)

    here = grids(positions)
    factors = np.random.default_rng(0).normal(size=len(here.weights))
    gradient = sum(
        BeckeWeights(here.mol).gradient(
            atom, here.coords[own], (here.quadrature_weights * factors)[own]
        )
        for atom in range(3)
        if (own := here.atm_idx == atom).any()
    )
    along = np.random.default_rng(1).normal(size=(3, 3))
    sums = [grids(positions + sign * step * along).weights @ factors for sign in (1, -1)]
    assert np.vdot(gradient, along) == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=1e-6)


def test_switching_function_falls_from_one_to_zero_and_has_its_derivative():
    mu, shift, step = np.linspace(-0.95, 0.95, 39), np.array([[-0.45], [0.0], [0.3]]), 1e-6
    share, slope = switch(mu + 0 * shift, shift)
    below, above = (switch(mu + 0 * shift + sign * step, shift)[0] for sign in (-1, 1))
    np.testing.assert_allclose(slope * share, (above - below) / (2 * step), atol=1e-9)
    ends, _ = switch(np.array([-1.0, 1.0]) + 0 * shift, shift)
    np.testing.assert_allclose(ends, np.array([1.0, 0.0]) + 0 * shift, atol=1e-15)
    assert (np.diff(share) < 0).all()


@pytest.mark.parametrize("state", [{}, CATION], ids=["neutral", "cation"])
@pytest.mark.parametrize("functional", ["hf", "pbe", "b3lyp"])
def test_gradient_by_parts_equals_that_of_pyscf(functional, state):
    frame = replace(water_in_charges().in_vacuum(), **state)
    method = Method(functional=functional, **SMALL)
    field = ACCELERATED.mean_field(build_molecule(frame, method), frame, method)
    field = converge(ACCELERATED, field).mean_field
    plain = field.nuc_grad_method()
    plain.grid_response, plain.verbose = True, 0
    found = ACCELERATED.gradients(field, np.zeros((0, 3)), np.zeros(0)).qm
    assert np.abs(found - plain.kernel()).max() < 1e-9


@pytest.mark.parametrize(("functional", "basis"), [("pbe", "def2-svp"), ("b3lyp", "6-31g*")])
def test_fitting_functions_are_those_that_pyscf_would_choose(functional, basis):
    frame, method = water_in_charges().in_vacuum(), Method(functional=functional, basis=basis)
    molecule = build_molecule(frame, method)
    for _ in range(2):  # the second time they come from memory
        ours = ACCELERATED.mean_field(molecule, frame, method).with_df.build().auxmol
        theirs = dft.RKS(molecule, xc=functional).density_fit().with_df.build().auxmol
        np.testing.assert_array_equal(ours._bas, theirs._bas)
        np.testing.assert_array_equal(ours._env, theirs._env)


def test_fitted_gradient_needs_no_second_kind_of_integrals():
    """Its translation rule: the parts of basis and fitting functions cancel in the sum."""
    molecule = build_molecule(water_in_charges(), Method(**SMALL))
    auxiliary = df.DF(molecule).build().auxmol
    orbitals = np.random.default_rng(0).normal(size=(molecule.nao, 5))
    gradient = fitted_gradient(molecule, auxiliary, [orbitals, orbitals[:, :3]], 0.3)
    assert np.abs(gradient).max() > 1.0
    np.testing.assert_allclose(gradient.sum(0), 0.0, atol=1e-9)


def test_two_kinds_of_integrals_give_the_same_potential_and_field():
    frame = water_in_charges(3)
    molecule = build_molecule(frame, Method(**SMALL))
    sites, charges = frame.mm_positions / BOHR, frame.mm_charges
    density = _any_density(molecule, 1)[0]
    potential, field = sharp_gaussian_sites(molecule, density, sites)
    in_charges = site_gradients(molecule, density, sites, charges)
    np.testing.assert_allclose(site_potential(molecule, density, sites), potential, atol=1e-12)
    np.testing.assert_allclose(in_charges.field, field, atol=1e-12)
    # The operator knows the electrons only.
    nuclei = sum(
        z * charges / np.linalg.norm(sites - r, axis=1)
        for z, r in zip(molecule.atom_charges(), molecule.atom_coords(), strict=True)
    )
    electrons = np.vdot(potential_matrix(molecule, sites, charges), density)
    assert electrons == pytest.approx(charges @ potential - nuclei.sum(), abs=1e-10)


def test_charges_pull_at_the_atoms_as_much_as_the_atoms_at_them():
    frame = water_in_charges(3)
    method = Method(functional="hf", basis="6-31g")
    sites, charges = frame.mm_positions / BOHR, frame.mm_charges
    along, step = np.random.default_rng(0).normal(size=(3, 3)), 1e-4
    density = _any_density(build_molecule(frame, method), 1)[0]

    def energy(sign):
        moved = replace(frame, qm_positions=frame.qm_positions + sign * step * along * BOHR)
        return charges @ site_potential(build_molecule(moved, method), density, sites)

    found = site_gradients(build_molecule(frame, method), density, sites, charges).by_atom
    slope = (energy(1) - energy(-1)) / (2 * step)
    assert np.vdot(found, along) == pytest.approx(slope, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("state", [{}, CATION], ids=["neutral", "cation"])
def test_coarse_grid_with_corrections_ends_where_the_fine_grid_alone_does(state):
    frame = replace(water_in_charges(), **state)
    method = Method(basis="6-31g", grid_level=3)
    molecule = build_molecule(frame, method)
    quick = converge(ACCELERATED, ACCELERATED.mean_field(molecule, frame, method)).mean_field
    plain = ACCELERATED.mean_field(molecule, frame, method)
    plain.kernel()  # its integrator works on the fine grid unless told otherwise
    assert quick.converged
    assert quick.e_tot == pytest.approx(plain.e_tot, abs=1e-9)
    fock = quick.get_fock()
    gradient = quick.get_grad(quick.mo_coeff, quick.mo_occ, fock)
    assert np.linalg.norm(gradient) < method.conv_tol_grad
    assert np.abs(quick.make_rdm1() - plain.make_rdm1()).max() < 1e-4


@pytest.mark.slow
def test_coarse_solution_alone_is_no_label(monkeypatch):
    """Where the corrections do not settle, the next fallback stage works on the fine grid."""
    monkeypatch.setattr(two_grids, "_MOST_CORRECTIONS", 1)
    frame, method = water_in_charges(), Method(**SMALL)
    result = label_frame(frame, method)
    assert result.scf_stage == "level_shift"


class OneWrongSite(AcceleratedPySCF):
    """A backend that gives one site a force that belongs to another."""

    def gradients(self, *arguments):
        right = super().gradients(*arguments)
        by_site = right.mm.copy()
        by_site[0] += 1e-3
        by_site[1] -= 1e-3  # the sum of all forces stays as it is
        return Gradients(right.qm, by_site)


def test_wrong_force_at_one_site_is_caught_by_other_integrals():
    method = Method(functional="hf", basis="sto-3g")
    with pytest.raises(LabelCheckError, match="other integrals give another potential or force"):
        label_frame(water_in_charges(), method, backend=OneWrongSite())
