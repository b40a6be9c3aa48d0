"""What a box can be filled with: solvents by name, their mixtures, and salt.

Some solvents come as AmberTools' pre-equilibrated boxes with models of their own; the others, and
all mixtures, are packed from single molecules with GAFF2 parameters (water stays TIP3P).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

_SALTS = {"NaCl": ("Na+", "Cl-"), "KCl": ("K+", "Cl-"), "LiCl": ("Li+", "Cl-")}
_SALTS |= {"NaBr": ("Na+", "Br-"), "KBr": ("K+", "Br-"), "CsCl": ("Cs+", "Cl-")}
_MOST_CONCENTRATED = 5.0  # mol/L
_ANGSTROM3_PER_CM3_MOL = 1e24 / 6.02214076e23
_PER_ANGSTROM3 = 6.02214076e-4  # of 1 mol/L


class SolventError(ValueError):
    """There is no such solvent or salt; the message names those that there are."""


@dataclass(frozen=True)
class Solvent:
    """A solvent in the words of AmberTools, and what is needed to foresee the size of its box."""

    name: str
    smiles: str
    density: float
    """g/cm³ of the model at 300 K and 1 bar."""

    molar_mass: float
    """g/mol."""

    extent: float
    """Largest distance of an atom from the molecule's centroid, Å."""

    is_rigid: bool = False
    """Whether all internal distances are constrained, which allows a longer time step."""

    leap_setup: tuple[str, ...] = ()
    leap_box: str | None = None
    """tleap's pre-equilibrated box; None where there is none."""

    @property
    def molecular_volume(self) -> float:
        """Å³ a molecule."""
        return self.molar_mass / self.density * _ANGSTROM3_PER_CM3_MOL


_SOLVENTS = {
    solvent.name: solvent
    for solvent in (
        Solvent(
            name="water",
            smiles="O",
            density=0.98,
            molar_mass=18.015,
            extent=0.83,
            is_rigid=True,
            leap_setup=("source leaprc.water.tip3p",),
            leap_box="TIP3PBOX",
        ),
        Solvent(
            name="water-opc",
            smiles="O",
            density=1.0,
            molar_mass=18.015,
            extent=0.83,
            is_rigid=True,
            leap_setup=("source leaprc.water.opc",),
            leap_box="OPCBOX",
        ),
        Solvent(
            name="methanol",
            smiles="CO",
            density=0.77,
            molar_mass=32.042,
            extent=1.65,
            # The box's own types; their torsion HO-OH-CT-H1 is in the parent force field only.
            leap_setup=(
                "loadAmberParams parm10.dat",
                "loadOff solvents.lib",
                "loadAmberParams frcmod.meoh",
            ),
            leap_box="MEOHBOX",
        ),
        Solvent(
            name="chloroform",
            smiles="ClC(Cl)Cl",
            density=1.45,
            molar_mass=119.38,
            extent=1.8,
            leap_setup=("loadOff solvents.lib", "loadAmberParams frcmod.chcl3"),
            leap_box="CHCL3BOX",
        ),
        Solvent("acetonitrile", "CC#N", density=0.76, molar_mass=41.053, extent=2.2),
        Solvent("dmso", "CS(C)=O", density=1.09, molar_mass=78.13, extent=2.4),
        Solvent("ethanol", "CCO", density=0.79, molar_mass=46.069, extent=2.2),
        Solvent("acetone", "CC(C)=O", density=0.79, molar_mass=58.08, extent=2.2),
    )
}


@dataclass(frozen=True)
class Salt:
    """Ions beside the solvent."""

    name: str
    cation: str
    anion: str
    concentration: float
    """mol/L of the box."""

    def counts(self, volume: float, solute_charge: int) -> tuple[int, int]:
        """Cations and anions in a volume in Å³; their charge balances that of the solute."""
        pairs = round(self.concentration * volume * _PER_ANGSTROM3)
        return pairs + max(-solute_charge, 0), pairs + max(solute_charge, 0)


@dataclass(frozen=True)
class Medium:
    """What surrounds the solute: solvents with their mole fractions, and perhaps a salt."""

    components: tuple[tuple[Solvent, float], ...]
    salt: Salt | None = None

    @property
    def name(self) -> str:
        """Label of the surroundings, such as ``water`` or ``water:0.7,methanol:0.3+NaCl``."""
        solvents = [solvent.name for solvent, _ in self.components]
        if len(solvents) > 1:
            solvents = [f"{solvent.name}:{share:g}" for solvent, share in self.components]
        return ",".join(solvents) + (f"+{self.salt.name}" if self.salt else "")

    @property
    def is_packed(self) -> bool:
        """Whether the box is packed from molecules, rather than taken from AmberTools."""
        return len(self.components) > 1 or self.components[0][0].leap_box is None

    @property
    def is_rigid(self) -> bool:
        """Whether nothing in it vibrates."""
        return all(solvent.is_rigid for solvent, _ in self.components)

    @property
    def extent(self) -> float:
        """Of its largest molecule, Å."""
        return max(solvent.extent for solvent, _ in self.components)

    @property
    def molecular_volume(self) -> float:
        """Mean volume a molecule, Å³, as if mixing changed no volume."""
        return sum(share * solvent.molecular_volume for solvent, share in self.components)


def solvent_names() -> tuple[str, ...]:
    """Names that `find_solvent` knows."""
    return tuple(_SOLVENTS)


def find_solvent(name: str) -> Solvent:
    """Look a solvent up by name.

    Raises
    ------
    SolventError
        Naming the known solvents and the nearest of them.
    """
    if name in _SOLVENTS:
        return _SOLVENTS[name]
    near = difflib.get_close_matches(name, _SOLVENTS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise SolventError(f"there is no solvent {name!r}{hint}; known are {', '.join(_SOLVENTS)}")


def find_medium(solvent: str, salt: str = "") -> Medium:
    """Read what the user wants around the solute.

    Parameters
    ----------
    solvent
        A name, or a mixture by mole fractions: ``water:0.7,methanol:0.3``.
    salt
        ``NaCl:0.15`` for 0.15 mol/L; empty for none.

    Raises
    ------
    SolventError
        When a name is unknown or fractions do not add up to 1.
    """
    names, shares = [], []
    for part in solvent.split(","):
        name, _, share = part.strip().partition(":")
        names.append(name)
        shares.append(_number(share, f"the share of {name}") if share else None)
    known = [share for share in shares if share is not None]
    if len(names) == 1 and not known:
        known = [1.0]
    if len(known) < len(names) or abs(sum(known) - 1.0) > 1e-6 or min(known) <= 0.0:
        raise SolventError(
            f"the mixture {solvent!r} needs positive mole fractions that add up to 1, such as "
            "'water:0.7,methanol:0.3'"
        )
    if len(set(names)) < len(names):
        raise SolventError(f"the mixture {solvent!r} names a solvent twice")
    components = tuple((find_solvent(n), s) for n, s in zip(names, known, strict=True))
    if len(components) > 1 and "water-opc" in names:
        raise SolventError("mixtures are made with TIP3P: say 'water' instead of 'water-opc'")
    return Medium(components, _find_salt(salt) if salt else None)


def _find_salt(text: str) -> Salt:
    found = re.fullmatch(r"(\w+):(\S+)", text)
    if not found or found[1] not in _SALTS:
        raise SolventError(
            f"{text!r} is no salt; expected one of {', '.join(_SALTS)} with its concentration in "
            "mol/L, such as 'NaCl:0.15'"
        )
    concentration = _number(found[2], "the concentration")
    if not 0.0 < concentration <= _MOST_CONCENTRATED:
        raise SolventError(
            f"the concentration is {concentration:g} mol/L; expected more than 0 and at most "
            f"{_MOST_CONCENTRATED:g}"
        )
    return Salt(found[1], *_SALTS[found[1]], concentration)


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SolventError(f"{what} is {text!r}; expected a number") from error
