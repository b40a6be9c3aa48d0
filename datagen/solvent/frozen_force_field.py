"""A force field for a frozen solute: Lennard-Jones spheres, no bonded terms.

Where GAFF2 has no types, as on a reaction path or for a metal, the solute cannot move by a force
field; but solvent can relax around it. That takes a charge and a sphere an atom. Organic elements
get GAFF2's sphere of their commonest type. The others get the van der Waals radius of Alvarez and
a depth of 0.05 kcal/mol, which is in the middle of what UFF gives to metals.

A halogen that leaves as an ion grows on the way: GAFF2's chlorine of charge −1 would pull the
hydrogens of water to 1.85 Å, the ion keeps them at 2.2 Å. Its sphere goes from GAFF2's to that of
the ion as its charge goes from 0 to −1.

Sources: GAFF2 as in AmberTools; Joung and Cheatham, J. Phys. Chem. B 112, 9020 (2008), TIP3P;
S. Alvarez, Dalton Trans. 42, 8617 (2013); Rappé et al., J. Am. Chem. Soc. 114, 10024 (1992).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from ase.data.vdw_alvarez import vdw_radii
from numpy.typing import NDArray

from datagen.solvent.force_field import SOLUTE_RESIDUE, ForceField


@dataclass(frozen=True)
class Sphere:
    """A Lennard-Jones sphere in AMBER's words."""

    radius: float
    """Half the distance of the minimum, Å."""

    depth: float
    """kcal/mol."""

    @property
    def sigma(self) -> float:
        """Where the energy of two of them is zero, Å."""
        return self.radius * 2.0 ** (5.0 / 6.0)


_GAFF2 = {  # h1, c3, n3, oh, f …
    "H": Sphere(1.3593, 0.0208),
    "C": Sphere(1.9069, 0.1078),
    "N": Sphere(1.8886, 0.0858),
    "O": Sphere(1.8200, 0.0930),
    "F": Sphere(1.7029, 0.0832),
    "P": Sphere(2.0732, 0.2295),
    "S": Sphere(1.9825, 0.2824),
    "Cl": Sphere(1.9452, 0.2638),
    "Br": Sphere(2.0275, 0.3932),
    "I": Sphere(2.1558, 0.4955),
}
_ANIONS = {
    "F": Sphere(2.303, 0.0033640),
    "Cl": Sphere(2.513, 0.0355910),
    "Br": Sphere(2.608, 0.0586554),
    "I": Sphere(2.860, 0.0536816),
}
_OTHER_DEPTH = 0.05
_DEFAULT_RADIUS = 2.0  # Å, for the few elements without a published radius


def frozen_force_field(
    atomic_numbers: NDArray[np.integer],
    positions: NDArray[np.floating],
    charges: NDArray[np.floating],
) -> ForceField:
    """What tleap needs to surround the solute with solvent.

    Parameters
    ----------
    atomic_numbers : (n,)
    positions : (n, 3)
        Å.
    charges : (n,)
        e.
    """
    symbols = [chemical_symbols[z] for z in atomic_numbers]
    kinds = {symbol: f"X{index}" for index, symbol in enumerate(sorted(set(symbols)))}
    atoms = [
        f"{i + 1:4d} {symbol}{i + 1} {x:.6f} {y:.6f} {z:.6f} {kinds[symbol]} 1 "
        f"{SOLUTE_RESIDUE} {charge:.6f}"
        for i, (symbol, (x, y, z), charge) in enumerate(
            zip(symbols, positions, charges, strict=True)
        )
    ]
    mol2 = "\n".join(
        [
            "@<TRIPOS>MOLECULE",
            SOLUTE_RESIDUE,
            f"{len(atoms)} 0 1 0 0",
            "SMALL",
            "USER_CHARGES",
            "@<TRIPOS>ATOM",
            *atoms,
            "@<TRIPOS>BOND",
            "@<TRIPOS>SUBSTRUCTURE",
            f"1 {SOLUTE_RESIDUE} 1 TEMP 0 **** **** 0 ROOT",
            "",
        ]
    )
    masses = [
        f"{kind} {atomic_masses[chemical_symbols.index(symbol)]:.3f}"
        for symbol, kind in kinds.items()
    ]
    spheres = [
        f"  {kind} {neutral.radius:.4f} {neutral.depth:.4f}"
        for symbol, kind in kinds.items()
        for neutral in [element_sphere(symbol)]
    ]
    sections = ["held solute", "MASS", *masses, "", "BOND", "", "ANGLE", "", "DIHE", "", "IMPROPER"]
    return ForceField(mol2, "\n".join([*sections, "", "NONBON", *spheres, "", ""]))


def element_sphere(symbol: str) -> Sphere:
    """The sphere of an element, whatever its charge."""
    if symbol in _GAFF2:
        return _GAFF2[symbol]
    radius = float(vdw_radii[chemical_symbols.index(symbol)])
    return Sphere(radius if np.isfinite(radius) else _DEFAULT_RADIUS, _OTHER_DEPTH)


def charged_sphere(symbol: str, charge: float) -> Sphere:
    """The sphere of an element with a charge in e: halogens grow into their ions."""
    neutral = element_sphere(symbol)
    ion = _ANIONS.get(symbol, neutral)
    share = float(np.clip(-charge, 0.0, 1.0))
    return Sphere(
        neutral.radius + share * (ion.radius - neutral.radius),
        neutral.depth + share * (ion.depth - neutral.depth),
    )
