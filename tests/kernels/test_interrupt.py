"""Ctrl-C in a long kernel: KeyboardInterrupt at once, nothing half done, and the next call is right."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals to itself")

PROGRAM = """
import os, signal, threading, time
import numpy as np
from minidl import _kernels as K

K.set_num_threads({threads})
image = np.ones((8, 32, 96, 96), "float32")
five, three = np.ones((192, 32, 5, 5), "float32"), np.ones((192, 32, 3, 3), "float32")
gy = np.ones((8, 192, 96, 96), "float32")
matrix, plane = np.ones((3000, 3000)), np.ones((1, 1, 1500, 1500), "float32")
last = np.ones((1, 1200, 1200, 4), "float32").transpose(0, 3, 1, 2)
line, numbers = np.ones((1, 1, 300_000), "float32"), np.ones(30_000_000)
pad, window = dict(padding=(2, 2)), ((151, 151), (1, 1), (75, 75))
calls = {{
    "matmul": lambda: K.matmul(matrix, matrix),
    "activation": lambda: K.activation_forward("gelu", numbers),
    "binary": lambda: K.binary("pow", numbers, numbers),
    "sum": lambda: K.sum_axes(numbers, (0,), False),
    "conv": lambda: K.conv_forward(image, five, **pad),
    "Winograd": lambda: K.conv_forward(image, three, padding=(1, 1)),
    "transposed": lambda: K.conv_input_grad(gy, five, (96, 96), **pad),
    "weights": lambda: K.conv_weight_grad(image, gy, (5, 5), **pad),
    "Winograd weights": lambda: K.conv_weight_grad(image, gy, (3, 3), padding=(1, 1)),
    "max_pool": lambda: K.max_pool_forward(plane, *window),
    "channels last": lambda: K.avg_pool_forward(last, (41, 41), (1, 1), (20, 20)),
    "spread": lambda: K.avg_pool_backward(plane, (1500, 1500), *window),
    "row": lambda: K.avg_pool_forward(line, (20_001,), (1,), (10_000,)),
}}
right = np.random.default_rng(0).normal(size=(400, 300))


def interrupted(call, name):
    "Repeats the call until the signal comes; the time that it takes to be noticed."
    sent = []
    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.02, send)
    used = K.memory_stats()["used"]
    try:
        timer.start()
        while True:
            call()
    except KeyboardInterrupt:
        late = time.perf_counter() - sent[0]
    timer.join()
    assert K.memory_stats()["used"] == used, (name, "scratch is lost")
    np.testing.assert_allclose(K.matmul(right.T, right), right.T @ right)
    return late


{body}
"""


def run(threads, body):
    code = PROGRAM.format(threads=threads, body=body)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("threads", [1, 2])
def test_a_long_kernel_is_stopped(threads):
    """Each of these takes seconds but for the elementwise ones, which are repeated."""
    body = """
for name, call in calls.items():
    late = interrupted(call, name)
    assert late < 2, (name, late)
print("done")
"""
    assert run(threads, body).strip() == "done"


def test_what_is_overwritten_is_overwritten_whole():
    """In place, a call that has begun ends: each element has gone through as many steps as all others."""
    body = """
weights = np.zeros(3_000_000, "float32")
gradient, product = np.ones_like(weights), np.zeros((1500, 1500))
count = np.zeros((), np.int64)
square = np.ones((1500, 1500))
def step():
    K.sgd_step([([weights], [gradient], None, [count], [1.0], [0.0], 0.0, False, 0.0)])
def add():
    K.binary("add", weights, gradient, out=weights)
def accumulate():
    K.matmul(square, square, out=product, accumulate=True)
for repeat in range(4):
    for call, array in ((step, weights), (add, weights), (accumulate, product)):
        interrupted(call, call.__name__)
        assert (array == array.flat[0]).all(), call.__name__
print("done")
"""
    assert run(2, body).strip() == "done"


def test_a_handler_that_returns_stops_nothing():
    body = """
matrix = np.ones((2500, 2500))  # long enough for a handler to run within
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(K.matmul(right.T, right)))
expected = calls["matmul"]()
timers = [threading.Timer(t, os.kill, (os.getpid(), signal.SIGINT)) for t in (0.01, 0.1, 0.2)]
for timer in timers:
    timer.start()
while any(timer.is_alive() for timer in timers):
    np.testing.assert_array_equal(calls["matmul"](), expected)
np.testing.assert_allclose(seen[0], right.T @ right)
print("done")
"""
    assert run(2, body).strip() == "done"
