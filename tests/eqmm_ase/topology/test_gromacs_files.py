"""GROMACS' own files: run inputs, and topologies with and without their atomic numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("parmed")
pytest.importorskip("MDAnalysis")

from tpr_kit import MoleculeType, tpr_bytes

from eqmm_ase.cutting.qm_region import RegionError, find_region
from eqmm_ase.topology import Topology, TopologyError, read_topology

METHANOL = [6, 8, 1, 1, 1, 1]
TOP = """[ defaults ]
1 2 yes 0.5 0.8333
[ atomtypes ]
{types}
[ moleculetype ]
MOH 3
[ atoms ]
1 c3 1 MOH C1 1  0.116 {carbon}
2 oh 1 MOH O1 1 -0.598 {oxygen}
3 h1 1 MOH H1 1  0.028 {hydrogen}
4 h1 1 MOH H2 1  0.028 {hydrogen}
5 h1 1 MOH H3 1  0.028 {hydrogen}
6 ho 1 MOH HO 1  0.398 {hydrogen} {state_b}
[ bonds ]
1 2 1 0.14 1e5
1 3 1 0.11 1e5
1 4 1 0.11 1e5
1 5 1 0.11 1e5
2 6 1 0.10 1e5
{more_bonds}
[ moleculetype ]
SOL 2
[ atoms ]
1 ow 1 SOL OW 1  0.0 16.00
2 hw 1 SOL HW1 1 0.52 1.008
3 hw 1 SOL HW2 1 0.52 1.008
4 mw 1 SOL MW 1 -1.04 0.0
[ bonds ]
1 2 1 0.09572 1e5
1 3 1 0.09572 1e5
2 3 1 0.15139 1e5
[ virtual_sites3 ]
4 1 2 3 1 0.128012065 0.128012065
[ system ]
methanol
[ molecules ]
MOH 1
SOL 2
"""
WITHOUT_NUMBERS = """c3 c3 0.0 0.0 A 0.34 0.46
oh oh 0.0 0.0 A 0.31 0.88
h1 h1 0.0 0.0 A 0.25 0.07
ho ho 0.0 0.0 A 0.10 0.02
ow 16.0 0.0 A 0.31 0.65
hw 1.008 0.0 A 0.0 0.0
mw 0.0 0.0 V 0.0 0.0"""
WITH_NUMBERS = """c3 6 12.01 0.0 A 0.34 0.46
oh CT 8 16.00 0.0 A 0.31 0.88
h1 1 1.008 0.0 A 0.25 0.07
ho 1 1.008 0.0 A 0.10 0.02
ow 8 16.0 0.0 A 0.31 0.65
hw 1 1.008 0.0 A 0.0 0.0
mw 0 0.0 0.0 D 0.0 0.0"""


def _top(folder: Path, types: str, hydrogen: float, **more: str) -> Topology:
    moved = hydrogen - 1.008
    masses = {"carbon": 12.01 - 3 * moved, "oxygen": 16.0 - moved, "hydrogen": hydrogen}
    text = TOP.format(types=types, **masses, **{"state_b": "", "more_bonds": "", **more})
    (folder / "x.top").write_text(text)
    return read_topology(folder / "x.top")


@pytest.mark.parametrize("types", [WITHOUT_NUMBERS, WITH_NUMBERS], ids=["masses", "numbers"])
@pytest.mark.parametrize("hydrogen", [1.008, 3.024, 4.0])
def test_a_top_keeps_its_elements(types, hydrogen, tmp_path):
    topology = _top(tmp_path, types, hydrogen)
    np.testing.assert_array_equal(topology.atomic_numbers, METHANOL + [8, 1, 1, 0] * 2)
    np.testing.assert_array_equal(topology.parents[6:], [-1, -1, -1, 6, -1, -1, -1, 10])
    assert topology.doubts == {}
    assert abs(topology.charges.sum()) < 1e-9


def test_a_restraint_in_a_top_is_no_bond(tmp_path):
    free = _top(tmp_path, WITH_NUMBERS, 1.008)
    held = _top(tmp_path, WITH_NUMBERS, 1.008, more_bonds="3 6 6 0.25 1000\n4 6 10 0 1 2 1000")
    np.testing.assert_array_equal(held.bonds, free.bonds)


def test_an_atom_that_changes_in_state_b_stays_out_of_the_qm_region(tmp_path):
    topology = _top(tmp_path, WITH_NUMBERS, 1.008, state_b="ho 0.0 1.008")
    assert topology.notes == ("1 atoms change in state B of the topology; charges are those of "
                              "state A",)  # fmt: skip
    with pytest.raises(RegionError, match="MOH 1 HO is not certain: it changes into another atom"):
        find_region(topology, np.arange(6))
    assert find_region(topology, np.arange(6, 10)).force_field_charge == 0.0


def test_charges_and_numbers_of_a_top_are_as_gromacs_has_them(tmp_path):
    """An atom without a charge has that of its type; residues keep their numbers."""
    (tmp_path / "x.top").write_text(
        """[ defaults ]
1 2
[atomtypes]
ct 6 12.011 -0.25 A 0.3 0.4
hc 1 1.008 0.25 A 0.2 0.1
cl 17 35.45 -1.0 A 0.4 0.4
[ moleculetype ]
X 3
[ atoms ]
1 ct 7 AAA C1 1
2 hc 7 AAA H1 1
3 ct 9A BBB C1 1 -0.5
4 hc 9A BBB H1 1 0.5 1.008
[ moleculetype ]
CL 1
[ atoms ]
1 cl 1 CL CL 1
[ system ]
x
[ molecules ]
CL 1
X 2
CL 1
"""
    )
    topology = read_topology(tmp_path / "x.top")
    np.testing.assert_allclose(topology.charges, [-1, *[-0.25, 0.25, -0.5, 0.5] * 2, -1])
    assert topology.residue_numbers == (10, 7, 9, 7, 9, 11)
    np.testing.assert_array_equal(topology.atomic_numbers, [17, *[6, 1, 6, 1] * 2, 17])


def test_missing_includes_are_said_with_the_places_looked_in(tmp_path, monkeypatch):
    import parmed.gromacs

    library = tmp_path / "library"
    (library / "x.ff").mkdir(parents=True)
    (library / "x.ff" / "forcefield.itp").write_text('#include "ffbonded.itp"\n')
    monkeypatch.setattr(parmed.gromacs, "GROMACS_TOPDIR", str(library))
    top = tmp_path / "x.top"
    top.write_text('#include "ligand.itp"\n#include "x.ff/forcefield.itp"\n')
    with pytest.raises(TopologyError) as caught:
        read_topology(top)
    assert str(caught.value).startswith(
        f"{top} includes ligand.itp (and 1 others), which is not in {tmp_path} or {library}; "
    )
    (tmp_path / "ligand.itp").write_text("[ moleculetype ]\nA 3\n")
    with pytest.raises(TopologyError) as caught:
        read_topology(top)
    places = f"{library / 'x.ff'} or {tmp_path} or {library}"
    assert f"includes ffbonded.itp, which is not in {places}; " in str(caught.value)


def test_includes_are_mentioned_only_where_one_is_missing(tmp_path):
    (tmp_path / "x.top").write_text("[ moleculetype ]\nA 3 4 5\n")
    with pytest.raises(TopologyError, match=r"ParmEd cannot read .*x.top \(.*\); .*tpr") as caught:
        read_topology(tmp_path / "x.top")
    assert " includes " not in str(caught.value)


def test_a_polarisable_top_is_refused(tmp_path):
    shells = WITH_NUMBERS.replace("mw 0 0.0 0.0 D", "mw 0 0.0 0.0 S")
    with pytest.raises(TopologyError, match=r"x.top is polarisable; expected fixed point charges"):
        _top(tmp_path, shells, 1.008)


def _methanol(hydrogen: float = 1.008, numbers: bool = True) -> MoleculeType:
    moved = hydrogen - 1.008
    given = [6, 8, 1, 1, 1, 1] if numbers else [-1] * 6
    masses = [12.011 - 3 * moved, 15.999 - moved, *[hydrogen] * 4]
    charges = [0.116, -0.598, 0.028, 0.028, 0.028, 0.398]
    names = ["C1", "O1", "H1", "H2", "H3", "HO"]
    kinds = ["CG331", "OG311", "HGA3", "HGA3", "HGA3", "HGP1"]
    rows = zip(names, kinds, given, masses, charges, ["A"] * 6, strict=True)
    bonds = [(0, 1), (0, 2), (0, 3)]  # the others are held
    return MoleculeType("MOH", "MOH", list(rows), {"BONDS": bonds, "CONSTR": [(0, 4), (1, 5)]})


def _water() -> MoleculeType:
    atoms = [("OW", "ow", 8, 15.999, 0.0, "A"), ("HW1", "hw", 1, 1.008, 0.52, "A")]
    atoms += [("HW2", "hw", 1, 1.008, 0.52, "A"), ("MW", "mw", 0, 0.0, -1.04, "V")]
    return MoleculeType("SOL", "SOL", atoms, {"SETTLE": [(0, 1, 2)], "VSITE3": [(3, 0, 1, 2)]})


def _tpr(folder: Path, *molecules: tuple[MoleculeType, int]) -> Topology:
    (folder / "x.tpr").write_bytes(tpr_bytes(list(molecules)))
    return read_topology(folder / "x.tpr")


@pytest.mark.parametrize("hydrogen", [1.008, 3.024])
@pytest.mark.parametrize("numbers", [True, False])
def test_a_run_input_gives_the_whole_topology(hydrogen, numbers, tmp_path):
    """Repartitioning by an mdp option appears in run inputs only."""
    topology = _tpr(tmp_path, (_methanol(hydrogen, numbers), 2), (_water(), 3))
    np.testing.assert_array_equal(topology.atomic_numbers, METHANOL * 2 + [8, 1, 1, 0] * 3)
    assert topology.doubts == {}
    np.testing.assert_allclose(topology.charges[:2], [0.116, -0.598], atol=1e-7)
    assert topology.residue_names == ("MOH", "MOH", "SOL", "SOL", "SOL")
    assert topology.residue_numbers == (1, 2, 3, 4, 5)
    assert topology.segments == ("seg_0_MOH", "seg_0_MOH", "seg_1_SOL", "seg_1_SOL", "seg_1_SOL")
    assert topology.label(17) == "SOL 4 HW1"
    np.testing.assert_array_equal(np.flatnonzero(topology.parents >= 0), [15, 19, 23])
    np.testing.assert_array_equal(topology.parents[[15, 19, 23]], [12, 16, 20])
    first = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5)]
    bonds = {tuple(bond) for bond in topology.bonds.tolist()}
    assert bonds == {
        *first,
        *((i + 6, j + 6) for i, j in first),
        *((12 + 4 * k, 12 + 4 * k + h) for k in range(3) for h in (1, 2)),
    }


def test_restraints_and_massless_hydrogens_of_a_run_input(tmp_path):
    """Harmonic restraints are no bonds; hydrogens that GROMACS builds are atoms all the same."""
    molecule = _methanol()
    molecule.interactions["HARMONIC"] = [(2, 5)]
    molecule.interactions["RESTRAINTPOT"] = [(3, 5)]
    molecule.atoms[5] = ("HO", "HGP1", 1, 0.0, 0.398, "V")
    molecule.interactions["VSITE2"] = [(5, 1, 0)]
    topology = _tpr(tmp_path, (molecule, 1))
    np.testing.assert_array_equal(topology.atomic_numbers, METHANOL)
    assert (topology.parents == -1).all()
    assert len(topology.bonds) == 5
    molecule.atoms[5] = ("HO", "HGP1", -1, 0.0, 0.398, "V")  # is it a hydrogen?
    topology = _tpr(tmp_path, (molecule, 1))
    with pytest.raises(RegionError, match="MOH 1 HO is not certain: it has neither mass nor"):
        find_region(topology, np.arange(5))


def test_a_run_input_with_two_states_says_so(tmp_path):
    molecule = _methanol()
    molecule.state_b[5] = 0.1
    topology = _tpr(tmp_path, (molecule, 2), (_water(), 1))
    assert topology.notes == ("2 atoms change in state B of the run; charges are those of state A",)
    with pytest.raises(RegionError, match="MOH 2 HO is not certain: it changes into another atom"):
        find_region(topology, np.arange(6, 12))


def test_run_inputs_that_are_of_no_use_are_a_sentence(tmp_path):
    shell = _water()
    shell.atoms[3] = ("S", "sw", 0, 0.0, -1.04, "S")
    with pytest.raises(TopologyError, match=r"x.tpr is polarisable; expected fixed point charges"):
        _tpr(tmp_path, (shell, 1))
    spring = _water()
    spring.interactions["POLARIZATION"] = [(0, 3)]
    with pytest.raises(TopologyError, match=r"x.tpr is polarisable; expected fixed point charges"):
        _tpr(tmp_path, (spring, 1))
    whole = tpr_bytes([(_methanol(), 1)])
    for content in (b"", b"junk" * 20, whole[:400], whole[:-8]):
        (tmp_path / "y.tpr").write_bytes(content)
        with pytest.raises(TopologyError, match=r"MDAnalysis cannot read .*y.tpr \(.*\); it knows"):
            read_topology(tmp_path / "y.tpr")


def test_a_lone_pair_whose_atom_is_not_known_is_not_cut_off(tmp_path):
    """Its charge could belong to either side."""
    molecule = _methanol()
    molecule.atoms.append(("LP1", "LPH", 0, 0.0, 0.05, "V"))
    topology = _tpr(tmp_path, (molecule, 1))
    assert topology.unplaced == {6}
    with pytest.raises(RegionError, match="MOH 1 LP1 is a virtual site, and the topology does not"):
        find_region(topology, np.array([1, 5]))
    assert len(find_region(topology, np.arange(6)).atoms) == 6
    molecule.interactions["VSITE2"] = [(6, 1, 5)]
    region = find_region(_tpr(tmp_path, (molecule, 1)), np.array([1, 5]))
    assert region.force_field_charge == pytest.approx(-0.598 + 0.398 + 0.05)
