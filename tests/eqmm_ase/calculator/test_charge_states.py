"""Which total charge and spin are meant when none is given, and which a model refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atom, Atoms
from ase.build import molecule
from calculator_kit import methanol, random_model

from eqmm_ase import EqMM, cli, save_model
from eqmm_ase.calculator.delta import DeltaEqMM
from eqmm_ase.calculator.eqmm import NotFiniteError
from eqmm_ase.data.frame import Frame
from eqmm_ase.network.committee import Committee
from eqmm_ase.uncertainty.domain import Domain, DomainError, DomainWarning

METHANOL = methanol().numbers


def domain(*states: tuple[str, int, int], regions: bool = True) -> dict[str, object]:
    """Domain of a model that was trained on molecules in states of charge and spin."""
    frames = []
    for name, charge, spin in states:
        atoms = molecule(name)
        frames.append(
            Frame(
                atoms.numbers,
                atoms.positions,
                total_charge=charge,
                spin_multiplicity=spin,
            )
        )
    known = Domain.of(frames).to_dict()
    return known if regions else {k: v for k, v in known.items() if k != "regions"}


def calculator(tmp_path: Path, known: dict[str, object], model=None, **settings) -> EqMM:
    save_model(tmp_path / "model.eqmm", model or random_model(), {"domain": known})
    return EqMM(tmp_path / "model.eqmm", **settings)


def net_charge(atoms: Atoms, calc: EqMM) -> float:
    atoms.calc = calc
    return float(atoms.get_charges().sum())


@pytest.mark.parametrize("regions", [True, False], ids=["new file", "old file"])
@pytest.mark.parametrize("committee", [True, False])
def test_the_only_charge_and_spin_that_a_model_knows_are_meant(tmp_path, regions, committee):
    model = Committee([random_model(1), random_model(2)]) if committee else random_model()
    known = domain(("CH3OH", -1, 2), regions=regions)
    calc = calculator(tmp_path, known, model)
    assert net_charge(methanol(), calc) == pytest.approx(-1.0, abs=1e-5)
    assert calc._computed_for is not None
    assert calc._computed_for.spin_multiplicity == 2
    assert calc.parameters["total_charge"] is None


def test_the_charge_of_a_formula_is_meant_where_others_have_another(tmp_path):
    calc = calculator(tmp_path, domain(("CH3OH", 0, 1), ("CH3O", -1, 1), ("OH", 0, 2)))
    for name, charge, spin in (("CH3OH", 0, 1), ("CH3O", -1, 1), ("OH", 0, 2)):
        atoms = molecule(name)
        atoms.set_initial_magnetic_moments(None)  # of the radical CH3O, which is not meant
        assert net_charge(atoms, calc) == pytest.approx(charge, abs=1e-5), name
        assert calc._computed_for.spin_multiplicity == spin


def test_what_is_given_counts_for_more(tmp_path):
    known = domain(("CH3OH", -1, 2), ("CH3OH", 1, 2))
    for settings, info in (({"total_charge": 1}, {}), ({}, {"total_charge": 1})):
        atoms = methanol()
        atoms.info.update(info)
        calc = calculator(tmp_path, known, **settings)
        assert net_charge(atoms, calc) == pytest.approx(1.0, abs=1e-5)
    atoms.calc.set(total_charge=-1)
    assert atoms.get_charges().sum() == pytest.approx(-1.0, abs=1e-5)


@pytest.mark.parametrize("regions", [True, False], ids=["new file", "old file"])
def test_among_several_the_neutral_singlet_is_meant_and_otherwise_none(tmp_path, regions):
    neutral = calculator(tmp_path, domain(("CH3OH", 0, 1), ("CH3OH", -2, 3), regions=regions))
    assert net_charge(methanol(), neutral) == pytest.approx(0.0, abs=1e-5)
    ions = calculator(tmp_path, domain(("CH3OH", -1, 2), ("CH3OH", 1, 2), regions=regions))
    with pytest.raises(DomainError, match=r"no total_charge of CH4O is given, .* knows -1, 1: set"):
        net_charge(methanol(), ions)
    spins = calculator(tmp_path, domain(("CH3OH", 0, 3), ("CH3OH", 0, 5), regions=regions))
    with pytest.raises(DomainError, match="no spin_multiplicity of CH4O is given"):
        net_charge(methanol(), spins)


def test_a_multiplicity_that_the_electrons_allow_is_chosen_among_those_of_an_old_file():
    known = Domain(total_charges=(0, 1), spin_multiplicities=(1, 2))
    assert known.state(METHANOL, None, None) == (0, 1)
    assert known.state(METHANOL, 1, None) == (1, 2)
    assert Domain().state(METHANOL, None, None) == (0, 1)


def test_a_charge_that_contradicts_the_electrons_is_refused_and_its_origin_named(tmp_path):
    calc = calculator(tmp_path, domain(("CH3O", -1, 1)))
    sentence = r"CH4O with total charge -1 has 19 electrons.*; the model knows no other charge"
    with pytest.raises(ValueError, match=sentence):
        net_charge(methanol(), calc)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"total_charge": 2}, r"CH4O with total charge \+2: the model knows only -1, \+0"),
        ({"spin_multiplicity": 3}, "CH4O with spin multiplicity 3: the model knows only 1, 2"),
    ],
)
def test_a_charge_or_spin_that_no_frame_had_is_refused(tmp_path, state, sentence):
    known = domain(("CH3OH", 0, 1), ("CH3OH", -1, 2))
    with pytest.raises(DomainError, match=sentence):
        net_charge(methanol(), calculator(tmp_path, known, **state))


def test_a_charge_that_another_molecule_had_is_told(tmp_path):
    known = domain(("CH3OH", 0, 1), ("CH3O", -1, 1), ("CH3", 0, 2))
    calc = calculator(tmp_path, known, total_charge=-1, spin_multiplicity=2)
    with pytest.warns(
        DomainWarning,
        match=r"CH4O with total charge -1 and spin multiplicity 2 was not .* \(seen: \+0 with 1\)",
    ):
        net_charge(methanol(), calc)


@pytest.mark.filterwarnings("ignore::eqmm_ase.uncertainty.domain.DomainWarning")
def test_an_answer_that_is_no_number_says_what_of_the_region_is_unknown(tmp_path):
    model = random_model().double()
    next(model.parameters()).data.fill_(1e200)
    calc = calculator(tmp_path, domain(("CH3O", 0, 2), ("H2O", 0, 1)), model, dtype="float64")
    with pytest.raises(NotFiniteError, match="the QM region CH4O was not in training"):
        net_charge(methanol(), calc)


def test_a_model_of_differences_knows_its_charge_too(tmp_path):
    def baseline(frame: Frame) -> Frame:
        assert (frame.total_charge, frame.spin_multiplicity) == (-1, 2)
        return Frame(
            frame.atomic_numbers,
            frame.qm_positions,
            total_charge=-1,
            spin_multiplicity=2,
            energy=0.0,
            qm_forces=np.zeros((6, 3)),
        )

    card = {"domain": domain(("CH3OH", -1, 2)), "baseline": {"functional": "hf"}}
    save_model(tmp_path / "delta.eqmm", random_model(), card)
    atoms = methanol()
    atoms.calc = DeltaEqMM(tmp_path / "delta.eqmm", baseline)
    atoms.get_potential_energy()  # the baseline looks at what it is asked


def test_the_pretrained_reaction_needs_no_charge():
    atoms = molecule("CH3Cl")
    carbon, chlorine = atoms.positions[:2]
    atoms.append(Atom("Cl", carbon + 1.8 * (carbon - chlorine)))
    energies = []
    for settings in ({}, {"total_charge": -1}):
        calc = EqMM.pretrained("sn2-chloride-b3lyp", **settings)
        assert net_charge(atoms, calc) == pytest.approx(-1.0, abs=1e-5)
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1]
    for wrong in ({"total_charge": 1}, {"total_charge": 0, "spin_multiplicity": 2}):
        atoms.calc = EqMM.pretrained("sn2-chloride-b3lyp", **wrong)
        with pytest.raises(DomainError, match=r"the model knows only -1"):
            atoms.get_potential_energy()


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_commands_know_the_charge_and_refuse_another(tmp_path, capsys):
    save_model(tmp_path / "m.eqmm", random_model(), {"domain": domain(("CH3OH", -1, 2))})
    methanol().write(tmp_path / "molecule.xyz")
    arguments = (tmp_path / "m.eqmm", tmp_path / "molecule.xyz", "--steps", 1)
    assert run("md", *arguments, "-o", tmp_path / "md.traj") == 0
    other = ("--total-charge", 1, "-o", tmp_path / "relaxed.traj")
    capsys.readouterr()
    assert run("optimize", *arguments, *other) == 2
    assert "the model knows only -1" in capsys.readouterr().err
