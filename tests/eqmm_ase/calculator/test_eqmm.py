"""The ASE calculator: right numbers whatever was asked before, and ASE's contract."""

from __future__ import annotations

import copy
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import all_properties
from ase.calculators.fd import calculate_numerical_forces
from ase.calculators.singlepoint import SinglePointCalculator
from ase.calculators.test import gradient_test
from ase.io import read, write
from calculator_kit import ROUNDING, methanol, numerical_mm_gradient, random_model, some_charges

from eqmm_ase import EqMM, Frame, Frames, save_model
from eqmm_ase.calculator.eqmm import NotFiniteError
from eqmm_ase.network.model import UnknownElementError, predict
from eqmm_ase.network.traced import RecordedModels
from eqmm_ase.uncertainty.domain import Domain, DomainWarning


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def atoms(model) -> Atoms:
    """Methanol in twelve charges, float64."""
    atoms = methanol()
    atoms.calc = EqMM(model, dtype="float64")
    atoms.calc.embed(*some_charges())
    return atoms


def fresh(atoms: Atoms) -> Atoms:
    """The same system with a calculator that has never been asked anything."""
    twin = atoms.copy()
    old = atoms.calc
    twin.calc = EqMM(old._source, **old.parameters)
    twin.calc.embed(old.point_charges.charges, old.point_charges.positions)
    return twin


def everything(atoms: Atoms) -> dict[str, np.ndarray]:
    return {
        "energy": np.array(atoms.get_potential_energy()),
        "forces": atoms.get_forces(),
        "charges": atoms.get_charges(),
        "dipole": atoms.get_dipole_moment(),
        "mm_forces": atoms.calc.mm_forces,
        "mm_potential": atoms.calc.mm_potential,
    }


def assert_same(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], tol: float = ROUNDING["float64"]
) -> None:
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=tol, err_msg=name)


# --- numbers ---


def test_results_are_those_of_the_model(atoms, model):
    handle = atoms.calc.point_charges
    frame = Frame(atoms.numbers, atoms.positions, handle.positions, handle.charges)
    expected = predict(copy.deepcopy(model).double(), Frames.from_frames([frame]))
    found = everything(atoms)
    # 1e-9: the calculator moves the origin, and atomic energies are 10³ eV in float64.
    assert found["energy"] == pytest.approx(float(expected.energy[0]), abs=1e-9)
    for name, value in (
        ("forces", expected.qm_forces),
        ("charges", expected.charges),
        ("dipole", expected.dipole[0]),
        ("mm_forces", expected.mm_forces),
        ("mm_potential", expected.mm_potential),
    ):
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-9, err_msg=name)


def test_dipole_of_an_ion_is_about_the_coordinate_origin(model):
    ion = methanol()
    ion.calc = EqMM(model, dtype="float64", total_charge=1, spin_multiplicity=2)
    before = ion.get_dipole_moment()
    ion.translate((1.0, -2.0, 3.0))
    np.testing.assert_allclose(ion.get_dipole_moment() - before, (1.0, -2.0, 3.0), atol=1e-9)


def test_forces_are_the_numerical_gradient(atoms):
    numerical = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical, rtol=0, atol=1e-6)


def test_gradient_test_of_ase(atoms, capsys):
    analytical, numerical = gradient_test(atoms, indices=[1])
    assert capsys.readouterr().out.startswith(" " * 13 + "eps")
    assert abs(analytical - numerical).max() < 1e-4  # its last step is 1e-8 Å: rounding


def test_mm_forces_and_potential_are_numerical_gradients(atoms):
    handle = atoms.calc.point_charges
    numerical = numerical_mm_gradient(handle, handle.positions, atoms.get_potential_energy)
    np.testing.assert_allclose(atoms.calc.mm_forces, -numerical, rtol=0, atol=1e-6)

    charges, potential = handle.charges, atoms.calc.mm_potential
    for k in (0, 5):
        energies = []
        for sign in (1, -1):
            moved = charges.copy()
            moved[k] += sign * 1e-4
            handle.set_charges(moved)
            energies.append(atoms.get_potential_energy())
        assert (energies[0] - energies[1]) / 2e-4 == pytest.approx(potential[k], abs=1e-6)


def test_float32_agrees_with_float64_far_from_the_origin(atoms):
    reference = everything(atoms)
    away = np.array([300.0, -200.0, 100.0])
    atoms.positions += away
    atoms.calc.point_charges.set_positions(atoms.calc.point_charges.positions + away)
    atoms.calc.set(dtype="float32")
    # float32 positions at 300 Å are wrong by 3e-5 Å, which alone would be 1e-3 eV/Å.
    assert_same({"forces": atoms.get_forces()}, {"forces": reference["forces"]}, tol=2e-4)
    assert atoms.get_potential_energy() == pytest.approx(reference["energy"], abs=1e-4)


# --- the cache ---


def test_nothing_is_computed_twice(atoms, monkeypatch):
    calls = []
    real = RecordedModels.__call__
    monkeypatch.setattr(RecordedModels, "__call__", lambda *a: calls.append(1) or real(*a))
    everything(atoms)
    everything(atoms)
    assert len(calls) == 1


CHANGES = {
    "atoms moved": lambda a: a.positions.__iadd__(0.1 * np.eye(6, 3)),
    "charges moved": lambda a: a.calc.point_charges.set_positions(
        a.calc.point_charges.positions * 1.1
    ),
    "charges changed": lambda a: a.calc.point_charges.set_charges(
        a.calc.point_charges.charges * 0.5
    ),
    "embedded anew": lambda a: a.calc.embed(*some_charges(5, seed=9)),
    "charges removed": lambda a: a.calc.embed(None),
    "total charge and spin set": lambda a: a.calc.set(total_charge=1, spin_multiplicity=2),
    "total charge and spin in info": lambda a: a.info.update(total_charge=-1, spin_multiplicity=2),
    "element changed": lambda a: a.numbers.__setitem__(slice(4, 6), 8),
    "float32": lambda a: a.calc.set(dtype="float32"),
}


@pytest.mark.parametrize("ask_first", [True, False])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_result_outlives_a_change(atoms, change, ask_first):
    if ask_first:
        everything(atoms)
    change(atoms)
    tol = ROUNDING[atoms.calc.parameters["dtype"]]
    assert_same(everything(atoms), everything(fresh(atoms)), tol)


@pytest.mark.parametrize("name", ["energy", "forces", "charges", "dipole"])
def test_moved_charges_are_noticed_without_naming_the_atoms(atoms, name):
    everything(atoms)
    handle = atoms.calc.point_charges
    handle.set_positions(handle.positions * 1.1)
    assert_same({name: atoms.calc.get_property(name)}, {name: everything(fresh(atoms))[name]})


def test_mm_forces_follow_atoms_moved_since_the_last_energy(atoms):
    atoms.get_potential_energy()
    atoms.positions[0] += 0.2
    found = atoms.calc.mm_forces
    assert_same({"mm_forces": found}, {"mm_forces": everything(fresh(atoms))["mm_forces"]})


def test_moved_charges_are_reported_by_check_state(atoms):
    atoms.get_potential_energy()
    assert atoms.calc.check_state(atoms) == []
    assert not atoms.calc.calculation_required(atoms, ["energy", "forces"])
    handle = atoms.calc.point_charges
    handle.set_positions(handle.positions + 1e-9)
    assert atoms.calc.check_state(atoms) == ["embedding"]
    assert atoms.calc.calculation_required(atoms, ["energy"])
    atoms.positions[0, 0] += 1e-9
    assert atoms.calc.check_state(atoms) == ["positions", "embedding"]


def test_the_order_of_questions_does_not_matter(atoms):
    expected = everything(fresh(atoms))
    other_way = fresh(atoms)
    other_way.get_dipole_moment()
    backwards = {
        "mm_potential": other_way.calc.mm_potential,
        "mm_forces": other_way.calc.mm_forces,
        "dipole": other_way.get_dipole_moment(),
        "charges": other_way.get_charges(),
        "forces": other_way.get_forces(),
        "energy": np.array(other_way.get_potential_energy()),
    }
    assert_same(backwards, expected)


def test_results_are_copies_that_may_be_written_to(atoms):
    expected = everything(fresh(atoms))
    for array in (
        atoms.get_forces(),
        atoms.get_charges(),
        atoms.get_dipole_moment(),
        atoms.calc.mm_forces,
        atoms.calc.mm_potential,
        atoms.calc.point_charges.get_forces(atoms.calc),
        atoms.calc.point_charges.positions,
        atoms.calc.point_charges.charges,
    ):
        array[...] = 7.0
    assert_same(everything(atoms), expected)
    atoms.calc.reset()
    assert_same(everything(atoms), expected)


def test_charges_given_are_copied(atoms):
    charges, positions = some_charges()
    atoms.calc.embed(charges, positions)
    expected = everything(atoms)
    charges *= 2
    positions += 1
    atoms.calc.reset()
    assert_same(everything(atoms), expected)


def test_a_failed_calculation_leaves_no_results(atoms):
    everything(atoms)
    atoms.positions[0, 0] = np.nan
    for _ in range(2):
        with pytest.raises(ValueError, match="NaN"):
            atoms.get_forces()
    assert atoms.calc.results == {}
    atoms.positions[0, 0] = 0.0
    assert_same(everything(atoms), everything(fresh(atoms)))


def test_a_failed_direct_calculation_is_not_taken_for_an_answer(atoms):
    everything(atoms)
    broken = atoms.copy()
    broken.positions[0] = broken.positions[1]
    with pytest.raises(ValueError, match="0 Å apart"):
        atoms.calc.calculate(broken)
    with pytest.raises(ValueError, match="0 Å apart"):
        atoms.calc.get_forces(broken)


def test_two_molecules_can_share_a_calculator(model):
    calc = EqMM(model, dtype="float64")
    pair = [methanol(), molecule("H2O")]
    for one in pair:
        one.calc = calc
    energies = [one.get_potential_energy() for one in pair]
    assert [one.get_potential_energy() for one in pair] == energies
    assert calc.get_charges().shape == (3,)


# --- surroundings ---


def test_no_charges_empty_charges_and_zero_charges_are_the_gas_phase(atoms):
    _, positions = some_charges()
    gas = Atoms(atoms)
    gas.calc = EqMM(atoms.calc._source, dtype="float64")
    expected = everything(gas)
    assert expected["mm_forces"].shape == (0, 3)
    assert expected["mm_potential"].shape == (0,)
    expected = {k: v for k, v in expected.items() if not k.startswith("mm")}
    for charges in (([],), ([], []), (None,), (np.zeros(12), positions)):
        atoms.calc.embed(*charges)
        assert_same(expected, everything(atoms), tol=1e-9)


def test_charges_without_positions_ask_for_them(atoms):
    handle = atoms.calc.embed([0.1, -0.1])
    with pytest.raises(ValueError, match="no positions yet"):
        atoms.get_potential_energy()
    handle.set_positions([[5.0, 0, 0], [-5.0, 0, 0]])
    assert np.isfinite(atoms.get_potential_energy())


def test_a_handle_that_was_replaced_refuses_to_pretend(atoms):
    old = atoms.calc.point_charges
    atoms.calc.embed(*some_charges(5))
    for use in (
        lambda: old.set_positions(old.positions),
        lambda: old.set_charges(old.charges),
        lambda: old.get_forces(atoms.calc),
    ):
        with pytest.raises(RuntimeError, match="no longer in use"):
            use()


def test_a_refused_embedding_leaves_the_old_one(atoms):
    expected = everything(atoms)
    with pytest.raises(ValueError, match="shape"):
        atoms.calc.embed([0.1, 0.2], np.zeros((3, 3)))
    with pytest.raises(ValueError, match="shape"):
        atoms.calc.point_charges.set_positions(np.zeros((3, 3)))
    assert_same(everything(atoms), expected)


def test_parameters_for_other_programs_are_named_when_left_aside(atoms):
    with pytest.warns(UserWarning, match="rc, rc2"):
        atoms.calc.embed([0.1], rc=0.2, rc2=7.0)
    atoms.calc.embed([0.1], rc=0.2, rc2=7.0)


def test_spin_and_charge_come_from_info_unless_set(atoms):
    ion = fresh(atoms)
    ion.calc.set(total_charge=1, spin_multiplicity=2)
    atoms.info.update(total_charge=np.int64(1), spin_multiplicity=2.0)
    assert_same(everything(atoms), everything(ion))
    assert atoms.get_charges().sum() == pytest.approx(1.0, abs=1e-9)
    atoms.calc.set(total_charge=-1)
    assert atoms.get_charges().sum() == pytest.approx(-1.0, abs=1e-9)


@pytest.mark.parametrize("pbc", [True, (True, False, True)])
def test_periodicity_that_does_not_matter_is_ignored(atoms, pbc):
    expected = everything(atoms)
    atoms.set_cell([20.0, 20.0, 20.0])
    atoms.pbc = pbc
    assert_same(everything(atoms), expected)


def test_a_molecule_broken_across_the_boundary_is_refused(atoms):
    atoms.set_cell([20.0, 20.0, 20.0])
    atoms.pbc = True
    atoms.positions[0] += (20.0, 0, 0)
    with pytest.raises(ValueError, match=r"cluster, but atom .* make the molecule whole"):
        atoms.get_potential_energy()


# --- settings ---


def test_set_changes_results_and_reports_what_changed(atoms):
    atoms.get_potential_energy()
    assert atoms.calc.set(dtype="float64") == {}
    assert atoms.calc.results
    assert atoms.calc.set(dtype="float32") == {"dtype": "float32"}
    assert not atoms.calc.results
    label = atoms.calc.point_charges.label
    assert atoms.calc.todict() == {"embedding": label}
    assert atoms.calc.set(total_charge=2) == {"total_charge": 2}
    assert atoms.calc.todict() == {"total_charge": 2, "embedding": label}


def test_float64_weights_survive_a_visit_to_float32():
    wide = random_model().double()
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter += 1e-10
    atoms = methanol()
    expected = predict(wide, Frames.from_frames([Frame(atoms.numbers, atoms.positions)]))
    atoms.calc = EqMM(wide)
    assert atoms.get_potential_energy() == pytest.approx(float(expected.energy[0]), abs=1e-3)
    atoms.calc.set(dtype="float64")
    # Weights cut to float32 change forces by 1e-7.
    assert_same({"forces": atoms.get_forces()}, {"forces": expected.qm_forces.numpy()}, tol=1e-11)


def test_a_model_handed_over_is_left_alone(model):
    before = {name: t.clone() for name, t in model.state_dict().items()}
    atoms = methanol()
    atoms.calc = EqMM(model, dtype="float64")
    atoms.get_forces()
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    assert model.training


def test_reset_forgets_results_but_not_charges(atoms):
    expected = everything(atoms)
    atoms.calc.reset()
    assert atoms.calc.results == {}
    assert atoms.calc.atoms is None
    assert_same(everything(atoms), expected)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"dtpye": "float32"}, "no setting 'dtpye'; did you mean 'dtype'"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"device": "gpu"}, "device must be"),
        ({"total_charge": 0.5}, "total_charge must be a whole number, got 0.5"),
        ({"spin_multiplicity": "two"}, "spin_multiplicity must be a whole number, got 'two'"),
    ],
)
def test_bad_settings_are_refused_and_change_nothing(atoms, settings, sentence):
    expected = everything(atoms)
    with pytest.raises(ValueError, match=sentence):
        atoms.calc.set(**{"total_charge": 4, **settings})
    assert_same(everything(atoms), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers(atoms):
    expected = everything(atoms)
    atoms.calc.set(device="cuda")
    assert_same(everything(atoms), expected, tol=1e-9)


# --- ASE's contract ---


def test_results_hold_standard_names_only(atoms):
    atoms.get_forces()
    assert set(atoms.calc.results) == {"energy", "free_energy", "forces", "charges", "dipole"}
    assert set(atoms.calc.results) <= set(all_properties)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    exported = atoms.calc.export_properties()
    assert exported["forces"].shape == (6, 3)
    frozen = SinglePointCalculator(atoms, **atoms.calc.results)
    np.testing.assert_array_equal(frozen.get_forces(atoms), atoms.get_forces())


@pytest.mark.parametrize("name", ["image.traj", "image.extxyz"])
def test_results_are_written_and_read_back(atoms, tmp_path, name):
    expected = everything(atoms)
    write(tmp_path / name, atoms)
    back = read(tmp_path / name)
    assert back.get_potential_energy() == pytest.approx(float(expected["energy"]), abs=1e-7)
    np.testing.assert_allclose(back.get_forces(), expected["forces"], atol=1e-7)
    np.testing.assert_allclose(back.get_charges(), expected["charges"], atol=1e-7)
    np.testing.assert_allclose(back.get_dipole_moment(), expected["dipole"], atol=1e-7)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_atoms_with_a_calculator_can_be_copied(atoms, copied):
    expected = everything(atoms)
    twin = copied(atoms)
    assert_same(everything(twin), expected)
    twin.calc.embed(None)
    assert_same(everything(atoms), expected)


def test_energy_without_atoms_says_so(model):
    with pytest.raises(ValueError, match="has not seen any atoms"):
        EqMM(model).get_potential_energy()
    with pytest.raises(ValueError, match="has not seen any atoms"):
        EqMM(model).mm_forces  # noqa: B018


# --- what the model does not know ---


def test_bad_systems_are_refused_with_a_sentence(atoms):
    atoms.symbols[0] = "Cl"
    atoms.info["total_charge"] = -1
    atoms.info["spin_multiplicity"] = 1
    with pytest.raises(UnknownElementError, match="Cl"):
        atoms.get_potential_energy()


def test_odd_electrons_with_spin_one_are_refused(atoms):
    atoms.calc.set(total_charge=1)
    with pytest.raises(ValueError, match=r"CH4O with total charge \+1 has 17 electrons, an odd"):
        atoms.get_potential_energy()


def test_a_charge_on_a_nucleus_is_refused(atoms):
    atoms.calc.embed([0.2, -0.4], [[9.0, 0, 0], atoms.positions[1] + 0.01])
    with pytest.raises(ValueError, match=r"MM charge 1 .* lies on QM atom 1"):
        atoms.get_potential_energy()


def test_a_model_that_overflows_fails_by_name(atoms):
    with torch.no_grad():
        next(atoms.calc._models.models[0].parameters()).fill_(1e200)
    with pytest.raises(NotFiniteError, match="not finite"):
        atoms.get_potential_energy()


@pytest.fixture
def trained(tmp_path, model):
    """A model file that has seen neutral CH4O singlets with charges no nearer than 3 Å."""
    frame = Frame(methanol().numbers, methanol().positions, np.array([[0, 0, 4.0]]), np.ones(1))
    domain = Domain.of([frame]).to_dict() | {"closest_mm": 3.0, "closest": {}}
    save_model(tmp_path / "model.eqmm", model, {"domain": domain})
    return tmp_path / "model.eqmm"


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        (
            lambda a: a.__delitem__([2, 3]),
            ["QM region CH2O was not", r"4 QM atoms lie outside training \(seen: 6 to 6\)"],
        ),
        (
            lambda a: a.calc.embed([0.3], a.positions[[1]] - [0, 2.3, 0]),
            [r"charge 0 \(\+0.3 e\) is 2.\d\d Å from QM atom \d .* in training \(3.00 Å\)"],
        ),
    ],
)
def test_systems_unlike_training_are_named_once(trained, change, sentences):
    atoms = methanol()
    atoms.calc = EqMM(trained)
    atoms.calc.embed(*some_charges())
    atoms.get_potential_energy()
    change(atoms)
    with pytest.warns(DomainWarning) as caught:
        atoms.get_potential_energy()
    told = [str(warning.message) for warning in caught]
    assert len(told) == len(sentences)
    for sentence in sentences:
        assert any(re.search(sentence, text) for text in told), told
    atoms.rattle(1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_potential_energy()


def test_zero_charges_may_come_close(trained):
    atoms = methanol()
    atoms.calc = EqMM(trained)
    atoms.calc.embed([0.0], atoms.positions[[0]] + [0, 0, 0.5])
    assert np.isfinite(atoms.get_potential_energy())
