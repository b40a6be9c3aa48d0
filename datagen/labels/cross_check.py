"""Labels of a GPU compared with the CPU's: the same frame, method and electronic state by PySCF.

A label is checked against itself wherever it was made, but what is wrong in all its parts alike, a
functional or an auxiliary basis, shows only beside another program's. GPU4PySCF has had such
faults, and some only on one kind of device or when its memory was short.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from datagen.errors import DeviceDisagreementError
from datagen.labels.method import Method
from datagen.labels.single_point import LabelResult, label_frame
from eqmm_ase.data.frame import Frame
from eqmm_ase.units import HARTREE

CHECK_EVERY = 64
"""The first frame of a molecule in each process, and every 64th after it (1.6 %), is checked."""

TOLERANCES: Mapping[str, float] = {
    "energy": 1e-6 * HARTREE,
    "energy_vacuum": 1e-6 * HARTREE,
    "qm_forces": 2e-4,
    "mm_forces": 2e-4,
    "mm_potential": 2e-4,
    "dipole": 2e-4,
    "charges": 2e-4,
}
"""eV, eV/Å, V, e·Å, e, largest component. Forces of one program differ by 6e-6 eV/Å between starts
at the default thresholds, and what a model misses is a hundred times these numbers; the wrong order
of wrappers (0.4 eV/Å) or another auxiliary basis (1e-4 Hartree) is beyond them."""

_DEFAULT_GRADIENT = Method.conv_tol_grad


def cross_check(result: LabelResult, method: Method) -> None:
    """Label the frame of a result on the CPU, from its own density, and compare.

    Raises
    ------
    DeviceDisagreementError
        Naming the label that differs most, beside its tolerance.
    InvalidFrameError, SCFNotConvergedError, LabelCheckError
        From the calculation on the CPU, as in `label_frame`.
    """
    expected = label_frame(result.frame, method, density=result.density).frame
    looseness = max(1.0, method.conv_tol_grad / _DEFAULT_GRADIENT)
    name, excess = worst_difference(result.frame, expected)
    if not excess <= looseness:
        allowed = TOLERANCES[name.partition("/")[0]]
        raise DeviceDisagreementError(
            f"{name} of the GPU differs from the CPU's by {excess * allowed:.1e} (eV, Å, e), more "
            f"than {looseness * allowed:.1e}: this campaign has labels that cannot be trusted; "
            "compare versions of gpu4pyscf and driver, and begin it anew on the CPU"
        )


def worst_difference(found: Frame, expected: Frame) -> tuple[str, float]:
    """The label that differs most, and by how many times its tolerance; NaN is worse than any."""
    excess = {
        name: _difference(getattr(found, name), getattr(expected, name)) / tolerance
        for name, tolerance in TOLERANCES.items()
        if name != "charges"
    }
    for scheme, charges in expected.charges.items():
        difference = _difference(found.charges[scheme], charges)
        excess[f"charges/{scheme}"] = difference / TOLERANCES["charges"]
    return max(excess.items(), key=lambda item: np.nan_to_num(item[1], nan=np.inf))


def _difference(found: object, expected: object) -> float:
    """Largest difference of a component; none where neither has the label."""
    if found is None and expected is None:
        return 0.0
    difference = np.abs(np.asarray(found, dtype=np.float64) - np.asarray(expected, np.float64))
    return float(difference.max(initial=0.0))
