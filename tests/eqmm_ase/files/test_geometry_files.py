"""Molecules from files as programs and people write them: the right atoms, or a sentence."""

from __future__ import annotations

from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from eqmm_ase.data.charge_and_spin import states_of
from eqmm_ase.files.geometry_files import StructureError, read_geometries, read_geometry

ROWS = ("O 0.0 0.0 0.117", "H 0.0 0.757 -0.469", "H 0.0 -0.757 -0.469")
WATER = np.array([row.split()[1:] for row in ROWS], float)


def saved(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def xyz(comment: str = "", rows: tuple[str, ...] = ROWS, end: str = "\n") -> str:
    return end.join([str(len(rows)), comment, *rows, ""])


@pytest.mark.parametrize(
    "text",
    [
        xyz(),
        xyz(rows=("o 0 0 0.117", "h 0 0.757 -0.469", "h 0 -0.757 -0.469")),
        xyz(rows=("8 0 0 0.117", "1 0 0.757 -0.469", "1 0 -0.757 -0.469")),
        xyz(rows=("O1 0 0 0.117", "H2 0 0.757 -0.469", "H3 0 -0.757 -0.469")),
        xyz(rows=tuple(f"{row} -0.4 7" for row in ROWS)),
        xyz(rows=("O 0.D0 0 1.17D-01", "H 0 0.757 -0.469", "H 0 -7.57d-1 -0.469")),
        xyz(end="\r\n"),
        "\ufeff" + xyz(),
        "\n" + xyz() + "\n\n",
        xyz('Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"',
            tuple(f"{row.lower()} 0.1 0.2 0.3" for row in ROWS)),
        xyz('Lattice="9 0 0 0 9 0 0 0 9" Properties=id:I:1:species:S:1:pos:R:3',
            tuple(f"{n} {row}" for n, row in enumerate(ROWS))),
        xyz('Properties=Z:I:1:pos:R:3', tuple(row.replace("O", "8").replace("H", "1")
            for row in ROWS)),
        xyz("it's a \"water = molecule"),
    ],
)  # fmt: skip
def test_xyz_as_it_is_found(tmp_path, text):
    (atoms,) = read_geometries(saved(tmp_path, "a.xyz", text))
    assert list(atoms.symbols) == ["O", "H", "H"]
    np.testing.assert_allclose(atoms.positions, WATER, atol=1e-12)


def test_heavy_hydrogen_is_hydrogen_with_its_mass(tmp_path):
    rows = (ROWS[0], ROWS[1].replace("H", "D"), ROWS[2].replace("H", "T"))
    (atoms,) = read_geometries(saved(tmp_path, "a.xyz", xyz(rows=rows)))
    assert list(atoms.numbers) == [8, 1, 1]
    np.testing.assert_allclose(atoms.get_masses(), [15.999, 2.014, 3.016])


def test_images_are_all_the_last_or_the_one_asked_for(tmp_path):
    path = saved(tmp_path, "a.xyz", xyz("n=0") + xyz("n=1") + xyz("n=2"))
    assert [atoms.info["n"] for atoms in read_geometries(path)] == [0, 1, 2]
    assert read_geometry(str(path)).info["n"] == 2
    assert read_geometry(f"{path}@1").info["n"] == 1


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("charge=-2 multiplicity=1 E=-76.0", (-2, 1)),
        ("water, charge: 1, mult: 2", (1, 2)),
        ("1 2", (1, 2)),
        ("1 1", (0, 1)),  # which no electrons of a cation can have: something else
        ("step 5 of charge transfer", (0, 1)),
    ],
)
def test_comment_lines_say_charge_and_spin(tmp_path, comment, expected):
    images = read_geometries(saved(tmp_path, "a.xyz", xyz(comment)))
    assert tuple(states_of(images)[0]) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3\n\nO 0 0\n", "line 1 announces 3 atoms; 1 lines follow"),
        (xyz(rows=(ROWS[0], "X 0 0 1")), "line 4: 'X' is no element"),
        (xyz(rows=("HB1 0 0 1",)), "line 3: 'HB1' is no element"),
        (xyz(rows=("CA1 0 0 1",)), "line 3: 'CA1' is no element"),
        (xyz(rows=("C 0 0",)), "line 3: expected a symbol and three numbers"),
        (xyz(rows=("C 0 zero 0",)), "line 3: could not convert"),
        (xyz() + "and so on\n", "line 6: expected the number of atoms, found 'and so on'"),
        ("", "holds no atoms"),
    ],
)
def test_xyz_that_cannot_be_meant(tmp_path, text, sentence):
    with pytest.raises(StructureError, match=sentence) as raised:
        read_geometries(saved(tmp_path, "bad.xyz", text))
    assert "bad.xyz" in str(raised.value)
    assert "\n" not in str(raised.value)


def pdb(name: str, residue: str = "LIG", element: str = "", charge: str = "", x: float = 0.0,
        location: str = " ") -> str:  # fmt: skip
    return (
        f"HETATM    1 {name:4}{location}{residue:>3} A   1    "
        f"{x:8.3f}{0:8.3f}{0:8.3f}  1.00  0.00          {element:>2}{charge}\n"
    )


@pytest.mark.parametrize(
    ("line", "symbol"),
    [
        (pdb(" CA ", "ALA"), "C"),
        (pdb("CA  ", "CA"), "Ca"),
        (pdb("1HB2", "ALA"), "H"),
        (pdb("HG11", "VAL"), "H"),
        (pdb(" HO ", "LIG"), "H"),
        (pdb("CL1 ", "LIG"), "Cl"),
        (pdb("ZN  ", "ZN"), "Zn"),
        (pdb("CA  ", "ALA", element="C"), "C"),
        (pdb(" D1 ", "LIG", element="D"), "H"),
        (pdb(" H  ", "LIG", element="CL", charge="1-"), "Cl"),
    ],
)
def test_elements_of_pdb_files_with_and_without_their_column(tmp_path, line, symbol):
    (atoms,) = read_geometries(saved(tmp_path, "a.pdb", line + "END\n"))
    assert list(atoms.symbols) == [symbol]


def test_pdb_files_have_formal_charges_models_and_alternative_locations(tmp_path):
    text = pdb(" N  ", element="N", charge="1+", location="A") + pdb(
        " N  ", element="N", x=5.0, location="B"
    )
    path = saved(tmp_path, "a.pdb", f"MODEL 1\n{text}ENDMDL\nMODEL 2\n{text}ENDMDL\nEND\n")
    images = read_geometries(path)
    assert [len(atoms) for atoms in images] == [1, 1]
    assert images[0].info["total_charge"] == 1
    with pytest.raises(StructureError, match=r"line 1: the element of atom 'CA' of LIG cannot"):
        read_geometries(saved(tmp_path, "b.pdb", pdb("CA  ", "LIG")))


MOL = """\



  {counts}
{atoms}  1  2  1  0
{tail}M  END
"""


def mol(symbols: tuple[str, str] = ("O", "H"), length: float = 0.97, tail: str = "") -> str:
    rows = "".join(
        f"{x:10.4f}{0:10.4f}{0:10.4f} {symbol:<3} 0  0  0  0  0  0\n"
        for x, symbol in zip((0.0, length), symbols, strict=True)
    )
    return MOL.format(counts="2  1  0  0  0  0  0  0  0  0999 V2000", atoms=rows, tail=tail)


def test_mol_files_say_charges_radicals_and_isotopes(tmp_path):
    (ion,) = read_geometries(saved(tmp_path, "a.mol", mol(tail="M  CHG  1   1  -1\n")))
    assert tuple(states_of([ion])[0]) == (-1, 1)
    (radical,) = read_geometries(
        saved(tmp_path, "b.sdf", mol(("O", "D"), tail="M  RAD  1   1   2\n"))
    )
    assert tuple(states_of([radical])[0]) == (0, 2)
    assert radical.get_masses()[1] == pytest.approx(2.014)


def test_what_lies_in_a_plane_is_a_drawing_only_if_its_bonds_are(tmp_path):
    assert len(read_geometries(saved(tmp_path, "a.mol", mol()))[0]) == 2
    with pytest.raises(StructureError, match=r"a\.mol .*no three-dimensional .* a drawing"):
        read_geometries(saved(tmp_path, "a.mol", mol(length=1.5)))
    with pytest.raises(StructureError, match="expected a mol file"):
        read_geometries(saved(tmp_path, "a.mol", "C"))


def test_rows_of_a_database_keep_their_charge(tmp_path):
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(molecule("H2O"), total_charge=1, spin_multiplicity=2)
    (atoms,) = read_geometries(tmp_path / "a.db")
    assert tuple(states_of([atoms])[0]) == (1, 2)


def test_outputs_of_programs_say_charge_and_spin(tmp_path):
    gaussian = "#p hf/sto-3g\n\nhydroxide\n\n-1 1\nO 0.0 0.0 0.0\nH 0.0 0.0 0.97\n\n"
    path = saved(tmp_path, "a.com", gaussian)
    assert tuple(states_of(read_geometries(path))[0]) == (-1, 1)


def test_other_formats_are_left_to_ase(tmp_path):
    atoms = molecule("CH3OH")
    write(tmp_path / "a.traj", [atoms, atoms])
    assert len(read_geometries(tmp_path / "a.traj")) == 2
    with pytest.raises(FileNotFoundError, match="there is no structure file"):
        read_geometries(tmp_path / "none.xyz")
