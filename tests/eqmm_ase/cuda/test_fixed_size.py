"""Steps of fixed sizes give what the network gives, and nothing in them waits for a device."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ase import Atoms
from calculator_kit import SMALL, assert_same, methanol, random_model
from device_kit import Operations, as_on_a_device, batch, waits

from eqmm_ase.cuda.fixed_size import Room, Step, predict_in_room
from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import predict_each

CONFIGS = {
    "default": SMALL,
    "potential only": replace(SMALL, l_expansion=0, n_near=0),
    "not polarisable": replace(SMALL, polarisable=False, multipoles=False),
    "short cutoffs": replace(SMALL, cutoff=2.0, near_cutoff=3.0),
}
AMPLE = Room(64, 128)


@pytest.fixture(autouse=True)
def _as_on_a_device():
    with as_on_a_device():
        yield


def stretched() -> Atoms:
    """Methanol without one hydrogen: fewer edges within any cutoff."""
    atoms = methanol()
    atoms.positions[-1] += (4.0, 0.0, 0.0)
    return atoms


FRAMES = {
    "in charges": batch(methanol()),
    "many charges": batch(methanol(0.2), 40, seed=5),
    "one charge": batch(methanol(), 1),
    "no charges": batch(methanol(), 0),
    "fewer edges": batch(stretched()),
    "an atom": batch(Atoms("O")),
}


def step_of(models: list[MultiscaleModel], frames: FrameBatch, room: Room = AMPLE) -> Step:
    return predict_in_room(models, models[0].elements(frames.atomic_numbers), frames, room)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("case", FRAMES)
def test_a_step_gives_what_the_network_gives(config, case):
    models = [random_model(seed, CONFIGS[config]).double() for seed in (1, 2)]
    found = step_of(models, FRAMES[case])
    for own, expected in zip(found.each, predict_each(models, FRAMES[case]), strict=True):
        assert own.keys() == expected.keys()
        assert not any(x.requires_grad for x in own.values())
        assert_same(own.values(), expected.values())


def test_rows_without_a_pair_change_nothing():
    # To the last bit, but that sums of another length may be added up in another order.
    model, frames = random_model().double(), FRAMES["in charges"]
    number = Room(*step_of([model], frames).pairs.tolist())
    tight, wide = (step_of([model], frames, room).each[0] for room in (number, Room(300, 3000)))
    for name, expected in tight.items():
        assert torch.isfinite(wide[name]).all()
        torch.testing.assert_close(wide[name], expected, rtol=0.0, atol=1e-12)


def test_the_number_of_pairs_is_known_also_without_room_for_them():
    model, frames = random_model().double(), FRAMES["in charges"]
    features = model.features(frames)
    edges = len(features.neighbourhood.edges.receiver)
    near = len(features._near.pairs.receiver)
    assert edges == 30
    assert near > 2
    for room in (AMPLE, Room(), Room(7, 2)):
        assert step_of([model], frames, room).pairs.tolist() == [edges, near]


def test_pairs_with_room_are_the_first_ones_and_no_others():
    # A pair beyond what there is room for must not overwrite another's row.
    atoms = Atoms("OO", [(0, 0, 0), (1.0, 0, 0)])
    model = random_model().double()
    frames = FrameBatch.from_frames([Frame(atoms.numbers, atoms.positions)])
    full, half = (step_of([model], frames, Room(rows)).each[0] for rows in (2, 1))
    assert not torch.allclose(full.qm_forces, half.qm_forces)
    assert torch.isfinite(half.qm_forces).all()


@pytest.fixture(params=CONFIGS)
def on_meta(request) -> tuple[MultiscaleModel, FrameBatch]:
    """A model and a frame on the device that has no memory: values do not exist there."""
    model = random_model(0, CONFIGS[request.param]).double().to("meta").requires_grad_(False)
    frames = FRAMES["in charges"].to("meta")
    frames.qm_frame_index()
    return model, frames


def test_no_operation_waits_for_the_device(on_meta):
    model, frames = on_meta
    elements = torch.zeros_like(frames.atomic_numbers)
    predict_in_room([model], elements, frames, AMPLE)  # constants are made and brought there
    with Operations() as operations:
        predict_in_room([model], elements, frames, AMPLE)
    assert len(operations.steps) > 150
    assert waits(operations) == []


def test_what_the_network_does_elsewhere_would_wait(on_meta):
    model, frames = on_meta
    with pytest.raises(NotImplementedError, match="nonzero"):
        model.features(frames)


def test_operations_and_shapes_are_the_same_for_all_positions():
    model, names = random_model().double(), []
    for case in ("in charges", "fewer edges"):
        frames = FRAMES[case]
        elements = model.elements(frames.atomic_numbers)
        frames.qm_frame_index()
        step_of([model], frames)
        with Operations() as operations:
            predict_in_room([model], elements, frames, AMPLE)
        assert waits(operations) == []
        names.append(operations.names)
    assert names[0] == names[1]
