"""Atoms that fall onto bare charges or onto each other end with a sentence, not with an energy."""

from __future__ import annotations

import warnings
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.mixing import SumCalculator
from ase.calculators.qmmm import EIQMMM, LJInteractions
from ase.calculators.tip3p import TIP3P
from ase.mep import NEB
from ase.optimize import BFGS
from calculator_kit import methanol, random_model, some_charges
from places import DATA

from eqmm_ase import ContactError, ContactRestraints, EqMM, Frame, cli, read_frames, save_model
from eqmm_ase.data.checks import MIN_DISTANCE, squared_distances
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.network.committee import Committee
from eqmm_ase.simulation.exploration import explore
from eqmm_ase.simulation.exploration_settings import ExplorationSettings
from eqmm_ase.simulation.geometry_checks import invalid_geometry
from eqmm_ase.simulation.lennard_jones import HeldLennardJones
from eqmm_ase.uncertainty.contacts import FLOOR, TOO_CLOSE, deepest_contact
from eqmm_ase.uncertainty.domain import Domain, DomainWarning

TRAINED = DATA / "methanol.eqmm"
CLOSEST = {"C+": 2.0, "C-": 2.6, "H+": 1.6, "H-": 1.7, "O+": 1.5, "O-": 2.5}
DOMAIN = {"compositions": ["CH4O"], "closest_mm": 1.5, "closest": CLOSEST}
OXYGEN = 1


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A random model that says how close charges came in training."""
    path = tmp_path_factory.mktemp("contacts") / "model.eqmm"
    save_model(path, random_model(), {"domain": DOMAIN})
    return path


def beside_oxygen(distance: float, model, charge: float = 0.4, **settings) -> Atoms:
    """Methanol with one charge on the far side of its oxygen."""
    atoms = methanol(0.0)
    away = atoms.positions[OXYGEN] - atoms.positions.mean(axis=0)
    atoms.calc = EqMM(model, **settings)
    atoms.calc.embed([charge], [atoms.positions[OXYGEN] + distance * away / np.linalg.norm(away)])
    return atoms


@pytest.mark.parametrize(("charge", "kind"), [(0.4, "O+"), (-0.8, "O-"), (1e-3, "O+")])
def test_the_limit_is_a_share_of_the_closest_contact_of_that_element_and_sign(model, charge, kind):
    limit = TOO_CLOSE * CLOSEST[kind]
    with pytest.warns(DomainWarning, match=r"much closer than any \w+ charge came to O"):
        beside_oxygen(limit + 0.01, model, charge).get_potential_energy()
    with pytest.raises(ContactError, match=rf"from QM atom 1 \(O\).* below {limit:.2f} Å") as told:
        beside_oxygen(limit - 0.01, model, charge).get_potential_energy()
    assert "HeldLennardJones" in str(told.value)
    assert "ContactRestraints" in str(told.value)
    assert f"({charge:+.3g} e)" in str(told.value)


def test_contacts_may_be_allowed_and_are_then_told_once(model):
    atoms = beside_oxygen(0.8, model, contacts="warn")
    with pytest.warns(DomainWarning, match=r"is 0\.80 Å from QM atom 1"):
        atoms.get_potential_energy()
    atoms.rattle(1e-3)
    atoms.get_forces()  # a second warning would be an error
    with pytest.raises(ValueError, match="contacts must be 'error' or 'warn', got 'ignore'"):
        atoms.calc.set(contacts="ignore")


def test_charges_of_zero_may_come_close(model):
    close, far = (beside_oxygen(d, model, charge=0.0).get_potential_energy() for d in (0.5, 50.0))
    assert close == pytest.approx(far, abs=1e-9)


def test_a_kind_of_contact_that_was_never_seen_has_the_closest_of_all():
    known = Domain(compositions=("HO",), closest_mm=1.5, closest={"O-": 2.5, "H+": 1.5})
    at = np.array([[0.0, 0, 0]]), np.array([[0.0, 0, 1.1]])
    found = deepest_contact(squared_distances(*at), np.array([8]), np.array([0.4]), known)
    assert found is not None
    assert found.closest == 1.5


def test_a_model_that_knows_no_contacts_has_a_limit_too():
    beside_oxygen(FLOOR + 0.01, random_model()).get_potential_energy()  # is not refused
    with pytest.raises(ContactError, match=r"the model does not say .* below 0\.60 Å"):
        beside_oxygen(FLOOR - 0.01, random_model()).get_potential_energy()
    atoms = beside_oxygen(MIN_DISTANCE + 0.01, random_model(), contacts="warn")
    with pytest.warns(DomainWarning, match="the model does not say"):
        atoms.get_potential_energy()
    for contacts in ("error", "warn"):
        atoms = beside_oxygen(MIN_DISTANCE - 0.01, random_model(), contacts=contacts)
        with pytest.raises(ValueError, match="lies on QM atom 1"):
            atoms.get_potential_energy()


def test_labels_training_data_and_calculators_have_one_limit(tmp_path):
    pytest.importorskip("pyscf")
    from datagen.errors import InvalidFrameError
    from datagen.labels.molecule import check_frame
    from eqmm_ase.data.dataset_format import DatasetError
    from eqmm_ase.files.dataset_file import write_frames
    from eqmm_ase.training.data import read_files

    def refused(distance: float) -> list[bool]:
        atoms = beside_oxygen(distance, random_model(), contacts="warn")
        charges = atoms.calc.point_charges
        frame = Frame(atoms.numbers, atoms.positions, charges.positions, charges.charges)
        write_frames(tmp_path / "frame.h5", [frame], {})
        found = []
        for ask, error in (
            (lambda: check_frame(frame), InvalidFrameError),
            (lambda: read_files([tmp_path / "frame.h5"]), DatasetError),
            (atoms.get_potential_energy, ValueError),
        ):
            try:
                ask()
            except error:
                found.append(True)
            else:
                found.append(False)
        return found

    assert refused(MIN_DISTANCE - 0.01) == [True] * 3
    with pytest.warns(DomainWarning, match=r"is 0\.31 Å from QM atom 1"):
        assert refused(MIN_DISTANCE + 0.01) == [False] * 3


def test_charges_beside_a_link_atom_are_meant_where_training_had_them():
    """A cap 0.45 Å from a charge at the middle of a bond, as rc and rcd put it."""
    positions = np.array([[0.0, 0, 0], [0, 0, 1.09], [1.03, 0, -0.36], [-0.5, 0.9, -0.36]])
    frame = Frame(
        np.array([6, 1, 1, 1]), positions, np.array([[0, 0, 1.54], [0.6, 0, 2.1]]), np.ones(2) * 0.1
    )
    domain = Domain.of([frame])
    squared = squared_distances(positions, frame.mm_positions)
    assert deepest_contact(squared, frame.atomic_numbers, frame.mm_charges, domain) is None
    assert invalid_geometry(frame).startswith("an MM charge is 0.45 Å from a nucleus")
    assert invalid_geometry(frame, domain) is None


@pytest.mark.parametrize(
    ("share", "stopped"), [(0.5, True), (0.6, False)], ids=["half a bond", "a pressed bond"]
)
def test_atoms_that_fall_onto_each_other_are_named(model, share, stopped):
    atoms = methanol(0.0)
    atoms.calc = EqMM(model)
    atoms.positions[2] = atoms.positions[0] + share * 1.07 * np.array([0.0, 0, 1.0])
    if not stopped:
        atoms.get_potential_energy()
        return
    with pytest.raises(ContactError, match=r"atoms 0 and 2 \(C–H\) have come as close as 0\.5"):
        atoms.get_potential_energy()
    atoms.calc.set(contacts="warn")
    with pytest.warns(DomainWarning, match="have come as close as"):
        atoms.get_potential_energy()


# --- whatever moves the atoms ---


def bare(number: int = 1) -> Atoms:
    """A frame that falls onto a bare charge within twenty steps of BFGS."""
    frame = read_frames(TRAINED.with_name("methanol.h5"))[number]
    atoms = atoms_of_frame(frame)
    atoms.calc = EqMM(TRAINED)
    atoms.calc.embed(frame.mm_charges, frame.mm_positions)
    return atoms


@pytest.mark.filterwarnings("ignore::eqmm_ase.uncertainty.domain.DomainWarning")
def test_a_relaxation_in_bare_charges_ends_before_it_has_fallen():
    atoms = bare()
    energies: list[float] = []
    search = BFGS(atoms, logfile=None)
    search.attach(lambda: energies.append(atoms.get_potential_energy()))
    with pytest.raises(ContactError, match=r"MM charge \d+ \(-0.834 e\) is 1\.\d\d Å from QM atom"):
        search.run(fmax=0.01, steps=60)
    assert min(energies) > energies[0] - 2.0  # eV; without the limit it ends at −1e20


@pytest.mark.slow
def test_restraints_hold_it():
    atoms = bare()
    charges = atoms.calc.point_charges
    restraints = ContactRestraints(atoms, charges.charges, charges.positions, atoms.calc.domain)
    atoms.set_constraint(restraints)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BFGS(atoms, logfile=None).run(fmax=0.01, steps=30)
    assert 0.0 < restraints.energy(atoms) < 0.1


def test_an_image_of_a_band_a_sum_of_calculators_and_eiqmmm_stop_too(model):
    images = [beside_oxygen(distance, model) for distance in (2.0, 0.9, 2.0)]
    with pytest.raises(ContactError):
        NEB(images, method="improvedtangent").get_forces()

    atoms = beside_oxygen(0.9, model)
    far = np.ones(6), np.ones(6), [[9.0, 0, 0]], [1.0], [1.0]
    atoms.calc = SumCalculator([atoms.calc, HeldLennardJones(*far)])
    with pytest.raises(ContactError):
        atoms.get_potential_energy()

    water = molecule("H2O")
    water.translate(methanol(0.0).positions[OXYGEN] - water.positions[1] + [0.0, 0, 0.9])
    both = methanol(0.0) + water
    both.calc = EIQMMM(range(6), EqMM(model), TIP3P(rc=40.0), LJInteractions({}), output=StringIO())
    with pytest.raises(ContactError):
        both.get_potential_energy()


def test_explorations_go_there_and_say_why_they_stopped(tmp_path):
    card = {"domain": DOMAIN, "calibration": {"factors": {"energy": 1.0, "qm_forces": 1.0}}}
    save_model(tmp_path / "c.eqmm", Committee([random_model(1), random_model(2)]), card)
    charges, positions = some_charges()
    atoms = methanol(0.0)
    positions[0] = atoms.positions[OXYGEN] + [0.0, 0, 0.9]
    start = Frame(atoms.numbers, atoms.positions, positions, charges)
    settings = ExplorationSettings(frames=1, trajectories=1, force_limit=1e9, restraints=False)
    (visit,) = explore(EqMM(tmp_path / "c.eqmm"), [start], settings)
    assert visit.outcome == "rejected"
    assert "MM charge 0" in visit.reason


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


@pytest.mark.filterwarnings("ignore::eqmm_ase.uncertainty.domain.DomainWarning")
@pytest.mark.parametrize("command", ["optimize", "md"])
def test_commands_end_with_the_step_and_exit_code_1(command, model, tmp_path, capsys):
    """Oxygen between two charges, each a little beyond the limit: wherever it moves, it is over."""
    atoms = methanol(0.0)
    x, y, z = atoms.positions[OXYGEN]
    limit = TOO_CLOSE * CLOSEST["O+"] + 1e-3
    (tmp_path / "charges.txt").write_text(f"0.4 {x} {y} {z + limit}\n0.4 {x} {y} {z - limit}\n")
    atoms.write(tmp_path / "molecule.xyz")
    inputs = (model, tmp_path / "molecule.xyz", "--charges", tmp_path / "charges.txt")
    output = tmp_path / "run.traj"
    options = ("--no-restraints", "-o", output, "--steps", 200)
    assert run(command, *inputs, *options) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    last = (tmp_path / "run.log").read_text(encoding="utf-8").splitlines()[-1]
    assert last == error.splitlines()[-1]
    assert "failed after step " in last
    assert "MM charge " in last


def test_a_start_on_a_charge_is_bad_input(model, tmp_path, capsys):
    atoms = beside_oxygen(0.9, model)
    x, y, z = atoms.calc.point_charges.positions[0]
    (tmp_path / "charges.txt").write_text(f"0.4 {x} {y} {z}\n")
    atoms.calc = None
    atoms.write(tmp_path / "molecule.xyz")
    inputs = (model, tmp_path / "molecule.xyz", "--charges", tmp_path / "charges.txt")
    assert run("optimize", *inputs, "-o", tmp_path / "run.traj") == 2
    assert "MM charge 0 (+0.4 e) is 0.90 Å from QM atom 1 (O)" in capsys.readouterr().err


def test_charges_for_a_model_that_never_saw_any_are_told(tmp_path):
    save_model(tmp_path / "gas.eqmm", random_model(), {"domain": {"compositions": ["CH4O"]}})
    atoms = beside_oxygen(3.0, tmp_path / "gas.eqmm")
    with pytest.warns(DomainWarning, match="there were no MM charges in training"):
        atoms.get_potential_energy()


def test_an_atom_on_a_lennard_jones_site_is_named():
    atoms = methanol(0.0)
    site = atoms.positions[[3]] + [0.0, 0, 0.01]
    atoms.calc = HeldLennardJones(np.ones(6), np.ones(6), site, [3.0], [0.01])
    with pytest.raises(ValueError, match=r"QM atom 3 lies on Lennard-Jones site 0 \(0\.01 Å"):
        atoms.get_potential_energy()
