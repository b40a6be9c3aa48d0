"""EqMM in openmm-ml: ``MLPotential("eqmm", model=…)``, found through the entry point of EqMM.

``createMixedSystem(…, embedding="electrostatic")`` lets the charges of the whole system act on the
network and the network on them. openmm-ml's own embedding ``"mechanical"`` works as well: the
network sees its own atoms only, and the force field's charges of these act on the surroundings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import openmm
from openmm import app


class EqMMPotentialFactory:
    """Makes the potential ``"eqmm"``: an `openmmml.mlpotential.MLPotentialImplFactory`.

    It is that by its method and stands above the imports: openmm-ml asks for it while it is being
    imported itself, be it by this module.
    """

    def createImpl(self, name: str, **args: Any) -> MLPotentialImpl:  # noqa: N802 - openmm-ml's
        """The potential; settings are those of `EqMMPotential`."""
        return EqMMPotential(**args)


from openmmml.mlpotential import MLPotentialImpl  # noqa: E402

from eqmm_ase.engines.interpolation import interpolate as interpolate_systems  # noqa: E402
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.vacuum_potential import VacuumPotential  # noqa: E402

EMBEDDING = "electrostatic"


class EqMMPotential(MLPotentialImpl):
    """A model of EqMM as openmm-ml asks for it.

    Parameters
    ----------
    model
        Path of a model file, or a model or committee.
    total_charge
        Of the ML region. None: next to the sum of its force-field charges, or 0 without a force
        field.
    spin_multiplicity
        2S + 1 of the ML region.
    dtype
        ``float32`` or ``float64``.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        total_charge: int | None = None,
        spin_multiplicity: int = 1,
        dtype: str = "float32",
    ) -> None:
        if model is None:
            raise ValueError('MLPotential("eqmm") needs model=, the path of a model file')
        self.model = os.fspath(model) if isinstance(model, str | os.PathLike) else model
        self._charge, self._spin, self._dtype = total_charge, spin_multiplicity, dtype

    def getSupportedEmbeddings(self) -> list[str]:  # noqa: N802 - openmm-ml's name
        """Embeddings that EqMM brings along."""
        return [EMBEDDING]

    def getMLLongRange(self) -> bool:  # noqa: N802 - openmm-ml's name
        """False: in mechanical embedding the network acts on nothing but its own atoms."""
        return False

    def addForces(  # noqa: N802 - openmm-ml's name
        self,
        topology: app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        **args: Any,
    ) -> None:
        """Add the network of some atoms, or of all, in vacuum: mechanical embedding."""
        every = list(topology.atoms())
        rows = list(range(len(every))) if atoms is None else [int(i) for i in atoms]
        if unknown := [i for i in rows if every[i].element is None]:
            raise ValueError(
                f"atom {unknown[0]} of the Topology has no element; leave virtual sites out of "
                "the ML atoms"
            )
        place = {row: i for i, row in enumerate(rows)}
        bonds = [
            (place[a.index], place[b.index])
            for a, b in topology.bonds()
            if a.index in place and b.index in place
        ]
        periodic = topology.getPeriodicBoxVectors() is not None
        potential = VacuumPotential(
            self.model,
            np.array([every[i].element.atomic_number for i in rows]),
            total_charge=self._charge or 0,
            spin_multiplicity=self._spin,
            bonds=np.array(bonds, dtype=int).reshape(-1, 2),
            periodic=periodic,
            dtype=self._dtype,
        )
        force = openmm.PythonForce(potential)
        force.setParticles(rows)
        force.setUsesPeriodicBoundaryConditions(periodic)
        force.setForceGroup(forceGroup)
        system.addForce(force)

    def createMixedSystem(  # noqa: N802 - openmm-ml's name
        self,
        topology: app.Topology,
        system: openmm.System,
        atoms: list[int],
        forceGroup: int,
        interpolate: bool,
        embedding: str,
        returnInfo: bool = False,
        **args: Any,
    ) -> openmm.System | dict[str, Any]:
        """The classical rest with the network in the potential of all charges.

        Parameters
        ----------
        topology, system, atoms, forceGroup, interpolate, embedding, returnInfo
            Of openmm-ml.
        args
            Settings of `eqmm_ase.engines.mixed_system.mixed_system`: ``rest_charge``,
            ``electrostatics``, ``switch``, ``cap_rule``, ``redistribution``.
        """
        mixed = mixed_system(
            topology,
            system,
            atoms,
            self.model,
            total_charge=self._charge,
            spin_multiplicity=self._spin,
            dtype=self._dtype,
            group=forceGroup,
            remove_constraints=False,  # openmm-ml does that itself
            **args,
        )
        if interpolate:
            inside = set(np.flatnonzero(mixed.region.inside).tolist())
            interpolate_systems(mixed.system, system, inside, forceGroup)
        if not returnInfo:
            return mixed.system
        n = topology.getNumAtoms()
        return {"system": mixed.system, "topology": topology, "oldToNew": list(range(n))}
