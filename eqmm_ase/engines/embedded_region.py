"""The ML region of a whole system and the charges around it, as functions of all positions.

Caps on cut bonds and the charges that redistribution adds are linear in real positions (but for a
cap at a fixed distance); forces on them go back to real sites by the transposed Jacobian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.cutting.link_atoms import cap_length, check_redistribution
from eqmm_ase.cutting.qm_region import SelectedRegion
from eqmm_ase.cutting.redistribution import REDISTRIBUTIONS, RedistributionName
from eqmm_ase.data.boundary import CapRule, cap_jacobian, cap_position
from eqmm_ase.data.lattice import minimum_image
from eqmm_ase.data.unwrapping import make_whole, molecules_of
from eqmm_ase.engines.rest_charge import RestCharge, charges_with_rest
from eqmm_ase.topology import Topology

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Configuration:
    """What the network is asked about at one time, and the way back for its forces."""

    qm_positions: FloatArray  # (n_qm, 3) Å, in one piece, caps last
    mm_positions: FloatArray  # (n_mm, 3) Å, in any image, added charges last
    caps: tuple[FloatArray, ...]
    """∂R_cap/∂R_M1 of each cap, (3, 3); with respect to Q1 it is 1 minus that."""


class EmbeddedRegion:
    """ML atoms of a topology with caps on cut bonds, and all charges that act on them.

    Parameters
    ----------
    topology
        All sites of the system.
    region
        From `eqmm_ase.cutting.qm_region.find_region`.
    total_charge, spin_multiplicity
        Of the region, caps included.
    cap_rule
        Where the caps are: ``scaled`` or ``fixed``, as in `eqmm_ase.data.boundary.LinkAtom`.
    redistribution
        What becomes of the charge of the classical atom of a cut bond, a name of
        `eqmm_ase.cutting.redistribution`.
    rest
        What to do with the charge by which the force field's charges of the region differ from
        the total charge, see `eqmm_ase.engines.rest_charge`.

    Raises
    ------
    BoundaryError, RestChargeError
        When the cut bonds have no place for a charge, or charge is left over.
    """

    def __init__(
        self,
        topology: Topology,
        region: SelectedRegion,
        *,
        total_charge: int,
        spin_multiplicity: int = 1,
        cap_rule: CapRule = "scaled",
        redistribution: RedistributionName = "rcd",
        rest: RestCharge = "refuse",
    ) -> None:
        scheme = REDISTRIBUTIONS[redistribution]
        check_redistribution(topology, region.bonds, scheme)
        self.topology, self.region = topology, region
        self.total_charge, self.spin_multiplicity = total_charge, spin_multiplicity
        self.cap_rule, self.redistribution = cap_rule, redistribution
        self.rest_charge = round(region.force_field_charge - total_charge, 6) + 0.0
        hosts = np.array([bond.m1 for bond in region.bonds], dtype=int)
        self.force_field_charges = charges_with_rest(
            np.asarray(topology.charges, np.float64), hosts, self.rest_charge, rest
        )
        """(n_sites,) e, those of the region included."""
        self.inside = region.groups < 0
        """(n_sites,) sites that the network replaces, virtual sites of ML atoms included."""
        self._lay_out(hosts)
        bonds = topology.bonds[np.isin(topology.bonds, region.atoms).all(axis=1)]
        self._bonds = np.searchsorted(region.atoms, bonds)
        self.molecules = molecules_of(len(region.atoms), self._bonds)
        """(n_atoms,) of each ML atom, caps left out, the number of the molecule that it is in."""
        self._cap_lengths = [
            cap_length(cap_rule, *topology.atomic_numbers[[bond.q1, bond.m1]].tolist())
            for bond in region.bonds
        ]
        self.atomic_numbers: IntArray = np.concatenate(
            [topology.atomic_numbers[region.atoms], np.ones(len(region.bonds), int)]
        )
        """(n_qm,), caps last."""

    def _lay_out(self, hosts: IntArray) -> None:
        """Which sites are MM charges, with what charge, and where added ones stand."""
        scheme, charges = REDISTRIBUTIONS[self.redistribution], self.force_field_charges.copy()
        added: list[tuple[int, int, float, float]] = []  # M1, M2, fraction, charge
        for bond in self.region.bonds:
            for m2 in bond.m2 if scheme.needs_m2 else ():
                share = self.force_field_charges[bond.m1] / len(bond.m2)
                charges[m2] += scheme.on_m2 * share
                added += [(bond.m1, m2, x, charge * share) for x, charge in scheme.sites]
        kept = ~self.inside & (charges != 0.0)
        kept[hosts] = False
        self.sites: IntArray = np.flatnonzero(kept)
        """(n_mm − n_added,) rows of the topology that are MM charges."""
        self._m1 = np.array([m1 for m1, *_ in added], dtype=int)
        self._m2 = np.array([m2 for _, m2, *_ in added], dtype=int)
        self._fractions = np.array([x for *_, x, _ in added])[:, None]
        self.mm_charges: FloatArray = np.concatenate(
            [charges[self.sites], [charge for *_, charge in added]]
        )
        """(n_mm,) e."""
        groups = np.asarray(self.region.groups)
        self.mm_groups: IntArray = np.concatenate([groups[self.sites], groups[self._m1]])
        """(n_mm,) residue of each charge: they are switched together."""

    def configuration(self, positions: FloatArray, cell: FloatArray | None) -> Configuration:
        """Positions of the region and of the charges.

        Parameters
        ----------
        positions
            (n_sites, 3) Å, wrapped in any way.
        cell
            Lattice vectors as rows, (3, 3) Å, or None.
        """
        atoms = self.region.atoms
        region = make_whole(positions[atoms], cell, self._bonds)
        caps, jacobians = [], []
        for bond, length in zip(self.region.bonds, self._cap_lengths, strict=True):
            q1 = region[np.searchsorted(atoms, bond.q1)]
            m1 = q1 + minimum_image((positions[bond.m1] - q1)[None], cell)[0]
            caps.append(cap_position(q1, m1, self.cap_rule, length))
            jacobians.append(cap_jacobian(q1, m1, self.cap_rule, length))
        hosts = positions[self._m1]
        step = minimum_image(positions[self._m2] - hosts, cell) if len(hosts) else hosts
        return Configuration(
            qm_positions=np.concatenate([region, np.reshape(caps, (-1, 3))]),
            mm_positions=np.concatenate([positions[self.sites], hosts + self._fractions * step]),
            caps=tuple(jacobians),
        )

    def site_forces(
        self, configuration: Configuration, qm_forces: FloatArray, mm_forces: FloatArray
    ) -> FloatArray:
        """Forces on all sites of the system, (n_sites, 3), in the unit of those given.

        Parameters
        ----------
        configuration
            For which they were computed.
        qm_forces
            (n_qm, 3), on ML atoms and caps.
        mm_forces
            (n_mm, 3), on the charges.
        """
        forces = np.zeros((self.topology.n_sites, 3))
        n_atoms, n_sites = len(self.region.atoms), len(self.sites)
        forces[self.region.atoms] = qm_forces[:n_atoms]
        forces[self.sites] += mm_forces[:n_sites]
        on_caps = qm_forces[n_atoms:]
        for bond, jacobian, force in zip(
            self.region.bonds, configuration.caps, on_caps, strict=True
        ):
            on_m1 = jacobian @ force
            forces[bond.m1] += on_m1
            forces[bond.q1] += force - on_m1
        added = mm_forces[n_sites:]
        np.add.at(forces, self._m1, (1.0 - self._fractions) * added)
        np.add.at(forces, self._m2, self._fractions * added)
        return forces
