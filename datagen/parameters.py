"""Force-field parameters of the solute and a solvated box, made by AmberTools as subprocesses.

antechamber assigns GAFF2 types and AM1-BCC charges, parmchk2 fills in missing terms, tleap puts
the solute into a truncated octahedron of solvent (23 % fewer atoms than a cube of equal repeat).
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datagen.solute import Solute
from datagen.solvents import Solvent

SOLUTE_RESIDUE = "LIG"

_GAFF_ELEMENTS = frozenset(["H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"])
_OCTAHEDRON = 4.0 * math.sqrt(3.0) / 9.0  # volume of a truncated octahedron of unit repeat
_ANGSTROM3_PER_CM3_MOL = 1e24 / 6.02214076e23
_MAX_CHARGE_DRIFT = 0.05
_BOX_ATTEMPTS = 20
_GAP = 1.5  # Å by which tleap's boxes are too wide on each side, at most; where the search starts

_COMPLAINT = re.compile(
    r"\b(no|not|cannot|could|unknown|unsupported|error|fatal|odd|few)\b", re.IGNORECASE
)
_NOISE = re.compile(
    r"Exiting LEaP|Error!$|Warning!$|not saved|Cannot properly run|ENOENT|^Info:|^Warning:"
)


class ParameterError(RuntimeError):
    """An external program found no parameters or failed; the message quotes it."""


@dataclass(frozen=True)
class ForceField:
    """What tleap needs to know about the solute, as file contents."""

    mol2: str
    frcmod: str


def parameterise(solute: Solute) -> ForceField:
    """GAFF2 types and terms, and AM1-BCC charges that sum exactly to the total charge.

    Raises
    ------
    ParameterError
        When GAFF2 does not cover the molecule, or a program is missing or fails.

    Source: Wang et al., J. Comput. Chem. 25, 1157 (2004); Jakalian et al., ibid. 23, 1623 (2002).
    """
    strange = sorted(set(solute.symbols) - _GAFF_ELEMENTS)
    if strange:
        raise ParameterError(
            f"GAFF2 has no parameters for {', '.join(strange)} in {solute.name!r}; it covers "
            f"{', '.join(sorted(_GAFF_ELEMENTS))}"
        )
    if (int(solute.atomic_numbers.sum()) - solute.total_charge) % 2:
        raise ParameterError(
            f"{solute.name!r} has an odd number of electrons; GAFF2 and AM1-BCC cover closed shells"
        )
    # The programs write a dozen files with fixed names into the working directory.
    with tempfile.TemporaryDirectory(prefix="eqmm-antechamber-") as name:
        folder = Path(name)
        (folder / "solute.mol").write_text(solute.mol_block)
        options = [
            "-fi",
            "mdl",
            "-fo",
            "mol2",
            "-at",
            "gaff2",
            "-c",
            "bcc",
            "-pf",
            "y",
            "-dr",
            "no",
        ]
        options += ["-i", "solute.mol", "-o", "solute.mol2", "-rn", SOLUTE_RESIDUE]
        options += ["-nc", str(solute.total_charge)]
        _run("antechamber", options, folder, makes="solute.mol2", log="sqm.out")
        mol2 = _with_exact_charge((folder / "solute.mol2").read_text(), solute.total_charge)
        (folder / "solute.mol2").write_text(mol2)
        options = ["-i", "solute.mol2", "-f", "mol2", "-o", "solute.frcmod", "-s", "gaff2"]
        _run("parmchk2", options, folder, makes="solute.frcmod")
        return ForceField(mol2, (folder / "solute.frcmod").read_text())


def solvate(
    force_field: ForceField, solvent: Solvent, repeat: float, extent: float, folder: Path
) -> tuple[Path, Path]:
    """Surround the solute by enough solvent for a box of a given size at the liquid's density.

    tleap leaves gaps at the faces of its boxes, which shrink by 6–15 % in length once pressure
    acts: so molecules are counted, not ångströms.

    Parameters
    ----------
    force_field
        Of the solute.
    solvent
        What to fill the box with.
    repeat
        Shortest lattice vector that the box shall keep at 1 bar, Å.
    extent
        Largest distance of a solute atom from its centroid, Å.
    folder
        Where ``system.prmtop`` and ``system.inpcrd`` are written.

    Returns
    -------
    prmtop, inpcrd
        Paths.

    Raises
    ------
    ParameterError
        When tleap is missing or fails.
    """
    molecule_volume = solvent.molar_mass / solvent.density * _ANGSTROM3_PER_CM3_MOL
    needed = math.ceil(_OCTAHEDRON * repeat**3 / molecule_volume)
    buffer = max(repeat / 2 - extent - _GAP, 2.0)
    for _ in range(_BOX_ATTEMPTS):
        added = _run_tleap(force_field, solvent, buffer, folder)
        if added >= needed:
            return folder / "system.prmtop", folder / "system.inpcrd"
        buffer += 0.5 * repeat * ((needed / max(added, 1)) ** (1 / 3) - 1) + 0.02
    raise ParameterError(
        f"tleap put {added} molecules of {solvent.name} around the solute where {needed} are needed"
    )


def _run_tleap(force_field: ForceField, solvent: Solvent, buffer: float, folder: Path) -> int:
    """Write the box and return the number of solvent molecules in it."""
    script = (
        "source leaprc.gaff2",
        *solvent.leap_setup,
        "loadAmberParams solute.frcmod",
        "solute = loadMol2 solute.mol2",
        f"solvateOct solute {solvent.leap_box} {buffer:.3f} iso",
        "saveAmberParm solute system.prmtop system.inpcrd",
        "quit",
    )
    with tempfile.TemporaryDirectory(prefix="eqmm-tleap-") as name:
        work = Path(name)
        (work / "solute.mol2").write_text(force_field.mol2)
        (work / "solute.frcmod").write_text(force_field.frcmod)
        (work / "leap.in").write_text("\n".join(script) + "\n")
        output = _run("tleap", ["-f", "leap.in"], work, makes="system.prmtop")
        for made in ("system.prmtop", "system.inpcrd"):
            shutil.copy(work / made, folder / made)
    added = re.search(r"Added (\d+) residues", output)
    return int(added.group(1)) if added else 0


def _with_exact_charge(mol2: str, total_charge: int) -> str:
    """The mol2 file with its rounded charges shifted evenly to the integer that they stand for."""
    head, atoms, tail = re.split(r"(?<=@<TRIPOS>ATOM\n)|(?=@<TRIPOS>BOND)", mol2, maxsplit=2)
    rows = [line.rsplit(maxsplit=1) for line in atoms.splitlines() if line.strip()]
    drift = sum(float(charge) for _, charge in rows) - total_charge
    if abs(drift) > _MAX_CHARGE_DRIFT:
        raise ParameterError(
            f"the AM1-BCC charges sum to {total_charge + drift:+.3f} e; expected {total_charge:+d}"
        )
    even = [float(charge) - drift / len(rows) for _, charge in rows]
    shifted = "\n".join(f"{row} {charge:.9f}" for (row, _), charge in zip(rows, even, strict=True))
    return f"{head}{shifted}\n{tail}"


def _run(
    program: str, options: Sequence[str], folder: Path, *, makes: str, log: str | None = None
) -> str:
    """Run a program in ``folder`` and return what it printed; it must leave the file ``makes``."""
    beside = Path(sys.executable).parent / program  # a virtual environment that is not activated
    path = str(beside) if beside.is_file() else shutil.which(program)
    if path is None:
        raise ParameterError(
            f"the program {program} of AmberTools is not installed; pip install 'eqmm[sampling]' "
            "brings it"
        )
    done = subprocess.run(
        [path, *options],
        cwd=folder,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode == 0 and (folder / makes).is_file():
        return done.stdout
    output = done.stdout
    if log and (folder / log).is_file():
        output += (folder / log).read_text(errors="replace")
    raise ParameterError(f"{program} failed: {_complaint(output)}")


def _complaint(output: str) -> str:
    """The first line that says what went wrong, for the later ones follow from it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not _NOISE.search(line)]
    complaints = [line for line in lines if _COMPLAINT.search(line)]
    return complaints[0] if complaints else (lines or ["it printed nothing"])[-1]
