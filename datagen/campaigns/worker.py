"""Label one frame after another in a worker process, starting each where the last ended."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Any

from datagen.labels.method import Method, program_versions
from datagen.labels.single_point import label_frame
from datagen.labels.warm_start import WarmDensity
from eqmm_ase.data.frame import Frame

_MAX_DENSITIES = 16
_densities: OrderedDict[Hashable, WarmDensity] = OrderedDict()


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


def label_task(frame: Frame, method: Method) -> Outcome:
    """Label a frame in this process, warm where the same molecule was here before.

    Raises what `datagen.labels.single_point.label_frame` raises.
    """
    molecule = (
        tuple(int(z) for z in frame.atomic_numbers),
        frame.total_charge,
        frame.spin_multiplicity,
        method,
    )
    result = label_frame(frame, method, density=_densities.get(molecule))
    _densities[molecule] = result.density
    _densities.move_to_end(molecule)
    while len(_densities) > _MAX_DENSITIES:
        _densities.popitem(last=False)
    return Outcome(
        frame=result.frame,
        scf_stage=result.scf_stage,
        warnings=result.warnings,
        wall_time=result.wall_time,
        host=socket.gethostname(),
        versions=program_versions(),
    )
