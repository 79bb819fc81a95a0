"""Parts that run with the checkout as it is: kills, Ctrl-C, damaged files, and many steps."""

from __future__ import annotations

from part import HERE, Part, Work, last_line


def kills(work: Work) -> str:
    times = f"--kills={10 if work.quick else 100}"
    found = []
    for ending in (".npz", ".safetensors"):
        command = HERE / "killed_training.py", times, f"--ending={ending}"
        found.append(f"{ending}: {last_line(work.run(work.python, *command))}")
    if not work.quick:  # (20 of these are among the tests)
        tests = "tests/io/test_files.py", "-k", "killed or two_processes"
        found.append(f"300 saves of each killed: {work.pytest(*tests, MINIDL_KILLS='300')}")
    return "; ".join(found)


def interrupts(work: Work) -> str:
    times = 40 if work.quick else 200
    loop = "tests/training/test_interrupted_loop.py"
    steps = last_line(work.run(work.python, loop, f"{times}"))
    fit = last_line(work.run(work.python, HERE / "interrupted_fit.py", f"--times={times}"))
    return f"a loop of one's own: {times} in {steps} steps; fit: {fit}"


def damage(work: Work) -> str:
    every = f"--every={256 if work.quick else 64}"
    found = last_line(work.run(work.python, HERE / "damaged_files.py", every))
    if work.quick:  # these tests have run with all others
        return found
    return f"{found}; every byte of two: {work.pytest('tests/io/test_untrusted_files.py')}"


def memory(work: Work) -> str:
    steps = f"--steps={800 if work.quick else 20_000}"
    return last_line(work.run(work.python, HERE / "flat_memory.py", steps))


STATES = [
    Part("kills", "SIGKILL while saving: the file is whole, the next save works", 3.6, kills),
    Part("interrupts", "Ctrl-C in fit and in a loop: all is of one step", 5.3, interrupts),
    Part("damage", "files damaged at every 64th byte: an error or the right data", 2.1, damage),
    Part("memory", "20,000 steps of 12 models, plain and captured, in flat memory", 5.0, memory),
]
