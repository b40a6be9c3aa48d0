"""An OpenMM System of classical surroundings with a network in the place of an ML region."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
from openmm import app

from eqmm_ase.cutting.qm_region import find_region
from eqmm_ase.cutting.qm_region import total_charge as nearest_charge
from eqmm_ase.cutting.redistribution import RedistributionName
from eqmm_ase.data.boundary import CapRule
from eqmm_ase.engines.classical_system import (
    ClassicalSystemError,
    classical_rest,
    nonbonded_force,
)
from eqmm_ase.engines.cut_bonds import rules_of_run
from eqmm_ase.engines.embedded_region import EmbeddedRegion
from eqmm_ase.engines.openmm_context import box_of
from eqmm_ase.engines.openmm_force import network_force
from eqmm_ase.engines.rest_charge import RestCharge
from eqmm_ase.engines.system_potential import Electrostatics, SystemPotential, opened
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.periodic.cell import Box
from eqmm_ase.periodic.switched import INNER, OUTER
from eqmm_ase.topology import Topology
from eqmm_ase.topology.evidence import topology_of
from eqmm_ase.topology.openmm_system import openmm_evidence

_EWALD = (
    openmm.NonbondedForce.Ewald,
    openmm.NonbondedForce.PME,
    openmm.NonbondedForce.LJPME,
)


@dataclass(frozen=True, eq=False)
class MixedSystem:
    """An OpenMM System of classical surroundings and network, and what it was made of."""

    system: openmm.System
    """A new System; the network is one force of it."""
    potential: SystemPotential
    """Energy and forces of the ML region in its surroundings, without OpenMM: Å, eV, e."""

    @property
    def region(self) -> EmbeddedRegion:
        """The ML region in its system."""
        return self.potential.region


def mixed_system(
    topology: app.Topology,
    system: openmm.System,
    ml_atoms: Iterable[int],
    model: str | os.PathLike[str] | MultiscaleModel | Committee,
    *,
    total_charge: int | None = None,
    spin_multiplicity: int = 1,
    cap_rule: CapRule | None = None,
    redistribution: RedistributionName | None = None,
    rest_charge: RestCharge = "refuse",
    electrostatics: Electrostatics | None = None,
    switch: tuple[float, float] = (INNER, OUTER),
    dtype: str = "float32",
    remove_constraints: bool = True,
    group: int = 0,
    sites: Topology | None = None,
) -> MixedSystem:
    """Replace the force field of an ML region by a network in the potential of all other charges.

    Parameters
    ----------
    topology, system
        OpenMM Topology and System of the complete system; neither is changed.
    ml_atoms
        0-based indices of the ML atoms, in any order. Bonds to other atoms get caps.
    model
        A model file, model or committee.
    total_charge, spin_multiplicity
        Of the region; by default the integer nearest to its force-field charge, and 1.
    cap_rule, redistribution
        How bonds are cut, see `eqmm_ase.cutting`; by default as in the model's training frames.
    rest_charge
        What to do with the difference between the region's force-field charge and its total charge:
        ``refuse`` more than 0.01 e; add to MM ``hosts`` at the cuts; neutralising ``background``.
    electrostatics, switch
        ``ewald``, ``cutoff`` or ``all``; by default ``ewald`` where the System has PME or Ewald,
        ``cutoff`` for other periodic methods, ``all`` without a box. Of ``cutoff`` only: Å, inner
        and outer radius of the switching function.
    dtype, group
        Floating-point precision (``float32``, ``float64``) and force group of the network.
    remove_constraints
        Remove constraints inside the ML region, so that its bonds vibrate.
    sites
        EqMM's own Topology of the atoms; by default made of `topology` and `system`.

    Returns
    -------
    MixedSystem
        ``system`` (an openmm.System), ``potential`` (energy of the ML region, eV) and ``region``.

    Raises
    ------
    ClassicalSystemError, RegionError, BoundaryError, CutBondsError, RestChargeError, TopologyError
        When System, selection, cut bonds or charges cannot be coupled.
    BoxTooSmallError, DomainError, UnknownElementError, ModelFileError
        When the box is too small for a cutoff, or the model is not for such a region.
    """
    reach = _reach(system, electrostatics, switch)
    sites = sites or topology_of(openmm_evidence(topology, system))
    region = find_region(sites, _checked(ml_atoms, sites.n_sites))
    charge = nearest_charge(region) if total_charge is None else total_charge
    source, card = opened(model)
    redistribution, cap_rule = rules_of_run(card, redistribution, cap_rule, len(region.bonds))
    embedded = EmbeddedRegion(
        sites,
        region,
        total_charge=charge,
        spin_multiplicity=spin_multiplicity,
        cap_rule=cap_rule,
        redistribution=redistribution,
        rest=rest_charge,
    )
    potential = SystemPotential(
        source, embedded, card=card, electrostatics=reach, switch=switch, dtype=dtype
    )
    rest = classical_rest(system, embedded, remove_constraints=remove_constraints)
    periodic = system.usesPeriodicBoundaryConditions()
    rest.addForce(network_force(potential, periodic=periodic, group=group))
    return MixedSystem(rest, potential)


def _checked(ml_atoms: Iterable[int], n_sites: int) -> Any:
    rows = np.asarray(list(ml_atoms))
    if rows.size == 0:
        raise ValueError("no ML atoms are given; give the rows of at least one atom")
    if rows.dtype.kind not in "iu" or len(set(rows.tolist())) != len(rows):
        raise ValueError("the rows of the ML atoms must be whole numbers, each of them once")
    if rows.min() < 0 or rows.max() >= n_sites:
        raise ValueError(
            f"ML atoms {rows.min()} to {rows.max()} do not fit into {n_sites} particles; rows "
            "count from 0"
        )
    return rows


def _reach(
    system: openmm.System, wanted: Electrostatics | None, switch: tuple[float, float]
) -> Electrostatics:
    """How far charges act: as the user wants it, or as in the System."""
    reach = wanted or _as_in(nonbonded_force(system))
    cell = box_of(system)
    if reach == "all" and cell is not None:
        raise ClassicalSystemError(
            "electrostatics is 'all', each charge once and where it is, and the System is "
            "periodic; take 'ewald' or 'cutoff'"
        )
    if reach == "ewald" and cell is None:
        raise ClassicalSystemError(
            "electrostatics is 'ewald', and the System has no box; take 'cutoff' or 'all'"
        )
    if reach == "cutoff" and cell is not None:
        Box.of(cell).check_holds(switch[1])
    return reach


def _as_in(force: openmm.NonbondedForce) -> Electrostatics:
    method = force.getNonbondedMethod()
    if method in _EWALD:
        return "ewald"
    return "cutoff" if method == openmm.NonbondedForce.CutoffPeriodic else "all"
