"""Given geometries in solvent: the solute is frozen exactly, the solvent adapts, runs go on."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("openmm")

from ase import Atoms
from ase.build import molecule
from ase.geometry import get_distances
from ase.io import write

from datagen.cli import cli
from datagen.solvent import solvation
from datagen.solvent.frozen_force_field import charged_sphere, element_sphere
from datagen.solvent.frozen_solute import turned_onto
from datagen.solvent.job import SamplingError
from datagen.solvent.solvation import SolvationSettings, solvate_geometries
from eqmm_ase.command_line import run
from eqmm_ase.cutting.frame_id import frame_hash
from eqmm_ase.files.dataset_file import read_frames

QUICK = SolvationSettings(
    relaxation=0.1, settling=0.1, equilibration=0.5, radius=4.0, seed=3, spheres="element"
)


def _iron_hydride(stretch: float, source: str) -> Atoms:
    """A made-up cation with an element that GAFF2 does not cover."""
    atoms = Atoms("FeH2", [[0.0, 0.0, 0.0], [stretch, 0.0, 0.0], [0.0, stretch, 0.0]])
    atoms.set_initial_charges([1.4, -0.2, -0.2])
    atoms.info = {"total_charge": 1, "spin_multiplicity": 2, "source": source}
    return atoms


@pytest.fixture(scope="module")
def geometries() -> list[Atoms]:
    return [_iron_hydride(1.5, "a"), _iron_hydride(1.6, "a"), _iron_hydride(1.7, "b")]


@pytest.fixture(scope="module")
def frames(geometries, tmp_path_factory):
    if shutil.which("tleap") is None:
        pytest.skip("AmberTools is not installed")
    folder = tmp_path_factory.mktemp("solvation") / "parts"
    return solvate_geometries(geometries, QUICK, folder=folder, workers=1), folder


def _internal(positions: np.ndarray) -> np.ndarray:
    return get_distances(positions)[1]


@pytest.mark.slow
def test_every_geometry_is_kept_exactly(geometries, frames):
    found = frames[0]
    assert len(found) == len(geometries)
    for frame, atoms in zip(found, geometries, strict=True):
        # OpenMM's positions are single precision, 1e-6 Å at 10 Å.
        np.testing.assert_allclose(
            _internal(frame.qm_positions), _internal(atoms.positions), atol=1e-5
        )


def test_frames_say_what_they_are(frames):
    assert [frame.source for frame in frames[0]] == ["water-a", "water-a", "water-b"]
    for frame in frames[0]:
        assert (frame.total_charge, frame.spin_multiplicity, frame.medium) == (1, 2, "water")
        assert frame.frame_id == frame_hash(frame)
        assert frame.mm_charges.sum() == pytest.approx(0.0, abs=1e-9)


def test_oxygen_turns_to_a_cation(frames):
    for frame in frames[0]:
        distances = np.linalg.norm(frame.mm_positions - frame.qm_positions[0], axis=1)
        # Its potential there, e/Å: of one water alone either end may come nearer for a moment.
        assert (frame.mm_charges / distances).sum() < -0.05


def test_the_solvent_moves_from_one_geometry_to_the_next(frames):
    first, second = frames[0][:2]
    n = min(first.n_mm, second.n_mm)
    assert not np.allclose(first.mm_positions[:n], second.mm_positions[:n], atol=0.05)


def test_a_run_goes_on_where_it_was_killed_and_gives_the_same(geometries, frames, monkeypatch):
    found, folder = frames
    (folder / "trajectory-1.npz").unlink()
    monkeypatch.setattr(solvation, "equilibrate_frozen", None)  # would fail if it were needed
    again = solvate_geometries(geometries, QUICK, folder=folder, workers=1)
    assert [frame.frame_id for frame in again] == [frame.frame_id for frame in found]


def test_gas_is_the_geometry_alone(geometries):
    found = solvate_geometries(geometries, SolvationSettings(solvent="gas"))
    assert (found[0].medium, found[0].source, found[0].n_mm) == ("gas", "gas-a", 0)
    np.testing.assert_allclose(found[2].qm_positions.mean(axis=0), 0.0, atol=1e-12)


def test_geometries_bring_their_charge_under_any_name_or_get_that_of_the_command(tmp_path, capsys):
    scan = [Atoms("OH", [[0, 0, 0], [0, 0, length]]) for length in (0.95, 1.0)]
    for atoms in scan:
        atoms.info = {"charge": -1, "spin": 1}
    write(tmp_path / "scan.xyz", scan)
    arguments = ["solvate", str(tmp_path / "scan.xyz"), "-o", str(tmp_path / "a.h5")]
    arguments += ["--solvent", "gas"]
    assert run(cli, "eqmm-datagen", arguments) == 0
    assert "HO, total charge -1, singlet; gas, 2 frames" in capsys.readouterr().out
    assert [frame.total_charge for frame in read_frames(tmp_path / "a.h5")] == [-1, -1]
    arguments += ["--overwrite", "--charge", "0", "--multiplicity", "2"]
    assert run(cli, "eqmm-datagen", arguments) == 2
    assert "charge=-1 contradicts total_charge (--charge) 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["path", "solvate"])
def test_geometries_without_hydrogens_are_refused(command, tmp_path, capsys):
    write(tmp_path / "bare.xyz", molecule("CH3CH2OH")[:3])
    arguments = [command, str(tmp_path / "bare.xyz"), "-o", str(tmp_path / "a.h5")]
    arguments += {"path": ["--coordinate", "d(0,1)", "--range", "1", "2"], "solvate": []}[command]
    assert run(cli, "eqmm-datagen", arguments) == 2
    assert "bare.xyz lacks hydrogen atoms: C0, C1, O2" in capsys.readouterr().err
    if command == "solvate":
        assert run(cli, "eqmm-datagen", [*arguments, "--open-valences", "--solvent", "gas"]) == 0


@pytest.mark.parametrize("model", ["gfn2", "resp"])
def test_charges_come_from_a_calculation_where_there_are_none(model):
    pytest.importorskip({"gfn2": "tblite", "resp": "pyscf"}[model])
    atoms = Atoms("OH", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.97]], info={"total_charge": -1})
    charges = solvation._charges(atoms, solvation._common_region([atoms]), model)
    assert charges.sum() == pytest.approx(-1.0, abs=1e-9)
    assert charges[0] < -0.8


def test_halogens_grow_into_their_ions():
    assert charged_sphere("Cl", 0.1) == element_sphere("Cl")
    assert charged_sphere("Cl", -1.0).radius == pytest.approx(2.513)
    half = charged_sphere("Cl", -0.5).radius
    assert half == pytest.approx(0.5 * (2.513 + element_sphere("Cl").radius))
    assert charged_sphere("O", -1.0) == element_sphere("O")


def test_a_geometry_is_turned_onto_the_one_before():
    random = np.random.default_rng(1)
    target = random.normal(size=(5, 3))
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = target @ turn.T + [3.0, -1.0, 2.0]
    np.testing.assert_allclose(turned_onto(moved, target), target, atol=1e-12)
    mirrored = target * [1.0, 1.0, -1.0]
    assert not np.allclose(turned_onto(mirrored, target), target, atol=0.1)  # no reflection


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda g: g[1].set_initial_charges([1.0, 1.0, 1.0]), "contradicts the sum .* charges"),
        (lambda g: g[1].set_initial_charges([1.0, 0.3, 0.1]), "charges of a geometry sum to"),
        (lambda g: g.pop() and g.append(Atoms("H")), "expected one molecule"),
        (lambda g: g[1].info.update(total_charge=0), "contradicts the sum"),
        (lambda g: g[1].info.update(spin_multiplicity=4), "differ in total charge or spin"),
        (lambda g: g.clear(), "no geometries"),
    ],
)
def test_geometries_without_sense_are_refused(change, sentence, tmp_path):
    geometries = [_iron_hydride(1.5, "a"), _iron_hydride(1.6, "a")]
    change(geometries)
    with pytest.raises(SamplingError, match=sentence):
        solvate_geometries(geometries, QUICK, folder=tmp_path / "parts")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"relaxation": 0.0}, "relaxation is 0"),
        ({"spheres": "big"}, "spheres is 'big'"),
        ({"charge_model": "x"}, "charge_model is 'x'"),
    ],
)
def test_settings_without_sense_are_refused(settings, sentence):
    with pytest.raises(SamplingError, match=sentence):
        SolvationSettings(**settings)
