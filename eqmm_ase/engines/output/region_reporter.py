"""A reporter of OpenMM's `Simulation` for what the network says of the ML region."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import openmm
from openmm import unit

from eqmm_ase.engines.openmm_context import positions_in
from eqmm_ase.engines.openmm_force import callback_of
from eqmm_ase.engines.system_potential import SystemEnergy


class RegionReporter:
    """Writes energy, uncertainty and charges of an ML region during a run of OpenMM.

    One of the ``simulation.reporters``. A row is computed from the positions and the box of its
    step; it costs the network once more, as what an integrator asked last belongs to the step
    before.

    Columns of the table: ``step``; ``time``, ps; ``network``, eV, the ML region in all of its
    surroundings; ``images``, eV, part of it, the region with its own periodic images;
    ``uncertainty``, eV/Å, the largest expected error of a force on an ML atom, and
    ``energy_uncertainty``, eV, both of a committee and empty for a single model; ``charge_i``, e,
    of atom i of the system.

    Parameters
    ----------
    file
        A path, or an open text file.
    interval
        Steps between rows.
    system
        With a network in it, from `mixed_system` or openmm-ml.
    atoms
        Rows of the ML atoms whose charges are written; None: all of them.
    append
        Go on with a table that is there.

    Raises
    ------
    ValueError
        When the System holds no network, or an atom is not in the ML region.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | IO[str],
        interval: int,
        system: openmm.System,
        *,
        atoms: Sequence[int] | None = None,
        append: bool = False,
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval is {interval} steps; expected 1 or more")
        self._interval = interval
        self._network = callback_of(system)
        known = self._network.potential.region.region.atoms.tolist()
        self._atoms = known if atoms is None else [int(atom) for atom in atoms]
        if strange := sorted(set(self._atoms) - set(known)):
            raise ValueError(
                f"atom {strange[0]} is not in the ML region, which alone has charges that change; "
                "leave it out"
            )
        self._columns = [known.index(atom) for atom in self._atoms]
        self.latest: SystemEnergy | None = None
        """All that the network said of the last row, forces and MM potential included."""
        self._file = Path(file) if isinstance(file, str | os.PathLike) else file
        if not append:
            if isinstance(self._file, Path):
                self._file.unlink(missing_ok=True)
            self._write(
                ["step", "time", "network", "images", "uncertainty", "energy_uncertainty"]
                + [f"charge_{atom}" for atom in self._atoms]
            )

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:  # noqa: N802 - OpenMM's name
        """When the next row is due, and what it needs; OpenMM asks."""
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation: Any, state: openmm.State) -> None:
        """Write a row; OpenMM calls this."""
        found = self._network.potential(*positions_in(state, self._network.periodic))
        self.latest, uncertainty = found, found.uncertainty
        errors = ["", ""]
        if uncertainty is not None:
            errors = [f"{uncertainty.forces.max():.6f}", f"{uncertainty.energy:.6f}"]
        charges = np.asarray(found.charges)[self._columns]
        self._write(
            [
                str(simulation.currentStep),
                f"{state.getTime().value_in_unit(unit.picosecond):.6g}",
                f"{found.energy:.6f}",
                f"{found.image_energy:.6f}",
                *errors,
                *(f"{charge:.5f}" for charge in charges),
            ]
        )

    def _write(self, row: list[str]) -> None:
        line = ",".join(row) + "\n"
        if isinstance(self._file, Path):
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line)
        else:
            self._file.write(line)
