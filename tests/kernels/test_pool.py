"""The thread pool: every index once, whoever calls, from wherever, and no trace left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from minidl._kernels.baseline import runtimecheck
from minidl._kernels.runtime import pool
from minidl._kernels.system import limits

HAS_THREADS = os.name == "posix"
HAS_FORK = hasattr(os, "fork")
PROCESSORS = (
    os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
)
needs_threads = pytest.mark.skipif(not HAS_THREADS, reason="the build has no threads")
needs_fork = pytest.mark.skipif(not HAS_FORK, reason="no fork here")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def keep_thread_count():
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)


def check(count, nested=0, **options):
    runs, nested_runs, peak = runtimecheck.run_tasks(count, nested, **options)
    assert runs == [1] * count
    assert nested_runs == [nested] * count
    assert peak <= pool.get_num_threads()
    return peak


def run_python(code, timeout=60, **env):
    """A fresh interpreter; its output, or a failure with its errors."""
    command = [
        sys.executable,
        "-c",
        "from minidl._kernels.runtime import pool\nfrom minidl._kernels.baseline import runtimecheck\n"
        + code,
    ]
    env = {k: v for k, v in os.environ.items() if k != "MINIDL_NUM_THREADS"} | env
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 8])
def test_every_index_runs_once(threads):
    pool.set_num_threads(threads)
    for count in (0, 1, 2, 3, 7, 64, 1000):
        for _ in range(30):
            check(count, nested=count % 4)
            check(count, hold_gil=True)


@needs_threads
def test_the_threads_run_at_the_same_time():
    pool.set_num_threads(2)
    # A loaded machine may refuse its second core for a while.
    assert any(check(4, seconds=0.02) == 2 for _ in range(50))


@needs_threads
def test_a_short_call_wakes_nobody_but_takes_the_help_of_those_awake():
    pool.set_num_threads(2)
    check(4)
    for _ in range(20):
        time.sleep(0.002)  # the worker falls asleep
        assert check(4, seconds=0.0005, ns=100) == 1
    assert any(check(4, seconds=0.02, ns=80_000_000) == 2 for _ in range(50))
    assert any(runtimecheck.help_for_a_short_call(0.0005) == 2 for _ in range(1000))


@needs_threads
@pytest.mark.skipif(
    len(PROCESSORS) < 2, reason="workers that share a processor with the caller do not wait"
)
def test_a_chain_of_short_calls_wakes_a_worker_but_calls_far_apart_do_not():
    pool.set_num_threads(2)
    check(4)

    def peak_of_calls(gap, ns):
        """Of calls of 20 us each, of which the pool is told that they take so many ns; the worker sleeps at first."""
        time.sleep(0.002)
        peak = 1
        for _ in range(200):
            peak = max(peak, check(4, seconds=0.000005, ns=ns))
            if gap:
                time.sleep(gap)  # (which takes 50 us or more even for 0)
        return peak

    # (A loaded machine may refuse its second core for a while; and a worker that was about to sleep is woken at next to
    # no cost, after which a call of 5 us may seem worth it.)
    assert any(peak_of_calls(0, 5000) == 2 for _ in range(1000))
    assert any(peak_of_calls(0.0005, 20) == 1 for _ in range(20))


GAIN, LOSS, PAUSE = (1000, 600), (1000, 1400), (90_000, 90_000)


@pytest.mark.parametrize(
    ("times", "share"),
    [
        ([GAIN] * 2000, 1),
        ([LOSS] * 2000, 0),
        ([GAIN] * 1000 + [LOSS] * 1000, 0),  # the system has moved a thread
        ([LOSS] * 1000 + [GAIN] * 1000, 1),
        (([GAIN] * 99 + [PAUSE]) * 20, 1),
        (([LOSS] * 99 + [PAUSE]) * 20, 0),
    ],
)
def test_short_calls_run_in_the_way_that_takes_less_time(times, share):
    shared = pool.shared_windows(times)
    assert len(shared) == len(times) and 0 < sum(shared) < len(times)  # both ways are tried
    assert sum(shared[-500:]) / 500 == pytest.approx(share, abs=0.05)


@needs_threads
def test_whether_short_calls_are_shared_is_tried_out_anew_for_another_number_of_threads():
    """(Which way wins is a question of time, and so of what else the machine does.)"""
    for n in (2, 3):
        pool.set_num_threads(n)
        assert pool.short_calls_are_shared()
        for _ in range(128 * 8):
            check(4, ns=40_000)


def test_one_thread_runs_inline():
    pool.set_num_threads(1)
    assert check(20, nested=3, seconds=0.0005) == 1


@needs_threads
def test_concurrent_callers():
    pool.set_num_threads(3)
    failures = []

    def call(seed):
        try:
            for i in range(150):
                check(5 + (seed * i) % 40, nested=2, hold_gil=i % 7 == 0)
        except BaseException as error:
            failures.append(error)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not failures
    assert not any(caller.is_alive() for caller in callers)


@needs_threads
def test_the_thread_count_may_change_at_any_time():
    for threads in (4, 2, 6, 1, 3) * 20:
        pool.set_num_threads(threads)
        assert pool.get_num_threads() == threads
        check(50)


@pytest.mark.parametrize("n", [0, -1, 1025])
def test_bad_thread_counts(n):
    before = pool.get_num_threads()
    with pytest.raises(ValueError, match=rf"1\.\.1024, got {n}"):
        pool.set_num_threads(n)
    assert pool.get_num_threads() == before


@pytest.mark.parametrize("n", [2.0, "2", None, True, [2]])
def test_thread_counts_of_the_wrong_type(n):
    with pytest.raises(TypeError, match="must be an int"):
        pool.set_num_threads(n)


@needs_threads
def test_the_environment_sets_the_thread_count():
    assert run_python("print(pool.get_num_threads())", MINIDL_NUM_THREADS="5") == "5"
    for wrong in ("0", "-2", "many", "1.5", "9999"):
        with pytest.raises(ValueError, match="MINIDL_NUM_THREADS must be an int"):
            limits.default_threads({"MINIDL_NUM_THREADS": wrong})
    assert limits.default_threads({"MINIDL_NUM_THREADS": ""}) == limits.default_threads({})


@needs_linux
def test_the_affinity_is_respected_and_one_processor_gets_no_workers():
    code = """
import os
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from minidl._kernels.baseline import runtimecheck
from minidl._kernels.runtime import pool
before = len(os.listdir("/proc/self/task"))
runs = runtimecheck.run_tasks(50)[0]
print(pool.get_num_threads(), runs == [1] * 50, len(os.listdir("/proc/self/task")) - before)
"""
    env = {k: v for k, v in os.environ.items() if k != "MINIDL_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env
    )
    assert done.stdout.split() == ["1", "True", "0"], done.stderr


@needs_linux
@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/job\n", {"job/cpu.max": "150000 100000", "cpu.max": "max 100000"}, 2),
        ("0::/job\n", {"job/cpu.max": "max 100000", "cpu.max": "50000 100000"}, 1),
        ("0::/not/seen/here\n", {"cpu.max": "10000 100000"}, 1),
        (
            "4:cpu,cpuacct:/a\n1:name=systemd:/b\n",
            {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "100000"},
            1,
        ),
        (
            "4:cpu,cpuacct:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("", {}, None),
    ],
)
def test_control_groups(tmp_path, group, files, expected):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    allowed = len(os.sched_getaffinity(0))
    assert limits.processors(tmp_path) == min(allowed, expected or allowed)


@needs_threads
@needs_linux
def test_workers_sleep_when_there_is_no_work():
    pool.set_num_threads(2)
    check(100)
    time.sleep(0.01)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05


@needs_threads
@needs_linux
def test_workers_block_signals_but_not_their_own_faults():
    code = """
import os, signal, time
pool.set_num_threads(2)
tasks = set(os.listdir("/proc/self/task"))
runtimecheck.run_tasks(10)
time.sleep(0.2)  # a thread is born with all signals blocked
(worker,) = set(os.listdir("/proc/self/task")) - tasks
with open(f"/proc/self/task/{worker}/status") as file:
    mask = next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk"))
blocked = lambda number: bool(mask >> (number - 1) & 1)
print(blocked(signal.SIGINT), blocked(signal.SIGTERM), blocked(signal.SIGSEGV))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    assert run_python(code).split("\n") == ["True True False", "set()"]


@needs_threads
def test_ctrl_c_reaches_python():
    code = """
import sys
pool.set_num_threads(2)
runtimecheck.run_tasks(10)
print("ready", flush=True)
try:
    for _ in range(10_000):  # (a minute: an orphan ends, too)
        runtimecheck.run_tasks(10, seconds=0.001)
except KeyboardInterrupt:
    print(set(runtimecheck.run_tasks(10)[0]))
"""
    command = [
        sys.executable,
        "-c",
        "from minidl._kernels.runtime import pool\nfrom minidl._kernels.baseline import runtimecheck\n"
        + code,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "{1}\n"
        assert process.wait(30) == 0


@needs_threads
@pytest.mark.parametrize("pause", [0, 0.05])
def test_exit_with_workers_awake_asleep_and_at_work(pause):
    run_python(
        f"import time; pool.set_num_threads(3); runtimecheck.run_tasks(50); time.sleep({pause})"
    )
    run_python(
        "import threading, time\n"
        "def forever():\n    while True: runtimecheck.run_tasks(50, seconds=0.001)\n"
        "threading.Thread(target=forever, daemon=True).start()\n"
        f"pool.set_num_threads(3); time.sleep(0.02 + {pause})"
    )


def in_child(number):
    return runtimecheck.run_tasks(20 + number, 2)[:2] == ([1] * (20 + number), [2] * (20 + number))


@needs_fork
@needs_threads
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_fresh_pool():
    pool.set_num_threads(3)
    check(100)
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert all(workers.map_async(in_child, range(20)).get(60))
    check(100)


@needs_fork
@needs_threads
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_another_thread_is_in_the_pool():
    pool.set_num_threads(3)
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            check(20, seconds=0.0002)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for number in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(30)  # a child that hangs must fail
                os._exit(0 if in_child(number) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        busy.join()
