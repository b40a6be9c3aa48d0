"""Cut bonds of a cluster: hydrogen caps on the QM side, altered charges on the classical side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from eqmm_ase.cutting.qm_region import CutBond, SelectedRegion
from eqmm_ase.cutting.redistribution import Redistribution
from eqmm_ase.data.boundary import NO_ATOM, Boundary, CapRule, ChargeSite, LinkAtom, cap_position
from eqmm_ase.data.frame import Frame
from eqmm_ase.topology import Topology

_TO_HYDROGEN = {6: 1.09, 7: 1.01, 8: 0.96, 14: 1.48, 15: 1.42, 16: 1.34}
"""Å, lengths of single bonds X–H in small molecules (CH4, NH3, H2O, SiH4, PH3, H2S)."""

LONGEST_BOND = 3.0
"""Å. Nothing is bonded over more; positions and topology do not fit, or a molecule is torn."""

SHORTEST_BOND = 0.5  # Å


class BoundaryError(ValueError):
    """A bond cannot be cut as asked; the message is one sentence for the user."""


def check_redistribution(
    topology: Topology, bonds: Sequence[CutBond], redistribution: Redistribution
) -> None:
    """Refuse cut bonds whose M1 has no place to leave its charge.

    Raises
    ------
    BoundaryError
        When M1 has no classical neighbour, or one that is an M1 itself.
    """
    hosts = {bond.m1 for bond in bonds}
    for bond in bonds if redistribution.needs_m2 else ():
        name = topology.label(bond.m1)
        if not bond.m2:
            raise BoundaryError(
                f"{name} has no classical neighbour that could take its charge; use the "
                "redistribution 'zero', or select it too"
            )
        for m2 in hosts & set(bond.m2):
            raise BoundaryError(
                f"{name} and {topology.label(m2)} are neighbours and both at cut bonds; move one "
                "of the cuts, or use the redistribution 'zero'"
            )


def cap_length(rule: CapRule, q1_number: int, m1_number: int) -> float:
    """Distance of the cap from Q1 in Å, or for ``scaled`` its ratio to the bond Q1–M1.

    The ratio is that of usual bond lengths: X–H over the sum of the covalent radii of Q1 and M1
    (Cordero et al., Dalton Trans. 2832 (2008), from ASE); 1.09/1.52 = 0.717 for C–C.
    """
    radii = covalent_radii
    to_hydrogen = _TO_HYDROGEN.get(q1_number, float(radii[q1_number] + radii[1]))
    if rule == "fixed":
        return to_hydrogen
    return to_hydrogen / float(radii[q1_number] + radii[m1_number])


def cap_frame(
    frame: Frame,
    topology: Topology,
    region: SelectedRegion,
    rule: CapRule,
    redistribution: Redistribution,
) -> Frame:
    """Cap every cut bond of a frame and alter the charges around it.

    Parameters
    ----------
    frame
        The QM region without caps among all charges, those of M1 included, with the rows of
        the topology that they are.
    topology
        Knows elements and names.
    region
        Its atoms are those of the frame; knows the cut bonds.
    rule
        How far from Q1 the caps are.
    redistribution
        What becomes of the charges of the M1 atoms.

    Returns
    -------
    Frame
        Caps last among the QM atoms; no M1 among the MM sites, added charges last.

    Raises
    ------
    BoundaryError
        When an atom of a cut bond is not among the charges, or the bond is far too long.
    """
    mm_sites, mm_residues = frame.mm_atom_indices, frame.mm_residue_indices
    if mm_sites is None or mm_residues is None:
        raise BoundaryError("the frame does not know which rows of the topology its charges are")
    qm_row = {int(site): row for row, site in enumerate(region.atoms)}
    mm_row = {int(site): row for row, site in enumerate(mm_sites)}
    _check_bonds(frame, topology, region.bonds, qm_row, mm_row)
    kept = np.setdiff1d(np.arange(frame.n_mm), [mm_row[bond.m1] for bond in region.bonds])
    original = frame.mm_charges if frame.mm_charges_original is None else frame.mm_charges_original
    links = [
        LinkAtom(
            cap=frame.n_qm + number,
            qm_atom=qm_row[bond.q1],
            rule=rule,
            length=cap_length(rule, *topology.atomic_numbers[[bond.q1, bond.m1]].tolist()),
            m1_position=tuple(frame.mm_positions[mm_row[bond.m1]].tolist()),
            m1_charge=float(original[mm_row[bond.m1]]),
            m1_atom_index=bond.m1,
            m1_residue_index=int(mm_residues[mm_row[bond.m1]]),
        )
        for number, bond in enumerate(region.bonds)
    ]
    moved = _redistributed(frame, region.bonds, redistribution, mm_row, kept)
    caps = _cap_positions(frame, links)
    n_added = len(moved.sites)
    return replace(
        frame,
        atomic_numbers=np.concatenate([frame.atomic_numbers, np.ones(len(caps), int)]),
        qm_positions=np.concatenate([frame.qm_positions, caps]),
        mm_positions=np.concatenate([frame.mm_positions[kept], np.reshape(moved.places, (-1, 3))]),
        mm_charges=np.concatenate([moved.kept_charges, moved.charges]),
        mm_charges_original=np.concatenate([original[kept], np.zeros(n_added)]),
        boundary=Boundary(redistribution.name, tuple(links), tuple(moved.sites)),
        qm_atom_indices=np.concatenate([region.atoms, np.full(len(caps), NO_ATOM)]),
        mm_atom_indices=np.concatenate([mm_sites[kept], np.full(n_added, NO_ATOM)]),
        mm_residue_indices=np.concatenate([mm_residues[kept], np.full(n_added, NO_ATOM)]),
    )


@dataclass(frozen=True, eq=False)
class _Redistributed:
    """Where the charges of the M1 atoms went."""

    kept_charges: NDArray[np.floating]  # (n_kept,) e, of the sites that stay
    sites: list[ChargeSite]
    places: list[NDArray[np.floating]]  # (3,) Å, of each added site
    charges: list[float]  # e, of each added site


def _redistributed(
    frame: Frame,
    bonds: Sequence[CutBond],
    redistribution: Redistribution,
    mm_row: dict[int, int],
    kept: NDArray[np.integer],
) -> _Redistributed:
    """Share the charge of each M1 out over its classical neighbours."""
    row_kept = {int(row): i for i, row in enumerate(kept)}
    on_sites = np.array(frame.mm_charges, np.float64)
    sites: list[ChargeSite] = []
    places, charges = [], []
    for number, bond in enumerate(bonds):
        place = frame.mm_positions[mm_row[bond.m1]]
        for m2 in (mm_row[site] for site in bond.m2):
            share = float(frame.mm_charges[mm_row[bond.m1]]) / len(bond.m2)
            on_sites[m2] += redistribution.on_m2 * share
            for fraction, charge in redistribution.sites:
                sites.append(ChargeSite(len(kept) + len(sites), number, row_kept[m2], fraction))
                places.append(place + fraction * (frame.mm_positions[m2] - place))
                charges.append(charge * share)
    return _Redistributed(on_sites[kept], sites, places, charges)


def _cap_positions(frame: Frame, links: Sequence[LinkAtom]) -> list[NDArray[np.floating]]:
    return [
        cap_position(
            frame.qm_positions[link.qm_atom], np.array(link.m1_position), link.rule, link.length
        )
        for link in links
    ]


def _check_bonds(
    frame: Frame,
    topology: Topology,
    bonds: Sequence[CutBond],
    qm_row: dict[int, int],
    mm_row: dict[int, int],
) -> None:
    for bond in bonds:
        for site in (bond.m1, *bond.m2):
            if site not in mm_row:
                raise BoundaryError(
                    f"{topology.label(site)}, at a cut bond, is not within the radius; make it "
                    "larger"
                )
        apart = frame.mm_positions[mm_row[bond.m1]] - frame.qm_positions[qm_row[bond.q1]]
        if not SHORTEST_BOND < np.linalg.norm(apart) < LONGEST_BOND:
            raise BoundaryError(
                f"the bond {topology.label(bond.q1)}–{topology.label(bond.m1)} is "
                f"{np.linalg.norm(apart):.2f} Å long; does the trajectory belong to the topology?"
            )
