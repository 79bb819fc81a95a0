"""Recycled memory: fast again after its array's death, and never a moment before."""

import ctypes
import gc
import itertools
import os
import pickle
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from minidl._kernels.baseline import runtimecheck
from minidl._kernels.runtime import memory
from minidl._kernels.system import limits

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MB = 1 << 20


@pytest.fixture(autouse=True, scope="module")
def collect_quickly():
    """What earlier tests left behind (a million objects) is collected once, not in each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def start_with_nothing_kept(collect_quickly):
    limit = memory.memory_stats()["limit"]
    gc.collect()
    memory.release_memory()
    yield
    memory.set_memory_limit(limit)


def stats(key):
    return memory.memory_stats()[key]


def address(array):
    return array.__array_interface__["data"][0]


def owner(array):
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base


@pytest.mark.parametrize("dtype", ["float32", np.float64, np.dtype("int64"), bool, "uint8", "c8"])
@pytest.mark.parametrize(
    "shape", [(), 5, (0,), (3, 0, 2), [2, 3], (1,) * 20, (17, 3, 5), (512, 1025)]
)
def test_an_array_is_like_numpys(shape, dtype):
    x, expected = memory.empty(shape, dtype), np.empty(shape, dtype)
    assert x.shape == expected.shape and x.dtype == expected.dtype
    assert x.strides == expected.strides or x.size == 0
    assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned and not x.flags.owndata
    assert address(x) % 64 == 0
    assert type(owner(x)).__name__ == "Buffer"
    x[...] = 1
    assert (x == 1).all() and x.nbytes == expected.nbytes


@pytest.mark.parametrize("nbytes", [16384, 100_000, MB, 5 * MB])
def test_large_arrays_begin_in_the_middle_of_a_page(nbytes):
    """Behind one another, modulo a page, a loop's result would hold up the loads of its operand."""
    arrays = [memory.empty(nbytes, "uint8") for _ in range(3)]
    assert [address(x) % 4096 for x in arrays] == [2048] * 3


def test_arrays_do_not_overlap():
    arrays = [
        memory.empty(n, "uint8")
        for n in [*range(1, 3000, 7), 16383, 16384, 5 * MB, MB, MB - 64, MB + 1]
    ]
    for i, x in enumerate(arrays):
        x[...] = i % 251
    assert all((x == i % 251).all() for i, x in enumerate(arrays))
    spans = sorted((address(x), address(x) + x.nbytes) for x in arrays)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize("dtype", [object, "U3", "M8[s]", [("a", "f4")], ">f4"])
def test_dtypes_that_numpy_must_make(dtype):
    with pytest.raises(TypeError, match="expected a native bool or number"):
        memory.empty(3, dtype)


def test_bad_shapes():
    used = stats("used")
    with pytest.raises(ValueError, match="negative length on axis 1: -2"):
        memory.empty((3, -2), "f4")
    with pytest.raises(ValueError, match="at most 64 axes"):
        memory.empty((1,) * 65, "f4")
    with pytest.raises(TypeError):
        memory.empty((2.5,), "f4")
    for shape in [(2**40, 2**40), (2**62,), (2**46,)]:
        with pytest.raises(MemoryError, match="no memory for an array"):
            memory.empty(shape, "f4")
    assert stats("used") == used


def test_empty_like_keeps_a_dense_layout():
    channels_last = np.zeros((2, 5, 4, 3), "f4").transpose(0, 3, 1, 2)
    for x in [
        channels_last,
        channels_last[:1],
        np.zeros((3, 4, 5)).T,
        np.zeros((3, 1, 4)),
        np.array(2.0),
    ]:
        y = memory.empty_like(x)
        assert y.shape == x.shape and y.dtype == x.dtype and y.strides == x.strides
        assert y.flags.c_contiguous == x.flags.c_contiguous
        assert y.flags.f_contiguous == x.flags.f_contiguous
        y[...] = x
    whole = np.zeros((4, 6))
    odd = [whole[:, ::2], whole[::-1], whole[:, :3], np.broadcast_to(whole[0], (5, 6)), whole[:0].T]
    odd += [as_strided(whole, (2, 2), (8, 8)), as_strided(whole, (3, 2), (8, 16))]
    for x in odd:
        y = memory.empty_like(x)
        assert y.shape == x.shape and y.flags.c_contiguous


@pytest.mark.parametrize("nbytes", [1, 64, 1000, 12800, MB - 64, MB, 5 * MB, 33 * MB])
def test_a_dead_arrays_memory_comes_back(nbytes):
    first = memory.empty(nbytes, "uint8")
    place, before = address(first), memory.memory_stats()
    assert before["used"] >= nbytes
    del first
    assert stats("kept") - before["kept"] >= nbytes
    second = memory.empty(nbytes, "uint8")
    after = memory.memory_stats()
    assert address(second) == place
    assert after["hits"] == before["hits"] + 1 and after["misses"] == before["misses"]
    assert (after["kept"], after["used"]) == (before["kept"], before["used"])


def test_waste_is_bounded():
    for nbytes in [1025, 4097, 100_001, MB + 1, 17 * MB + 1, 33 * MB + 5]:
        before = stats("used")
        array = memory.empty(nbytes, "uint8")
        assert nbytes <= stats("used") - before <= nbytes * 1.125 + 64
        del array


VIEWERS = {
    "slice": lambda x: x[3:5],
    "element": lambda x: x[3, 2:3],
    "reshape": lambda x: x.reshape(-1),
    "transpose": lambda x: x.T,
    "slice of a slice": lambda x: x[1:][1:][::2],
    "reversed": lambda x: x[::-1],
    "other dtype": lambda x: x.view("uint8"),
    "real part": lambda x: x.view("c8").imag,
    "broadcast": lambda x: np.broadcast_to(x, (3, *x.shape)),
    "as_strided": lambda x: as_strided(x, (2,), (4,)),
    "subclass": lambda x: x.view(np.recarray),
    "array of the same memory": lambda x: np.asarray(x),
    "memoryview": memoryview,
    "slice of a memoryview": lambda x: memoryview(x)[2:4],
    "frombuffer": lambda x: np.frombuffer(x, "f4"),
    "dlpack": np.from_dlpack,
    "dlpack capsule": lambda x: x.__dlpack__(),
    "ctypes": lambda x: x.ctypes,
    "ctypes array": lambda x: np.ctypeslib.as_ctypes(x),
    "ctypes buffer": lambda x: (ctypes.c_char * x.nbytes).from_buffer(x),
    "data": lambda x: x.data,
    "iterator": lambda x: x.flat,
    "row iterator": lambda x: (lambda rows: (next(rows), rows))(iter(x)),
    "nditer": np.nditer,
    "base alone": lambda x: owner(x),
    "in an object array": lambda x: np.array([x, None], dtype=object),
    "in a cycle": lambda x: (lambda box: (box.append(box), box)[1])([x]),
    "picklebuffer": pickle.PickleBuffer,
}


@pytest.mark.parametrize("name", VIEWERS)
def test_visible_memory_is_never_reused(name):
    x = memory.empty((8, 6), "f4")
    x[...] = 7
    start, end = address(x), address(x) + x.nbytes
    raw = (ctypes.c_float * 48).from_address(start)
    used = stats("used")
    view = VIEWERS[name](x)
    del x
    others = [memory.empty((8, 6), "f4") for _ in range(20)]
    for other in others:
        other[...] = 0
    assert list(raw) == [7] * 48
    assert not any(start <= address(other) < end for other in others)
    del others, other
    assert stats("used") == used
    del view
    gc.collect()
    assert stats("used") < used


def test_stress_with_threads_and_random_lifetimes():
    """Every thread fills arrays, keeps views of them for a while and finds its own values there."""
    memory.set_memory_limit(8 * MB)  # so that allocations are freed as well as kept
    errors, exchange, door = [], [], threading.Lock()

    views = [
        lambda x: x,
        lambda x: x[len(x) // 2 :],
        lambda x: x[::3],
        lambda x: memoryview(x)[1:],
        lambda x: np.frombuffer(x, "i4"),
        np.from_dlpack,
    ]

    def live(seed):
        rng, mine = random.Random(seed), []
        try:
            for step in range(1500):
                # Few sizes, so that the threads want the same allocations; a large one now and then.
                size = rng.choice([16, 100, 1000, 5000, rng.randrange(2, 40_000)])
                if step % 50 == 0:
                    size = 300_000
                x = memory.empty(size, "i4")
                value = seed * 1_000_000 + step
                x[...] = value
                mine.append((rng.choice(views)(x), value))
                del x
                rng.shuffle(mine)
                if step % 3 == 0:
                    with door:  # arrays die in other threads than they were born in
                        exchange.append(mine.pop())
                        if len(exchange) > 20:
                            mine.append(exchange.pop(rng.randrange(len(exchange))))
                while len(mine) > rng.randrange(5, 40):
                    view, expected = mine.pop()
                    seen = np.asarray(view)
                    if not (seen == expected).all():
                        errors.append((expected, seen[seen != expected][:3]))
                    del view, seen
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=live, args=(seed,)) for seed in range(1, 5)]
    used = stats("used")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    finally:
        sys.setswitchinterval(interval)
    assert not errors
    exchange.clear()
    gc.collect()
    assert stats("used") == used
    assert stats("kept") <= 8 * MB
    assert stats("hits") > 1000


def test_scratch_taken_without_the_gil():
    used = stats("used")
    for nbytes in (1, 100, 10_000):
        assert runtimecheck.use_scratch(2000, nbytes) == 0
    threads = [
        threading.Thread(target=runtimecheck.use_scratch, args=(3000, 500)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stats("used") == used


def test_the_limit_is_kept():
    arrays = [memory.empty(MB // 2, "uint8") for _ in range(20)]
    memory.set_memory_limit(3 * MB)
    del arrays
    assert 2 * MB <= stats("kept") <= 3 * MB
    memory.set_memory_limit(MB)
    assert stats("kept") <= MB
    memory.set_memory_limit(0)
    assert stats("kept") == 0
    misses = stats("misses")
    for _ in range(5):
        memory.empty(100, "f4")
    assert stats("kept") == 0 and stats("misses") == misses + 5
    with pytest.raises(ValueError, match="0 bytes or more, got -1"):
        memory.set_memory_limit(-1)
    for wrong in (1.5, "1", None, True):
        with pytest.raises(TypeError, match="an int"):
            memory.set_memory_limit(wrong)
    assert stats("limit") == 0


def test_sizes_long_unused_leave_first():
    memory.set_memory_limit(4 * MB)
    old = [memory.empty(MB // 2, "uint8") for _ in range(6)]
    del old
    new = [memory.empty(MB // 4, "uint8") for _ in range(12)]
    del new
    assert stats("kept") <= 4 * MB
    misses = stats("misses")
    assert len([memory.empty(MB // 4, "uint8") for _ in range(12)]) == 12
    assert stats("misses") == misses


def test_release():
    x = memory.empty(1000, "f4")
    x[...] = 3
    arrays = [memory.empty(n, "f4") for n in (10, 1000, MB)]
    del arrays
    assert stats("kept") > 4 * MB
    memory.release_memory()
    assert stats("kept") == 0
    assert (x == 3).all()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@needs_linux
def test_released_memory_returns_to_the_system():
    before = resident()
    arrays = [memory.empty(16 * MB, "uint8") for _ in range(8)]
    for x in arrays:
        x[...] = 1
    del arrays, x
    assert resident() - before > 100 * MB
    memory.release_memory()
    assert resident() - before < 16 * MB


@needs_linux
def test_no_leak():
    rng = random.Random(0)

    def churn():
        for _ in range(20_000):
            memory.empty((rng.randrange(1, 300), rng.randrange(1, 30)), "f4")[...] = 0
            memory.empty_like(np.zeros((3, 4), "f4").T)

    churn()
    before, used = resident(), stats("used")
    churn()
    assert resident() - before < 2 * MB
    assert stats("used") == used


@needs_linux
def test_the_default_limit_knows_the_control_group(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job\n")
    (tmp_path / "sys/fs/cgroup/job").mkdir(parents=True)
    assert 0 < limits.default_kept_memory(tmp_path) <= 4 << 30
    (tmp_path / "sys/fs/cgroup/job/memory.max").write_text("max\n")
    assert limits.default_kept_memory(tmp_path) == limits.default_kept_memory()
    (tmp_path / "sys/fs/cgroup/job/memory.max").write_text(f"{800 * MB}\n")
    assert limits.default_kept_memory(tmp_path) == 100 * MB


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_other_threads_allocate():
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            runtimecheck.use_scratch(50, 200)

    threads = [threading.Thread(target=churn) for _ in range(2)]
    kept = memory.empty(1000, "f4")
    kept[...] = 5
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(30)  # a child that hangs must fail
                fine = (kept == 5).all()
                kept[...] = 6  # the child's own copy
                arrays = [memory.empty(n, "f4") for n in (1, 1000, MB) * 20]
                for x in arrays:
                    x[...] = 1
                del arrays, x
                memory.release_memory()
                os._exit(0 if fine else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert (kept == 5).all()


def test_arrays_may_outlive_the_interpreter():
    code = """
import sys, threading
import numpy as np
from minidl._kernels.runtime import memory
kept = [memory.empty(n, "f4") for n in (1, 1000, 1000000)]
sys.stay = memory.empty(10, "f4")[3:]
np.stay = memoryview(memory.empty(10, "f4"))
class Late:
    def __del__(self, empty=memory.empty):
        empty(100, "f4")[...] = 1
late = Late()
late.cycle = late
def forever():
    while True:
        memory.empty(1000, "f4")[...] = 1
threading.Thread(target=forever, daemon=True).start()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
