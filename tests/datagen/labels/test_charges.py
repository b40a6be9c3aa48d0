"""Charges by scheme: they solve their own equations, hold their sum, and leave old hashes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from label_kit import WATER, water_in_charges
from pyscf import dft, gto, scf

from datagen.campaigns.storage import frame_id, from_bytes, to_bytes
from datagen.errors import InvalidFrameError, LabelCheckError, MethodError
from datagen.labels.backend import total_density
from datagen.labels.charges import ElectronDensity, atomic_charges, dipole
from datagen.labels.charges.density import density_on_grid
from datagen.labels.charges.slater_shells import fit_shells
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, write_frames
from eqmm_ase.units import BOHR

METHYL = [("C", (0.0, 0.0, 0.0)), ("H", (1.03, 0.0, 0.1)), ("H", (-0.515, 0.892, 0.1))]
METHYL += [("H", (-0.515, -0.892, 0.1))]


def electron_density(atoms: object, basis: str = "sto-3g", *, charge: int = 0, spin: int = 0):
    molecule = gto.M(atom=atoms, basis=basis, charge=charge, spin=spin, verbose=0)
    field = (scf.UHF if spin else scf.RHF)(molecule).run()
    return ElectronDensity(field, total_density(field))


def chloride_and_chloromethane(distance: float) -> ElectronDensity:
    atoms = [("Cl", (0.0, 0.0, -distance)), *METHYL, ("Cl", (0.0, 0.0, 1.85))]
    molecule = gto.M(atom=atoms, basis="6-31+g*", charge=-1, verbose=0)
    field = dft.RKS(molecule, xc="svwn").density_fit()
    field.grids.level, field.conv_tol = 0, 1e-6
    return ElectronDensity(field, field.run().make_rdm1())


def plain_mbis(density: ElectronDensity) -> tuple[np.ndarray, np.ndarray]:
    """Charges and atomic dipoles (e·Å): the two equations in turn, from another start."""
    molecule, grid = density.molecule, density.grid
    numbers, nuclei = molecule.atom_charges(), molecule.atom_coords()
    shells = [(a, i) for a, z in enumerate(numbers) for i in range(1 + (z > 2) + (z > 10))]
    owner = np.array([a for a, _ in shells])
    N = np.array([numbers[a] / (1 + max(i for b, i in shells if b == a)) for a, _ in shells])
    s = np.array([0.03 * 4.0**i if numbers[a] > 1 else 0.4 for a, i in shells])
    r = np.linalg.norm(grid.points[None] - nuclei[owner][:, None], axis=-1)
    for _ in range(1000):
        pro = N[:, None] / (8 * np.pi * s[:, None] ** 3) * np.exp(-r / s[:, None])
        part = grid.electrons * pro / pro.sum(0)
        new = part.sum(1)
        s = (part * r).sum(1) / (3 * new)
        if np.abs(new - N).max() < 1e-11:
            break
        N = new
    own = np.array([part[owner == a].sum(0) for a in range(len(numbers))])
    arms = grid.points[None] - nuclei[:, None]
    return numbers - own.sum(1), -np.einsum("ag,agx->ax", own, arms) * BOHR


@pytest.mark.slow
@pytest.mark.parametrize("distance", [2.3, 5.0])
def test_mbis_of_an_anion_is_the_fixed_point_of_its_equations(distance):
    density = chloride_and_chloromethane(distance)
    found = atomic_charges(density, ["mbis"])["mbis"]
    charges, dipoles = plain_mbis(density)
    np.testing.assert_allclose(found.charges, charges, atol=1e-7)
    np.testing.assert_allclose(found.dipoles, dipoles, atol=1e-7)
    assert found.charges.sum() == pytest.approx(-1.0, abs=1e-10)
    assert found.charges[0] == pytest.approx(-1.0, abs=0.2 if distance < 3 else 0.02)


def test_mbis_of_an_open_shell_takes_the_total_density():
    density = electron_density(METHYL, "6-31g", spin=1)
    found = atomic_charges(density, ["mbis"])["mbis"]
    np.testing.assert_allclose(found.charges, plain_mbis(density)[0], atol=1e-7)
    np.testing.assert_allclose(found.charges[1:], found.charges[1], atol=1e-3)
    assert found.charges.sum() == pytest.approx(0.0, abs=1e-10)


def test_mbis_charges_and_atomic_dipoles_make_up_the_dipole_of_the_molecule():
    density = electron_density([(s, p) for s, p in zip("OHH", WATER + 1.0, strict=True)], "6-31g*")
    found = atomic_charges(density, ["mbis"])["mbis"]
    nuclei = density.molecule.atom_coords() * BOHR
    total = found.charges @ nuclei + found.dipoles.sum(0)
    expected = dipole(density.molecule, density.matrix)
    np.testing.assert_allclose(total, expected, atol=1e-4)  # the grid's error
    assert np.linalg.norm(found.charges @ nuclei - expected) > 0.01  # charges alone do not


@pytest.mark.slow
def test_mbis_turns_with_the_molecule_and_hardly_depends_on_the_grid():
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    atoms = [
        electron_density([(s, p) for s, p in zip("OHH", places, strict=True)], "6-31g")
        for places in (WATER, WATER @ turn.T + 2.0)
    ]
    here, there = (atomic_charges(density, ["mbis"])["mbis"] for density in atoms)
    np.testing.assert_allclose(there.charges, here.charges, atol=1e-4)
    np.testing.assert_allclose(there.dipoles, here.dipoles @ turn.T, atol=1e-4)
    fine = fit_shells(
        atoms[0].molecule.atom_charges(),
        atoms[0].molecule.atom_coords(),
        density_on_grid(atoms[0].molecule, atoms[0].matrix, 5),
    )
    oxygen = fine.populations[fine.atoms == 0].sum()
    assert 8.0 - oxygen == pytest.approx(here.charges[0], abs=1e-4)


def test_mbis_of_water_is_that_of_another_program():
    water = Frame(np.array([8, 1, 1]), WATER)
    label = label_frame(water, Method(basis="6-31g*", charges=("mbis",))).frame
    # horton-part 1.2.0 on 150 radial times 590 angular points; see
    # scripts/benchmarks/charge_comparison.py.
    expected = [-0.848034, 0.424017, 0.424017]
    np.testing.assert_allclose(label.charges["mbis"], expected, atol=2e-5)


def test_mbis_of_a_lone_ion_is_its_charge():
    density = electron_density("Cl", "3-21g", charge=-1)
    found = atomic_charges(density, ["mbis"])["mbis"]
    assert found.charges == pytest.approx([-1.0], abs=1e-10)
    np.testing.assert_allclose(found.dipoles, 0.0, atol=1e-8)


def test_grid_that_misses_electrons_makes_no_charges():
    density = electron_density("He")
    with pytest.raises(LabelCheckError, match=r"counts 1\.\d+ electrons; expected 2"):
        density_on_grid(density.molecule, 0.9 * density.matrix, 0)


def test_label_holds_the_schemes_that_were_asked_for(tmp_path):
    method = Method(functional="hf", basis="sto-3g", charges=("resp", "mbis", "mulliken"))
    label = label_frame(replace(water_in_charges(), total_charge=1, spin_multiplicity=2), method)
    frame = replace(label.frame, frame_id="a")
    assert list(frame.charges) == ["mulliken", "mbis", "resp"]
    assert list(frame.atomic_dipoles) == ["mbis"]
    assert frame.charges["mbis"].sum() == pytest.approx(1.0, abs=1e-9)
    gas = replace(frame.in_vacuum(), charges={"mulliken": np.zeros(3)})
    write_frames(tmp_path / "labels.h5", [frame, gas], method.as_dict())
    with ReferenceData(tmp_path / "labels.h5") as data:
        assert data.charge_schemes == ("mbis", "mulliken", "resp")
        assert data[1].atomic_dipoles == data[1].potential_rms == {}
        for back in (data[0], data.load()[0], from_bytes(to_bytes(frame))):
            for group in ("charges", "atomic_dipoles"):
                np.testing.assert_array_equal(
                    getattr(back, group)["mbis"], getattr(frame, group)["mbis"]
                )
            assert back.potential_rms == frame.potential_rms
            assert 0.0 < back.potential_rms["resp"] < 0.3  # V


def test_mbis_refuses_core_potentials_before_the_calculation():
    iodide = Frame(np.array([53]), np.zeros((1, 3)), total_charge=-1)
    method = Method(functional="hf", basis="def2-svp", charges=("mbis",), max_cycle=1)
    with pytest.raises(InvalidFrameError, match=r"MBIS charges need all electrons.* core of I "):
        label_frame(iodide, method)


@pytest.mark.parametrize(
    ("charges", "sentence"),
    [
        (("mulliken", "mbsi"), "no charge scheme 'mbsi'; did you mean 'mbis'"),
        (("xyz",), "no charge scheme 'xyz'; known are mulliken, lowdin"),
    ],
)
def test_unknown_charge_scheme_is_refused_with_a_sentence(charges, sentence):
    with pytest.raises(MethodError, match=sentence):
        Method(charges=charges)


def test_order_of_the_schemes_does_not_matter():
    assert Method(charges=("mbis", "mulliken")) == Method(charges=("Mulliken ", "mbis", "mbis"))
    assert Method(charges=("lowdin", "mulliken")) == Method()


def test_content_hashes_of_older_campaigns_stay_valid():
    frame = Frame(np.array([8, 1, 1]), WATER, np.array([[0.0, 0.0, 3.0]]), np.array([0.5]))
    quick = Method(functional="hf", basis="sto-3g")
    # What frame_id made before a method had charge schemes.
    assert frame_id(frame, Method()) == "ae82cd89a3996cd3ce818afcf92ecadb"
    assert frame_id(frame, quick) == "c83182bf61446afc8f9075e84ea0ac97"
    assert frame_id(frame, replace(quick, charges=("mbis",))) != frame_id(frame, quick)
