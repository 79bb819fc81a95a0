"""Random calls of every public function, valid and not: no crash, no hang, no wrong value, no error that names nothing.

    python tests/fuzz/run.py --cases 100000 --seed 1          about 6 minutes
    python tests/fuzz/run.py --cases 1000 --family conv --guard
    python tests/fuzz/run.py --seed 1 --family conv --case 123   one case again, as a finding names it

A valid case compares values, gradients, shapes and dtypes with PyTorch in float64 (without PyTorch: with minidl itself
in float64 on plain memory); an invalid one must raise an error that names the function or an argument. ``--guard`` puts
every operand against a page without access. Cases run in a child process: a crash or a hang is a finding like others,
and the run goes on behind it. Under the sanitizers: see the head of setup.py. Exit status 1 if there are findings.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout that this file is in

TIMEOUT = 30.0  # seconds for a case, the first (which imports everything) included
MEMORY = (
    4 << 30
)  # bytes that a case may take: beyond, it is a MemoryError and not a machine that swaps
INVALID = 0.2  # this part of the cases
REPEATED = 2  # findings that differ in numbers only are printed so often


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument(
        "--family", default="", help="one of those in tests/fuzz/families; all by default"
    )
    parser.add_argument(
        "--guard",
        nargs="?",
        type=int,
        const=1,
        metavar="N",
        help="operands of every case, or of every Nth, against a page without access",
    )
    parser.add_argument(
        "--case", type=int, help="run this case here, with a traceback if it raises"
    )
    parser.add_argument(
        "--valid", action="store_true", help="leave out the calls that cannot be right"
    )
    parser.add_argument("--wrong", action="store_true", help="only calls that cannot be right")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds for a case")
    parser.add_argument("--most", type=int, default=200, help="stop after so many findings")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    if options.case is not None:
        found = one_case(options, options.case)
        print(found or "nothing found")
        return int(found is not None)
    return watch(options)


def watch(options: argparse.Namespace) -> int:
    """Runs children until all cases are done, and prints what they find."""
    start, findings, first = time.monotonic(), 0, options.first
    last = first + options.cases
    kinds: collections.Counter[str] = collections.Counter()  # alike but for numbers
    while first < last and findings < options.most:
        command = [
            sys.executable,
            __file__,
            "--child",
            f"--seed={options.seed}",
            f"--first={first}",
        ]
        command += [f"--cases={last - first}", f"--family={options.family}"]
        command += [f"--guard={options.guard}"] * bool(options.guard)
        command += ["--valid"] * options.valid + ["--wrong"] * options.wrong
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
            assert process.stdout is not None
            family, first, end, text = "", first - 1, "", b""
            while True:
                ready, _, _ = select.select([process.stdout], [], [], options.timeout)
                piece = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
                if not piece:
                    end = "hangs" if not ready else ""
                    break
                *lines, text = (text + piece).split(b"\n")
                for line in lines:
                    kind, number, family, *rest = line.decode().split(" ", 3)
                    first = int(number)
                    if kind == "!":
                        kinds[like(family, rest[0])] += 1
                        if kinds[like(family, rest[0])] <= REPEATED:
                            findings += 1
                            report(options, family, first, rest[0].replace("\\n", "\n"))
            process.kill()
            code = process.wait()
            first += 1
            if (end or code or first < last) and findings < options.most:
                findings = findings + 1 if family else options.most  # (it does not even begin)
                errors.seek(0)
                log = errors.read().decode(errors="replace")[:6000]
                what = end or f"ends the process with {code}"
                report(options, family, first - 1, f"{what}\n{log}")
    seconds = time.monotonic() - start
    for kind, times in kinds.most_common():
        print(f"{times:6} x {kind}")
    print(f"{first - options.first} cases, {findings} findings in {seconds:.0f} s")
    return int(findings > 0)


def like(family: str, text: str) -> str:
    """What findings of one cause have in common."""
    headline = text.partition("\\n")[0][:150]
    return f"{family}: {re.sub('[0-9.]+|0x[0-9a-f]+', '#', headline)}"


def report(options: argparse.Namespace, family: str, number: int, text: str) -> None:
    guard = " --guard" * guarded(options, number) + " --wrong" * options.wrong
    print(f"--seed {options.seed} --family {family} --case {number}{guard}\n    {text}", flush=True)


def guarded(options: argparse.Namespace, number: int) -> bool:
    return bool(options.guard) and number % options.guard == 0


def child(options: argparse.Namespace) -> int:
    """Runs cases and writes what it does, a line each, to stdout."""
    faulthandler.enable()
    import families  # noqa: F401
    from case import FAMILIES

    limit_memory()
    names = sorted(FAMILIES)
    weights = np.array([FAMILIES[name][1] for name in names])
    weights /= weights.sum()
    out = sys.stdout.fileno()
    for number in range(options.first, options.first + options.cases):
        rng = np.random.default_rng([options.seed, number])
        options.family_of_case = options.family or str(rng.choice(names, p=weights))
        os.write(out, f". {number} {options.family_of_case}\n".encode())
        found = one_case(options, number)
        if found is not None:
            text = found.replace("\n", "\\n")
            os.write(out, f"! {number} {options.family_of_case} {text}\n".encode())
    return 0


def limit_memory() -> None:
    """Counted from now: the sanitizers have reserved terabytes. They need ASAN_OPTIONS=allocator_may_return_null=1."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, resource.RLIM_INFINITY))


def one_case(options: argparse.Namespace, number: int) -> str | None:
    """Draws a case and judges it."""
    import families  # noqa: F401
    from case import FAMILIES, judge
    from draw import Draw
    from spoil import spoiled

    import minidl as md

    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)
    name = getattr(options, "family_of_case", options.family)
    draw = Draw(
        np.random.default_rng([options.seed, number, zlib.crc32(name.encode())]),
        guarded(options, number),
    )
    md.set_num_threads(draw.choice([1, 2, 4]))
    case = None
    try:
        case = FAMILIES[name][0](draw)
        if draw.chance(INVALID) or options.wrong:
            return None if options.valid else spoiled(case, draw)
        found = judge(case, draw)
        if draw.large and found and found.startswith("raised MemoryError"):
            found = None  # (draws of several long axes)
    except MemoryError:  # of the reference; one of ours is a finding
        found = None
    except Exception as error:  # of the reference, or of what is here
        if options.case is not None:
            raise
        found = f"cannot be judged, {type(error).__name__}: {error}"
    return found and f"{found}\n    {case}"


if __name__ == "__main__":
    sys.exit(main())
