"""Sums over ranks that are joined by slow cables, measured, beside what network.py says of them: adds "cables" to
docs/distributed.json.

    python benchmarks/cable.py            2 and 4 ranks, cables of 1 Gbit/s

Each rank is in a network namespace of its own, and a bridge joins them; `tc` limits each cable, in both directions. So
all goes through the kernel's TCP at a speed that is known. Needs root, `ip` and `tc` (Debian: iproute2).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import network
import numpy as np
from distributed import RESULTS, rounded

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "harden" / "mpi"))
from namespaces import ip, job  # noqa: E402  (the launcher in the place of ssh)

RANKS, GBIT = (2, 4), 1.0
LATENCY = 1e-4  # seconds; too little to matter at the sizes compared


@contextmanager
def switched(ranks: int) -> Iterator[dict[str, str]]:
    """So many namespaces on a bridge, which is in one of its own: {address: name}."""
    own = f"minidl-{os.getpid()}"
    places = {f"10.203.8.{i + 1}": f"{own}-{i}" for i in range(ranks)}
    bridge = f"{own}-switch"
    try:
        ip("netns", "add", bridge)
        ip("-n", bridge, "link", "add", "switch", "type", "bridge")
        ip("-n", bridge, "link", "set", "switch", "up")
        for i, (address, name) in enumerate(places.items()):
            ip("netns", "add", name)
            ip("link", "add", "cable", "netns", name, "type", "veth", "peer", f"port{i}", "netns", bridge)  # fmt: skip
            ip("-n", bridge, "link", "set", f"port{i}", "master", "switch", "up")
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
            for where, device in ((name, "cable"), (bridge, f"port{i}")):
                limit = (
                    f"tc qdisc add dev {device} root tbf rate {GBIT}gbit burst 128kb latency 200ms"
                )
                subprocess.run(["ip", "netns", "exec", where, *limit.split()], check=True)
        yield places
    finally:
        for name in [*places.values(), bridge]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def measured(ranks: int) -> dict[str, Any]:
    """What benchmarks/distributed.py measures, and "simulated", by number of floats."""
    with switched(ranks) as places, tempfile.TemporaryDirectory() as folder:
        script = HERE / "distributed.py"
        running = job(ranks, folder, script, "--rank", "--only", "sums", places=places)
        code, _, output = running.wait(900)
    if code:
        raise SystemExit(output)
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    cable = network.Network(LATENCY, GBIT * 1e9 / 8 * 1460 / 1538, "tc, and TCP's headers")
    for floats, times in found.items():
        clocks = network.run(network.exchange, np.zeros(ranks), 4.0 * int(floats), cable)
        times["simulated"] = float(clocks.max())
    return found


def main() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    results["cables"] = {str(ranks): measured(ranks) for ranks in RANKS}
    RESULTS.write_text(json.dumps(rounded(results), indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
