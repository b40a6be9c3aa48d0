"""ASE calculators of whole systems: OpenMM supplies everything classical."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import openmm
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.fd import calculate_numerical_stress
from numpy.typing import NDArray

from eqmm_ase.arrays import FloatArray
from eqmm_ase.engines.energy_ledger import EnergyLedger, energy_ledger
from eqmm_ase.engines.mixed_system import MixedSystem, mixed_system
from eqmm_ase.engines.openmm_context import (
    box_of,
    energy_and_forces,
    move_to,
    new_context,
    positions_of,
    real_particles,
    reduced_box,
)
from eqmm_ase.engines.openmm_force import callback_of, minimise
from eqmm_ase.engines.system_potential import SystemEnergy

_STRAIN = 3e-3
"""Of the differences for the stress: many pairs cross the force field's cutoff, whose jumps average
out, and what is left of higher derivatives is 0.1 % of the stress of liquid water."""


class WholeSystemError(ValueError):
    """The system cannot be run by ASE as asked; the message is one sentence for the user."""


class _SystemCalculator(Calculator):
    """ASE calculator of a mixed System in an OpenMM Context."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012
    mixed: MixedSystem
    context: openmm.Context

    @property
    def latest(self) -> SystemEnergy:
        """Last prediction of the model: energy, forces, charges, potentials, uncertainty."""
        found = callback_of(self.mixed.system).latest
        if found is None:
            raise WholeSystemError("nothing has been computed yet; ask for an energy first")
        return found

    def ledger(self) -> EnergyLedger:
        """Energy of the configuration computed last, by terms."""
        return energy_ledger(self.mixed, *positions_of(self.context))

    def _keep(self, rows: NDArray[np.integer]) -> None:
        """Take energy, and forces on some particles, as the results."""
        energy, forces = energy_and_forces(self.context)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces[rows]}


class WholeSystem(_SystemCalculator):
    """ASE calculator of an ML region with all classical surroundings, periodic or not.

    All atoms move, and virtual sites follow their parents. The System must have no constraints
    (``constraints=None, rigidWater=False``): a rigid water has no bonds that would hold it
    together in ASE. `RelaxedSurroundings` takes rigid waters too.

    In a periodic box it has the stress, for ASE's filters of cells and barostats: dE/dε / V of the
    whole energy, by central differences, as OpenMM knows no virial. It costs twelve energies, and
    only where it is asked for. The cell may have any orientation.

    Parameters
    ----------
    topology, system, ml_atoms, model
        As `eqmm_ase.engines.mixed_system.mixed_system` takes them.
    platform
        Of OpenMM: ``Reference`` is in double precision and slow, ``CPU`` in single.
    threads
        Of the platform ``CPU``.
    settings
        All other settings of `mixed_system`: ``total_charge``, ``electrostatics``, ``dtype`` …

    Raises
    ------
    WholeSystemError
        When the System has constraints outside the ML region.
    """

    implemented_properties = [*_SystemCalculator.implemented_properties, "stress"]  # noqa: RUF012

    def __init__(
        self,
        topology: Any,
        system: openmm.System,
        ml_atoms: Sequence[int],
        model: Any,
        *,
        platform: str = "CPU",
        threads: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__()
        self._rotation: FloatArray = np.eye(3)  # from ASE's axes to OpenMM's
        self.mixed = mixed_system(topology, system, ml_atoms, model, **settings)
        if count := self.mixed.system.getNumConstraints():
            raise WholeSystemError(
                f"the System has {count} constraints, which ASE does not keep; make it with "
                "constraints=None and rigidWater=False, or take RelaxedSurroundings"
            )
        self._default_box = box_of(self.mixed.system)
        self.context = new_context(self.mixed.system, platform, threads)
        self.real = real_particles(self.mixed.system)
        """(n_atoms,) rows of the atoms among all particles; virtual sites are left out."""

    @property
    def latest(self) -> SystemEnergy:
        """Last prediction of the model, its forces along the axes of the atoms."""
        found = super().latest
        return replace(found, forces=found.forces @ self._rotation.T)

    def atoms_at(self, positions: FloatArray, cell: FloatArray | None = None) -> Atoms:
        """Atoms of the whole system with this calculator.

        Parameters
        ----------
        positions
            (n_particles, 3) Å, of all particles.
        cell
            Lattice vectors as rows, (3, 3) Å; None takes the System's box, if it has one.
        """
        if cell is None:
            cell = self._default_box
        system, topology = self.mixed.system, self.mixed.region.topology
        return Atoms(
            numbers=topology.atomic_numbers[self.real],
            positions=np.asarray(positions, np.float64)[self.real],
            masses=[system.getParticleMass(int(i))._value for i in self.real],
            cell=cell,
            pbc=cell is not None,
            calculator=self,
        )

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute energy and forces, and the stress where it is asked for.

        Raises
        ------
        PropertyNotImplementedError
            The stress without a periodic box.
        """
        # Before the rest: it asks this calculator about strained atoms.
        stress = {}
        if "stress" in properties:
            stress["stress"] = self._stress(self.atoms if atoms is None else atoms)
        super().calculate(atoms, properties, system_changes)
        particles = np.zeros((self.mixed.system.getNumParticles(), 3))
        particles[self.real] = self.atoms.positions
        cell = self._default_box
        if self.atoms.pbc.any():
            cell, self._rotation = reduced_box(self.atoms.cell.array)
            particles = particles @ self._rotation
        move_to(self.context, particles, cell)
        self._keep(self.real)
        self.results |= {"forces": self.results["forces"] @ self._rotation.T, **stress}

    def _stress(self, atoms: Atoms) -> FloatArray:
        """dE/dε / V in Voigt's order, (6,) eV/Å³."""
        if self._default_box is None or not atoms.pbc.all():
            raise PropertyNotImplementedError(
                "there is no stress without a periodic box: give System and atoms one"
            )
        strained = atoms.copy()
        strained.set_constraint()
        strained.calc = self
        return np.asarray(calculate_numerical_stress(strained, _STRAIN))


class RelaxedSurroundings(_SystemCalculator):
    """ASE calculator of an ML region whose classical surroundings are relaxed at every step.

    E(R_A) = min over R_B of E(R_A, R_B): atoms of the region are those of ASE, and all else is
    relaxed around them by OpenMM before each evaluation (micro-iterations), constraints kept. Its
    forces are −∂E/∂R_A at fixed surroundings, equal to −dE/dR_A at convergence of the relaxation.

    Parameters
    ----------
    topology, system, ml_atoms, model
        As `eqmm_ase.engines.mixed_system.mixed_system` takes them.
    positions
        (n_particles, 3) Å, of all particles: where the relaxation of the surroundings starts.
    tolerance
        eV/Å, the root-mean-square force at which surroundings count as relaxed.
    platform, threads
        As for `WholeSystem`.
    settings
        All other settings of `mixed_system`.
    """

    def __init__(
        self,
        topology: Any,
        system: openmm.System,
        ml_atoms: Sequence[int],
        model: Any,
        positions: FloatArray,
        *,
        tolerance: float = 0.01,
        platform: str = "CPU",
        threads: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.mixed = mixed_system(topology, system, ml_atoms, model, **settings)
        self.tolerance = tolerance
        self._rows = np.asarray(self.mixed.region.region.atoms)
        for row in self._rows:
            # OpenMM's minimiser leaves particles without mass where they are.
            self.mixed.system.setParticleMass(int(row), 0.0)
        self.context = new_context(self.mixed.system, platform, threads)
        move_to(self.context, np.asarray(positions, np.float64), box_of(self.mixed.system))

    @property
    def positions(self) -> FloatArray:
        """(n_particles, 3) Å, of all particles now: where the next image of a path can start."""
        return positions_of(self.context)[0]

    def region_atoms(self) -> Atoms:
        """Atoms of the ML region where they are now, with this calculator."""
        positions, cell = positions_of(self.context)
        whole = self.mixed.region.configuration(positions, cell).qm_positions
        numbers = self.mixed.region.atomic_numbers[: len(self._rows)]
        return Atoms(numbers=numbers, positions=whole[: len(self._rows)], calculator=self)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Relax the surroundings, then compute energy and forces on the region."""
        super().calculate(atoms, properties, system_changes)
        positions, cell = positions_of(self.context)
        positions[self._rows] = self.atoms.positions
        move_to(self.context, positions, cell)
        minimise(self.context, self.tolerance)
        self._keep(self._rows)
