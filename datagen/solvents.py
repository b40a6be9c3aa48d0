"""The solvents that a box can be filled with: AmberTools' pre-equilibrated boxes by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


class SolventError(ValueError):
    """There is no such solvent; the message names those that there are."""


@dataclass(frozen=True)
class Solvent:
    """A solvent in the words of tleap, and what is needed to foresee the size of its box."""

    name: str
    leap_setup: tuple[str, ...]
    leap_box: str
    density: float
    """g/cm³ of the model at 300 K and 1 bar."""

    molar_mass: float
    """g/mol."""

    extent: float
    """Largest distance of an atom from the molecule's centroid, Å."""

    is_rigid: bool = False
    """Whether all internal distances are constrained, which allows a longer time step."""


_SOLVENTS = {
    solvent.name: solvent
    for solvent in (
        Solvent(
            name="water",
            leap_setup=("source leaprc.water.tip3p",),
            leap_box="TIP3PBOX",
            density=0.98,
            molar_mass=18.015,
            extent=0.83,
            is_rigid=True,
        ),
        Solvent(
            name="methanol",
            # The box's own types; their torsion HO-OH-CT-H1 is in the parent force field only.
            leap_setup=(
                "loadAmberParams parm10.dat",
                "loadOff solvents.lib",
                "loadAmberParams frcmod.meoh",
            ),
            leap_box="MEOHBOX",
            density=0.77,
            molar_mass=32.042,
            extent=1.5,
        ),
    )
}


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
