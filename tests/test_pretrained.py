"""The models that come with EqMM: what they claim, and that they keep it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from places import DATA

from eqmm_ase import EqMM, read_frames
from eqmm_ase.evaluation.evaluate import evaluate
from eqmm_ase.evaluation.reliability import reliability
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.models.pretrained import pretrained_file, pretrained_models
from eqmm_ase.network.model_file import load_model
from eqmm_ase.uncertainty.calibration import Calibration
from eqmm_ase.uncertainty.domain import DomainWarning
from eqmm_ase.units import KCAL_PER_MOL

FLAGSHIP = DATA / "flagship.h5"
SN2 = "sn2-chloride-b3lyp"


def test_a_list_without_a_name_and_a_calculator_with_one():
    assert SN2 in EqMM.pretrained() == pretrained_models()
    calculator = EqMM.pretrained(SN2, dtype="float64", contacts="warn")
    assert calculator.parameters["dtype"] == "float64"
    assert calculator.parameters["contacts"] == "warn"


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match=f"did you mean '{SN2}'.*EqMM comes with {SN2}"):
        EqMM.pretrained("sn2-chloride")


@pytest.mark.parametrize("name", pretrained_models())
def test_every_model_is_small_and_says_what_it_is_good_for(name):
    assert pretrained_file(name).stat().st_size <= 5_000_000
    _, card = load_model(pretrained_file(name))
    assert card["about"]
    assert card["made_with"]
    assert card["method"]["functional"]
    assert {"all", *card["media"]} <= set(card["metrics"]["test"])
    assert card["domain"]["closest"]


@pytest.mark.slow
def test_the_model_of_the_reaction_gives_the_reference_energies_and_forces():
    calculator = EqMM.pretrained(SN2)
    energy, forces = [], []
    for frame in read_frames(FLAGSHIP):
        atoms = atoms_of_frame(frame)
        atoms.calc = calculator
        calculator.embed(frame.mm_charges, frame.mm_positions)
        energy.append(atoms.get_potential_energy() - frame.energy)
        forces.append(atoms.get_forces() - frame.qm_forces)
    assert np.abs(energy).mean() < 0.2 * KCAL_PER_MOL
    assert np.abs(forces).mean() < 0.4 * KCAL_PER_MOL


@pytest.mark.slow
def test_its_uncertainty_grows_where_the_geometry_leaves_the_training_frames():
    frames = read_frames(FLAGSHIP)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DomainWarning)
        usual = [uncertainty(EqMM.pretrained(SN2), frame) for frame in frames]
    assert all(found.calibrated for found in usual)
    calculator = EqMM.pretrained(SN2)
    with pytest.warns(DomainWarning, match="members of the committee disagree") as caught:
        far = [uncertainty(calculator, frame, shorter=0.4) for frame in frames]
    assert len(caught) == 1
    for size in (lambda found: found.energy, lambda found: found.forces.max()):
        before, after = np.array([(size(u), size(f)) for u, f in zip(usual, far, strict=True)]).T
        assert np.median(after) > 3.0 * np.median(before)
        assert (after > before).mean() > 0.9


@pytest.mark.slow
def test_its_uncertainty_is_as_large_as_its_errors():
    committee, card = load_model(pretrained_file(SN2))
    deviations = evaluate(committee, read_frames(FLAGSHIP), card["charge_scheme"]).deviations
    figures = reliability(deviations, Calibration.from_dict(card["calibration"]))
    for name in ("energy", "qm_forces"):
        assert 1 / 3 < figures[name]["rms_error"] / figures[name]["rms_uncertainty"] < 3, name


def uncertainty(calculator, frame, shorter=0.0):
    atoms = atoms_of_frame(frame)
    atoms.calc = calculator
    calculator.embed(frame.mm_charges, frame.mm_positions)
    bond = atoms.get_distance(0, 3) - shorter  # carbon and hydrogen
    atoms.set_distance(0, 3, bond, fix=0)
    atoms.get_forces()
    return calculator.uncertainty


def test_its_card_states_the_range_of_the_reaction_coordinate():
    low, high = EqMM.pretrained(SN2).card["coordinate"]["range"]
    assert low < -3.0
    assert high > 3.0
