"""Batches, splits, scales and errors: what training makes of frames."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from eqmm_ase.data.frame import Frame
from eqmm_ase.data.quantities import QUANTITIES
from eqmm_ase.data.selection import choose_charge_scheme, split
from eqmm_ase.evaluation.metrics import ALL, ErrorSums
from eqmm_ase.files.dataset_file import read_frames
from eqmm_ase.network.batch import FrameBatch, FrameDataset, collate
from eqmm_ase.network.expansion import expand
from eqmm_ase.network.prediction import Prediction
from eqmm_ase.training.batches import RoundSampler
from eqmm_ase.training.scales import fit_atomic_energies, fit_potential_scale, fit_statistics
from eqmm_ase.units import KCAL_PER_MOL


@pytest.fixture(scope="module")
def methanol(methanol_file):
    return read_frames(methanol_file)


def frame_from(source: str = "", number: int = 0) -> Frame:
    return Frame(np.array([1]), np.full((1, 3), float(number)), source=source, energy=float(number))


def test_a_batch_is_its_frames_laid_end_to_end(methanol):
    mixed = [methanol[0], methanol[1].in_vacuum(), methanol[2]]
    batch = collate([FrameDataset(mixed, "mulliken")[i] for i in (2, 0, 1)])
    assert batch.index.tolist() == [2, 0, 1]
    assert batch.frames.mm_ptr.diff().tolist() == [mixed[2].n_mm, mixed[0].n_mm, 0]
    expected = FrameBatch.from_frames([mixed[2], mixed[0], mixed[1]], torch.float32)
    for field in fields(FrameBatch):
        torch.testing.assert_close(getattr(batch.frames, field.name), getattr(expected, field.name))
    forces = np.concatenate([mixed[2].mm_forces, mixed[0].mm_forces])
    np.testing.assert_allclose(batch.labels.mm_forces, forces)


def test_labels_that_are_not_known_are_nan_and_energies_stay_double(methanol):
    labels = FrameDataset([methanol[0].in_vacuum()], "mulliken")[0].labels
    assert all(label.isnan().all() for label in labels.values())
    known = FrameDataset([methanol[0]], "mulliken")[0].labels
    assert known.energy.dtype == torch.float64
    assert known.energy.item() == methanol[0].energy
    assert not known.charges.isnan().any()
    assert FrameDataset([methanol[0]], None)[0].labels.charges.isnan().all()


def sampler_at(step: int, n_frames: int, batch_size: int, length: int, seed: int = 0, **ranks):
    return RoundSampler(n_frames, batch_size, length, seed, lambda: step, **ranks)


def test_batches_depend_on_seed_and_step_only():
    batches = [batch for step in (0, 7, 14) for batch in sampler_at(step, 23, 4, 7)]
    assert len(batches) == 21
    assert batches == list(sampler_at(0, 23, 4, 21))
    assert batches != list(sampler_at(0, 23, 4, 21, seed=6))


def test_every_pass_uses_each_frame_at_most_once_and_shuffles_anew():
    batches = list(sampler_at(0, 20, 5, 8))
    first, second = np.concatenate(batches[:4]), np.concatenate(batches[4:])
    assert sorted(first) == sorted(second) == list(range(20))
    assert first.tolist() != second.tolist()


def test_processes_that_train_together_share_a_pass_without_overlap():
    ranks = [sampler_at(0, 24, 3, 4, rank=r, world_size=2) for r in range(2)]
    seen = [index for sampler in ranks for batch in sampler for index in batch]
    assert sorted(seen) == list(range(24))


def test_every_process_gets_a_frame_where_there_are_few():
    ranks = [next(iter(sampler_at(0, 3, 10, 1, rank=r, world_size=2))) for r in range(2)]
    assert [len(batch) for batch in ranks] == [1, 1]
    assert ranks[0] != ranks[1]


def test_a_batch_is_never_larger_than_the_data():
    assert sorted(next(iter(sampler_at(0, 3, 10, 1)))) == [0, 1, 2]


def test_validation_holds_out_whole_trajectories():
    frames = [frame_from(f"t{i % 5}", i) for i in range(50)]
    training, validation, how = split(frames, 0.2, seed=3)
    assert {frames[i].source for i in training}.isdisjoint(frames[i].source for i in validation)
    assert len(validation) == 10
    assert sorted(training + validation) == list(range(50))
    assert how == "1 of 5 trajectories"


def test_without_three_trajectories_validation_is_drawn_at_random():
    frames = [frame_from(f"t{i % 2}", i) for i in range(50)]
    training, validation, how = split(frames, 0.1, seed=3)
    assert (len(training), len(validation), how) == (45, 5, "drawn at random")
    assert split(frames, 0.1, seed=3)[1] == validation
    assert split(frames, 0.1, seed=4)[1] != validation


@pytest.mark.parametrize("n_frames", [2, 3, 4])
def test_a_handful_of_frames_leaves_some_on_each_side(n_frames):
    training, validation, _ = split([frame_from(f"t{i}") for i in range(n_frames)], 0.1, seed=0)
    assert len(training) >= 1
    assert len(validation) == 1
    assert split([frame_from(f"t{i}") for i in range(n_frames)], 0.9, seed=0)[0]


def test_no_validation_where_none_is_wanted():
    assert split([frame_from(f"t{i}") for i in range(9)], 0.0, seed=0)[1] == []


def test_the_charge_scheme_is_the_commonest_and_then_the_best():
    def frame(*schemes):
        return replace(frame_from(), charges={scheme: np.zeros(1) for scheme in schemes})

    assert choose_charge_scheme([frame("mulliken", "mbis"), frame("mulliken", "mbis")]) == "mbis"
    assert choose_charge_scheme([frame("mulliken", "mbis"), frame("mulliken")]) == "mulliken"
    assert choose_charge_scheme([frame()]) is None
    with pytest.raises(ValueError, match="scheme 'resp'; known here: mulliken"):
        choose_charge_scheme([frame("mulliken")], "resp")


def test_atomic_energies_reproduce_energies_that_are_sums_over_atoms():
    truth = {1: -13.6, 6: -1030.0, 8: -2040.0}
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(8):
        numbers = rng.choice([1, 6, 8], size=rng.integers(3, 9))
        energy = sum(truth[z] for z in numbers)
        frames.append(Frame(numbers, np.zeros((len(numbers), 3)), energy=energy))
    np.testing.assert_allclose(
        fit_atomic_energies(frames, [1, 6, 8]), list(truth.values()), rtol=1e-9
    )


def test_one_composition_gets_the_smallest_atomic_energies_that_sum_to_its_mean(methanol):
    statistics = fit_statistics(methanol, 2)
    counts = torch.tensor([4.0, 1.0, 1.0], dtype=torch.float64)
    mean = np.mean([frame.energy for frame in methanol])
    assert counts @ statistics.atomic_energies == pytest.approx(mean)
    # Minimum norm: proportional to the numbers of atoms.
    torch.testing.assert_close(
        statistics.atomic_energies / counts, statistics.atomic_energies[1].expand(3)
    )
    forces = np.concatenate([frame.qm_forces.ravel() for frame in methanol])
    assert statistics.energy_scale == pytest.approx(np.sqrt(np.mean(forces**2)))


def test_the_potential_scale_is_the_rms_of_each_order(methanol):
    scale = fit_potential_scale(methanol, 3)
    tensors = expand(FrameBatch.from_frames(methanol), 3)
    for order in range(4):
        block = tensors[:, order**2 : (order + 1) ** 2]
        assert scale[order].item() == pytest.approx(block.pow(2).mean().sqrt().item())
    assert fit_potential_scale([methanol[0].in_vacuum()], 2).tolist() == [1.0, 1.0, 1.0]


def test_frames_without_energies_and_forces_teach_nothing(methanol):
    with pytest.raises(ValueError, match="none of the training frames has an energy or QM forces"):
        fit_statistics([methanol[0].in_vacuum()], 1)


def prediction_of(batch, **errors: float) -> Prediction:
    """The labels themselves, each component off by a constant."""
    parts = {
        name: getattr(batch.labels, name).nan_to_num() + errors.get(name, 0.0)
        for name in QUANTITIES
    }
    return Prediction(**parts)


def test_metrics_are_in_quoted_units_and_by_medium(methanol):
    frames = [methanol[0], replace(methanol[1], medium="protein")]
    dataset = FrameDataset(frames, "mulliken", torch.float64)
    sums = ErrorSums(dataset.media)
    sums.add(prediction_of(dataset[0], energy=KCAL_PER_MOL, charges=0.1), dataset[0])
    sums.add(prediction_of(dataset[1], energy=-3 * KCAL_PER_MOL, charges=0.1), dataset[1])
    result = sums.result()
    assert result["water"]["energy"]["mae"] == pytest.approx(1.0)
    assert result["protein"]["energy"]["mae"] == pytest.approx(3.0)
    assert result[ALL]["energy"]["mae"] == pytest.approx(2.0)
    assert result[ALL]["energy"]["rmse"] == pytest.approx(np.sqrt(5.0))
    assert result[ALL]["charges"]["mae"] == pytest.approx(0.1)
    assert result[ALL]["charges"]["count"] == 12


def test_the_relative_error_of_mm_forces_is_rms_over_rms(methanol):
    dataset = FrameDataset([methanol[0]], "mulliken", torch.float64)
    sums = ErrorSums(dataset.media)
    sums.add(prediction_of(dataset[0], mm_forces=0.01), dataset[0])
    rms = np.sqrt(np.mean(methanol[0].mm_forces.astype(float) ** 2))
    metrics = sums.result()[ALL]
    assert metrics["mm_forces"]["relative"] == pytest.approx(0.01 / rms)
    assert "relative" not in metrics["energy"]


@pytest.mark.parametrize("name", ["qm_forces", "mm_forces", "mm_potential", "charges", "dipole"])
def test_there_is_no_error_relative_to_a_reference_that_is_zero_within_its_resolution(
    methanol, name
):
    def metrics(size):
        frame = methanol[0]
        shapes = {
            "qm_forces": (6, 3),
            "mm_forces": (frame.n_mm, 3),
            "mm_potential": (frame.n_mm,),
            "charges": (6,),
            "dipole": (3,),
        }
        label = np.full(shapes[name], size)
        label = {"mulliken": label} if name == "charges" else label
        dataset = FrameDataset([replace(frame, **{name: label})], "mulliken", torch.float64)
        sums = ErrorSums(dataset.media)
        sums.add(prediction_of(dataset[0], **{name: 0.5}), dataset[0])
        return sums.result()[ALL][name]

    resolution = QUANTITIES[name].resolution
    for size in (0.0, 1e-12, 0.99 * resolution):
        assert "relative" not in metrics(size)
        assert metrics(size)["mae"] == pytest.approx(0.5 / QUANTITIES[name].factor)
    assert metrics(1.01 * resolution)["relative"] == pytest.approx(0.5 / (1.01 * resolution))


def test_metrics_count_known_labels_only_and_gas_phase_frames_have_no_mm_forces(methanol):
    dataset = FrameDataset([replace(methanol[0].in_vacuum(), energy=-1.0)], "mulliken")
    sums = ErrorSums(dataset.media)
    sums.add(prediction_of(dataset[0], energy=0.5), dataset[0])
    assert set(sums.result()[ALL]) == {"energy"}
    assert set(sums.result()) == {ALL, "gas"}
