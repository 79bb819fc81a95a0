"""Measures how far each function of ``_kernels/math`` and each activation is from the true value in ulp.

    python benchmarks/ulp.py                      one float32 number in 256, and 10^5 of float64: a minute
    python benchmarks/ulp.py --all                every float32 number, and 10^7 of float64
    python benchmarks/ulp.py --all --doubles 1e8  ... and 10^8
    python benchmarks/ulp.py --curved             every float32 number of size 2^-14 to 192, one in 64 of the others,
                                                  and 10^6 of float64
    python benchmarks/ulp.py --curved 16          one block in 16 of these, and one in 1024 of the others: minutes
    python benchmarks/ulp.py --all --only tanh,gelu
    python benchmarks/ulp.py --all activations --curved         the elementary functions as with --curved
    python benchmarks/ulp.py --all --doubles 1e8 --kept build/ulp.json --write docs/accuracy.md

An ulp is the distance between the two floating-point numbers around the true value (2^-149 and 2^-1074 at least, so
subnormal results count too). Values and slopes are compared at every CPU level with a wider type, which is itself
compared with mpmath first. Besides the error: how often the result becomes smaller from one number to the next,
whether zeros have the right sign and infinities are where they belong, and whether the levels agree in that. A run
with --kept that was interrupted goes on where it was. The parts are in the folder accuracy; its __init__.py lists them.
"""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from accuracy import page
from accuracy.compare import Compared, compare
from accuracy.definitions import ACTIVATIONS, TRUTH, check_reference
from accuracy.kept import Kept, key
from accuracy.sample import Sample

from minidl.ops.activations.table import ROWS

GROUPS = {
    "Activations": [row.name for row in ROWS if row.name in ACTIVATIONS],
    "Elementary functions": [name for name in TRUTH if name not in ACTIVATIONS],
}
DTYPES = ("float32", "float64")
_blocks_done = None  # of all workers


def _in_worker(counter) -> None:
    global _blocks_done
    _blocks_done = counter


def _count(blocks: int) -> None:
    with _blocks_done.get_lock():
        _blocks_done.value += blocks


def _compare(name: str, dtype: str, sample: Sample) -> Compared:
    return compare(name, dtype, sample, _count)


class Progress:
    """Says on stderr what is done, and about how long the rest will take."""

    def __init__(self, blocks: int):
        self.blocks, self.start, self.next = max(1, blocks), time.monotonic(), 0.0

    def __call__(self, done: int, now: str = "") -> None:
        passed = time.monotonic() - self.start
        if not now and passed < self.next:
            return
        self.next = passed + (2 if sys.stderr.isatty() else 60)
        left = passed * (self.blocks / done - 1) if done else 0
        told = f"{done / self.blocks:4.0%}" + (f", about {left / 60:.0f} min left" if done else "")
        if sys.stderr.isatty():
            now += "\n" if now else ""
            print(f"\r\33[K{now}{told}", end="", file=sys.stderr, flush=True)
        else:
            print(f"{told}: {now}" if now else told, file=sys.stderr, flush=True)


def compare_all(samples: dict[str, Sample], workers: int, kept: Kept) -> page.Found:
    """samples: which numbers, by function"""
    tasks = [(name, dtype) for name in samples for dtype in DTYPES]
    keys = {task: key(*task, samples[task[0]]) if kept.path else "" for task in tasks}
    found = {task: there for task in tasks if (there := kept.get(*task, keys[task]))}
    open_tasks = [task for task in tasks if task not in found]
    counter = multiprocessing.Value("q", 0)
    progress = Progress(sum(samples[name].blocks(dtype) for name, dtype in open_tasks))
    with ProcessPoolExecutor(workers, initializer=_in_worker, initargs=(counter,)) as pool:
        running = {pool.submit(_compare, *task, samples[task[0]]): task for task in open_tasks}
        while running:
            finished, _ = wait(running, 1, FIRST_COMPLETED)
            for future in finished:
                task = running.pop(future)
                found[task] = future.result()
                kept.put(*task, keys[task], found[task])
                progress(counter.value, page.line(*task, found[task]))
            progress(counter.value)
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--all",
        nargs="?",
        const="functions",
        choices=("functions", "activations"),
        help="every float32 number (the same as --every 1), of all functions or of the activations",
    )
    parser.add_argument(
        "--every", type=int, default=256, help="one block of float32 numbers in so many"
    )
    parser.add_argument(
        "--curved",
        type=int,
        nargs="?",
        const=1,
        default=0,
        help="one block of float32 numbers in so many (by default each) where functions are curved",
    )
    parser.add_argument("--doubles", type=float, help="so many numbers of float64, for example 1e8")
    parser.add_argument("--only", default="", help="these functions, separated by commas")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument(
        "--kept", type=Path, help="a file for what was found, of which a later run takes what holds"
    )
    parser.add_argument("--write", type=Path, help="write the page to this file")
    return parser.parse_args()


def main() -> None:
    args = options()
    every = 64 * args.curved or args.every
    doubles = int(args.doubles or (1e6 if args.curved else 1e7 / (1 if args.all else every)))
    all_numbers, some = Sample(1, 0, doubles), Sample(every, args.curved, doubles)
    by_group = {
        "Activations": all_numbers if args.all else some,
        "Elementary functions": all_numbers if args.all == "functions" else some,
    }
    only = (
        args.only.split(",") if args.only else [name for names in GROUPS.values() for name in names]
    )
    groups = {title: [name for name in names if name in only] for title, names in GROUPS.items()}
    reference = check_reference()
    print(f"the reference is right to {reference}", file=sys.stderr, flush=True)
    samples = {name: by_group[title] for title, names in groups.items() for name in names}
    found = compare_all(samples, args.workers, Kept(args.kept))
    share = f"--curved {args.curved}" if args.curved else f"--every {every}"
    if args.all:
        share = "--all" if args.all == "functions" else f"--all activations {share}"
    command = f"{share} --doubles {doubles:.6g}".replace("e+0", "e")
    text = page.page(groups, found, by_group, reference, command)
    if args.write:
        args.write.write_text(text, encoding="utf-8")
    else:
        print(page.tables(groups, found))


if __name__ == "__main__":
    main()
