"""Labels are derivatives of the energy, agree with plain PySCF, and bad input gets a sentence."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from label_kit import WATER, water_in_charges
from pyscf import dft, gto, qmmm

from datagen.errors import (
    InvalidFrameError,
    LabelCheckError,
    MethodError,
    SCFNotConvergedError,
)
from datagen.labels import single_point
from datagen.labels.accelerated.accelerated_pyscf import ACCELERATED, AcceleratedPySCF
from datagen.labels.backend import Gradients
from datagen.labels.method import Method
from datagen.labels.molecule import build_molecule
from datagen.labels.scf import converge
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import BOHR, COULOMB_CONSTANT, HARTREE, HARTREE_PER_BOHR

TIGHT = {"conv_tol": 1e-12, "conv_tol_grad": 1e-8}
QUICK = Method(functional="hf", basis="sto-3g")
CATION = {"total_charge": 1, "spin_multiplicity": 2}

# A coarse grid is no hindrance: with its response included the forces are exact on any grid, and
# leaving it out shows a hundred times more clearly than on a fine one.
DERIVATIVE_CASES = [
    pytest.param({"functional": "hf", "density_fit": False}, {}, id="rhf"),
    pytest.param({"functional": "hf", "dispersion": "d3bj"}, CATION, id="uhf-df-d3"),
    pytest.param({"density_fit": False}, {}, id="rks"),
    pytest.param({"density_fit": False, "dispersion": "d3bj"}, {}, id="rks-d3"),
    pytest.param({}, {}, id="rks-df"),
    pytest.param({"dispersion": "d3bj"}, {}, id="rks-df-d3"),
    pytest.param({"dispersion": "d3bj"}, CATION, id="uks-df-d3-charged"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "state"), DERIVATIVE_CASES)
def test_forces_and_potential_are_derivatives_of_the_energy(settings, state):
    method = Method(**{"basis": "6-31g", "grid_level": 1, **TIGHT, **settings})
    frame = replace(water_in_charges(), **state)
    result = label_frame(frame, method)
    label = result.frame
    rng = np.random.default_rng(1)

    def slope(name: str, direction: np.ndarray, step: float) -> float:
        """Central difference; a random direction meets every component at once."""
        energies = [
            label_frame(
                replace(frame, **{name: getattr(frame, name) + sign * step * direction}),
                method,
                density=result.density,
            ).frame.energy
            for sign in (1, -1)
        ]
        return (energies[0] - energies[1]) / (2 * step)

    along = rng.normal(size=(3, 3))
    error = slope("qm_positions", along, 1e-3) + np.vdot(label.qm_forces, along)
    assert abs(error) < 1e-6 * HARTREE_PER_BOHR
    along = rng.normal(size=(20, 3))
    error = slope("mm_positions", along, 1e-3) + np.vdot(label.mm_forces, along)
    assert abs(error) < 1e-6 * HARTREE_PER_BOHR
    along = rng.normal(size=20)
    error = slope("mm_charges", along, 1e-3) - np.vdot(label.mm_potential, along)
    assert abs(error) < 1e-6 * HARTREE


@pytest.mark.slow
@pytest.mark.parametrize("state", [{}, CATION], ids=["neutral", "cation"])
def test_labels_equal_those_of_a_plain_pyscf_script(state):
    frame = replace(water_in_charges(3), **state)
    label = label_frame(frame, Method(dispersion="d3bj", **TIGHT)).frame

    mol = gto.M(
        atom=[(["O", "H", "H"][i], frame.qm_positions[i] / BOHR) for i in range(3)],
        unit="Bohr",
        basis="6-31g*",
        charge=frame.total_charge,
        spin=frame.spin_multiplicity - 1,
        verbose=0,
    )
    mf = (dft.UKS if mol.spin else dft.RKS)(mol)
    mf.xc, mf.disp = "b3lyp", "d3bj"
    mf = qmmm.mm_charge(mf.density_fit(), frame.mm_positions / BOHR, frame.mm_charges, unit="Bohr")
    mf.conv_tol, mf.conv_tol_grad = 1e-12, 1e-8
    mf.kernel()
    gradient = mf.nuc_grad_method()
    gradient.grid_response = True
    density = mf.make_rdm1() if mol.spin == 0 else mf.make_rdm1().sum(0)
    mm_gradient = gradient.grad_hcore_mm(density) + gradient.grad_nuc_mm()
    without = mf.undo_qmmm().energy_tot(mf.make_rdm1())

    assert label.energy == pytest.approx(mf.e_tot * HARTREE, abs=1e-8 * HARTREE)
    # Two converged densities differ by the gradient threshold, 1e-8.
    assert np.abs(label.qm_forces + gradient.kernel() * HARTREE_PER_BOHR).max() < 1e-5
    assert np.abs(label.mm_forces + mm_gradient * HARTREE_PER_BOHR).max() < 1e-6
    assert np.abs(label.charges["mulliken"] - mf.mulliken_pop(verbose=0)[1]).max() < 1e-6
    assert np.abs(label.dipole - mf.dip_moment(unit="AU", verbose=0) * BOHR).max() < 1e-6
    # The charges change the energy of a density by Σ q V.
    interaction = (mf.e_tot - without) * HARTREE
    assert frame.mm_charges @ label.mm_potential == pytest.approx(interaction, abs=1e-6)


@pytest.mark.parametrize("state", [{}, CATION], ids=["neutral", "cation"])
def test_charges_add_up_and_the_dipole_shows_in_the_potential_far_away(state):
    far = 40.0
    frame = replace(
        water_in_charges(),
        qm_positions=WATER,
        mm_positions=far * np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]),
        mm_charges=np.zeros(2),
        **state,
    )
    label = label_frame(frame, Method(basis="6-31g")).frame
    assert set(label.charges) == {"mulliken", "lowdin"}
    for charges in label.charges.values():
        assert charges.sum() == pytest.approx(frame.total_charge, abs=1e-9)
        assert charges[0] < charges[1]  # oxygen below hydrogen
    # Odd multipoles change sign with the side: what is left out is the octupole, (1 Å/40 Å)².
    above, below = label.mm_potential / COULOMB_CONSTANT
    assert label.dipole[2] == pytest.approx((above - below) / 2 * far**2, rel=3e-3)
    assert (above + below) / 2 * far == pytest.approx(frame.total_charge, abs=1e-3)


def test_dipole_of_an_ion_is_about_the_coordinate_origin():
    frame, shift = replace(water_in_charges(), **CATION), np.array([1.0, -2.0, 3.0])
    moved = replace(
        frame, qm_positions=frame.qm_positions + shift, mm_positions=frame.mm_positions + shift
    )
    dipoles = [label_frame(f, QUICK).frame.dipole for f in (frame, moved)]
    np.testing.assert_allclose(dipoles[1] - dipoles[0], shift, atol=1e-6)


def test_net_force_vanishes_and_site_without_charge_has_a_potential_but_no_force():
    frame = water_in_charges()
    charges = frame.mm_charges.copy()
    charges[4] = 0.0
    label = label_frame(replace(frame, mm_charges=charges), QUICK).frame
    np.testing.assert_allclose(label.qm_forces.sum(0) + label.mm_forces.sum(0), 0.0, atol=1e-9)
    np.testing.assert_array_equal(label.mm_forces[4], 0.0)
    assert label.mm_potential[4] != 0.0


def test_no_charges_and_charges_of_zero_are_the_gas_phase():
    frame = water_in_charges()
    gas = label_frame(frame.in_vacuum(), QUICK).frame
    silent = label_frame(replace(frame, mm_charges=np.zeros(20), energy_vacuum=1.0), QUICK).frame
    assert silent.energy_vacuum is None
    mol = build_molecule(frame, QUICK)
    field = ACCELERATED.mean_field(mol, frame.in_vacuum(), QUICK)
    plain = converge(ACCELERATED, field).mean_field
    assert not hasattr(plain, "mm_mol")
    assert gas.energy == pytest.approx(plain.e_tot * HARTREE, abs=1e-9)
    assert gas.mm_forces.shape == (0, 3)
    assert gas.mm_potential.shape == (0,)
    assert silent.energy == pytest.approx(gas.energy, abs=1e-9)
    np.testing.assert_allclose(silent.qm_forces, gas.qm_forces, atol=1e-9)


@pytest.mark.slow
def test_warm_start_saves_cycles_and_leaves_the_labels_alone():
    method = Method(basis="6-31g", grid_level=1)
    first = label_frame(water_in_charges(), method)
    frame = replace(first.frame, qm_positions=first.frame.qm_positions + 0.01)
    cold, warm = label_frame(frame, method), label_frame(frame, method, density=first.density)
    assert (cold.scf_stage, warm.scf_stage) == ("minao", "warm")
    # Measured on methanol: 6e-6 eV/Å and 8e-7 V between the default thresholds and tight ones.
    assert warm.frame.energy == pytest.approx(cold.frame.energy, abs=1e-8)
    np.testing.assert_allclose(warm.frame.qm_forces, cold.frame.qm_forces, atol=5e-5)
    np.testing.assert_allclose(warm.frame.mm_potential, cold.frame.mm_potential, atol=5e-5)


def test_density_that_does_not_fit_is_not_used():
    water = water_in_charges()
    density = label_frame(water, QUICK).density
    others = [
        (replace(water, qm_positions=water.qm_positions[[0, 2, 1]]), QUICK),
        (replace(water, atomic_numbers=np.array([9, 1, 1]), total_charge=1), QUICK),
        (replace(water, **CATION), QUICK),
        (water, replace(QUICK, basis="6-31g")),
    ]
    for frame, method in others:
        assert label_frame(frame, method, density=density).scf_stage == "minao"


@pytest.mark.parametrize(("max_cycle", "stage"), [(30, "minao"), (6, "level_shift"), (4, "newton")])
def test_every_fallback_stage_ends_at_the_same_energy_and_is_named(max_cycle, stage):
    reference = label_frame(water_in_charges(), QUICK).frame
    result = label_frame(water_in_charges(), replace(QUICK, max_cycle=max_cycle))
    assert result.scf_stage == stage
    assert result.frame.energy == pytest.approx(reference.energy, abs=1e-8)


def test_scf_that_does_not_converge_is_no_label():
    with pytest.raises(SCFNotConvergedError, match="did not converge within 1 cycles"):
        label_frame(water_in_charges(), replace(QUICK, max_cycle=1))


def test_core_potentials_that_belong_to_a_basis_are_used():
    iodide = Frame(np.array([53]), np.zeros((1, 3)), total_charge=-1)
    label = label_frame(iodide, Method(functional="hf", basis="def2-svp")).frame
    assert label.charges["mulliken"] == pytest.approx([-1.0])
    # All 53 electrons would give -6918 Hartree.
    assert label.energy / HARTREE == pytest.approx(-297, abs=3)


def test_a_label_carries_the_warning_of_its_frame():
    frame = water_in_charges()
    sites, charges = frame.mm_positions.copy(), frame.mm_charges.copy()
    assert label_frame(frame, QUICK).warnings == ()
    outward = WATER[0] - WATER[1:].mean(0)
    sites[0] = frame.qm_positions[0] + 2.0 * outward / np.linalg.norm(outward)
    charges[0] = 1.0
    near = replace(frame, mm_positions=sites, mm_charges=charges)
    (warning,) = label_frame(near, QUICK).warnings
    assert warning.startswith("overpolarisation: a charge of +1.000 e (MM site 0) is 2.00 Å from O")


def _with_nan(array: np.ndarray) -> np.ndarray:
    broken = array.copy()
    broken[1] = np.nan
    return broken


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: {"mm_positions": f.mm_positions[:-1]}, r"mm_positions has shape \(19, 3\)"),
        (lambda f: {"qm_positions": f.qm_positions.T[:2]}, r"qm_positions has shape \(2, 3\)"),
        (lambda f: {"mm_charges": f.mm_charges[None]}, r"mm_charges has shape \(1, 20\)"),
        (lambda f: {"qm_positions": _with_nan(f.qm_positions)}, "qm_positions has 3 NaN"),
        (lambda f: {"mm_charges": _with_nan(f.mm_charges)}, "mm_charges has 1 NaN"),
        (lambda f: {"total_charge": 1}, "9 electrons .* cannot have spin_multiplicity 1"),
        (lambda f: {"spin_multiplicity": 2}, "expected an odd multiplicity"),
        (lambda f: {"spin_multiplicity": 0}, "spin_multiplicity is 0"),
        (lambda f: {"total_charge": 10}, "leaves 0 electrons"),
        (lambda f: {"atomic_numbers": np.array([8, 1, 0])}, "atomic_numbers holds 0"),
        (lambda f: {"atomic_numbers": np.array([8, 1, 119])}, "atomic_numbers holds 119"),
        (
            lambda f: {"mm_positions": np.vstack([f.qm_positions[1] + 0.01, f.mm_positions[1:]])},
            "MM charge 0 lies 0.017 Å from the nucleus of QM atom 1",
        ),
        (lambda f: {"qm_positions": f.qm_positions[[0, 0, 2]]}, "QM atoms 0 and 1 are 0.000 Å"),
        (lambda f: {"atomic_numbers": np.array([92, 1, 1])}, "'sto-3g' does not cover all of H, U"),
    ],
)
def test_frame_that_cannot_be_computed_is_refused_with_a_sentence(change, sentence):
    frame = water_in_charges()
    with pytest.raises(InvalidFrameError, match=sentence):
        label_frame(replace(frame, **change(frame)), QUICK)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"functional": "wb97x-d"}, "use 'wb97x-d3bj' instead"),
        ({"functional": "b3lpy"}, "did you mean 'b3lyp'"),
        ({"functional": " "}, "functional is empty"),
        ({"functional": "wb97x-d3bj", "dispersion": "d4"}, "brings d3bj with it"),
        ({"functional": "svwn", "dispersion": "d3bj"}, "no d3bj parameters .* 'svwn'"),
        ({"basis": "def2-tzpv"}, "did you mean 'def2tzvp'"),
        ({"dispersion": "d9"}, "choose one of d3bj"),
        ({"grid_level": 12}, "expected 0 to 9"),
        ({"conv_tol": 0.0}, "conv_tol is 0; expected above 0"),
        ({"max_cycle": 0}, "max_cycle is 0"),
    ],
)
def test_method_that_pyscf_cannot_run_is_refused_with_a_sentence(settings, sentence):
    with pytest.raises(MethodError, match=sentence):
        Method(**settings)


def test_method_is_recorded_with_versions():
    record = Method(functional="B3LYP", dispersion="D3BJ").as_dict()
    assert (record["functional"], record["dispersion"]) == ("b3lyp", "d3bj")
    assert record["program"] == "pyscf"
    assert record["versions"]["pyscf"][0].isdigit()
    assert Method(functional="B3LYP") == Method(functional="b3lyp")


def test_charges_wrapped_in_the_wrong_order_are_caught():
    frame = water_in_charges()
    mol = build_molecule(frame, QUICK)
    charged = qmmm.mm_charge(dft.RKS(mol), frame.mm_positions / BOHR, frame.mm_charges, unit="Bohr")
    wrong = charged.density_fit()
    wrong.kernel()
    with pytest.raises(LabelCheckError, match="leaves out the MM charges"):
        ACCELERATED.gradients(wrong, frame.mm_positions / BOHR, frame.mm_charges)


class Wrong(AcceleratedPySCF):
    """A backend with an error of one in a thousand in one of its answers."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def gradients(self, *arguments):
        right = super().gradients(*arguments)
        return Gradients(right.qm, right.mm * (1.001 if self.answer == "gradients" else 1.0))

    def site_potential(self, *arguments):
        potential = super().site_potential(*arguments)
        return potential * (1.001 if self.answer == "site_potential" else 1.0)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("gradients", "forces on QM and MM sites add up to"),
        ("site_potential", "the potential at their sites says"),
    ],
)
def test_label_that_contradicts_itself_is_thrown_away(answer, sentence):
    with pytest.raises(LabelCheckError, match=sentence):
        label_frame(water_in_charges(), QUICK, backend=Wrong(answer))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("dipole", "NaN or infinite"), ("atomic_charges", "the mulliken charges add up to")],
)
def test_wrong_charges_or_dipole_are_thrown_away(name, sentence, monkeypatch):
    right = getattr(single_point, name)

    def wrong(*arguments):
        value = right(*arguments)
        if name == "dipole":
            return value * np.nan
        return {s: replace(atoms, charges=atoms.charges + 1e-3) for s, atoms in value.items()}

    monkeypatch.setattr(single_point, name, wrong)
    with pytest.raises(LabelCheckError, match=sentence):
        label_frame(water_in_charges(), QUICK)


@pytest.mark.slow
def test_command_line_asks_pyscf_about_no_method_when_it_is_loaded():
    program = (
        "from datagen.labels.method import Method; Method.__post_init__ = None; "
        "import datagen.commands.label, datagen.commands.learn, datagen.commands.run"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
