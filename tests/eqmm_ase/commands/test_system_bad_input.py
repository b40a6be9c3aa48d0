"""Whole systems that make no sense: a sentence and exit code 2 from the command line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from calculator_kit import SMALL, random_model
from places import DATA, ROOT

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")
pytest.importorskip("MDAnalysis")

from openmm import app, unit  # noqa: E402
from system_kit import dipeptide, dipeptide_in_water, methanol_in_water  # noqa: E402

from eqmm_ase import save_model  # noqa: E402
from eqmm_ase.cli import main  # noqa: E402

pytestmark = pytest.mark.slow

BOX = ROOT / "scripts" / "examples" / "methanol_box"
PRMTOP = ("--topology", BOX / "system.prmtop")
SYSTEM = (*PRMTOP, "--coordinates", BOX / "system.rst7")
METHANOL = ("--ml", "resname MOH")
MODEL = DATA / "methanol.eqmm"
FIELDS = ("--force-field", "amber14-all.xml", "--force-field", "amber14/tip3p.xml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """PDB and System of a dipeptide and of methanol in OPC water, and a model of cut bonds."""
    made = tmp_path_factory.mktemp("systems")
    for name, (topology, system, positions, *_) in {
        "dipeptide": dipeptide_in_water(),
        "alone": dipeptide(),
        "opc": methanol_in_water(20.0, water="opc"),
    }.items():
        with (made / f"{name}.pdb").open("w") as file:
            app.PDBFile.writeFile(topology, positions * unit.angstrom, file)
        (made / f"{name}.xml").write_text(openmm.XmlSerializer.serialize(system))
    lines = (made / "dipeptide.pdb").read_text().splitlines(keepends=True)
    boxless = "".join(line for line in lines if not line.startswith("CRYST1"))
    (made / "boxless.pdb").write_text(boxless)
    card = {"cut_bonds": [{"redistribution": "shift", "cap_rule": "scaled"}]}
    save_model(made / "m.eqmm", random_model(config=replace(SMALL, elements=(1, 6, 7, 8))), card)
    return made


def in_folder(folder: Path, words) -> list[str]:
    """Words with ``@`` in the place of the folder."""
    return [str(word).replace("@", f"{folder}/") for word in words]


def pdb(name: str, system: str | None = None) -> tuple[str, ...]:
    return ("--topology", f"@{name}.pdb", *(("--system", f"@{system}.xml") if system else FIELDS))


BAD = {
    "an element that the model does not know": (
        (MODEL, *pdb("dipeptide"), "--ml", "resname NME"),
        "the model knows H, C, O but was given N",
    ),
    "a selection that matches nothing": (
        (MODEL, *SYSTEM, "--ml", "resname MOR"),
        "the selection 'resname MOR' selects nothing; the residues are called MOH, WAT",
    ),
    "a selection that is none": (
        (MODEL, *SYSTEM, "--ml", "resname (MOH"),
        "does not understand the selection",
    ),
    "half a water": (
        (MODEL, *SYSTEM, "--ml", "resname MOH or (resid 2 and name O H1)"),
        "the selection cuts the bond WAT 2 O–WAT 2 H2; a hydrogen atom must stay",
    ),
    "half a rigid water with a virtual site": (
        (MODEL, *pdb("opc", "opc"), "--ml", "resid 2 and name O"),
        "the selection cuts the bond HOH 2 O–HOH 2 H1",
    ),
    "a virtual site without its atom": (
        (MODEL, *pdb("opc", "opc"), "--ml", "resid 2 and name M"),
        "the selection holds virtual sites only; expected atoms",
    ),
    "half a residue": (
        ("@m.eqmm", *pdb("dipeptide"), "--ml", "resname ALA and name N CA CB C O"),
        "a hydrogen atom must stay on the side of its partner",
    ),
    "a charge that does not add up": (
        (MODEL, *SYSTEM, *METHANOL, "--total-charge", "-1"),
        "the force field gives the ML region +1.000 e more than its total charge; check",
    ),
    "a charge that a cut leaves": (
        ("@m.eqmm", *pdb("dipeptide"), "--ml", "resname ACE and name C O or resname NME"),
        "e more than its total charge; check the total charge, or say where the rest goes",
    ),
    "a spin that the charge does not allow": (
        (MODEL, *SYSTEM, *METHANOL, "--spin-multiplicity", "3"),
        "the model knows only 1",
    ),
    "a box smaller than twice the cutoff": (
        (MODEL, *SYSTEM, *METHANOL, "--electrostatics", "cutoff"),
        "a cutoff of 12 Å needs a box at least 24 Å wide between opposite faces, and this one is",
    ),
    "another redistribution than the model's": (
        ("@m.eqmm", *pdb("dipeptide"), "--ml", "resname NME", "--redistribution", "zero"),
        "redistribution is 'zero', and the model was trained with shift; leave it out",
    ),
    "another rule of caps than the model's": (
        ("@m.eqmm", *pdb("dipeptide"), "--ml", "resname NME", "--cap", "fixed"),
        "cap_rule is 'fixed', and the model was trained with scaled",
    ),
    "coordinates of another number of atoms": (
        (MODEL, *PRMTOP, "--coordinates", "@opc.pdb", *METHANOL),
        "sites; the topology has 954",
    ),
    "a System of another number of atoms": (
        ("@m.eqmm", *pdb("dipeptide", "alone"), "--ml", "resname ALA"),
        "and the System has 22 particles; expected the same",
    ),
    "files without a box": (
        ("@m.eqmm", *pdb("boxless"), "--ml", "resname ALA"),
        "holds no periodic box; give coordinates that do, or say that the system is isolated",
    ),
    "a periodic System that shall be isolated": (
        (MODEL, *pdb("opc", "opc"), *METHANOL, "--isolated"),
        "the System is periodic and cannot be isolated; leave out --isolated",
    ),
    "masses of a System that has its own": (
        (MODEL, *pdb("opc", "opc"), *METHANOL, "--hydrogen-mass", "3"),
        "has masses of its own; leave out --hydrogen-mass",
    ),
    "a System that is not there": (
        (MODEL, *pdb("opc", "none"), *METHANOL),
        "none.xml: No such file or directory",
    ),
    "a region that spans more than half the box": (
        (MODEL, *pdb("opc", "opc"), "--ml", "resname MOH or resid 2"),
        "Å of a box that is 20.0 Å wide, more than half of it",
    ),
    "each charge once in a periodic box": (
        (MODEL, *SYSTEM, *METHANOL, "--electrostatics", "all"),
        "and the System is periodic; take 'ewald' or 'cutoff'",
    ),
    "periodic images without a box": (
        (MODEL, *SYSTEM, *METHANOL, "--isolated", "--electrostatics", "ewald"),
        "and the System has no box; take 'cutoff' or 'all'",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("words", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence(words, sentence, folder, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ledger", *in_folder(folder, words)])
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert sentence in error
    assert error.count("error:") == 1
    assert "Traceback" not in error


def test_a_dynamics_is_refused_before_its_folder_has_a_run(folder, tmp_path, capsys) -> None:
    words = (MODEL, *pdb("opc", "opc"), "--ml", "resname MOH or resid 2", "--steps", "5")
    with pytest.raises(SystemExit) as caught:
        main(["md", *in_folder(folder, words), "-o", str(tmp_path / "run")])
    assert caught.value.code == 2
    assert "more than half of it" in capsys.readouterr().err
    assert not (tmp_path / "run" / "progress.json").exists()


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("openmm", "pip install 'eqmm[openmm,topologies]' brings what this command needs"),
        ("MDAnalysis", "pip install 'eqmm[topologies]' brings what this command needs"),
        ("finufft", "periodic boxes need finufft; install it with pip install 'eqmm[periodic]'"),
    ],
)
def test_a_missing_extra_is_named(module, sentence) -> None:
    hidden = f"import sys; sys.modules[{module!r}] = None; from eqmm_ase.cli import main; main()"
    command = [sys.executable, "-c", hidden, "ledger", MODEL, *SYSTEM, *METHANOL]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_do_not_need_openmm_ml() -> None:
    hidden = "import sys; sys.modules['openmmml'] = None; from eqmm_ase.cli import main; main()"
    command = [sys.executable, "-c", hidden, "ledger", MODEL, *SYSTEM, *METHANOL]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore")  # the model knows no water
def test_a_virtual_site_of_a_molecule_that_is_chosen_goes_with_it(folder, capsys) -> None:
    """The network replaces it as it does the atoms; its charge is the region's."""
    words = in_folder(folder, (MODEL, *pdb("opc", "opc"), "--ml", "resid 2"))
    with pytest.raises(SystemExit) as caught:
        main(["ledger", *words])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert out.startswith("QM region: H2O, total charge 0, singlet")
    assert "net charge of the MM charges: +0.0000 e" in out


def test_a_system_that_does_not_repeat_takes_no_box_from_its_pdb(folder, capsys) -> None:
    words = ("@m.eqmm", *pdb("alone", "alone"), "--ml", "resname ACE ALA NME")
    with pytest.raises(SystemExit) as caught:
        main(["ledger", *in_folder(folder, words)])
    assert caught.value.code == 0
    assert "without a box, charges by all" in capsys.readouterr().out


def test_a_periodic_system_has_its_own_box_where_the_pdb_has_none(folder, capsys) -> None:
    words = ("@m.eqmm", *pdb("boxless", "dipeptide"), "--ml", "resname ACE ALA NME")
    with pytest.raises(SystemExit) as caught:
        main(["ledger", *in_folder(folder, words)])
    assert caught.value.code == 0
    assert "in a box, charges by ewald" in capsys.readouterr().out
