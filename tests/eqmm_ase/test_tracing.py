"""A trace holds what a function does, for all inputs of its shapes and all weights."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch

from eqmm_ase.tracing import StagedTrace, Trace, UntraceableError

pytestmark = pytest.mark.skipif(
    not hasattr(torch._C, "_create_graph_by_tracing"), reason="torch has no interpreter"
)


def layer(weight: torch.Tensor, bias: torch.Tensor, constant: torch.Tensor):
    """A function of x: a small network, and its derivative."""

    def run(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = x.detach().requires_grad_()
        y = torch.nn.functional.silu(torch.nn.functional.linear(x, weight.square(), bias))
        (gradient,) = torch.autograd.grad((y * constant).sum(), x)
        return y.detach(), gradient

    return run


@pytest.fixture
def parts():
    """Two sets of weights, a constant, and two inputs."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(3, 4), (3,), (3, 4), (3,), (2, 3), (2, 4), (2, 4)]
    return [torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes]


def close(found, expected) -> None:
    # Some roundings of numbers of order one.
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


def test_one_trace_serves_all_weights_and_inputs(parts):
    weight, bias, other_weight, other_bias, constant, x, other_x = parts
    trace = Trace(layer(weight, bias, constant), [x], [weight, bias])
    program = trace.program([other_weight, other_bias])
    again = trace.program([weight, bias])
    for value in (x, other_x):
        close(program(value), layer(other_weight, other_bias, constant)(value))
        close(again(value), layer(weight, bias, constant)(value))


def test_what_depends_on_weights_alone_is_done_once(parts):
    weight, bias, *_, constant, x, other_x = parts
    program = Trace(layer(weight, bias, constant), [x], [weight, bias]).program([weight, bias])
    expected = program(other_x)
    before = weight.clone()
    weight.mul_(2.0)  # their square has been taken
    close(program(other_x), expected)
    close(program(other_x), layer(before, bias, constant)(other_x))


VALUES = {
    "a number": lambda x: (x * float(x[0]),),
    "a condition": lambda x: (x if x[0] > 0.0 else -x,),
    "a selection": lambda x: (x[x > 0.0],),
}


@pytest.mark.parametrize("case", VALUES)
def test_what_depends_on_values_is_refused(case):
    with pytest.raises(UntraceableError, match="depends on the values"):
        Trace(VALUES[case], [torch.tensor([1.0, -1.0])], [])


def test_what_writes_over_a_tensor_is_refused():
    with pytest.raises(UntraceableError, match="writes over"):
        Trace(lambda x: (x.clone().add_(1.0),), [torch.zeros(2)], [])


def test_values_that_no_input_enters_may_decide(parts):
    weight, x = parts[0], parts[5]
    trace = Trace(lambda y: (y * float(weight.sum()),), [x], [])
    close(trace.program([])(2.0 * x), [2.0 * x * float(weight.sum())])


def test_other_threads_do_not_notice_and_are_not_noticed(parts):
    weight, bias, *_, constant, x, other_x = parts
    module = torch.nn.Linear(4, 4).double()
    results = []

    def interrupted(value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        thread = threading.Thread(target=lambda: results.append(module(other_x)))
        thread.start()
        thread.join()
        return layer(weight, bias, constant)(value)

    trace = Trace(interrupted, [x], [weight, bias])
    close(results, [module(other_x)])
    assert "addmm" in str(trace._of_inputs)
    assert str(trace._of_inputs).count("addmm") == 1  # not that of the module
    close(trace.program([weight, bias])(other_x), layer(weight, bias, constant)(other_x))


@pytest.mark.slow
def test_a_trace_that_nobody_needs_leaves_nothing_behind(parts):
    weight, bias, *_, constant, x, _ = parts
    kept = len(torch.jit._state._python_cu.get_functions())
    trace = Trace(layer(weight, bias, constant), [x], [weight, bias])
    gone = weakref.ref(trace)
    trace.program([weight, bias])(x)
    del trace
    gc.collect()
    assert gone() is None
    assert len(torch.jit._state._python_cu.get_functions()) == kept


def cubed(weight: torch.Tensor, constant: torch.Tensor):
    """Of x, the value and the derivative of a cube in two stages; the second for the weight."""

    def run(x: torch.Tensor, weight: torch.Tensor):
        with torch.enable_grad():
            x, own = (tensor.detach().requires_grad_() for tensor in (x, weight))
            value = ((x @ own.T) ** 3 * constant.square()).sum(0)
            (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)

        def back(*cotangents: torch.Tensor):
            return torch.autograd.grad((value, slope), own, cotangents, retain_graph=True)

        return (value.detach(), slope.detach()), back

    return run


def test_both_stages_of_a_trace_hold_for_all_inputs(parts):
    weight, _, other_weight, _, _, x, other_x = parts
    constant = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    function = cubed(weight, constant)
    trace = StagedTrace(function, [x, weight])
    for values in ((x, weight), (other_x, other_weight), (x, other_weight)):
        expected, back = function(*values)
        found, carried = trace.first(*values)
        close(found, expected)
        for cotangents in ([2.0 * part for part in found], [part.square() for part in found]):
            close(trace.second(carried, cotangents), back(*cotangents))


def test_stages_that_depend_on_values_are_refused():
    def first(x):
        return (x[x > 0.0],), lambda cotangent: (cotangent,)

    def second(x):
        return (x,), lambda cotangent: (cotangent * float(x[0]),)

    for function in (first, second):
        with pytest.raises(UntraceableError, match="depends on the values"):
            StagedTrace(function, [torch.tensor([1.0, -1.0])])
