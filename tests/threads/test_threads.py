"""Several threads of Python at once. (stress.py runs the same jobs for longer.)"""

import os
import sys
import sysconfig
import threading

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.threads import stress


def together(fn, threads=4):
    """fn(number) in so many threads that begin at once; what they returned, or raised."""
    barrier, results = threading.Barrier(threads), [None] * threads

    def work(number):
        barrier.wait()
        try:
            results[number] = fn(number)
        except Exception as error:
            results[number] = error

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.setswitchinterval(before)
    return results


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED") or os.environ.get("PYTHON_GIL") == "1",
    reason="this Python has a GIL",
)
def test_the_gil_stays_off():
    assert not sys._is_gil_enabled()


def test_all_jobs_at_once():
    done, findings = stress.run(0.7, 4)
    assert not findings, "\n".join(findings)
    assert sum(done.values()) > 4


def test_gradients_of_all_threads_are_added():
    """To leaves that have a gradient, and to those that have none yet."""
    for _ in range(10):
        w, v = (md.Tensor(np.ones(1000), requires_grad=True) for _ in range(2))
        together(lambda _, w=w, v=v: [(w * v).sum().backward() for _ in range(5)])
        assert (w.grad._data == 20).all() and (v.grad._data == 20).all()


def test_one_mode_object_in_many_threads():
    off, w = md.no_grad(), md.Tensor(1.0, requires_grad=True)

    def work(number):
        for _ in range(50):
            with off:
                assert not (w * 2).requires_grad
                with md.enable_grad():
                    assert (w * 2).requires_grad
                assert not (w * 2).requires_grad
            assert (w * 2).requires_grad
        return True

    assert together(work) == [True] * 4 and off.entries == []


def test_a_shape_is_inferred_once():
    x = md.Tensor(np.ones((2, 3), np.float32))
    for _ in range(10):
        layer = nn.PReLU()
        slopes = together(lambda _, layer=layer: (layer(x), layer.slope._data)[1])
        assert all(slope is layer.slope._data for slope in slopes), slopes


def test_a_scope_makes_a_parameter_once():
    for i in range(10):
        layers = together(lambda _, i=i: nn.PReLU(4, scope=f"threads {i}"))
        assert len({id(layer.slope) for layer in layers}) == 1, layers


def test_a_captured_step_runs_in_one_thread_at_a_time():
    inside, go = threading.Event(), threading.Event()

    def slow(x):
        inside.set()
        go.wait(10)
        return x * 2

    step, x = md.capture(slow), md.Tensor([1.0, 2.0])
    other = threading.Thread(target=step, args=(x,))
    other.start()
    inside.wait(10)
    with pytest.raises(RuntimeError, match="running already"):
        step(x)
    with pytest.raises(RuntimeError, match="running already"):  # which has not let another one in
        step(x)
    go.set()
    other.join()
    assert (step(x).data == [2, 4]).all()


def test_another_thread_computes_while_a_step_is_recorded():
    """In memory of its own, and it finds itself recording nothing; its own step runs as it is meanwhile."""
    x = md.Tensor([1.0, 2.0])
    found = []

    def outer(x):
        y = x * 2
        other = threading.Thread(target=lambda: found.append(md.capture(lambda x: x * 3)(x).data))
        other.start()
        other.join()
        return y + 1

    step = md.capture(outer)
    for _ in range(3):
        assert (step(x).data == [3, 5]).all()
    assert len(found) == 1 and (found[0] == [3, 6]).all()
