"""Reading takes regular files only; a save that ends badly leaves the old file and nothing beside it."""

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest

from minidl import images, nn
from minidl.data import read_csv, read_idx
from minidl.io import files
from minidl.io.saving import load, save

ENDINGS = [".npz", *([".safetensors"] if find_spec("safetensors") else [])]
READERS = [
    *((load, ending) for ending in ENDINGS),
    *(((lambda path: nn.Affine(1, 1, weight=path)), ending)
      for ending in (".npy", ".npz", ".safetensors", ".csv", ".txt")),
    (read_idx, ""),
    ((lambda path: read_csv(path, "y")), ".csv"),
    *([(images.read, ".png")] if find_spec("PIL") else []),
]  # fmt: skip
KILLS = int(os.environ.get("MINIDL_KILLS", 20))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes, signals and locks of POSIX")


@contextmanager
def no_longer_than(seconds):
    def late(signum, frame):
        raise TimeoutError(f"not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- Reading ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize(("read", "ending"), READERS)
def test_what_might_never_end_is_not_read(tmp_path, read, ending, kind):
    path = tmp_path / f"w{ending}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    with (
        no_longer_than(2),
        pytest.raises(ValueError, match=f"w{ending} is a pipe, socket or device, expected"),
    ):
        read(path)


@pytest.mark.parametrize(("read", "ending"), READERS)
def test_folders_and_missing_files(tmp_path, read, ending):
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(IsADirectoryError, match=f"folder{ending} is a folder, expected a file"):
        read(tmp_path / f"folder{ending}")
    (tmp_path / f"link{ending}").symlink_to(tmp_path / f"none{ending}")
    with pytest.raises(FileNotFoundError, match=f"link{ending} is not there"):
        read(tmp_path / f"link{ending}")


def test_a_link_to_a_regular_file_is_read(tmp_path):
    save({"a": np.ones(2)}, tmp_path / "real.npz")
    (tmp_path / "link.npz").symlink_to("real.npz")
    assert load(tmp_path / "link.npz")["a"].tolist() == [1, 1]


def test_a_pipe_that_takes_the_place_of_a_file_just_now(tmp_path, monkeypatch):
    path = tmp_path / "w.npz"
    save({}, path)
    before = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(files.os, "stat", lambda _: before)
    with no_longer_than(2), pytest.raises(ValueError, match="is a pipe"):
        load(path)


# --- Saving ----------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys, time
import numpy as np
from minidl.io.saving import load, save

path, kills = sys.argv[1], int(sys.argv[2])
random.seed(0)

def state(number):
    return {"number": number, "a": np.full(200_000, number), "b": np.full(3, -number)}

def is_whole():
    found = load(path)
    number = found["number"]
    assert (found["a"] == number).all() and (found["b"] == -number).all()
    return number

save(state(0), path)
left = seen = 0
for kill in range(20 * kills):  # on a busy machine few saves get far before they are killed
    if kill >= kills and left > kills / 4 and seen:
        break
    child = os.fork()
    if not child:
        for number in range(1, 10**9):
            save(state(1000 * kill + number), path)
    time.sleep(random.uniform(0.002, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    seen = max(seen, is_whole())
    names = os.listdir(os.path.dirname(path))
    assert len(names) <= 2, names  # each save removes what the one before left
    left += len(names) - 1
save(state(-1), path)
assert is_whole() == -1
print(left, seen, os.listdir(os.path.dirname(path)))
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_saves_that_are_killed(tmp_path, ending):
    """MINIDL_KILLS=300 kills more often."""
    path = tmp_path / f"state{ending}"
    command = [sys.executable, "-c", KILLED, str(path), str(KILLS)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60 + KILLS)
    assert run.returncode == 0, run.stderr
    left, seen, *names = run.stdout.split(maxsplit=2)
    assert names == [f"['{path.name}']\n"]
    assert int(left) > KILLS / 4 and int(seen) > 0  # else none was killed in the middle


def test_only_files_of_dead_processes_of_this_machine_are_removed(tmp_path):
    here = "-".join(files._machine())
    dead = tmp_path / f".minidl-{here}-0011.tmp"
    kept = [
        tmp_path / ".minidl-00000000-00000001-0011.tmp",  # another machine's
        tmp_path / f".minidl-{here}-0011.npz",
        tmp_path / "minidl.tmp",
    ]
    for path in (dead, *kept):
        path.touch()
    kept.append(tmp_path / f".minidl-{here}-0022.tmp")
    kept[-1].mkdir()
    with files.replacing(tmp_path / "slow") as slow:  # alive: holds its lock
        save({}, tmp_path / "fast.npz")
        assert os.path.exists(slow.fileno()) and os.fstat(slow.fileno()).st_nlink == 1
        slow.write(b"done")
    assert not dead.exists()
    assert all(path.exists() for path in kept)
    assert (tmp_path / "slow").read_bytes() == b"done"
    assert len(list(tmp_path.iterdir())) == len(kept) + 2


def test_a_file_that_was_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    lock, calls = files._lock, []

    def steal(descriptor, otherwise=True):
        if not calls:
            calls.extend(tmp_path.glob(".minidl-*"))
            calls[0].unlink()
        return lock(descriptor, otherwise)

    monkeypatch.setattr(files, "_lock", steal)
    save({"a": np.ones(2)}, tmp_path / "a.npz")
    assert calls and load(tmp_path / "a.npz")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("room", [0, 100, 70_000])
def test_a_full_disk(tmp_path, ending, room):
    import resource

    path = tmp_path / f"state{ending}"
    save({"old": np.arange(5)}, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OSError):
            save({"new": np.arange(10_000), "more": [np.arange(9)]}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_the_folder_is_synced_after_the_file_has_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "a.npz", []
    fsync = os.fsync

    def recorded(descriptor):
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    save({}, path)
    assert synced == [(False, False), (True, True)]


def test_while_it_is_written_a_private_file_stays_private(tmp_path):
    path = tmp_path / "state"
    path.touch(0o600)
    with files.replacing(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
    path.chmod(0o444)
    with files.replacing(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


@pytest.mark.parametrize("ending", ENDINGS)
def test_pipes_and_devices_are_not_replaced(tmp_path, ending):
    path = tmp_path / f"state{ending}"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=f"state{ending} is a pipe, socket or device"):
        save({}, path)
    assert stat.S_ISFIFO(path.stat().st_mode) and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_two_processes_that_save_to_one_path(tmp_path, ending):
    path = tmp_path / f"state{ending}"
    code = (
        "import sys, numpy as np; from minidl.io.saving import save\n"
        "for _ in range(30): save({'a': np.full(20_000, int(sys.argv[2]))}, sys.argv[1])"
    )
    save({"a": np.zeros(20_000)}, path)
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(1, 4)
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        values = np.unique(load(path)["a"])
        assert len(values) == 1
        seen.add(float(values[0]))
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(seen) > 1 and os.listdir(tmp_path) == [path.name]
