"""Activation functions compared in full: accuracy, slopes, depth, dead units, with statistics over seeds.

    python examples/activation_report.py                   5,000 digits: a few minutes
    python examples/activation_report.py --quick           the same, smaller: under a minute
    python examples/activation_report.py --data mnist      all of MNIST: up to half an hour
    python examples/activation_report.py --only slopes     one of the experiments
    mpirun python examples/activation_report.py            on several machines: docs/distributed.md

It writes a page on what was found, with pictures: out/activation_study/.../activation_study.html. Each
run is saved when it ends: after Ctrl-C the same command trains only those that are missing.

examples/activation_study.py shows the network and its training loop on one page.
"""

import argparse
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import mpi_start
from study import plan, ranks, report, runs
from study.results import Results, at_end

from minidl import distributed
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
    add("--data", choices=["digits", "mnist", "fashion"], default="digits")
    add("--quick", action="store_true", help="2,000 images, fewer epochs, depths and seeds")
    add("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="NAME",
        help="; ".join(f"{name}: {text}" for name, text in EXPERIMENTS.items()))  # fmt: skip
    add("--seeds", type=positive, help="runs with different seeds, in all experiments")
    add("--epochs", type=positive, help="in all experiments")
    add("--jobs", type=positive, default=min(processors(), 8), metavar="N",
        help="processes, of one thread each; they do not change the results")  # fmt: skip
    add(
        "--ranks",
        type=positive,
        metavar="N",
        help="MPI processes in place of --jobs; the first one hands out the runs",
    )
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
    if not mpi_start.ranks(args.ranks).is_main:
        ranks.serve(args.data_root)
        return 0
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
    kept, begun = folder / "runs", time.perf_counter()
    try:
        runs.train(
            [one for group in wanted.values() for one in group], kept, args.jobs, args.data_root
        )
        results = {name: Results(runs.results(group, kept)) for name, group in wanted.items()}
        name, settings = best(results)
        tests = [one | {"test": True} for one in settings]
        runs.train(tests, kept, args.jobs, args.data_root)
    except KeyboardInterrupt:
        print(f"\ninterrupted: finished runs are kept in {kept}; the same command continues")
        if distributed.world().size > 1:
            raise  # this ends the other ranks
        return 130
    ranks.close()
    page = report.write(
        folder, command(args), args.data, scale, results, (name, runs.results(tests, kept))
    )
    print(f"{clock(time.perf_counter() - begun)}; the page: {page}")
    if args.publish:
        args.publish.mkdir(parents=True, exist_ok=True)
        for path in [folder / "README.md", *folder.glob("*.png")]:
            shutil.copy(path, args.publish / path.name)
        print(f"copied to {args.publish}/")
    return 0


def command(args: argparse.Namespace) -> str:
    """The command with the options that affect the results; folders and processes do not."""
    words, usual = ["python", "examples/activation_report.py"], vars(arguments([]))
    for name in ("data", "quick", "only", "seeds", "epochs"):
        value = getattr(args, name)
        if value != usual[name]:
            values = value if isinstance(value, list) else [] if value is True else [str(value)]
            words += [f"--{name}", *values]
    return " ".join(words)


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


if __name__ == "__main__":
    raise SystemExit(main())
