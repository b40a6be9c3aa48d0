"""Whatever computes a label, the label is the same: own kernels, plain PySCF, and a GPU if any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from label_kit import water_in_charges

from datagen.errors import DeviceError
from datagen.labels.accelerated.accelerated_pyscf import ACCELERATED
from datagen.labels.cross_check import worst_difference
from datagen.labels.devices import backend_of
from datagen.labels.method import Method
from datagen.labels.plain_pyscf import PlainPySCF
from datagen.labels.single_point import label_frame
from eqmm_ase.data.frame import Frame

CATION = {"total_charge": 1, "spin_multiplicity": 2}
TIGHT = {"conv_tol": 1e-12, "conv_tol_grad": 1e-8, "vacuum_energy": True}
SCHEMES = ("mulliken", "lowdin", "iao", "resp")

# Two densities that are converged to 1e-8 differ by it in first order; energies in second.
TOLERANCES = {"energy": 1e-7, "energy_vacuum": 1e-7, "qm_forces": 1e-5, "mm_forces": 1e-6}
TOLERANCES |= {"mm_potential": 1e-6, "dipole": 1e-6}
"""eV, eV/Å, V, e·Å."""


def hydrogen_iodide() -> Frame:
    """Iodine, whose core is a potential in the usual basis sets, among charges."""
    around = water_in_charges(n_charges=30)
    positions = around.qm_positions.mean(0) + np.array([[0.0, 0.0, 0.0], [0.3, 0.2, 1.57]])
    apart = np.linalg.norm(around.mm_positions[:, None] - positions, axis=2).min(1)
    far = apart > 2.5
    return Frame(np.array([53, 1]), positions, around.mm_positions[far], around.mm_charges[far])


CASES = [
    pytest.param(water_in_charges(), {"charges": SCHEMES}, id="rks"),
    pytest.param(replace(water_in_charges(1), **CATION), {"dispersion": "d3bj"}, id="uks-d3"),
    pytest.param(water_in_charges(2), {"functional": "hf", "density_fit": False}, id="rhf"),
    pytest.param(water_in_charges(3), {"functional": "tpss"}, id="meta-gga"),
    pytest.param(water_in_charges(4), {"functional": "pbe0", "basis": "6-31+g*"}, id="diffuse"),
    pytest.param(hydrogen_iodide(), {"functional": "pbe", "basis": "def2-svp"}, id="core"),
    pytest.param(water_in_charges().in_vacuum(), {}, id="gas"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("frame", "settings"), CASES)
def test_every_label_is_the_same_by_own_kernels_and_by_plain_pyscf(frame, settings):
    method = Method(**{"basis": "6-31g", "grid_level": 1, **TIGHT, **settings})
    quick, plain = (
        label_frame(frame, method, backend=backend).frame for backend in (ACCELERATED, PlainPySCF())
    )
    for name, tolerance in TOLERANCES.items():
        found, expected = getattr(quick, name), getattr(plain, name)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)
    assert quick.charges.keys() == plain.charges.keys() == set(method.charges)
    for scheme, expected in plain.charges.items():
        np.testing.assert_allclose(quick.charges[scheme], expected, atol=1e-6, err_msg=scheme)


@pytest.fixture(scope="module")
def gpu():
    """The backend of a GPU that is really there."""
    try:
        return backend_of("gpu")
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # GPU4PySCF's advice on libraries
@pytest.mark.parametrize(("frame", "settings"), CASES)
def test_every_label_of_a_gpu_is_that_of_the_cpu_within_the_tolerances_of_campaigns(
    gpu, frame, settings
):
    method = Method(**{"basis": "6-31g", "grid_level": 1, **TIGHT, **settings})
    found, expected = (label_frame(frame, method, backend=b).frame for b in (gpu, ACCELERATED))
    name, excess = worst_difference(found, expected)
    assert excess <= 1.0, name
