"""Label one frame after another in a worker process, starting each where the last ended."""

from __future__ import annotations

import socket
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Any

from datagen.labels.cross_check import CHECK_EVERY, cross_check
from datagen.labels.devices import backend_of, failing_with
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from datagen.labels.warm_start import WarmDensity
from eqmm_ase.data.frame import Frame

_MAX_DENSITIES = 16
_densities: OrderedDict[Hashable, WarmDensity] = OrderedDict()
_labelled: Counter[Hashable] = Counter()
"""Frames of each molecule that this process has labelled on a GPU."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """A labelled frame on its way back to the campaign."""

    frame: Frame
    scf_stage: str
    warnings: tuple[str, ...]
    wall_time: float  # s
    host: str
    versions: dict[str, str]

    @property
    def record(self) -> dict[str, Any]:
        """How the label came about, as plain JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "frame"}


def molecule_of(frame: Frame) -> tuple[tuple[int, ...], int, int]:
    """Atomic numbers in their order, total charge, spin multiplicity."""
    numbers = tuple(int(z) for z in frame.atomic_numbers)
    return numbers, frame.total_charge, frame.spin_multiplicity


def label_task(frame: Frame, method: Method, device: str = "cpu") -> Outcome:
    """Label a frame in this process, warm where the same molecule was here before.

    On a GPU, one of `CHECK_EVERY` frames is compared with the CPU. Raises what
    `datagen.labels.single_point.label_frame` raises, `DeviceDisagreementError`, and what
    `failing_with` makes of the failure of a GPU.
    """
    molecule, backend = (*molecule_of(frame), method), backend_of(device)
    with failing_with(device):
        result = label_frame(frame, method, density=_densities.get(molecule), backend=backend)
    _densities[molecule] = result.density
    _densities.move_to_end(molecule)
    while len(_densities) > _MAX_DENSITIES:
        _densities.popitem(last=False)
    if device != "cpu":
        if _labelled[molecule] % CHECK_EVERY == 0:
            cross_check(result, method)
        _labelled[molecule] += 1
    return Outcome(
        frame=result.frame,
        scf_stage=result.scf_stage,
        warnings=result.warnings,
        wall_time=result.wall_time,
        host=socket.gethostname(),
        versions=backend.versions(),
    )
