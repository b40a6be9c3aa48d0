"""What the labels of a campaign look like: energies, forces, distances, reaction coordinate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from datagen.campaigns.ledger import LedgerReader
from datagen.campaigns.storage import from_bytes, read_result, result_path
from eqmm_ase.data.frame import Frame
from eqmm_ase.simulation.coordinate import Coordinate

FAR = 10.0
"""Å; sites farther from the QM region are not counted."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Distributions over the labels of a campaign; (n,) each."""

    energies: np.ndarray
    """eV, relative to the mean of the same QM region (composition, charge, spin)."""

    qm_forces: np.ndarray
    """Norms on QM atoms, eV/Å."""

    mm_forces: np.ndarray
    """Norms on MM sites, eV/Å."""

    contacts: np.ndarray
    """Distance of the nearest MM site of each frame, Å."""

    site_distances: np.ndarray
    """Distance of each MM site to the nearest QM atom, where below `FAR`, Å."""

    labelled: np.ndarray
    """Reaction coordinate of the frames that are done, Å; empty where none was asked for."""

    unlabelled: np.ndarray
    """Reaction coordinate of all other frames, Å."""


def gather(folder: Path, coordinate: Coordinate | None = None) -> Statistics:
    """Read the labels of a campaign; it may be running.

    Parameters
    ----------
    folder
        The campaign.
    coordinate
        Evaluated on all frames, also those without a label.

    Raises
    ------
    CampaignError
        When there is no campaign.
    CoordinateError
        When a frame lacks an atom of the coordinate.
    """
    with LedgerReader(folder / "ledger.sqlite") as ledger:
        rows = ledger.rows()
        done = [row for row in rows if row.state == "done"]
        read = (read_result(result_path(folder, row.frame_id), row.checksum or "") for row in done)
        frames = [frame for frame in read if frame is not None]
        others: list[float] = []
        if coordinate is not None:
            names = [row.frame_id for row in rows if row.state != "done"]
            others = [_on(coordinate, from_bytes(ledger.inputs(name))) for name in names]
    surrounded = [_site_distances(frame) for frame in frames if frame.n_mm]
    near = _joined(surrounded)
    return Statistics(
        energies=_relative_energies(frames),
        qm_forces=_norms([f.qm_forces for f in frames if f.qm_forces is not None]),
        mm_forces=_norms([f.mm_forces for f in frames if f.mm_forces is not None]),
        contacts=np.array([distances.min() for distances in surrounded]),
        site_distances=near[near < FAR],
        labelled=np.array([_on(coordinate, frame) for frame in frames] if coordinate else []),
        unlabelled=np.array(others),
    )


def coverage(values: np.ndarray) -> str:
    """Range of one or more values of a coordinate and where it is covered worst, in words."""
    ordered = np.sort(values)
    text = f"{ordered[0]:.2f} to {ordered[-1]:.2f} Å"
    if len(ordered) > 1:
        gaps = np.diff(ordered)
        widest = int(gaps.argmax())
        text += f", widest gap {gaps[widest]:.2f} Å above {ordered[widest]:.2f} Å"
    return text


def _on(coordinate: Coordinate, frame: Frame) -> float:
    coordinate.check_atoms(frame.n_qm)
    return coordinate.value(np.asarray(frame.qm_positions, dtype=float))


def _relative_energies(frames: Sequence[Frame]) -> np.ndarray:
    kinds: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for frame in frames:
        if frame.energy is not None:
            elements = tuple(sorted(int(z) for z in frame.atomic_numbers))
            kinds[elements, frame.total_charge, frame.spin_multiplicity].append(frame.energy)
    return _joined([np.array(energies) - np.mean(energies) for energies in kinds.values()])


def _site_distances(frame: Frame) -> np.ndarray:
    return np.asarray(cKDTree(frame.qm_positions).query(frame.mm_positions)[0])


def _norms(vectors: Sequence[np.ndarray]) -> np.ndarray:
    return _joined([np.linalg.norm(v, axis=1) for v in vectors])


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0)
