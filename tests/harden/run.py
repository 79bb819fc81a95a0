"""`make harden`: what takes too long, or too many tools, for the tests of every day.

    python tests/harden/run.py                all parts, one after another
    python tests/harden/run.py kills memory   some
    python tests/harden/run.py --quick        a sample of those about what is left after kills and such: CI runs it
    python tests/harden/run.py --list         the table: name, minutes, what it proves, what it needs

A part whose tools are missing is reported as skipped, with how to get them. Exit status 0: none failed; with --all: and
none was skipped. Output goes to build/harden/NAME.log; README.md beside this file says how to add a part.
"""

from __future__ import annotations

import argparse
import sys
import time

from builds import BUILDS
from distributed import DISTRIBUTED
from free_threads import FREE_THREADS
from part import FOLDER, Failed, Missing, Part, Work, check_needs, tail
from processors import PROCESSORS
from states import STATES

PARTS: list[Part] = [*STATES, *DISTRIBUTED, *BUILDS, *FREE_THREADS, *PROCESSORS]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="all by default")
    parser.add_argument("--list", action="store_true", help="prints the table")
    parser.add_argument("--quick", action="store_true", help="a sample: the parts that CI runs")
    parser.add_argument("--all", action="store_true", help="a part that is skipped is a failure")
    options = parser.parse_args()
    table = {part.name: part for part in PARTS}
    unknown = sorted(set(options.parts) - set(table))
    if unknown:
        parser.error(f"no part {unknown[0]!r}: {', '.join(table)}")
    every = STATES if options.quick else PARTS
    chosen = [table[name] for name in options.parts] or every
    if options.list:
        for part in chosen:
            needs = f"   (needs {', '.join(part.needs)})" if part.needs else ""
            print(f"{part.name:12} {part.minutes:6.1f} min   {part.proves}{needs}")
        return 0
    results = [attempt(part, options.quick) for part in chosen]
    print(f"\n{'part':12} {'result':8} {'time':>8}   what was seen")
    for part, (result, seconds, seen) in zip(chosen, results, strict=True):
        print(f"{part.name:12} {result:8} {seconds / 60:6.1f} m   {seen}")
    count = {kind: sum(r[0] == kind for r in results) for kind in ("ok", "FAILED", "skipped")}
    print(f"{count['ok']} passed, {count['FAILED']} failed, {count['skipped']} skipped")
    return int(count["FAILED"] > 0 or (options.all and count["skipped"] > 0))


def attempt(part: Part, quick: bool) -> tuple[str, float, str]:
    """Runs a part: "ok", "FAILED" or "skipped", how long it took, and one line."""
    print(f"{part.name:12} {part.proves}", flush=True)
    begun, work = time.monotonic(), Work(part.name, quick)
    try:
        check_needs(part)
        result, seen = "ok", part.run(work)
    except Missing as missing:
        result, seen = "skipped", str(missing)
    except Failed as failed:
        result, seen = "FAILED", f"{failed}; see {work.log.relative_to(FOLDER.parent.parent)}"
        print(*tail(work.log), sep="\n    ")
    seconds = time.monotonic() - begun
    print(f"{part.name:12} {result} {seconds:.0f} s: {seen}", flush=True)
    return result, seconds, seen


if __name__ == "__main__":
    sys.exit(main())
