"""What the operating system allows this process: processors, memory, and the limits of its control group."""

import os
from collections.abc import Mapping

MAX_THREADS = 1024


def control_group(controller: str, name: str, root: str = "/") -> list[list[str]]:
    """The values of a limit file in this process's control group and its parents (v1 and v2)."""
    found: list[list[str]] = []
    try:
        with open(os.path.join(root, "proc/self/cgroup")) as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return found
    for line in lines:
        controllers, path = (line[1].split(","), line[2]) if len(line) == 3 else ([], "")
        if controllers != [""] and controller not in controllers:
            continue
        base = os.path.join(root, "sys/fs/cgroup", controller if controllers != [""] else "")
        parts = [part for part in path.split("/") if part]
        # Inside a container the path may be the host's: the parents up to the root always exist.
        for depth in range(len(parts), -1, -1):
            try:
                with open(os.path.join(base, *parts[:depth], name)) as file:
                    found.append(file.read().split())
            except OSError:
                pass
    return found


def processors(root: str = "/") -> int:
    """How many processors this process may use: affinity, and control group quota rounded up."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    limits = control_group("cpu", "cpu.max", root)
    quotas = control_group("cpu", "cpu.cfs_quota_us", root)
    periods = control_group("cpu", "cpu.cfs_period_us", root)
    limits += [quota + period for quota, period in zip(quotas, periods, strict=False)]
    for limit in limits:
        if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit() and int(limit[1]):
            count = min(count, max(1, -(-int(limit[0]) // int(limit[1]))))
    return count


def default_threads(environ: Mapping[str, str] = os.environ) -> int:
    """MINIDL_NUM_THREADS, or the processors that this process may use. Raises ValueError if the former is no count."""
    asked = environ.get("MINIDL_NUM_THREADS", "").strip()
    if not asked:
        return min(processors(), MAX_THREADS)
    if not asked.isdecimal() or not 1 <= int(asked) <= MAX_THREADS:
        raise ValueError(f"MINIDL_NUM_THREADS must be an int in 1..{MAX_THREADS}, got {asked!r}")
    return int(asked)


def default_kept_memory(root: str = "/") -> int:
    """How many bytes are kept for reuse: room for a training step's buffers, and little enough to leave the machine
    to others."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        total = 8 << 30
    for name in ("memory.max", "memory.limit_in_bytes"):
        for limit in control_group("memory", name, root):
            if limit and limit[0].isdigit():
                total = min(total, int(limit[0]))
    return min(total // 8, 4 << 30)
