"""What a GPU asks of a step, checked without one: its branches, and its graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from ase import Atoms
from calculator_kit import some_charges
from torch.utils._python_dispatch import TorchDispatchMode

from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch

BY_VALUE = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


def batch(atoms: Atoms, n_charges: int = 12, seed: int = 2, **region: int) -> FrameBatch:
    """A batch of one frame, of atoms in so many charges; in float64."""
    charges, positions = some_charges(max(1, n_charges), seed)
    around = positions[:n_charges], charges[:n_charges]
    frame = Frame(atoms.numbers, atoms.positions, *around, **region)
    return FrameBatch.from_frames([frame])


@contextmanager
def as_on_a_device() -> Iterator[None]:
    """Let tensors on the CPU go the ways of those that are not: none of its compiled loops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cpu", property(lambda _: False))
        yield


class Operations(TorchDispatchMode):
    """All operations while it is entered, with what each was given and gave."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        self.steps.append((func, args, kwargs or {}, results))
        return results

    @property
    def names(self) -> list[str]:
        """In order, with the shapes of what they gave."""
        return [
            f"{func} {[tuple(x.shape) for x in tensors_in(results)]}"
            for func, _, _, results in self.steps
        ]


def waits(operations: Operations) -> list[str]:
    """Operations that make the computer wait for a device: results by value, or other devices."""
    found = []
    for func, args, kwargs, results in operations.steps:
        devices = {x.device.type for x in tensors_in([args, kwargs, results]) if x.dim()}
        if BY_VALUE & set(func.tags) or len(devices) > 1:
            found.append(str(func))
    return found


class RecordedGraph(Operations):
    """A CUDA graph's stand-in on the CPU: the operations of a call, at the addresses it had.

    Like a graph it knows nothing of Python: what depends on values in another way than through
    operations on the same memory stays what it was.
    """

    def replay(self) -> None:
        """Do all operations again, each with its results in the memory where they were."""
        for func, args, kwargs, results in self.steps:
            again = func(*args, **kwargs)
            for old, new in zip(tensors_in(results), tensors_in(again), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new.detach())


def record(run: Callable[[], Any], device: torch.device) -> tuple[Callable[[], None], Any]:
    """In the place of `eqmm_ase.cuda.captured.capture`."""
    run()  # constants are made
    graph = RecordedGraph()
    with graph:
        found = run()

    def replay() -> None:
        with torch.no_grad():
            graph.replay()

    return replay, found


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Tensors of nested tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return []
    return [x for item in value for x in tensors_in(item)]
