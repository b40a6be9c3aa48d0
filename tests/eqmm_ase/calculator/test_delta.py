"""Delta-learning: a second method in the dataset, the difference learned, both added up in ASE."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from rich.console import Console
from training_kit import NETWORK, few_charges

from eqmm_ase import EqMM
from eqmm_ase.calculator.delta import DeltaEqMM
from eqmm_ase.data.baseline import difference
from eqmm_ase.data.dataset_format import BASELINE, DatasetError
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import ReferenceData, read_frames, write_frames
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import load_model, save_model
from eqmm_ase.network.prediction import predict
from eqmm_ase.training.config import load_config
from eqmm_ase.training.data import TrainingData
from eqmm_ase.training.train import train

CHEAP = {"functional": "hf", "basis": "sto-3g"}
METHOD = {"functional": "b3lyp", "basis": "6-31g*", "baseline": CHEAP}
TINY = [
    *(f"model.{k}={v}" for k, v in NETWORK.to_dict().items() if k not in ("elements", "neutral")),
    *("training.batch_size=3", "training.validate_every=4", "training.max_steps=4"),
    *("hardware.accelerator=cpu", "data.baseline=true"),
]
DELTA = replace(NETWORK, neutral=True)


def cheaply(frame: Frame) -> Frame:
    """A cheaper method with exact forces: EqMM with other random weights, of charge Q."""
    torch.manual_seed(11)
    model = MultiscaleModel(NETWORK).double()
    answer = predict(model, FrameBatch.from_frames([frame]))
    return replace(
        frame,
        energy=float(answer.energy[0]),
        **{name: getattr(answer, name).detach().numpy() for name in BASELINE[1:]},
    )


@pytest.fixture(scope="module")
def frames(methanol_file):
    """Frames with few charges, labelled by two methods."""
    few = few_charges(methanol_file, 6)
    return [
        replace(f, baseline={name: getattr(cheaply(f), name) for name in BASELINE}) for f in few
    ]


@pytest.fixture
def data(frames, tmp_path):
    write_frames(tmp_path / "both.h5", frames, METHOD)
    return tmp_path / "both.h5"


@pytest.fixture(scope="module")
def delta(tmp_path_factory):
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("delta") / "delta.eqmm"
    save_model(path, MultiscaleModel(DELTA), {"baseline": CHEAP})
    return path


def test_a_file_holds_the_labels_of_both_methods(frames, data):
    for found, frame in zip(read_frames(data), frames, strict=True):
        assert found.baseline.keys() == set(BASELINE)
        assert found.energy == frame.energy
        for name in BASELINE:
            np.testing.assert_array_equal(found.baseline[name], frame.baseline[name])
    with h5py.File(data) as file:
        assert file.attrs["format_version"] == 1  # earlier readers leave the group aside
        assert file["baseline/qm_forces"].shape == file["qm_forces"].shape
        assert file["baseline/energy"].dtype == np.float64


def test_a_baseline_of_the_wrong_shape_is_refused_and_one_of_a_later_format_ignored(data):
    with h5py.File(data, "a") as file:
        file["baseline/hessian"] = np.zeros(3)
    assert read_frames(data, [0])[0].baseline.keys() == set(BASELINE)
    with h5py.File(data, "a") as file:
        del file["baseline/energy"]
        file["baseline/energy"] = np.zeros(2)
    with pytest.raises(DatasetError, match=r"'baseline/energy' has shape \(2,\); expected \(6,\)"):
        ReferenceData(data)


def test_the_difference_is_label_minus_baseline_and_knows_no_charges(frames):
    left = difference(frames[0])
    assert left.energy == pytest.approx(frames[0].energy - frames[0].baseline["energy"])
    np.testing.assert_allclose(
        left.mm_forces, frames[0].mm_forces - frames[0].baseline["mm_forces"]
    )
    assert left.mm_potential is None  # the better method's is not known
    assert left.charges == {}
    assert left.dipole is None


@pytest.mark.slow
def test_training_sees_differences_and_the_card_says_so(frames, data, tmp_path):
    config = load_config(None, [*TINY, "data.validation_fraction=0"])
    loaded = TrainingData.load([data], config)
    expected = frames[0].energy - frames[0].baseline["energy"]
    assert loaded.training[0].labels.energy.item() == pytest.approx(expected)
    quiet = Console(file=io.StringIO())
    model, card = load_model(train([data], tmp_path / "m.eqmm", config, console=quiet))
    assert card["baseline"] == CHEAP
    assert card["method"] == {"functional": "b3lyp", "basis": "6-31g*"}
    assert model.config == DELTA
    plain = load_config(None, [*TINY, "data.baseline=false"])
    model, card = load_model(train([data], tmp_path / "plain.eqmm", plain, console=quiet))
    assert "baseline" not in card
    assert "baseline" not in card["method"]
    assert not model.config.neutral


def test_data_without_a_baseline_are_refused(methanol_file, tmp_path):
    with pytest.raises(DatasetError, match=r"frame .* has no energy or QM forces of a baseline"):
        TrainingData.load([methanol_file], load_config(None, TINY))


def test_files_with_differences_from_different_methods_are_refused(frames, data, tmp_path):
    write_frames(tmp_path / "c.h5", frames, {**METHOD, "baseline": {**CHEAP, "basis": "3-21g"}})
    with pytest.raises(DatasetError, match="baseline hf/3-21g, of basis '3-21g' and not 'sto-3g'"):
        TrainingData.load([data, tmp_path / "c.h5"], load_config(None, TINY))


def test_the_total_charge_cancels_in_a_difference(frames):
    model = MultiscaleModel(DELTA).double()
    anion = FrameBatch.from_frames([replace(frames[0], total_charge=-1)])
    answer = predict(model, anion)
    assert answer.charges.abs().max() > 0
    assert answer.charges.sum().abs() < 1e-12
    # A potential that is the same everywhere cannot change a difference of two energies.
    tensors = torch.randn(6, 4, dtype=torch.float64)
    raised = tensors + torch.tensor([1.0, 0.0, 0.0, 0.0])
    energies = [model.in_potential(anion, t).energy.item() for t in (tensors, raised)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)


def test_a_model_of_differences_is_refused_alone(delta, tmp_path):
    with pytest.raises(ValueError, match=r"delta\.eqmm predicts differences from hf/sto-3g"):
        EqMM(delta)
    save_model(tmp_path / "whole.eqmm", MultiscaleModel(NETWORK), {})
    with pytest.raises(ValueError, match="predicts energies and no differences; use EqMM"):
        DeltaEqMM(tmp_path / "whole.eqmm", cheaply)


def test_a_box_is_refused_as_the_baseline_knows_none(delta, frames):
    atoms = atoms_of_frame(frames[0])
    atoms.calc = DeltaEqMM(delta, cheaply)
    charges = frames[0].mm_charges, frames[0].mm_positions
    handle = atoms.calc.embed(*charges)
    energy = atoms.get_potential_energy()
    with pytest.raises(ValueError, match="DeltaEqMM has no periodic box, since its baseline"):
        atoms.calc.embed(*charges, cell=[30.0, 30.0, 30.0])
    with pytest.raises(ValueError, match="these charges have no periodic box"):
        handle.set_cell([30.0, 30.0, 30.0])
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    assert atoms.get_potential_energy() == energy


@pytest.mark.slow
def test_the_calculator_adds_both_methods_in_all_forces(delta, frames):
    atoms = atoms_of_frame(frames[0])
    charges, positions = frames[0].mm_charges, frames[0].mm_positions.astype(np.float64)
    atoms.calc = DeltaEqMM(delta, cheaply, dtype="float64")
    handle = atoms.calc.embed(charges, positions)
    forces, mm_forces = atoms.get_forces(), atoms.calc.mm_forces
    model = load_model(delta)[0].double()
    alone = predict(model, FrameBatch.from_frames([frames[0]]))
    baseline = cheaply(frames[0])
    assert atoms.get_potential_energy() == pytest.approx(float(alone.energy[0]) + baseline.energy)
    np.testing.assert_allclose(forces, alone.qm_forces.numpy() + baseline.qm_forces, atol=1e-9)
    potential = alone.mm_potential.numpy() + baseline.mm_potential
    np.testing.assert_allclose(atoms.calc.mm_potential, potential, atol=1e-9)
    step = 1e-4

    def energy(row, column, shift):
        moved = positions.copy()
        moved[row, column] += shift
        handle.set_positions(moved)
        return atoms.get_potential_energy()

    slope = (energy(3, 1, step) - energy(3, 1, -step)) / (2 * step)
    assert -slope == pytest.approx(mm_forces[3, 1], abs=1e-6)


def test_a_baseline_that_fails_leaves_no_half_answer(delta, frames):
    answers = iter([None, "energy", "mm_forces"])

    def failing(frame):
        missing = next(answers, "")
        if missing is None:
            raise RuntimeError("no convergence")
        return replace(cheaply(frame), **({missing: None} if missing else {}))

    atoms = atoms_of_frame(frames[0])
    atoms.calc = DeltaEqMM(delta, failing)
    atoms.calc.embed(frames[0].mm_charges, frames[0].mm_positions)
    with pytest.raises(RuntimeError, match="no convergence"):
        atoms.get_potential_energy()
    for missing in ("energy", "mm_forces"):
        with pytest.raises(ValueError, match=f"the baseline gave no {missing}; expected energy, "):
            atoms.get_potential_energy()
    whole = DeltaEqMM(delta, cheaply)
    whole.embed(frames[0].mm_charges, frames[0].mm_positions)
    assert atoms.get_potential_energy() == whole.get_potential_energy(atoms_of_frame(frames[0]))


@pytest.mark.slow
def test_evaluate_compares_differences(delta, frames, tmp_path):
    from eqmm_ase import cli

    model = load_model(delta)[0].double()
    exact = []
    for frame in frames:
        answer = predict(model, FrameBatch.from_frames([frame]))
        energy = float(answer.energy[0]) + frame.baseline["energy"]
        forces = answer.qm_forces.numpy() + frame.baseline["qm_forces"]
        exact.append(replace(frame, energy=energy, qm_forces=forces, mm_forces=None))
    write_frames(tmp_path / "exact.h5", exact, METHOD)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", str(delta), str(tmp_path / "exact.h5"), "-o", str(tmp_path)])
    assert stopped.value.code == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]["all"]
    assert metrics.keys() == {"energy", "qm_forces"}
    assert metrics["energy"]["mae"] < 1e-3  # kcal/mol, float32
    assert metrics["qm_forces"]["mae"] < 1e-3
