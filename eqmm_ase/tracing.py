"""Traces of functions: their operations, written down once and run by torch's interpreter.

``torch.fx`` traces by exchanging functions of torch for as long as it takes, under the feet of all
other threads. A dispatch mode sees the same operations, those of derivatives included, in its own
thread only. It sees tensors, not weights: what it saw holds for all functions of one form, and what
depends on weights alone is computed once for each of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Program = Callable[..., tuple[torch.Tensor, ...]]

# The interpreter is not made for later versions, and its successor needs a C++ compiler on every
# machine. `torch.jit.trace` itself keeps all that it ever traced, some MB each, and warns.
POSSIBLE = sys.version_info < (3, 14) and hasattr(torch._C, "_create_graph_by_tracing")

_BY_VALUE = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class UntraceableError(RuntimeError):
    """An operation that would not do the same for other inputs."""


class _Slot(int):
    """Number of a tensor among all that a tape has seen."""


class _Step(NamedTuple):
    operation: torch._ops.OpOverload
    arguments: Any  # tensors replaced by their slots, here and below
    options: Any
    results: Any


class _Tape(TorchDispatchMode):
    """Writes down all operations on tensors while it is entered, in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self.tensors: list[torch.Tensor] = []  # kept, or another may get the same address
        self._slots: dict[int, _Slot] = {}
        self._fresh: set[_Slot] = set()  # made by the last steps, and seen by nobody else yet

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        arguments = _map(args, torch.Tensor, self.slot)
        options = _map(kwargs, torch.Tensor, self.slot)
        results = func(*args, **kwargs)
        step = _Step(func, arguments, options, _map(results, torch.Tensor, self.slot))
        written = arguments[0] if arguments and isinstance(arguments[0], _Slot) else None
        if func._schema.is_mutable and written in self._fresh:
            # Derivatives of derivatives fill tensors that they have just made.
            self.steps.append(step._replace(operation=_out_of_place(func)))
            return results
        self._fresh.difference_update(_slots_in([arguments, options]))
        if func.overloadpacket is torch.ops.aten.empty_like:
            self._fresh.update(_slots_in(step.results))
        self.steps.append(step)
        return results

    def slot(self, tensor: torch.Tensor) -> _Slot:
        """Where a tensor, known or new, stands."""
        if id(tensor) not in self._slots:
            self._slots[id(tensor)] = _Slot(len(self.tensors))
            self.tensors.append(tensor)
        return self._slots[id(tensor)]


class Trace:
    """The operations of a function of inputs and weights.

    Parameters
    ----------
    function
        Takes the inputs and returns a tuple of tensors; the weights it knows itself. What it does
        must depend on the shapes of the inputs only.
    inputs, weights
        To trace it with. All other tensors that it uses are constants.

    Raises
    ------
    UntraceableError
        An operation depends on values of the inputs, or writes over a tensor.
    """

    def __init__(
        self,
        function: Program,
        inputs: Sequence[torch.Tensor],
        weights: Sequence[torch.Tensor],
    ) -> None:
        tape = _Tape()
        self._inputs = [tape.slot(tensor) for tensor in inputs]
        self._weights = [tape.slot(tensor) for tensor in weights]
        with tape:
            found = function(*inputs)
        self._outputs = [tape.slot(tensor) for tensor in found]
        self._of_weights, self._of_inputs, depending = _divided(tape.steps, self._inputs)

        made = {slot for step in tape.steps for slot in _slots_in(step.results)}
        used = {slot for step in self._of_inputs for slot in _slots_in(step[1:3])}
        self._prepared = sorted(used.union(self._outputs) - depending)
        outside = {slot for step in tape.steps for slot in _slots_in(step[1:3])} - made
        self._constants = {
            slot: tape.tensors[slot].detach()
            for slot in outside.union(self._prepared) - made - depending - set(self._weights)
        }
        self._run = _compiled(self._replay, [*inputs, *self._prepare(weights)])

    def program(self, weights: Sequence[torch.Tensor]) -> Program:
        """The function with these weights, which must stay as they are."""
        prepared = self._prepare(weights)

        def run(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            with torch.no_grad(), _unoptimised():
                return self._run(*inputs, *prepared)

        return run

    def _prepare(self, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        known = {**self._constants, **dict(zip(self._weights, weights, strict=True))}
        with torch.no_grad():
            _do(self._of_weights, known)
            return [known[slot].detach() for slot in self._prepared]

    def _replay(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        known = dict(zip([*self._inputs, *self._prepared], tensors, strict=True))
        _do(self._of_inputs, known)
        return tuple(known[slot] for slot in self._outputs)


class StagedTrace:
    """The operations of a function in two stages, as of a value and, later, its derivatives.

    What the second stage takes from the first is handed over, not computed again.

    Parameters
    ----------
    function
        Takes the inputs and returns a tuple of tensors, and a function that takes as many tensors
        of the same shapes and returns a tuple. What both do must depend on the shapes of the inputs
        only.
    inputs
        To trace it with. All other tensors that it uses are constants.

    Raises
    ------
    UntraceableError
        As `Trace`.
    """

    def __init__(
        self,
        function: Callable[..., tuple[tuple[torch.Tensor, ...], Program]],
        inputs: Sequence[torch.Tensor],
    ) -> None:
        tape = _Tape()
        self._inputs = [tape.slot(tensor) for tensor in inputs]
        with tape:
            found, go_on = function(*inputs)
        first_outputs = [tape.slot(tensor) for tensor in found]
        later = [torch.ones_like(tensor) for tensor in found]
        self._later = [tape.slot(tensor) for tensor in later]
        with tape:
            found = go_on(*later)
        self._results = [tape.slot(tensor) for tensor in found]

        _, steps, depending = _divided(tape.steps, [*self._inputs, *self._later])
        self._first, self._second, of_later = _divided(steps, self._later)
        needed = {slot for step in self._second for slot in _slots_in(step[1:3])}
        needed.update(self._results)
        constant = {slot for step in steps for slot in _slots_in(step[1:3])}.union(needed)
        self._constants = {slot: tape.tensors[slot].detach() for slot in constant - depending}
        self._n_outputs = len(first_outputs)
        self._outputs = [*first_outputs, *sorted((needed & depending) - of_later)]

        own = list(inputs)
        self._run_first = _compiled(self._do_first, own)
        carried = self._run_first(*own)[self._n_outputs :]
        self._run_second = _compiled(self._do_second, [*carried, *later])

    def first(
        self, *inputs: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """What the function returns, and what its second stage will need."""
        with torch.no_grad(), _unoptimised():
            found = self._run_first(*inputs)
        return found[: self._n_outputs], found[self._n_outputs :]

    def second(
        self, carried: Sequence[torch.Tensor], later: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """What the second stage returns."""
        with torch.no_grad(), _unoptimised():
            return self._run_second(*carried, *later)

    def _do_first(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self._done(self._first, self._inputs, tensors, self._outputs)

    def _do_second(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        slots = [*self._outputs[self._n_outputs :], *self._later]
        return self._done(self._second, slots, tensors, self._results)

    def _done(
        self,
        steps: Sequence[_Step],
        slots: Sequence[_Slot],
        tensors: Sequence[torch.Tensor],
        results: Sequence[_Slot],
    ) -> tuple[torch.Tensor, ...]:
        known = self._constants | dict(zip(slots, tensors, strict=True))
        _do(steps, known)
        return tuple(known[slot] for slot in results)


def _divided(
    steps: Sequence[_Step], inputs: Sequence[_Slot]
) -> tuple[list[_Step], list[_Step], set[_Slot]]:
    """Steps that no input enters, the others, and all that depends on inputs."""
    of_weights, of_inputs, depending = [], [], set(inputs)
    for step in steps:
        operation = step.operation
        if operation._schema.is_mutable:
            raise UntraceableError(f"{operation} writes over a tensor")
        if depending.isdisjoint(_slots_in(step[1:3])):
            of_weights.append(step)
            continue
        if not _BY_VALUE.isdisjoint(operation.tags):
            raise UntraceableError(f"what {operation} gives depends on the values of the inputs")
        of_inputs.append(step)
        depending.update(_slots_in(step.results))
    return of_weights, of_inputs, depending


def _out_of_place(operation: torch._ops.OpOverload) -> torch._ops.OpOverload:
    """``sub`` for ``sub_``: the same numbers in a new tensor."""
    if operation is torch.ops.aten.fill_.Scalar:
        return torch.ops.aten.full_like.default  # the interpreter does not know `fill`
    name = operation.overloadpacket.__name__.removesuffix("_")
    return getattr(getattr(torch.ops.aten, name), operation._overloadname)


def _do(steps: Sequence[_Step], known: dict[_Slot, torch.Tensor]) -> None:
    """Do again what was written down; `known` holds the tensors, and takes the results."""
    for step in steps:
        arguments = _map(step.arguments, _Slot, known.__getitem__)
        options = _map(step.options, _Slot, known.__getitem__)
        results = step.operation(*arguments, **options)
        known.update(zip(_slots_in(step.results), _found_in(results, torch.Tensor), strict=True))


def _compiled(function: Program, inputs: Sequence[torch.Tensor]) -> Program:
    """The operations of a function, as a program of torch's interpreter."""
    with torch.no_grad():
        graph = torch._C._create_graph_by_tracing(
            function,
            tuple(inputs),
            lambda tensor: "",  # names of variables
            True,  # strict
            False,  # in place stays in place
        )[0]
        program: Program = torch._C.CompilationUnit().create_function("program", graph)
        with _unoptimised():
            program(*inputs)  # the first time takes longer
    return program


def _unoptimised() -> AbstractContextManager[None]:
    # Its optimiser finds nothing in 600 operations, and takes twice as long as tracing them.
    return torch.jit.optimized_execution(False)  # type: ignore[attr-defined]


def _map(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Nested lists, tuples and dicts with everything of one kind replaced."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, list | tuple):
        return [_map(item, kind, function) for item in value]
    if isinstance(value, dict):
        return {name: _map(item, kind, function) for name, item in value.items()}
    return value


def _found_in(value: Any, kind: type) -> list[Any]:
    found: list[Any] = []
    _map(value, kind, found.append)
    return found


def _slots_in(value: Any) -> list[_Slot]:
    return _found_in(value, _Slot)
