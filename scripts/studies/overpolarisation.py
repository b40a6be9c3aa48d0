"""How far a point charge polarises molecules beyond linear response: the limits of the warnings.

At each distance d from a lone pair the energy is computed without the charge, with ±0.1 e, and with
the charge; X is what the charge adds beyond the first and second order of the small ones. The
figures in `datagen.labels.overpolarisation` were made by

    python -m scripts.studies.overpolarisation --basis def2-tzvpd --charges 0.417 1 2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase.build import molecule

from datagen.labels.accelerated.accelerated_pyscf import ACCELERATED
from datagen.labels.method import Method
from datagen.labels.molecule import build_molecule
from datagen.labels.scf import converge
from eqmm_ase.data.frame import Frame
from eqmm_ase.terminal import say, screen
from eqmm_ase.units import HARTREE, KCAL_PER_MOL
from scripts.common import argument_parser

SMALL = 0.1  # e, of the charges that give the linear response

Donor = tuple[Frame, int, np.ndarray]
"""A molecule, the atom that the charge comes near to, and the direction from which it comes."""


def _ion(number: int) -> Donor:
    ion = Frame(np.array([number]), np.zeros((1, 3)), total_charge=-1)
    return ion, 0, np.array([0.0, 0.0, 1.0])


def _hydroxide() -> Donor:
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, -0.97]])
    return Frame(np.array([8, 1]), positions, total_charge=-1), 0, np.array([0.0, 0.0, 1.0])


def _formate() -> Donor:
    acid = molecule("HCOOH")
    oxygens = acid.positions[acid.numbers == 8]
    near = [np.linalg.norm(oxygens - position, axis=1).min() for position in acid.positions]
    kept = [i for i, z in enumerate(acid.numbers) if z != 1 or near[i] > 1.3]
    ion = Frame(acid.numbers[kept], acid.positions[kept], total_charge=-1)
    oxygen, carbon = (list(ion.atomic_numbers).index(z) for z in (8, 6))
    return ion, oxygen, ion.qm_positions[oxygen] - ion.qm_positions[carbon]


def _away(name: str, element: int) -> Donor:
    """From the side where the other atoms are not."""
    atoms = molecule(name)
    atom = list(atoms.numbers).index(element)
    away = atoms.positions[atom] - np.delete(atoms.positions, atom, axis=0).mean(0)
    return Frame(atoms.numbers, atoms.positions), atom, away


def _ethylene() -> Donor:
    atoms = molecule("C2H4")
    normal = np.cross(*(atoms.positions[1:3] - atoms.positions[0]))
    return Frame(atoms.numbers, atoms.positions), 0, normal


DONORS: Mapping[str, Callable[[], Donor]] = {
    "water": lambda: _away("H2O", 8),
    "ammonia": lambda: _away("NH3", 7),
    "sulfane": lambda: _away("SH2", 16),
    "ethylene": _ethylene,
    "hydroxide": _hydroxide,
    "formate": _formate,
    "chloride": lambda: _ion(17),
}


def energy(frame: Frame, method: Method) -> float:
    """Energy in kcal/mol."""
    field = ACCELERATED.mean_field(build_molecule(frame, method), frame, method)
    solution = converge(ACCELERATED, field)
    return float(solution.mean_field.e_tot) * HARTREE / KCAL_PER_MOL


def excess(donor: Donor, distance: float, charge: float, method: Method) -> float:
    """X in kcal/mol, of a charge in e at a distance in Å."""
    frame, atom, direction = donor
    site = frame.qm_positions[atom] + distance * direction / np.linalg.norm(direction)

    def with_charge(q: float) -> float:
        return energy(replace(frame, mm_positions=site[None], mm_charges=np.array([q])), method)

    alone = energy(frame, method)
    plus, minus = with_charge(SMALL), with_charge(-SMALL)
    first = (plus - minus) / (2 * SMALL)
    second = (plus + minus - 2 * alone) / (2 * SMALL**2)
    return with_charge(charge) - alone - first * charge - second * charge**2


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each donor and charge."""
    parser = argument_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DONORS)}")
    parser.add_argument("--basis", default="def2-tzvpd")
    parser.add_argument("--charges", type=float, nargs="+", default=[0.417, 1.0], help="e")
    parser.add_argument("--distances", type=float, nargs="+", default=[1.8, 2.2, 2.6, 3.0])
    options = parser.parse_args(arguments)
    method, console = Method(basis=options.basis, grid_level=2), screen()
    say(console, f"{'d / Å':>20}" + "".join(f"{d:8.2f}" for d in options.distances))
    for name in options.names or DONORS:
        for charge in options.charges:
            values = [excess(DONORS[name](), d, charge, method) for d in options.distances]
            say(console, f"{name:10}{charge:+8.3f} e" + "".join(f"{x:8.2f}" for x in values))


if __name__ == "__main__":
    main()
