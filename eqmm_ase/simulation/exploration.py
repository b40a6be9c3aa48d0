"""Find structures that a committee does not know: run its dynamics until its members disagree.

Each trajectory starts from a given frame, moves the QM atoms in the charges of that frame, which
are fixed, and ends where the calibrated uncertainty of the energy or of a force exceeds its limit
and the structure is no near-duplicate of a known frame. What is kept is the frame at which it
ended, to be labelled and trained on.

Source: Smith, Nebgen, Lubbers, Isayev, Roitberg, J. Chem. Phys. 148, 241733 (2018), for labelling
where a committee disagrees; Vandermause et al., npj Comput. Mater. 6, 20 (2020), for stopping the
dynamics there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from rich.console import Console

from eqmm_ase.calculator.eqmm import EqMM
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.structures import atoms_of_frame
from eqmm_ase.progress_bar import ProgressBar
from eqmm_ase.simulation.coordinate import Coordinate
from eqmm_ase.simulation.dynamics import MDState, run_md
from eqmm_ase.simulation.ensembles import MDSettings
from eqmm_ase.simulation.exploration_settings import ExplorationSettings
from eqmm_ase.simulation.geometry_checks import KnownFrames, invalid_geometry
from eqmm_ase.simulation.relax import RunError, RunFailedError
from eqmm_ase.simulation.restraints import ContactRestraints, MovingRestraint
from eqmm_ase.uncertainty.calibration import Uncertainty
from eqmm_ase.uncertainty.contacts import ContactError
from eqmm_ase.uncertainty.domain import DomainWarning


@dataclass(frozen=True, eq=False)
class Visit:
    """Outcome of one trajectory of an exploration."""

    number: int
    """Of the trajectory, from 0."""
    start: int
    """Which of the frames it started from."""
    time: float
    """ps, when it ended."""
    outcome: str
    """``kept``; ``certain``: no limit was ever exceeded; ``duplicate``: only near frames that are
    known; ``rejected``: an invalid geometry."""
    reason: str
    """One phrase."""
    frame: Frame | None
    """Without labels, if kept."""

    def line(self, settings: ExplorationSettings) -> str:
        """One line for the screen."""
        return (
            f"trajectory {self.number + 1} of at most {settings.most_trajectories}, from frame "
            f"{self.start}: {self.outcome} after {self.time:.3f} ps, {self.reason}"
        )


class _Uncertain(Exception):  # noqa: N818 - a way out of the dynamics, not an error
    """The uncertainty has exceeded a limit."""


def explore(
    calculator: EqMM, starts: Sequence[Frame], settings: ExplorationSettings
) -> Iterator[Visit]:
    """Active learning: run dynamics of a committee until enough uncertain frames are found.

    Parameters
    ----------
    calculator
        Of a committee.
    starts
        Frames to start from, taken in random order, one after the other, as often as necessary.
        Those that have an energy count as known.
    settings
        How to look.

    Yields
    ------
    Visit
        One for each trajectory, as it ends.

    Raises
    ------
    RunError
        A calculator without members or without limits, no frames to start from.
    CoordinateError
        A coordinate that is none, or not of these molecules.
    """
    limits = _limits(calculator, settings)
    if not starts:
        raise RunError("there are no frames to start from")
    if settings.coordinate is not None:
        for frame in starts:
            Coordinate.parse(settings.coordinate).check_atoms(frame.n_qm)
    known = KnownFrames(frame for frame in starts if frame.energy is not None)
    order = np.random.default_rng([settings.seed, len(starts)]).permutation(len(starts))
    kept = 0
    for number in range(settings.most_trajectories):
        start = int(order[number % len(order)])
        visit = _visit(calculator, starts[start], settings, limits, known, number, start)
        yield visit
        if visit.frame is not None:
            known.add(visit.frame)
            kept += 1
            if kept == settings.frames:
                return


def trajectories_bar(settings: ExplorationSettings, console: Console | None = None) -> ProgressBar:
    """Progress of `explore` in trajectories; it ends before them when enough frames are found."""
    return ProgressBar(
        "exploring",
        "trajectories",
        settings.most_trajectories,
        console=console,
        window=3600.0,
        transient=True,
    )


def _limits(calculator: EqMM, settings: ExplorationSettings) -> dict[str, float]:
    if calculator.n_members == 1:
        raise RunError(
            "a single model cannot tell where it is uncertain; "
            "train a committee (eqmm train --committee 4)"
        )
    given = {"energy": settings.energy_limit, "qm_forces": settings.force_limit}
    limits = calculator.calibration.limits | {k: v for k, v in given.items() if v is not None}
    if not limits:
        raise RunError(
            "the committee has no limits of uncertainty, since it was trained without validation "
            "frames; give a limit of the forces or of the energy"
        )
    return limits


def _visit(
    calculator: EqMM,
    frame: Frame,
    settings: ExplorationSettings,
    limits: dict[str, float],
    known: KnownFrames,
    number: int,
    start: int,
) -> Visit:
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    steps = max(round(1000.0 * settings.time / settings.timestep), 1)
    atoms, bias = _prepare(calculator, frame, settings)
    reached, near_known = 0.0, False

    def here() -> Frame:
        return _frame_at(atoms, frame, f"explored-{settings.seed}-{number}")

    def watch(now: MDState) -> None:
        nonlocal reached, near_known
        reached = now.time
        if reason := _exceeded(calculator.uncertainty, limits):
            if not known.has_near_duplicate(here()):
                raise _Uncertain(reason)
            near_known = True
        if bias is not None:
            bias.move(now.step / steps)

    dynamics = MDSettings("langevin", settings.temperature, settings.timestep, seed=seed)
    try:
        with warnings.catch_warnings():
            # That is what is looked for.
            warnings.filterwarnings("ignore", "the members of the committee", DomainWarning)
            run_md(atoms, dynamics, steps=steps, report=watch, report_interval=1)
    except _Uncertain as found:
        if reason := invalid_geometry(here(), calculator.domain):
            return Visit(number, start, reached, "rejected", reason, None)
        return Visit(number, start, reached, "kept", str(found), here())
    except (RunFailedError, ContactError) as error:
        return Visit(number, start, reached, "rejected", str(error), None)
    if near_known:
        reason = "uncertain only near frames that are known"
        return Visit(number, start, reached, "duplicate", reason, None)
    return Visit(number, start, reached, "certain", "all the way", None)


def _prepare(
    calculator: EqMM, frame: Frame, settings: ExplorationSettings
) -> tuple[Atoms, MovingRestraint | None]:
    atoms = atoms_of_frame(frame)
    atoms.calc = calculator
    calculator.embed(frame.mm_charges, frame.mm_positions)
    constraints: list[ContactRestraints | MovingRestraint] = []
    if settings.restraints and frame.n_mm and calculator.domain.closest_mm is not None:
        constraints.append(
            ContactRestraints(atoms, frame.mm_charges, frame.mm_positions, calculator.domain)
        )
    bias = None
    if settings.coordinate is not None and settings.sweep is not None:
        coordinate = Coordinate.parse(settings.coordinate)
        here = coordinate.value(atoms.positions)
        bias = MovingRestraint(
            coordinate, here, max(settings.sweep, key=lambda end: abs(end - here))
        )
        constraints.append(bias)
    atoms.set_constraint(constraints)
    return atoms, bias


def _exceeded(uncertainty: Uncertainty, limits: dict[str, float]) -> str | None:
    """Which limit an uncertainty exceeds, in words; None where it exceeds none."""
    force = float(uncertainty.forces.max())
    if force > limits.get("qm_forces", np.inf):
        return f"force on an atom uncertain by {force:.2f} eV/Å"
    if uncertainty.energy > limits.get("energy", np.inf):
        return f"energy uncertain by {uncertainty.energy:.3f} eV"
    return None


def _frame_at(atoms: Atoms, frame: Frame, source: str) -> Frame:
    """The frame with the atoms where they are now, and without labels."""
    return Frame(
        frame.atomic_numbers,
        atoms.get_positions(),
        frame.mm_positions,
        frame.mm_charges,
        frame.total_charge,
        frame.spin_multiplicity,
        cell=frame.cell,
        medium=frame.medium,
        source=source,
        mm_charges_original=frame.mm_charges_original,
        boundary=frame.boundary,
        topology=frame.topology,
        qm_atom_indices=frame.qm_atom_indices,
        mm_atom_indices=frame.mm_atom_indices,
        mm_residue_indices=frame.mm_residue_indices,
    )
