"""Hirshfeld, IAO, CHELPG and RESP charges against plain computations and known answers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pyscf")

from label_kit import WATER
from pyscf import dft, gto, lo, scf
from pyscf.scf.atom_hf import get_atm_nrhf
from scipy.integrate import trapezoid
from scipy.optimize import minimize

from datagen.errors import InvalidFrameError
from datagen.labels.accelerated.charge_integrals import site_potential
from datagen.labels.charges import (
    SCHEMES,
    ElectronDensity,
    atomic_charges,
    check_schemes,
    dipole,
    potential_fit,
)
from datagen.labels.charges.hirshfeld import _free_atom
from datagen.labels.charges.potential_fit import (
    GRID_REACH,
    RESTRAINT,
    RESTRAINT_WIDTH,
    SHELL_DENSITY,
    chelpg_points,
    merz_kollman_points,
)
from eqmm_ase.units import BOHR, HARTREE

TURN, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))


def density_of(
    atoms: object = None, basis: str = "6-31g", *, charge: int = 0, spin: int = 0
) -> ElectronDensity:
    water = [(s, p) for s, p in zip("OHH", WATER, strict=True)]
    molecule = gto.M(atom=atoms or water, basis=basis, charge=charge, spin=spin, verbose=0)
    field = (scf.UHF if spin else scf.RHF)(molecule).run()
    matrix = field.make_rdm1()
    return ElectronDensity(field, matrix.sum(0) if spin else matrix)


@pytest.fixture(scope="module")
def water() -> ElectronDensity:
    return density_of()


def charges_of(density: ElectronDensity, scheme: str) -> np.ndarray:
    return atomic_charges(density, [scheme])[scheme].charges


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:remove_linear_dep_:DeprecationWarning")
def test_hirshfeld_equals_a_plain_sum_over_a_fine_grid(water):
    molecule = water.molecule
    grid = dft.gen_grid.Grids(molecule)
    grid.level, grid.prune = 4, None
    grid.build()
    orbitals = molecule.eval_gto("GTOval", grid.coords)
    weights = np.einsum("gi,ij,gj->g", orbitals, water.matrix, orbitals) * grid.weights
    free = []
    for atom, (start, stop) in enumerate(molecule.aoslice_by_atom()[:, 2:]):
        _, _, mo, occupations = get_atm_nrhf(molecule)[molecule.atom_symbol(atom)]
        free.append((orbitals[:, start:stop] @ mo) ** 2 @ occupations)
    populations = np.array(free) / np.sum(free, axis=0) @ weights
    expected = molecule.atom_charges() - populations
    np.testing.assert_allclose(charges_of(water, "hirshfeld"), expected, atol=2e-5)


def test_hirshfeld_charges_and_atomic_dipoles_make_up_the_dipole_of_the_molecule(water):
    found = atomic_charges(water, ["hirshfeld"])["hirshfeld"]
    total = found.charges @ water.molecule.atom_coords() * BOHR + found.dipoles.sum(0)
    np.testing.assert_allclose(total, dipole(water.molecule, water.matrix), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("symbol", "core", "electrons"), [("O", None, 8), ("I", "def2-svp", 25)], ids=["O", "I-ecp"]
)
def test_free_atom_holds_its_electrons(symbol, core, electrons):
    logarithm = _free_atom(symbol, "def2-svp", core, "b3lyp")
    r = np.linspace(0.0, 25.0, 50_001)
    shell = 4.0 * np.pi * r**2 * np.exp(logarithm(r))
    assert trapezoid(shell, r) == pytest.approx(electrons, abs=1e-4)


def test_iao_charges_are_those_of_pyscf_and_hardly_depend_on_the_basis(water):
    molecule, field = water.molecule, water.field
    orbitals = lo.iao.iao(molecule, field.mo_coeff[:, field.mo_occ > 0])
    orthogonal = lo.vec_lowdin(orbitals, field.get_ovlp())
    expected = lo.iao.fast_iao_mullikan_pop(molecule, water.matrix, orthogonal, verbose=0)[1]
    found = charges_of(water, "iao")
    np.testing.assert_allclose(found, expected, atol=1e-8)
    large = density_of(basis="6-311++g**")
    np.testing.assert_allclose(charges_of(large, "iao"), found, atol=0.06)
    assert np.abs(charges_of(large, "mulliken") - charges_of(water, "mulliken")).max() > 0.2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_charges_of_an_open_shell_add_up(scheme):
    cation = density_of(charge=1, spin=1)
    assert charges_of(cation, scheme).sum() == pytest.approx(1.0, abs=1e-9)
    # One electron: no orbital of the other spin.
    atom = density_of("H", spin=1)
    assert charges_of(atom, scheme) == pytest.approx([0.0], abs=1e-9)


@pytest.mark.parametrize(("symbol", "basis"), [("K", "6-31g"), ("I", "def2-svp")])
def test_iao_refuses_what_its_reference_basis_does_not_describe(symbol, basis):
    core = {symbol: basis} if symbol == "I" else {}
    molecule = gto.M(atom=symbol, basis=basis, ecp=core, charge=1 if symbol == "K" else -1)
    with pytest.raises(InvalidFrameError, match=f"no minimal reference basis for {symbol}"):
        check_schemes(molecule, ("mulliken", "iao"))


@pytest.mark.parametrize("scheme", ["chelpg", "resp"])
def test_fit_finds_the_charges_that_made_the_potential(scheme, water, monkeypatch):
    known = np.array([-0.3, 0.25, 0.05])  # hydrogen is free, and so small a charge on O is not

    def potential(molecule, _matrix, sites):
        distances = np.linalg.norm(sites[:, None] - molecule.atom_coords(), axis=2)
        return (1.0 / distances) @ known

    monkeypatch.setattr(potential_fit, "site_potential", potential)
    found = atomic_charges(water, [scheme])[scheme]
    slack = 1e-9 if scheme == "chelpg" else 5e-3  # the restraint's share
    np.testing.assert_allclose(found.charges, known, atol=slack)
    assert found.potential_rms == pytest.approx(0.0, abs=slack)


def test_resp_is_the_minimum_of_its_restrained_deviation(water):
    molecule = water.molecule
    points = merz_kollman_points(molecule)
    potential = site_potential(molecule, water.matrix, points)
    inverse = 1.0 / np.linalg.norm(points[:, None] - molecule.atom_coords(), axis=2)

    def deviation(hydrogens: np.ndarray) -> float:
        charges = np.array([-hydrogens.sum(), *hydrogens])
        restraint = np.hypot(charges[0], RESTRAINT_WIDTH)
        error = inverse @ charges - potential
        return 0.5 * error @ error + RESTRAINT * SHELL_DENSITY * restraint

    best = minimize(deviation, [0.3, 0.3], tol=1e-12).x
    found = atomic_charges(water, ["resp"])["resp"]
    np.testing.assert_allclose(found.charges[1:], best, atol=1e-5)
    error = inverse @ found.charges - potential
    assert found.potential_rms == pytest.approx(np.sqrt(np.mean(error**2)) * HARTREE, rel=1e-6)


def test_fitted_charges_hold_the_potential_better_than_others_and_hardly_feel_the_orientation(
    water,
):
    turned = density_of([(s, TURN @ p + 1.0) for s, p in zip("OHH", WATER, strict=True)])
    points = chelpg_points(water.molecule)
    potential = HARTREE * site_potential(water.molecule, water.matrix, points)
    inverse = 1.0 / np.linalg.norm(points[:, None] - water.molecule.atom_coords(), axis=2)
    errors = {
        scheme: np.sqrt(np.mean((HARTREE * inverse @ charges_of(water, scheme) - potential) ** 2))
        for scheme in SCHEMES
    }
    fitted = atomic_charges(water, ["chelpg"])["chelpg"]
    assert errors["chelpg"] == pytest.approx(fitted.potential_rms, rel=1e-9)
    assert min(errors, key=errors.__getitem__) == "chelpg"
    assert fitted.potential_rms < 0.11  # V, of a potential of 0.6 V
    for scheme, noise in (("chelpg", 5e-3), ("resp", 2e-3)):
        np.testing.assert_allclose(
            charges_of(turned, scheme), charges_of(water, scheme), atol=noise
        )


def test_points_of_the_fits_keep_their_distance(water):
    nuclei = water.molecule.atom_coords() * BOHR
    for points, nearest, farthest in (
        (chelpg_points(water.molecule), 1.2, GRID_REACH),
        (merz_kollman_points(water.molecule), 1.4 * 1.2, 2.0 * 1.4),
    ):
        distances = np.linalg.norm(points[:, None] * BOHR - nuclei, axis=2)
        assert len(points) > 500
        assert distances.min() >= nearest - 1e-9
        assert distances.min(1).max() <= farthest + 1e-9
        assert distances[:, 0].min() >= nearest * 1.52 / 1.2 - 0.2  # outside oxygen's sphere too
