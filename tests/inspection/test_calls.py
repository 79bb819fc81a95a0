"""around_ops: every call of an op is seen, and the ops' own methods come back, in whatever order blocks end."""

import numpy as np

from minidl import Tensor
from minidl import functional as F
from minidl.autograd.tape import all_declarations, on_declared
from minidl.inspection.calls import around_ops


def methods():
    return {
        kind: (d.forward, d.backward, d.fused, d.adds) for kind, d in all_declarations().items()
    }


def test_blocks_that_end_in_any_order():
    x, seen = Tensor(np.ones(2, "float32"), requires_grad=True), []
    F.relu(x).sum().backward()
    before = methods()

    def noting(name):
        def wrap(method, fn):
            def noted(op, *args):
                seen.append((name, type(op).__name__, method))
                return fn(op, *args)

            return noted

        return wrap

    first, second = around_ops(noting("a")), around_ops(noting("b"))
    first.__enter__()
    second.__enter__()
    F.relu(x)
    first.__exit__(None, None, None)
    F.relu(x).backward(np.ones(2, "float32"))
    second.__exit__(None, None, None)
    F.relu(x)
    kind = seen[0][1]
    assert seen == [
        ("b", kind, "forward"), ("a", kind, "forward"), ("b", kind, "forward"), ("b", kind, "fused"),
    ]  # fmt: skip
    assert methods() == before and on_declared == []
