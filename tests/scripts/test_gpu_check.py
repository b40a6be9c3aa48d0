"""The check of a GPU goes on when a part fails, and says of every part what became of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gpu_kit import stand_in_gpu
from label_kit import water_in_charges

from datagen.labels.method import Method
from scripts.device import check, environment, labels, network, precision, whole_system
from scripts.device.check import DONE, NO_DEVICE, Part
from scripts.device.figures import NotRunError, TooFarError, refuse_beyond
from scripts.docs.result_rows import gpu_check

QUICK = Method(functional="hf", basis="sto-3g", density_fit=False, vacuum_energy=True)
FINE: Callable[[], Any] = partial(dict, figure=1.5)


def outcomes(*parts: Part, **settings: Any) -> list[str]:
    found = check.check(parts, **{"device": "a device", **settings})
    return [part["outcome"] for part in found]


def test_a_part_that_fails_or_crashes_is_one_sentence_and_the_others_go_on(capsys) -> None:
    parts = (
        Part("raises", partial(int, "no number\nmore"), 60),
        Part("crashes", partial(os._exit, 3), 60),
        Part("fine", FINE, 60),
    )
    found = check.check(parts, "a device")
    assert [part["outcome"] for part in found] == [
        "failed: invalid literal for int() with base 10: 'no number\\nmore'",
        "failed: its process ended with exit code 3",
        DONE,
    ]
    assert [part["figures"] for part in found] == [{}, {}, {"figure": 1.5}]
    assert "crashes: failed" in capsys.readouterr().out


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_ended() -> None:
    begun = time.perf_counter()
    slow = Part("sleeps", partial(time.sleep, 600), 4)
    assert outcomes(slow, Part("fine", FINE, 60)) == ["failed: took longer than 4 s", DONE]
    assert time.perf_counter() - begun < 60


def test_what_has_not_begun_when_the_time_is_over_is_not_run() -> None:
    begun = time.perf_counter()
    slow = Part("sleeps", partial(time.sleep, 600), 100)
    found = outcomes(slow, Part("late", FINE, 60), total=2)
    assert found == ["failed: took longer than 2 s", "not run: the 2 s for all parts were over"]
    assert time.perf_counter() - begun < 60


def test_without_a_device_only_what_needs_none_is_run() -> None:
    parts = Part("device", partial(os._exit, 3), 60), Part("cpu", FINE, 60, on_device=False)
    assert outcomes(*parts, device=None) == [NO_DEVICE, DONE]


def test_parts_fit_into_the_time_if_each_takes_half_its_limit() -> None:
    assert sum(part.limit for part in check.PARTS) / 2 <= check.TOTAL <= 480


@pytest.fixture
def run(monkeypatch, tmp_path) -> Callable[..., tuple[int, dict[str, Any]]]:
    def run(*parts: Part, device: str | None = "a device") -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(check, "PARTS", parts)
        monkeypatch.setattr(environment, "cuda_device", lambda: device)
        path: Path = tmp_path / "check.json"
        code = check.main(["-o", str(path)])
        return code, json.loads(path.read_text(encoding="utf-8"))

    return run


def test_the_command_writes_all_parts_and_fails_where_one_did(run, capsys) -> None:
    wrong = Part("wrong", partial(int, "x"), 60)
    code, written = run(wrong, Part("fine", FINE, 60))
    assert code == 1
    assert written["device"] == "a device"
    assert [part["title"] for part in written["parts"]] == ["wrong", "fine"]
    assert written["versions"]["torch"] == torch.__version__
    assert "1.5" in capsys.readouterr().out.splitlines()[-1]


def test_the_command_does_not_fail_where_there_is_no_device(run) -> None:
    code, written = run(Part("device", FINE, 60), device=None)
    assert code == 0
    assert written["device"] is None
    assert [part["outcome"] for part in written["parts"]] == [NO_DEVICE]


def test_a_row_of_the_table_is_a_figure_or_what_became_of_the_part() -> None:
    parts = [
        {"title": "one", "outcome": DONE, "figures": {"a, eV": 2.34e-5, "b": "text"}},
        {"title": "two", "outcome": NO_DEVICE, "figures": {}},
    ]
    assert list(gpu_check({"parts": parts})) == [
        ["one", "a, eV", "2.3·10⁻⁵"],
        ["", "b", "text"],
        ["two", "", NO_DEVICE],
    ]


@pytest.fixture
def gpu() -> Iterator[None]:
    with stand_in_gpu():
        yield


@pytest.mark.slow
def test_labels_are_compared_in_a_process_of_their_own(gpu) -> None:
    frames = [water_in_charges(seed, 5) for seed in range(2)]
    cation = [replace(frame, total_charge=1, spin_multiplicity=2) for frame in frames]
    found = check.check(
        [Part("labels", partial(labels.compared, own, QUICK), 120) for own in (frames, cation)], "x"
    )
    for part in found:
        assert part["outcome"] == DONE
        *deviations, gpu_rate, cpu_rate = list(part["figures"].values())[1:]
        assert part["figures"]["frames"] == 2
        assert len(deviations) == len(labels.UNITS)
        assert max(deviations) < 2e-4
        assert min(gpu_rate, cpu_rate) > 10


@pytest.mark.parametrize("label", ["energy", "mm_potential", "charges"])
def test_a_label_that_differs_is_named(gpu, monkeypatch, label) -> None:
    real = labels.label_frame

    def wrong(frame, method, backend):
        result = real(frame, method, backend=backend)
        value = getattr(result.frame, label)
        if type(backend).__name__ == "GPU4PySCF":
            value = (
                {name: own + 1e-3 for name, own in value.items()}
                if isinstance(value, dict)
                else np.asarray(value) + 1e-3
            )
        return replace(result, frame=replace(result.frame, **{label: value}))

    monkeypatch.setattr(labels, "label_frame", wrong)
    with pytest.raises(TooFarError, match=f"{label}, .*: 1.0e-03, more than"):
        labels.compared([water_in_charges(0, 5)], QUICK)


def test_every_molecule_of_the_check_has_an_electron_count_that_fits() -> None:
    for name in labels.MOLECULES:
        frame = labels.frames_of(name, 1)[0]
        electrons = int(frame.atomic_numbers.sum()) - frame.total_charge
        assert electrons % 2 != frame.spin_multiplicity % 2
        apart = np.linalg.norm(frame.qm_positions[:, None] - frame.mm_positions, axis=2)
        assert apart.min() > 1.7
    assert frame.n_mm == 3000


def test_a_deviation_that_is_no_number_is_refused() -> None:
    with pytest.raises(TooFarError, match="energy: nan"):
        refuse_beyond({"energy": float("nan")}, {"energy": 1.0})


@pytest.mark.slow
def test_parts_of_the_network_run_where_the_device_is_the_cpu() -> None:
    with pytest.warns(UserWarning, match="uncertain"):
        assert set(network.deviations("cpu").values()) == {0.0}
    assert min(network.step_times(6, 30, "cpu", 1).values()) > 0
    assert network.training_step("cpu", 1)["relative deviation of the gradient, float64"] == 0.0


@pytest.mark.slow
def test_a_whole_system_runs_where_the_platform_is() -> None:
    found = whole_system.figures("CPU", 22.0, 1)
    assert found["forces, eV/Å"] == pytest.approx(0.0, abs=1e-9)
    assert found["a step, ms"] > found["classical, ms"]
    with pytest.raises(NotRunError, match="no platform Abacus"):
        whole_system.figures("Abacus")


def test_numbers_are_rounded_to_the_nearest_of_their_kind() -> None:
    values = torch.tensor([1.0, 1.0 + 2**-10, 1.0 + 2**-11, 1.0 + 3 * 2**-11, -3.14159274, 0.0])
    expected = [1.0, 1.0 + 2**-10, 1.0, 1.0 + 2**-9, -3.140625, 0.0]
    assert precision.tf32(values).tolist() == expected
    assert precision.bfloat16(torch.tensor([1.0 + 2**-7, 1.0 + 2**-9])).tolist() == [1 + 2**-7, 1.0]


@pytest.mark.slow
def test_rounded_products_deviate_in_their_order() -> None:
    found = precision.figures()
    forces = [found[f"QM forces, eV/Å, {kind}"] for kind in ("float32", "TF32", "bfloat16")]
    assert forces == sorted(forces)
    assert forces[0] < 1e-4 < 1e-3 < forces[1]
