"""What happens in the middle of adding gradients: another backward, of a signal handler or a `__del__`; an error."""

import numpy as np
import pytest

from minidl import Tensor
from minidl import _kernels as K


def leaf(grad=None):
    x = Tensor(np.zeros(3, "float32"), requires_grad=True)
    x.grad = grad
    return x


def when_first(monkeypatch, name, then):
    """Calls `then` in the first call of this kernel: that is when a signal handler or a `__del__` may run."""
    kernel, called = getattr(K, name), []

    def first(*arguments, **options):
        if not called:
            called.append(True)
            then()
        return kernel(*arguments, **options)

    monkeypatch.setattr(K, name, first)
    return called


def test_a_backward_in_the_middle_of_adding_to_a_gradient(monkeypatch):
    x = leaf(Tensor(np.ones(3, "float32")))
    y = (x * 2).sum()
    called = when_first(monkeypatch, "binary", lambda: (x * 10).sum().backward())
    y.backward()
    assert called and (x.grad.data == 13).all()


def test_a_backward_in_the_middle_of_giving_first_gradients(monkeypatch):
    a, b = leaf(), leaf()
    y = (a + b).sum()  # both get the same array: one a copy of it
    called = when_first(monkeypatch, "copy", lambda: ((a + b) * 10).sum().backward())
    y.backward()
    assert called and (a.grad.data == 11).all() and (b.grad.data == 11).all()


def test_a_gradient_that_is_taken_away_in_the_middle(monkeypatch):
    x = leaf(Tensor(np.ones(3, "float32")))
    y = (x * 2).sum()
    called = when_first(monkeypatch, "binary", lambda: setattr(x, "grad", None))
    y.backward()
    assert called and (x.grad.data == 2).all()


@pytest.mark.parametrize("had", [True, False])
def test_if_one_sum_fails_no_gradient_is_changed(monkeypatch, had):
    a, b, c = (leaf(Tensor(np.ones(3, "float32")) if had else None) for _ in range(3))
    before = [x.grad for x in (a, b, c)]
    y = (a + b + c).sum()
    kernel, calls = K.binary if had else K.copy, []

    def fails(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise MemoryError("no more")
        return kernel(*arguments, **options)

    monkeypatch.setattr(K, "binary" if had else "copy", fails)
    with pytest.raises(MemoryError, match="no more"):
        y.backward()
    assert all(x.grad is its for x, its in zip((a, b, c), before, strict=True))
