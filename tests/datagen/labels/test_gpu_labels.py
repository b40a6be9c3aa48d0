"""Labels of a GPU are those of the CPU, on a stand-in for GPU4PySCF that has its traps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from gpu_kit import stand_in_gpu
from label_kit import water_in_charges

from datagen.campaigns import worker
from datagen.errors import (
    DeviceDisagreementError,
    DeviceError,
    MemoryLimitError,
    WorkerDiedError,
)
from datagen.labels import cross_check, devices, scf
from datagen.labels.backend import mm_sites
from datagen.labels.calculator import ReferenceCalculator
from datagen.labels.devices import backend_of
from datagen.labels.gpu4pyscf_backend import GPU4PySCF, HostField
from datagen.labels.method import Method
from datagen.labels.plain_pyscf import PlainPySCF, bare_mean_field
from datagen.labels.single_point import label_frame

LABELS = ("energy", "energy_vacuum", "qm_forces", "mm_forces", "mm_potential", "dipole")
CATION = {"total_charge": 1, "spin_multiplicity": 2}
QUICK = Method(functional="hf", basis="sto-3g")
PURE = Method(functional="pbe", basis="def2-svp", grid_level=0)
"""Its auxiliary basis, def2-universal-jfit, is not the one that a hybrid has."""
CASES = [
    pytest.param(water_in_charges(), PURE, id="rks"),
    pytest.param(replace(water_in_charges(1), **CATION), PURE, id="uks"),
    pytest.param(water_in_charges(2), replace(QUICK, density_fit=False), id="rhf"),
    pytest.param(replace(water_in_charges(3), **CATION), QUICK, id="uhf"),
    pytest.param(water_in_charges(4).in_vacuum(), QUICK, id="gas"),
]


@pytest.fixture
def gpu() -> Iterator[pytest.MonkeyPatch]:
    with stand_in_gpu() as patch:
        yield patch


@pytest.fixture
def fresh_worker(gpu, monkeypatch):
    monkeypatch.setattr(worker, "_densities", type(worker._densities)())
    monkeypatch.setattr(worker, "_labelled", type(worker._labelled)())


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("frame", "method"), CASES)
def test_every_label_is_that_of_plain_pyscf_to_the_last_digit(frame, method):
    method = replace(method, vacuum_energy=True, charges=("mulliken", "lowdin", "iao"))
    found = label_frame(frame, method, backend=backend_of("gpu")).frame
    expected = label_frame(frame, method, backend=PlainPySCF()).frame
    for name in LABELS:
        pair = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(*pair, rtol=1e-13, atol=1e-12, err_msg=name)
    assert found.charges.keys() == set(method.charges)
    for scheme, charges in expected.charges.items():
        np.testing.assert_allclose(found.charges[scheme], charges, atol=1e-12, err_msg=scheme)


@pytest.mark.usefixtures("gpu")
def test_other_charges_around_the_same_atoms_are_not_those_of_the_frame_before():
    frame = water_in_charges()
    label_frame(frame, QUICK, backend=backend_of("gpu"))
    turned = replace(frame, mm_charges=-frame.mm_charges)
    found = label_frame(turned, QUICK, backend=backend_of("gpu")).frame
    expected = label_frame(turned, QUICK, backend=PlainPySCF()).frame
    assert found.energy == pytest.approx(expected.energy, abs=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
def test_hard_frames_go_through_the_same_stages_on_the_gpu(monkeypatch):
    monkeypatch.setattr(GPU4PySCF, "run", lambda *_: False)
    monkeypatch.setattr(scf, "_run_damped", _damped_in_vain)
    result = label_frame(water_in_charges(), QUICK, backend=backend_of("gpu"))
    assert result.scf_stage == "newton"
    expected = label_frame(water_in_charges(), QUICK).frame
    assert result.frame.energy == pytest.approx(expected.energy, abs=1e-7)


def _damped_in_vain(field, real=scf._run_damped):
    real(field)
    return False


@pytest.mark.usefixtures("gpu")
def test_the_calculator_computes_on_the_device_that_it_is_given():
    frame = water_in_charges()
    calculators = [
        ReferenceCalculator(QUICK, frame.mm_charges, frame.mm_positions, device=device)
        for device in devices.DEVICES
    ]
    assert [type(each._backend) is GPU4PySCF for each in calculators] == [False, True]
    with pytest.raises(DeviceError, match="device is 'cuda'; expected cpu or gpu"):
        ReferenceCalculator(QUICK, device="cuda")


def test_without_gpu4pyscf_or_a_device_there_is_a_sentence(gpu):
    gpu.setenv("STAND_IN_NO_DEVICE", "1")
    with pytest.raises(DeviceError, match=r"cannot use one here \(cudaErrorNoDevice: no CUDA-cap"):
        backend_of("gpu")
    gpu.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"needs cupy, which is not .*pip install 'eqmm\[gpu\]'"):
        backend_of("gpu")


@pytest.mark.parametrize(("limit", "expected"), [(None, 7_200_000_000), ("3000000000", 3 * 10**9)])
def test_the_limit_of_cupys_pool_outlives_the_import_that_overrides_it(gpu, limit, expected):
    if limit is not None:
        gpu.setenv("CUPY_GPU_MEMORY_LIMIT", limit)
    backend_of("gpu")
    import cupy

    assert cupy.get_default_memory_pool().get_limit() == expected


def _fitted_too_late(self, molecule, frame, method):
    from gpu4pyscf.qmmm import mm_charge

    field = bare_mean_field(molecule, method).to_gpu().density_fit()
    return HostField(mm_charge(field, *mm_sites(frame), unit="Bohr"))


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_worker")
def test_another_auxiliary_basis_passes_every_check_but_that_with_the_cpu(monkeypatch):
    worker.label_task(water_in_charges(), PURE, "gpu")
    worker._labelled.clear()
    monkeypatch.setattr(GPU4PySCF, "mean_field", _fitted_too_late)
    with pytest.raises(DeviceDisagreementError, match="differs from the CPU's by"):
        worker.label_task(water_in_charges(), PURE, "gpu")


@pytest.mark.usefixtures("fresh_worker")
def test_the_first_frame_of_each_molecule_is_checked_and_some_after_it(monkeypatch):
    checked = []
    monkeypatch.setattr(worker, "CHECK_EVERY", 3)
    monkeypatch.setattr(worker, "cross_check", lambda result, _: checked.append(result.frame))
    outcomes = [worker.label_task(water_in_charges(n), QUICK, "gpu") for n in range(4)]
    assert [frame.energy for frame in checked] == [outcomes[n].frame.energy for n in (0, 3)]
    worker.label_task(replace(water_in_charges(), **CATION), QUICK, "gpu")
    assert len(checked) == 3
    worker._labelled.clear()
    worker.label_task(water_in_charges(), QUICK)
    assert len(checked) == 3, "labels of the CPU have nothing to be compared with"


@pytest.mark.usefixtures("fresh_worker")
def test_a_label_names_the_programs_that_made_it():
    found = worker.label_task(water_in_charges(), QUICK, "gpu").versions
    assert found["gpu4pyscf"] == "1.9.0+stand-in"
    assert {"pyscf", "cupy"} <= found.keys()
    assert "gpu4pyscf" not in worker.label_task(water_in_charges(), QUICK).versions


@pytest.mark.usefixtures("fresh_worker")
@pytest.mark.parametrize(
    ("kind", "message", "expected", "sentence"),
    [
        ("CUDARuntimeError", "cudaErrorIllegalAddress: 0x1", WorkerDiedError, "the GPU failed"),
        ("CUDARuntimeError", "cudaErrorMemoryAllocation: no", MemoryLimitError, "more memory"),
        ("CUDADriverError", "CUDA_ERROR_ECC_UNCORRECTABLE: x", WorkerDiedError, "the GPU failed"),
        ("OutOfMemoryError", "Out of memory allocating 12 bytes", MemoryLimitError, "more memory"),
    ],
)
def test_a_gpu_that_failed_is_told_from_one_that_is_full(
    monkeypatch, kind, message, expected, sentence
):
    backend_of("gpu")
    import cupy

    monkeypatch.setattr(GPU4PySCF, "gradients", _raises(getattr(cupy, kind), message))
    with pytest.raises(expected, match=rf"{sentence}.*\({message.partition(':')[0]}"):
        worker.label_task(water_in_charges(), QUICK, "gpu")


def _raises(kind, message):
    def raise_anew(*_):
        raise kind(message)

    return raise_anew


@pytest.mark.parametrize(
    ("name", "changed", "excess"),
    [
        ("energy", {"energy": 5.0}, 1e5),
        ("mm_forces", {"mm_forces": np.array([[0.0, 3e-4, 0.0]])}, 1.5),
        ("charges/mulliken", {"charges": {"mulliken": np.array([0.0, np.nan])}}, np.nan),
    ],
)
def test_the_worst_difference_is_named_in_units_of_its_tolerance(name, changed, excess):
    frame = replace(
        water_in_charges(n_charges=1),
        energy=1.0,
        mm_forces=np.zeros((1, 3)),
        charges={"mulliken": np.zeros(2)},
    )
    assert cross_check.worst_difference(frame, frame)[1] == 0.0
    found = cross_check.worst_difference(replace(frame, **changed), frame)
    assert found == (name, pytest.approx(excess, rel=0.5, nan_ok=True))
