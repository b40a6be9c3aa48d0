"""The ASE calculator: its settings, and ASE's contract."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from calculator_kit import (
    assert_same_results,
    embedded,
    everything,
    methanol,
    random_model,
)

from eqmm_ase import EqMM, Frame, FrameBatch
from eqmm_ase.network.prediction import predict


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def atoms(model) -> Atoms:
    """Methanol in twelve charges, float64."""
    return embedded(model)


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
    expected = predict(wide, FrameBatch.from_frames([Frame(atoms.numbers, atoms.positions)]))
    atoms.calc = EqMM(wide)
    assert atoms.get_potential_energy() == pytest.approx(float(expected.energy[0]), abs=1e-3)
    atoms.calc.set(dtype="float64")
    # Weights cut to float32 change forces by 1e-7.
    assert_same_results(
        {"forces": atoms.get_forces()}, {"forces": expected.qm_forces.numpy()}, tol=1e-11
    )


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
    assert_same_results(everything(atoms), expected)


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
    assert_same_results(everything(atoms), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers(atoms):
    expected = everything(atoms)
    atoms.calc.set(device="cuda")
    assert_same_results(everything(atoms), expected, tol=1e-9)


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
    assert_same_results(everything(twin), expected)
    twin.calc.embed(None)
    assert_same_results(everything(atoms), expected)


def test_energy_without_atoms_says_so(model):
    with pytest.raises(ValueError, match="has not seen any atoms"):
        EqMM(model).get_potential_energy()
    with pytest.raises(ValueError, match="has not seen any atoms"):
        EqMM(model).mm_forces  # noqa: B018
