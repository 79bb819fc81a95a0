"""Ranks with addresses of their own: a job across two network namespaces, joined by a virtual cable, has the bits of
one process; with the cable cut, it ends in time.

    python tests/harden/mpi/namespaces.py

Needs root and `ip` (Debian: iproute2). For MPI the namespaces are two machines: each gets its ranks by a launcher in
the place of ssh, and all they exchange goes over TCP through the cable, whose counters must show it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jobs import TRAINING, Job, mpiexec
from kills import LIMIT, changed, digest_of, finish

NAMES = tuple(f"minidl-{os.getpid()}-{end}" for end in "ab")
ADDRESSES = ("10.203.7.1", "10.203.7.2")
PLACES = dict(zip(ADDRESSES, NAMES, strict=True))
TCP = {"UCX_TLS": "tcp,self", "FI_PROVIDER": "tcp"}  # not through memory, though it is one machine
SILENCE = 3.0  # seconds after which a rank behind a cut cable counts as gone


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def inside(name: str, *words: str) -> list[str]:
    return ["ip", "netns", "exec", name, *words]


@contextmanager
def cable() -> Iterator[None]:
    """Two namespaces, and a cable between them."""
    remove()
    try:
        for name in NAMES:
            ip("netns", "add", name)
        ends = [["minidl0", "netns", NAMES[0]], ["minidl1", "netns", NAMES[1]]]
        ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for i, (name, address) in enumerate(zip(NAMES, ADDRESSES, strict=True)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", f"minidl{i}")
            ip("-n", name, "link", "set", f"minidl{i}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        until = time.monotonic() + 10
        while not all(map(is_up, NAMES)) and time.monotonic() < until:
            time.sleep(0.05)
        yield
    finally:
        remove()


def remove() -> None:
    for name in NAMES:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def is_up(name: str) -> bool:
    """Whether the system says so of the cable's end: it may take a second to notice, and MPI looks there."""
    states = subprocess.run(
        inside(name, "sh", "-c", "cat /sys/class/net/minidl*/operstate"), capture_output=True
    )
    return states.stdout == b"up\n"


def sent() -> int:
    """Bytes that went into the cable at the first namespace's end."""
    command = inside(NAMES[0], "cat", "/sys/class/net/minidl0/statistics/tx_bytes")
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def launcher(folder: str, places: Mapping[str, str]) -> Path:
    """A stand-in for ssh: called as `launcher [options] address command ...`, runs it in that address's namespace."""
    script = Path(folder, "launcher")
    cases = "\n".join(f"{a}) name={n};;" for a, n in places.items())
    script.write_text(
        "#!/bin/sh\n"
        'while [ "${1#-}" != "$1" ]; do shift; done\n'
        f'case "$1" in\n{cases}\nesac\nshift\nexec ip netns exec "$name" sh -c "$*"\n'
    )
    script.chmod(0o755)
    return script


def job(ranks: int, folder: str, *command: str | Path, places: Mapping[str, str] = PLACES) -> Job:
    """Started in the first namespace, with ranks in all by turns. `places`: {address: name of the namespace}."""
    first, name = next(iter(places.items()))
    environment = [f"{name}={value}" for name, value in TCP.items()]
    launch = inside(
        name, "env", *environment, mpiexec(), "-launcher", "ssh", "-launcher-exec", str(launcher(folder, places)),
        "-localhost", first, "-hosts", ",".join(places), "-ppn", "1", "-n", str(ranks),
    )  # fmt: skip
    return Job(ranks, *command, launch=tuple(launch))


def same_bits(folder: str) -> str:
    expected = digest_of(finish(Job(1, TRAINING, Path(folder, "one.npz"))))
    said = []
    for ranks in (2, 4):
        before = sent()
        found = digest_of(finish(job(ranks, folder, TRAINING, Path(folder, f"{ranks}.npz"))))
        crossed = sent() - before
        if found != expected:
            raise AssertionError(
                f"{ranks} ranks in two namespaces have other bits than one process"
            )
        if crossed < 200_000:
            raise AssertionError(f"{ranks} ranks sent only {crossed} bytes through the cable")
        said.append(f"{ranks} ranks, {crossed / 1e3:.0f} kB through the cable")
    return "; ".join(said)


def cut(folder: str) -> float:
    """The seconds in which a job ends whose cable is cut."""
    path = Path(folder, "cut.npz")
    cutting = job(2, folder, TRAINING, path, "--epochs", "100000", "--timeout", str(SILENCE))
    until, before = time.monotonic() + 60, changed(path)
    while changed(path) == before and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.0)
    ip("-n", NAMES[1], "link", "set", "minidl1", "down")
    try:
        code, seconds, output = cutting.wait(LIMIT)
    finally:
        cutting.end()
    if code == 0 or not ("did not answer" in output or "connection was lost" in output):
        raise AssertionError(f"exit status {code}, no rank was named:\n{output}")
    return seconds


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("skipped: needs root, and ip (apt install iproute2)")
        return 0
    with cable(), tempfile.TemporaryDirectory() as folder:
        print(
            f"the same bits: {same_bits(folder)}; a cut cable ended the job in {cut(folder):.1f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
