"""Force-field parameters of a molecule, made by AmberTools as subprocesses.

antechamber assigns GAFF2 types and AM1-BCC charges, parmchk2 fills in missing terms.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from datagen.molecules.molecule_input import FORCE_FIELD_ELEMENTS
from datagen.molecules.solute import Solute
from datagen.solvent.external_programs import ParameterError, run_program
from datagen.solvent.sqm import FIXED, changed_bonds

SOLUTE_RESIDUE = "LIG"

_MAX_CHARGE_DRIFT = 0.05


@dataclass(frozen=True)
class ForceField:
    """What tleap needs to know about the solute, as file contents."""

    mol2: str
    frcmod: str
    notes: tuple[str, ...] = ()
    """What the user should know of how they were made, a sentence each."""


def parameterise(solute: Solute) -> ForceField:
    """GAFF2 types and terms, and AM1-BCC charges that sum exactly to the total charge.

    Raises
    ------
    ParameterError
        When GAFF2 does not cover the molecule, or a program is missing or fails.

    Source: Wang et al., J. Comput. Chem. 25, 1157 (2004); Jakalian et al., ibid. 23, 1623 (2002).
    """
    reason = why_not_covered(solute)
    if reason:
        raise ParameterError(reason)
    # The programs write a dozen files with fixed names into the working directory.
    with tempfile.TemporaryDirectory(prefix="eqmm-antechamber-") as name:
        folder = Path(name)
        (folder / "solute.mol").write_text(solute.mol_block)
        notes = _charge(solute, folder)
        mol2 = _with_exact_charge((folder / "solute.mol2").read_text(), solute.total_charge)
        (folder / "solute.mol2").write_text(mol2)
        options = ["-i", "solute.mol2", "-f", "mol2", "-o", "solute.frcmod", "-s", "gaff2"]
        run_program("parmchk2", options, folder, makes="solute.frcmod")
        return ForceField(mol2, (folder / "solute.frcmod").read_text(), notes)


def _charge(solute: Solute, folder: Path) -> tuple[str, ...]:
    """Make ``solute.mol2``, at the given geometry where AM1's optimisation changes bonds."""
    options = ["-i", "solute.mol", "-fi", "mdl", "-o", "solute.mol2", "-fo", "mol2"]
    options += ["-at", "gaff2", "-c", "bcc", "-rn", SOLUTE_RESIDUE, "-nc", str(solute.total_charge)]
    options += ["-pf", "y", "-dr", "no"]
    try:
        run_program("antechamber", options, folder, makes="solute.mol2", log="sqm.out")
    except ParameterError as error:
        if not (folder / "sqm.out").is_file():
            raise
        reason = f"AM1's optimisation in vacuum failed ({error})"
    else:
        changed = changed_bonds(solute, folder)
        if changed is None:
            return ()
        (folder / "solute.mol2").unlink()
        reason = f"AM1's optimisation in vacuum {changed}"
    run_program("antechamber", [*options, "-ek", FIXED], folder, makes="solute.mol2", log="sqm.out")
    return (f"{reason}: the AM1-BCC charges of {solute.name} are those of the given geometry",)


def why_not_covered(solute: Solute) -> str | None:
    """One sentence on why GAFF2 and AM1-BCC cannot describe the molecule; None where they can."""
    strange = sorted(set(solute.symbols) - FORCE_FIELD_ELEMENTS)
    if strange:
        return (
            f"GAFF2 has no parameters for {', '.join(strange)} in {solute.name!r}; it covers "
            f"{', '.join(sorted(FORCE_FIELD_ELEMENTS))}"
        )
    if solute.spin_multiplicity > 1:
        return (
            f"{solute.name!r} has a spin multiplicity of {solute.spin_multiplicity}; "
            "AM1-BCC covers closed shells"
        )
    if len(solute.atomic_numbers) == 1:
        return f"{solute.name!r} is a single atom; AM1-BCC covers molecules"
    return solute.without_orders


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
