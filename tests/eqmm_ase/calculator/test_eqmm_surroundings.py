"""The ASE calculator: charges around it, and what its model does not know."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from calculator_kit import (
    ROUNDING,
    assert_same_results,
    embedded,
    everything,
    fresh,
    methanol,
    random_model,
    some_charges,
)

from eqmm_ase import ContactError, EqMM, Frame, save_model
from eqmm_ase.calculator.eqmm import NotFiniteError
from eqmm_ase.network.model import UnknownElementError
from eqmm_ase.uncertainty.domain import Domain, DomainWarning


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def atoms(model) -> Atoms:
    """Methanol in twelve charges, float64."""
    return embedded(model)


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
        assert_same_results(expected, everything(atoms), tol=1e-9)


def test_charges_without_positions_ask_for_them(atoms):
    handle = atoms.calc.embed([0.1, -0.1])
    with pytest.raises(ValueError, match="no positions yet"):
        atoms.get_potential_energy()
    handle.set_positions([[5.0, 0, 0], [-5.0, 0, 0]])
    assert_same_results(everything(atoms), everything(fresh(atoms)))


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
    assert_same_results(everything(atoms), expected)


def test_parameters_for_other_programs_are_named_when_left_aside(atoms):
    with pytest.warns(UserWarning, match="rc, rc2"):
        atoms.calc.embed([0.1], rc=0.2, rc2=7.0)
    atoms.calc.embed([0.1], rc=0.2, rc2=7.0)


def test_spin_and_charge_come_from_info_unless_set(atoms):
    ion = fresh(atoms)
    ion.calc.set(total_charge=1, spin_multiplicity=2)
    atoms.info.update(total_charge=np.int64(1), spin_multiplicity=2.0)
    assert_same_results(everything(atoms), everything(ion))
    assert atoms.get_charges().sum() == pytest.approx(1.0, abs=1e-9)
    atoms.calc.set(total_charge=-1)
    assert atoms.get_charges().sum() == pytest.approx(-1.0, abs=1e-9)


@pytest.mark.parametrize("pbc", [True, (True, False, True)])
def test_periodicity_that_does_not_matter_is_ignored(atoms, pbc):
    expected = everything(atoms)
    atoms.set_cell([20.0, 20.0, 20.0])
    atoms.pbc = pbc
    assert_same_results(everything(atoms), expected)


def test_a_molecule_broken_across_the_boundary_is_refused(atoms):
    atoms.set_cell([20.0, 20.0, 20.0])
    atoms.pbc = True
    atoms.positions[0] += (20.0, 0, 0)
    with pytest.raises(ValueError, match=r"cluster, but atom .* make the molecule whole"):
        atoms.get_potential_energy()


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


@pytest.mark.slow
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
    alone = atoms.get_potential_energy()
    atoms.calc.embed([0.0], atoms.positions[[0]] + [0, 0, 0.5])
    assert atoms.get_potential_energy() == pytest.approx(alone, abs=ROUNDING["float64"])


@pytest.mark.parametrize("direction", [*np.eye(3), *-np.eye(3)])
def test_a_charge_too_close_is_named_among_many_that_are_far(direction):
    atoms = embedded(random_model())
    charges, positions = some_charges(30)
    farthest = int((atoms.positions @ direction).argmax())
    positions[17] = atoms.positions[farthest] + 0.4 * direction  # outermost, on every side
    atoms.calc.embed(charges, positions)
    with pytest.raises(ContactError, match=rf"MM charge 17 .* QM atom {farthest} "):
        atoms.get_potential_energy()
