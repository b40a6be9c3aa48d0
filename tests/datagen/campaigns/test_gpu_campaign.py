"""Campaigns on GPUs: one process a device, and a sentence where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyscf")

from campaign_kit import OPTIONS, QUICK, fake_label, ledger, results, waters
from gpu_kit import stand_in_gpu

from datagen.campaigns import campaign as campaign_module
from datagen.campaigns import frame_loop, gpu
from datagen.campaigns.campaign import Campaign, label_frames
from datagen.campaigns.config import ExecutorConfig, load_campaign_config, open_executor
from datagen.campaigns.gpu import GPUProcesses, device_names
from datagen.campaigns.worker import molecule_of
from datagen.cli import cli
from datagen.errors import (
    DeviceDisagreementError,
    DeviceError,
    MemoryLimitError,
    WorkerDiedError,
)
from datagen.labels.plain_pyscf import PlainPySCF
from datagen.labels.single_point import label_frame
from datagen.processes.executors import InThisProcess, LocalProcesses
from datagen.processes.guarded_process import Limits
from eqmm_ase.command_line import run as run_command
from eqmm_ase.files.dataset_file import ReferenceData, write_frames
from eqmm_ase.settings_reader import ConfigError


@pytest.fixture
def stand_in() -> Iterator[pytest.MonkeyPatch]:
    with stand_in_gpu() as patch:
        yield patch


@pytest.mark.slow
def test_each_process_sees_one_device_and_they_share_the_cores(stand_in, monkeypatch):
    stand_in.setenv("CUDA_VISIBLE_DEVICES", "4, 7,GPU-3f")
    monkeypatch.setattr(gpu, "cores", lambda: 7)
    with GPUProcesses((0, 2), Limits()) as executor:
        assert (executor.slots, executor.device) == (2, "gpu")
        calls = [worker.call for worker in executor._workers]
        assert [call(os.getenv, "CUDA_VISIBLE_DEVICES") for call in calls] == ["4", "GPU-3f"]
        assert {call(os.getenv, "OMP_NUM_THREADS") for call in calls} == {"3"}
        assert {call(eval, "'gpu4pyscf' in __import__('sys').modules") for call in calls} == {True}


@pytest.mark.parametrize(
    ("visible", "devices", "expected"),
    [
        (None, None, ["0"]),
        (None, (0, 1), ["0", "1"]),
        ("3", None, ["3"]),
        ("5,6", None, ["5", "6"]),
        ("5,6", (1,), ["6"]),
    ],
)
def test_devices_are_counted_among_those_that_are_visible(stand_in, visible, devices, expected):
    if visible is not None:
        stand_in.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device_names(devices) == expected


@pytest.mark.parametrize(("visible", "devices"), [("5", (1,)), ("", None), ("", (0,))])
def test_a_device_that_is_not_visible_is_a_sentence(stand_in, visible, devices):
    stand_in.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(DeviceError, match=r"was asked for, but CUDA_VISIBLE_DEVICES is '5?' and"):
        device_names(devices)


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
def test_campaign_on_gpus_has_the_labels_of_the_cpu_and_names_the_programs(tmp_path):
    (tmp_path / "campaign.yaml").write_text("executor: {name: gpu, devices: [0, 1]}\n")
    config, _ = load_campaign_config(tmp_path)
    with Campaign(tmp_path, QUICK) as campaign:
        campaign.add(waters(3))
        with open_executor(config.executor, tmp_path) as executor:
            campaign.run(executor)
        assert campaign.collect(tmp_path / "labels.h5") == 3
    with ReferenceData.open(tmp_path / "labels.h5") as data:
        labelled, method = data.load(), data.method
    assert method["program"] == "pyscf"
    assert method["versions"]["gpu4pyscf"] == "1.9.0+stand-in"
    for found, frame in zip(labelled, waters(3), strict=True):
        expected = label_frame(frame, QUICK, backend=PlainPySCF()).frame
        assert found.energy == pytest.approx(expected.energy, abs=1e-8)
        np.testing.assert_allclose(found.mm_forces, expected.mm_forces, atol=1e-5)


def test_frames_of_one_molecule_are_computed_one_after_the_other(tmp_path, monkeypatch):
    computed = []

    def noted(frame, method, device):
        computed.append((molecule_of(frame), device))
        return fake_label(frame, method)

    monkeypatch.setattr(frame_loop, "label_task", noted)
    mixed = [replace(frame, spin_multiplicity=1 + 2 * (n % 2)) for n, frame in enumerate(waters(6))]
    with Campaign(tmp_path, QUICK) as campaign:
        campaign.add(mixed)
        campaign.run(InThisProcess("gpu"))
    changes = [before != after for (before, _), (after, _) in pairwise(computed)]
    assert sum(changes) == 1
    assert {device for _, device in computed} == {"gpu"}


@pytest.mark.parametrize(("error", "code"), [(DeviceDisagreementError, 1), (DeviceError, 2)])
def test_a_gpu_that_disagrees_stops_the_campaign_and_no_frame_is_to_blame(
    tmp_path, monkeypatch, capsys, error, code
):
    def disagree(frame, method, device):
        raise error("energy of the GPU differs")

    monkeypatch.setattr(frame_loop, "label_task", disagree)
    monkeypatch.setattr(campaign_module, "local_executor", lambda *_: InThisProcess("gpu"))
    assert command(tmp_path, "--device", "gpu") == code
    assert "error: energy of the GPU differs" in capsys.readouterr().err
    folder = tmp_path / "labels.h5.campaign"
    assert [state for _, state, _ in ledger(folder)] == ["waiting", "waiting"]
    assert not results(folder)


@pytest.mark.slow
@pytest.mark.parametrize("error", [WorkerDiedError, MemoryLimitError])
def test_a_process_that_says_that_it_is_of_no_more_use_is_replaced(error):
    with LocalProcesses(1) as executor:
        first = executor.submit(os.getpid).result()
        assert isinstance(executor.submit(_of_no_more_use, error).exception(), error)
        assert executor.submit(os.getpid).result() != first


def _of_no_more_use(error: type[Exception]) -> None:
    raise error("the GPU failed (cudaErrorIllegalAddress)")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "gpu", "workers": 2}, "executor gpu with executor.workers = 2; it has one"),
        ({"devices": (0,)}, "only the executor gpu has a use for them"),
        ({"name": "gpu", "devices": (0, 0)}, "expected numbers from 0, each once"),
        ({"name": "gpu", "devices": (-1,)}, "expected numbers from 0, each once"),
        ({"name": "gpu", "devices": ()}, "expected numbers from 0, each once"),
        ({"name": "gpu", "parsl_config": "x.py"}, "no other has a use for it"),
        ({"name": "parsl-gpu"}, "the executors parsl and parsl-gpu need that file"),
    ],
)
def test_settings_that_contradict_each_other_are_a_sentence(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ExecutorConfig(**settings)


def command(folder: Path, *words: str) -> int:
    frames = folder / "frames.h5"
    write_frames(frames, waters(2), {})
    given = ["label", str(frames), "-o", str(folder / "labels.h5"), *OPTIONS[:-2], *words]
    return run_command(cli, "eqmm-datagen", given)


@pytest.mark.slow
def test_a_device_that_cannot_be_used_is_exit_code_2_and_a_sentence(tmp_path, stand_in, capsys):
    stand_in.setenv("STAND_IN_NO_DEVICE", "1")
    assert command(tmp_path, "--device", "gpu") == 2
    error = capsys.readouterr().err
    assert "error: device gpu was given, but GPU4PySCF cannot use one here" in error
    assert "Traceback" not in error


def test_workers_have_no_effect_beside_a_gpu(tmp_path, capsys):
    assert command(tmp_path, "--device", "gpu", "--workers", "2") == 2
    assert "--workers has no effect beside --device gpu" in " ".join(
        capsys.readouterr().err.split()
    )
    with pytest.raises(DeviceError, match="device is 'cuda'; expected cpu or gpu"):
        label_frames([], QUICK, tmp_path / "campaign", device="cuda")


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
def test_the_command_labels_on_a_gpu(tmp_path):
    assert command(tmp_path, "--device", "gpu") == 0
    with ReferenceData.open(tmp_path / "labels.h5") as data:
        assert data.method["versions"]["gpu4pyscf"] == "1.9.0+stand-in"
        assert len(data.load()) == 2
