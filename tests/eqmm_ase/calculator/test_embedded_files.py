"""Atoms that were computed in charges do not come back from a file as a molecule in vacuum."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read, write
from ase.mep import NEB
from ase.optimize import BFGS
from calculator_kit import bound, embedded, methanol, random_model, some_charges
from run_kit import RUNS, moved

from eqmm_ase import EqMM, cli, read_structure, save_model
from eqmm_ase.files.stored_charges import EMBEDDING
from eqmm_ase.files.structures import StructureError
from eqmm_ase.simulation.dynamics import run_md
from eqmm_ase.simulation.ensembles import MDSettings
from eqmm_ase.simulation.lennard_jones import HeldLennardJones
from eqmm_ase.simulation.relax import RunError

MODEL = random_model()


def calculator() -> EqMM:
    return EqMM(MODEL, dtype="float64")


def computed() -> Atoms:
    atoms = embedded(MODEL)
    atoms.get_forces()
    return atoms


def through_file(name: str):
    def write_and_read(atoms: Atoms, folder: Path) -> Atoms:
        write(folder / name, atoms)
        return read(folder / name)

    return write_and_read


def from_optimizer(atoms: Atoms, folder: Path) -> Atoms:
    BFGS(atoms, trajectory=str(folder / "bfgs.traj"), logfile=None).run(steps=1)
    return read(folder / "bfgs.traj", 0)


def frozen(atoms: Atoms, folder: Path) -> Atoms:
    twin = atoms.copy()
    twin.calc = SinglePointCalculator(twin, energy=atoms.get_potential_energy())
    return twin


def image_of_a_band(atoms: Atoms, folder: Path) -> Atoms:
    images = [atoms.copy() for _ in range(3)]
    images[2].positions[0] += 0.1
    NEB(images, method="improvedtangent").interpolate()
    return images[1]


WAYS = {
    "traj": through_file("a.traj"),
    "extxyz": through_file("a.xyz"),
    "optimizer": from_optimizer,
    "pickle": lambda atoms, _: pickle.loads(pickle.dumps(atoms)),
    "copy": lambda atoms, _: atoms.copy(),
    "slice": lambda atoms, _: atoms[:],
    "single point": frozen,
    "band": image_of_a_band,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_new_calculator_refuses_atoms_that_were_computed_in_charges(way, tmp_path):
    atoms = computed()
    expected = atoms.get_potential_energy()
    back = way(atoms, tmp_path)
    back.calc = calculator()
    for ask in (back.get_potential_energy, back.get_forces, lambda: back.calc.calculate(back)):
        with pytest.raises(ValueError, match=r"computed in 12 MM charges, [+-]0\.000 e.* embed\("):
            ask()
    back.calc.embed(*some_charges())
    if way is not image_of_a_band:
        assert back.get_potential_energy() == pytest.approx(expected, abs=1e-6)  # eight decimals
    back.calc.embed(None)
    assert abs(back.get_potential_energy() - expected) > 0.01
    assert EMBEDDING not in back.info


def test_their_own_results_can_still_be_read_and_written(tmp_path):
    atoms = computed()
    write(tmp_path / "a.traj", atoms)
    back = read(tmp_path / "a.traj")
    assert back.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    back.calc = calculator()
    write(tmp_path / "b.traj", back)  # asks for results that are there, and there are none
    assert read(tmp_path / "b.traj").calc.results == {}


def test_vacuum_leaves_no_trace():
    for charges in ((None,), ([], []), (np.zeros(12), some_charges()[1])):
        atoms = methanol()
        atoms.calc = calculator()
        atoms.calc.embed(*charges)
        atoms.get_potential_energy()
        assert EMBEDDING not in atoms.info
        twin = atoms.copy()
        twin.calc = calculator()
        assert twin.get_potential_energy() == pytest.approx(atoms.get_potential_energy())


def test_the_trace_follows_charges_that_move():
    atoms = computed()
    before = atoms.info[EMBEDDING]
    handle = atoms.calc.point_charges
    handle.set_positions(1.1 * handle.positions)
    atoms.get_potential_energy()
    moved = atoms.info[EMBEDDING]
    handle.set_charges(0.5 * handle.charges)
    atoms.get_potential_energy()
    assert len({before, moved, atoms.info[EMBEDDING]}) == 3


def test_a_calculator_that_others_use_too_leaves_its_trace():
    atoms = embedded(MODEL)
    far = np.ones(6), np.ones(6), [[9.0, 0, 0]], [1.0], [1.0]
    atoms.calc = SumCalculator([atoms.calc, HeldLennardJones(*far)])
    atoms.get_forces()
    assert EMBEDDING in atoms.info


@pytest.mark.parametrize("name", ["a.db", "a.json"])
def test_databases_keep_it_with_the_parameters_of_the_calculator(name, tmp_path):
    atoms = computed()
    write(tmp_path / name, atoms)
    label = atoms.info[EMBEDDING]
    with connect(tmp_path / name) as rows:
        assert rows.get(1).calculator_parameters[EMBEDDING] == label
    with pytest.raises(StructureError, match=r"12 MM charges.* which the file does not hold"):
        read_structure(tmp_path / name)


# --- files that hold the charges ---


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("image", ["", "@0"])
def test_images_of_a_run_give_the_same_energy_again(run, image, tmp_path):
    path = tmp_path / "run.traj"
    run(bound(), path)
    structure = read_structure(f"{path}{image}")
    charges, positions = some_charges()
    np.testing.assert_array_equal(structure.mm_charges, charges)
    np.testing.assert_array_equal(structure.mm_positions, positions)
    atoms = structure.atoms
    expected = atoms.get_potential_energy()
    atoms.calc = bound().calc
    atoms.calc.embed(structure.mm_charges, structure.mm_positions)
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-9)


def test_charges_are_in_the_file_once(tmp_path):
    def size(steps: int) -> int:
        path = tmp_path / f"{steps}.traj"
        atoms = bound()
        rng = np.random.default_rng(0)
        many = rng.uniform(8, 20, (2000, 3)) * rng.choice([-1, 1], (2000, 3))
        atoms.calc.embed(rng.uniform(-0.1, 0.1, 2000), many)
        run_md(atoms, MDSettings(), steps=steps, trajectory=path, interval=1)
        return path.stat().st_size

    first, second = size(1), size(3)
    assert first > 2000 * 8
    assert second - first < 0.1 * first


def test_a_resumed_run_keeps_its_charges_and_refuses_others(tmp_path):
    path = tmp_path / "md.traj"
    moved(bound(), path)
    run_md(bound(), MDSettings(), steps=6, trajectory=path, interval=2, resume=True)
    assert len(read(path, ":")) == 4
    assert len(read_structure(path).mm_charges) == 12
    content = path.read_bytes()
    for charges, sentence in (
        ((None,), "was run in 12 MM charges.* and cannot be resumed in vacuum"),
        (some_charges(5), "cannot be resumed in 5 MM charges"),
    ):
        atoms = bound()
        atoms.calc.embed(*charges)
        with pytest.raises(RunError, match=sentence):
            run_md(atoms, MDSettings(), steps=8, trajectory=path, resume=True)
    assert path.read_bytes() == content


def test_charges_that_moved_during_a_run_are_not_passed_off_as_those_of_the_file(tmp_path):
    atoms = bound()
    handle = atoms.calc.point_charges

    def shift(_: object) -> None:
        handle.set_positions(handle.positions + 0.01)

    run_md(atoms, MDSettings(), steps=4, trajectory=tmp_path / "md.traj", interval=2,
           report=shift, report_interval=3)  # fmt: skip
    assert len(read_structure(f"{tmp_path / 'md.traj'}@0").mm_charges) == 12
    with pytest.raises(StructureError, match=r"which the file lacks \(it holds 12 others\)"):
        read_structure(tmp_path / "md.traj")


@pytest.mark.parametrize("name", ["a.xyz", "a.traj"])
@pytest.mark.parametrize("count", [1, 12])
def test_charges_that_atoms_carry_are_found_and_not_overlooked(name, count, tmp_path):
    """As in frames that are exported as extended XYZ."""
    charges, positions = (values[:count] for values in some_charges())
    atoms = methanol()
    atoms.info.update(mm_charges=charges, mm_positions=positions)
    write(tmp_path / name, atoms)
    structure = read_structure(tmp_path / name)
    np.testing.assert_allclose(structure.mm_charges, charges, atol=1e-12)
    np.testing.assert_allclose(structure.mm_positions, positions, atol=1e-12)
    back = read(tmp_path / name)
    back.calc = calculator()
    with pytest.raises(ValueError, match=r"have MM charges in atoms\.info\['mm_charges'\]"):
        back.get_potential_energy()


def test_charges_without_places_are_refused(tmp_path):
    atoms = methanol()
    atoms.info["mm_charges"] = np.array([0.2, -0.2])
    write(tmp_path / "a.xyz", atoms)
    with pytest.raises(StructureError, match=r"a\.xyz: mm_positions must have shape \(2, 3\)"):
        read_structure(tmp_path / "a.xyz")


def test_labels_in_charges_that_a_file_does_not_hold_are_not_imported(tmp_path):
    pytest.importorskip("pyscf")
    from datagen.datasets.extended_xyz import read_extended_xyz
    from datagen.errors import ExchangeError

    write(tmp_path / "a.xyz", computed())
    with pytest.raises(ExchangeError, match=r"computed in 12 MM charges.* does not hold"):
        read_extended_xyz(tmp_path / "a.xyz")


# --- commands ---


@pytest.fixture(scope="module")
def model_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.eqmm"
    quiet = random_model()
    quiet.energy_scale.fill_(0.05)
    save_model(path, quiet, {})
    return path


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_commands_go_on_in_the_charges_of_an_earlier_run(
    model_path, methanol_file, tmp_path, capsys
):
    first, second = tmp_path / "md.traj", tmp_path / "relaxed.traj"
    assert run("md", model_path, f"{methanol_file}:1", "--steps", 2, "-o", first) == 0
    run("optimize", model_path, f"{first}@0", "--steps", 1, "-o", second)
    both = [line for line in capsys.readouterr().out.splitlines() if "MM charges" in line]
    assert len(both) == 2
    assert (
        both[0].partition(" MM charges")[0].split()[-1]
        == both[1].partition(" MM charges")[0].split()[-1]
    )
    assert read(first).info[EMBEDDING] == read(second).info[EMBEDDING]


def test_commands_refuse_to_forget_charges_unless_vacuum_is_asked_for(model_path, tmp_path, capsys):
    write(tmp_path / "a.xyz", computed())
    output = ("-o", tmp_path / "relaxed.traj", "--steps", 1)
    assert run("optimize", model_path, tmp_path / "a.xyz", *output) == 2
    assert "or 'none' for vacuum (--charges)" in capsys.readouterr().err
    run("optimize", model_path, tmp_path / "a.xyz", "--charges", "none", *output)
    assert "a.xyz alone, vacuum; energy" in capsys.readouterr().out
    zero = "\n".join(f"0.0 {k} 0 9" for k in range(3))
    (tmp_path / "zero.txt").write_text(zero)
    charges = ("--charges", tmp_path / "zero.txt", "--overwrite")
    run("optimize", model_path, tmp_path / "a.xyz", *charges, *output)
    assert "3 MM charges (all zero: vacuum)" in capsys.readouterr().out
