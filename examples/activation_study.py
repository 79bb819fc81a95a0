"""Activation functions compared: accuracy, slopes, depth, dead units; with pictures and statistics.

    python examples/activation_study.py                   5,000 digits: a few minutes
    python examples/activation_study.py --quick           the same, smaller: under a minute
    python examples/activation_study.py --data mnist      all of MNIST: up to half an hour
    python examples/activation_study.py --only slopes     one of the experiments

The page, out/activation_study/.../activation_study.html, says what was found. Each run is kept as it
ends: after Ctrl-C the same command goes on where it was. Settings that changed are trained anew.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

from study import plan, report, runs
from study.results import Results, at_end

from minidl.training.progress import clock

EXPERIMENTS = {
    "layer": "one hidden layer, each activation",
    "slopes": "LeakyReLU's slope from 0 to 1",
    "small": "few training images",
    "depth": "1 to 20 hidden layers, and cures for vanishing gradients",
}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", choices=list(plan.NAMES), default="digits")
    add("--quick", action="store_true", help="2,000 images, fewer epochs, depths and seeds")
    add("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="NAME",
        help="; ".join(f"{name}: {text}" for name, text in EXPERIMENTS.items()))  # fmt: skip
    add("--seeds", type=positive, help="runs with different seeds, in all experiments")
    add("--epochs", type=positive, help="in all experiments")
    add("--jobs", type=positive, default=min(processors(), 8), metavar="N",
        help="processes, of one thread each; they do not change the results")  # fmt: skip
    add("--data-root", metavar="FOLDER", help="where the files of MNIST are, if not in the cache")
    add("--out", type=Path, default=Path("out"), metavar="FOLDER",
        help="results go to FOLDER/activation_study")  # fmt: skip
    add("--publish", type=Path, metavar="FOLDER", help="copy the page and its pictures there, too")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    scale = plan.SCALES["quick" if args.quick else args.data]
    if args.seeds:
        scale = replace(scale, seeds=args.seeds, depth_seeds=args.seeds)
    if args.epochs:
        scale = replace(
            scale, epochs=args.epochs, small_epochs=args.epochs, depth_epochs=args.epochs
        )
    everything = plan.experiments(args.data, scale)
    wanted = {name: everything[name] for name in EXPERIMENTS if name in args.only}
    folder = args.out / "activation_study" / (args.data + ("-quick" if args.quick else ""))
    begun = time.perf_counter()
    study = Study(folder / "runs", args.jobs, args.data_root)
    try:
        study.train([settings for group in wanted.values() for settings in group])
        results = {name: Results(study.results(group)) for name, group in wanted.items()}
        name, settings = best(results)
        tests = [s | {"test": True} for s in settings]
        study.train(tests)
    except KeyboardInterrupt:
        print(f"\ninterrupted: finished runs are kept in {study.folder}; the same command goes on")
        return 130
    command = shlex.join(["python", "examples/activation_study.py", *stable(argv)])
    page = report.write(folder, command, args.data, scale, results, (name, study.results(tests)))
    print(f"{clock(time.perf_counter() - begun)}; the page: {page}")
    if args.publish:
        args.publish.mkdir(parents=True, exist_ok=True)
        for path in [folder / "README.md", *folder.glob("*.png")]:
            shutil.copy(path, args.publish / path.name)
        print(f"copied to {args.publish}/")
    return 0


def stable(argv: list[str] | None) -> list[str]:
    """The arguments that decide what is found, not where files lie."""
    given = sys.argv[1:] if argv is None else argv
    kept, skip = [], False
    for word in given:
        name = word.split("=")[0]
        if name in ("--out", "--publish", "--data-root", "--jobs"):
            skip = "=" not in word
        elif skip:
            skip = False
        else:
            kept.append(word)
    return kept


def best(results: dict[str, Results]) -> tuple[str, list[plan.Settings]]:
    """The configuration with the best mean validation accuracy, and its settings, one per seed. Those
    that were trained on few images count only if there are no others.
    """
    groups = [
        list(group.values())
        for name, found in results.items()
        if name != "small" or len(results) == 1
        for group in found.groups.values()
    ]
    winner = max(groups, key=lambda group: at_end(group).mean())
    settings = [run["settings"] for run in winner]
    return plan.title(settings[0]).rpartition(", seed")[0], settings


class Study:
    """Runs that are trained if no result of theirs is kept yet, with a line on how far it is."""

    def __init__(self, folder: Path, jobs: int, root: str | None) -> None:
        self.folder, self.jobs, self.root = folder, jobs, root

    def results(self, wanted: list[plan.Settings]) -> list[runs.Result]:
        return [result for s in wanted if (result := runs.kept(self.folder, s)) is not None]

    def train(self, wanted: list[plan.Settings]) -> None:
        unique = {runs.file_of(self.folder, settings): settings for settings in wanted}
        todo = [settings for path, settings in unique.items() if not path.is_file()]
        if not todo:
            return
        if len(todo) < len(unique):
            print(f"{len(unique) - len(todo)} of {len(unique)} runs are there already")
        line = Line(todo)
        try:
            runs.run_all(todo, self.folder, self.jobs, self.root, line.done)
        finally:
            line.close()


class Line:
    """One line in a terminal that says how far it is and how long it will take; in a log file, a line
    every few seconds.
    """

    def __init__(self, todo: list[plan.Settings]) -> None:
        self.count, self.runs = 0, len(todo)
        self.paid, self.costs = 0.0, sum(map(plan.cost, todo))
        self.begun = self.shown = time.perf_counter()
        self.terminal = sys.stdout.isatty()
        if self.terminal:
            print(f"0 of {self.runs} runs ...", end="", flush=True)

    def done(self, result: runs.Result) -> None:
        self.count += 1
        self.paid += plan.cost(result["settings"])
        now = time.perf_counter()
        if not self.terminal and now - self.shown < 5 and self.count < self.runs:
            return
        self.shown = now
        spent = now - self.begun
        left = clock(spent * (self.costs / self.paid - 1))
        latest = f"{plan.title(result['settings'])}: {result['final']['validation']:.1%}"
        text = f"{self.count} of {self.runs} runs, {clock(spent)}, {left} left; {latest}"
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print("\r\x1b[K" + text[:width], end="", flush=True)
        else:
            print(text, flush=True)

    def close(self) -> None:
        if self.terminal:
            print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
