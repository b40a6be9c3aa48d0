"""Topologies that Python packages ship as data of their tests and examples, and variants of them.

Folders: those of MDAnalysisTests (``data``), of the source archives of ParmEd and pytraj, and of
AmberTools' ``dat/contrib``. What is made of them is written into a scratch folder.
"""

from __future__ import annotations

import gzip
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIDE_CHAIN = "and not name N HN H H1 H2 H3 CA HA HA1 HA2 HA3 C O OXT OT1 OT2"
INCLUDES = "includes .* which is not in"


@dataclass(frozen=True)
class Case:
    """A topology, coordinates for it, a QM region, and what is expected."""

    kind: str
    topology: Path
    trajectory: Path
    selection: str
    options: tuple[str, ...] = ()
    refused: str = ""
    """Expression that the sentence fits, where a refusal is right."""

    system: Path | None = None
    original: Path | None = None
    """Of the same atoms, with masses as the elements have them; the topology itself if None."""


@dataclass(frozen=True)
class Folders:
    """Where the packages' files are."""

    mdanalysis: Path
    parmed: Path
    pytraj: Path
    scratch: Path
    alone: tuple[str, ...] = field(default=("--isolated",))


def cases(at: Folders) -> Iterator[Case]:
    """All of them."""
    yield from amber(at)
    yield from charmm(at)
    yield from gromacs(at)
    yield from run_inputs(at)
    yield from repartitioned(at)
    yield from openmm_systems(at)


def amber(at: Folders) -> Iterator[Case]:
    """Topologies of AMBER 8 to 22, most from before atomic numbers were written."""
    data, examples = at.mdanalysis / "Amber", at.pytraj / "pytraj/datafiles"
    old, new = "prmtop without atomic numbers", "prmtop with atomic numbers"

    def case(kind: str, top: str, trajectory: str, selection: str, *options: str) -> Case:
        return Case(kind, data / top, data / trajectory, selection, options)

    side = f"resname {{}} {SIDE_CHAIN}"
    yield case(old, "ache.prmtop", "ache.mdcrd", side.format("MET"), *at.alone)
    yield case(old, "bala.prmtop", "bala.ncdf", "resname WAT and resid 40")
    yield case(old, "bala.prmtop", "bala.ncdf", side.format("GLU"))
    yield case(old, "capped-ala.prmtop", "capped-ala.mdcrd.bz2", "resname ACE ALA NME")
    yield case(new, "anti.top", "anti_md1.mdcrd.bz2", "name Na+ and resid 13")
    yield case(new, "posfor.top", "posfor.ncdf", side.format("TYR"), *at.alone)
    cys = f"resname CYS {SIDE_CHAIN} and same resid as (index 50:100)"
    yield Case(new, data / "posfor.top", data / "posfor.ncdf", cys, at.alone, refused="is near no|")
    yield case(new, "cpptraj_traj.prmtop", "cpptraj_traj.nc", side.format("TRP"), *at.alone)
    yield case(new, "parmed_ala2_solv.parm7", "parmed_ala2_solv.rst7", "resid 100 and resname WAT")
    yield case(new, "tz2.truncoct.parm7.bz2", "tz2.truncoct.nc", "resname TRP and resid 2 "
               "and not backbone and not name H HA")  # fmt: skip
    for name, options in (("ace_tip3p", 0), ("ace_mbondi3", 1)):  # an acetyl group, alone
        yield Case(new, data / f"{name}.parm7", data / f"{name}.nc", "resname ACE",
                   at.alone * options, "ACE 1 C is carbon with 2 neighbours only")  # fmt: skip
    yield case(new, "ace_tip3p.parm7", "ace_tip3p.nc", "resname WAT and resid 50")
    for top, trajectory, kind, selection, options in (
        ("dpdp/DPDP.parm7", "dpdp/DPDP.nc", new, "resid 4 and not backbone and not name H HA", 1),
        ("tz2/tz2.ortho.parm7", "tz2/tz2.ortho.nc", new, side.format("GLU"), 0),
        ("tz2/tz2.parm7", "tz2/tz2.nc", new, side.format("ASN"), 1),
    ):
        yield Case(kind, examples / top, examples / trajectory, selection, at.alone * options)
    gas, solvated = (at.parmed / f"examples/amber/{name}" for name in ("ala5_gas", "ala2_solv"))
    for stem, selection, options in ((gas, "all", 1), (solvated, "protein", 0)):
        yield Case(new, Path(f"{stem}.parm7"), Path(f"{stem}.rst7"), selection, at.alone * options)
    for number in (1, 2, 3, 4):
        damaged = f"ace_mbondi3.error{number}.parm7"
        yield Case("prmtop, damaged", data / damaged, data / "ace_mbondi3.nc", "all", at.alone,
                   "ParmEd cannot read|was read as")  # fmt: skip


def charmm(at: Folders) -> Iterator[Case]:
    """Of CHARMM, NAMD and psfgen."""
    data, examples = at.mdanalysis, at.parmed / "examples/charmm"
    side = f"resname {{}} and resid {{}} {SIDE_CHAIN}"
    for kind, top, trajectory, selection, options, refused in (
        ("psf, CHARMM", "adk.psf", "adk_dims.dcd", side.format("MET", 21), 1, ""),
        ("psf, CHARMM", "adk.psf", "adk_dims.dcd", side.format("HSD", 126), 1, ""),
        ("psf, NAMD", "adk_closed_NAMD.psf", "adk_gbis_tmd-fast1_NAMD.dcd",
         side.format("ASP", 84), 1, ""),
        ("psf, CGenFF", "namd_cgenff.psf", "namd_cgenff.pdb", side.format("LYS", 10), 1, ""),
        ("psf, NAMD, triclinic", "SiN_tric_namd.psf", "SiN_tric_namd.dcd", "resname POT and resid "
         "1", 0, ""),
        ("psf, NAMD, triclinic", "SiN_tric_namd.psf", "SiN_tric_namd.dcd",
         "resname TIP3 and resid 21", 0, ""),
        ("psf, CHARMM, triclinic", "tip125_tric_C36.psf", "tip125_tric_C36.dcd", "resid 20", 0, ""),
        ("psf, CHARMM", "watdyn.psf", "watdyn.dcd", "resid 5", 0, ""),
        ("psf without bonds", "adk_notop.psf", "adk_dims.dcd", "resid 21", 1, "has no bonds"),
        ("psf without hydrogens", "2r9r-1b.psf", "2r9r-1b.xyz", side.format("VAL", "1:400"), 1,
         "lacks hydrogens"),
        ("psf without masses", "trz_psf.psf", "trz_psf.psf", "index 0", 1, "cannot read"),
        ("psf without segments", "nosegid.psf", "adk_dims.dcd", "index 0", 1, "ParmEd cannot read"),
        ("psf, damaged", "adk_notop_BAD.psf", "adk_dims.dcd", "index 0", 1, "ParmEd cannot read"),
    ):  # fmt: skip
        yield Case(kind, data / top, data / trajectory, selection, at.alone * options, refused)
    gui, auto = examples / "ala2_charmmgui", examples / "ala5_autopsf"
    yield Case("psf, CHARMM-GUI", Path(f"{gui}.psf"), Path(f"{gui}.crd"), "segid PROA", at.alone)
    yield Case("psf, CHARMM-GUI", Path(f"{gui}.psf"), Path(f"{gui}.crd"), "name CLA and resid 1",
               at.alone)  # fmt: skip
    yield Case("psf, psfgen", Path(f"{auto}.psf"), Path(f"{auto}.pdb"), "all", at.alone)


def gromacs(at: Folders) -> Iterator[Case]:
    """Tops as they are, and one made of an AMBER topology with and without atomic numbers."""
    data, examples = at.mdanalysis, at.parmed / "examples/gromacs"
    for name in ("dhfr_gas", "dhfr_pme"):
        yield Case("top that lacks includes", examples / f"{name}.top", examples / f"{name}.gro",
                   "resid 5", refused=INCLUDES)  # fmt: skip
    gro = data / "adk_oplsaa.gro"
    yield Case("top that lacks includes", data / "bad_top.top", gro, "all", refused=INCLUDES)
    yield _united_atoms(at)
    kind = "top, virtual sites of other kinds"
    dummy = data / "tprs/virtual_sites/dummy_2021.top"
    yield Case(kind, dummy, gro, "all", refused="ParmEd cannot read .* run input")
    top, coordinates = _ala2_top(at)
    plain = at.scratch / "ala2_masses.top"
    plain.write_text(_without_numbers(top.read_text()))
    for path, word in ((top, "with"), (plain, "without")):
        for selection in ("protein", "resname SOL WAT and resid 100"):
            yield Case(f"top {word} atomic numbers", path, coordinates, selection, original=top)


def run_inputs(at: Folders) -> Iterator[Case]:
    """Of GROMACS 3.3 to 2026; most hold their own coordinates."""
    data, many = at.mdanalysis, at.mdanalysis / "tprs"

    def own(name: str, selection: str, refused: str = "", *options: str) -> Case:
        path = many / name
        return Case("tpr", path, path, selection, options, refused)

    met = "resid 105 and name CB HB* CG HG* SD CE HE*"
    yield Case("tpr", data / "adk_oplsaa.tpr", data / "adk_oplsaa.xtc", "resname SOL and resid 300")
    yield Case("tpr", data / "adk_oplsaa.tpr", data / "adk_oplsaa.xtc", "resid 11299")
    yield Case("tpr", data / "cobrotoxin.tpr", data / "cobrotoxin.trr", "resname CL and resid 4683")
    yield Case("tpr", data / "aux_edr.tpr", data / "aux_edr.xtc", met)
    for version in ("4.0.7", "4.5.5", "5.0.5", "5.1", "2016", "2018", "2020", "2021_double", "2023",
                    "2024_4", "2025_0", "2026_0"):  # fmt: skip
        yield own(f"2lyz_gmx_{version}.tpr", met)
    yield own("ab42_gmx_4.6.tpr", "resname MET and name CB HB* CG HG* SD CE HE*")
    yield own("ala_nnpot_gmx_2026_0.tpr", "all", "", *at.alone)
    yield own("Linear_Angle.tpr", "all", "", *at.alone)
    yield own("all_bonded/dummy_2026_0.tpr", "index 0", "not certain: its mass of 72 u fits no")
    yield own("virtual_sites/extra-interactions-2026_0.tpr", "index 0", "is polarisable")
    yield own("all_bonded/dummy_3.3.4.tpr", "index 0", "MDAnalysis cannot read .* version is 40")
    yield own("2lyz_gmx_2020-beta2.tpr", "index 0", "MDAnalysis cannot read")


def repartitioned(at: Folders) -> Iterator[Case]:
    """Hydrogens of 1.5, 3.024 and 4 u in prmtop, psf and top."""
    sources = (
        (at.parmed / "examples/amber/ala2_solv.parm7", "ala2_solv.rst7", "protein"),
        (at.mdanalysis / "Amber/ache.prmtop", at.mdanalysis / "Amber/ache.mdcrd",
         f"resname MET {SIDE_CHAIN}"),
        (at.mdanalysis / "namd_cgenff.psf", at.mdanalysis / "namd_cgenff.pdb", "resid 10 and "
         f"resname LYS {SIDE_CHAIN}"),
        (at.parmed / "examples/charmm/ala5_autopsf.psf", "ala5_autopsf.pdb", "all"),
    )  # fmt: skip
    for source, trajectory, selection in sources:
        for hydrogen in (1.5, 3.024, 4.0):
            path = at.scratch / f"{source.stem}_{hydrogen:g}{source.suffix}"
            _save(_heavier_hydrogens(source, hydrogen), path)
            options = () if "solv" in source.stem else at.alone
            kind = f"{'psf' if source.suffix == '.psf' else 'prmtop'}, repartitioned"
            yield Case(kind, path, source.parent / trajectory, selection, options, original=source)
    yield from _chamber(at)
    top, coordinates = _ala2_top(at)
    source = at.parmed / "examples/amber/ala2_solv.parm7"
    path = at.scratch / "ala2_heavier.top"
    _save(_heavier_hydrogens(source, 3.024, waters=False), path)
    path.write_text(_without_numbers(path.read_text()))
    kind = "top, repartitioned, without atomic numbers"
    yield Case(kind, path, coordinates, "protein", original=top)


def _chamber(at: Folders) -> Iterator[Case]:
    """CHARMM's force field in an AMBER topology, as ParmEd writes it."""
    import parmed

    examples = at.parmed / "examples/charmm"
    psf, pdb = examples / "ala5_autopsf.psf", examples / "ala5_autopsf.pdb"
    parameters = parmed.charmm.CharmmParameterSet(str(examples / "toppar/par_all36_prot.prm"))
    for hydrogen in (1.008, 3.024):
        structure, path = (
            _heavier_hydrogens(psf, hydrogen),
            at.scratch / f"chamber_{hydrogen}.parm7",
        )
        structure.coordinates = parmed.load_file(str(pdb)).coordinates
        structure.load_parameters(parameters)
        _save(parmed.amber.ChamberParm.from_structure(structure), path)
        yield Case("prmtop, chamber", path, pdb, "all", at.alone, original=psf)


def openmm_systems(at: Folders) -> Iterator[Case]:
    """A PDB beside Systems of OpenMM's force fields, with and without element columns."""
    for name, files, heavier in (
        ("amber14", ("amber14-all.xml", "amber14/tip3p.xml"), None),
        ("amber14, repartitioned", ("amber14-all.xml", "amber14/tip3p.xml"), 4.0),
        ("charmm36", ("charmm36.xml", "charmm36/water.xml"), None),
        ("charmm36, repartitioned", ("charmm36.xml", "charmm36/water.xml"), 3.0),
        ("amber19, OPC", ("amber19-all.xml", "amber19/opc.xml"), 1.5),
    ):
        pdb, system = _openmm(at, name, files, heavier)
        bare = pdb.with_name(f"bare_{pdb.name}")
        lines = [line[:76] for line in pdb.read_text().splitlines()]
        bare.write_text("\n".join(lines) + "\n")
        for path, words in ((pdb, ""), (bare, " without elements")):
            for selection in (f"resname TRP and resid 6 {SIDE_CHAIN}", _first(pdb, "CL")):
                yield Case(f"PDB{words} and System, {name}", path, pdb, selection, system=system,
                           original=pdb)  # fmt: skip


def _openmm(at: Folders, name: str, files: tuple[str, ...], heavier: float | None) -> Any:
    """The Trp-cage of pytraj in a box of water with two ions."""
    import openmm
    from openmm import app, unit

    stem = re.sub(r"\W+", "_", name)
    pdb, system = at.scratch / f"{stem}.pdb", at.scratch / f"{stem}.xml"
    whole = at.scratch / "trpcage.pdb"
    if not whole.is_file():
        with gzip.open(at.pytraj / "pytraj/datafiles/trpcage/trpcage.pdb.gz", "rb") as packed:
            model = packed.read().decode().partition("ENDMDL")[0]
        whole.write_text(model + "END\n")
    field = app.ForceField(*files)
    modeller = app.Modeller(app.PDBFile(str(whole)).topology, app.PDBFile(str(whole)).positions)
    modeller.delete([atom for atom in modeller.topology.atoms() if atom.element.symbol == "H"])
    modeller.addHydrogens(field)
    water = "tip4pew" if "OPC" in name else "tip3p"
    size = openmm.Vec3(3.2, 3.2, 3.2) * unit.nanometer
    modeller.addSolvent(field, model=water, boxSize=size, ionicStrength=0.1 * unit.molar)
    made = field.createSystem(
        modeller.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9 * unit.nanometer,
        constraints=app.HBonds,
        hydrogenMass=None if heavier is None else heavier * unit.dalton,
    )
    system.write_text(openmm.XmlSerializer.serialize(made))
    with pdb.open("w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    return pdb, system


def _first(pdb: Path, name: str) -> str:
    """Selection of the first residue of a name."""
    lines = pdb.read_text().splitlines()
    number = next(line[22:26] for line in lines if line[17:20].strip() == name)
    return f"resname {name} and resid {int(number)}"


def _heavier_hydrogens(source: Path, hydrogen: float, waters: bool = True) -> Any:
    """ParmEd's structure with mass moved to hydrogens from the atoms they are bonded to."""
    import parmed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = parmed.load_file(str(source))
    for bond in structure.bonds:
        light, heavy = sorted((bond.atom1, bond.atom2), key=lambda atom: atom.atomic_number)
        if light.atomic_number != 1 or heavy.atomic_number == 1:
            continue
        if waters or heavy.residue.name not in ("WAT", "SOL", "TIP3"):
            heavy.mass -= hydrogen - light.mass
            light.mass = hydrogen
    return structure


def _save(structure: Any, path: Path) -> None:
    path.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure.save(str(path), **({"format": "psf"} if path.suffix == ".psf" else {}))


def _ala2_top(at: Folders) -> tuple[Path, Path]:
    import parmed

    stem = at.parmed / "examples/amber/ala2_solv"
    top, coordinates = at.scratch / "ala2.top", at.scratch / "ala2.rst7"
    if not top.is_file():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = parmed.load_file(f"{stem}.parm7", f"{stem}.rst7")
        _save(structure, top)
        shutil.copy(f"{stem}.rst7", coordinates)
    return top, coordinates


def _united_atoms(at: Folders) -> Case:
    """Decaalanine of GROMOS beside its force field, at places that do not matter."""
    import parmed

    folder = at.scratch / "united"
    shutil.copytree(at.mdanalysis / "gromacs", folder)
    for name in ("gromacs_ala10.top", "gromacs_ala10.itp"):
        shutil.copy(at.mdanalysis / name, folder)
    top, places = folder / "gromacs_ala10.top", folder / "places.xyz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        n = len(parmed.gromacs.GromacsTopologyFile(str(top), parametrize=False).atoms)
    lines = [f"C {3.0 * i} 0.0 0.0" for i in range(n)]
    places.write_text("\n".join([str(n), "", *lines]) + "\n")
    return Case("top of united atoms", top, places, "resname ALA and name CB", at.alone,
                "united atom CH3")  # fmt: skip


def _without_numbers(text: str) -> str:
    """A top whose atom types have the optional atomic number left out."""
    head, section, rest = text.partition("[ atomtypes ]")
    types, separator, rest = rest.partition("\n[ ")
    types = re.sub(r"^(\S+\s+)\d+(\s+[\d.]+\s+\S+\s+A)", r"\1 \2", types, flags=re.MULTILINE)
    return head + section + types + separator + rest
