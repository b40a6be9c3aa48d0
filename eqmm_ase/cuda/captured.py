"""Models on a CUDA device, whose steps, where one size comes often, are replayed as a CUDA graph.

A step is some hundred small operations, and to start each of them takes longer than the device
needs for it. A graph has them all, with the addresses of their inputs and results, and is started
at once. It holds for one number of QM atoms and of charges, and for the rows that lists of pairs
have (`eqmm_ase.cuda.fixed_size`), and is captured anew when these change. The computer waits for
the device after a step only, for the numbers of pairs and for results.

On other devices the same steps run without a graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from eqmm_ase.cuda.fixed_size import Room, Step, predict_in_room
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.committee import Spread, mean_and_spread
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import Prediction, predict_each
from eqmm_ase.network.traced import is_network_alone

PATIENCE = 5
"""Steps of one size before it is captured, which takes about as many."""
_WARM_UP = 3  # as torch advises: libraries make their workspaces in the first steps
_ROUND = 64
_FIRST_ROOM = Room(_ROUND, _ROUND)
_SPARE = 1.25  # rows for a quarter more pairs than there were, or a liquid would ask for more often

_ON_CPU = ("qm_ptr", "mm_ptr")


class CapturedModels:
    """Predictions of models of one configuration on one device, by steps of fixed sizes.

    Not for several threads at once.

    Parameters
    ----------
    models
        On one device, with weights that stay as they are.
    """

    def __init__(self, models: Sequence[MultiscaleModel]) -> None:
        self.models = list(models)
        self._device = next(self.models[0].parameters()).device
        self._plain = all(map(is_network_alone, self.models))
        self._numbers = torch.empty(0, dtype=torch.int64)
        self._elements = self._numbers
        self._room = _FIRST_ROOM
        self._step: _StepOfOneSize | None = None

    def __call__(self, frames: FrameBatch) -> list[Prediction]:
        """Predictions of all models, on their device.

        Parameters
        ----------
        frames: on the CPU, best, as elements are looked up there.

        Raises
        ------
        UnknownElementError: names the element.
        """
        if not self._plain or frames.n_frames != 1:
            return predict_each(self.models, frames.to(self._device))
        self._look_up(frames.atomic_numbers.cpu())
        while True:
            step = self._step_for(frames)(self._elements, frames)
            needed = Room(*step.pairs.tolist())  # here the computer waits for the device
            if needed.edges <= self._room.edges and needed.near <= self._room.near:
                return step.each
            self._room = _grown(self._room, needed)

    def mean_and_spread(self, frames: FrameBatch) -> tuple[Prediction, Spread]:
        """As `eqmm_ase.network.committee.mean_and_spread`."""
        return mean_and_spread(self(frames))

    @property
    def captured(self) -> bool:
        """Whether steps of the last size are replayed as a CUDA graph."""
        return self._step is not None and self._step.captured

    def _look_up(self, numbers: torch.Tensor) -> None:
        """Elements of the atoms, anew only where they are not those of the last call."""
        if not torch.equal(numbers, self._numbers):
            self._elements = self.models[0].elements(numbers.to(self._device))
            if len(numbers) != len(self._numbers):
                self._room = _FIRST_ROOM
            self._numbers = numbers.clone()

    def _step_for(self, frames: FrameBatch) -> _StepOfOneSize:
        size = len(frames.qm_positions), len(frames.mm_positions), self._room
        if self._step is None or self._step.size != size:
            self._step = None  # frees its memory before the next one takes its own
            self._step = _StepOfOneSize(self.models, frames.to(self._device), self._room)
        return self._step

    def __getstate__(self) -> dict[str, Any]:
        # Graphs can be neither copied nor pickled.
        return {"models": self.models}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class _StepOfOneSize:
    """A step whose inputs stand at fixed addresses, and from some call on its graph."""

    def __init__(self, models: Sequence[MultiscaleModel], like: FrameBatch, room: Room) -> None:
        self.size = len(like.qm_positions), len(like.mm_positions), room
        self._models, self._room = models, room
        copies = {f.name: getattr(like, f.name).clone() for f in fields(like)}
        self._frames = replace(like, **copies)
        self._elements = torch.zeros_like(like.atomic_numbers)
        self._calls = 0
        self._replay: Callable[[], None] | None = None
        self._found: Step | None = None
        self._capturable = like.qm_positions.device.type == "cuda"

    def __call__(self, elements: torch.Tensor, frames: FrameBatch) -> Step:
        self._elements.copy_(elements)
        for field in fields(frames):
            if field.name not in _ON_CPU:
                getattr(self._frames, field.name).copy_(getattr(frames, field.name))
        self._calls += 1
        if self._calls > PATIENCE and self._capturable and self._replay is None:
            self._capture()
        if self._replay is None or self._found is None:
            return self._run()
        self._replay()
        return _copied(self._found)

    @property
    def captured(self) -> bool:
        """Whether there is a graph."""
        return self._replay is not None

    def _run(self) -> Step:
        return predict_in_room(self._models, self._elements, self._frames, self._room)

    def _capture(self) -> None:
        try:
            self._replay, self._found = capture(self._run, self._elements.device)
        except RuntimeError as error:
            self._capturable = False
            warnings.warn(
                f"the step was not captured as a CUDA graph ({str(error).splitlines()[0]}); "
                "results are the same, but each step takes longer",
                RuntimeWarning,
                stacklevel=2,
            )


def capture(run: Callable[[], Step], device: torch.device) -> tuple[Callable[[], None], Step]:
    """The operations of a step as a CUDA graph: what replays it, and the results that it fills."""
    with torch.cuda.device(device):
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                run()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on: what they do with the device is not part of this graph.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = run()
    return graph.replay, found


def _copied(step: Step) -> Step:
    """Results that the next step does not write over."""
    each = [Prediction({n: x.clone() for n, x in own.items()}) for own in step.each]
    return Step(each, step.pairs.clone())


def _grown(room: Room, needed: Room) -> Room:
    """Room for what is needed and some more; where there is enough, it stays."""
    return Room(
        *(
            own if enough <= own else _ROUND * -(-int(_SPARE * enough) // _ROUND)
            for own, enough in zip(room, needed, strict=True)
        )
    )
