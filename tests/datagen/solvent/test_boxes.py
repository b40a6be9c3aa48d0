"""Media: solvents, mixtures and salts by name, and the boxes that are filled with them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

pytest.importorskip("openmm")
pytest.importorskip("rdkit")

from datagen.molecules.solute import read_solute
from datagen.solvent import boxes
from datagen.solvent.boxes import make_box
from datagen.solvent.force_field import parameterise
from datagen.solvent.md import charges_and_residues, equilibrate, load_box
from datagen.solvent.media import SolventError, find_medium, solvent_names
from eqmm_ase.data.lattice import shortest_repeat

if shutil.which("tleap") is None:
    pytest.skip("AmberTools is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def methanol():
    return read_solute("CO")


@pytest.fixture(scope="module")
def parameters(methanol):
    return parameterise(methanol)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solvent", "atoms", "least"),
    [("water", 3, 346), ("water-opc", 4, 352), ("methanol", 6, 153), ("chloroform", 5, 77)],
)
def test_a_ready_box_holds_what_fills_it_at_the_density_of_the_liquid(
    solvent, atoms, least, methanol, parameters, tmp_path
):
    """A truncated octahedron of 24 Å repeat has 10 642 Å³; a TIP3P water takes 30.5 of them."""
    prmtop, _ = make_box(parameters, find_medium(solvent), 24.0, methanol.extent, tmp_path)
    _, residues = charges_and_residues(prmtop)
    sizes = np.bincount(residues)
    assert set(sizes[1:]) == {atoms}
    assert least <= len(sizes) - 1 <= 1.2 * least


def test_salt_has_its_concentration_and_balances_the_solute(methanol, parameters, tmp_path):
    """0.5 mol/L in 10 642 Å³ are 3.2 pairs; a solute of charge +1 adds an anion."""
    medium = find_medium("water", "NaCl:0.5")
    make_box(parameters, medium, 24.0, methanol.extent, tmp_path, solute_charge=1)
    charges, residues = charges_and_residues(tmp_path / "system.prmtop")
    ions = np.bincount(residues)[residues] == 1
    assert sorted(charges[ions].round(6)) == [-1.0] * 4 + [1.0] * 3
    assert charges.sum() == pytest.approx(-1.0, abs=1e-6)  # the solute here has no charge


@pytest.mark.parametrize("salt", ["NaCl:0.5", "NaCl:1.0"])
def test_water_that_ions_replace_is_asked_for_at_the_start(salt, monkeypatch, tmp_path):
    """Enough water for the liquid but not for its ions too was answered by a smaller box."""
    asked = []

    def tleap(script, _work):
        (line,) = (line for line in script if line.startswith("solvateOct"))
        asked.append(float(line.split()[-2]))
        return int(0.0254 * (2.0 * (asked[-1] + 3.4)) ** 3)  # less than the liquid, at first

    monkeypatch.setattr(boxes, "_run_tleap", tleap)
    boxes._ready_box(find_medium("water", salt), 30.0, 2.0, -1, tmp_path)
    assert asked == sorted(asked)


@pytest.mark.slow
def test_a_packed_mixture_has_its_mole_fractions_and_closes_to_a_liquid(
    methanol, parameters, tmp_path
):
    medium = find_medium("water:0.75,acetonitrile:0.25", "KCl:0.3")
    prmtop, inpcrd = make_box(parameters, medium, 18.0, methanol.extent, tmp_path)
    charges, residues = charges_and_residues(prmtop)
    sizes = np.bincount(residues)[1:]
    waters, others, ions = ((sizes == n).sum() for n in (3, 6, 1))
    assert waters / (waters + others) == pytest.approx(0.75, abs=0.01)
    assert ions == 2
    assert charges.sum() == pytest.approx(0.0, abs=1e-6)
    packed = load_box(prmtop, inpcrd, len(methanol.atomic_numbers))
    # It expands at first: after 3 ps it is 4 to 7 % smaller, after 0.5 ps up to 2 % larger.
    settled = equilibrate(packed, 300.0, 3.0, seed=1, platform="CPU")
    assert np.linalg.det(settled.cell) < np.linalg.det(packed.cell)
    assert shortest_repeat(settled.cell) > 17.0


def test_names_say_what_is_in_a_medium():
    assert find_medium("water").name == "water"
    mixture = find_medium("water:0.7, methanol:0.3", "NaCl:0.15")
    assert mixture.name == "water:0.7,methanol:0.3+NaCl"
    assert mixture.is_packed
    assert not find_medium("water", "NaCl:0.15").is_packed


def test_only_rigid_media_take_the_long_time_step():
    assert find_medium("water-opc").is_rigid
    assert not find_medium("water:0.5,dmso:0.5").is_rigid


@pytest.mark.parametrize("name", solvent_names())
def test_sizes_and_masses_of_solvents_are_those_of_their_molecules(name):
    """The extent may be larger than in one conformer, but a smaller one would cut boxes short."""
    from ase.data import atomic_masses

    solvent = find_medium(name).components[0][0]
    molecule = read_solute(solvent.smiles)
    assert atomic_masses[molecule.atomic_numbers].sum() == pytest.approx(solvent.molar_mass, 1e-3)
    centred = molecule.positions - molecule.positions.mean(axis=0)
    assert np.linalg.norm(centred, axis=1).max() <= solvent.extent + 0.05


@pytest.mark.parametrize(
    ("solvent", "salt", "sentence"),
    [
        ("metanol", "", "did you mean methanol"),
        ("water,methanol", "", "add up to 1"),
        ("water:0.7,methanol:0.2", "", "add up to 1"),
        ("water:1.5,methanol:-0.5", "", "positive"),
        ("water:0.5,water:0.5", "", "twice"),
        ("water:half,methanol:0.5", "", "expected a number"),
        ("water-opc:0.5,methanol:0.5", "", "TIP3P"),
        ("water", "NaCl", "no salt"),
        ("water", "Unobtainium:1", "no salt"),
        ("water", "NaCl:9", "at most 5"),
    ],
)
def test_media_without_sense_are_refused(solvent, salt, sentence):
    with pytest.raises(SolventError, match=sentence):
        find_medium(solvent, salt)
