"""Parsl behind the interface of the other executors, tried on its local provider."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("parsl")
pytest.importorskip("pyscf")

from campaign_kit import QUICK, waters
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

import datagen
from datagen.campaigns import parsl
from datagen.campaigns.campaign import Campaign
from datagen.campaigns.config import ExecutorConfig, load_campaign_config, open_executor
from datagen.campaigns.parsl import ParslWorkers, _pass_on, _read_config
from datagen.campaigns.worker import label_task
from datagen.errors import CampaignError, FrameTimeoutError, WorkerDiedError
from datagen.processes.executors import InThisProcess
from datagen.processes.guarded_process import Limits
from eqmm_ase.files.dataset_file import read_frames

ROOT = Path(datagen.__file__).parents[1]
LOCAL = f"""
from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

provider = LocalProvider(init_blocks=1, max_blocks=1, worker_init="export PYTHONPATH={ROOT}")
config = Config(
    initialize_logging=False,  # it leaves its file open
    executors=[
        HighThroughputExecutor(
            label="here", max_workers_per_node=2, address="127.0.0.1", provider=provider
        )
    ]
)
"""


@pytest.mark.slow  # Parsl's own processes need several seconds to start and to end
def test_campaign_on_parsl_has_the_labels_of_this_process_and_its_limits(tmp_path):
    (tmp_path / "local.py").write_text(LOCAL)
    (tmp_path / "campaign.yaml").write_text(
        "executor: {name: parsl, parsl_config: local.py, workers: 2, timeout: 5}\n"
    )
    config, _ = load_campaign_config(tmp_path)
    with open_executor(config.executor, tmp_path) as executor:
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        assert isinstance(executor.submit(time.sleep, 60).exception(), FrameTimeoutError)
        assert isinstance(executor.submit(os._exit, 3).exception(), WorkerDiedError)
        assert isinstance(executor.submit(int, "x").exception(), ValueError)
        with Campaign(tmp_path, QUICK) as campaign:
            campaign.add(waters(3))
            campaign.run(executor)
            assert campaign.collect(tmp_path / "labels.h5") == 3
    assert (tmp_path / "parsl").is_dir(), "Parsl's logs belong into the campaign folder"
    for label, frame in zip(read_frames(tmp_path / "labels.h5"), waters(3), strict=True):
        direct = label_task(frame, QUICK).frame
        assert label.energy == pytest.approx(direct.energy, abs=1e-8)
        np.testing.assert_allclose(label.mm_forces, direct.mm_forces, atol=1e-5)


class _Executor:
    label = "here"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (WorkerLost(1, "node"), WorkerDiedError),
        (ManagerLost(b"1", "node"), WorkerDiedError),
        (BadStateException(_Executor(), RuntimeError("no nodes")), CampaignError),
        (FrameTimeoutError("slow"), FrameTimeoutError),
    ],
)
def test_errors_of_parsl_are_told_apart_from_those_of_frames(error, expected):
    task, answer = Future(), Future()
    task.set_exception(error)
    _pass_on(task, answer)
    assert type(answer.exception()) is expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no Parsl configuration"),
        ("config = 3", "defines config = 3; expected a parsl.Config"),
        ("", "defines config = None"),
    ],
)
def test_parsl_configuration_that_is_none_is_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "parsl_config.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises((CampaignError, FileNotFoundError), match=sentence):
        ParslWorkers(path, 1, Limits(), tmp_path)


@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("example", "device", "memory"), [("slurm", "cpu", 3.5), ("slurm_gpu", "gpu", 60.0)]
)
def test_examples_for_slurm_are_configurations_that_parsl_accepts(example, device, memory):
    folder = ROOT / "scripts" / "examples" / example
    config, method = load_campaign_config(folder)
    assert method is not None
    assert config.executor.limits == Limits(timeout=3600, memory=memory)
    parsl_config = _read_config(folder / config.executor.parsl_config)
    (executor,) = parsl_config.executors
    nodes = executor.provider.max_blocks * executor.provider.nodes_per_block
    assert config.executor.workers == nodes * executor.max_workers_per_node
    assert (device == "gpu") == (len(executor.available_accelerators) == 4)


def test_parsl_on_gpus_computes_labels_there(tmp_path, monkeypatch):
    monkeypatch.setattr(parsl, "ParslWorkers", lambda *_: InThisProcess())
    for name, device in {"parsl": "cpu", "parsl-gpu": "gpu"}.items():
        settings = ExecutorConfig(name=name, parsl_config="parsl.py")
        assert open_executor(settings, tmp_path).device == device
